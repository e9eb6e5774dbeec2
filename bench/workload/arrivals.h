/* arrivals - when requests come: a sequence made before the run, at unit rate, so that the same seed gives
 * the same pattern at every rate and for every system (common random numbers).
 *
 * The gap before arrival i is a function of (seed, i) alone: a longer sequence begins with the shorter one.
 * Times are sums of unit gaps, divided by the rate at the end; only a ramp depends on the count. The first
 * request comes one gap after the stream's begin. */
#ifndef BATON_WORKLOAD_ARRIVALS_H
#define BATON_WORKLOAD_ARRIVALS_H

#include "base/status.h"

#include <stdint.h>

struct workload;

#define ARRIVALS_COUNT_MAX      (1u << 26) /* of one stream: 512 MiB of times */
#define ARRIVALS_BURSTINESS_MIN 1e-3       /* gaps with a coefficient of variation of 32 */

typedef enum arrivals_kind {
    ARRIVALS_GAMMA, /* gaps of mean 1 and shape `burstiness`: 1 = Poisson, large = regular, INFINITY =
                       constant */
    ARRIVALS_CONSTANT,
    ARRIVALS_RAMP_LINEAR, /* the rate goes from ramp_from to ramp_to (times the rate asked) over the requests
                           */
    ARRIVALS_RAMP_EXPONENTIAL,
    ARRIVALS_TRACE /* the times of the workload's file, scaled to mean gap 1 */
} arrivals_kind;

typedef struct arrivals_options {
    arrivals_kind kind;
    double burstiness;         /* gamma and ramps */
    double ramp_from, ramp_to; /* ramps; > 0 */
} arrivals_options;

/* The options alone; ST_INVALID names the one that is wrong. */
status arrivals_check(const arrivals_options *opt, errbuf *eb);
/* Fills at_s[count] with ascending times since the stream's begin at `rate` requests per second; rate
 * INFINITY = all at 0 (not for ramps, whose rate is asked as 1 when ramp_from and ramp_to are in requests per
 * second, as those of vLLM are). ARRIVALS_TRACE is for arrivals_of_trace. */
status arrivals_make(double *at_s, uint32_t count, const arrivals_options *opt, double rate, uint64_t seed,
                     errbuf *eb);
/* The times of the workload's file from the row with which `seed` begins it, around and around, scaled so
 * that the whole file has `rate` requests per second; rate NAN = by the file's own clock. */
status arrivals_of_trace(double *at_s, uint32_t count, const struct workload *w, double rate, uint64_t seed,
                         errbuf *eb);
/* As `vllm bench serve` has it: scaled so that the last arrival is at count / rate. vLLM leaves ramps and an
 * infinite rate as they are, and so must the caller. */
void arrivals_rescale(double *at_s, uint32_t count, double rate);

/* A stream without an end, one arrival after the other: the times of arrivals_make and arrivals_of_trace,
 * without the memory. */
typedef struct arrivals_stream {
    arrivals_options options;
    const struct workload *w; /* borrowed; for ARRIVALS_TRACE */
    double rate, sum;         /* sum: of unit gaps so far */
    uint64_t seed;
    uint32_t next; /* index */
} arrivals_stream;

/* w is not looked at but for ARRIVALS_TRACE. ST_INVALID: as the two above; a ramp, which depends on the
 * count; a rate that is not finite. */
status arrivals_begin(arrivals_stream *s, const arrivals_options *opt, const struct workload *w, double rate,
                      uint64_t seed, errbuf *eb);
/* Seconds since the stream's begin. PRE: fewer than ARRIVALS_COUNT_MAX were taken. */
double arrivals_next(arrivals_stream *s);

#endif
