#include "tests/cuda/mini.h"

#include <stdlib.h>

enum { EMBED, NORM, Q, K, V, O, OUTPUT };

mini mini_open(const char *backend, const device_options *opt) {
    mini m = {.r = rig_open(backend, opt)};
    for (uint32_t i = 0; i < MINI_PARTS; i++) {
        uint32_t rows = i == EMBED || i == OUTPUT ? MINI_VOCAB : i == NORM ? 1 : MINI_DIM;
        m.parts[i] = random_tensor(i == NORM ? DT_F32 : DT_BF16, rows, MINI_DIM, 100 + i);
    }
    const tensor *p[MINI_PARTS];
    for (uint32_t i = 0; i < MINI_PARTS; i++) p[i] = &m.parts[i];
    m.embed = rig_weight(&m.r, WEIGHT_PLAIN, &p[EMBED]);
    m.norm = rig_weight(&m.r, WEIGHT_PLAIN, &p[NORM]);
    m.qkv = rig_weight(&m.r, WEIGHT_QKV, &p[Q]);
    m.o = rig_weight(&m.r, WEIGHT_PLAIN, &p[O]);
    m.out = rig_weight(&m.r, WEIGHT_PLAIN, &p[OUTPUT]);
    const kv_layout layout = {
        .type = m.r.ops->kv_default(m.r.act), .layers = 1, .kv_heads = MINI_HEADS, .head_dim = MINI_HEAD_DIM};
    rig_attention(&m.r, &layout, MINI_HEADS, MINI_HEAD_DIM);
    m.x = rig_floats(&m.r, NULL, RIG_ROWS * MINI_DIM);
    m.h = rig_acts(&m.r, NULL, RIG_ROWS * MINI_DIM);
    m.wide = rig_acts(&m.r, NULL, RIG_ROWS * 3 * MINI_DIM);
    m.logits = rig_floats(&m.r, NULL, RIG_HEAD * MINI_VOCAB);
    return m;
}

void mini_close(mini *m) {
    rig_free(&m->r, m->x, RIG_ROWS * MINI_DIM * sizeof(float));
    rig_free(&m->r, m->h, rig_act_bytes(&m->r, RIG_ROWS * MINI_DIM));
    rig_free(&m->r, m->wide, rig_act_bytes(&m->r, RIG_ROWS * 3 * MINI_DIM));
    rig_free(&m->r, m->logits, RIG_HEAD * MINI_VOCAB * sizeof(float));
    weight *weights[] = {m->embed, m->norm, m->qkv, m->o, m->out};
    for (size_t i = 0; i < ARRAY_LEN(weights); i++) m->r.ops->weight_free(m->r.d, weights[i]);
    rig_close(&m->r);
    for (uint32_t i = 0; i < MINI_PARTS; i++) free((void *)m->parts[i].data);
}

#define TRY(call)                                                                                            \
    do {                                                                                                     \
        status st_ = (call);                                                                                 \
        if (st_ != ST_OK) return st_;                                                                        \
    } while (0)

static status layer(mini *m, uint32_t rows) {
    const backend_ops *ops = m->r.ops;
    device *d = m->r.d;
    TRY(ops->embed(d, &(op_embed){.table = m->embed, .rows = rows, .x = m->x}));
    TRY(ops->norm(
        d,
        &(op_norm){.x = m->x, .weight = m->norm, .rows = rows, .dim = MINI_DIM, .eps = 1e-5f, .out = m->h}));
    TRY(ops->linear(d, &(op_linear){.x = m->h, .w = m->qkv, .rows = rows, .out = m->wide}));
    TRY(ops->attend(d, &(op_attend){.rows = rows, .qkv = m->wide, .out = m->h}));
    return ops->linear(d, &(op_linear){.x = m->h, .w = m->o, .rows = rows, .out = m->wide});
}

static status head(mini *m, uint32_t begin, uint32_t count, bool sample) {
    const backend_ops *ops = m->r.ops;
    device *d = m->r.d;
    TRY(ops->head_norm(d, &(op_head_norm){.x = m->x,
                                          .delta = m->wide,
                                          .weight = m->norm,
                                          .begin = begin,
                                          .count = count,
                                          .dim = MINI_DIM,
                                          .eps = 1e-5f,
                                          .out = m->h}));
    TRY(ops->linear(d,
                    &(op_linear){.x = m->h, .w = m->out, .rows = count, .out = m->logits, .logits = true}));
    if (!sample) return ST_OK;
    return ops->sample(
        d, &(op_sample){.logits = m->logits, .begin = begin, .count = count, .vocab = MINI_VOCAB});
}

status mini_step(mini *m, const op_step *s, step_pass *pass, errbuf *eb) {
    *pass = (step_pass){0};
    TRY(m->r.ops->step_begin(m->r.d, s, pass, eb));
    if (!pass->replayed) {
        TRY(layer(m, pass->rows));
        for (uint32_t begin = 0; begin < pass->head_count; begin += RIG_HEAD)
            TRY(head(m, begin, MIN(pass->head_count - begin, RIG_HEAD), s->samples != NULL));
    }
    return m->r.ops->step_end(m->r.d, eb);
}
