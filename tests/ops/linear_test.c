#include "tests/ops/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Weights have the same values in all backends, so what is left is the rounding of fp32 sums, which grows
 * with their length. */
static double bound(uint32_t inner) {
    return inner > 4096 ? 1e-11 : 1e-12;
}

typedef struct shape {
    uint32_t rows, outer, inner;
} shape;

static void run(device *d, const float *x, const tensor *w, uint32_t rows, float *out) {
    host_linear op = {.x = x, .weight = w, .rows = rows, .out = out};
    assert_int_equal(kernels_of(d)->linear(d, &op), ST_OK);
}

/* In chunks of `chunk` rows. */
static void run_chunks(device *d, const float *x, const tensor *w, uint32_t rows, uint32_t chunk,
                       float *out) {
    for (uint32_t r = 0; r < rows; r += chunk)
        run(d, x + (size_t)r * w->cols, w, MIN(chunk, rows - r), out + (size_t)r * w->rows);
}

static void check_shape(device *d, device *ref, dtype type, shape s) {
    s.inner = whole_blocks(type, s.inner);
    tensor w = random_matrix(type, s.outer, s.inner, s.outer + s.inner);
    float *x = random_floats(s.rows, (size_t)s.rows * s.inner);
    size_t count = (size_t)s.rows * s.outer;
    /* The floats after the end must stay as they are. */
    float *got = xcalloc(count + 8, sizeof *got), *want = xcalloc(count, sizeof *want);
    for (size_t i = 0; i < 8; i++) got[count + i] = 7.0f;
    run(d, x, &w, s.rows, got);
    run(ref, x, &w, s.rows, want);
    char what[80];
    snprintf(what, sizeof what, "%s rows %u outer %u inner %u", dtype_name(type), s.rows, s.outer, s.inner);
    assert_close(what, got, want, count, bound(s.inner));
    for (size_t i = 0; i < 8; i++) assert_true(got[count + i] == 7.0f);
    free_weight(&w);
    free(x);
    free(got);
    free(want);
}

static void all_types_and_shapes_agree_with_ref(void **state) {
    need_path(*state);
    static const shape shapes[] = {
        {1, 1, 32},   {1, 31, 64},    {1, 33, 576},   {1, 192, 1536}, {2, 5, 32},
        {3, 33, 96},  {4, 4, 64},     {5, 6, 160},    {7, 31, 576},   {8, 1, 32},
        {13, 64, 96}, {31, 192, 576}, {33, 64, 1536}, {100, 36, 64},
    };
    static const shape odd_inner[] = {{1, 1, 1},   {2, 3, 1},    {1, 31, 31}, {5, 33, 33},
                                      {1, 5, 577}, {31, 7, 577}, {64, 9, 47}};
    device *d = open_path(*state, 2), *ref = open_ref();
    for (size_t t = 0; t < WEIGHT_TYPES; t++) {
        for (size_t s = 0; s < ARRAY_LEN(shapes); s++) check_shape(d, ref, weight_types[t], shapes[s]);
        if (dtype_block_weights(weight_types[t]) > 1) continue;
        for (size_t s = 0; s < ARRAY_LEN(odd_inner); s++) check_shape(d, ref, weight_types[t], odd_inner[s]);
    }
    cpu_ops()->close(d);
    ref_ops()->close(ref);
}

static void a_very_long_inner_dimension_agrees_with_ref(void **state) {
    need_path(*state);
    device *d = open_path(*state, 1), *ref = open_ref();
    check_shape(d, ref, DT_Q8_0, (shape){3, 6, 40000});
    check_shape(d, ref, DT_F16, (shape){1, 5, 40001});
    cpu_ops()->close(d);
    ref_ops()->close(ref);
}

static void same_bytes_for(const op_path *p, dtype type, shape s) {
    static const uint32_t chunks[] = {1, 2, 3, 4, 5, 7, 16, 64};
    s.inner = whole_blocks(type, s.inner);
    tensor w = random_matrix(type, s.outer, s.inner, 3);
    float *x = random_floats(4, (size_t)s.rows * s.inner);
    size_t bytes = (size_t)s.rows * s.outer * sizeof(float);
    float *want = xmalloc(bytes), *got = xmalloc(bytes);
    for (uint32_t threads = 1; threads <= 3; threads++) {
        device *d = open_path(p, threads);
        char what[80];
        if (threads == 1) run(d, x, &w, s.rows, want);
        memset(got, 0xff, bytes);
        run(d, x, &w, s.rows, got);
        snprintf(what, sizeof what, "%s inner %u, %u threads, whole", dtype_name(type), s.inner, threads);
        assert_same(what, got, want, bytes);
        for (size_t c = 0; c < ARRAY_LEN(chunks); c++) {
            memset(got, 0xff, bytes);
            run_chunks(d, x, &w, s.rows, chunks[c], got);
            snprintf(what, sizeof what, "%s inner %u, %u threads, chunks of %u", dtype_name(type), s.inner,
                     threads, chunks[c]);
            assert_same(what, got, want, bytes);
        }
        cpu_ops()->close(d);
    }
    free_weight(&w);
    free(x);
    free(want);
    free(got);
}

static void a_row_has_the_same_bytes_in_any_chunk_and_with_any_threads(void **state) {
    need_path(*state);
    for (size_t t = 0; t < WEIGHT_TYPES; t++) {
        same_bytes_for(*state, weight_types[t], (shape){67, 37, 160});
        if (dtype_block_weights(weight_types[t]) == 1)
            same_bytes_for(*state, weight_types[t], (shape){67, 6, 77});
    }
}

/* Several panels, several blocks of x in each, and rows split over tasks. */
static void a_row_has_the_same_bytes_when_work_is_split_both_ways(void **state) {
    need_path(*state);
    same_bytes_for(*state, DT_Q4_1, (shape){200, 70, 576});
    same_bytes_for(*state, DT_Q8_0, (shape){401, 3, 1536});
}

static void where_a_row_stands_does_not_matter(void **state) {
    need_path(*state);
    device *d = open_path(*state, 2);
    enum { ROWS = 37, OUTER = 21, INNER = 96 };
    tensor w = random_matrix(DT_Q4_1, OUTER, INNER, 5);
    float *row = random_floats(6, INNER), *x = random_floats(7, ROWS * INNER);
    float alone[OUTER], out[ROWS * OUTER];
    run(d, row, &w, 1, alone);
    for (uint32_t at = 0; at < ROWS; at++) {
        float *other = xmemdup(x, ROWS * INNER * sizeof *x);
        memcpy(other + at * INNER, row, INNER * sizeof *row);
        run(d, other, &w, ROWS, out);
        assert_same("a row among others", out + at * OUTER, alone, sizeof alone);
        free(other);
    }
    free_weight(&w);
    free(row);
    free(x);
    cpu_ops()->close(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST_ON_PATH(all_types_and_shapes_agree_with_ref),
        TEST_ON_PATH(a_very_long_inner_dimension_agrees_with_ref),
        TEST_ON_PATH(a_row_has_the_same_bytes_in_any_chunk_and_with_any_threads),
        TEST_ON_PATH(a_row_has_the_same_bytes_when_work_is_split_both_ways),
        TEST_ON_PATH(where_a_row_stands_does_not_matter),
    };
    return run_on_paths(tests, ARRAY_LEN(tests));
}
