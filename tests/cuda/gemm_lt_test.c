/* gemm_lt_test - what gemm_lt asks of cuBLASLt when algorithms are chosen by the clock. */
#include "base/mem.h"
#include "tests/cuda/lt_rig.h"

#include <string.h>

static int setup(void **state) {
    return lt_rig_setup(state, GEMM_LT_TIMED);
}

static void rows_of_out_are_rows_of_x_times_rows_of_w(void **state) {
    const lt_rig *f = *state;
    static const linear_out modes[] = {LINEAR_ACT, LINEAR_F32};
    for (num_type type = NUM_BF16; type <= NUM_F16; type++) {
        const cudaDataType data = type == NUM_BF16 ? CUDA_R_16BF : CUDA_R_16F;
        for (size_t i = 0; i < LT_ROWS * LT_K; i++)
            lt_store(data, f->x, i, (float)(i * 37 % 101) / 64 - 0.75f);
        for (size_t i = 0; i < LT_N * LT_K; i++) lt_store(data, f->w, i, (float)(i * 53 % 97) / 64 - 0.75f);
        for (uint32_t rows = 1; rows <= LT_ROWS; rows += 23)
            for (size_t m = 0; m < ARRAY_LEN(modes); m++) {
                const linear_args a = lt_rig_args(f, type, rows, modes[m]);
                errbuf eb = {0};
                memset(f->out, 0, LT_ROWS * LT_N * sizeof(float));
                if (gemm_lt_linear(f->g, &a, &eb) != ST_OK) fail_msg("%s", eb.text);
                assert_int_equal(cudaStreamSynchronize(f->stream), cudaSuccess);
                for (size_t r = 0; r < rows; r++)
                    for (size_t n = 0; n < LT_N; n++) {
                        float sum = 0, want[1];
                        for (size_t k = 0; k < LT_K; k++)
                            sum += lt_number(data, f->x, r * LT_K + k) * lt_number(data, f->w, n * LT_K + k);
                        const cudaDataType out = modes[m] == LINEAR_F32 ? CUDA_R_32F : data;
                        const size_t bytes = modes[m] == LINEAR_F32 ? 4 : 2;
                        lt_store(out, want, 0, sum);
                        assert_memory_equal((char *)f->out + (r * LT_N + n) * bytes, want, bytes);
                    }
            }
    }
    for (int i = CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES; i <= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES;
         i++)
        assert_true(blas.preferences[i]);
    assert_true(blas.preferences[CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK]);
    assert_true(blas.preferences[CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES]);
}

/* Added to the sum before the one rounding there is; shapes with and without one have plans of their own. */
static void a_bias_is_added_to_every_row_by_the_library(void **state) {
    const lt_rig *f = *state;
    enum { ROWS = 40 };
    for (num_type type = NUM_BF16; type <= NUM_F16; type++) {
        const cudaDataType data = type == NUM_BF16 ? CUDA_R_16BF : CUDA_R_16F;
        uint16_t *bias[2];
        for (size_t i = 0; i < LT_ROWS * LT_K; i++)
            lt_store(data, f->x, i, (float)(i * 37 % 101) / 64 - 0.75f);
        for (size_t i = 0; i < LT_N * LT_K; i++) lt_store(data, f->w, i, (float)(i * 53 % 97) / 64 - 0.75f);
        for (size_t b = 0; b < 2; b++) {
            assert_int_equal(cudaMalloc((void **)&bias[b], LT_N * sizeof *bias[b]), cudaSuccess);
            for (size_t n = 0; n < LT_N; n++) lt_store(data, bias[b], n, (float)n - 7 - 3 * (float)b);
        }
        const uint32_t questions = blas.questions;
        for (size_t turn = 0; turn < 4; turn++) { /* none, one bias, the other, none again */
            linear_args a = lt_rig_args(f, type, ROWS, LINEAR_ACT);
            a.bias = turn % 3 == 0 ? NULL : bias[turn - 1];
            errbuf eb = {0};
            if (gemm_lt_linear(f->g, &a, &eb) != ST_OK) fail_msg("%s", eb.text);
            assert_int_equal(cudaStreamSynchronize(f->stream), cudaSuccess);
            assert_int_equal(blas.questions, questions + (turn == 0 ? 1 : 2));
            for (size_t r = 0; r < ROWS; r++)
                for (size_t n = 0; n < LT_N; n++) {
                    float sum = 0;
                    uint16_t want;
                    for (size_t k = 0; k < LT_K; k++)
                        sum += lt_number(data, f->x, r * LT_K + k) * lt_number(data, f->w, n * LT_K + k);
                    lt_store(data, &want, 0, sum + (a.bias ? lt_number(data, a.bias, n) : 0));
                    assert_memory_equal((uint16_t *)f->out + r * LT_N + n, &want, sizeof want);
                }
        }
        cudaFree(bias[0]);
        cudaFree(bias[1]);
    }
}

static void the_fastest_that_works_serves_all_rows_up_to_a_power_of_two(void **state) {
    const lt_rig *f = *state;
    lt_rig_run(f, 33);
    assert_int_equal(blas.questions, 1);
    assert_int_equal(blas.last[0], FASTEST);
    assert_int_equal(blas.last[1],
                     64); /* asked for the most rows of the bucket, which need the most workspace */
    uint32_t products = blas.products;
    for (uint32_t rows = 34; rows <= 64; rows++) lt_rig_run(f, rows);
    assert_int_equal(blas.products, products + 31);
    assert_int_equal(blas.questions, 1);
    lt_rig_run(f, 65);
    assert_int_equal(blas.questions, 2);
    assert_int_equal(blas.last[1], 128);
}

static void where_the_choice_is_refused_the_number_of_rows_is_asked_for(void **state) {
    const lt_rig *f = *state;
    lt_rig_run(f, 64);
    blas.refused_cols = 50;
    lt_rig_run(f, 50);
    assert_int_equal(blas.questions, 2);
    assert_int_equal(blas.last[1], 50);
    lt_rig_run(f, 51);
    assert_int_equal(blas.questions, 2);
    assert_int_equal(blas.last[0], FASTEST);
}

/* The first call times what was asked for 64 columns, all of which is refused; later ones do not time again.
 */
static void candidates_that_are_all_refused_are_timed_once(void **state) {
    const lt_rig *f = *state;
    blas.refused_cols = 50;
    lt_rig_run(f, 50);
    assert_int_equal(blas.questions, 2);
    uint32_t products = blas.products;
    lt_rig_run(f, 50);
    assert_int_equal(blas.questions, 3); /* for these rows, by run_plan */
    assert_int_equal(blas.products, products + 1);
    assert_int_equal(blas.last[1], 50);
}

static void a_capture_takes_the_first_guess_and_a_later_call_measures(void **state) {
    const lt_rig *f = *state;
    cudaGraph_t graph = NULL;
    assert_int_equal(cudaStreamBeginCapture(f->stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    lt_rig_run(f, 8);
    lt_rig_run(f, 8);
    assert_int_equal(blas.products, 2);
    assert_int_equal(blas.last[0], 0);
    assert_int_equal(cudaStreamEndCapture(f->stream, &graph), cudaSuccess);
    assert_int_equal(cudaGraphDestroy(graph), cudaSuccess);
    lt_rig_run(f, 8);
    assert_int_equal(blas.last[0], FASTEST);
    uint32_t products = blas.products;
    assert_int_equal(cudaStreamBeginCapture(f->stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    lt_rig_run(f, 8);
    assert_int_equal(cudaStreamEndCapture(f->stream, &graph), cudaSuccess);
    assert_int_equal(cudaGraphDestroy(graph), cudaSuccess);
    assert_int_equal(blas.products, products + 1);
    assert_int_equal(blas.last[0], FASTEST);
}

static void measuring_on_a_gpu_that_hangs_has_a_deadline(void **state) {
    const lt_rig *f = *state;
    const linear_args a = lt_rig_args(f, NUM_F16, 20, LINEAR_ACT);
    errbuf eb = {0};
    blas.hangs = true;
    assert_int_equal(gemm_lt_linear(f->g, &a, &eb), ST_TIMEOUT);
    assert_string_equal(eb.text, "cublasLt 20x24x16 (rows, n, k): timing did not end within 60 s");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rows_of_out_are_rows_of_x_times_rows_of_w, setup, lt_rig_teardown),
        cmocka_unit_test_setup_teardown(a_bias_is_added_to_every_row_by_the_library, setup, lt_rig_teardown),
        cmocka_unit_test_setup_teardown(the_fastest_that_works_serves_all_rows_up_to_a_power_of_two, setup,
                                        lt_rig_teardown),
        cmocka_unit_test_setup_teardown(where_the_choice_is_refused_the_number_of_rows_is_asked_for, setup,
                                        lt_rig_teardown),
        cmocka_unit_test_setup_teardown(candidates_that_are_all_refused_are_timed_once, setup,
                                        lt_rig_teardown),
        cmocka_unit_test_setup_teardown(a_capture_takes_the_first_guess_and_a_later_call_measures, setup,
                                        lt_rig_teardown),
        cmocka_unit_test_setup_teardown(measuring_on_a_gpu_that_hangs_has_a_deadline, setup, lt_rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
