#include "engine/weights.h"

#include "base/mem.h"

#include <stdlib.h>

/* Called for each weight that the model has, once: what it is made of, and where its handle is (NULL without
 * handles). */
typedef status (*visit)(void *ctx, const weight_parts *from, weight **to);

static status visit_one(visit v, void *ctx, const weight_parts *from, weight **to) {
    return weight_is_there(from) ? v(ctx, from, to) : ST_OK;
}

static status visit_layer(const model_layer *from, layer_weights *to, visit v, void *ctx) {
    status st = ST_OK;
    for (uint32_t r = 0; st == ST_OK && r < LAYER_ROLES; r++)
        st = visit_one(v, ctx, &from->weights[r], to ? &to->weights[r] : NULL);
    return st;
}

/* All weights, in the order in which they are loaded. w: the handles, or NULL. */
static status visit_all(const model *m, weights *w, visit v, void *ctx) {
    status st = visit_one(v, ctx, &m->embed, w ? &w->embed : NULL);
    if (st == ST_OK) st = visit_one(v, ctx, &m->positions, w ? &w->positions : NULL);
    for (uint32_t i = 0; st == ST_OK && i < m->layers; i++)
        st = visit_layer(&m->layer[i], w ? &w->layer[i] : NULL, v, ctx);
    if (st == ST_OK) st = visit_one(v, ctx, &m->output_norm, w ? &w->output_norm : NULL);
    if (st == ST_OK && !m->tied) st = visit_one(v, ctx, &m->output, w ? &w->output : NULL);
    return st;
}

typedef struct loading {
    const weights *to;
    errbuf *eb;
} loading;

static status load(void *ctx, const weight_parts *from, weight **to) {
    const loading *l = ctx;
    return l->to->ops->weight_load(l->to->dev, from, to, l->eb);
}

status weights_load(weights *w, const model *m, const backend_ops *ops, device *dev, errbuf *eb) {
    PRE(w);
    PRE(m);
    PRE(m->layer);
    PRE(ops);
    PRE(dev);
    *w = (weights){.ops = ops, .dev = dev, .model = m};
    w->layer = xcalloc(m->layers, sizeof *w->layer);
    status st = visit_all(m, w, load, &(loading){.to = w, .eb = eb});
    if (st == ST_OK && m->tied) w->output = w->embed;
    if (st == ST_OK) st = ops->weights_ready(dev, &w->home, eb);
    return st == ST_OK ? ST_OK : err_prefix(eb, st, "engine: weights of %s", m->path);
}

static status give(void *ctx, const weight_parts *from, weight **to) {
    const weights *w = ctx;
    (void)from;
    w->ops->weight_free(w->dev, *to);
    return ST_OK;
}

void weights_done(weights *w) {
    PRE(w);
    if (!w->ops) return;
    (void)visit_all(w->model, w, give, w);
    free(w->layer);
    *w = (weights){0};
}

typedef struct counting {
    const backend_ops *ops;
    dtype act_type;
    uint64_t bytes;
} counting;

static status count(void *ctx, const weight_parts *from, weight **to) {
    counting *c = ctx;
    (void)to;
    c->bytes += c->ops->weight_bytes(c->act_type, from);
    return ST_OK;
}

uint64_t weights_bytes(const model *m, const backend_ops *ops, dtype act_type) {
    PRE(m);
    PRE(m->layer);
    PRE(ops);
    counting c = {.ops = ops, .act_type = act_type};
    (void)visit_all(m, NULL, count, &c);
    return c.bytes;
}
