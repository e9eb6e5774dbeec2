#include "engine/forward.h"

#include "base/log.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

/* --- memory --- */

typedef struct part {
    const char *name;
    float **at;
    size_t rows, cols;
} part;

static size_t part_bytes(const part *p) {
    return (p->rows * p->cols * sizeof(float) + 63) / 64 * 64;
}

status forward_init(forward *f, const model *m, const backend_ops *ops, device *dev, const kv_layout *layout, void *kv,
                    uint32_t max_rows, errbuf *eb) {
    PRE(f && m && ops && dev && layout && kv);
    PRE(max_rows > 0);
    *f = (forward){.m = m, .ops = ops, .dev = dev, .layout = *layout, .kv = kv, .max_rows = max_rows};
    f->head_rows = MIN(max_rows, FORWARD_HEAD_ROWS);

    size_t q_dim = (size_t)m->heads * m->head_dim, kv_dim = (size_t)m->kv_heads * m->head_dim;
    const part parts[] = {
        {"residual", &f->x, max_rows, m->dim},         {"block", &f->h, max_rows, m->dim},
        {"queries", &f->q, max_rows, q_dim},           {"keys", &f->k, max_rows, kv_dim},
        {"values", &f->v, max_rows, kv_dim},           {"attention", &f->att, max_rows, q_dim},
        {"gate", &f->gate, max_rows, m->ffn_dim},      {"up", &f->up, max_rows, m->ffn_dim},
        {"last_rows", &f->last, f->head_rows, m->dim}, {"logits", &f->logits, f->head_rows, m->vocab},
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) f->memory_bytes += part_bytes(&parts[i]);
    f->memory = ops->mem_alloc(dev, f->memory_bytes);
    if (!f->memory)
        return errf(eb, ST_NOMEM, "engine: no memory for %zu MiB of activations (%u rows per step): lower max_rows",
                    f->memory_bytes >> 20, max_rows);
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        *parts[i].at = (float *)(f->memory + at);
        at += part_bytes(&parts[i]);
        log_debug("engine", "activation", "what=%s rows=%zu cols=%zu kib=%zu", parts[i].name, parts[i].rows,
                  parts[i].cols, part_bytes(&parts[i]) >> 10);
    }
    f->ids = xcalloc(max_rows, sizeof *f->ids);
    f->pos = xcalloc(max_rows, sizeof *f->pos);
    f->refs = xcalloc(max_rows, sizeof *f->refs);
    return ST_OK;
}

void forward_done(forward *f) {
    if (f->memory) f->ops->mem_free(f->dev, f->memory, f->memory_bytes);
    free(f->ids);
    free(f->pos);
    free(f->refs);
    *f = (forward){0};
}

/* --- the ops, so that the pass below reads like the paper --- */

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        status st_ = (call);                                                                                           \
        if (st_ != ST_OK) return st_;                                                                                  \
    } while (0)

static status norm(forward *f, const float *x, const tensor *weight, uint32_t rows, float *out) {
    return f->ops->rmsnorm(
        f->dev,
        &(op_rmsnorm){.x = x, .weight = weight, .rows = rows, .dim = f->m->dim, .eps = f->m->norm_eps, .out = out});
}

static status linear(forward *f, const float *x, const tensor *weight, uint32_t rows, float *out) {
    return f->ops->linear(f->dev, &(op_linear){.x = x, .weight = weight, .rows = rows, .out = out});
}

static status rope(forward *f, float *x, uint32_t heads, uint32_t rows) {
    const model *m = f->m;
    return f->ops->rope(f->dev, &(op_rope){.x = x,
                                           .pos = f->pos,
                                           .rows = rows,
                                           .heads = heads,
                                           .head_dim = m->head_dim,
                                           .rope_dim = m->rope_dim,
                                           .base = m->rope_base,
                                           .factors = m->rope_factors});
}

static status remember(forward *f, uint32_t layer, uint32_t rows) {
    return f->ops->kv_write(
        f->dev,
        &(op_kv_write){
            .layout = &f->layout, .kv = f->kv, .layer = layer, .k = f->k, .v = f->v, .refs = f->refs, .rows = rows});
}

static status attend(forward *f, uint32_t layer, uint32_t rows) {
    const model *m = f->m;
    return f->ops->attention(f->dev, &(op_attention){.layout = &f->layout,
                                                     .kv = f->kv,
                                                     .layer = layer,
                                                     .q = f->q,
                                                     .refs = f->refs,
                                                     .rows = rows,
                                                     .heads = m->heads,
                                                     .scale = 1.0f / sqrtf((float)m->head_dim),
                                                     .out = f->att});
}

static status add(forward *f, uint32_t rows) {
    return f->ops->add(f->dev, &(op_add){.x = f->x, .y = f->h, .rows = rows, .dim = f->m->dim});
}

static status gated(forward *f, uint32_t rows) {
    return f->ops->silu_mul(
        f->dev, &(op_silu_mul){.gate = f->gate, .up = f->up, .rows = rows, .dim = f->m->ffn_dim, .out = f->gate});
}

/* --- the pass --- */

static status attention_block(forward *f, uint32_t layer, uint32_t rows) {
    const model_layer *w = &f->m->layer[layer];
    TRY(norm(f, f->x, &w->attn_norm, rows, f->h));
    TRY(linear(f, f->h, &w->wq, rows, f->q));
    TRY(linear(f, f->h, &w->wk, rows, f->k));
    TRY(linear(f, f->h, &w->wv, rows, f->v));
    TRY(rope(f, f->q, f->m->heads, rows));
    TRY(rope(f, f->k, f->m->kv_heads, rows));
    TRY(remember(f, layer, rows));
    TRY(attend(f, layer, rows));
    TRY(linear(f, f->att, &w->wo, rows, f->h));
    return add(f, rows);
}

static status feed_forward_block(forward *f, uint32_t layer, uint32_t rows) {
    const model_layer *w = &f->m->layer[layer];
    TRY(norm(f, f->x, &w->ffn_norm, rows, f->h));
    TRY(linear(f, f->h, &w->w_gate, rows, f->gate));
    TRY(linear(f, f->h, &w->w_up, rows, f->up));
    TRY(gated(f, rows));
    TRY(linear(f, f->gate, &w->w_down, rows, f->h));
    return add(f, rows);
}

status forward_layers(forward *f, uint32_t rows, const engine_hook *hook, const step_item *items, uint32_t item_count) {
    PRE(rows > 0);
    PRE(rows <= f->max_rows);
    TRY(f->ops->embed(f->dev, &(op_embed){.table = &f->m->embed, .ids = f->ids, .rows = rows, .out = f->x}));
    for (uint32_t layer = 0; layer < f->m->layers; layer++) {
        if (hook && hook->layer_begin) hook->layer_begin(hook->ctx, layer, items, item_count);
        TRY(attention_block(f, layer, rows));
        TRY(feed_forward_block(f, layer, rows));
        if (!hook || !hook->layer_end) continue;
        TRY(f->ops->sync(f->dev, NULL)); /* the hook may let another thread read the KV rows */
        hook->layer_end(hook->ctx, layer, items, item_count);
    }
    return ST_OK;
}

status forward_head(forward *f, const int32_t *row_idx, uint32_t count, errbuf *eb) {
    PRE(count > 0);
    PRE(count <= f->head_rows);
    /* Gathering rows of a matrix is what an embedding lookup does: the residual stream is the table. */
    const tensor table = {.type = DT_F32, .rows = f->max_rows, .cols = f->m->dim, .data = f->x};
    TRY(f->ops->embed(f->dev, &(op_embed){.table = &table, .ids = row_idx, .rows = count, .out = f->last}));
    TRY(norm(f, f->last, &f->m->output_norm, count, f->last));
    TRY(linear(f, f->last, &f->m->output, count, f->logits));
    return f->ops->sync(f->dev, eb);
}
