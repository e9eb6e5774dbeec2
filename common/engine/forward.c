#include "engine/forward.h"

#include "base/log.h"
#include "base/mem.h"

/* --- memory --- */

void forward_init(forward *f, const model *m, const weights *w, const backend_ops *ops, device *dev,
                  uint32_t max_rows) {
    PRE(f);
    PRE(m);
    PRE(w);
    PRE(ops);
    PRE(dev);
    PRE(max_rows > 0);
    *f = (forward){.model = m, .weights = w, .ops = ops, .dev = dev};
    f->act = activations_of(m, dtype_block_bytes(ops->act_type(dev)), max_rows);
}

status forward_alloc(forward *f, errbuf *eb) {
    PRE(f);
    PRE(!f->memory);
    f->memory = f->ops->mem_alloc(f->dev, f->act.bytes);
    if (!f->memory)
        return errf(eb, ST_NOMEM,
                    "engine: no memory for %zu MiB of activations (%u rows per step): lower max_rows",
                    f->act.bytes >> 20, f->act.max_rows);
    for (uint32_t i = 0; i < ACTIVATION_PARTS; i++)
        log_debug("engine", "activation", "what=%s kib=%zu", activation_name(i), f->act.part[i].bytes >> 10);
    return ST_OK;
}

void forward_done(forward *f) {
    PRE(f);
    if (f->memory) f->ops->mem_free(f->dev, f->memory, f->act.bytes);
    *f = (forward){0};
}

static void *part(const forward *f, uint32_t which) {
    return f->memory + f->act.part[which].offset;
}

/* --- the ops, so that the pass below reads like the paper --- */

#define TRY(call)                                                                                            \
    do {                                                                                                     \
        status st_ = (call);                                                                                 \
        if (st_ != ST_OK) return st_;                                                                        \
    } while (0)

static status embed(forward *f, uint32_t rows) {
    return f->ops->embed(f->dev, &(op_embed){.table = f->weights->embed,
                                             .positions = f->weights->positions,
                                             .scale = f->model->embed_scale,
                                             .rows = rows,
                                             .x = part(f, ACTIVATION_RESIDUAL)});
}

static status norm(forward *f, const arch_step *s, const weight *w, bool first, uint32_t rows) {
    return f->ops->norm(f->dev, &(op_norm){.x = part(f, ACTIVATION_RESIDUAL),
                                           .delta = first ? NULL : part(f, BUFFER_DELTA),
                                           .weight = w,
                                           .kind = f->model->norm,
                                           .rows = rows,
                                           .dim = f->model->dim,
                                           .eps = f->model->norm_eps,
                                           .out = part(f, s->to)});
}

static status post_norm(forward *f, const arch_step *s, const weight *w, uint32_t rows) {
    return f->ops->norm(f->dev, &(op_norm){.delta = part(f, s->from),
                                           .weight = w,
                                           .kind = f->model->norm,
                                           .rows = rows,
                                           .dim = f->model->dim,
                                           .eps = f->model->norm_eps,
                                           .out = part(f, s->to)});
}

static status linear(forward *f, const arch_step *s, const weight *w, uint32_t rows) {
    return f->ops->linear(f->dev,
                          &(op_linear){.x = part(f, s->from), .w = w, .rows = rows, .out = part(f, s->to)});
}

static status attend(forward *f, const arch_step *s, uint32_t layer, uint32_t rows) {
    const layer_weights *w = &f->weights->layer[layer];
    return f->ops->attend(f->dev, &(op_attend){.layer = layer,
                                               .rows = rows,
                                               .window = f->model->window ? f->model->window[layer] : 0,
                                               .rope_local = model_rope_local(f->model, layer),
                                               .q_norm = w->weights[LAYER_Q_NORM],
                                               .k_norm = w->weights[LAYER_K_NORM],
                                               .norm_eps = f->model->norm_eps,
                                               .qkv = part(f, s->from),
                                               .out = part(f, s->to)});
}

static status feed_forward(forward *f, const arch_step *s, const weight *w, uint32_t rows) {
    return f->ops->gate_up(f->dev, &(op_gate_up){.x = part(f, s->from),
                                                 .w = w,
                                                 .act = f->model->act,
                                                 .rows = rows,
                                                 .scratch = part(f, BUFFER_SCRATCH),
                                                 .out = part(f, s->to)});
}

static status head(forward *f, uint32_t begin, uint32_t count) {
    TRY(f->ops->head_norm(f->dev, &(op_head_norm){.x = part(f, ACTIVATION_RESIDUAL),
                                                  .delta = part(f, BUFFER_DELTA),
                                                  .weight = f->weights->output_norm,
                                                  .kind = f->model->norm,
                                                  .begin = begin,
                                                  .count = count,
                                                  .dim = f->model->dim,
                                                  .eps = f->model->norm_eps,
                                                  .out = part(f, ACTIVATION_LAST)}));
    return f->ops->linear(f->dev, &(op_linear){.x = part(f, ACTIVATION_LAST),
                                               .w = f->weights->output,
                                               .rows = count,
                                               .out = part(f, ACTIVATION_LOGITS),
                                               .logits = true});
}

/* --- the pass --- */

static void mark(const forward *f, uint32_t layers) {
    if (f->mark) f->mark(f->mark_ctx, layers);
}

static status run_step(forward *f, uint32_t layer, const arch_step *s, uint32_t rows) {
    const weight *w = f->weights->layer[layer].weights[s->weight];
    switch (s->kind) {
    case STEP_NORM: /* nothing was added to the residual stream before the very first */
        return norm(f, s, w, layer == 0 && s == f->model->arch->steps, rows);
    case STEP_LINEAR:
        return linear(f, s, w, rows);
    case STEP_ATTEND:
        return attend(f, s, layer, rows);
    case STEP_FFN:
        return feed_forward(f, s, w, rows);
    case STEP_POST_NORM:
        return post_norm(f, s, w, rows);
    }
    check_failed("check", "a step of a layer", __FILE__, __LINE__, __func__);
}

static status run_layer(forward *f, uint32_t layer, uint32_t rows) {
    const arch *a = f->model->arch;
    for (uint32_t i = 0; i < a->step_count; i++) {
        TRY(run_step(f, layer, &a->steps[i], rows));
        mark(f, layer + (i + 1 == a->step_count));
    }
    return ST_OK;
}

/* The hook may let another thread gather the layer's KV: kv_gather waits for the mark. */
static status run_layers(forward *f, const step_pass *pass, const forward_hook *h) {
    const engine_hook *hook = h->hook;
    TRY(embed(f, pass->rows));
    for (uint32_t layer = 0; layer < f->model->layers; layer++) {
        if (hook && hook->layer_begin) hook->layer_begin(hook->ctx, layer, h->items, h->count);
        TRY(run_layer(f, layer, pass->rows));
        if (!hook || !hook->layer_end) continue;
        TRY(f->ops->layer_mark(f->dev, layer));
        hook->layer_end(hook->ctx, pass->step, layer, h->items, h->count);
    }
    return ST_OK;
}

static status run_head(forward *f, const op_step *s, uint32_t head_count, float *logits) {
    size_t vocab = f->model->vocab;
    for (uint32_t begin = 0; begin < head_count;) {
        uint32_t count = MIN(head_count - begin, f->act.head_rows);
        TRY(head(f, begin, count));
        if (s->samples)
            TRY(f->ops->sample(f->dev, &(op_sample){.logits = part(f, ACTIVATION_LOGITS),
                                                    .begin = begin,
                                                    .count = count,
                                                    .vocab = f->model->vocab}));
        uint32_t wanted = logits && begin < s->head_count ? MIN(count, s->head_count - begin) : 0;
        if (wanted > 0)
            TRY(f->ops->mem_read(f->dev, logits + begin * vocab, part(f, ACTIVATION_LOGITS),
                                 wanted * vocab * sizeof *logits));
        begin += count;
        mark(f, f->model->layers);
    }
    return ST_OK;
}

static status run_ops(forward *f, const op_step *s, const step_pass *pass, const forward_hook *hook,
                      float *logits) {
    CHECK(pass->rows >= s->rows);
    CHECK(pass->rows <= f->act.max_rows);
    CHECK(pass->head_count >= s->head_count);
    TRY(run_layers(f, pass, hook));
    return run_head(f, s, pass->head_count, logits);
}

status forward_step(forward *f, const op_step *s, const forward_hook *hook, float *logits, errbuf *eb) {
    PRE(f);
    PRE(f->memory);
    PRE(s);
    PRE(hook);
    PRE(s->rows > 0);
    PRE(s->rows <= f->act.max_rows);
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
