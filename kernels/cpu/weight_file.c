#include "kernels/cpu/weight_file.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define MAGIC       "BATONWT\n"
#define VERSION     1u
#define HUGE_PAGE   ((size_t)2 << 20)
#define PIECE_BYTES ((size_t)8 << 20) /* of one write: large ones get large folios */
#define POLL_NS     (5 * NS_PER_MS)
#define LISTED_MAX  256u
#define WEIGHTS     ".baton.weights" /* of nobody else: weight_file_prune removes by name */
#define PART        ".baton.part"

typedef struct trailer {
    char magic[8];
    uint32_t version, unused;
    uint64_t bytes, sum;
    char key[WEIGHT_FILE_KEY_MAX + 1];
} trailer;

static uint64_t sum_of(const void *bytes, size_t count) {
    return XXH3_64bits(bytes, count);
}

/* --- the directory --- */

static status make_directory(const char *dir, errbuf *eb) {
    char *path = xstrdup(dir);
    for (char *p = path + 1; *p; p++) {
        if (*p != '/') continue;
        *p = '\0';
        (void)mkdir(path, 0700); /* the last one's failure is told */
        *p = '/';
    }
    bool there = mkdir(path, 0700) == 0 || errno == EEXIST;
    status st = there ? ST_OK : errf(eb, ST_IO, "cannot make the directory: %s", strerror(errno));
    free(path);
    return st;
}

static bool key_is_good(const char *key) {
    size_t len = strlen(key);
    for (size_t i = 0; i < len; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", key[i]))
            return false;
    return len > 0 && len <= WEIGHT_FILE_KEY_MAX;
}

status weight_file_init(weight_file *f, const char *dir, const char *key, errbuf *eb) {
    PRE(f);
    PRE(dir);
    PRE(dir[0]);
    PRE(key);
    PRE(key_is_good(key));
    *f = (weight_file){.fd = -1};
    memcpy(f->key, key, strlen(key));
    f->path = xasprintf("%s/%s" WEIGHTS, dir, key);
    f->part = xasprintf("%s/%s" PART, dir, key);
    return make_directory(dir, eb);
}

static void give_up_filling(weight_file *f) {
    if (f->filling) (void)unlink(f->part);
    f->filling = false;
    if (f->fd >= 0) close(f->fd);
    f->fd = -1;
}

void weight_file_done(weight_file *f) {
    if (!f || !f->path) return;
    if (f->reserved) munmap(f->reserved, f->reserved_bytes);
    give_up_filling(f);
    free(f->path);
    free(f->part);
    *f = (weight_file){.fd = -1};
}

/* --- reading --- */

/* Whether three quarters of the mapping at `at` are in huge pages. */
static bool is_huge(const void *at, size_t bytes) {
    FILE *maps = fopen("/proc/self/smaps", "re");
    char line[512];
    bool here = false;
    uint64_t kib = 0;
    while (maps && fgets(line, sizeof line, maps)) {
        uintptr_t begin, end;
        unsigned long long part;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &begin, &end) == 2)
            here = (uintptr_t)at < end && begin < (uintptr_t)at + bytes;
        else if (here && (sscanf(line, "FilePmdMapped: %llu", &part) == 1 ||
                          sscanf(line, "ShmemPmdMapped: %llu", &part) == 1))
            kib += part;
    }
    if (maps) fclose(maps);
    return kib * 1024 >= bytes / 4 * 3;
}

/* Maps all of it. at: NULL, or memory that it takes the place of. */
static bool map(weight_file *f, int fd, size_t bytes, void *at) {
    if (!at) {
        f->reserved_bytes = bytes + HUGE_PAGE;
        void *r =
            mmap(NULL, f->reserved_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (r == MAP_FAILED) return false;
        f->reserved = r;
        at = (void *)(((uintptr_t)r + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
    }
    if (mmap(at, bytes, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) return false;
    /* Read in huge pages where the file system can, and before the first token. */
    (void)madvise(at, bytes, MADV_HUGEPAGE);
    (void)madvise(at, bytes, MADV_POPULATE_READ);
    f->mapped = at;
    f->bytes = bytes;
    f->huge = is_huge(at, bytes);
    return true;
}

static void unmap(weight_file *f) {
    if (f->reserved) munmap(f->reserved, f->reserved_bytes);
    f->reserved = NULL;
    f->mapped = NULL;
    f->bytes = 0;
}

void weight_file_unmap(weight_file *f) {
    PRE(f);
    PRE(f->reserved);
    unmap(f);
}

/* Whoever can write a file decides what a process computes that maps it. */
static bool is_safe(const struct stat *info) {
    return S_ISREG(info->st_mode) && (info->st_uid == geteuid() || info->st_uid == 0) &&
           !(info->st_mode & 022);
}

/* Bytes that the file holds, or 0 when it is not what it should be. */
static size_t bytes_of(const weight_file *f, int fd) {
    struct stat info;
    trailer t;
    if (fstat(fd, &info) != 0 || !is_safe(&info)) return 0;
    if (info.st_size <= (off_t)sizeof t) return 0;
    off_t bytes = info.st_size - (off_t)sizeof t;
    if (pread(fd, &t, sizeof t, bytes) != sizeof t) return 0;
    bool right = memcmp(t.magic, MAGIC, sizeof t.magic) == 0 && t.version == VERSION &&
                 t.bytes == (uint64_t)bytes && memcmp(t.key, f->key, sizeof t.key) == 0;
    return right ? (size_t)bytes : 0;
}

static bool sum_is_right(const weight_file *f, int fd) {
    trailer t;
    return pread(fd, &t, sizeof t, (off_t)f->bytes) == sizeof t && sum_of(f->mapped, f->bytes) == t.sum;
}

static bool open_whole(weight_file *f) {
    int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK); /* a fifo would block */
    if (fd < 0) return false;
    (void)flock(fd, LOCK_SH | LOCK_NB);
    size_t bytes = bytes_of(f, fd);
    if (bytes && map(f, fd, bytes, NULL) && sum_is_right(f, fd)) {
        f->fd = fd;
        (void)futimens(fd, NULL); /* used now */
        return true;
    }
    unmap(f);
    close(fd);
    return false;
}

static bool is_at(int fd, const char *path) {
    struct stat here, there;
    return fstat(fd, &here) == 0 && stat(path, &there) == 0 && here.st_dev == there.st_dev &&
           here.st_ino == there.st_ino;
}

/* ST_OK: .part is this process's. ST_AGAIN: another one's. */
static status lock_part(weight_file *f, errbuf *eb) {
    int fd = open(f->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0) return errf(eb, ST_IO, "cannot write it: %s", strerror(errno));
    status st = ST_OK;
    struct stat info;
    /* What others prepared there they may still write to, and a second link is another file of this user's.
     */
    if (fstat(fd, &info) != 0 || !is_safe(&info) || info.st_nlink > 1)
        st = errf(eb, ST_IO, "%s is not a file of this user alone: remove it", f->part);
    else if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        st = errno == EWOULDBLOCK ? ST_AGAIN : errf(eb, ST_IO, "cannot lock it: %s", strerror(errno));
    else if (!is_at(fd, f->part)) /* renamed or removed since it was opened */
        st = ST_AGAIN;
    if (st != ST_OK) {
        close(fd);
        return st;
    }
    f->fd = fd;
    f->filling = true;
    return ST_OK;
}

status weight_file_find(weight_file *f, uint64_t wait_ns, errbuf *eb) {
    PRE(f);
    PRE(f->path);
    PRE(f->fd < 0);
    uint64_t end_ns = clock_now_ns() + wait_ns;
    for (;;) {
        if (open_whole(f)) return ST_OK;
        status st = lock_part(f, eb);
        if (st == ST_OK) break;
        if (st != ST_AGAIN) return st;
        if (clock_now_ns() >= end_ns)
            return errf(eb, ST_TIMEOUT, "another process is still writing it after %llu ms",
                        (unsigned long long)(wait_ns / NS_PER_MS));
        nanosleep(&(struct timespec){.tv_nsec = (long)POLL_NS}, NULL);
    }
    /* Whoever had the lock before may have finished it. */
    int part = f->fd;
    if (!open_whole(f)) {
        struct stat info;
        if (lstat(f->path, &info) == 0 && info.st_uid != geteuid()) {
            give_up_filling(f);
            return errf(eb, ST_IO, "what is there belongs to user %ld", (long)info.st_uid);
        }
        if (unlink(f->path) == 0)
            log_warn("weights", "the file of repacked weights is damaged and is written anew", "file=%s",
                     f->path);
        return ST_AGAIN;
    }
    (void)unlink(f->part);
    f->filling = false;
    close(part);
    return ST_OK;
}

/* --- writing --- */

/* A file that leaves less room than it takes would be the next one's trouble. A limit of file sizes ends a
 * process that goes beyond it. */
static status check_room(const weight_file *f, size_t bytes, errbuf *eb) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < bytes + sizeof(trailer))
        return errf(eb, ST_IO, "%zu MiB are more than the limit of file sizes (ulimit -f)", bytes >> 20);
    struct statvfs disk;
    if (fstatvfs(f->fd, &disk) != 0) return errf(eb, ST_IO, "%s", strerror(errno));
    uint64_t left = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (left / 2 >= bytes) return ST_OK;
    return errf(eb, ST_IO, "%zu MiB would leave less than as much of the disk's %llu MiB free", bytes >> 20,
                (unsigned long long)(left >> 20));
}

static status write_all(int fd, const void *bytes, size_t count, errbuf *eb) {
    for (size_t at = 0; at < count;) {
        ssize_t n = write(fd, (const char *)bytes + at, MIN(count - at, PIECE_BYTES));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return errf(eb, ST_IO, "cannot write: %s", n < 0 ? strerror(errno) : "no room");
        at += (size_t)n;
    }
    return ST_OK;
}

static status write_part(weight_file *f, const void *memory, size_t bytes, errbuf *eb) {
    trailer t = {.magic = MAGIC, .version = VERSION, .bytes = bytes, .sum = sum_of(memory, bytes)};
    memcpy(t.key, f->key, sizeof t.key);
    status st = check_room(f, bytes, eb);
    if (st == ST_OK && (ftruncate(f->fd, 0) != 0 || lseek(f->fd, 0, SEEK_SET) != 0))
        st = errf(eb, ST_IO, "%s", strerror(errno));
    if (st == ST_OK) st = write_all(f->fd, memory, bytes, eb);
    if (st == ST_OK) st = write_all(f->fd, &t, sizeof t, eb);
    /* Pages that could not be written back later would be read as something else. */
    if (st == ST_OK && fdatasync(f->fd) != 0) st = errf(eb, ST_IO, "cannot write: %s", strerror(errno));
    if (st == ST_OK && rename(f->part, f->path) != 0)
        st = errf(eb, ST_IO, "cannot rename: %s", strerror(errno));
    return st;
}

status weight_file_write(weight_file *f, void *memory, size_t bytes, bool map_it, errbuf *eb) {
    PRE(f);
    PRE(f->filling);
    PRE(memory);
    PRE(bytes > 0);
    PRE((uintptr_t)memory % HUGE_PAGE == 0);
    PRE(bytes % 4096 == 0);
    status st = write_part(f, memory, bytes, eb);
    if (st != ST_OK) {
        give_up_filling(f);
        return st;
    }
    f->filling = false;
    (void)flock(f->fd, LOCK_SH);
    if (map_it && !map(f, f->fd, bytes, memory)) return errf(eb, ST_IO, "cannot map it: %s", strerror(errno));
    return ST_OK;
}

/* --- what nobody uses any more --- */

typedef struct listed {
    char name[WEIGHT_FILE_KEY_MAX + sizeof WEIGHTS];
    struct timespec used;
} listed;

static bool ends_in(const char *name, const char *ending) {
    size_t len = strlen(name), tail = strlen(ending);
    return len > tail && strcmp(name + len - tail, ending) == 0;
}

/* Nobody has a lock on it. */
static void remove_unused(int dir, const char *name) {
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && unlinkat(dir, name, 0) == 0)
        log_info("weights", "removed repacked weights that nobody uses", "file=%s", name);
    close(fd);
}

static int newest_first(const void *a, const void *b) {
    const struct timespec x = ((const listed *)a)->used, y = ((const listed *)b)->used;
    if (x.tv_sec != y.tv_sec) return x.tv_sec > y.tv_sec ? -1 : 1;
    return (x.tv_nsec < y.tv_nsec) - (x.tv_nsec > y.tv_nsec);
}

static uint32_t list(DIR *dir, listed *out) {
    uint32_t count = 0;
    for (const struct dirent *e; count < LISTED_MAX && (e = readdir(dir));) {
        struct stat info;
        if (strlen(e->d_name) >= sizeof out->name) continue;
        if (ends_in(e->d_name, PART)) remove_unused(dirfd(dir), e->d_name);
        if (!ends_in(e->d_name, WEIGHTS)) continue;
        if (fstatat(dirfd(dir), e->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
        memcpy(out[count].name, e->d_name, strlen(e->d_name) + 1);
        out[count++].used = info.st_mtim;
    }
    return count;
}

void weight_file_prune(const weight_file *f) {
    PRE(f);
    PRE(f->path);
    char *path = xstrndup(f->path, (size_t)(strrchr(f->path, '/') - f->path));
    DIR *dir = opendir(path);
    free(path);
    if (!dir) return;
    listed *files = xcalloc(LISTED_MAX, sizeof *files);
    uint32_t count = list(dir, files);
    qsort(files, count, sizeof *files, newest_first);
    for (uint32_t i = WEIGHT_FILES_KEPT; i < count; i++) remove_unused(dirfd(dir), files[i].name);
    free(files);
    closedir(dir);
}
