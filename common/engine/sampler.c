/* sampler - stages over one working copy of the logits, then a race.
 *
 *   raw logits -> bias -> penalties -> bans -> (greedy: arg max) -> temperature -> min-p -> top-k -> top-p -> race
 *
 * Gumbel-max picks arg max of z + g with g = -log(e), e = -log(u). Since exp is monotone that is the arg min of e / exp(z), a race of
 * exponential clocks; in this form most tokens are dismissed by a bound before any logarithm is taken (see race).
 *
 * The uniform number of a token is word id % 4 of Philox(key = seed, counter = {id / 4, position, choice, 0}): it depends on nothing
 * else, so neither the filters nor the order of the candidates move it, and a replay draws the same.
 *
 * min_tokens bans the end-of-generation ids and the stop ids. ignore_eos bans nothing, and does not lift that ban either: it only
 * says that an end id does not end the sequence (as in vLLM).
 *
 * Top-k and top-p need the largest candidates in order, but rarely many: a heap is built in O(n) and popped as far as needed. */
#include "engine/sampler.h"

#include "base/mem.h"
#include "engine/exact_math.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct candidate {
    double p; /* exp(z): probability relative to the best token */
    float z;  /* (logit - best logit) / temperature, <= 0 */
    int32_t id;
} candidate;

struct sampler {
    uint32_t vocab;
    float *logits;     /* [vocab] the working copy */
    candidate *heap;   /* [vocab] */
    candidate *picked; /* [vocab] popped from the heap, best first */
    uint32_t *seen;    /* [vocab] occurrences in the output; SEEN_PROMPT for the prompt. All 0 between calls */
};

#define SEEN_PROMPT 0x80000000u

sampler *sampler_new(uint32_t vocab) {
    PRE(vocab > 0);
    sampler *s = xcalloc(1, sizeof *s);
    s->vocab = vocab;
    s->logits = xcalloc(vocab, sizeof *s->logits);
    s->heap = xcalloc(vocab, sizeof *s->heap);
    s->picked = xcalloc(vocab, sizeof *s->picked);
    s->seen = xcalloc(vocab, sizeof *s->seen);
    return s;
}

void sampler_free(sampler *s) {
    if (!s) return;
    free(s->logits);
    free(s->heap);
    free(s->picked);
    free(s->seen);
    free(s);
}

/* --- random numbers --- */

void philox4x32_10(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* Words of the tokens' random numbers; remembers the last group of four, for candidates in ascending order of id. */
typedef struct noise {
    uint32_t key[2], position, choice;
    uint32_t group; /* id / 4 of `words`; UINT32_MAX = none */
    uint32_t words[4];
} noise;

static double noise_of(noise *n, int32_t id) {
    uint32_t group = (uint32_t)id / 4;
    if (group != n->group) {
        const uint32_t counter[4] = {group, n->position, n->choice, 0};
        philox4x32_10(counter, n->key, n->words);
        n->group = group;
    }
    return ((double)n->words[id % 4] + 0.5) * 0x1p-32; /* in (0, 1), exact */
}

/* The candidate with the smallest -log(u) / p; ties to the lowest id. Since -log(u) >= 1 - u, a candidate with (1 - u) / p above
 * the best so far has lost; the margin is far larger than the rounding errors, so the shortcut never decides. */
static int32_t race(const candidate *c, uint32_t count, noise *n) {
    double best = INFINITY;
    int32_t winner = -1;
    for (uint32_t i = 0; i < count; i++) {
        double u = noise_of(n, c[i].id);
        if (1.0 - u > best * c[i].p * (1 + 1e-12)) continue;
        double arrival = -exact_log(u) / c[i].p;
        if (arrival > best || (arrival == best && c[i].id > winner)) continue;
        best = arrival;
        winner = c[i].id;
    }
    POST(winner >= 0);
    return winner;
}

/* --- stages on the working copy --- */

static void add_bias(sampler *s, const sampling *p) {
    for (uint32_t i = 0; i < p->bias_count; i++) {
        PRE(p->bias[i].id >= 0 && (uint32_t)p->bias[i].id < s->vocab);
        s->logits[p->bias[i].id] += p->bias[i].bias;
    }
}

/* A penalised logit stays finite, or a tiny repetition penalty would make several tokens equally infinite. */
static float penalised(float logit, uint32_t seen, const sampling *p) {
    if (p->repetition_penalty != 1.0f) logit = logit > 0 ? logit / p->repetition_penalty : logit * p->repetition_penalty;
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

static bool penalises(const sampling *p) {
    return p->repetition_penalty != 1.0f || p->presence_penalty != 0 || p->frequency_penalty != 0;
}

static void apply_penalties(sampler *s, const sample_input *in) {
    const sampling *p = in->params;
    if (!penalises(p)) return;
    uint32_t prompt_count = p->repetition_penalty != 1.0f ? in->prompt_count : 0; /* the others are about the output only */
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
    float best = -INFINITY;
    int32_t at = -1;
    bool sane = true;
    for (uint32_t i = 0; i < count; i++) {
        sane &= x[i] <= FLT_MAX; /* false for NaN too */
        if (x[i] > best) {
            best = x[i];
            at = (int32_t)i;
        }
    }
    return sane ? at : -1;
}

/* Temperature and min-p: the candidates in ascending order of id. */
static uint32_t collect(sampler *s, const sampling *p, float best) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->vocab; i++) {
        float z = (s->logits[i] - best) / p->temperature;
        double odds = exact_exp((double)z);
        if (odds <= 0 || odds < (double)p->min_p) continue;
        s->heap[count++] = (candidate){.p = odds, .z = z, .id = (int32_t)i};
    }
    return count;
}

static bool before(const candidate *a, const candidate *b) {
    return a->z > b->z || (a->z == b->z && a->id < b->id);
}

static void sift_down(candidate *h, uint32_t count, uint32_t at) {
    candidate c = h[at];
    for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && before(&h[child + 1], &h[child])) child++;
        if (!before(&h[child], &c)) break;
        h[at] = h[child];
    }
    h[at] = c;
}

static void heap_make(candidate *h, uint32_t count) {
    for (uint32_t i = count / 2; i-- > 0;) sift_down(h, count, i);
}

static candidate heap_pop(candidate *h, uint32_t *count) {
    candidate top = h[0];
    h[0] = h[--*count];
    if (*count) sift_down(h, *count, 0);
    return top;
}

static uint32_t pick_top_k(sampler *s, uint32_t count, uint32_t k) {
    heap_make(s->heap, count);
    for (uint32_t i = 0; i < k; i++) s->picked[i] = heap_pop(s->heap, &count);
    return k;
}

static double mass_of(const candidate *c, uint32_t count) {
    double sum = 0;
    for (uint32_t i = 0; i < count; i++) sum += c[i].p;
    return sum;
}

/* The shortest run of best candidates whose mass reaches top_p. Those below (1 - top_p) / count of the mass cannot belong to it: what
 * follows one of them in order would not fill the rest. They never enter the heap. */
static uint32_t pick_top_p(sampler *s, uint32_t count, float top_p) {
    double mass = mass_of(s->heap, count), floor = (1.0 - (double)top_p) * mass / count * (1 - 1e-9);
    uint32_t kept = 0, picked = 0;
    for (uint32_t i = 0; i < count; i++)
        if (s->heap[i].p >= floor) s->heap[kept++] = s->heap[i];
    heap_make(s->heap, kept);
    double sum = 0;
    do {
        s->picked[picked] = heap_pop(s->heap, &kept);
        sum += s->picked[picked++].p;
    } while (kept > 0 && sum < (double)top_p * mass);
    return picked;
}

/* The same on candidates that are in order already. */
static uint32_t cut_top_p(const candidate *c, uint32_t count, float top_p) {
    double want = (double)top_p * mass_of(c, count), sum = 0;
    for (uint32_t i = 0; i < count; i++)
        if ((sum += c[i].p) >= want) return i + 1;
    return count;
}

static int32_t draw(sampler *s, const sample_input *in, float best) {
    const sampling *p = in->params;
    noise n = {.key = {(uint32_t)p->seed, (uint32_t)(p->seed >> 32)},
               .position = in->prompt_count + in->output_count,
               .choice = p->choice,
               .group = UINT32_MAX};
    uint32_t count = collect(s, p, best);
    bool by_k = p->top_k > 0 && (uint32_t)p->top_k < count, by_p = p->top_p < 1.0f;
    if (by_k) count = pick_top_k(s, count, (uint32_t)p->top_k);
    if (by_p) count = by_k ? cut_top_p(s->picked, count, p->top_p) : pick_top_p(s, count, p->top_p);
    return race(by_k || by_p ? s->picked : s->heap, count, &n);
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
static void fill_logprobs(const sampler *s, const float *logits, int32_t wanted, token_out *out) {
    float best = logits[arg_max(logits, s->vocab)];
    uint32_t top = (uint32_t)MIN(MIN(wanted, SAMPLING_LOGPROBS_MAX), (int32_t)s->vocab);
    double sum = 0;
    for (uint32_t i = 0; i < s->vocab; i++) {
        sum += exact_exp((double)logits[i] - (double)best);
        add_top(out, top, (int32_t)i, logits[i]);
    }
    double log_sum = (double)best + exact_log(sum);
    out->logprob = (float)((double)logits[out->id] - log_sum);
    for (uint32_t i = 0; i < out->top_count; i++) out->top[i].logprob = (float)((double)out->top[i].logprob - log_sum);
}

/* --- all of it --- */

static bool changes_logits(const sample_input *in) {
    const sampling *p = in->params;
    return p->bias_count > 0 || penalises(p) || in->output_count < p->min_tokens;
}

status sampler_next(sampler *s, const sample_input *in, token_out *out, errbuf *eb) {
    PRE(s && in && out);
    PRE(in->logits && in->params);
    PRE(in->params->temperature >= 0);
    PRE(in->params->repetition_penalty > 0);

    int32_t best = arg_max(in->logits, s->vocab);
    if (best < 0) return errf(eb, ST_CORRUPT, "sampler: a logit is not a number, or all are -infinity: the weights or the machine are broken");
    const float *logits = in->logits;
    if (changes_logits(in) || in->params->temperature > 0) {
        memcpy(s->logits, in->logits, s->vocab * sizeof *s->logits);
        logits = s->logits;
    }
    if (changes_logits(in)) {
        add_bias(s, in->params);
        apply_penalties(s, in);
        ban_ends(s, in);
        best = arg_max(s->logits, s->vocab);
        if (best < 0) return errf(eb, ST_CORRUPT, "sampler: every token is banned by min_tokens, stop ids and logit_bias");
    }
    token_out chosen = {.id = best, .fin = FINISH_NONE};
    if (in->params->temperature > 0) chosen.id = draw(s, in, logits[best]);
    if (in->params->logprobs >= 0) fill_logprobs(s, in->logits, in->params->logprobs, &chosen);
    *out = chosen;
    return ST_OK;
}
