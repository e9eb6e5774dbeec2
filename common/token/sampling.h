/* sampling - how one request wants its tokens chosen and when it ends. Plain data, and the pure end rule.
 *
 * Prompt ids and output ids are always kept apart: penalties, min/max tokens and usage read both. */
#ifndef BATON_TOKEN_SAMPLING_H
#define BATON_TOKEN_SAMPLING_H

#include <stdbool.h>
#include <stdint.h>

#define SAMPLING_STOP_IDS_MAX 64u
#define SAMPLING_BIAS_MAX     1024u
#define SAMPLING_LOGPROBS_MAX 20
#define SAMPLING_SPEC_MAX     (256u * 1024u) /* bytes */

typedef struct sampling_bias {
    int32_t id;
    float bias; /* added to the logit; -100..100 */
} sampling_bias;

typedef struct sampling {
    float temperature;        /* 0 = greedy */
    float top_p;              /* (0, 1]; 1 = off */
    float min_p;              /* [0, 1]; 0 = off */
    int32_t top_k;            /* <= 0 = off */
    float repetition_penalty; /* > 0; 1 = off; over prompt and output */
    float presence_penalty;   /* 0 = off; over output only */
    float frequency_penalty;  /* 0 = off; over output only */
    uint64_t seed;            /* drawn by the coordinator at admission when the client gave none */
    uint32_t choice;          /* index among the n choices of a request */
    uint32_t max_tokens;      /* 0: it ends when its prompt is computed, and no token is chosen */
    uint32_t min_tokens;      /* end-of-generation and stop ids are banned before this many output tokens */
    bool ignore_eos;          /* end-of-generation ids do not end it (they can still be sampled) */
    int32_t logprobs;         /* -1 = none; 0 = of the chosen token; n = and of the n best */
    int32_t prompt_logprobs;  /* likewise, of every token of the prompt but the first */
    uint32_t stop_id_count;
    uint32_t bias_count;
    const int32_t *stop_ids;   /* [stop_id_count]; borrowed from the owner of the request, owned in a copy */
    const sampling_bias *bias; /* [bias_count]; likewise */
    const char *spec;          /* [spec_len], no NUL; likewise. What the answer may be (grammar/grammar.h) */
    uint32_t spec_len;         /* 0: anything */
} sampling;

/* temperature 1, everything else off, max_tokens 16, no logprobs. */
sampling sampling_default(void);

/* Writes a copy that owns its arrays. Caller frees with sampling_done. */
void sampling_copy(sampling *to, const sampling *from);
/* Frees the arrays of a copy; a zeroed one is legal. */
void sampling_done(sampling *s);

/* Whether any of the three penalties is on. */
static inline bool sampling_penalises(const sampling *s) {
    return s->repetition_penalty != 1.0f || s->presence_penalty != 0 || s->frequency_penalty != 0;
}

typedef enum finish { FINISH_NONE, FINISH_EOS, FINISH_STOP_ID, FINISH_LENGTH } finish;

/* Whether the sequence ends with `id` as output token number `output_count` (1-based count including it).
 * eos: the model's end-of-generation ids. Order: eos, stop id, length. An answer
 * with a spec may end before min_tokens and in spite of ignore_eos: whoever lets an end be chosen then knows
 * that nothing else is left. */
finish sampling_finish(const sampling *s, const int32_t *eos, uint32_t eos_count, int32_t id,
                       uint32_t output_count);

/* One candidate of a token's log-probabilities, of the raw logits (before bias, penalties and temperature).
 */
typedef struct token_logprob {
    int32_t id;
    float logprob;
} token_logprob;

/* A generated token as it travels: id, and when asked for its logprob and the best alternatives. Or a token
 * of a prompt, whose logprobs are wanted. */
typedef struct token_out {
    int32_t id;
    finish fin;
    float logprob; /* valid when the request asked for logprobs >= 0 */
    uint32_t rank; /* of a prompt's token: 1 + how many are better (of equals, the lowest id is); else 0 */
    uint32_t top_count; /* 0..SAMPLING_LOGPROBS_MAX */
    token_logprob top[SAMPLING_LOGPROBS_MAX];
} token_out;

#endif
