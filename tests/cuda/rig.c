#include "tests/cuda/rig.h"
#include "kernels/backends.h"

#include "base/mix.h"
#include "kernels/half.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool rig_own_products(void) {
    return getenv("BATON_TEST_DETERMINISTIC") != NULL;
}

bool rig_deterministic(bool wanted) {
    return wanted || rig_own_products();
}

device_options rig_options(dtype act, bool deterministic) {
    return (device_options){.threads = 1,
                            .isa = "auto",
                            .act_type = act,
                            .deterministic = rig_deterministic(deterministic),
                            .own_products = rig_own_products(),
                            .max_rows = RIG_ROWS,
                            .max_seqs = RIG_SEQS,
                            .max_seq_pages = RIG_SEQ_PAGES,
                            .max_head = RIG_HEAD,
                            .page_count = RIG_PAGES};
}

rig rig_open(const char *backend, const device_options *opt) {
    rig r = {.ops = backend_find(backend)};
    errbuf eb = {0};
    assert_non_null(r.ops);
    assert_true(backend_complete(r.ops));
    if (r.ops->open(&r.d, opt, &eb) != ST_OK) fail_msg("%s: %s", backend, eb.text);
    r.act = r.ops->act_type(r.d);
    return r;
}

void rig_check(const rig *r, status st, const char *what) {
    if (st == ST_OK) return;
    errbuf eb = {0};
    r->ops->device_error(r->d, &eb);
    fail_msg("%s: %s: %s", r->ops->name, what, eb.text);
}

void rig_setup(rig *r, const attend_setup *s) {
    errbuf eb = {0};
    r->layout = s->layout;
    r->kv_bytes = RIG_PAGES * kv_page_bytes(&s->layout);
    r->kv = r->ops->mem_alloc(r->d, r->kv_bytes);
    assert_non_null(r->kv);
    attend_setup own = *s;
    own.kv = r->kv;
    if (r->ops->attend_setup(r->d, &own, &eb) != ST_OK) fail_msg("%s: %s", r->ops->name, eb.text);
}

void rig_attention(rig *r, const kv_layout *layout, uint32_t heads, uint32_t rope_dim) {
    const attend_setup s = {.layout = *layout,
                            .heads = heads,
                            .scale = 1.0f / sqrtf((float)layout->head_dim),
                            .rope_dim = rope_dim,
                            .rope_base = 10000};
    rig_setup(r, &s);
}

void rig_close(rig *r) {
    if (r->kv) r->ops->mem_free(r->d, r->kv, r->kv_bytes);
    r->ops->close(r->d);
    *r = (rig){0};
}

/* --- memory --- */

static uint32_t elem_bytes(dtype type) {
    return type == DT_F32 ? 4 : 2;
}

static void put(dtype type, void *to, size_t i, float v) {
    uint16_t half = type == DT_BF16 ? bf16_of_f32(v) : half_of_f32(v);
    if (type == DT_F32)
        memcpy((float *)to + i, &v, sizeof v);
    else
        memcpy((uint16_t *)to + i, &half, sizeof half);
}

static float get(dtype type, const void *from, size_t i) {
    if (type == DT_F32) return ((const float *)from)[i];
    uint16_t half = ((const uint16_t *)from)[i];
    return type == DT_BF16 ? f32_of_bf16(half) : f32_of_half(half);
}

static void *upload(const rig *r, dtype type, const float *values, size_t count) {
    size_t bytes = count * elem_bytes(type);
    void *p = r->ops->mem_alloc(r->d, bytes);
    assert_non_null(p);
    if (!values) return p;
    void *host = xmalloc(bytes);
    for (size_t i = 0; i < count; i++) put(type, host, i, values[i]);
    rig_check(r, r->ops->mem_write(r->d, p, host, bytes), "mem_write");
    free(host);
    return p;
}

static float *download(const rig *r, dtype type, const void *p, size_t count) {
    size_t bytes = count * elem_bytes(type);
    void *host = xmalloc(bytes);
    float *values = xcalloc(count, sizeof *values);
    rig_check(r, r->ops->mem_read(r->d, host, p, bytes), "mem_read");
    for (size_t i = 0; i < count; i++) values[i] = get(type, host, i);
    free(host);
    return values;
}

void *rig_acts(const rig *r, const float *values, size_t count) {
    return upload(r, r->act, values, count);
}

void *rig_floats(const rig *r, const float *values, size_t count) {
    return upload(r, DT_F32, values, count);
}

size_t rig_act_bytes(const rig *r, size_t count) {
    return count * elem_bytes(r->act);
}

void rig_free(const rig *r, void *p, size_t bytes) {
    r->ops->mem_free(r->d, p, bytes);
}

float *rig_read_acts(const rig *r, const void *p, size_t count) {
    return download(r, r->act, p, count);
}

float *rig_read_floats(const rig *r, const void *p, size_t count) {
    return download(r, DT_F32, p, count);
}

weight *rig_weight(const rig *r, weight_form form, const tensor *const *parts) {
    weight_parts from = {.form = form};
    for (uint32_t i = 0; i < weight_form_parts(form); i++) from.part[i] = *parts[i];
    return rig_weight_of(r, &from);
}

weight *rig_weight_of(const rig *r, const weight_parts *from) {
    errbuf eb = {0};
    weight *w = NULL;
    if (r->ops->weight_load(r->d, from, &w, &eb) != ST_OK) fail_msg("%s: %s", r->ops->name, eb.text);
    return w;
}

/* --- numbers --- */

static uint64_t bits_at(uint64_t seed, uint64_t i) {
    return mix64(seed + (i + 1) * MIX64_STEP);
}

float number_at(uint64_t seed, uint64_t i) {
    return (float)(int32_t)(bits_at(seed, i) >> 32) * 0x1p-31f;
}

float *numbers(uint64_t seed, size_t count, dtype type) {
    float *values = xcalloc(count, sizeof *values);
    for (size_t i = 0; i < count; i++) {
        float stored;
        put(type, &stored, 0, number_at(seed, i));
        values[i] = get(type, &stored, 0);
    }
    return values;
}

/* The block's scale, and that of the least weights, such that weights are of the size of unit. */
static void put_scales(dtype type, uint8_t *at, float unit) {
    static const struct {
        uint32_t scale, least; /* which half of the block; 0 of least: none */
        float most;            /* of a weight over its scale */
    } of[] = {[DT_Q4_0] = {0, 0, 8},    [DT_Q4_1] = {0, 1, 8},     [DT_Q5_0] = {0, 0, 16},
              [DT_Q5_1] = {0, 1, 16},   [DT_Q8_0] = {0, 0, 128},   [DT_IQ4_NL] = {0, 0, 128},
              [DT_Q2_K] = {40, 41, 32}, [DT_Q3_K] = {54, 0, 128},  [DT_Q4_K] = {0, 1, 512},
              [DT_Q5_K] = {0, 1, 1024}, [DT_Q6_K] = {104, 0, 4096}};
    PRE(type < ARRAY_LEN(of));
    put(DT_F16, at, of[type].scale, unit / of[type].most);
    if (of[type].least == 0) return;
    const bool super = dtype_block_weights(type) > 32; /* least weights are taken off, times 6 bits */
    put(DT_F16, at, of[type].least, super ? unit / 64 : -unit);
}

tensor random_tensor(dtype type, uint32_t rows, uint32_t cols, uint64_t seed) {
    size_t row_bytes = dtype_row_bytes(type, cols);
    uint8_t *data = xcalloc(rows, row_bytes);
    float unit = 1.7f / sqrtf((float)cols);
    size_t per_block = dtype_block_weights(type), block_bytes = dtype_block_bytes(type);
    for (size_t b = 0; b < rows * cols / per_block; b++) {
        uint8_t *at = data + b * block_bytes;
        if (per_block == 1) {
            put(type, at, 0, number_at(seed, b) * unit);
            continue;
        }
        for (size_t i = 0; i < block_bytes; i++) at[i] = (uint8_t)(bits_at(seed, b * 256 + i) >> 13);
        put_scales(type, at, unit);
    }
    return (tensor){.type = type, .rows = rows, .cols = cols, .data = data};
}

void assert_near(const char *what, const float *a, const float *b, size_t count, double bound) {
    double off = 0, all = 0;
    for (size_t i = 0; i < count; i++) {
        if (!(fabsf(a[i]) <= 1e30f)) fail_msg("%s: element %zu is %g", what, i, (double)a[i]);
        off += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        all += (double)b[i] * b[i];
    }
    if (!(all > 0)) fail_msg("%s: nothing to compare", what);
    if (!(off <= bound * all)) fail_msg("%s: error %.3g, want at most %.3g", what, off / all, bound);
}

op_step plain_step(const step_seq *seq, const int32_t *ids, uint32_t rows) {
    return (op_step){.ids = ids, .rows = rows, .seqs = seq, .seq_count = 1};
}
