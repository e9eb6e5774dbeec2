#include "bench/experiment/files.h"

#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define READ_MAX (16u << 20)

static status fail(const char *path, errbuf *eb) {
    int code = errno;
    if (code == ENOSPC || code == EDQUOT)
        return errf(eb, ST_IO, "%s: the disk is full: make room and start again, what is finished is kept",
                    path);
    bool many = code == EMFILE || code == ENFILE;
    return errf(eb, ST_IO, "%s: %s%s", path, strerror(code), many ? ": see ulimit -n" : "");
}

status files_make_dir(const char *path, errbuf *eb) {
    PRE(path);
    char *copy = xstrdup(path);
    status st = ST_OK;
    for (char *at = copy; st == ST_OK && at;) {
        at = strchr(at + 1, '/');
        if (at) *at = 0;
        if (copy[0] && mkdir(copy, 0777) != 0 && errno != EEXIST) st = fail(copy, eb);
        if (at) *at = '/';
    }
    free(copy);
    struct stat s;
    if (st == ST_OK && (stat(path, &s) != 0 || !S_ISDIR(s.st_mode)))
        return errf(eb, ST_IO, "%s: is there, and is no folder", path);
    return st;
}

/* Recursion is as deep as the folders are, which we made. */
static status remove_at(int parent, const char *name, const char *path, errbuf *eb) {
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) return ST_OK;
    if (errno != EISDIR && errno != EPERM) return fail(path, eb);
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return fail(path, eb);
    DIR *dir = fdopendir(fd);
    if (!dir) {
        status st = fail(path, eb);
        close(fd);
        return st;
    }
    status st = ST_OK;
    for (const struct dirent *e; st == ST_OK && (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            st = remove_at(fd, e->d_name, path, eb);
    closedir(dir);
    if (st == ST_OK && unlinkat(parent, name, AT_REMOVEDIR) != 0) st = fail(path, eb);
    return st;
}

status files_remove_dir(const char *path, errbuf *eb) {
    PRE(path);
    return remove_at(AT_FDCWD, path, path, eb);
}

static bool write_all(int fd, const char *bytes, size_t len) {
    while (len) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

status files_write(const char *path, const void *bytes, size_t len, errbuf *eb) {
    PRE(path);
    PRE((bytes || !len));
    char *temporary = xasprintf("%s.new", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    status st = fd < 0 ? fail(temporary, eb) : ST_OK;
    if (st == ST_OK && (!write_all(fd, bytes, len) || fsync(fd) != 0)) st = fail(path, eb);
    if (fd >= 0 && close(fd) != 0 && st == ST_OK) st = fail(path, eb);
    if (st == ST_OK && rename(temporary, path) != 0) st = fail(path, eb);
    if (st != ST_OK && fd >= 0) (void)unlink(temporary);
    free(temporary);
    return st;
}

status files_read(char **out, const char *path, errbuf *eb) {
    PRE(out);
    PRE(path);
    FILE *f = fopen(path, "re");
    if (!f) return fail(path, eb);
    buf text = {0};
    char piece[4096];
    for (size_t n; text.len <= READ_MAX && (n = fread(piece, 1, sizeof piece, f));) buf_add(&text, piece, n);
    status st = ferror(f) ? fail(path, eb) : ST_OK;
    if (st == ST_OK && text.len > READ_MAX)
        st = errf(eb, ST_IO, "%s: longer than %u MiB", path, READ_MAX >> 20);
    fclose(f);
    if (st == ST_OK)
        *out = text.data ? text.data : xstrdup("");
    else
        buf_done(&text);
    return st;
}

bool files_exist(const char *path) {
    PRE(path);
    return access(path, F_OK) == 0;
}

void files_last_words(char *out, size_t size, const char *path, uint32_t lines) {
    PRE(out);
    PRE(size > 0);
    out[0] = 0;
    FILE *f = fopen(path, "re");
    if (!f) return;
    char tail[8192];
    (void)fseek(f, 0, SEEK_END);
    long end = ftell(f);
    (void)fseek(f, MAX(end - (long)sizeof tail + 1, 0L), SEEK_SET);
    size_t n = fread(tail, 1, sizeof tail - 1, f);
    fclose(f);
    for (size_t i = 0; i < n; i++)
        if (!tail[i]) tail[i] = ' ';
    tail[n] = 0;
    while (n && tail[n - 1] == '\n') tail[--n] = 0;
    const char *from = tail + n;
    for (uint32_t found = 0; from > tail; from--)
        if (from[-1] == '\n' && ++found == lines) break;
    /* The beginnings of lines say more than the end of the last one: each gets its share. */
    size_t share = size / (lines ? lines : 1), used = 0;
    while (*from && used + 4 < size) {
        size_t len = strcspn(from, "\n"), take = MIN(MIN(len, share), size - used - 4);
        if (len)
            used += (size_t)snprintf(out + used, size - used, "%s%.*s", used ? " | " : "", (int)take, from);
        from += len + (from[len] == '\n');
    }
}

uint64_t files_disk_left(const char *path) {
    PRE(path);
    struct statvfs s;
    return statvfs(path, &s) == 0 ? (uint64_t)s.f_bavail * s.f_frsize : UINT64_MAX;
}
