/* gemm_fixed_test - one algorithm of cuBLASLt for any number of rows: which gemm_lt takes, and what it says.
 */
#include "base/mem.h"
#include "tests/cuda/lt_rig.h"
#include "tests/cuda_host/emulation.h"

#include <stdlib.h>
#include <string.h>

static int setup(void **state) {
    return lt_rig_setup(state, GEMM_LT_FIXED);
}

enum { FIXED_ROWS = 2048 }; /* that it asks for */

static status try_rows(const lt_rig *f, uint32_t rows) {
    const linear_args a = lt_rig_args(f, NUM_BF16, rows, LINEAR_ACT);
    return gemm_lt_linear(f->g, &a, NULL);
}

static void fill(const lt_rig *f) {
    for (size_t i = 0; i < LT_ROWS * LT_K; i++)
        lt_store(CUDA_R_16BF, f->x, i, (float)(i * 37 % 101) / 64 - 0.75f);
    for (size_t i = 0; i < LT_N * LT_K; i++)
        lt_store(CUDA_R_16BF, f->w, i, (float)(i * 53 % 97) / 64 - 0.75f);
}

static void the_first_algorithm_that_works_serves_any_number_of_rows_without_a_clock(void **state) {
    const lt_rig *f = *state;
    fill(f);
    lt_rig_run(f, LT_ROWS);
    uint16_t all[LT_ROWS * LT_N];
    assert_int_equal(cudaStreamSynchronize(f->stream), cudaSuccess);
    memcpy(all, f->out, sizeof all);
    for (uint32_t rows = 1; rows <= LT_ROWS; rows++) {
        uint32_t products = blas.products;
        memset(f->out, 0, sizeof all);
        lt_rig_run(f, rows);
        assert_int_equal(blas.products, products + 1);
        assert_int_equal(cudaStreamSynchronize(f->stream), cudaSuccess);
        assert_memory_equal(f->out, all, rows * LT_N * sizeof *all);
        assert_int_equal(blas.last[0], 0);
        assert_int_equal(blas.last[1], FIXED_ROWS);
    }
    assert_int_equal(blas.questions, 1);
    assert_int_equal(blas.clock_reads, 0);
    assert_int_equal(blas.used, 1u << 0);
}

/* The last is the most rows that the caller has. */
static void an_algorithm_whose_bits_depend_on_the_rows_is_passed_over(void **state) {
    static const uint64_t odd[] = {1, 33, 64, 100, LT_ROWS};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        void *own = NULL;
        setup(&own);
        const lt_rig *f = own;
        fill(f);
        blas.uneven = 1u << 0;
        blas.odd_cols = odd[i];
        size_t bytes, after, live = emulation_allocations(&bytes);
        lt_rig_run(f, LT_ROWS);
        assert_int_equal(emulation_allocations(&after), live); /* what the test took is given back */
        assert_int_equal(after, bytes);
        assert_int_equal(blas.last[0], FASTEST); /* what lies between is not usable or refused */
        lt_rig_run(f, (uint32_t)odd[i]);
        assert_int_equal(blas.last[0], FASTEST);
        assert_int_equal(blas.questions, 1);
        lt_rig_teardown(&own);
    }
}

static void an_algorithm_that_splits_k_is_not_even_tried(void **state) {
    const lt_rig *f = *state;
    blas.split = 1u << 0;
    lt_rig_run(f, LT_ROWS);
    lt_rig_run(f, 1);
    assert_int_equal(blas.used, 1u << FASTEST);
}

static void where_no_algorithm_passes_the_caller_is_told_at_once_from_then_on(void **state) {
    const lt_rig *f = *state;
    fill(f);
    blas.uneven = 1u << 0;
    blas.odd_cols = 33;
    blas.split = 1u << FASTEST;
    assert_int_equal(try_rows(f, LT_ROWS), ST_UNSUPPORTED);
    uint32_t products = blas.products;
    for (uint32_t rows = 1; rows <= LT_ROWS; rows += 53) assert_int_equal(try_rows(f, rows), ST_UNSUPPORTED);
    assert_int_equal(blas.products, products);
    assert_int_equal(blas.questions, 1);
}

static void outputs_whose_rows_are_not_aligned_are_not_for_the_library(void **state) {
    const lt_rig *f = *state;
    linear_args a = lt_rig_args(f, NUM_BF16, 20, LINEAR_ACT);
    a.n = LT_N - 4;
    assert_int_equal(gemm_lt_linear(f->g, &a, NULL), ST_UNSUPPORTED);
    assert_int_equal(blas.questions, 0);
}

/* Of a gemm_lt that was given `count` products, of LT_N and of LT_N - 8 outputs, in this order or the other.
 */
static void name_after(uint32_t count, bool turned, uint32_t split, char name[GEMM_LT_NAME_BYTES]) {
    void *own = NULL;
    setup(&own);
    const lt_rig *f = own;
    blas.split = split;
    for (uint32_t i = 0; i < count; i++) {
        linear_args a = lt_rig_args(f, NUM_BF16, LT_ROWS, LINEAR_ACT);
        if (turned == (i == 0)) a.n = LT_N - 8;
        assert_int_equal(gemm_lt_linear(f->g, &a, NULL), split == UINT32_MAX ? ST_UNSUPPORTED : ST_OK);
        assert_int_equal(gemm_lt_shapes(f->g), i + 1);
    }
    gemm_lt_name(f->g, name);
    lt_rig_teardown(&own);
}

static void the_name_is_the_librarys_version_and_a_hash_of_shapes_and_algorithms(void **state) {
    char a[GEMM_LT_NAME_BYTES], b[GEMM_LT_NAME_BYTES];
    (void)state;
    name_after(0, false, 0, a);
    assert_string_equal(a, "lt13.2.5-00000000");
    name_after(2, false, 0, a);
    name_after(2, true, 0, b);
    assert_int_equal(strlen(a), strlen("lt13.2.5-00000000"));
    assert_int_equal(strspn(a + 9, "0123456789abcdef"), 8);
    assert_string_equal(a, b);
    name_after(2, false, 1, b); /* another algorithm */
    assert_string_not_equal(a, b);
    name_after(2, false, UINT32_MAX, a); /* none */
    assert_string_not_equal(a, b);
}

static void a_test_on_a_gpu_that_hangs_has_a_deadline(void **state) {
    const lt_rig *f = *state;
    const linear_args a = lt_rig_args(f, NUM_F16, 20, LINEAR_ACT);
    errbuf eb = {0};
    blas.hangs = true;
    assert_int_equal(gemm_lt_linear(f->g, &a, &eb), ST_TIMEOUT);
    assert_string_equal(eb.text, "cublasLt 128x24x16 (rows, n, k): test did not end within 60 s");
}

static void a_test_without_memory_says_so_and_keeps_none(void **state) {
    const lt_rig *f = *state;
    const linear_args a = lt_rig_args(f, NUM_F16, 20, LINEAR_ACT);
    errbuf eb = {0};
    size_t bytes, after, live = emulation_allocations(&bytes);
    assert_int_equal(setenv("BATON_EMU_MEMORY_MB", "1", 1), 0);
    assert_int_equal(gemm_lt_linear(f->g, &a, &eb), ST_NOMEM);
    assert_int_equal(unsetenv("BATON_EMU_MEMORY_MB"), 0);
    assert_non_null(strstr(eb.text, "cublasLt 20x24x16 (rows, n, k): memory of its test: "));
    assert_int_equal(emulation_allocations(&after), live);
    assert_int_equal(after, bytes);
    lt_rig_run(f, 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            the_first_algorithm_that_works_serves_any_number_of_rows_without_a_clock, setup, lt_rig_teardown),
        cmocka_unit_test(an_algorithm_whose_bits_depend_on_the_rows_is_passed_over),
        cmocka_unit_test_setup_teardown(an_algorithm_that_splits_k_is_not_even_tried, setup, lt_rig_teardown),
        cmocka_unit_test_setup_teardown(where_no_algorithm_passes_the_caller_is_told_at_once_from_then_on,
                                        setup, lt_rig_teardown),
        cmocka_unit_test_setup_teardown(outputs_whose_rows_are_not_aligned_are_not_for_the_library, setup,
                                        lt_rig_teardown),
        cmocka_unit_test(the_name_is_the_librarys_version_and_a_hash_of_shapes_and_algorithms),
        cmocka_unit_test_setup_teardown(a_test_on_a_gpu_that_hangs_has_a_deadline, setup, lt_rig_teardown),
        cmocka_unit_test_setup_teardown(a_test_without_memory_says_so_and_keeps_none, setup, lt_rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
