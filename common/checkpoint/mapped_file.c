#include "checkpoint/mapped_file.h"

#include "base/mix.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

status mapped_file_open(mapped_file *f, const char *path, errbuf *eb) {
    PRE(f);
    PRE(path);
    struct stat info = {0};
    void *map = MAP_FAILED;
    status st = ST_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0)
        st = errf(eb, ST_IO, "%s: cannot open: %s", path, strerror(errno));
    else if (!S_ISREG(info.st_mode))
        st = errf(eb, ST_IO, "%s: not a regular file", path);
    else if (info.st_size == 0)
        st = errf(eb, ST_CORRUPT, "%s: the file is empty", path);
    if (st == ST_OK) {
        map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED)
            st = errf(eb, ST_IO, "%s: cannot map %lld bytes: %s", path, (long long)info.st_size,
                      strerror(errno));
    }
    if (fd >= 0) close(fd);
    if (st != ST_OK) return st;
    uint64_t stamp = mix64((uint64_t)info.st_size) + (uint64_t)info.st_mtim.tv_sec;
    *f = (mapped_file){map, (size_t)info.st_size, mix64(mix64(stamp) + (uint64_t)info.st_mtim.tv_nsec)};
    return ST_OK;
}

void mapped_file_drop(const mapped_file *f) {
    PRE(f);
    if (f->bytes) (void)madvise((void *)(uintptr_t)f->bytes, f->size, MADV_DONTNEED);
}

void mapped_file_close(mapped_file *f) {
    PRE(f);
    if (f->bytes) munmap((void *)(uintptr_t)f->bytes, f->size);
    *f = (mapped_file){0};
}

bool mapped_file_exists(const char *path) {
    PRE(path);
    return access(path, F_OK) == 0;
}
