/* Products with repacked weights: exact whole numbers, one order of scales, whatever the tile and the thread.
 */
#include "tests/ops/fixture.h"

#include "kernels/cpu/cpu.h"
#include "kernels/half.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const dtype *const types = weight_types + PLAIN_TYPES;
enum { TYPES = WEIGHT_TYPES - PLAIN_TYPES };
static const uint32_t bits[] = {16, 8};

typedef struct shape {
    uint32_t outer, inner;
} shape;

/* Rows that are no whole panels, one group, several panels. */
static const shape shapes[] = {{1, 32}, {32, 64}, {33, 32}, {70, 96}, {200, 576}};

static device *open_bits(const op_path *p, uint32_t act_bits, uint32_t threads) {
    need_path(p);
    return open_path_bits(p, threads, act_bits);
}

static weight *load(device *d, const tensor *t, const float *bias) {
    weight_parts parts = {.form = WEIGHT_PLAIN, .part = {*t}};
    if (bias) parts.bias[0] = (tensor){.type = DT_F32, .rows = 1, .cols = t->rows, .data = bias};
    weight *w = NULL;
    errbuf eb = {0};
    if (cpu_ops()->weight_load(d, &parts, &w, &eb) != ST_OK) fail_msg("%s", eb.text);
    return w;
}

static void multiply(device *d, const weight *w, const float *x, uint32_t rows, float *out) {
    const op_linear op = {.x = x, .w = w, .rows = rows, .out = out};
    assert_int_equal(cpu_ops()->linear(d, &op), ST_OK);
}

/* ---- packing ---- */

static void a_packed_row_has_the_numbers_of_the_file(void **state) {
    (void)state;
    device *ref = open_ref();
    for (size_t t = 0; t < TYPES; t++) {
        for (size_t s = 0; s < ARRAY_LEN(shapes); s++) {
            tensor m =
                random_matrix(types[t], shapes[s].outer, whole_blocks(types[t], shapes[s].inner), 5 + s);
            uint8_t *data = aligned_alloc(PACK_ALIGN, pack_bytes(&m));
            memset(data, 0xa5, pack_bytes(&m)); /* all of it is written */
            for (uint32_t p = 0; p < pack_panels(m.rows); p++) pack_panel(&m, p, data);
            packed packed_m = {.type = m.type, .rows = m.rows, .cols = m.cols, .data = data};
            float *got = xcalloc(m.cols, sizeof *got), *want = xcalloc(m.cols, sizeof *want);
            for (int32_t r = 0; r < (int32_t)m.rows; r++) {
                pack_row(&packed_m, (uint32_t)r, got);
                const host_embed e = {.table = &m, .ids = &r, .rows = 1, .out = want};
                assert_int_equal(kernels_of(ref)->embed(ref, &e), ST_OK);
                for (uint32_t k = 0; k < m.cols; k++) assert_true(got[k] == want[k]); /* -0 is 0 */
            }
            free(got);
            free(want);
            free(data);
            free_weight(&m);
        }
    }
    ref_ops()->close(ref);
}

/* ---- what a product is ---- */

/* The numbers of a group, as quant.h says. Returns the scale. */
static float whole_numbers(const float *x, uint32_t act_bits, int32_t n[32]) {
    const float most = act_bits == 16 ? 32639 : 127;
    float largest = 0;
    for (int k = 0; k < 32; k++) largest = fmaxf(largest, fabsf(x[k]));
    float inverse = largest > 0 ? most / largest : 0;
    for (int k = 0; k < 32; k++) n[k] = (int32_t)lrintf(x[k] * inverse);
    return largest / most;
}

/* out[r] with the sums in whole numbers and the scales added in ascending order, each with one rounding. */
static float plain_product(const tensor *w, uint32_t row, const float *x, uint32_t act_bits) {
    const uint32_t block = dtype_block_weights(w->type);
    const uint8_t *at = (const uint8_t *)w->data + row * dtype_row_bytes(w->type, w->cols);
    float out = 0;
    for (uint32_t k = 0; k < w->cols; k += 32) {
        block_group b;
        block_read(w->type, at + (size_t)(k / block) * dtype_block_bytes(w->type), k % block / 32, &b);
        int32_t n[32];
        float scale = whole_numbers(x + k, act_bits, n);
        uint32_t scales = w->type == DT_Q2_K || w->type == DT_Q3_K || w->type == DT_Q6_K ? 2 : 1;
        for (uint32_t h = 0; h < scales; h++) {
            int64_t whole = 0, sum = 0;
            for (uint32_t i = h * 16; i < (scales == 1 ? 32 : h * 16 + 16); i++) {
                whole += n[i] * block_number(w->type, b.q[i]);
                sum += n[i];
            }
            out = fmaf((float)(int32_t)whole, block_scale_of(w->type, &b, h) * scale, out);
            if (block_has_least(w->type)) out = fmaf(block_least_of(w->type, &b, h), (float)sum * scale, out);
        }
    }
    return out;
}

/* The generic kernels round the product as well. */
static bool fuses(const device *d) {
    return strstr(cpu_ops()->path(d), "avx") != NULL;
}

static void check_product(const op_path *p, dtype type, shape s, uint32_t act_bits) {
    device *d = open_bits(p, act_bits, 1);
    s.inner = whole_blocks(type, s.inner);
    tensor m = random_matrix(type, s.outer, s.inner, 11);
    weight *w = load(d, &m, NULL);
    float *x = random_floats(3, s.inner), *out = xcalloc(s.outer, sizeof *out);
    x[1] = -5; /* the largest is negative */
    multiply(d, w, x, 1, out);
    const float spread = dtype_block_weights(type) > 32 ? 1e-3f : 1e-5f; /* weights are larger */
    for (uint32_t r = 0; r < s.outer; r++) {
        float want = plain_product(&m, r, x, act_bits);
        if (fuses(d))
            assert_true(out[r] == want);
        else
            assert_true(fabsf(out[r] - want) <= spread * (fabsf(want) + (float)s.inner));
    }
    cpu_ops()->weight_free(d, w);
    cpu_ops()->close(d);
    free(x);
    free(out);
    free_weight(&m);
}

static void a_product_is_exact_sums_of_whole_numbers_and_scales_in_ascending_order(void **state) {
    for (size_t t = 0; t < TYPES; t++)
        for (size_t s = 0; s < ARRAY_LEN(shapes); s++)
            for (size_t b = 0; b < ARRAY_LEN(bits); b++) check_product(*state, types[t], shapes[s], bits[b]);
}

/* ---- rule 22 ---- */

static void check_rows(const op_path *p, dtype type, shape s, uint32_t act_bits) {
    enum { ROWS = 29 };
    device *one = open_bits(p, act_bits, 1), *three = open_bits(p, act_bits, 3);
    s.inner = whole_blocks(type, s.inner);
    tensor m = random_matrix(type, s.outer, s.inner, 12);
    float *bias = random_floats(8, s.outer), *x = random_floats(9, (size_t)ROWS * s.inner);
    weight *w = load(one, &m, bias), *w3 = load(three, &m, bias);
    size_t count = (size_t)ROWS * s.outer;
    float *want = xcalloc(count, sizeof *want), *got = xcalloc(count + 8, sizeof *got);
    for (uint32_t r = 0; r < ROWS; r++)
        multiply(one, w, x + (size_t)r * s.inner, 1, want + (size_t)r * s.outer);
    for (uint32_t rows = 1; rows <= ROWS; rows++) {
        for (size_t i = 0; i < 8; i++) got[(size_t)rows * s.outer + i] = 7;
        multiply(one, w, x, rows, got);
        assert_same("rows at once", got, want, (size_t)rows * s.outer * sizeof *got);
        for (size_t i = 0; i < 8; i++) assert_true(got[(size_t)rows * s.outer + i] == 7);
    }
    multiply(three, w3, x, ROWS, got);
    assert_same("three threads", got, want, count * sizeof *got);
    cpu_ops()->weight_free(one, w);
    cpu_ops()->weight_free(three, w3);
    cpu_ops()->close(one);
    cpu_ops()->close(three);
    free(bias);
    free(x);
    free(want);
    free(got);
    free_weight(&m);
}

static void a_row_has_the_same_bytes_among_any_others_and_with_any_threads(void **state) {
    for (size_t t = 0; t < TYPES; t++)
        for (size_t s = 0; s < ARRAY_LEN(shapes); s++)
            for (size_t b = 0; b < ARRAY_LEN(bits); b++) check_rows(*state, types[t], shapes[s], bits[b]);
}

/* ---- precision, and what is no number ---- */

/* --- what is done with sums before they are stored --- */

/* rows of out = act(x gate) (x up), or act(x gate), with biases. */
static void feed_forward(const backend_ops *ops, device *d, const weight_parts *parts, act_kind act,
                         const float *x, uint32_t rows, float *out) {
    weight *w = NULL;
    assert_int_equal(ops->weight_load(d, parts, &w, NULL), ST_OK);
    float *scratch = xcalloc((size_t)2 * rows * parts->part[0].rows, sizeof *scratch);
    const op_gate_up op = {.x = x, .w = w, .act = act, .rows = rows, .scratch = scratch, .out = out};
    assert_int_equal(ops->gate_up(d, &op), ST_OK);
    free(scratch);
    ops->weight_free(d, w);
}

/* Each activation, gated and not, with biases and without; also where a panel is not whole. */
static void feed_forwards_are_those_of_ref_and_a_row_is_the_same_alone(void **state) {
    need_path(*state);
    enum { ROWS = 9, IN = 64 };
    static const act_kind acts[] = {ACT_SILU, ACT_GELU, ACT_RELU};
    float *x = random_floats(1, ROWS * IN);
    for (uint32_t run = 0; run < 8 * ARRAY_LEN(acts); run++) {
        const bool gated = run & 1, biased = run & 2;
        const uint32_t n = run & 4 ? 96 : 70;
        const act_kind act = acts[run / 8];
        tensor all[] = {random_matrix(DT_Q8_0, n, IN, 2), random_matrix(DT_Q4_1, n, IN, 3),
                        random_matrix(DT_F32, 1, n, 4), random_matrix(DT_F32, 1, n, 5)};
        weight_parts parts = {.form = gated ? WEIGHT_GATE_UP : WEIGHT_PLAIN, .part = {all[0]}};
        if (gated) parts.part[1] = all[1];
        if (biased) parts.bias[0] = all[2];
        if (biased && gated) parts.bias[1] = all[3];
        float *got = random_floats(6, ROWS * n), *want = random_floats(6, ROWS * n), *one = xcalloc(n, 4);
        device *ref = open_ref();
        feed_forward(ref_ops(), ref, &parts, act, x, ROWS, want);
        ref_ops()->close(ref);
        device *d = open_bits(*state, 16, 2);
        feed_forward(cpu_ops(), d, &parts, act, x, ROWS, got);
        assert_close("feed-forward", got, want, (size_t)ROWS * n, 1e-7);
        for (uint32_t r = 0; r < ROWS; r++) {
            feed_forward(cpu_ops(), d, &parts, act, x + (size_t)r * IN, 1, one);
            assert_same("a row alone", one, got + (size_t)r * n, n * sizeof *one);
        }
        cpu_ops()->close(d);
        for (size_t i = 0; i < ARRAY_LEN(all); i++) free_weight(&all[i]);
        free(got);
        free(want);
        free(one);
    }
    free(x);
}

/* With and without x, delta and bias, into delta itself where there is no x. */
static void norm(const backend_ops *ops, device *d, uint32_t run, const weight_parts *parts, float *x,
                 float *delta, float *out) {
    weight *w = NULL;
    assert_int_equal(ops->weight_load(d, parts, &w, NULL), ST_OK);
    const op_norm op = {.x = run & 1 ? x : NULL,
                        .delta = run & 2 || !(run & 1) ? delta : NULL,
                        .weight = w,
                        .kind = run & 4 ? NORM_LAYER : NORM_RMS,
                        .rows = 5,
                        .dim = parts->part[0].cols,
                        .eps = 1e-5f,
                        .out = run & 1 ? out : delta};
    assert_int_equal(ops->norm(d, &op), ST_OK);
    ops->weight_free(d, w);
}

static void norms_of_both_kinds_are_those_of_ref(void **state) {
    need_path(*state);
    static const uint32_t dims[] = {64, 75};
    for (uint32_t run = 0; run < 32; run++) {
        const uint32_t dim = dims[run / 16];
        const size_t count = (size_t)5 * dim;
        tensor scale = random_matrix(DT_F32, 1, dim, 2), bias = random_matrix(DT_F32, 1, dim, 3);
        weight_parts parts = {.form = WEIGHT_PLAIN, .part = {scale}};
        if (run & 8) parts.bias[0] = bias;
        float *x[2], *delta[2], *out[2];
        for (int i = 0; i < 2; i++) {
            x[i] = random_floats(4, count);
            delta[i] = random_floats(5, count);
            out[i] = random_floats(6, count);
            for (size_t k = 0; k < count; k++) x[i][k] += 2.0f; /* a mean that counts */
        }
        device *ref = open_ref(), *d = open_bits(*state, 16, 2);
        norm(ref_ops(), ref, run, &parts, x[0], delta[0], out[0]);
        norm(cpu_ops(), d, run, &parts, x[1], delta[1], out[1]);
        assert_close("residual", x[1], x[0], count, 1e-14);
        assert_close("delta", delta[1], delta[0], count, 1e-11);
        assert_close("norm", out[1], out[0], count, 1e-11);
        ref_ops()->close(ref);
        cpu_ops()->close(d);
        for (int i = 0; i < 2; i++) {
            free(x[i]);
            free(delta[i]);
            free(out[i]);
        }
        free_weight(&scale);
        free_weight(&bias);
    }
}

static void sixteen_bits_are_as_good_as_floats(void **state) {
    device *d = open_bits(*state, 16, 1), *ref = open_ref();
    for (size_t t = 0; t < TYPES; t++) {
        tensor m = random_matrix(types[t], 64, 768, 13);
        weight *w = load(d, &m, NULL);
        float *x = random_floats(14, 768), got[64], want[64];
        multiply(d, w, x, 1, got);
        const host_linear op = {.x = x, .weight = &m, .rows = 1, .out = want};
        assert_int_equal(kernels_of(ref)->linear(ref, &op), ST_OK);
        assert_close(dtype_name(types[t]), got, want, 64, 1e-8);
        cpu_ops()->weight_free(d, w);
        free(x);
        free_weight(&m);
    }
    cpu_ops()->close(d);
    ref_ops()->close(ref);
}

static void what_is_no_number_stays_none_in_its_own_row(void **state) {
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    device *d = open_bits(*state, 16, 1);
    for (size_t t = 0; t < TYPES; t++) {
        tensor m = random_matrix(types[t], 40, 256, 15);
        weight *w = load(d, &m, NULL);
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
            float *x = random_floats(16, 3 * 256), out[3 * 40];
            x[256 + 33] = bad[i];
            multiply(d, w, x, 3, out);
            for (uint32_t r = 0; r < 40; r++) {
                assert_true(isfinite(out[r]));
                assert_true(isnan(out[40 + r]));
                assert_true(isfinite(out[80 + r]));
            }
            free(x);
        }
        cpu_ops()->weight_free(d, w);
        free_weight(&m);
    }
    cpu_ops()->close(d);
}

static void zeros_and_vanishing_numbers_give_zero(void **state) {
    device *d = open_bits(*state, 16, 1);
    tensor m = random_matrix(DT_Q4_1, 32, 64, 17);
    weight *w = load(d, &m, NULL);
    float x[64] = {0}, out[32];
    x[40] = 1e-38f;
    multiply(d, w, x, 1, out);
    for (uint32_t r = 0; r < 32; r++) assert_true(out[r] == 0);
    cpu_ops()->weight_free(d, w);
    cpu_ops()->close(d);
    free_weight(&m);
}

int main(void) {
    const struct CMUnitTest plain[] = {cmocka_unit_test(a_packed_row_has_the_numbers_of_the_file)};
    const struct CMUnitTest tests[] = {
        TEST_ON_PATH(a_product_is_exact_sums_of_whole_numbers_and_scales_in_ascending_order),
        TEST_ON_PATH(a_row_has_the_same_bytes_among_any_others_and_with_any_threads),
        TEST_ON_PATH(feed_forwards_are_those_of_ref_and_a_row_is_the_same_alone),
        TEST_ON_PATH(norms_of_both_kinds_are_those_of_ref),
        TEST_ON_PATH(sixteen_bits_are_as_good_as_floats),
        TEST_ON_PATH(what_is_no_number_stays_none_in_its_own_row),
        TEST_ON_PATH(zeros_and_vanishing_numbers_give_zero),
    };
    int failures = cmocka_run_group_tests_name("pack", plain, NULL, NULL);
    return failures + run_on_paths(tests, ARRAY_LEN(tests));
}
