#include "kernels/mock/mock_sample.h"

#include "base/mem.h"

#include <math.h>

#define LETTERS        26u
#define EOG_ONE_IN     1024u
#define BANNED_BY_BIAS (-100.0f)

/* Ids [first, first + count) may be chosen. */
typedef struct candidates {
    uint32_t first, count;
} candidates;

static candidates candidates_of(uint32_t vocab) {
    return vocab < 256 ? (candidates){0, vocab} : (candidates){'a', LETTERS};
}

static bool is_one_of(const int32_t *ids, uint32_t count, int32_t id) {
    for (uint32_t i = 0; i < count; i++)
        if (ids[i] == id) return true;
    return false;
}

static bool banned(const sample_input *in, int32_t id) {
    const sampling *s = in->params;
    if (in->mask && !(in->mask[id / 32] >> (id % 32) & 1)) return true;
    for (uint32_t i = 0; i < s->bias_count; i++)
        if (s->bias[i].id == id && s->bias[i].bias <= BANNED_BY_BIAS) return true;
    return !in->mask && in->output_count < s->min_tokens &&
           (is_one_of(s->stop_ids, s->stop_id_count, id) || is_one_of(in->eog, in->eog_count, id));
}

/* False: all are banned. */
static bool choose(uint64_t x, uint32_t vocab, candidates c, const sample_input *in, int32_t *id) {
    if (in->eog_count > 0 && !in->params->ignore_eos && (x >> 32) % EOG_ONE_IN == 0) {
        *id = in->eog[0];
        if (!banned(in, *id)) return true;
    }
    for (uint32_t i = 0; i < c.count; i++) {
        *id = (int32_t)(c.first + ((uint32_t)x % c.count + i) % c.count);
        if (!banned(in, *id)) return true;
    }
    /* A mask may leave nothing of them. */
    for (uint32_t i = 0; in->mask && i < vocab; i++) {
        *id = (int32_t)(((uint32_t)x % vocab + i) % vocab);
        if (!banned(in, *id)) return true;
    }
    return false;
}

/* The chosen one first, then the others in ascending order. */
static void add_logprobs(candidates c, int32_t wanted, token_out *t) {
    if (wanted < 0) return;
    t->logprob = -logf((float)c.count);
    uint32_t most = MIN((uint32_t)wanted, (uint32_t)SAMPLING_LOGPROBS_MAX);
    if (most > 0) t->top[t->top_count++] = (token_logprob){t->id, t->logprob};
    for (uint32_t i = 0; i < c.count && t->top_count < most; i++) {
        int32_t id = (int32_t)(c.first + i);
        if (id != t->id) t->top[t->top_count++] = (token_logprob){id, t->logprob};
    }
}

/* Numbers that show which row they are of, and whether all rows before it were the same. */
static void score(uint64_t x, uint32_t vocab, const sample_input *in, token_out *t) {
    *t = (token_out){.id = in->given,
                     .logprob = -(float)(1 + x % 4096) / 256.0f,
                     .rank = 1 + (uint32_t)((x >> 16) % vocab)};
    t->top_count = MIN(MIN((uint32_t)in->params->prompt_logprobs, (uint32_t)SAMPLING_LOGPROBS_MAX), vocab);
    for (uint32_t i = 0; i < t->top_count; i++)
        t->top[i] = (token_logprob){(int32_t)(((x >> 32) + i) % vocab), -(float)(1 + i) / 256.0f};
}

void mock_sample(uint64_t x, uint32_t vocab, const sample_input *in, sample_result *out) {
    PRE(vocab > 0);
    PRE(in);
    PRE(in->params);
    PRE(out);
    *out = (sample_result){0};
    if (in->score) {
        score(x, vocab, in, &out->token);
        return;
    }
    candidates c = candidates_of(vocab);
    if (!choose(x, vocab, c, in, &out->token.id)) {
        out->broken = out->banned = true;
        return;
    }
    add_logprobs(c, in->params->logprobs, &out->token);
}
