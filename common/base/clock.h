/* clock - the one place that reads time. All times in Baton are nanoseconds of the local CLOCK_MONOTONIC in a
 * uint64_t named *_ns; wall time is for logs and the `created` field of the API only. Pure code takes now_ns
 * as an argument. */
#ifndef BATON_BASE_CLOCK_H
#define BATON_BASE_CLOCK_H

#include <stdint.h>

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

/* Monotonic */
uint64_t clock_now_ns(void);
/* Seconds since 1970 */
int64_t clock_wall_s(void);
#define CLOCK_TEXT_MAX 32u
/* The wall clock's time as "2026-11-21T10:00:00.123Z" */
void clock_wall_text(char out[static CLOCK_TEXT_MAX]);
/* 64 bits from getrandom(2): ids and seeds, never results */
uint64_t clock_random64(void);

#endif
