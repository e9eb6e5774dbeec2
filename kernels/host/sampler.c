/* sampler - stages over one working copy of the logits, then a race.
 *
 *   raw logits -> bias -> penalties -> bans -> (greedy: max) | temperature -> min-p -> top-k -> top-p -> race
 *
 * Gumbel-max picks arg max of z + g with g = -log(e), e = -log(u). Since exp is monotone that is the arg min
 * of e / exp(z), a race of exponential clocks; in this form most tokens are dismissed by a bound before any
 * logarithm is taken (sample_loops.h).
 *
 * The uniform number of a token is word id % 4 of Philox(key = seed, counter = {id / 4, position, choice,
 * 0}): it depends on nothing else, so neither the filters nor the order of the candidates move it, and a
 * replay draws the same.
 *
 * min_tokens bans the end-of-generation ids and the stop ids. ignore_eos bans nothing, and does not lift
 * that ban either: it only says that an end id does not end the sequence (as in vLLM). A mask takes the
 * place of that ban.
 *
 * Top-k and top-p are sets: the shortest run of best tokens that has k members, or mass p. It is found by
 * selection (quickselect, by count or by mass) among the few that can belong to it; nothing is sorted. The
 * first pass leaves the largest logit of every block of ids, and later ones look into the blocks only that
 * hold something: k blocks whose tops are largest have k tokens, so no worse token is in the top k.
 *
 * The mass of a token is a whole number: its probability relative to the best token's in units of 2^-40, cut
 * off. Sums of whole numbers do not depend on the order, so any backend may add them up in any, and all cut
 * at the same token: top-p keeps the shortest run whose mass is at least max(1, ceil(top_p * total)), the
 * product taken in double. A token below 2^-40 of the best has mass 0: it can still be drawn, but no top-p
 * run needs it. */
#include "kernels/host/sampler.h"

#include "base/mem.h"
#include "kernels/host/sample_loops.h"

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
    uint32_t vocab, blocks;
    const sample_loops *loops;
    float *tops;     /* [blocks] the largest logit of each */
    float *ranked;   /* [blocks] for the k-th of them */
    float *logits;   /* [vocab] the working copy; NULL until one is needed */
    candidate *list; /* [list_capacity] what top-k and top-p choose from */
    uint32_t list_capacity;
    uint32_t *seen; /* [vocab] occurrences in the output; SEEN_PROMPT for the prompt. All 0 between calls.
                       NULL until they are needed */
};

#define SEEN_PROMPT 0x80000000u

sampler *sampler_new(uint32_t vocab) {
    PRE(vocab > 0);
    sampler *s = xcalloc(1, sizeof *s);
    s->vocab = vocab;
    s->blocks = (vocab + SAMPLE_BLOCK - 1) / SAMPLE_BLOCK;
    s->loops = &sample_loops_plain;
    s->tops = xcalloc(s->blocks, sizeof *s->tops);
    s->ranked = xcalloc(s->blocks, sizeof *s->ranked);
    return s;
}

void sampler_use(sampler *s, const sample_loops *loops) {
    PRE(s);
    PRE(loops);
    s->loops = loops;
}

void sampler_free(sampler *s) {
    if (!s) return;
    free(s->tops);
    free(s->ranked);
    free(s->logits);
    free(s->list);
    free(s->seen);
    free(s);
}

/* --- random numbers --- */

static race race_start(const sample_input *in) {
    return (race){.key = {(uint32_t)in->params->seed, (uint32_t)(in->params->seed >> 32)},
                  .position = in->prompt_count + in->output_count,
                  .choice = in->params->choice,
                  .best = INFINITY,
                  .winner = -1};
}

static uint32_t race_word(const race *r, int32_t id) {
    const uint32_t counter[4] = {(uint32_t)id / 4, r->position, r->choice, 0};
    uint32_t words[4];
    philox4x32_10(counter, r->key, words);
    return words[id % 4];
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
    if (!s->seen) s->seen = xcalloc(s->vocab, sizeof *s->seen);
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
    if (in->mask) return;
    if (in->output_count >= in->params->min_tokens) return;
    ban(s, in->eog, in->eog_count);
    ban(s, in->params->stop_ids, in->params->stop_id_count);
}

static void ban_unmasked(sampler *s, const uint32_t *mask) {
    for (uint32_t w = 0; w < (s->vocab + 31) / 32; w++) {
        uint32_t lacking = ~mask[w], first = w * 32;
        if (first + 32 > s->vocab) lacking &= (1u << (s->vocab - first)) - 1;
        if (lacking == UINT32_MAX) {
            for (uint32_t i = 0; i < 32; i++) s->logits[first + i] = -INFINITY;
            continue;
        }
        for (; lacking; lacking &= lacking - 1)
            s->logits[first + (uint32_t)__builtin_ctz(lacking)] = -INFINITY;
    }
}

/* --- choosing --- */

/* The lowest id with the largest value; -1 when all are -infinity or one is NaN or +infinity. Leaves the tops
 * of x. */
static int32_t arg_max(sampler *s, const float *x) {
    if (!s->loops->tops(x, s->vocab, s->tops)) return -1;
    uint32_t block = 0;
    for (uint32_t b = 1; b < s->blocks; b++)
        if (s->tops[b] > s->tops[block]) block = b;
    if (s->tops[block] == -INFINITY) return -1;
    uint32_t at = block * SAMPLE_BLOCK;
    while (x[at] != s->tops[block]) at++;
    return (int32_t)at;
}

static uint64_t need_of(float top_p, uint64_t total) {
    uint64_t need = (uint64_t)ceil((double)top_p * (double)total);
    return MAX(need, 1);
}

static void add_candidate(sampler *s, uint32_t at, candidate c) {
    if (at == s->list_capacity) {
        s->list_capacity = MIN(MAX(2 * s->list_capacity, 1024u), s->vocab);
        s->list = xrealloc(s->list, s->list_capacity, sizeof *s->list);
    }
    s->list[at] = c;
}

/* Tokens whose logit is at least `least` and whose probability is above 0 and at least `floor`, in order.
 * Probabilities follow the distance from the best but for the rounding of exact_exp and of the quotient,
 * which the margin outweighs: what is dismissed by its distance, with its block or alone, has less. */
static uint32_t collect(sampler *s, const float *x, sample_scale scale, float least, float floor) {
    uint32_t count = 0;
    float far = floor > 0 ? (float)((double)scale.temperature * (exact_log(floor) - 1e-3)) : -INFINITY;
    for (uint32_t b = 0; b < s->blocks; b++) {
        if (s->tops[b] < least || s->tops[b] - scale.best < far) continue;
        for (uint32_t i = b * SAMPLE_BLOCK; i < MIN((b + 1) * SAMPLE_BLOCK, s->vocab); i++) {
            if (x[i] < least || x[i] - scale.best < far) continue;
            float z = sample_z(x[i], scale), p = exact_exp_of(z);
            if (p > 0 && p >= floor) add_candidate(s, count++, (candidate){.z = z, .p = p, .id = (int32_t)i});
        }
    }
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
            left += sample_mass(c[i].p);
            swap(&c[i], &c[++at]);
        }
        swap(&c[low], &c[at]);
        uint64_t with_pivot = sum + left + sample_mass(c[at].p);
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

static void swap_floats(float *a, float *b) {
    float x = *a;
    *a = *b;
    *b = x;
}

/* A logit that at least k tokens have or exceed: the k-th largest top of a block. -infinity when there are
 * fewer blocks. By quickselect of the descending order. */
static float least_of_top_k(sampler *s, uint32_t k) {
    if (k > s->blocks) return -INFINITY;
    float *x = s->ranked;
    memcpy(x, s->tops, s->blocks * sizeof *x);
    uint32_t low = 0, high = s->blocks; /* the k-th is in [low, high) */
    while (high - low > 1) {
        float pivot = x[low + (high - low) / 2];
        uint32_t larger = low, i = low,
                 end = high; /* [low, larger) > pivot, [larger, i) equal, [end, ..) < */
        while (i < end) {
            if (x[i] > pivot)
                swap_floats(&x[i++], &x[larger++]);
            else if (x[i] < pivot)
                swap_floats(&x[i], &x[--end]);
            else
                i++;
        }
        if (k - 1 < larger)
            high = larger;
        else if (k - 1 < end)
            return pivot;
        else
            low = end;
    }
    return x[low];
}

static uint64_t mass_of(const candidate *c, uint32_t count) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++) total += sample_mass(c[i].p);
    return total;
}

/* Puts those that pass min-p, top-k and top-p into the list; returns how many. At least one does.
 *
 * With top-p alone, tokens whose mass is below the mean of what the run leaves cannot belong to it: with all
 * that follow one of them they have at most vocab times that, so the run is full before it. Probabilities
 * follow the order but for the rounding of exact_exp, which the factor outweighs a thousand times: the
 * shortcut never decides. */
static uint32_t filter(sampler *s, const float *x, const sampling *p, sample_scale scale) {
    bool by_k = p->top_k > 0 && (uint32_t)p->top_k < s->vocab;
    if (!by_k && !(p->min_p > 0)) {
        uint64_t total = s->loops->mass(x, s->vocab, scale), need = need_of(p->top_p, total);
        uint64_t mean = (total - need) / s->vocab;
        uint32_t count = collect(s, x, scale, -INFINITY, (float)((double)mean * 0.999 * 0x1p-40));
        return cut(s->list, count, count, need);
    }
    float least = by_k ? least_of_top_k(s, (uint32_t)p->top_k) : -INFINITY;
    uint32_t count = collect(s, x, scale, least, p->min_p > 0 ? p->min_p : 0.0f);
    if (by_k) count = cut(s->list, count, (uint32_t)p->top_k, UINT64_MAX);
    if (p->top_p >= 1.0f) return count;
    return cut(s->list, count, count, need_of(p->top_p, mass_of(s->list, count)));
}

static int32_t draw(sampler *s, const float *x, const sample_input *in, float best) {
    const sampling *p = in->params;
    race r = race_start(in);
    const sample_scale scale = {.best = best, .temperature = p->temperature};
    if (p->top_p < 1.0f || p->min_p > 0 || (p->top_k > 0 && (uint32_t)p->top_k < s->vocab)) {
        uint32_t count = filter(s, x, p, scale);
        for (uint32_t i = 0; i < count; i++)
            race_enter(&r, s->list[i].id, s->list[i].p, race_word(&r, s->list[i].id));
    } else {
        s->loops->run(&r, x, s->vocab, scale);
    }
    POST(r.winner >= 0);
    return r.winner;
}

/* --- logprobs --- */

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
    int32_t first = arg_max(s, logits);
    PRE(first >= 0);
    float best = logits[first];
    uint32_t top = (uint32_t)MIN(MIN(wanted, SAMPLING_LOGPROBS_MAX), (int32_t)s->vocab);
    out->top_count = 0;
    for (uint32_t b = 0; b < s->blocks && top > 0; b++) {
        if (out->top_count == top && s->tops[b] <= out->top[top - 1].logprob) continue;
        for (uint32_t i = b * SAMPLE_BLOCK; i < MIN((b + 1) * SAMPLE_BLOCK, s->vocab); i++)
            add_top(out, top, (int32_t)i, logits[i]);
    }
    double log_sum = (double)best + exact_log(s->loops->exp_sum(logits, s->vocab, best));
    out->logprob = (float)((double)logits[out->id] - log_sum);
    for (uint32_t i = 0; i < out->top_count; i++)
        out->top[i].logprob = (float)((double)out->top[i].logprob - log_sum);
}

/* 1 + how many come before it, in the order of the best. */
static uint32_t rank_of(const float *logits, uint32_t vocab, int32_t id) {
    float own = logits[id];
    uint32_t better = 0;
    for (uint32_t i = 0; i < (uint32_t)id; i++) better += logits[i] >= own;
    for (uint32_t i = (uint32_t)id; i < vocab; i++) better += logits[i] > own;
    return better + 1;
}

void sampler_score(sampler *s, const float *logits, int32_t given, int32_t wanted, sample_result *out) {
    PRE(s);
    PRE(logits);
    PRE(out);
    PRE(given >= 0);
    PRE((uint32_t)given < s->vocab);
    *out = (sample_result){.broken = true, .token = {.id = given}};
    if (arg_max(s, logits) < 0) return;
    out->broken = false;
    sampler_logprobs(s, logits, wanted, &out->token);
    out->token.rank = rank_of(logits, s->vocab, given);
}

/* --- all of it --- */

static bool changes_logits(const sample_input *in) {
    const sampling *p = in->params;
    return p->bias_count > 0 || sampling_penalises(p) || in->output_count < p->min_tokens || in->mask;
}

void sampler_next(sampler *s, const float *logits, const sample_input *in, sample_result *out) {
    PRE(s);
    PRE(in);
    PRE(out);
    PRE(logits);
    PRE(in->params);
    if (in->score) {
        sampler_score(s, logits, in->given, in->params->prompt_logprobs, out);
        return;
    }
    PRE(in->params->temperature >= 0);
    PRE(in->params->repetition_penalty > 0);

    *out = (sample_result){.broken = true};
    int32_t best = arg_max(s, logits);
    if (best < 0) return;
    const float *x = logits;
    if (changes_logits(in)) {
        if (!s->logits) s->logits = xcalloc(s->vocab, sizeof *s->logits);
        memcpy(s->logits, logits, s->vocab * sizeof *s->logits);
        add_bias(s, in->params);
        apply_penalties(s, in);
        ban_ends(s, in);
        if (in->mask) ban_unmasked(s, in->mask);
        x = s->logits;
        best = arg_max(s, x);
        out->banned = best < 0;
        if (best < 0) return;
    }
    out->broken = false;
    out->token = (token_out){.id = best, .fin = FINISH_NONE};
    if (in->params->temperature > 0) out->token.id = draw(s, x, in, x[best]);
    if (in->params->logprobs >= 0) sampler_logprobs(s, logits, in->params->logprobs, &out->token);
}
