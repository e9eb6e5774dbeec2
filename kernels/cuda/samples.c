/* samples - from the requests' wishes to what the sampling kernel reads, and from what it chose to results.
 *
 * A row's wishes are one sample_row of the step's tables. Ids for penalties, bans and biases are lists of any
 * length: they are packed behind one another into one buffer and its pinned twin, when there are any, and
 * rows point into it. The buffer is in use until step_end. It has room for what any step can ask for, taken
 * at start: no request's wish can find the GPU full later and end the worker.
 *
 * Log-probabilities are of the raw logits, which the kernel overwrites, and few ask for them: those rows are
 * copied to the host before it runs, and the host computes them as every backend does. All other logits stay
 * on the GPU. */
#include "kernels/cuda/samples.h"

#include "base/mem.h"
#include "kernels/host/sampler.h"

#include <stdlib.h>
#include <string.h>

#define EOG_IDS_MAX 256u /* end-of-generation ids that a vocabulary may have */
/* Words of a row's lists beside the ids of its tokens. */
#define ROW_WORDS (EOG_IDS_MAX + SAMPLING_STOP_IDS_MAX + 2 * SAMPLING_BIAS_MAX)

struct samples {
    char *lists_dev, *lists_host; /* [lists_bytes] */
    size_t lists_bytes;
    uint32_t vocab;
    uint32_t *seen;     /* [max_head, vocab] zeros */
    float *logits_host; /* [max_head, vocab] pinned; for logprobs */
    sampler *sampler;   /* for logprobs */
};

static size_t seen_bytes(const device *d, uint32_t vocab) {
    return (size_t)d->opt.max_head * vocab * sizeof(uint32_t);
}

void samples_new(device *d) {
    PRE(d);
    PRE(!d->samples);
    d->samples = xcalloc(1, sizeof *d->samples);
}

static void forget_logits(device *d) {
    samples *s = d->samples;
    gpu_give(d, s->seen, seen_bytes(d, s->vocab));
    gpu_pinned_give(d, s->logits_host);
    sampler_free(s->sampler);
    s->seen = NULL;
    s->logits_host = NULL;
    s->sampler = NULL;
    s->vocab = 0;
}

static void forget_lists(device *d) {
    samples *s = d->samples;
    gpu_give(d, s->lists_dev, s->lists_bytes); /* nothing when there is none */
    gpu_pinned_give(d, s->lists_host);
    s->lists_dev = s->lists_host = NULL;
    s->lists_bytes = 0;
}

void samples_free(device *d) {
    PRE(d);
    if (!d->samples) return;
    forget_logits(d);
    forget_lists(d);
    free(d->samples);
    d->samples = NULL;
}

status samples_reserve(device *d, uint32_t vocab) {
    PRE(d);
    PRE(vocab > 0);
    samples *s = d->samples;
    if (vocab <= s->vocab) return ST_OK;
    forget_logits(d);
    s->vocab = vocab;
    s->seen = gpu_take(d, seen_bytes(d, vocab));
    s->logits_host = gpu_pinned_take((size_t)d->opt.max_head * vocab * sizeof *s->logits_host);
    if (!s->seen || !s->logits_host) return ST_NOMEM;
    s->sampler = sampler_new(vocab);
    return ST_OK;
}

/* All tokens of a step's sequences but the newest of each are in KV pages, so the pool bounds their ids. */
status samples_lists_new(device *d, errbuf *eb) {
    PRE(d);
    samples *s = d->samples;
    const device_options *o = &d->opt;
    size_t rows = MIN(o->max_rows, o->max_seqs), tokens = (size_t)o->page_count * KV_PAGE_TOKENS + rows;
    forget_lists(d);
    s->lists_bytes = (tokens + rows * ROW_WORDS) * sizeof(int32_t);
    s->lists_dev = gpu_take(d, s->lists_bytes);
    s->lists_host = gpu_pinned_take(s->lists_bytes);
    if (s->lists_dev && s->lists_host) return ST_OK;
    return errf(eb, ST_NOMEM, "cuda: no memory for %zu KiB of penalty, ban and bias lists: lower max_seqs",
                s->lists_bytes >> 10);
}

/* --- lists --- */

/* How long a row's lists are. The prompt counts for the repetition penalty only. */
static void count_lists(const sample_input *in, sample_row *row) {
    const sampling *p = in->params;
    row->prompt_count = p->repetition_penalty != 1.0f ? in->prompt_count : 0;
    row->output_count = sampling_penalises(p) ? in->output_count : 0;
    row->ban_count = in->output_count < p->min_tokens ? in->eog_count + p->stop_id_count : 0;
    row->bias_count = p->bias_count;
}

static size_t lists_bytes(const sample_row *row) {
    return ((size_t)row->prompt_count + row->output_count + row->ban_count + (size_t)2 * row->bias_count) *
           sizeof(int32_t);
}

/* The next `count` words of the buffer; `at` is where it is filled up to. */
static const void *put_words(const samples *s, size_t *at, const void *words, uint32_t count) {
    const void *dev = s->lists_dev + *at;
    if (count > 0) memcpy(s->lists_host + *at, words, count * sizeof(int32_t));
    *at += count * sizeof(int32_t);
    return dev;
}

static void put_lists(const samples *s, size_t *at, const sample_input *in, sample_row *row) {
    const sampling *p = in->params;
    row->ids = put_words(s, at, in->prompt, row->prompt_count);
    put_words(s, at, in->output, row->output_count);
    if (row->ban_count > 0) {
        row->bans = put_words(s, at, in->eog, in->eog_count);
        put_words(s, at, p->stop_ids, p->stop_id_count);
    }
    if (row->bias_count == 0) return;
    row->bias_ids = (const int32_t *)(s->lists_dev + *at);
    row->biases = (const float *)(s->lists_dev + *at) + row->bias_count;
    int32_t *ids = (int32_t *)(s->lists_host + *at);
    float *biases = (float *)ids + row->bias_count;
    for (uint32_t i = 0; i < row->bias_count; i++) {
        ids[i] = p->bias[i].id;
        biases[i] = p->bias[i].bias;
    }
    *at += (size_t)2 * row->bias_count * sizeof(int32_t);
}

/* --- a step --- */

/* Chosen without wishes: padding, and rows whose choice nobody reads. */
static sample_row greedy_row(void) {
    return (sample_row){.top_p = 1, .repetition = 1};
}

static sample_row row_of(const sample_input *in) {
    const sampling *p = in->params;
    if (in->score) return greedy_row(); /* its state tells whether the logits are broken */
    sample_row row = {.temperature = p->temperature,
                      .top_p = p->top_p,
                      .min_p = p->min_p,
                      .top_k = p->top_k,
                      .repetition = p->repetition_penalty,
                      .presence = p->presence_penalty,
                      .frequency = p->frequency_penalty,
                      .key = {(uint32_t)p->seed, (uint32_t)(p->seed >> 32)},
                      .choice = p->choice,
                      .position = in->prompt_count + in->output_count};
    count_lists(in, &row);
    return row;
}

status samples_begin(device *d, const op_step *s, uint32_t bucket, sample_row *rows) {
    PRE(d);
    PRE(s->samples);
    PRE(s->head_count <= bucket);
    size_t bytes = 0, at = 0;
    for (uint32_t i = 0; i < s->head_count; i++) {
        rows[i] = row_of(&s->samples[i]);
        bytes += lists_bytes(&rows[i]);
    }
    for (uint32_t i = s->head_count; i < bucket; i++) rows[i] = greedy_row();
    if (bytes == 0) return ST_OK;
    CHECK(bytes <= d->samples->lists_bytes);
    for (uint32_t i = 0; i < s->head_count; i++)
        if (!s->samples[i].score) put_lists(d->samples, &at, &s->samples[i], &rows[i]);
    CHECK(at == bytes);
    cudaError_t e = cudaMemcpyAsync(d->samples->lists_dev, d->samples->lists_host, bytes,
                                    cudaMemcpyHostToDevice, d->stream);
    return gpu_ok(d, e, "sample lists") ? ST_OK : ST_DEVICE;
}

static bool asked_for_logprobs(const op_step *s, uint32_t head) {
    return s->samples[head].score || s->samples[head].params->logprobs >= 0;
}

/* Whether the head row is one of the step's, and no padding, and asked for them. */
static bool wants_logprobs(const step_view *v, uint32_t head) {
    return head < v->op->head_count && asked_for_logprobs(v->op, head);
}

/* Copies the raw rows of logits that the host needs; `*any` says whether there are any. Such a step is not
 * recorded. */
static status save_logits(device *d, const op_sample *a, bool *any) {
    samples *s = d->samples;
    const step_view *v = gpu_step(d);
    *any = false;
    for (uint32_t i = 0; !v->recording && i < a->count; i++) {
        if (!wants_logprobs(v, a->begin + i)) continue;
        *any = true;
        size_t row = (size_t)i * a->vocab;
        cudaError_t e = cudaMemcpyAsync(s->logits_host + row, a->logits + row, a->vocab * sizeof(float),
                                        cudaMemcpyDeviceToHost, d->stream);
        if (!gpu_ok(d, e, "logprobs")) return ST_DEVICE;
    }
    return ST_OK;
}

/* Waits for the tokens of this op, since log-probabilities are told of the chosen one: one copy and one wait,
 * however many rows ask. */
static status fill_logprobs(device *d, const op_sample *a) {
    samples *s = d->samples;
    const step_view *v = gpu_step(d);
    sample_token *tokens = v->tokens_host + a->begin;
    cudaError_t e = cudaMemcpyAsync(tokens, v->tables.tokens + a->begin, a->count * sizeof *tokens,
                                    cudaMemcpyDeviceToHost, d->stream);
    if (!gpu_ok(d, e, "logprobs") || gpu_wait(d, d->stream, d->done, "logprobs") != ST_OK) return ST_DEVICE;
    for (uint32_t i = 0; i < a->count; i++) {
        if (!wants_logprobs(v, a->begin + i)) continue;
        const sample_input *in = &v->op->samples[a->begin + i];
        const float *logits = s->logits_host + (size_t)i * a->vocab;
        sample_result *r = &v->op->results[a->begin + i];
        *r = (sample_result){.token = {.id = tokens[i].id}};
        if (in->score)
            sampler_score(s->sampler, logits, in->given, in->params->prompt_logprobs, r);
        else if (tokens[i].state == SAMPLE_OK)
            sampler_logprobs(s->sampler, logits, in->params->logprobs, &r->token);
    }
    return ST_OK;
}

status cuda_sample(device *d, const op_sample *a) {
    PRE(d);
    PRE(a);
    if (gpu_faulted(d)) return ST_DEVICE;
    const step_view *v = gpu_step(d);
    PRE(v->op->samples);
    PRE(a->count <= d->opt.max_head);
    PRE(a->vocab <= d->samples->vocab);
    bool logprobs;
    status st = save_logits(d, a, &logprobs);
    if (st != ST_OK) return st;
    st = gpu_op_end(d,
                    launch_sample(a->logits, a->count, a->vocab, v->tables.samples + a->begin,
                                  d->samples->seen, v->tables.tokens + a->begin, d->stream),
                    "sample");
    return st == ST_OK && logprobs ? fill_logprobs(d, a) : st;
}

void samples_end(const op_step *s, const sample_token *tokens) {
    PRE(s->samples);
    PRE(tokens);
    for (uint32_t i = 0; i < s->head_count; i++) {
        sample_result *r = &s->results[i];
        if (s->samples[i].score) continue;                      /* fill_logprobs told all of it */
        if (!asked_for_logprobs(s, i)) *r = (sample_result){0}; /* fill_logprobs did the others */
        r->token.id = tokens[i].id;
        r->token.fin = FINISH_NONE;
        r->broken = tokens[i].state != SAMPLE_OK;
        r->banned = tokens[i].state == SAMPLE_BANNED;
    }
}
