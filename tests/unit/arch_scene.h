/* arch_scene - two architectures that are not Llama's, as descriptions, their checkpoints as GGUF images, and
 * what they compute, in plain loops in double.
 *
 *   gpt    layer norms and matrices with biases, learned positions, GELU without gate
 *   near   RMS norms, biases of q, k, v, norms of their heads, rotation of halves, gated ReLU, and a window
 *          in every other layer */
#ifndef BATON_TESTS_ARCH_SCENE_H
#define BATON_TESTS_ARCH_SCENE_H

#include "tests/test.h"

#include "base/mem.h"
#include "gguf_build.h"
#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    DIM = 32,
    HEADS = 4,
    KV_HEADS = 2,
    HEAD = 8,
    FFN = 64,
    VOCAB = 37,
    LAYERS = 2,
    CONTEXT = 48,
    TOKENS = 20
};
enum { WINDOW = 5 };

static inline void common_dims(model *m) {
    m->dim = DIM;
    m->layers = LAYERS;
    m->heads = HEADS;
    m->head_dim = HEAD;
    m->ffn_dim = FFN;
    m->context = CONTEXT;
    m->norm_eps = 1e-5f;
}

static status gpt_dims(model *m, const checkpoint *ckpt, errbuf *eb) {
    (void)ckpt;
    (void)eb;
    common_dims(m);
    m->kv_heads = HEADS;
    m->norm = NORM_LAYER;
    m->act = ACT_GELU;
    return ST_OK;
}

static status near_dims(model *m, const checkpoint *ckpt, errbuf *eb) {
    (void)ckpt;
    (void)eb;
    common_dims(m);
    m->kv_heads = KV_HEADS;
    m->act = ACT_RELU;
    m->rope = ROPE_HALVES;
    m->rope_dim = HEAD - 2;
    m->rope_base = 100.0f;
    m->window = xcalloc(LAYERS, sizeof *m->window);
    m->window[1] = WINDOW;
    return ST_OK;
}

#define SCENE_STEPS                                                                                          \
    .steps = {{STEP_NORM, LAYER_ATTN_NORM, .to = BUFFER_NORMED},                                             \
              {STEP_LINEAR, LAYER_QKV, BUFFER_NORMED, BUFFER_QKV},                                           \
              {STEP_ATTEND, .from = BUFFER_QKV, .to = BUFFER_ATTENTION},                                     \
              {STEP_LINEAR, LAYER_ATTN_OUT, BUFFER_ATTENTION, BUFFER_DELTA},                                 \
              {STEP_NORM, LAYER_FFN_NORM, .to = BUFFER_NORMED},                                              \
              {STEP_FFN, LAYER_UP, BUFFER_NORMED, BUFFER_GATED},                                             \
              {STEP_LINEAR, LAYER_DOWN, BUFFER_GATED, BUFFER_DELTA}},                                        \
    .step_count = 7

static const arch gpt = {
    .name = "gpt",
    .dims = gpt_dims,
    .embed = {.part = {{"token_embd", DIM_VOCAB, DIM_MODEL}}},
    .positions = {.part = {{"position_embd", DIM_POSITIONS, DIM_MODEL}}},
    .output_norm = {.bias = true, .part = {{"output_norm", DIM_ONE, DIM_MODEL}}},
    .output = {.part = {{"output", DIM_VOCAB, DIM_MODEL}}},
    .layer = {[LAYER_ATTN_NORM] = {.bias = true, .part = {{"attn_norm", DIM_ONE, DIM_MODEL}}},
              [LAYER_QKV] = {WEIGHT_QKV,
                             true,
                             {{"attn_q", DIM_Q, DIM_MODEL},
                              {"attn_k", DIM_KV, DIM_MODEL},
                              {"attn_v", DIM_KV, DIM_MODEL}}},
              [LAYER_ATTN_OUT] = {.bias = true, .part = {{"attn_output", DIM_MODEL, DIM_Q}}},
              [LAYER_FFN_NORM] = {.bias = true, .part = {{"ffn_norm", DIM_ONE, DIM_MODEL}}},
              [LAYER_UP] = {.bias = true, .part = {{"ffn_up", DIM_FFN, DIM_MODEL}}},
              [LAYER_DOWN] = {.bias = true, .part = {{"ffn_down", DIM_MODEL, DIM_FFN}}}},
    SCENE_STEPS,
    .widths = {[BUFFER_NORMED] = {DIM_MODEL},
               [BUFFER_DELTA] = {DIM_MODEL},
               [BUFFER_QKV] = {DIM_Q, DIM_KV, DIM_KV},
               [BUFFER_ATTENTION] = {DIM_Q},
               [BUFFER_SCRATCH] = {DIM_FFN},
               [BUFFER_GATED] = {DIM_FFN}},
};

static const arch near = {
    .name = "near",
    .dims = near_dims,
    .embed = {.part = {{"token_embd", DIM_VOCAB, DIM_MODEL}}},
    .output_norm = {.part = {{"output_norm", DIM_ONE, DIM_MODEL}}},
    .output = {.part = {{"output", DIM_VOCAB, DIM_MODEL}}},
    .layer = {[LAYER_ATTN_NORM] = {.part = {{"attn_norm", DIM_ONE, DIM_MODEL}}},
              [LAYER_QKV] = {WEIGHT_QKV,
                             true,
                             {{"attn_q", DIM_Q, DIM_MODEL},
                              {"attn_k", DIM_KV, DIM_MODEL},
                              {"attn_v", DIM_KV, DIM_MODEL}}},
              [LAYER_Q_NORM] = {.part = {{"attn_q_norm", DIM_ONE, DIM_HEAD}}},
              [LAYER_K_NORM] = {.part = {{"attn_k_norm", DIM_ONE, DIM_HEAD}}},
              [LAYER_ATTN_OUT] = {.part = {{"attn_output", DIM_MODEL, DIM_Q}}},
              [LAYER_FFN_NORM] = {.part = {{"ffn_norm", DIM_ONE, DIM_MODEL}}},
              [LAYER_UP] = {WEIGHT_GATE_UP,
                            false,
                            {{"ffn_gate", DIM_FFN, DIM_MODEL}, {"ffn_up", DIM_FFN, DIM_MODEL}}},
              [LAYER_DOWN] = {.part = {{"ffn_down", DIM_MODEL, DIM_FFN}}}},
    SCENE_STEPS,
    .widths = {[BUFFER_NORMED] = {DIM_MODEL},
               [BUFFER_DELTA] = {DIM_MODEL},
               [BUFFER_QKV] = {DIM_Q, DIM_KV, DIM_KV},
               [BUFFER_ATTENTION] = {DIM_Q},
               [BUFFER_SCRATCH] = {DIM_FFN, DIM_FFN},
               [BUFFER_GATED] = {DIM_FFN}},
};

/* --- checkpoints --- */

static inline void put_tensor(gguf_build *b, const char *name, uint32_t rows, uint32_t cols) {
    while (b->data.len % BUILD_ALIGNMENT) buf_add(&b->data, "", 1);
    build_entry(b, name, DT_F32, rows == 1 ? 1 : 2, (uint64_t[]){cols, rows}, b->data.len);
    uint64_t seed = 0;
    for (const char *c = name; *c; c++) seed = seed * 31 + (unsigned char)*c;
    for (uint32_t i = 0; i < rows * cols; i++) {
        float random = (float)random_weight(seed, i) / 255.0f;
        float w = rows == 1 ? 1.0f + 0.3f * random : 0.3f * random;
        buf_add(&b->data, &w, sizeof w);
    }
}

static inline void put_weight(gguf_build *b, const model *m, const char *prefix, const arch_weight *w) {
    for (uint32_t i = 0; w->part[0].name && i < weight_form_parts(w->form); i++) {
        char name[96];
        uint32_t rows = (uint32_t)model_size(m, w->part[i].rows),
                 cols = (uint32_t)model_size(m, w->part[i].cols);
        snprintf(name, sizeof name, "%s%s.weight", prefix, w->part[i].name);
        put_tensor(b, name, rows, cols);
        if (!w->bias) continue;
        snprintf(name, sizeof name, "%s%s.bias", prefix, w->part[i].name);
        put_tensor(b, name, 1, rows == 1 ? cols : rows);
    }
}

typedef struct arch_scene {
    buf file;
    checkpoint *ckpt;
    model *m;
} arch_scene;

static inline arch_scene arch_scene_open(const arch *a) {
    arch_scene s = {0};
    gguf_build b = {0};
    const char *tokens[VOCAB];
    model shape = {.arch = a, .vocab = VOCAB};
    for (uint32_t i = 0; i < VOCAB; i++) tokens[i] = "t";
    build_string(&b, "general.architecture", a->name);
    build_strings(&b, "tokenizer.ggml.tokens", tokens, VOCAB);
    assert_int_equal(a->dims(&shape, NULL, NULL), ST_OK);
    put_weight(&b, &shape, "", &a->embed);
    put_weight(&b, &shape, "", &a->positions);
    put_weight(&b, &shape, "", &a->output_norm);
    put_weight(&b, &shape, "", &a->output);
    for (uint32_t i = 0; i < LAYERS; i++) {
        char prefix[16];
        snprintf(prefix, sizeof prefix, "blk.%u.", i);
        for (uint32_t r = 0; r < LAYER_ROLES; r++) put_weight(&b, &shape, prefix, &a->layer[r]);
    }
    free(shape.window);
    s.file = build_file(&b);
    errbuf eb = {0};
    if (gguf_parse_checkpoint(&s.ckpt, s.file.data, s.file.len, &eb) != ST_OK) fail_msg("%s", eb.text);
    if (model_load_as(&s.m, a, s.ckpt, &eb) != ST_OK) fail_msg("%s", eb.text);
    return s;
}

static inline void arch_scene_close(arch_scene *s) {
    model_free(s->m);
    checkpoint_close(s->ckpt);
    buf_done(&s->file);
}

/* --- what they compute --- */

static inline double at(const tensor *t, uint32_t row, uint32_t col) {
    return ((const float *)t->data)[(size_t)row * t->cols + col];
}

static inline void naive_norm(norm_kind kind, const weight_parts *w, double eps, const double *x,
                              uint32_t dim, double *out) {
    double mean = 0, squares = 0;
    for (uint32_t i = 0; kind == NORM_LAYER && i < dim; i++) mean += x[i] / dim;
    for (uint32_t i = 0; i < dim; i++) squares += (x[i] - mean) * (x[i] - mean) / dim;
    for (uint32_t i = 0; i < dim; i++) {
        out[i] = (x[i] - mean) / sqrt(squares + eps) * at(&w->part[0], 0, i);
        if (w->bias[0].data) out[i] += at(&w->bias[0], 0, i);
    }
}

static inline void naive_linear(const weight_parts *w, uint32_t part, const double *x, double *out) {
    const tensor *t = &w->part[part];
    for (uint32_t n = 0; n < t->rows; n++) {
        out[n] = w->bias[part].data ? at(&w->bias[part], 0, n) : 0;
        for (uint32_t k = 0; k < t->cols; k++) out[n] += at(t, n, k) * x[k];
    }
}

static inline double naive_act(act_kind act, double x) {
    return act == ACT_RELU   ? fmax(x, 0)
           : act == ACT_SILU ? x / (1 + exp(-x))
                             : x / (1 + exp(-2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static inline void naive_head(const model *m, const weight_parts *norm, double *x, uint32_t pos) {
    if (norm->part[0].rows) naive_norm(NORM_RMS, norm, m->norm_eps, x, HEAD, x);
    for (uint32_t i = 0; i < m->rope_dim / 2; i++) {
        uint32_t a = m->rope == ROPE_HALVES ? i : 2 * i,
                 b = m->rope == ROPE_HALVES ? i + m->rope_dim / 2 : 2 * i + 1;
        double angle = pos / pow((double)m->rope_base, 2.0 * i / m->rope_dim), u = x[a], v = x[b];
        x[a] = u * cos(angle) - v * sin(angle);
        x[b] = u * sin(angle) + v * cos(angle);
    }
}

/* Keys and values of all positions so far. */
typedef struct naive_kv {
    double k[LAYERS][TOKENS][HEADS * HEAD], v[LAYERS][TOKENS][HEADS * HEAD];
} naive_kv;

static inline void naive_attention(const model *m, uint32_t layer, const naive_kv *kv, const double *q,
                                   uint32_t pos, double *out) {
    uint32_t window = m->window ? m->window[layer] : 0;
    for (uint32_t h = 0; h < HEADS; h++) {
        uint32_t from = h / (HEADS / m->kv_heads) * HEAD;
        double p[TOKENS], total = 0;
        for (uint32_t i = 0; i < HEAD; i++) out[h * HEAD + i] = 0;
        for (uint32_t j = 0; j <= pos; j++) {
            double dot = 0;
            for (uint32_t i = 0; i < HEAD; i++) dot += q[h * HEAD + i] * kv->k[layer][j][from + i];
            p[j] = window > 0 && pos - j >= window ? 0 : exp(dot / sqrt(HEAD));
            total += p[j];
        }
        for (uint32_t j = 0; j <= pos; j++)
            for (uint32_t i = 0; i < HEAD; i++) out[h * HEAD + i] += p[j] / total * kv->v[layer][j][from + i];
    }
}

static inline void naive_layer(const model *m, uint32_t layer, naive_kv *kv, uint32_t pos, double *x) {
    const weight_parts *w = m->layer[layer].weights;
    double normed[DIM], q[HEADS * HEAD], att[HEADS * HEAD], delta[DIM], gate[FFN], up[FFN];
    naive_norm(m->norm, &w[LAYER_ATTN_NORM], m->norm_eps, x, DIM, normed);
    naive_linear(&w[LAYER_QKV], 0, normed, q);
    naive_linear(&w[LAYER_QKV], 1, normed, kv->k[layer][pos]);
    naive_linear(&w[LAYER_QKV], 2, normed, kv->v[layer][pos]);
    for (uint32_t h = 0; h < HEADS; h++) naive_head(m, &w[LAYER_Q_NORM], q + h * HEAD, pos);
    for (uint32_t h = 0; h < m->kv_heads; h++)
        naive_head(m, &w[LAYER_K_NORM], kv->k[layer][pos] + h * HEAD, pos);
    naive_attention(m, layer, kv, q, pos, att);
    naive_linear(&w[LAYER_ATTN_OUT], 0, att, delta);
    for (uint32_t i = 0; i < DIM; i++) x[i] += delta[i];
    naive_norm(m->norm, &w[LAYER_FFN_NORM], m->norm_eps, x, DIM, normed);
    naive_linear(&w[LAYER_UP], 0, normed, gate);
    if (w[LAYER_UP].form == WEIGHT_GATE_UP) naive_linear(&w[LAYER_UP], 1, normed, up);
    for (uint32_t i = 0; i < FFN; i++)
        gate[i] = naive_act(m->act, gate[i]) * (w[LAYER_UP].form == WEIGHT_GATE_UP ? up[i] : 1);
    naive_linear(&w[LAYER_DOWN], 0, gate, delta);
    for (uint32_t i = 0; i < DIM; i++) x[i] += delta[i];
}

/* logits: [TOKENS, VOCAB] */
static inline void naive_logits(const model *m, const int32_t *ids, double *logits) {
    naive_kv *kv = xcalloc(1, sizeof *kv);
    for (uint32_t pos = 0; pos < TOKENS; pos++) {
        double x[DIM], last[DIM];
        for (uint32_t i = 0; i < DIM; i++) {
            x[i] = at(&m->embed.part[0], (uint32_t)ids[pos], i);
            if (m->positions.part[0].rows) x[i] += at(&m->positions.part[0], pos, i);
        }
        for (uint32_t l = 0; l < LAYERS; l++) naive_layer(m, l, kv, pos, x);
        naive_norm(m->norm, &m->output_norm, m->norm_eps, x, DIM, last);
        naive_linear(&m->output, 0, last, logits + pos * VOCAB);
    }
    free(kv);
}

#endif
