#include "engine/weights.h"

#include "base/mem.h"

#include <stdlib.h>

static status load(weights *w, weight_form form, const tensor *const *parts, weight **out, errbuf *eb) {
    return w->ops->weight_load(w->dev, form, parts, out, eb);
}

static status load_plain(weights *w, const tensor *t, weight **out, errbuf *eb) {
    return load(w, WEIGHT_PLAIN, &t, out, eb);
}

static status load_layer(weights *w, const model_layer *from, layer_weights *to, errbuf *eb) {
    const tensor *const qkv[] = {&from->wq, &from->wk, &from->wv};
    const tensor *const gate_up[] = {&from->w_gate, &from->w_up};
    status st = load_plain(w, &from->attn_norm, &to->attn_norm, eb);
    if (st == ST_OK) st = load(w, WEIGHT_QKV, qkv, &to->qkv, eb);
    if (st == ST_OK) st = load_plain(w, &from->wo, &to->wo, eb);
    if (st == ST_OK) st = load_plain(w, &from->ffn_norm, &to->ffn_norm, eb);
    if (st == ST_OK) st = load(w, WEIGHT_GATE_UP, gate_up, &to->gate_up, eb);
    if (st == ST_OK) st = load_plain(w, &from->w_down, &to->down, eb);
    return st;
}

status weights_load(weights *w, const model *m, const backend_ops *ops, device *dev, errbuf *eb) {
    PRE(w);
    PRE(m);
    PRE(ops);
    PRE(dev);
    *w = (weights){.ops = ops, .dev = dev, .layer_count = m->layers};
    w->layer = xcalloc(m->layers, sizeof *w->layer);
    status st = load_plain(w, &m->embed, &w->embed, eb);
    for (uint32_t i = 0; st == ST_OK && i < m->layers; i++)
        st = load_layer(w, &m->layer[i], &w->layer[i], eb);
    if (st == ST_OK) st = load_plain(w, &m->output_norm, &w->output_norm, eb);
    if (st == ST_OK && m->tied) w->output = w->embed;
    if (st == ST_OK && !m->tied) st = load_plain(w, &m->output, &w->output, eb);
    return st == ST_OK ? ST_OK : err_prefix(eb, st, "engine: weights of %s", m->path);
}

void weights_done(weights *w) {
    if (!w->ops) return;
    void (*give)(device *, weight *) = w->ops->weight_free;
    if (w->output != w->embed) give(w->dev, w->output);
    give(w->dev, w->output_norm);
    give(w->dev, w->embed);
    for (uint32_t i = 0; i < w->layer_count; i++) {
        layer_weights *l = &w->layer[i];
        weight *const all[] = {l->attn_norm, l->qkv, l->wo, l->ffn_norm, l->gate_up, l->down};
        for (size_t k = 0; k < ARRAY_LEN(all); k++) give(w->dev, all[k]);
    }
    free(w->layer);
    *w = (weights){0};
}

uint64_t weights_bytes(const model *m, const backend_ops *ops, const device *dev, bool host_memory) {
    PRE(m);
    PRE(ops);
    PRE(dev);
    return host_memory ? m->weight_bytes : m->weight_count * dtype_block_bytes(ops->act_type(dev));
}
