/* rows - the light ops: norm, silu, add, embedding. */
#include "kernels/cpu/isa/weights.h"

/* Floats of one task of an op that treats every float alike; such a float's result does not depend on its
 * lane. */
enum { SLICE = 8192 };

static uint32_t slices(size_t floats) {
    return (uint32_t)((floats + SLICE - 1) / SLICE);
}

/* ---- rmsnorm ---- */

static void rmsnorm_row(void *ctx, uint32_t row, uint32_t thread) {
    const host_rmsnorm *a = ctx;
    (void)thread;
    const float *x = a->x + (size_t)row * a->dim, *w = a->weight->data;
    float *out = a->out + (size_t)row * a->dim;
    uint32_t whole = a->dim / SIMD_WIDTH * SIMD_WIDTH, rest = a->dim - whole;
    vf squares = vf_zero();
    for (uint32_t i = 0; i < whole; i += SIMD_WIDTH) {
        vf v = vf_load(x + i);
        squares = vf_fma(v, v, squares);
    }
    if (rest) {
        vf v = vf_load_part(x + whole, rest);
        squares = vf_fma(v, v, squares);
    }
    vf inverse = vf_set1(1.0f / __builtin_sqrtf(vf_sum(squares) / (float)a->dim + a->eps));
    for (uint32_t i = 0; i < whole; i += SIMD_WIDTH)
        vf_store(out + i, vf_load(x + i) * inverse * vf_load(w + i));
    if (rest)
        vf_store_part(out + whole, vf_load_part(x + whole, rest) * inverse * vf_load_part(w + whole, rest),
                      rest);
}

status ISA(cpu_rmsnorm)(device *d, const host_rmsnorm *a) {
    PRE(a->weight->type == DT_F32);
    PRE(a->weight->cols == a->dim);
    team_run(d->team, a->rows, rmsnorm_row, (void *)a);
    return ST_OK;
}

/* ---- silu ---- */

INLINE vf silu_mul(vf gate, vf up) {
    return gate / (vf_set1(1.0f) + vf_exp(vf_zero() - gate)) * up;
}

static void silu_mul_slice(void *ctx, uint32_t task, uint32_t thread) {
    const host_silu_mul *a = ctx;
    (void)thread;
    size_t i = (size_t)task * SLICE, end = MIN(i + SLICE, (size_t)a->rows * a->dim);
    for (; i + SIMD_WIDTH <= end; i += SIMD_WIDTH)
        vf_store(a->out + i, silu_mul(vf_load(a->gate + i), vf_load(a->up + i)));
    uint32_t rest = (uint32_t)(end - i);
    if (rest)
        vf_store_part(a->out + i, silu_mul(vf_load_part(a->gate + i, rest), vf_load_part(a->up + i, rest)),
                      rest);
}

status ISA(cpu_silu_mul)(device *d, const host_silu_mul *a) {
    team_run(d->team, slices((size_t)a->rows * a->dim), silu_mul_slice, (void *)a);
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
        weights_row(type, bytes + whole / GROUP * weights_group_bytes(type), rest, padded);
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
