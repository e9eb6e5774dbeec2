/* Stacked products (q, k, v; gate, up) with packed weights of mixed types and biases: beside sums in double,
 * and the same bytes whatever the batch and the threads. */
#include "tests/ops/fixture.h"

#include "kernels/half.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 29 };

typedef struct shape {
    uint32_t cols, rows[WEIGHT_PARTS_MAX];
    dtype type[WEIGHT_PARTS_MAX];
    weight_form form;
} shape;

static const shape shapes[] = {
    {32, {1}, {DT_Q8_0}, WEIGHT_PLAIN},
    {32, {1}, {DT_Q4_1}, WEIGHT_PLAIN},
    {64, {33}, {DT_Q4_0}, WEIGHT_PLAIN},
    {96, {31, 1, 65}, {DT_Q4_0, DT_Q8_0, DT_Q4_1}, WEIGHT_QKV},
    {544, {64, 32, 32}, {DT_Q4_1, DT_Q4_1, DT_Q8_0}, WEIGHT_QKV},
    {256, {64, 33, 32}, {DT_Q4_K, DT_Q5_K, DT_Q6_K}, WEIGHT_QKV}, /* as the usual files have it */
    {512, {32, 32, 32}, {DT_Q3_K, DT_Q2_K, DT_Q8_0}, WEIGHT_QKV},
    {256, {32, 32, 32}, {DT_Q5_0, DT_Q5_1, DT_IQ4_NL}, WEIGHT_QKV},
    {32, {64, 32, 32}, {DT_Q8_0, DT_BF16, DT_Q4_0}, WEIGHT_QKV}, /* not packed: one part is not */
};

/* One device and one weight of a shape, with biases. */
typedef struct scene {
    device *dev;
    weight *w;
    tensor part[WEIGHT_PARTS_MAX];
    float *bias[WEIGHT_PARTS_MAX];
    uint32_t outs; /* of all parts */
} scene;

static scene scene_new(const op_path *p, uint32_t threads, uint32_t bits, const shape *s, bool bias) {
    scene out = {.dev = open_path_bits(p, threads, bits)};
    weight_parts parts = {.form = s->form};
    for (uint32_t i = 0; i < weight_form_parts(s->form); i++) {
        out.part[i] = random_matrix(s->type[i], s->rows[i], s->cols, 10 + i);
        if (s->type[i] == DT_Q8_0) memset((uint8_t *)out.part[i].data + 2, 0x80, 32); /* -128 */
        parts.part[i] = out.part[i];
        if (bias) {
            out.bias[i] = random_floats(20 + i, s->rows[i]);
            parts.bias[i] = (tensor){.type = DT_F32, .rows = 1, .cols = s->rows[i], .data = out.bias[i]};
        }
        out.outs += s->rows[i];
    }
    assert_int_equal(cpu_ops()->weight_load(out.dev, &parts, &out.w, NULL), ST_OK);
    return out;
}

static void scene_free(scene *s) {
    for (uint32_t i = 0; i < WEIGHT_PARTS_MAX; i++) {
        free_weight(&s->part[i]);
        free(s->bias[i]);
    }
    cpu_ops()->weight_free(s->dev, s->w);
    cpu_ops()->close(s->dev);
}

static float *multiply(const scene *s, const float *x, uint32_t rows) {
    float *out = xcalloc((size_t)rows * s->outs, sizeof *out);
    const op_linear op = {.x = x, .w = s->w, .rows = rows, .out = out};
    assert_int_equal(cpu_ops()->linear(s->dev, &op), ST_OK);
    return out;
}

/* The numbers of a matrix, by the embedding of ref. Caller frees */
static float *floats_of(const tensor *t) {
    float *out = xcalloc((size_t)t->rows * t->cols, sizeof *out);
    device *ref = open_ref();
    for (int32_t r = 0; r < (int32_t)t->rows; r++) {
        const host_embed op = {.table = t, .ids = &r, .rows = 1, .out = out + (size_t)r * t->cols};
        assert_int_equal(kernels_of(ref)->embed(ref, &op), ST_OK);
    }
    ref_ops()->close(ref);
    return out;
}

static float *want_of(const scene *s, const shape *sh, const float *x) {
    float *out = xcalloc((size_t)ROWS * s->outs, sizeof *out), *at = out;
    for (uint32_t i = 0; i < weight_form_parts(sh->form); i++) {
        float *w = floats_of(&s->part[i]);
        for (uint32_t r = 0; r < ROWS; r++) {
            for (uint32_t n = 0; n < sh->rows[i]; n++) {
                double sum = s->bias[i] ? s->bias[i][n] : 0;
                for (uint32_t k = 0; k < sh->cols; k++)
                    sum += (double)x[r * sh->cols + k] * w[n * sh->cols + k];
                *at++ = (float)sum;
            }
        }
        free(w);
    }
    return out;
}

static void products_are_near_those_in_double(void **state) {
    const op_path *p = *state;
    need_path(p);
    for (size_t i = 0; i < ARRAY_LEN(shapes) * 4; i++) {
        const shape *sh = &shapes[i / 4];
        uint32_t bits = i & 1 ? 8 : 16;
        scene s = scene_new(p, 2, bits, sh, i & 2);
        float *x = random_floats(3, (size_t)ROWS * sh->cols);
        float *found = multiply(&s, x, ROWS), *want = want_of(&s, sh, x);
        assert_close("product", found, want, (size_t)ROWS * s.outs, bits == 16 ? 1e-8 : 1e-3);
        free(x);
        free(found);
        free(want);
        scene_free(&s);
    }
}

/* Part i of row r of a product of `rows` rows. */
static const float *block_of(const shape *sh, const float *out, uint32_t rows, uint32_t i, uint32_t r) {
    for (uint32_t k = 0; k < i; k++) out += (size_t)rows * sh->rows[k];
    return out + (size_t)r * sh->rows[i];
}

static void a_row_has_the_same_bytes_in_any_batch_and_on_any_number_of_threads(void **state) {
    const op_path *p = *state;
    need_path(p);
    for (size_t i = 0; i < ARRAY_LEN(shapes) * 2; i++) {
        const shape *sh = &shapes[i / 2];
        float *x = random_floats(4, (size_t)ROWS * sh->cols), *want = NULL;
        for (uint32_t threads = 1; threads <= 7; threads += threads == 1 ? 1 : 5) {
            scene s = scene_new(p, threads, i & 1 ? 8 : 16, sh, true);
            if (!want) want = multiply(&s, x, ROWS);
            for (uint32_t rows = 1; rows <= ROWS; rows++) {
                float *found = multiply(&s, x + (size_t)(ROWS - rows) * sh->cols, rows);
                for (uint32_t part = 0; part < weight_form_parts(sh->form); part++)
                    assert_same("product", block_of(sh, found, rows, part, 0),
                                block_of(sh, want, ROWS, part, ROWS - rows),
                                (size_t)rows * sh->rows[part] * sizeof *found);
                free(found);
            }
            scene_free(&s);
        }
        free(x);
        free(want);
    }
}

static void scales_that_are_no_numbers_show(void **state) {
    const op_path *p = *state;
    need_path(p);
    const dtype types[] = {DT_Q4_0, DT_Q4_1, DT_Q8_0};
    const uint16_t bad[] = {0x7c00, 0xfc00, 0x7c01, 0x7e00, 0xffff};
    for (size_t i = 0; i < ARRAY_LEN(types) * ARRAY_LEN(bad); i++) {
        const shape sh = {64, {34}, {types[i / ARRAY_LEN(bad)]}, WEIGHT_PLAIN};
        device *d = open_path_bits(p, 1, 16);
        weight_parts parts = {.part = {random_matrix(sh.type[0], 34, 64, 7)}};
        uint8_t *row = (uint8_t *)parts.part[0].data + 33 * dtype_row_bytes(sh.type[0], 64);
        memcpy(row, &bad[i % ARRAY_LEN(bad)], 2);
        scene s = {.dev = d, .outs = 34, .part = {parts.part[0]}};
        assert_int_equal(cpu_ops()->weight_load(d, &parts, &s.w, NULL), ST_OK);
        float *x = random_floats(8, 64), *found = multiply(&s, x, 1);
        for (uint32_t n = 0; n < 34; n++) assert_int_equal(isfinite(found[n]) != 0, n != 33);
        free(x);
        free(found);
        scene_free(&s);
    }
}

/* silu(gate) * up and what the next product reads: whole panels go one way, others another. */
static void gate_and_up_have_the_same_bytes_in_any_batch(void **state) {
    const op_path *p = *state;
    need_path(p);
    for (uint32_t i = 0; i < 8; i++) {
        const uint32_t dim = i & 1 ? 64 : 50;
        const shape sh = {32, {dim, dim}, {DT_Q4_0, i & 2 ? DT_Q8_0 : DT_Q4_1}, WEIGHT_GATE_UP};
        const shape down_shape = {64, {37}, {DT_Q8_0}, WEIGHT_PLAIN};
        float *x = random_floats(9, ROWS * 32), want[ROWS * 64], want_down[ROWS * 37];
        for (uint32_t threads = 1; threads <= 7; threads += 3) {
            scene s = scene_new(p, threads, i & 4 ? 8 : 16, &sh, false);
            tensor down = random_matrix(DT_Q8_0, 37, 64, 11);
            const weight_parts parts = {.part = {down}};
            weight *w = NULL;
            assert_int_equal(cpu_ops()->weight_load(s.dev, &parts, &w, NULL), ST_OK);
            for (uint32_t rows = ROWS; rows > 0; rows -= MIN(rows, 4u)) {
                static float scratch[ROWS * 128], out[ROWS * 64], result[ROWS * 37];
                const op_gate_up op = {.x = x, .w = s.w, .rows = rows, .scratch = scratch, .out = out};
                assert_int_equal(cpu_ops()->gate_up(s.dev, &op), ST_OK);
                const op_linear next = {.x = out, .w = w, .rows = rows, .out = result};
                if (dim == down_shape.cols) assert_int_equal(cpu_ops()->linear(s.dev, &next), ST_OK);
                if (threads == 1 && rows == ROWS) {
                    memcpy(want, out, sizeof want);
                    memcpy(want_down, result, sizeof want_down);
                }
                assert_same("gate and up", out, want, (size_t)rows * dim * sizeof *out);
                if (dim == 64) assert_same("down", result, want_down, (size_t)rows * 37 * sizeof *result);
            }
            cpu_ops()->weight_free(s.dev, w);
            free_weight(&down);
            scene_free(&s);
        }
        free(x);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST_ON_PATH(products_are_near_those_in_double),
        TEST_ON_PATH(a_row_has_the_same_bytes_in_any_batch_and_on_any_number_of_threads),
        TEST_ON_PATH(scales_that_are_no_numbers_show),
        TEST_ON_PATH(gate_and_up_have_the_same_bytes_in_any_batch),
    };
    return run_on_paths(tests, ARRAY_LEN(tests));
}
