#include "base/clock.h"

#include "base/status.h"

#include <sys/random.h>
#include <time.h>

uint64_t clock_now_ns(void) {
    struct timespec ts;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

int64_t clock_wall_s(void) {
    return (int64_t)time(NULL);
}

uint64_t clock_random64(void) {
    uint64_t x = 0;
    while (x == 0) CHECK(getrandom(&x, sizeof x, 0) == (ssize_t)sizeof x);
    return x;
}
