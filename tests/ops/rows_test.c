/* rows_test - the light ops: norm, rope, silu, add, embed, kv_write. */
#include "tests/ops/fixture.h"

#include "kernels/half.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint32_t dims[] = {1, 7, 8, 15, 16, 31, 32, 33, 64, 576, 577, 1536};

static void norm(device *d, const float *x, const tensor *w, uint32_t rows, float *out) {
    host_rmsnorm op = {.x = x, .weight = w, .rows = rows, .dim = w->cols, .eps = 1e-5f, .out = out};
    assert_int_equal(kernels_of(d)->rmsnorm(d, &op), ST_OK);
}

static void rmsnorm_agrees_with_ref_in_place_and_row_by_row(void **state) {
    need_path(*state);
    device *ref = open_ref();
    for (uint32_t threads = 1; threads <= 3; threads++) {
        device *d = open_path(*state, threads);
        for (size_t i = 0; i < ARRAY_LEN(dims); i++) {
            enum { ROWS = 19 };
            size_t count = (size_t)ROWS * dims[i];
            tensor w = random_matrix(DT_F32, 1, dims[i], i);
            float *x = random_floats(i, count), *got = xcalloc(count, 4), *want = xcalloc(count, 4);
            norm(d, x, &w, ROWS, got);
            norm(ref, x, &w, ROWS, want);
            assert_close("rmsnorm", got, want, count, 1e-12);
            for (uint32_t r = 0; r < ROWS; r++)
                norm(d, x + (size_t)r * dims[i], &w, 1, x + (size_t)r * dims[i]);
            assert_same("in place, row by row", x, got, count * 4);
            free_weight(&w);
            free(x);
            free(got);
            free(want);
        }
        cpu_ops()->close(d);
    }
    ref_ops()->close(ref);
}

static void silu(device *d, const float *gate, const float *up, uint32_t rows, uint32_t dim, float *out) {
    host_act_mul op = {.gate = gate, .up = up, .rows = rows, .dim = dim, .out = out};
    assert_int_equal(kernels_of(d)->act_mul(d, &op), ST_OK);
}

static void silu_mul_agrees_with_ref_in_place_and_row_by_row(void **state) {
    need_path(*state);
    device *ref = open_ref();
    for (uint32_t threads = 1; threads <= 3; threads++) {
        device *d = open_path(*state, threads);
        for (size_t i = 0; i < ARRAY_LEN(dims); i++) {
            enum { ROWS = 29 };
            size_t count = (size_t)ROWS * dims[i];
            float *gate = random_floats(i, count), *up = random_floats(i + 50, count);
            float *got = xcalloc(count, 4), *want = xcalloc(count, 4);
            for (size_t k = 0; k < count; k++) gate[k] *= 20.0f;
            silu(d, gate, up, ROWS, dims[i], got);
            silu(ref, gate, up, ROWS, dims[i], want);
            assert_close("silu_mul", got, want, count, 1e-12);
            for (uint32_t r = 0; r < ROWS; r++) {
                float *row = gate + (size_t)r * dims[i];
                silu(d, row, up + (size_t)r * dims[i], 1, dims[i], row);
            }
            assert_same("in place, row by row", gate, got, count * 4);
            free(gate);
            free(up);
            free(got);
            free(want);
        }
        cpu_ops()->close(d);
    }
    ref_ops()->close(ref);
}

/* Every float of a range of e^x, through silu: each within 4e-7 of what doubles say. */
static void silu_is_right_everywhere(void **state) {
    need_path(*state);
    device *d = open_path(*state, 1);
    enum { COUNT = 20001 };
    float *gate = xcalloc(COUNT, 4), *one = xcalloc(COUNT, 4), *out = xcalloc(COUNT, 4);
    for (int i = 0; i < COUNT; i++) {
        gate[i] = (float)(i - COUNT / 2) * 0.0125f;
        one[i] = 1.0f;
    }
    gate[0] = -INFINITY;
    gate[1] = NAN;
    gate[2] = INFINITY;
    gate[3] = -3e38f;
    silu(d, gate, one, 1, COUNT, out);
    assert_true(isnan(out[1]));
    assert_true(out[2] == INFINITY);
    assert_true(fabsf(out[3]) < 3.0f); /* its true value is 0; e^88.3 stands for e^3e38 */
    for (int i = 4; i < COUNT; i++) {
        double want = gate[i] / (1.0 + exp(-(double)gate[i]));
        double slack = gate[i] < -80 ? 1e-33 : 4e-7 * fabs(want);
        if (fabs(out[i] - want) > slack) fail_msg("silu(%g) = %g, want %g", gate[i], out[i], want);
    }
    free(gate);
    free(one);
    free(out);
    cpu_ops()->close(d);
}

static void add_is_exact(void **state) {
    need_path(*state);
    device *d = open_path(*state, 3);
    for (size_t i = 0; i < ARRAY_LEN(dims); i++) {
        size_t count = 33 * dims[i];
        float *x = random_floats(i, count), *y = random_floats(i + 9, count), *want = xcalloc(count, 4);
        for (size_t k = 0; k < count; k++) want[k] = x[k] + y[k];
        host_add op = {.x = x, .y = y, .rows = 33, .dim = dims[i]};
        assert_int_equal(kernels_of(d)->add(d, &op), ST_OK);
        assert_same("add", x, want, count * 4);
        free(x);
        free(y);
        free(want);
    }
    cpu_ops()->close(d);
}

static void embedded_rows_are_the_values_that_ref_reads(void **state) {
    need_path(*state);
    static const int32_t ids[] = {0, 36, 5, 5, 17, 1, 35};
    device *d = open_path(*state, 2), *ref = open_ref();
    for (size_t t = 0; t < WEIGHT_TYPES; t++) {
        uint32_t cols = dtype_block_weights(weight_types[t]) == 1 ? 77 : whole_blocks(weight_types[t], 96);
        tensor w = random_matrix(weight_types[t], 37, cols, t);
        float got[7 * 256 + 1], want[7 * 256];
        got[7 * cols] = 3.0f;
        assert_int_equal(
            kernels_of(d)->embed(d, &(host_embed){.table = &w, .ids = ids, .rows = 7, .out = got}), ST_OK);
        assert_int_equal(
            kernels_of(ref)->embed(ref, &(host_embed){.table = &w, .ids = ids, .rows = 7, .out = want}),
            ST_OK);
        for (uint32_t i = 0; i < 7 * cols; i++)
            if (got[i] != want[i])
                fail_msg("%s: weight %u is %g, want %g", dtype_name(weight_types[t]), i, got[i], want[i]);
        assert_true(got[7 * cols] == 3.0f);
        free_weight(&w);
    }
    cpu_ops()->close(d);
    ref_ops()->close(ref);
}

static void rope_agrees_with_ref(void **state) {
    need_path(*state);
    static const uint32_t pos[] = {0, 1, 2, 15, 16, 777, 8191, 131071, 1000000};
    enum { ROWS = ARRAY_LEN(pos), HEADS = 3, DIM = 40, COUNT = ROWS * HEADS * DIM };
    float factors[DIM / 2];
    for (uint32_t i = 0; i < DIM / 2; i++) factors[i] = 1.0f + (float)i * 0.5f;
    device *d = open_path(*state, 2), *ref = open_ref();
    for (uint32_t n = 0; n < 8; n++) {
        float *got = random_floats(n, COUNT), *want = random_floats(n, COUNT),
              *rows = random_floats(n, COUNT);
        host_rope op = {.x = got, .pos = pos, .rows = ROWS, .heads = HEADS, .head_dim = DIM};
        op.rope_dim = n & 1 ? 24 : DIM;
        op.base = n & 2 ? 1e4f : 5e5f;
        op.factors = n & 4 ? factors : NULL;
        assert_int_equal(kernels_of(d)->rope(d, &op), ST_OK);
        op.x = want;
        assert_int_equal(kernels_of(ref)->rope(ref, &op), ST_OK);
        for (uint32_t i = 0; i < COUNT; i++) assert_true(fabsf(got[i] - want[i]) < 3e-7f);
        op.rows = 1;
        for (uint32_t r = 0; r < ROWS; r++) {
            op.x = rows + r * HEADS * DIM;
            op.pos = pos + r;
            assert_int_equal(kernels_of(d)->rope(d, &op), ST_OK);
        }
        assert_same("row by row", rows, got, sizeof(float) * COUNT);
        free(got);
        free(want);
        free(rows);
    }
    cpu_ops()->close(d);
    ref_ops()->close(ref);
}

/* Positions over three pages of two sequences; numbers that round, overflow and are not numbers. */
static void kv_write_puts_the_bytes_of_ref(void **state) {
    need_path(*state);
    static const uint32_t head_dims[] = {8, 16, 24, 40, 64};
    static const uint32_t tables[2][2] = {{3, 1}, {0, 2}};
    enum { ROWS = 21, HEADS = 3 };
    device *d = open_path(*state, 3), *ref = open_ref();
    for (size_t n = 0; n < 2 * ARRAY_LEN(head_dims); n++) {
        kv_layout l = {
            .type = n % 2 ? DT_F32 : DT_F16, .layers = 2, .kv_heads = HEADS, .head_dim = head_dims[n / 2]};
        size_t bytes = 4 * kv_page_bytes(&l), count = (size_t)ROWS * HEADS * l.head_dim;
        float *k = xcalloc(count, 4), *v = random_floats(n, count);
        for (size_t i = 0; i < count; i++) k[i] = f32_of_bits((uint32_t)random_at(n, i)); /* any bits */
        for (size_t i = 0; i < count; i++) v[i] *= 1e-4f; /* many subnormal halves */
        kv_ref refs[ROWS];
        for (uint32_t r = 0; r < ROWS; r++) refs[r] = (kv_ref){.pages = tables[r % 2], .pos = 5 + r};
        uint8_t *got = xmalloc(bytes), *want = xmalloc(bytes);
        memset(got, 0xab, bytes);
        memset(want, 0xab, bytes);
        host_kv_write op = {.layout = &l, .kv = got, .layer = 1, .k = k, .v = v, .refs = refs, .rows = ROWS};
        assert_int_equal(kernels_of(d)->kv_write(d, &op), ST_OK);
        op.kv = want;
        assert_int_equal(kernels_of(ref)->kv_write(ref, &op), ST_OK);
        uint8_t *plain = plain_pages(&l, got, 4);
        assert_same("pages", plain, want, bytes);
        free(plain);
        free(k);
        free(v);
        free(got);
        free(want);
    }
    cpu_ops()->close(d);
    ref_ops()->close(ref);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST_ON_PATH(rmsnorm_agrees_with_ref_in_place_and_row_by_row),
        TEST_ON_PATH(silu_mul_agrees_with_ref_in_place_and_row_by_row),
        TEST_ON_PATH(silu_is_right_everywhere),
        TEST_ON_PATH(add_is_exact),
        TEST_ON_PATH(embedded_rows_are_the_values_that_ref_reads),
        TEST_ON_PATH(rope_agrees_with_ref),
        TEST_ON_PATH(kv_write_puts_the_bytes_of_ref),
    };
    return run_on_paths(tests, ARRAY_LEN(tests));
}
