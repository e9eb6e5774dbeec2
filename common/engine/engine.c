/* engine - owns what a step needs: the device, the weights, the page memory, the activations, the slots.
 *
 * A step in four lines: lay the items' rows out one after another (ids, page tables, positions), say which of
 * them are to be sampled and how, let the backend run them, and append the tokens that come back to their
 * sequences. Logits stay with the backend. */
#include "engine/engine.h"

#include "base/log.h"
#include "base/mem.h"
#include "engine/forward.h"
#include "engine/seq.h"
#include "engine/warm.h"
#include "engine/weights.h"
#include "kernels/backends.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* One step's tables; written anew by each step. */
typedef struct step_tables {
    int32_t *ids;           /* [max_rows] */
    step_seq *seqs;         /* [max_seqs] */
    uint32_t *head;         /* [max_rows] rows whose logits are wanted */
    sample_input *samples;  /* [max_rows] */
    sample_result *results; /* [max_rows] */
    token_out *prompts;     /* [max_rows] what step_result.prompt points to; NULL until somebody asks */
} step_tables;

struct engine {
    const model *model;
    const backend_ops *ops;
    engine_options opt;
    seq_limits limits;
    device *dev;
    device_memory memory; /* of the device */
    weights weights;
    kv_layout layout;
    void *kv; /* page memory; backend memory */
    size_t kv_bytes;
    forward forward;
    step_tables tables;
    seq *seqs; /* [max_seqs] */
    answers *answers;
    uint64_t step; /* number of the running step, from 1 */
};

/* --- life --- */

static status check_options(const model *m, const engine_options *opt, errbuf *eb) {
    if (opt->page_count == 0 || opt->max_rows == 0 || opt->max_seqs == 0 || opt->max_context == 0)
        return errf(eb, ST_INVALID,
                    "engine: page_count %u, max_rows %u, max_seqs %u, max_context %u: all must be at least 1",
                    opt->page_count, opt->max_rows, opt->max_seqs, opt->max_context);
    if (opt->max_context > (1u << 27))
        return errf(eb, ST_INVALID, "engine: max_context %u, want at most %u", opt->max_context, 1u << 27);
    if (opt->kv_type != DT_F16 && opt->kv_type != DT_BF16 && opt->kv_type != DT_F32)
        return errf(eb, ST_INVALID, "engine: kv_dtype must be f16, bf16 or f32");
    if (opt->max_context > m->context && weight_is_there(&m->positions))
        return errf(eb, ST_INVALID,
                    "engine: max_context is %u, but %s has learned positions for %u tokens only: lower it",
                    opt->max_context, m->path, m->context);
    if (opt->max_context > m->context)
        log_warn("engine", "context beyond training", "max_context=%u model_context=%u", opt->max_context,
                 m->context);
    return ST_OK;
}

static uint64_t weight_bytes(const engine *e) {
    return weights_bytes(e->model, e->ops, e->ops->act_type(e->dev));
}

/* On the host: what the kernels read in a layout of their own, and what they read where the file is mapped.
 */
static void log_weights(const engine *e) {
    const weight_home *home = &e->weights.home;
    log_info("engine", "memory", "what=weights mib=%.1f millions=%.1f from=%s",
             (double)weight_bytes(e) / 0x1p20, (double)e->model->weight_count / 1e6, e->model->path);
    if (!home->repacked) return;
    log_info("engine", "memory", "what=repacked_weights mib=%.1f in=%s shared=%s found=%s huge_pages=%s",
             (double)home->repacked / 0x1p20, home->file ? home->file : "own_memory",
             home->file ? "yes" : "no", home->found ? "yes" : "no", home->file && !home->huge ? "no" : "yes");
}

static void log_memory(const engine *e) {
    log_weights(e);
    log_info("engine", "memory",
             "what=kv_pages mib=%.1f pages=%u page_kib=%zu tokens=%" PRIu64
             " dtype=%s requests_of_full_context=%u",
             (double)e->kv_bytes / 0x1p20, e->opt.page_count, kv_page_bytes(&e->layout) >> 10,
             (uint64_t)e->opt.page_count * KV_PAGE_TOKENS, dtype_name(e->layout.type),
             e->opt.page_count / kv_pages_for(e->opt.max_context));
    log_info("engine", "memory", "what=activations mib=%.1f rows=%u", (double)e->forward.act.bytes / 0x1p20,
             e->opt.max_rows);
}

/* What was asked for and what there is, when it does not fit. What the backend takes for itself (tables,
 * staging, workspaces) shows in what has become of the device's free memory. Without a device yet: its
 * workspace did not fit. */
static void log_shortage(const engine *e) {
    if (e->dev)
        log_error("engine", "out of memory", "what=weights asked_mib=%.1f from=%s",
                  (double)weight_bytes(e) / 0x1p20, e->model->path);
    log_error("engine", "out of memory", "what=kv_pages asked_mib=%.1f pages=%u",
              (double)e->kv_bytes / 0x1p20, e->opt.page_count);
    log_error("engine", "out of memory", "what=activations asked_mib=%.1f rows=%u",
              (double)e->forward.act.bytes / 0x1p20, e->opt.max_rows);
    device_memory now;
    errbuf eb = {0};
    if (e->memory.host || e->ops->memory(e->opt.device.gpu, &now, &eb) != ST_OK) return;
    log_error("engine", "out of memory",
              "what=device gpu=%u total_mib=%.1f free_at_start_mib=%.1f free_mib=%.1f fraction=%.2f "
              "may_take_mib=%.1f",
              now.gpu, (double)now.total / 0x1p20, (double)e->memory.free / 0x1p20, (double)now.free / 0x1p20,
              e->opt.device.memory_fraction, e->opt.device.memory_fraction * (double)now.total / 0x1p20);
}

static status open_device(engine *e, errbuf *eb) {
    const engine_options *o = &e->opt;
    device_options d = o->device;
    d.max_rows = o->max_rows;
    d.max_seqs = o->max_seqs;
    d.max_seq_pages = kv_pages_for(o->max_context + 1);
    d.max_head = MIN(o->max_rows, HEAD_ROWS_MAX);
    d.page_count = o->page_count;
    d.weight_room = weights_bytes(e->model, e->ops, d.act_type);
    status st = e->ops->memory(d.gpu, &e->memory, eb);
    if (st == ST_OK) st = e->ops->open(&e->dev, &d, eb);
    return st;
}

static status take_memory(engine *e, errbuf *eb) {
    status st = weights_load(&e->weights, e->model, e->ops, e->dev, eb);
    if (st != ST_OK) return st;
    e->kv = e->ops->mem_alloc(e->dev, e->kv_bytes);
    if (!e->kv)
        return errf(eb, ST_NOMEM,
                    "engine: no memory for %u KV pages of %zu KiB: lower kv_pages, kv_memory_mb or "
                    "memory_fraction of "
                    "this worker, or of the other workers on the same device",
                    e->opt.page_count, kv_page_bytes(&e->layout) >> 10);
    return forward_alloc(&e->forward, eb);
}

static status set_up_attention(engine *e, errbuf *eb) {
    const model *m = e->model;
    const attend_setup setup = {.layout = e->layout,
                                .kv = e->kv,
                                .heads = m->heads,
                                .scale =
                                    m->attend_scale != 0 ? m->attend_scale : 1.0f / sqrtf((float)m->head_dim),
                                .rope = m->rope,
                                .rope_dim = m->rope_dim,
                                .rope_base = m->rope_base,
                                .rope_factors = m->rope_factors,
                                .rope_magnitude = m->rope_magnitude,
                                .rope_local_base = m->rope_local_base};
    return e->ops->attend_setup(e->dev, &setup, eb);
}

static void new_tables(engine *e) {
    uint32_t rows = e->opt.max_rows, seqs = e->opt.max_seqs;
    e->seqs = xcalloc(seqs, sizeof *e->seqs);
    e->answers = answers_new(e->model->vocab, &e->opt);
    e->tables.ids = xcalloc(rows, sizeof *e->tables.ids);
    e->tables.seqs = xcalloc(seqs, sizeof *e->tables.seqs);
    e->tables.head = xcalloc(rows, sizeof *e->tables.head);
    e->tables.samples = xcalloc(rows, sizeof *e->tables.samples);
    e->tables.results = xcalloc(rows, sizeof *e->tables.results);
}

/* What the backend does not compute is refused by name, before it computes something else. */
static status check_features(const model *m, const backend_ops *ops, errbuf *eb) {
    uint32_t lacking = model_features(m) & ~ops->features;
    if (!lacking) return ST_OK;
    return errf(eb, ST_UNSUPPORTED,
                "engine: %s is of the architecture %s, which needs %s: backend %s does not compute that; use "
                "another one of %s",
                m->path, m->arch->name, feature_name(lacking), ops->name, backend_names());
}

status engine_new(engine **out, const model *m, const engine_options *opt, errbuf *eb) {
    PRE(out);
    PRE(m);
    PRE(opt);
    PRE(opt->backend);
    PRE(m->layer);
    status st = check_options(m, opt, eb);
    if (st != ST_OK) return st;
    const backend_ops *ops = backend_find(opt->backend);
    if (!ops)
        return errf(eb, ST_INVALID, "engine: no backend '%s': want one of %s", opt->backend, backend_names());
    st = check_features(m, ops, eb);
    if (st != ST_OK) return st;

    engine *e = xcalloc(1, sizeof *e);
    e->model = m;
    e->ops = ops;
    e->opt = *opt;
    e->limits =
        (seq_limits){.vocab = m->vocab, .page_count = opt->page_count, .max_context = opt->max_context};
    e->layout = (kv_layout){
        .type = opt->kv_type, .layers = m->layers, .kv_heads = m->kv_heads, .head_dim = m->head_dim};
    if (__builtin_mul_overflow((size_t)opt->page_count + 1, kv_page_bytes(&e->layout), &e->kv_bytes))
        e->kv_bytes = SIZE_MAX; /* which no backend has */
    st = open_device(e, eb);
    if (st != ST_OK) goto fail;
    forward_init(&e->forward, m, &e->weights, ops, e->dev, opt->max_rows);
    e->forward.mark = opt->mark;
    e->forward.mark_ctx = opt->mark_ctx;
    st = take_memory(e, eb);
    if (st == ST_OK) st = set_up_attention(e, eb);
    if (st == ST_OK) st = warm_run(&e->forward, opt, eb);
    if (st != ST_OK) goto fail;
    new_tables(e);
    log_memory(e);
    *out = e;
    return ST_OK;

fail:
    if (st == ST_NOMEM) log_shortage(e);
    engine_free(e);
    return st;
}

static void close_seq(engine *e, seq *s) {
    answer_close(e->answers, &s->answer);
    seq_done(s);
}

void engine_free(engine *e) {
    if (!e) return;
    for (uint32_t i = 0; e->seqs && i < e->opt.max_seqs; i++) close_seq(e, &e->seqs[i]);
    free(e->seqs);
    answers_free(e->answers);
    free(e->tables.ids);
    free(e->tables.seqs);
    free(e->tables.head);
    free(e->tables.samples);
    free(e->tables.results);
    free(e->tables.prompts);
    forward_done(&e->forward);
    if (e->kv) e->ops->mem_free(e->dev, e->kv, e->kv_bytes);
    weights_done(&e->weights);
    if (e->dev) e->ops->close(e->dev);
    free(e);
}

engine_kv engine_kv_of(const engine *e) {
    PRE(e);
    return (engine_kv){.ops = e->ops,
                       .dev = e->dev,
                       .layout = e->layout,
                       .base = e->kv,
                       .page_count = e->opt.page_count,
                       .spare_page = e->opt.page_count,
                       .seq_pages_max = kv_pages_for(e->opt.max_context)};
}

uint64_t engine_memory(const engine *e) {
    PRE(e);
    return weight_bytes(e) + e->kv_bytes + e->forward.act.bytes;
}

const char *engine_path(const engine *e) {
    PRE(e);
    return e->ops->path(e->dev);
}

/* --- sequences --- */

status engine_seq_open(engine *e, uint32_t slot, const seq_start *init, errbuf *eb) {
    PRE(e);
    PRE(init);
    PRE(slot < e->opt.max_seqs);
    seq *s = &e->seqs[slot];
    status st = seq_init(s, init, &e->limits, eb);
    if (st != ST_OK) return st;
    if (s->params.spec_len && !e->ops->masks)
        st = errf(eb, ST_UNSUPPORTED, "sequence: backend %s does not constrain answers", e->ops->name);
    else
        st = answer_open(e->answers, &s->answer, &s->params, init->output, init->output_count, eb);
    if (st != ST_OK) seq_done(s);
    return st;
}

void engine_seq_close(engine *e, uint32_t slot) {
    PRE(e);
    PRE(slot < e->opt.max_seqs);
    PRE(e->seqs[slot].open);
    close_seq(e, &e->seqs[slot]);
}

/* --- steps --- */

/* Adds the rows of one item, and its sequence, to the step. */
static status place(engine *e, const step_item *it, op_step *step, errbuf *eb) {
    PRE(it->slot < e->opt.max_seqs);
    seq *s = &e->seqs[it->slot];
    PRE(s->open);
    PRE(s->last_step != e->step); /* one item per sequence: a second could move the page table of the first */
    s->last_step = e->step;
    PRE(it->count > 0);
    PRE(it->count <= e->opt.max_rows - step->rows);
    PRE(it->begin <= s->count);
    PRE(it->count <= s->count - it->begin);
    PRE(it->new_page_count <= ARRAY_LEN(it->new_pages));
    status st = seq_add_pages(s, it->new_pages, it->new_page_count, &e->limits, eb);
    if (st != ST_OK) return st;
    uint32_t end = it->begin + it->count;
    PRE(end <= e->limits.max_context);
    PRE(s->page_count >= kv_pages_for(end));
    PRE(!it->sample || end == s->count);
    for (uint32_t i = 0; i < it->count; i++) e->tables.ids[step->rows + i] = s->ids[it->begin + i];
    e->tables.seqs[step->seq_count++] = (step_seq){.pages = s->pages,
                                                   .page_count = s->page_count,
                                                   .row_begin = step->rows,
                                                   .row_count = it->count,
                                                   .pos = it->begin,
                                                   .prompt_count = s->prompt_count};
    step->rows += it->count;
    return ST_OK;
}

/* How many of the item's rows come before a token of the prompt whose log-probability is wanted. */
static uint32_t scored_rows(const engine *e, const step_item *it) {
    const seq *s = &e->seqs[it->slot];
    uint32_t end =
        MIN(it->begin + it->count, s->prompt_count - 1); /* the last one comes before no such token */
    return s->params.prompt_logprobs >= 0 && end > it->begin ? end - it->begin : 0;
}

/* Adds those rows of the item that was placed last. */
static void ask_for_scores(engine *e, const step_item *it, op_step *step) {
    const seq *s = &e->seqs[it->slot];
    uint32_t count = scored_rows(e, it), row = step->rows - it->count;
    for (uint32_t i = 0; i < count; i++) {
        e->tables.samples[step->head_count] =
            (sample_input){.params = &s->params, .score = true, .given = s->ids[it->begin + i + 1]};
        e->tables.head[step->head_count++] = row + i;
    }
}

/* Adds the last row of the item that was placed last to the rows that become tokens. */
static void ask_for_token(engine *e, const step_item *it, op_step *step) {
    seq *s = &e->seqs[it->slot];
    e->tables.samples[step->head_count] = (sample_input){
        .params = &s->params,
        .prompt = s->ids,
        .prompt_count = s->prompt_count,
        .output = s->ids + s->prompt_count,
        .output_count = s->count - s->prompt_count,
        .eog = e->opt.eog,
        .eog_count = e->opt.eog_count,
        .mask = answer_mask(e->answers, &s->answer, &s->params, s->count - s->prompt_count),
    };
    e->tables.head[step->head_count++] = step->rows - 1;
}

static void break_off(const sample_result *from, uint32_t position, step_result *to) {
    static const char *const whys[] = {
        "a logit is not a number, or all are -infinity: the weights or the machine are broken",
        "every token is banned by min_tokens, stop ids, logit_bias and the wanted form of the answer",
    };
    to->broken = true;
    snprintf(to->why, sizeof to->why, "position %u: sampler: %s", position, whys[from->banned]);
}

/* from: [scored_rows] results, the first at `at` of the step. */
static void take_scores(engine *e, const step_item *it, const sample_result *from, uint32_t at,
                        step_result *to) {
    uint32_t count = scored_rows(e, it);
    if (!count) return;
    if (!e->tables.prompts) e->tables.prompts = xcalloc(e->opt.max_rows, sizeof *e->tables.prompts);
    for (uint32_t i = 0; i < count; i++) {
        if (from[i].broken) {
            break_off(&from[i], it->begin + i + 1, to);
            return;
        }
        e->tables.prompts[at + i] = from[i].token;
    }
    to->prompt = e->tables.prompts + at;
    to->prompt_count = count;
}

static void take_token(engine *e, const step_item *it, const sample_result *from, step_result *to) {
    seq *s = &e->seqs[it->slot];
    if (from->broken) {
        break_off(from, s->count, to);
        return;
    }
    to->sampled = true;
    to->token = from->token;
    seq_add_token(s, from->token.id, &e->limits);
    answer_take(e->answers, &s->answer, from->token.id);
}

static op_step empty_step(engine *e) {
    e->step++;
    return (op_step){.ids = e->tables.ids, .seqs = e->tables.seqs, .head = e->tables.head};
}

status engine_step(engine *e, const step_item *items, uint32_t count, const engine_hook *hook,
                   step_result *results, errbuf *eb) {
    PRE(e);
    PRE(items);
    PRE(results);
    PRE(count > 0);
    PRE(count <= e->opt.max_seqs);
    op_step step = empty_step(e);
    step.samples = e->tables.samples;
    step.results = e->tables.results;
    step.repeatable = !hook;
    for (uint32_t i = 0; i < count; i++) {
        const step_item *it = &items[i];
        results[i] = (step_result){.tag = it->tag};
        status st = place(e, it, &step, eb);
        if (st != ST_OK) return st;
        ask_for_scores(e, it, &step);
        if (it->sample) ask_for_token(e, it, &step);
        if (it->count != 1 || !it->sample || it->begin < e->seqs[it->slot].prompt_count)
            step.repeatable = false;
    }
    const forward_hook fh = {.hook = hook, .items = items, .count = count};
    status st = forward_step(&e->forward, &step, &fh, NULL, eb);
    if (st != ST_OK) return err_prefix(eb, st, "step of %u rows on %s", step.rows, engine_path(e));
    for (uint32_t i = 0, at = 0; i < count; i++) {
        take_scores(e, &items[i], &step.results[at], at, &results[i]);
        at += scored_rows(e, &items[i]);
        if (items[i].sample) take_token(e, &items[i], &step.results[at++], &results[i]);
    }
    return ST_OK;
}

status engine_logits(engine *e, const step_item *item, float *logits, errbuf *eb) {
    PRE(e);
    PRE(item);
    PRE(logits);
    op_step step = empty_step(e);
    status st = place(e, item, &step, eb);
    if (st != ST_OK) return st;
    for (; step.head_count < item->count; step.head_count++)
        e->tables.head[step.head_count] = step.head_count;
    const forward_hook none = {0};
    st = forward_step(&e->forward, &step, &none, logits, eb);
    return st == ST_OK ? ST_OK : err_prefix(eb, st, "logits of %u rows on %s", step.rows, engine_path(e));
}
