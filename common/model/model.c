/* model - from a checkpoint to a checked description: the architecture's table entry does the reading, this
 * file the checking.
 *
 * Every tensor of the checkpoint must be taken by the architecture. One that is not (a bias, an expert, an
 * adapter) would be left out of the computation silently, so it is refused by name. */
#include "model/model.h"

#include "base/mem.h"
#include "base/path.h"
#include "checkpoint/arch_keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#define SAMPLE_BYTES 4096u /* of each tensor's begin, middle and end */

/* --- shapes --- */

static tensor shape_of(const model *m, const arch_part *p) {
    return (tensor){.rows = (uint32_t)model_size(m, p->rows), .cols = (uint32_t)model_size(m, p->cols)};
}

static void shape_weight(const model *m, const arch_weight *from, weight_parts *to) {
    *to = (weight_parts){.form = from->form};
    for (uint32_t i = 0; from->part[0].name && i < weight_form_parts(from->form); i++)
        to->part[i] = shape_of(m, &from->part[i]);
}

void model_shape(model *m) {
    PRE(m);
    PRE(m->arch);
    PRE(!m->layer);
    PRE(m->layers > 0);
    const arch *a = m->arch;
    shape_weight(m, &a->embed, &m->embed);
    shape_weight(m, &a->positions, &m->positions);
    shape_weight(m, &a->output_norm, &m->output_norm);
    shape_weight(m, &a->output, &m->output);
    m->layer = xcalloc(m->layers, sizeof *m->layer);
    for (uint32_t i = 0; i < m->layers; i++)
        for (uint32_t r = 0; r < LAYER_ROLES; r++) shape_weight(m, &a->layer[r], &m->layer[i].weights[r]);
    POST(model_check(a, m));
}

uint32_t model_features(const model *m) {
    PRE(m);
    PRE(m->arch);
    const arch *a = m->arch;
    uint32_t set = 0;
    bool bias = a->embed.bias || a->positions.bias || a->output_norm.bias || a->output.bias;
    for (uint32_t r = 0; r < LAYER_ROLES; r++) bias = bias || a->layer[r].bias;
    if (bias) set |= FEATURE_BIAS;
    if (m->norm == NORM_LAYER) set |= FEATURE_LAYER_NORM;
    if (m->rope_dim == 0) set |= FEATURE_NO_ROPE;
    if (m->rope_dim > 0 && m->rope == ROPE_HALVES) set |= FEATURE_ROPE_HALVES;
    if (m->act != ACT_SILU) set |= FEATURE_ACT;
    if (a->layer[LAYER_UP].form == WEIGHT_PLAIN) set |= FEATURE_UNGATED;
    if (a->positions.part[0].name) set |= FEATURE_POSITIONS;
    for (uint32_t i = 0; m->window && i < m->layers; i++)
        if (m->window[i] > 0) set |= FEATURE_WINDOW;
    for (uint32_t i = 0; i < m->layers; i++)
        if (model_rope_local(m, i)) set |= FEATURE_ROPE_LOCAL;
    if (m->rope_dim > 0 && m->rope_magnitude != 0) set |= FEATURE_ROPE_MAGNITUDE;
    if (m->embed_scale != 0) set |= FEATURE_EMBED_SCALE;
    for (uint32_t i = 0; i < a->step_count; i++)
        if (a->steps[i].kind == STEP_POST_NORM) set |= FEATURE_POST_NORM;
    if (a->layer[LAYER_Q_NORM].part[0].name) set |= FEATURE_QK_NORM;
    return set;
}

/* --- tensors --- */

/* Where tensors come from. */
typedef struct source {
    const checkpoint *ckpt;
    bool *taken;           /* [tensors of the checkpoint]: which ones have found their place */
    uint64_t weight_count; /* of those that were taken */
} source;

/* Which numbers of a tensor are taken: of `all` rows (of a vector: columns) those from `begin` on. */
typedef struct slice {
    uint64_t begin, all;
} slice;

/* Fills in the data of a tensor whose shape is set: all of a tensor of the file, or a slice of one (NULL:
 * all). Vectors must be f32. */
static status take_tensor(source *s, const char *name, const slice *of, tensor *t, errbuf *eb) {
    s->weight_count += (uint64_t)t->rows * t->cols;
    const bool vector = t->rows == 1;
    const uint64_t rows = of && !vector ? of->all : t->rows, cols = of && vector ? of->all : t->cols;
    if (checkpoint_made_of(s->ckpt)) {
        *t = checkpoint_make(s->ckpt, name, t->rows, t->cols);
        return ST_OK;
    }
    const checkpoint_tensor *from = checkpoint_tensor_find(s->ckpt, name);
    if (!from) return errf(eb, ST_CORRUPT, "tensor '%s' is missing", name);
    if (from->dims[0] != cols || from->dims[1] != rows || from->dims[2] != 1 || from->dims[3] != 1)
        return errf(eb, ST_CORRUPT,
                    "tensor '%s' is [%" PRIu64 ", %" PRIu64 "], want [%" PRIu64 ", %" PRIu64 "]", name,
                    from->dims[1], from->dims[0], rows, cols);
    if (!dtype_known(from->type))
        return errf(eb, ST_UNSUPPORTED, "tensor '%s' has type %s; supported are %s", name,
                    dtype_said(from->type).text, dtype_all().text);
    if (t->rows == 1 && from->type != DT_F32)
        return errf(eb, ST_UNSUPPORTED, "tensor '%s' has type %s; it must be f32", name,
                    dtype_name(from->type));
    CHECK(from->data); /* the checkpoint was prepared */
    s->taken[from - checkpoint_tensor_at(s->ckpt, 0)] = true;
    t->type = (dtype)from->type;
    const uint64_t row_bytes = vector ? sizeof(float) : dtype_row_bytes(t->type, t->cols);
    t->data = (const uint8_t *)from->data + (of ? of->begin * row_bytes : 0);
    return ST_OK;
}

/* Numbers of part i's rows in the tensor of its name. all = 0: it is all of them. */
static slice slice_of(const arch_weight *from, const weight_parts *to, uint32_t i) {
    slice out = {0};
    const uint32_t parts = weight_form_parts(to->form);
    if (parts == 1 || strcmp(from->part[0].name, from->part[1].name) != 0) return out;
    for (uint32_t p = 0; p < i; p++) out.begin += to->part[p].rows;
    for (uint32_t p = 0; p < parts; p++) out.all += to->part[p].rows;
    return out;
}

/* prefix: "blk.N." or "". */
static status take_weight(source *s, const char *prefix, const arch_weight *from, weight_parts *to,
                          errbuf *eb) {
    status st = ST_OK;
    for (uint32_t i = 0; st == ST_OK && weight_is_there(to) && i < weight_form_parts(to->form); i++) {
        char name[96];
        const slice part = slice_of(from, to, i);
        snprintf(name, sizeof name, "%s%s.weight", prefix, from->part[i].name);
        st = take_tensor(s, name, part.all ? &part : NULL, &to->part[i], eb);
        if (st != ST_OK || !from->bias) continue;
        snprintf(name, sizeof name, "%s%s.bias", prefix, from->part[i].name);
        bool vector = to->part[i].rows == 1; /* a norm's */
        to->bias[i] = (tensor){.rows = 1, .cols = vector ? to->part[i].cols : to->part[i].rows};
        st = take_tensor(s, name, part.all ? &part : NULL, &to->bias[i], eb);
    }
    return st;
}

static status take_layer(model *m, source *s, uint32_t layer, errbuf *eb) {
    char prefix[32];
    snprintf(prefix, sizeof prefix, "blk.%u.", layer);
    status st = ST_OK;
    for (uint32_t r = 0; st == ST_OK && r < LAYER_ROLES; r++)
        st = take_weight(s, prefix, &m->arch->layer[r], &m->layer[layer].weights[r], eb);
    return st;
}

/* NAME.weight, which an architecture can do without. False: it does. */
static bool find_optional(const source *s, const char *part, char name[96]) {
    if (!part) return false;
    snprintf(name, 96, "%s.weight", part);
    return checkpoint_has(s->ckpt, name);
}

static status take_rope_factors(model *m, source *s, errbuf *eb) {
    char name[96];
    if (!find_optional(s, m->arch->rope_factors, name)) return ST_OK;
    tensor factors = {.rows = 1, .cols = m->rope_dim / 2};
    status st = take_tensor(s, name, NULL, &factors, eb);
    if (st != ST_OK || !factors.data) return st;
    for (uint32_t i = 0; i < factors.cols; i++) {
        const float by = ((const float *)factors.data)[i];
        if (!model_rope_stretches((double)by))
            return errf(eb, ST_CORRUPT, "tensor '%s': number %u is %g, want %g..%g", name, i, (double)by,
                        ROPE_STRETCH_LEAST, ROPE_STRETCH_MOST);
        model_rope_factors(m)[i] *= by;
    }
    return ST_OK;
}

static status take_all(model *m, source *s, errbuf *eb) {
    const arch *a = m->arch;
    status st = take_weight(s, "", &a->embed, &m->embed, eb);
    if (st == ST_OK) st = take_weight(s, "", &a->positions, &m->positions, eb);
    if (st == ST_OK) st = take_weight(s, "", &a->output_norm, &m->output_norm, eb);
    if (st != ST_OK) return st;
    char name[96];
    m->tied = !find_optional(s, a->output.part[0].name, name);
    if (m->tied)
        m->output = m->embed;
    else
        st = take_weight(s, "", &a->output, &m->output, eb);
    if (st == ST_OK) st = take_rope_factors(m, s, eb);
    for (uint32_t i = 0; st == ST_OK && i < m->layers; i++) st = take_layer(m, s, i, eb);
    return st;
}

/* --- the hash --- */

static void hash_u64(XXH3_state_t *h, uint64_t v) {
    XXH3_64bits_update(h, &v, sizeof v);
}

/* Table of tensors, the constants that change the computation, and parts of each tensor. Reading all the
 * weights would cost seconds and page in the whole file; two checkpoints that differ, differ in nearly every
 * block. */
static uint64_t hash_weights(const model *m, const checkpoint *ckpt) {
    XXH3_state_t *h = XXH3_createState();
    CHECK(h);
    XXH3_64bits_reset(h);
    const uint32_t dims[] = {m->dim,      m->layers,  m->heads, m->kv_heads,
                             m->head_dim, m->ffn_dim, m->vocab, m->rope_dim};
    XXH3_64bits_update(h, dims, sizeof dims);
    XXH3_64bits_update(h, &m->rope_base, sizeof m->rope_base);
    XXH3_64bits_update(h, &m->norm_eps, sizeof m->norm_eps);
    if (m->rope_factors) XXH3_64bits_update(h, m->rope_factors, m->rope_dim / 2 * sizeof(float));
    const float scales[] = {m->rope_magnitude, m->rope_local_base, m->embed_scale, m->attend_scale};
    XXH3_64bits_update(h, scales, sizeof scales);
    if (model_features(m)) { /* Llama's kinds of operations are the usual ones */
        const uint32_t kinds[] = {model_features(m), m->norm, m->act, m->rope};
        XXH3_64bits_update(h, kinds, sizeof kinds);
        if (m->window) XXH3_64bits_update(h, m->window, m->layers * sizeof *m->window);
    }
    if (checkpoint_made_of(ckpt)) hash_u64(h, checkpoint_made_of(ckpt));
    for (uint64_t i = 0; i < checkpoint_tensor_count(ckpt); i++) {
        const checkpoint_tensor *t = checkpoint_tensor_at(ckpt, i);
        const char *data = t->data;
        hash_u64(h, t->name.len);
        XXH3_64bits_update(h, t->name.data, t->name.len);
        hash_u64(h, t->type);
        for (uint32_t d = 0; d < 4; d++) hash_u64(h, t->dims[d]);
        uint64_t n = MIN(t->bytes, SAMPLE_BYTES);
        XXH3_64bits_update(h, data, n);
        XXH3_64bits_update(h, data + (t->bytes - n) / 2, n);
        XXH3_64bits_update(h, data + (t->bytes - n), n);
    }
    uint64_t hash = XXH3_64bits_digest(h);
    XXH3_freeState(h);
    return hash;
}

/* --- loading --- */

static status load_weights(model *m, const checkpoint *ckpt, errbuf *eb) {
    uint64_t count = checkpoint_tensor_count(ckpt);
    source s = {.ckpt = ckpt, .taken = xcalloc(count, sizeof *s.taken)};
    status st = take_all(m, &s, eb);
    for (uint64_t i = 0; i < count && st == ST_OK; i++) {
        const checkpoint_tensor *t = checkpoint_tensor_at(ckpt, i);
        if (!s.taken[i])
            st = errf(eb, ST_UNSUPPORTED,
                      "tensor '%.*s' has no place in the architecture '%s' as it is supported here",
                      (int)MIN(t->name.len, 64u), t->name.data, m->arch->name);
    }
    free(s.taken);
    m->weight_count = s.weight_count;
    if (st == ST_OK) m->weights_hash = hash_weights(m, ckpt);
    return st;
}

/* The tokens of the vocabulary are the rows of the embedding. */
static status count_tokens(model *m, const checkpoint *ckpt, errbuf *eb) {
    static const char key[] = "tokenizer.ggml.tokens";
    checkpoint_kind kind;
    uint64_t count;
    if (!checkpoint_list(ckpt, key, &kind, &count) || count == 0 || count > INT32_MAX)
        return errf(eb, ST_CORRUPT, "the file has no list of tokens (%s)", key);
    m->vocab = (uint32_t)count;
    return ST_OK;
}

status model_load_as(model **out, const arch *a, const checkpoint *ckpt, errbuf *eb) {
    PRE(out);
    PRE(a);
    PRE(ckpt);
    model *m = xcalloc(1, sizeof *m);
    m->arch = a;
    m->path = xstrdup(checkpoint_path(ckpt));
    checkpoint_text name;
    bool named = checkpoint_string(ckpt, "general.name", &name) && name.len > 0;
    m->name = named ? xstrndup(name.data, name.len) : checkpoint_stem(m->path);
    status st = count_tokens(m, ckpt, eb);
    if (st == ST_OK) st = a->dims(m, ckpt, eb);
    if (st != ST_OK) goto fail;
    model_shape(m);
    st = load_weights(m, ckpt, eb);
    if (st != ST_OK) goto fail;
    *out = m;
    return ST_OK;

fail:
    st = err_prefix(eb, st, "%s", m->path);
    model_free(m);
    return st;
}

status model_load(model **out, const checkpoint *ckpt, errbuf *eb) {
    PRE(out);
    PRE(ckpt);
    checkpoint_text name = arch_name(ckpt);
    const arch *a = arch_find(name);
    if (a) return model_load_as(out, a, ckpt, eb);
    char *known = arch_names();
    status st = errf(eb, ST_UNSUPPORTED, "%s: architecture '%.*s' is not supported; supported: %s",
                     checkpoint_path(ckpt), (int)MIN(name.len, 64u), name.data, known);
    free(known);
    return st;
}

void model_free(model *m) {
    if (!m) return;
    free(m->layer);
    free(m->name);
    free(m->path);
    free(m->window);
    free(m->rope_factors);
    free(m);
}

/* --- what the architecture says, in numbers of this model --- */

uint64_t model_size(const model *m, arch_dim dim) {
    PRE(m);
    switch (dim) {
    case DIM_NONE:
        return 0;
    case DIM_ONE:
        return 1;
    case DIM_MODEL:
        return m->dim;
    case DIM_Q:
        return (uint64_t)m->heads * m->head_dim;
    case DIM_KV:
        return (uint64_t)m->kv_heads * m->head_dim;
    case DIM_HEAD:
        return m->head_dim;
    case DIM_FFN:
        return m->ffn_dim;
    case DIM_VOCAB:
        return m->vocab;
    case DIM_POSITIONS:
        return m->context;
    }
    check_failed("check", "a dimension", __FILE__, __LINE__, __func__);
}

float *model_rope_factors(model *m) {
    PRE(m);
    if (m->rope_factors) return m->rope_factors;
    m->rope_factors = xcalloc(m->rope_dim / 2, sizeof *m->rope_factors);
    for (uint32_t i = 0; i < m->rope_dim / 2; i++) m->rope_factors[i] = 1.0f;
    return m->rope_factors;
}

bool model_rope_stretches(double factor) {
    return factor >= ROPE_STRETCH_LEAST && factor <= ROPE_STRETCH_MOST;
}

bool model_rope_local(const model *m, uint32_t layer) {
    PRE(m);
    PRE(layer < m->layers);
    return m->rope_dim > 0 && m->rope_local_base != 0 && m->window && m->window[layer] > 0;
}

uint64_t model_width(const model *m, arch_buffer buffer) {
    PRE(m);
    PRE(m->arch);
    uint64_t width = 0;
    for (uint32_t i = 0; i < ARCH_WIDTHS_MAX; i++) width += model_size(m, m->arch->widths[buffer][i]);
    return width;
}

/* --- the check --- */

/* Numbers of a row that a product with this weight makes */
static uint64_t rows_of(const arch_weight *w, const model *m) {
    uint64_t rows = 0;
    for (uint32_t i = 0; i < weight_form_parts(w->form); i++) rows += model_size(m, w->part[i].rows);
    return rows;
}

static bool has_weight(const arch_step *s, const arch *a, const model *m) {
    const arch_weight *w = &a->layer[s->weight];
    if (!w->part[0].name) return false;
    uint64_t cols = model_size(m, w->part[0].cols);
    switch (s->kind) {
    case STEP_NORM:
        return cols == m->dim && rows_of(w, m) == 1 && model_width(m, s->to) == cols;
    case STEP_LINEAR:
        return model_width(m, s->from) == cols && model_width(m, s->to) == rows_of(w, m);
    case STEP_FFN:
        return model_width(m, s->from) == cols && model_width(m, BUFFER_SCRATCH) == rows_of(w, m) &&
               model_width(m, s->to) == model_size(m, w->part[0].rows);
    case STEP_POST_NORM:
        return cols == m->dim && rows_of(w, m) == 1 && s->from == BUFFER_DELTA && s->to == BUFFER_DELTA;
    case STEP_ATTEND:
        break;
    }
    return false;
}

bool model_check(const arch *a, const model *m) {
    PRE(a);
    PRE(m);
    bool written[ARCH_BUFFERS] = {false};
    if (a->step_count == 0 || a->step_count > ARCH_STEPS_MAX) return false;
    for (uint32_t i = 0; i < a->step_count; i++) {
        const arch_step *s = &a->steps[i];
        if (s->kind != STEP_NORM && !written[s->from]) return false;
        bool fits = s->kind == STEP_ATTEND
                        ? s->from == BUFFER_QKV && model_width(m, s->to) == model_size(m, DIM_Q)
                        : has_weight(s, a, m);
        if (!fits) return false;
        written[s->to] = true;
    }
    return a->steps[a->step_count - 1].to == BUFFER_DELTA && model_width(m, BUFFER_DELTA) == m->dim;
}
