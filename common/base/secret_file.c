#include "base/secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static status check(int fd, const char *path, errbuf *eb) {
    struct stat st;
    if (fstat(fd, &st) != 0) return errf(eb, ST_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode)) return errf(eb, ST_INVALID, "%s is no plain file", path);
    if (st.st_mode & 027)
        return errf(eb, ST_INVALID,
                    "%s has mode %03o, and holds a secret: others may not read it, nor its group write it: "
                    "chmod 640 (or 600)",
                    path, (unsigned)st.st_mode & 0777);
    return ST_OK;
}

static status read_all(buf *out, int fd, const char *path, errbuf *eb) {
    char bytes[4096];
    ssize_t n;
    while ((n = read(fd, bytes, sizeof bytes)) > 0) {
        if (out->len + (size_t)n > SECRET_FILE_MAX)
            return errf(eb, ST_INVALID, "%s has more than %zu bytes", path, SECRET_FILE_MAX);
        buf_add(out, bytes, (size_t)n);
    }
    explicit_bzero(bytes, sizeof bytes);
    if (n < 0) return errf(eb, ST_IO, "%s: %s", path, strerror(errno));
    if (out->len && memchr(out->data, 0, out->len)) return errf(eb, ST_INVALID, "%s has a NUL in it", path);
    return ST_OK;
}

status secret_file_read(buf *out, const char *path, errbuf *eb) {
    PRE(out);
    PRE(path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return errf(eb, ST_IO, "%s: %s", path, strerror(errno));
    buf text = {0};
    status st = check(fd, path, eb);
    if (st == ST_OK) st = read_all(&text, fd, path, eb);
    close(fd);
    if (st == ST_OK && text.len) buf_add(out, text.data, text.len);
    secret_file_forget(&text);
    return st;
}

void secret_file_forget(buf *out) {
    PRE(out);
    if (out->data) explicit_bzero(out->data, out->capacity);
    buf_done(out);
}
