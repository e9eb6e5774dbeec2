/* sampler - stages over one working copy of the logits, then a race.
 *
 *   raw logits -> bias -> penalties -> bans -> (greedy: max) | temperature -> min-p -> top-k -> top-p -> race
 *
 * Gumbel-max picks arg max of z + g with g = -log(e), e = -log(u). Since exp is monotone that is the arg min
 * of e / exp(z), a race of exponential clocks; in this form most tokens are dismissed by a bound before any
 * logarithm is taken (see race).
 *
 * The uniform number of a token is word id % 4 of Philox(key = seed, counter = {id / 4, position, choice,
 * 0}): it depends on nothing else, so neither the filters nor the order of the candidates move it, and a
 * replay draws the same.
 *
 * min_tokens bans the end-of-generation ids and the stop ids. ignore_eos bans nothing, and does not lift
 * that ban either: it only says that an end id does not end the sequence (as in vLLM).
 *
 * Top-k and top-p are sets: the shortest run of best tokens that has k members, or mass p. It is found by
 * selection in O(vocab) (quickselect, by count or by mass); nothing is sorted.
 *
 * The mass of a token is a whole number: its probability relative to the best token's in units of 2^-40, cut
 * off. Sums of whole numbers do not depend on the order, so any backend may add them up in any, and all cut
 * at the same token: top-p keeps the shortest run whose mass is at least max(1, ceil(top_p * total)), the
 * product taken in double. A token below 2^-40 of the best has mass 0: it can still be drawn, but no top-p
 * run needs it. */
#include "kernels/host/sampler.h"

#include "base/mem.h"
#include "kernels/host/exact_math.h"
#include "kernels/philox.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct candidate {
    float z; /* (logit - best logit) / temperature, <= 0 */
    float p; /* exp(z): probability relative to the best token */
    int32_t id;
} candidate;

struct sampler {
    uint32_t vocab;
    float *logits;   /* [vocab] the working copy; z after temperature */
    float *p;        /* [vocab] exp(z); 0 = cannot come */
    candidate *list; /* [vocab] what top-k and top-p choose from */
    uint32_t *seen;  /* [vocab] occurrences in the output; SEEN_PROMPT for the prompt. All 0 between calls */
};

#define SEEN_PROMPT 0x80000000u

sampler *sampler_new(uint32_t vocab) {
    PRE(vocab > 0);
    sampler *s = xcalloc(1, sizeof *s);
    s->vocab = vocab;
    s->logits = xcalloc(vocab, sizeof *s->logits);
    s->p = xcalloc(vocab, sizeof *s->p);
    s->list = xcalloc(vocab, sizeof *s->list);
    s->seen = xcalloc(vocab, sizeof *s->seen);
    return s;
}

void sampler_free(sampler *s) {
    if (!s) return;
    free(s->logits);
    free(s->p);
    free(s->list);
    free(s->seen);
    free(s);
}

/* --- random numbers --- */

/* A race of exponential clocks: the smallest -log(u) / p wins, of equals the lowest id. */
typedef struct race {
    uint32_t key[2], position, choice;
    uint32_t group; /* id / 4 of `words`; UINT32_MAX = none: candidates in order of id share a call */
    uint32_t words[4];
    double best; /* the winner's time so far */
    int32_t winner;
} race;

static race race_start(const sample_input *in) {
    return (race){.key = {(uint32_t)in->params->seed, (uint32_t)(in->params->seed >> 32)},
                  .position = in->prompt_count + in->output_count,
                  .choice = in->params->choice,
                  .group = UINT32_MAX,
                  .best = INFINITY,
                  .winner = -1};
}

/* Since -log(u) >= 1 - u, a candidate with (1 - u) / p above the best so far has lost, and most are dismissed
 * so; the margin is far larger than the rounding errors, so the shortcut never decides. */
static inline void race_enter(race *r, int32_t id, float p) {
    uint32_t group = (uint32_t)id / 4;
    if (group != r->group) {
        const uint32_t counter[4] = {group, r->position, r->choice, 0};
        philox4x32_10(counter, r->key, r->words);
        r->group = group;
    }
    double u = ((double)r->words[id % 4] + 0.5) * 0x1p-32; /* in (0, 1), exact */
    if (1.0 - u > r->best * (double)p * (1 + 1e-12)) return;
    double time = -exact_log(u) / (double)p;
    if (time > r->best || (time == r->best && id > r->winner)) return;
    r->best = time;
    r->winner = id;
}

/* --- stages on the working copy --- */

static void add_bias(sampler *s, const sampling *p) {
    for (uint32_t i = 0; i < p->bias_count; i++) {
        PRE(p->bias[i].id >= 0);
        PRE((uint32_t)p->bias[i].id < s->vocab);
        s->logits[p->bias[i].id] += p->bias[i].bias;
    }
}

/* A penalised logit stays finite, or a tiny repetition penalty would make several tokens equally infinite. */
static float penalised(float logit, uint32_t seen, const sampling *p) {
    if (p->repetition_penalty != 1.0f)
        logit = logit > 0 ? logit / p->repetition_penalty : logit * p->repetition_penalty;
    uint32_t times = seen & ~SEEN_PROMPT;
    if (times > 0) logit -= p->frequency_penalty * (float)times + p->presence_penalty;
    return logit > FLT_MAX ? FLT_MAX : logit;
}

/* Each id once: its mark is taken away when it was served, which also leaves the marks clean. */
static void serve_penalties(sampler *s, const int32_t *ids, uint32_t count, const sampling *p) {
    for (uint32_t i = 0; i < count; i++) {
        uint32_t *seen = &s->seen[ids[i]];
        if (*seen) s->logits[ids[i]] = penalised(s->logits[ids[i]], *seen, p);
        *seen = 0;
    }
}

static void apply_penalties(sampler *s, const sample_input *in) {
    const sampling *p = in->params;
    if (!sampling_penalises(p)) return;
    uint32_t prompt_count =
        p->repetition_penalty != 1.0f ? in->prompt_count : 0; /* the others are about the output only */
    for (uint32_t i = 0; i < prompt_count; i++) s->seen[in->prompt[i]] = SEEN_PROMPT;
    for (uint32_t i = 0; i < in->output_count; i++) s->seen[in->output[i]]++;
    serve_penalties(s, in->prompt, prompt_count, p);
    serve_penalties(s, in->output, in->output_count, p);
}

static void ban(sampler *s, const int32_t *ids, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (ids[i] >= 0 && (uint32_t)ids[i] < s->vocab) s->logits[ids[i]] = -INFINITY;
}

static void ban_ends(sampler *s, const sample_input *in) {
    if (in->output_count >= in->params->min_tokens) return;
    ban(s, in->eog, in->eog_count);
    ban(s, in->params->stop_ids, in->params->stop_id_count);
}

/* --- choosing --- */

/* The lowest id with the largest value; -1 when all are -infinity or one is NaN or +infinity. */
static int32_t arg_max(const float *x, uint32_t count) {
    enum { LANES = 8 }; /* independent maxima, for vector registers */
    float most[LANES];
    for (int l = 0; l < LANES; l++) most[l] = -INFINITY;
    uint32_t broken = 0, i = 0;
    for (; i + LANES <= count; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            broken |= !(x[i + l] <= FLT_MAX); /* NaN too */
            most[l] = x[i + l] > most[l] ? x[i + l] : most[l];
        }
    }
    for (; i < count; i++) {
        broken |= !(x[i] <= FLT_MAX);
        most[0] = x[i] > most[0] ? x[i] : most[0];
    }
    for (int l = 1; l < LANES; l++) most[0] = most[l] > most[0] ? most[l] : most[0];
    if (broken || most[0] == -INFINITY) return -1;
    int32_t at = 0;
    while (x[at] != most[0]) at++;
    return at;
}

/* Temperature and min-p. */
static void weigh(sampler *s, const sampling *p, float best) {
    for (uint32_t i = 0; i < s->vocab; i++) s->logits[i] = (s->logits[i] - best) / p->temperature;
    exact_exp(s->logits, s->p, s->vocab);
    for (uint32_t i = 0; i < s->vocab && p->min_p > 0; i++) s->p[i] = s->p[i] < p->min_p ? 0.0f : s->p[i];
}

static uint64_t mass(float p) {
    return (uint64_t)(int64_t)(p * 0x1p40f); /* p is in [0, 1]; a signed conversion is one instruction */
}

static uint64_t need_of(float top_p, uint64_t total) {
    uint64_t need = (uint64_t)ceil((double)top_p * (double)total);
    return MAX(need, 1);
}

static uint32_t collect(sampler *s, float floor) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->vocab; i++)
        if (s->p[i] > 0 && s->p[i] >= floor)
            s->list[count++] = (candidate){.z = s->logits[i], .p = s->p[i], .id = (int32_t)i};
    return count;
}

static bool before(const candidate *a, const candidate *b) {
    return a->z > b->z || (a->z == b->z && a->id < b->id);
}

static void swap(candidate *a, candidate *b) {
    candidate c = *a;
    *a = *b;
    *b = c;
}

/* Puts the median of three where partition expects the pivot: at `first`. */
static void place_pivot(candidate *first, candidate *middle, candidate *last) {
    if (before(middle, first)) swap(middle, first);
    if (before(last, first)) swap(last, first);
    if (before(last, middle)) swap(last, middle);
    swap(first, middle);
}

/* Moves to the front the shortest run of best candidates that has `most` members or mass `need`, and returns
 * its length. Invariant: [0, low) is in the run and does not fill it; [0, high) fills it or is everything. */
static uint32_t cut(candidate *c, uint32_t count, uint32_t most, uint64_t need) {
    uint32_t low = 0, high = count;
    uint64_t sum = 0; /* mass of [0, low) */
    while (high - low > 1) {
        place_pivot(&c[low], &c[low + (high - low) / 2], &c[high - 1]);
        uint32_t at = low; /* (low, at] come before the pivot */
        uint64_t left = 0; /* their mass */
        for (uint32_t i = low + 1; i < high; i++) {
            if (!before(&c[i], &c[low])) continue;
            left += mass(c[i].p);
            swap(&c[i], &c[++at]);
        }
        swap(&c[low], &c[at]);
        uint64_t with_pivot = sum + left + mass(c[at].p);
        if (at > low && (at >= most || sum + left >= need)) {
            high = at;
        } else if (at + 1 >= most || with_pivot >= need) {
            return at + 1;
        } else {
            sum = with_pivot;
            low = at + 1;
        }
    }
    return high;
}

/* Tokens whose mass is below the mean of what the run leaves cannot belong to it: with all that follow one of
 * them they have at most vocab times that, so the run is full before it. Probabilities follow the order but
 * for the rounding of exact_exp, which the factor outweighs a thousand times: the shortcut never decides. */
static uint32_t filter(sampler *s, const sampling *p) {
    PRE(s->vocab > 0);
    bool by_k = p->top_k > 0 && (uint32_t)p->top_k < s->vocab;
    if (!by_k) {
        uint64_t total = 0;
        for (uint32_t i = 0; i < s->vocab; i++) total += mass(s->p[i]);
        uint64_t need = need_of(p->top_p, total), mean = (total - need) / s->vocab;
        uint32_t count = collect(s, (float)((double)mean * 0.999 * 0x1p-40));
        return cut(s->list, count, count, need);
    }
    uint32_t count = cut(s->list, collect(s, 0), (uint32_t)p->top_k, UINT64_MAX);
    if (p->top_p >= 1.0f) return count;
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++) total += mass(s->list[i].p);
    return cut(s->list, count, count, need_of(p->top_p, total));
}

static int32_t draw(sampler *s, const sample_input *in, float best) {
    const sampling *p = in->params;
    race r = race_start(in);
    weigh(s, p, best);
    if (p->top_p < 1.0f || (p->top_k > 0 && (uint32_t)p->top_k < s->vocab)) {
        uint32_t count = filter(s, p);
        for (uint32_t i = 0; i < count; i++) race_enter(&r, s->list[i].id, s->list[i].p);
    } else {
        for (uint32_t i = 0; i < s->vocab; i++)
            if (s->p[i] > 0) race_enter(&r, (int32_t)i, s->p[i]);
    }
    POST(r.winner >= 0);
    return r.winner;
}

/* --- logprobs --- */

static double sum_of(const float *p, uint32_t count) {
    double part[4] = {0};
    uint32_t i = 0;
    for (; i + 4 <= count; i += 4)
        for (int l = 0; l < 4; l++) part[l] += (double)p[i + l];
    for (; i < count; i++) part[0] += (double)p[i];
    return (part[0] + part[1]) + (part[2] + part[3]);
}

static void add_top(token_out *out, uint32_t want, int32_t id, float logit) {
    if (out->top_count == want && (want == 0 || logit <= out->top[want - 1].logprob)) return;
    uint32_t at = out->top_count < want ? out->top_count++ : want - 1;
    /* Ids come in ascending order, so an equal one stays behind. */
    for (; at > 0 && out->top[at - 1].logprob < logit; at--) out->top[at] = out->top[at - 1];
    out->top[at] = (token_logprob){.id = id, .logprob = logit};
}

/* log softmax of the raw logits. The best are found on the logits and turned into logprobs afterwards. */
void sampler_logprobs(sampler *s, const float *logits, int32_t wanted, token_out *out) {
    PRE(s);
    PRE(logits);
    PRE(out);
    PRE(wanted >= 0);
    PRE(out->id >= 0);
    PRE((uint32_t)out->id < s->vocab);
    int32_t first = arg_max(logits, s->vocab);
    PRE(first >= 0);
    float best = logits[first];
    uint32_t top = (uint32_t)MIN(MIN(wanted, SAMPLING_LOGPROBS_MAX), (int32_t)s->vocab);
    out->top_count = 0;
    for (uint32_t i = 0; i < s->vocab; i++) {
        s->p[i] = logits[i] - best;
        add_top(out, top, (int32_t)i, logits[i]);
    }
    exact_exp(s->p, s->p, s->vocab);
    double log_sum = (double)best + exact_log(sum_of(s->p, s->vocab));
    out->logprob = (float)((double)logits[out->id] - log_sum);
    for (uint32_t i = 0; i < out->top_count; i++)
        out->top[i].logprob = (float)((double)out->top[i].logprob - log_sum);
}

/* --- all of it --- */

static bool changes_logits(const sample_input *in) {
    const sampling *p = in->params;
    return p->bias_count > 0 || sampling_penalises(p) || in->output_count < p->min_tokens;
}

void sampler_next(sampler *s, const float *logits, const sample_input *in, sample_result *out) {
    PRE(s);
    PRE(in);
    PRE(out);
    PRE(logits);
    PRE(in->params);
    PRE(in->params->temperature >= 0);
    PRE(in->params->repetition_penalty > 0);

    *out = (sample_result){.broken = true};
    int32_t best = arg_max(logits, s->vocab);
    if (best < 0) return;
    const float *changed = logits;
    if (changes_logits(in) || in->params->temperature > 0) {
        memcpy(s->logits, logits, s->vocab * sizeof *s->logits);
        changed = s->logits;
    }
    if (changes_logits(in)) {
        add_bias(s, in->params);
        apply_penalties(s, in);
        ban_ends(s, in);
        best = arg_max(s->logits, s->vocab);
        out->banned = best < 0;
        if (best < 0) return;
    }
    out->broken = false;
    out->token = (token_out){.id = best, .fin = FINISH_NONE};
    if (in->params->temperature > 0) out->token.id = draw(s, in, changed[best]);
    if (in->params->logprobs >= 0) sampler_logprobs(s, logits, in->params->logprobs, &out->token);
}
