/* dist_arrivals - the arrivals that DistServe's simulator draws: numpy's Mersenne twister, seeded by a
 * number, exponential gaps, the first request at 0 (get_poisson_interarrival of simdistserve/base/
 * workload.py). The same seed gives the same pattern at every rate. */
#ifndef BATON_PLANNER_DIST_ARRIVALS_H
#define BATON_PLANNER_DIST_ARRIVALS_H

#include "planner/distserve/dist_sim.h"

/* Sets at_ms of requests [count] at `rate` requests per second > 0. */
void dist_arrivals_poisson(dist_request *requests, uint32_t count, double rate, uint32_t seed);

#endif
