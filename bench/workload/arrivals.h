/* arrivals - when requests come: a sequence made before the run, at unit rate, so that the same seed gives
 * the same pattern at every rate and for every system (common random numbers). */
#ifndef BATON_WORKLOAD_ARRIVALS_H
#define BATON_WORKLOAD_ARRIVALS_H

#include "base/status.h"

#include <stdint.h>

typedef enum arrivals_kind {
    ARRIVALS_GAMMA, /* gaps of mean 1 and shape `burstiness`: 1 = Poisson, large = regular */
    ARRIVALS_CONSTANT,
    ARRIVALS_RAMP_LINEAR, /* the rate goes from ramp_from to ramp_to (times the rate asked) over the run */
    ARRIVALS_RAMP_EXPONENTIAL,
    ARRIVALS_TRACE /* the times of the workload's file, scaled to mean gap 1 */
} arrivals_kind;

typedef struct arrivals_options {
    arrivals_kind kind;
    double burstiness;
    double ramp_from, ramp_to;
} arrivals_options;

/* Fills at_s[count] with ascending times since the stream's begin at `rate` requests per second. */
status arrivals_make(double *at_s, uint32_t count, const arrivals_options *opt, double rate, uint64_t seed,
                     errbuf *eb);
/* As `vllm bench serve` has it: scaled so that the last arrival is at count / rate. */
void arrivals_rescale(double *at_s, uint32_t count, double rate);

#endif
