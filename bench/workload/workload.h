/* workload - what is asked: the lengths and the prompt of every request, as pure functions of (seed, index).
 *
 * The same (seed, index) gives the same request at every rate and against every system. Prompts have an exact
 * number of tokens and differ between requests (prompt.h says how), unless the trace says that they share a
 * prefix. A workload does not change once it is made: any thread may read it. */
#ifndef BATON_WORKLOAD_WORKLOAD_H
#define BATON_WORKLOAD_WORKLOAD_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

#define WORKLOAD_TOKENS_MAX (1u << 24) /* of one prompt or answer */

typedef enum workload_kind {
    WORKLOAD_FIXED,     /* prompt_mean, output_mean */
    WORKLOAD_UNIFORM,   /* mean * (1 - range) .. mean * (1 + range), ends included */
    WORKLOAD_LOGNORMAL, /* with that mean and coefficient of variation */
    WORKLOAD_TRACE      /* lengths, and times, of a file */
} workload_kind;

typedef struct workload_options {
    workload_kind kind;
    double prompt_mean, output_mean;
    double prompt_range, output_range; /* uniform: 0..1 */
    double prompt_cv, output_cv;       /* lognormal */
    const char *path;                  /* trace; its format is told from its contents */
    double prompt_scale, output_scale; /* lengths are multiplied, then clipped; 0 = as they are */
    uint32_t prompt_min, prompt_max;   /* >= 1; 0 = no bound */
    uint32_t output_min, output_max;
    double spread_s; /* trace: times that are quantised to this are spread evenly over it; 0 = as they are */
    double chars_per_token; /* ShareGPT: by which lengths are estimated; 0 = 4 */
    uint64_t prompt_salt;   /* another one: other ids, and nothing else is different. 0 = none */
} workload_options;

typedef struct workload workload;

typedef struct workload_item {
    uint32_t prompt_tokens, output_tokens; /* >= 1 */
    double at_s; /* trace: since the stream's first request, by the file's clock; else NAN */
} workload_item;

/* "chatbot", "code", "summary" (DistServe's three, by their published length means), "random" (that of
 * `vllm bench serve`). ST_INVALID lists the names. */
status workload_named(const char *name, workload_options *out, errbuf *eb);
/* ST_INVALID names the option, or file, line and what is wrong there. Copied. Caller frees with
 * workload_free. */
status workload_new(workload **out, const workload_options *opt, errbuf *eb);
void workload_free(workload *w);

/* Requests of a trace; UINT32_MAX for the others, which have no end. A trace goes around: after its last row
 * comes its first, one mean gap later, with other ids. Seed 0 begins with the file's first row, any other
 * seed with a row of its own. */
uint32_t workload_count(const workload *w);
/* Requests per second of the whole file by its own clock, the gap around its end being a mean one; NAN for
 * the others, and where all times of the file are equal. */
double workload_trace_rate(const workload *w);
/* What was read, for people: format, requests left out for want of a prompt or an answer, whether lengths are
 * an estimate. false: no trace. */
typedef struct workload_facts {
    const char *format; /* "azure", ... Borrowed: static */
    uint32_t requests, left_out;
    bool has_times, has_prefixes, lengths_estimated;
} workload_facts;
bool workload_trace_facts(const workload *w, workload_facts *out);
workload_item workload_at(const workload *w, uint64_t seed, uint32_t index);
/* The seed of which prompts are made: that of the stream, changed by the salt; another for each other. */
uint64_t workload_prompt_seed(const workload *w, uint64_t seed);
/* ids: [workload_at(..).prompt_tokens], each in [id_min, id_max]. Ids of shared prefixes are those of (seed,
 * prefix), so that the prompts of one seed share them and those of two seeds, or rounds of a trace, do not.
 */
void workload_prompt(const workload *w, uint64_t seed, uint32_t index, int32_t id_min, int32_t id_max,
                     int32_t *ids);

#endif
