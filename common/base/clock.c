#include "base/clock.h"

#include "base/status.h"

#include <stdio.h>
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

void clock_wall_text(char out[static CLOCK_TEXT_MAX]) {
    struct timespec ts;
    struct tm tm;
    char second[CLOCK_TEXT_MAX - 8];
    CHECK(clock_gettime(CLOCK_REALTIME, &ts) == 0);
    /* A year that no calendar has (the clock may say anything) is none. */
    if (!gmtime_r(&ts.tv_sec, &tm) || !strftime(second, sizeof second, "%Y-%m-%dT%H:%M:%S", &tm))
        second[0] = 0;
    snprintf(out, CLOCK_TEXT_MAX, "%s.%03ldZ", second, ts.tv_nsec / 1000000);
}

uint64_t clock_random64(void) {
    uint64_t x = 0;
    while (x == 0) CHECK(getrandom(&x, sizeof x, 0) == (ssize_t)sizeof x);
    return x;
}
