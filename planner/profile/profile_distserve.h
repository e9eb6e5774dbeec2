/* profile_distserve - the latency profiles that DistServe publishes with its simulator (Zhong et al., OSDI
 * 2024; simdistserve/estimators/profile_data), as they are:
 *
 *   {"facebook/opt-13b": {"1": {"decoding_large_small_bs_threshold": 95, "prefill": [a, b, c],
 *                               "decoding_smallbs": [a, b, c], "decoding_largebs": [a, b, c]}, "2": ...}}
 *
 * Milliseconds; the key is the tensor parallelism. The two functions are those of its time_estimator.py, in
 * the order of its operations, so that they give its numbers to the bit. */
#ifndef BATON_PLANNER_PROFILE_DISTSERVE_H
#define BATON_PLANNER_PROFILE_DISTSERVE_H

#include "planner/profile/profile.h"

#include <jansson.h>

typedef struct distserve_terms {
    double a, b, c; /* may be negative: they are fits */
} distserve_terms;

typedef struct distserve_engine {
    char model[64];
    uint32_t tp, threshold; /* decoding batches below the threshold are small */
    distserve_terms prefill, small, large;
} distserve_engine;

typedef struct profile_distserve {
    distserve_engine *engines; /* [count], in the order of the file; owned */
    uint32_t count;
} profile_distserve;

/* ST_INVALID names model, tp and key. Caller frees with profile_distserve_done. */
status profile_distserve_read(profile_distserve *out, const char *path, errbuf *eb);
void profile_distserve_done(profile_distserve *d);
/* NULL: not in the file. Borrowed. */
const distserve_engine *profile_distserve_find(const profile_distserve *d, const char *model, uint32_t tp);
/* (a + b * tokens + c * squares) / pp + pp: DistServe's constant for a pipeline; pp 0: the bare coefficients.
 * squares: sum of the squares of the prompts' lengths. */
double profile_distserve_prefill_ms(const distserve_engine *e, uint32_t pp, double tokens, double squares);
/* (a + b * context + c * batch) / pp */
double profile_distserve_decode_ms(const distserve_engine *e, uint32_t pp, double batch, double context);

/* Whether it looks like such a file. */
bool profile_distserve_is(const json_t *root);
/* All tp of a model (NULL: the only one), each with pp 1, 2, 4, 5 and 8, as engines of a profile; the time of
 * a step is that of one stage. The file does not say what was measured, so there are no bounds, but for a
 * quadratic term below 0, which holds until a longer prompt would cost less. ST_INVALID. Caller frees with
 * profile_free. */
status profile_distserve_make(profile **out, const json_t *root, const char *model, errbuf *eb);

#endif
