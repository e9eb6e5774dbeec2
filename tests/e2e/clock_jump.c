/* clock_jump - preloaded into a process, gives it a wall clock that jumps: what it reads of CLOCK_REALTIME is
 * off by the seconds that the file named by CLOCK_JUMP_FILE holds (8 bytes, little endian) at that moment.
 * The kernel knows nothing of it, so a deadline that is made of the wall clock shows as a wait that is a day
 * too long, or none. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offset_s;
static int (*true_clock)(clockid_t, struct timespec *);

__attribute__((constructor)) static void clock_jump_init(void) {
    const char *path = getenv("CLOCK_JUMP_FILE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *at = mmap(NULL, sizeof *offset_s, PROT_READ, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (at != MAP_FAILED) offset_s = at;
}

int clock_gettime(clockid_t id, struct timespec *ts) {
    if (!true_clock) true_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int rc = true_clock(id, ts);
    if (rc == 0 && offset_s && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) ts->tv_sec += *offset_s;
    return rc;
}

time_t time(time_t *out) {
    struct timespec ts;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    if (out) *out = ts.tv_sec;
    return ts.tv_sec;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
    (void)zone;
    struct timespec ts;
    int rc = clock_gettime(CLOCK_REALTIME, &ts);
    if (rc == 0) *tv = (struct timeval){.tv_sec = ts.tv_sec, .tv_usec = ts.tv_nsec / 1000};
    return rc;
}
