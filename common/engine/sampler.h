/* sampler - from one row of logits to one token; the same bytes on every backend.
 *
 * Order: logit_bias, penalties, temperature, min-p, top-k, top-p; ties go to the lowest id; then Gumbel-max with
 * Philox4x32-10 (Salmon et al., SC 2011) keyed (seed, choice, position, token id). temperature 0 = arg max after bias
 * and penalties. Logprobs are of the raw logits. min_tokens bans end-of-generation and stop ids until it is reached;
 * ignore_eos neither bans nor lifts that ban. Pure: no state between calls but scratch. */
#ifndef BATON_ENGINE_SAMPLER_H
#define BATON_ENGINE_SAMPLER_H

#include "base/status.h"
#include "model/sampling.h"

typedef struct sampler sampler; /* scratch for one vocabulary size; one per thread */

sampler *sampler_new(uint32_t vocab);
void sampler_free(sampler *s);

typedef struct sample_input {
    const float *logits; /* [vocab], not changed */
    const sampling *params;
    const int32_t *prompt; /* [prompt_count], for the repetition penalty */
    uint32_t prompt_count;
    const int32_t *output; /* [output_count], for all penalties and min_tokens */
    uint32_t output_count;
    const int32_t *eog; /* end-of-generation ids */
    uint32_t eog_count;
} sample_input;

/* The position of the RNG key is prompt_count + output_count: the absolute position of the token being chosen. Ids of
 * prompt, output and bias are in 0..vocab-1 (engine_seq_open checks them). ST_CORRUPT when every token is banned or a
 * logit is NaN or +infinity. */
status sampler_next(sampler *s, const sample_input *in, token_out *out, errbuf *eb);

/* Philox4x32-10 of (key, counter), exposed for its test vectors. */
void philox4x32_10(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
