/* engine - owns what a step needs: the device, the page memory, the activations, the slots, the sampler.
 *
 * A step in four lines: lay the items' rows out one after another (ids, positions, page tables), run all layers over
 * them, take the last row of each item that samples through the output head, choose a token from each row of logits.
 * ref and cpu compute in host memory, so the sampler reads the logits where the head left them. */
#include "engine/engine.h"

#include "base/log.h"
#include "base/mem.h"
#include "engine/forward.h"
#include "engine/sampler.h"
#include "engine/seq.h"

#include <stdio.h>
#include <stdlib.h>

struct engine {
    const model *m;
    const backend_ops *ops;
    engine_options opt;
    seq_limits limits;
    device *dev;
    kv_layout layout;
    void *kv; /* page memory; backend memory */
    size_t kv_bytes;
    forward f;
    sampler *sampler;
    seq *seqs;        /* [max_seqs] */
    uint64_t step;    /* number of the running step, from 1 */
    int32_t *row_idx; /* [max_rows] rows of the step that go through the head */
};

/* --- life --- */

static status check_options(const model *m, const engine_options *opt, errbuf *eb) {
    if (opt->page_count == 0 || opt->max_rows == 0 || opt->max_seqs == 0 || opt->max_context == 0)
        return errf(eb, ST_INVALID,
                    "engine: page_count %u, max_rows %u, max_seqs %u, max_context %u: all must be at least 1",
                    opt->page_count, opt->max_rows, opt->max_seqs, opt->max_context);
    if (opt->max_context > (1u << 27))
        return errf(eb, ST_INVALID, "engine: max_context %u, want at most %u", opt->max_context, 1u << 27);
    if (opt->kv_type != DT_F16 && opt->kv_type != DT_F32)
        return errf(eb, ST_INVALID, "engine: kv_dtype must be f16 or f32");
    if (opt->max_context > m->context)
        log_warn("engine", "context beyond training", "max_context=%u model_context=%u", opt->max_context, m->context);
    return ST_OK;
}

static void log_memory(const engine *e) {
    uint64_t total = e->m->weight_bytes + e->kv_bytes + e->f.memory_bytes;
    log_info("engine", "memory", "what=weights mib=%.1f from=%s", (double)e->m->weight_bytes / 0x1p20, e->m->path);
    log_info("engine", "memory", "what=kv_pages mib=%.1f pages=%u page_kib=%zu tokens=%" PRIu64 " dtype=%s",
             (double)e->kv_bytes / 0x1p20, e->opt.page_count, kv_page_bytes(&e->layout) >> 10,
             (uint64_t)e->opt.page_count * KV_PAGE_TOKENS, dtype_name(e->layout.type));
    log_info("engine", "memory", "what=activations mib=%.1f rows=%u", (double)e->f.memory_bytes / 0x1p20,
             e->opt.max_rows);
    log_info("engine", "memory", "what=total mib=%.1f backend=%s seqs=%u max_context=%u", (double)total / 0x1p20,
             engine_path(e), e->opt.max_seqs, e->opt.max_context);
}

status engine_new(engine **out, const model *m, const engine_options *opt, errbuf *eb) {
    PRE(out && m && opt && opt->backend);
    PRE(m->layer);
    status st = check_options(m, opt, eb);
    if (st != ST_OK) return st;
    const backend_ops *ops = backend_find(opt->backend);
    if (!ops) return errf(eb, ST_INVALID, "engine: no backend '%s': want one of %s", opt->backend, backend_names());

    engine *e = xcalloc(1, sizeof *e);
    e->m = m;
    e->ops = ops;
    e->opt = *opt;
    e->limits = (seq_limits){.vocab = m->vocab, .page_count = opt->page_count, .max_context = opt->max_context};
    e->layout =
        (kv_layout){.type = opt->kv_type, .layers = m->layers, .kv_heads = m->kv_heads, .head_dim = m->head_dim};
    st = ops->open(&e->dev, &opt->device, eb);
    if (st != ST_OK) goto fail;
    st = ST_NOMEM;
    if (!__builtin_mul_overflow((size_t)opt->page_count, kv_page_bytes(&e->layout), &e->kv_bytes))
        e->kv = ops->mem_alloc(e->dev, e->kv_bytes);
    if (!e->kv) {
        errf(eb, st, "engine: no memory for %u KV pages of %zu KiB: lower kv_pages", opt->page_count,
             kv_page_bytes(&e->layout) >> 10);
        goto fail;
    }
    st = forward_init(&e->f, m, ops, e->dev, &e->layout, e->kv, opt->max_rows, eb);
    if (st != ST_OK) goto fail;
    e->sampler = sampler_new(m->vocab);
    e->seqs = xcalloc(opt->max_seqs, sizeof *e->seqs);
    e->row_idx = xcalloc(opt->max_rows, sizeof *e->row_idx);
    log_memory(e);
    *out = e;
    return ST_OK;

fail:
    engine_free(e);
    return st;
}

void engine_free(engine *e) {
    if (!e) return;
    for (uint32_t i = 0; e->seqs && i < e->opt.max_seqs; i++) seq_done(&e->seqs[i]);
    free(e->seqs);
    free(e->row_idx);
    sampler_free(e->sampler);
    forward_done(&e->f);
    if (e->kv) e->ops->mem_free(e->dev, e->kv, e->kv_bytes);
    if (e->dev) e->ops->close(e->dev);
    free(e);
}

engine_kv engine_kv_of(const engine *e) {
    PRE(e);
    return (engine_kv){
        .ops = e->ops, .dev = e->dev, .layout = e->layout, .base = e->kv, .page_count = e->opt.page_count};
}

const char *engine_path(const engine *e) {
    PRE(e);
    return e->ops->path(e->dev);
}

/* --- sequences --- */

status engine_seq_open(engine *e, uint32_t slot, const engine_seq_init *init, errbuf *eb) {
    PRE(e && init);
    PRE(slot < e->opt.max_seqs);
    return seq_init(&e->seqs[slot], init, &e->limits, eb);
}

void engine_seq_close(engine *e, uint32_t slot) {
    PRE(e);
    PRE(slot < e->opt.max_seqs);
    PRE(e->seqs[slot].open);
    seq_done(&e->seqs[slot]);
}

/* --- steps --- */

/* Lays the rows of one item out from row `at` on. */
static status place(engine *e, const step_item *it, uint32_t at, errbuf *eb) {
    PRE(it->slot < e->opt.max_seqs);
    seq *s = &e->seqs[it->slot];
    PRE(s->open);
    PRE(s->last_step != e->step); /* one item per sequence: a second could move the page table of the first */
    s->last_step = e->step;
    PRE(it->count > 0);
    PRE(it->count <= e->opt.max_rows - at);
    PRE(it->begin <= s->count && it->count <= s->count - it->begin);
    PRE(it->new_page_count <= ARRAY_LEN(it->new_pages));
    status st = seq_add_pages(s, it->new_pages, it->new_page_count, &e->limits, eb);
    if (st != ST_OK) return st;
    uint32_t end = it->begin + it->count;
    PRE(end <= e->limits.max_context);
    PRE(s->page_count >= kv_pages_for(end));
    PRE(!it->sample || end == s->count);
    for (uint32_t i = 0; i < it->count; i++) {
        e->f.ids[at + i] = s->ids[it->begin + i];
        e->f.pos[at + i] = it->begin + i;
        e->f.refs[at + i] = (kv_ref){.pages = s->pages, .pos = it->begin + i};
    }
    return ST_OK;
}

static void choose(engine *e, const step_item *it, const float *logits, step_result *result) {
    errbuf broken = {0};
    seq *s = &e->seqs[it->slot];
    uint32_t eog_count;
    const int32_t *eog = tokenizer_eog(e->m->tok, &eog_count);
    const sample_input in = {
        .logits = logits,
        .params = &s->params,
        .prompt = s->ids,
        .prompt_count = s->prompt_count,
        .output = s->ids + s->prompt_count,
        .output_count = s->count - s->prompt_count,
        .eog = eog,
        .eog_count = eog_count,
    };
    status st = sampler_next(e->sampler, &in, &result->token, &broken);
    if (st == ST_CORRUPT) {
        result->broken = true;
        snprintf(result->why, sizeof result->why, "position %u: %s", s->count, broken.text);
        return;
    }
    CHECK(st == ST_OK);
    result->sampled = true;
    seq_add_token(s, result->token.id, &e->limits);
}

/* The last rows of the items that sample, in batches of what the head takes. */
static status sample_items(engine *e, const step_item *items, uint32_t count, step_result *results, errbuf *eb) {
    for (uint32_t done = 0, row = 0; done < count;) {
        uint32_t wanted = 0, next = done;
        for (; next < count && wanted < e->f.head_rows; next++) {
            row += items[next].count;
            if (items[next].sample) e->row_idx[wanted++] = (int32_t)row - 1;
        }
        if (wanted > 0) {
            status st = forward_head(&e->f, e->row_idx, wanted, eb);
            if (st != ST_OK) return st;
        }
        for (uint32_t at = 0; done < next; done++) {
            if (!items[done].sample) continue;
            choose(e, &items[done], e->f.logits + (size_t)at++ * e->m->vocab, &results[done]);
        }
    }
    return ST_OK;
}

status engine_step(engine *e, const step_item *items, uint32_t count, const engine_hook *hook, step_result *results,
                   errbuf *eb) {
    PRE(e && items && results);
    PRE(count > 0);
    uint32_t rows = 0;
    e->step++;
    for (uint32_t i = 0; i < count; i++) {
        results[i] = (step_result){.tag = items[i].tag};
        status st = place(e, &items[i], rows, eb);
        if (st != ST_OK) return st;
        rows += items[i].count;
    }
    status st = forward_layers(&e->f, rows, hook, items, count);
    if (st == ST_OK) st = e->ops->sync(e->dev, eb);
    if (st != ST_OK) return err_prefix(eb, st, "step of %u rows on %s", rows, engine_path(e));
    return sample_items(e, items, count, results, eb);
}

status engine_logits(engine *e, const step_item *item, float *logits, errbuf *eb) {
    PRE(e && item && logits);
    e->step++;
    status st = place(e, item, 0, eb);
    if (st == ST_OK) st = forward_layers(&e->f, item->count, NULL, item, 1);
    for (uint32_t begin = 0; st == ST_OK && begin < item->count;) {
        uint32_t rows = MIN(item->count - begin, e->f.head_rows);
        for (uint32_t i = 0; i < rows; i++) e->row_idx[i] = (int32_t)(begin + i);
        st = forward_head(&e->f, e->row_idx, rows, eb);
        size_t vocab = e->m->vocab;
        for (size_t i = 0; st == ST_OK && i < rows * vocab; i++) logits[begin * vocab + i] = e->f.logits[i];
        begin += rows;
    }
    return st;
}
