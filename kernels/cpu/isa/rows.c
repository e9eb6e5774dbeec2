/* rows - the light ops: norms, activations, add, embedding. */
#include "kernels/cpu/isa/weights.h"

/* Floats of one task of an op that treats every float alike; such a float's result does not depend on its
 * lane. */
enum { SLICE = 8192 };

static uint32_t slices(size_t floats) {
    return (uint32_t)((floats + SLICE - 1) / SLICE);
}

/* ---- rmsnorm ---- */

/* out may be x. */
INLINE void rmsnorm(const float *x, const float *w, uint32_t dim, float eps, float *out) {
    uint32_t whole = dim / SIMD_WIDTH * SIMD_WIDTH, rest = dim - whole;
    vf squares = vf_zero();
    for (uint32_t i = 0; i < whole; i += SIMD_WIDTH) {
        vf v = vf_load(x + i);
        squares = vf_fma(v, v, squares);
    }
    if (rest) {
        vf v = vf_load_part(x + whole, rest);
        squares = vf_fma(v, v, squares);
    }
    vf inverse = vf_set1(1.0f / __builtin_sqrtf(vf_sum(squares) / (float)dim + eps));
    for (uint32_t i = 0; i < whole; i += SIMD_WIDTH)
        vf_store(out + i, vf_load(x + i) * inverse * vf_load(w + i));
    if (rest)
        vf_store_part(out + whole, vf_load_part(x + whole, rest) * inverse * vf_load_part(w + whole, rest),
                      rest);
}

/* out = (x - mean) / sqrt(variance + eps) * w; out may be x. */
INLINE void layer_norm(const float *x, const float *w, uint32_t dim, float eps, float *out) {
    uint32_t whole = dim / SIMD_WIDTH * SIMD_WIDTH;
    vf sums = vf_zero(), squares = vf_zero();
    for (uint32_t i = 0; i < whole; i += SIMD_WIDTH) sums = sums + vf_load(x + i);
    float sum = vf_sum(sums);
    for (uint32_t i = whole; i < dim; i++) sum += x[i];
    const float mean = sum / (float)dim;
    for (uint32_t i = 0; i < whole; i += SIMD_WIDTH) {
        vf v = vf_load(x + i) - vf_set1(mean);
        squares = vf_fma(v, v, squares);
    }
    float square = vf_sum(squares);
    for (uint32_t i = whole; i < dim; i++) square += (x[i] - mean) * (x[i] - mean);
    const float inverse = 1.0f / __builtin_sqrtf(square / (float)dim + eps);
    for (uint32_t i = 0; i < whole; i += SIMD_WIDTH)
        vf_store(out + i, (vf_load(x + i) - vf_set1(mean)) * vf_set1(inverse) * vf_load(w + i));
    for (uint32_t i = whole; i < dim; i++) out[i] = (x[i] - mean) * inverse * w[i];
}

static void rmsnorm_row(void *ctx, uint32_t row, uint32_t thread) {
    const host_rmsnorm *a = ctx;
    (void)thread;
    size_t at = (size_t)row * a->dim;
    rmsnorm(a->x + at, a->weight->data, a->dim, a->eps, a->out + at);
}

status ISA(cpu_rmsnorm)(device *d, const host_rmsnorm *a) {
    PRE(a->weight->type == DT_F32);
    PRE(a->weight->cols == a->dim);
    team_run(d->team, a->rows, rmsnorm_row, (void *)a);
    return ST_OK;
}

enum { NORM_ROWS = 8 }; /* of a task: a row takes less than a microsecond */

static void norm_rows_task(void *ctx, uint32_t task, uint32_t thread) {
    const cpu_norm_rows *a = ctx;
    (void)thread;
    uint32_t end = MIN((task + 1) * NORM_ROWS, a->rows);
    for (uint32_t r = task * NORM_ROWS; r < end; r++) {
        size_t at = (size_t)(a->pick ? a->pick[r] : r) * a->dim;
        float *x = a->x + at, *out = a->out + (size_t)r * a->dim, *sum = a->pick ? out : x;
        if (a->delta)
            for (uint32_t k = 0; k < a->dim; k++) sum[k] = x[k] + a->delta[at + k];
        if (a->kind == NORM_RMS)
            rmsnorm(a->delta ? sum : x, a->weight, a->dim, a->eps, out);
        else
            layer_norm(a->delta ? sum : x, a->weight, a->dim, a->eps, out);
        for (uint32_t k = 0; a->bias && k < a->dim; k++) out[k] += a->bias[k];
        if (a->quant) ISA(cpu_quantise)(a->quant, r, 0, out, a->dim);
    }
}

status ISA(cpu_norm_rows)(device *d, const cpu_norm_rows *a) {
    PRE(!a->quant || a->dim % QUANT_GROUP == 0);
    team_run(d->team, (a->rows + NORM_ROWS - 1) / NORM_ROWS, norm_rows_task, (void *)a);
    return ST_OK;
}

/* ---- activations ---- */

INLINE vf act_mul(const host_act_mul *a, vf gate, vf up) {
    vf active = vf_act(a->act, gate);
    if (a->up) active = active * up;
    return active;
}

static void act_mul_slice(void *ctx, uint32_t task, uint32_t thread) {
    const host_act_mul *a = ctx;
    (void)thread;
    const float *up = a->up ? a->up : a->gate;
    size_t i = (size_t)task * SLICE, end = MIN(i + SLICE, (size_t)a->rows * a->dim);
    for (; i + SIMD_WIDTH <= end; i += SIMD_WIDTH)
        vf_store(a->out + i, act_mul(a, vf_load(a->gate + i), vf_load(up + i)));
    uint32_t rest = (uint32_t)(end - i);
    if (rest)
        vf_store_part(a->out + i, act_mul(a, vf_load_part(a->gate + i, rest), vf_load_part(up + i, rest)),
                      rest);
}

status ISA(cpu_act_mul)(device *d, const host_act_mul *a) {
    team_run(d->team, slices((size_t)a->rows * a->dim), act_mul_slice, (void *)a);
    return ST_OK;
}

/* ---- add ---- */

static void add_slice(void *ctx, uint32_t task, uint32_t thread) {
    const host_add *a = ctx;
    (void)thread;
    size_t i = (size_t)task * SLICE, end = MIN(i + SLICE, (size_t)a->rows * a->dim);
    for (; i + SIMD_WIDTH <= end; i += SIMD_WIDTH) vf_store(a->x + i, vf_load(a->x + i) + vf_load(a->y + i));
    for (; i < end; i++) a->x[i] += a->y[i];
}

status ISA(cpu_add)(device *d, const host_add *a) {
    team_run(d->team, slices((size_t)a->rows * a->dim), add_slice, (void *)a);
    return ST_OK;
}

/* ---- embed ---- */

INLINE void embed(dtype type, const host_embed *a, uint32_t row) {
    const tensor *t = a->table;
    PRE(a->ids[row] >= 0);
    PRE((uint32_t)a->ids[row] < t->rows);
    const uint8_t *bytes = (const uint8_t *)t->data + (size_t)a->ids[row] * dtype_row_bytes(type, t->cols);
    float *out = a->out + (size_t)row * t->cols;
    uint32_t whole = t->cols / GROUP * GROUP, rest = t->cols - whole;
    weights_row(type, bytes, whole, out);
    if (rest) {
        float padded[GROUP];
        weights_row(type, weights_at(type, bytes, whole / GROUP), rest, padded);
        memcpy(out + whole, padded, rest * sizeof *out);
    }
}

static void embed_row(void *ctx, uint32_t row, uint32_t thread) {
    const host_embed *a = ctx;
    (void)thread;
    WEIGHTS_FOR_TYPE(a->table->type, embed(TYPE, a, row))
}

status ISA(cpu_embed)(device *d, const host_embed *a) {
    team_run(d->team, a->rows, embed_row, (void *)a);
    return ST_OK;
}
