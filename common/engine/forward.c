#include "engine/forward.h"

#include "base/log.h"
#include "base/mem.h"

/* --- memory --- */

typedef struct part {
    const char *name;
    void **at;
    size_t rows, cols;
    size_t elem; /* bytes of an element */
} part;

enum { PART_COUNT = 9 };

static void list_parts(forward *f, part parts[PART_COUNT]) {
    const model *m = f->m;
    size_t rows = f->max_rows, head_rows = f->head_rows, act = dtype_block_bytes(f->ops->act_type(f->dev));
    size_t q_dim = (size_t)m->heads * m->head_dim, kv_dim = (size_t)m->kv_heads * m->head_dim,
           ffn = m->ffn_dim;
    const part all[PART_COUNT] = {
        {"residual", &f->x, rows, m->dim, sizeof(float)},
        {"norm", &f->normed, rows, m->dim, act},
        {"block", &f->delta, rows, m->dim, act},
        {"qkv", &f->qkv, rows, q_dim + 2 * kv_dim, act},
        {"attention", &f->att, rows, q_dim, act},
        {"gate_up", &f->gate_up, rows, 2 * ffn, act},
        {"gated", &f->gated, rows, ffn, act},
        {"last_rows", &f->last, head_rows, m->dim, act},
        {"logits", &f->logits, head_rows, m->vocab, sizeof(float)},
    };
    for (size_t i = 0; i < PART_COUNT; i++) parts[i] = all[i];
}

static size_t part_bytes(const part *p) {
    return (p->rows * p->cols * p->elem + 63) / 64 * 64;
}

void forward_init(forward *f, const model *m, const weights *w, const backend_ops *ops, device *dev,
                  uint32_t max_rows) {
    PRE(f);
    PRE(m);
    PRE(w);
    PRE(ops);
    PRE(dev);
    PRE(max_rows > 0);
    *f = (forward){.m = m, .w = w, .ops = ops, .dev = dev, .max_rows = max_rows};
    f->head_rows = MIN(max_rows, FORWARD_HEAD_ROWS);
    part parts[PART_COUNT];
    list_parts(f, parts);
    for (size_t i = 0; i < PART_COUNT; i++) f->memory_bytes += part_bytes(&parts[i]);
}

status forward_alloc(forward *f, errbuf *eb) {
    PRE(f);
    PRE(!f->memory);
    f->memory = f->ops->mem_alloc(f->dev, f->memory_bytes);
    if (!f->memory)
        return errf(eb, ST_NOMEM,
                    "engine: no memory for %zu MiB of activations (%u rows per step): lower max_rows",
                    f->memory_bytes >> 20, f->max_rows);
    part parts[PART_COUNT];
    list_parts(f, parts);
    size_t at = 0;
    for (size_t i = 0; i < PART_COUNT; i++) {
        *parts[i].at = f->memory + at;
        at += part_bytes(&parts[i]);
        log_debug("engine", "activation", "what=%s rows=%zu cols=%zu kib=%zu", parts[i].name, parts[i].rows,
                  parts[i].cols, part_bytes(&parts[i]) >> 10);
    }
    return ST_OK;
}

void forward_done(forward *f) {
    if (f->memory) f->ops->mem_free(f->dev, f->memory, f->memory_bytes);
    *f = (forward){0};
}

/* --- the ops, so that the pass below reads like the paper --- */

#define TRY(call)                                                                                            \
    do {                                                                                                     \
        status st_ = (call);                                                                                 \
        if (st_ != ST_OK) return st_;                                                                        \
    } while (0)

static status embed(forward *f, uint32_t rows) {
    return f->ops->embed(f->dev, &(op_embed){.table = f->w->embed, .rows = rows, .x = f->x});
}

static status norm(forward *f, const void *delta, const weight *w, uint32_t rows) {
    return f->ops->norm(f->dev, &(op_norm){.x = f->x,
                                           .delta = delta,
                                           .weight = w,
                                           .rows = rows,
                                           .dim = f->m->dim,
                                           .eps = f->m->norm_eps,
                                           .out = f->normed});
}

static status linear(forward *f, const void *x, const weight *w, uint32_t rows, void *out) {
    return f->ops->linear(f->dev, &(op_linear){.x = x, .w = w, .rows = rows, .out = out});
}

static status attend(forward *f, uint32_t layer, uint32_t rows) {
    return f->ops->attend(f->dev, &(op_attend){.layer = layer, .rows = rows, .qkv = f->qkv, .out = f->att});
}

static status gate_up(forward *f, const weight *w, uint32_t rows) {
    return f->ops->gate_up(
        f->dev, &(op_gate_up){.x = f->normed, .w = w, .rows = rows, .scratch = f->gate_up, .out = f->gated});
}

static status head(forward *f, uint32_t begin, uint32_t count) {
    TRY(f->ops->head_norm(f->dev, &(op_head_norm){.x = f->x,
                                                  .delta = f->delta,
                                                  .weight = f->w->output_norm,
                                                  .begin = begin,
                                                  .count = count,
                                                  .dim = f->m->dim,
                                                  .eps = f->m->norm_eps,
                                                  .out = f->last}));
    return f->ops->linear(
        f->dev,
        &(op_linear){.x = f->last, .w = f->w->output, .rows = count, .out = f->logits, .logits = true});
}

/* --- the pass --- */

static status run_layer(forward *f, uint32_t layer, uint32_t rows) {
    const layer_weights *w = &f->w->layer[layer];
    TRY(norm(f, layer > 0 ? f->delta : NULL, w->attn_norm, rows));
    TRY(linear(f, f->normed, w->qkv, rows, f->qkv));
    TRY(attend(f, layer, rows));
    TRY(linear(f, f->att, w->wo, rows, f->delta));
    TRY(norm(f, f->delta, w->ffn_norm, rows));
    TRY(gate_up(f, w->gate_up, rows));
    return linear(f, f->gated, w->down, rows, f->delta);
}

/* The hook may let another thread gather the layer's KV: kv_gather waits for the mark. */
static status run_layers(forward *f, uint32_t rows, const forward_hook *h) {
    const engine_hook *hook = h->hook;
    TRY(embed(f, rows));
    for (uint32_t layer = 0; layer < f->m->layers; layer++) {
        if (hook && hook->layer_begin) hook->layer_begin(hook->ctx, layer, h->items, h->count);
        TRY(run_layer(f, layer, rows));
        if (!hook || !hook->layer_end) continue;
        TRY(f->ops->layer_mark(f->dev, layer));
        hook->layer_end(hook->ctx, layer, h->items, h->count);
    }
    return ST_OK;
}

static status run_head(forward *f, const op_step *s, uint32_t head_count, float *logits) {
    size_t vocab = f->m->vocab;
    for (uint32_t begin = 0; begin < head_count;) {
        uint32_t count = MIN(head_count - begin, f->head_rows);
        TRY(head(f, begin, count));
        if (s->samples)
            TRY(f->ops->sample(
                f->dev,
                &(op_sample){.logits = f->logits, .begin = begin, .count = count, .vocab = f->m->vocab}));
        uint32_t wanted = logits && begin < s->head_count ? MIN(count, s->head_count - begin) : 0;
        if (wanted > 0)
            TRY(f->ops->mem_read(f->dev, logits + begin * vocab, f->logits, wanted * vocab * sizeof *logits));
        begin += count;
    }
    return ST_OK;
}

static status run_ops(forward *f, const op_step *s, const step_pass *pass, const forward_hook *hook,
                      float *logits) {
    CHECK(pass->rows >= s->rows);
    CHECK(pass->rows <= f->max_rows);
    CHECK(pass->head_count >= s->head_count);
    TRY(run_layers(f, pass->rows, hook));
    return run_head(f, s, pass->head_count, logits);
}

status forward_step(forward *f, const op_step *s, const forward_hook *hook, float *logits, errbuf *eb) {
    PRE(f);
    PRE(f->memory);
    PRE(s);
    PRE(hook);
    PRE(s->rows > 0);
    PRE(s->rows <= f->max_rows);
    step_pass pass = {0};
    status st = f->ops->step_begin(f->dev, s, &pass, eb);
    if (st != ST_OK) return st;
    if (!pass.replayed) st = run_ops(f, s, &pass, hook, logits);
    if (st != ST_OK) {
        f->ops->device_error(f->dev, eb);
        return st;
    }
    return f->ops->step_end(f->dev, eb);
}
