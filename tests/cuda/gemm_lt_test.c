/* gemm_lt_test - what gemm_lt asks of cuBLASLt, without the library: a stand-in multiplies as the library's
 * manual says (column-major matrices, leading dimensions, transposition) and is strict about what it is
 * given, in streams of the emulation. Built where the toolkit's header is. */
#include "base/clock.h"
#include "base/mem.h"
#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/gemm_lt.h"
#include "kernels/half.h"
#include "tests/cuda_host/emulation.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

/* FASTEST by the clock; the first that is neither unusable nor refused is number 0. */
enum {
    N = 24,
    K = 16,
    ROWS = 160,
    CANDIDATES = 4,
    UNUSABLE = 1,
    REFUSED = 2,
    FASTEST = 3,
    WORKSPACE = 1 << 20,
    VERSION = 130205
};

/* The stand-in. Algorithm number i of a question has i in data[0] and the question's columns in data[1]. */
static struct {
    uint32_t live;         /* descriptions that exist */
    uint32_t questions;    /* for algorithms */
    uint32_t products;     /* that were put into the stream */
    uint64_t last[2];      /* the algorithm of the last one */
    uint64_t refused_cols; /* only with algorithms that were asked for these columns; 0: none */
    bool fixed;            /* no reduction of partial sums is wanted */
    uint32_t split;        /* set of algorithms: they cut K into parts */
    uint32_t uneven;       /* set of algorithms: among odd_cols columns, a column's bits are others */
    uint64_t odd_cols;
    uint32_t used;        /* set of algorithms that multiplied */
    uint32_t clock_reads; /* of the GPU's */
    cublasOperation_t of_a;
    bool preferences[16];
    bool hangs;
} blas;

typedef struct layout {
    cudaDataType type;
    uint64_t rows, cols, stride;
} layout;

typedef struct product {
    layout a, b, d;
    const void *a_at, *b_at;
    void *d_at;
    bool transpose_a;
    float start; /* of each sum */
} product;

static float number(cudaDataType type, const void *at, size_t i) {
    uint16_t bits = ((const uint16_t *)at)[i];
    return type == CUDA_R_16BF ? f32_of_bf16(bits) : f32_of_half(bits);
}

static void store(cudaDataType type, void *at, size_t i, float v) {
    if (type == CUDA_R_32F)
        ((float *)at)[i] = v;
    else
        ((uint16_t *)at)[i] = type == CUDA_R_16BF ? bf16_of_f32(v) : half_of_f32(v);
}

static void multiply(void *args) {
    const product *p = args;
    const uint64_t inner = p->b.rows;
    for (uint64_t col = 0; col < p->d.cols; col++)
        for (uint64_t row = 0; row < p->d.rows; row++) {
            float sum = p->start;
            for (uint64_t i = 0; i < inner; i++) {
                size_t a = p->transpose_a ? row * p->a.stride + i : i * p->a.stride + row;
                sum += number(p->a.type, p->a_at, a) * number(p->b.type, p->b_at, col * p->b.stride + i);
            }
            store(p->d.type, p->d_at, col * p->d.stride + row, sum);
        }
}

static cublasStatus_t create(cublasLtHandle_t *handle) {
    *handle = xmalloc(1);
    blas.live++;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t forget(void *what) {
    assert_non_null(what);
    free(what);
    blas.live--;
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t destroy(cublasLtHandle_t handle) {
    return forget(handle);
}
static cublasStatus_t product_destroy(cublasLtMatmulDesc_t d) {
    return forget(d);
}
static cublasStatus_t layout_destroy(cublasLtMatrixLayout_t l) {
    return forget(l);
}
static cublasStatus_t preference_destroy(cublasLtMatmulPreference_t p) {
    return forget(p);
}

static const char *status_string(cublasStatus_t st) {
    return st == CUBLAS_STATUS_NOT_SUPPORTED ? "not supported" : "another status";
}

static cublasStatus_t product_create(cublasLtMatmulDesc_t *out, cublasComputeType_t compute,
                                     cudaDataType_t scale) {
    assert_int_equal(compute, CUBLAS_COMPUTE_32F);
    assert_int_equal(scale, CUDA_R_32F);
    *out = xmalloc(1);
    blas.live++;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t product_set(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t name,
                                  const void *value, size_t bytes) {
    assert_non_null(d);
    assert_int_equal(name, CUBLASLT_MATMUL_DESC_TRANSA);
    assert_int_equal(bytes, sizeof(int32_t));
    memcpy(&blas.of_a, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t layout_create(cublasLtMatrixLayout_t *out, cudaDataType type, uint64_t rows,
                                    uint64_t cols, int64_t stride) {
    assert_true(stride >= (int64_t)rows);
    const layout l = {type, rows, cols, (uint64_t)stride};
    *out = xmemdup(&l, sizeof l);
    blas.live++;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t preference_create(cublasLtMatmulPreference_t *out) {
    *out = xmalloc(1);
    blas.live++;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t preference_set(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t name,
                                     const void *value, size_t bytes) {
    assert_non_null(p);
    uint64_t v = 0;
    memcpy(&v, value, bytes);
    assert_int_equal(bytes,
                     name == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? sizeof(uint64_t) : sizeof(uint32_t));
    if (name == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) assert_int_equal(v, GEMM_LT_WORKSPACE_BYTES);
    if (name == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK)
        assert_int_equal(v, blas.fixed ? CUBLASLT_REDUCTION_SCHEME_NONE
                                       : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
    if (name >= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES &&
        name <= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES)
        assert_int_equal(v, 16);
    blas.preferences[name] = true;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t ask(cublasLtHandle_t handle, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a,
                          cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t out,
                          cublasLtMatmulPreference_t p, int most, cublasLtMatmulHeuristicResult_t *found,
                          int *count) {
    assert_true(handle && d && a && b && c && out && p);
    assert_true(most >= CANDIDATES);
    blas.questions++;
    for (uint64_t i = 0; i < CANDIDATES; i++) {
        found[i] = (cublasLtMatmulHeuristicResult_t){.state = i == UNUSABLE ? CUBLAS_STATUS_NOT_SUPPORTED
                                                                            : CUBLAS_STATUS_SUCCESS,
                                                     .workspaceSize = WORKSPACE};
        found[i].algo.data[0] = i;
        found[i].algo.data[1] = ((const layout *)(const void *)b)->cols;
    }
    *count = CANDIDATES;
    return CUBLAS_STATUS_SUCCESS;
}

static bool in(uint32_t set, uint64_t algorithm) {
    return set >> algorithm & 1;
}

static size_t version(void) {
    return VERSION;
}

/* The identity is that of the algorithm; the other traits are those of a question. */
static cublasStatus_t trait(const cublasLtMatmulAlgo_t *algo, cublasLtMatmulAlgoConfigAttributes_t name,
                            void *out, size_t bytes, size_t *written) {
    const bool two =
        name == CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID || name == CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID;
    assert_int_equal(bytes, two ? 2 : 4);
    assert_non_null(written);
    uint32_t value = name == CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME ? 0 : 7;
    if (name == CUBLASLT_ALGO_CONFIG_ID) value = (uint32_t)algo->data[0];
    if (name == CUBLASLT_ALGO_CONFIG_SPLITK_NUM) value = in(blas.split, algo->data[0]) ? 4 : 1;
    memcpy(out, &value, bytes);
    *written = bytes;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t matmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t d, const void *alpha,
                             const void *a_at, cublasLtMatrixLayout_t a, const void *b_at,
                             cublasLtMatrixLayout_t b, const void *beta, const void *c_at,
                             cublasLtMatrixLayout_t c, void *d_at, cublasLtMatrixLayout_t out,
                             const cublasLtMatmulAlgo_t *algo, void *workspace, size_t workspace_bytes,
                             cudaStream_t stream) {
    product p = {.a_at = a_at, .b_at = b_at, .d_at = d_at, .transpose_a = blas.of_a == CUBLAS_OP_T};
    memcpy(&p.a, a, sizeof p.a);
    memcpy(&p.b, b, sizeof p.b);
    memcpy(&p.d, out, sizeof p.d);
    assert_true(handle && d && workspace && workspace_bytes >= WORKSPACE);
    assert_true(*(const float *)alpha == 1 && *(const float *)beta == 0);
    assert_true(c == out && c_at == d_at);
    assert_int_equal(p.transpose_a ? p.a.rows : p.a.cols, p.b.rows);
    assert_int_equal(p.transpose_a ? p.a.cols : p.a.rows, p.d.rows);
    assert_int_equal(p.b.cols, p.d.cols);
    assert_int_not_equal(algo->data[0], UNUSABLE);
    if (algo->data[0] == REFUSED) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (p.b.cols == blas.refused_cols && algo->data[1] != p.b.cols) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (in(blas.uneven, algo->data[0]) && p.b.cols == blas.odd_cols) p.start = 0.25f;
    blas.used |= 1u << algo->data[0];
    blas.products++;
    memcpy(blas.last, algo->data, sizeof blas.last);
    return emulation_enqueue(stream, EMULATION_KERNEL, multiply, &p, sizeof p) == cudaSuccess
               ? CUBLAS_STATUS_SUCCESS
               : CUBLAS_STATUS_EXECUTION_FAILED;
}

status cublaslt_open(cublaslt *out, errbuf *eb) {
    (void)eb;
    *out = (cublaslt){.Create = create,
                      .Destroy = destroy,
                      .GetStatusString = status_string,
                      .GetVersion = version,
                      .MatmulDescCreate = product_create,
                      .MatmulDescDestroy = product_destroy,
                      .MatmulDescSetAttribute = product_set,
                      .MatrixLayoutCreate = layout_create,
                      .MatrixLayoutDestroy = layout_destroy,
                      .MatmulPreferenceCreate = preference_create,
                      .MatmulPreferenceDestroy = preference_destroy,
                      .MatmulPreferenceSetAttribute = preference_set,
                      .MatmulAlgoGetHeuristic = ask,
                      .MatmulAlgoConfigGetAttribute = trait,
                      .Matmul = matmul};
    return ST_OK;
}

void cublaslt_close(cublaslt *l) {
    *l = (cublaslt){0};
}

/* The clock of the GPU says which candidate is fast; the linker puts these in between. */
cudaError_t __wrap_cudaEventElapsedTime(float *ms, cudaEvent_t begin, cudaEvent_t end);
cudaError_t __real_cudaEventQuery(cudaEvent_t event);
cudaError_t __wrap_cudaEventQuery(cudaEvent_t event);
uint64_t __real_clock_now_ns(void);
uint64_t __wrap_clock_now_ns(void);

cudaError_t __wrap_cudaEventElapsedTime(float *ms, cudaEvent_t begin, cudaEvent_t end) {
    assert_true(begin && end);
    blas.clock_reads++;
    *ms = blas.last[0] == FASTEST ? 1 : 2;
    return cudaSuccess;
}

cudaError_t __wrap_cudaEventQuery(cudaEvent_t event) {
    return blas.hangs ? cudaErrorNotReady : __real_cudaEventQuery(event);
}

uint64_t __wrap_clock_now_ns(void) {
    static uint64_t now_ns;
    if (!blas.hangs) return __real_clock_now_ns();
    return now_ns += 7 * NS_PER_S;
}

/* --- the tests --- */

typedef struct fixture {
    gemm_lt *g;
    cudaStream_t stream;
    uint16_t *x, *w; /* [ROWS, K], [N, K]; the emulation's device memory can be read here */
    void *out;       /* [ROWS, N] */
} fixture;

static int set_up(void **state, gemm_lt_way way) {
    fixture *f = xcalloc(1, sizeof *f);
    errbuf eb = {0};
    memset(&blas, 0, sizeof blas);
    blas.fixed = way == GEMM_LT_FIXED;
    assert_int_equal(cudaStreamCreateWithFlags(&f->stream, cudaStreamNonBlocking), cudaSuccess);
    assert_int_equal(cudaMalloc((void **)&f->x, ROWS * K * sizeof *f->x), cudaSuccess);
    assert_int_equal(cudaMalloc((void **)&f->w, N * K * sizeof *f->w), cudaSuccess);
    assert_int_equal(cudaMalloc(&f->out, ROWS * N * sizeof(float)), cudaSuccess);
    if (gemm_lt_new(&f->g, way, f->stream, &eb) != ST_OK) fail_msg("%s", eb.text);
    *state = f;
    return 0;
}

static int setup(void **state) {
    return set_up(state, GEMM_LT_TIMED);
}

static int setup_fixed(void **state) {
    return set_up(state, GEMM_LT_FIXED);
}

static int teardown(void **state) {
    fixture *f = *state;
    blas.hangs = false;
    gemm_lt_free(f->g);
    assert_int_equal(blas.live, 0);
    cudaFree(f->x);
    cudaFree(f->w);
    cudaFree(f->out);
    cudaStreamDestroy(f->stream);
    free(f);
    return 0;
}

static linear_args args_of(const fixture *f, num_type type, uint32_t rows, linear_out mode) {
    return (linear_args){
        .type = type, .x = f->x, .w = f->w, .rows = rows, .n = N, .k = K, .out = f->out, .mode = mode};
}

static void run(const fixture *f, uint32_t rows) {
    const linear_args a = args_of(f, NUM_BF16, rows, LINEAR_ACT);
    errbuf eb = {0};
    if (gemm_lt_linear(f->g, &a, &eb) != ST_OK) fail_msg("%u rows: %s", rows, eb.text);
}

static void rows_of_out_are_rows_of_x_times_rows_of_w(void **state) {
    const fixture *f = *state;
    static const linear_out modes[] = {LINEAR_ACT, LINEAR_F32};
    for (num_type type = NUM_BF16; type <= NUM_F16; type++) {
        const cudaDataType data = type == NUM_BF16 ? CUDA_R_16BF : CUDA_R_16F;
        for (size_t i = 0; i < ROWS * K; i++) store(data, f->x, i, (float)(i * 37 % 101) / 64 - 0.75f);
        for (size_t i = 0; i < N * K; i++) store(data, f->w, i, (float)(i * 53 % 97) / 64 - 0.75f);
        for (uint32_t rows = 1; rows <= ROWS; rows += 23)
            for (size_t m = 0; m < ARRAY_LEN(modes); m++) {
                const linear_args a = args_of(f, type, rows, modes[m]);
                errbuf eb = {0};
                memset(f->out, 0, ROWS * N * sizeof(float));
                if (gemm_lt_linear(f->g, &a, &eb) != ST_OK) fail_msg("%s", eb.text);
                assert_int_equal(cudaStreamSynchronize(f->stream), cudaSuccess);
                for (size_t r = 0; r < rows; r++)
                    for (size_t n = 0; n < N; n++) {
                        float sum = 0, want[1];
                        for (size_t k = 0; k < K; k++)
                            sum += number(data, f->x, r * K + k) * number(data, f->w, n * K + k);
                        const cudaDataType out = modes[m] == LINEAR_F32 ? CUDA_R_32F : data;
                        const size_t bytes = modes[m] == LINEAR_F32 ? 4 : 2;
                        store(out, want, 0, sum);
                        assert_memory_equal((char *)f->out + (r * N + n) * bytes, want, bytes);
                    }
            }
    }
    for (int i = CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES; i <= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES;
         i++)
        assert_true(blas.preferences[i]);
    assert_true(blas.preferences[CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK]);
    assert_true(blas.preferences[CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES]);
}

static void the_fastest_that_works_serves_all_rows_up_to_a_power_of_two(void **state) {
    const fixture *f = *state;
    run(f, 33);
    assert_int_equal(blas.questions, 1);
    assert_int_equal(blas.last[0], FASTEST);
    assert_int_equal(blas.last[1],
                     64); /* asked for the most rows of the bucket, which need the most workspace */
    uint32_t products = blas.products;
    for (uint32_t rows = 34; rows <= 64; rows++) run(f, rows);
    assert_int_equal(blas.products, products + 31);
    assert_int_equal(blas.questions, 1);
    run(f, 65);
    assert_int_equal(blas.questions, 2);
    assert_int_equal(blas.last[1], 128);
}

static void where_the_choice_is_refused_the_number_of_rows_is_asked_for(void **state) {
    const fixture *f = *state;
    run(f, 64);
    blas.refused_cols = 50;
    run(f, 50);
    assert_int_equal(blas.questions, 2);
    assert_int_equal(blas.last[1], 50);
    run(f, 51);
    assert_int_equal(blas.questions, 2);
    assert_int_equal(blas.last[0], FASTEST);
}

/* The first call times what was asked for 64 columns, all of which is refused; later ones do not time again.
 */
static void candidates_that_are_all_refused_are_timed_once(void **state) {
    const fixture *f = *state;
    blas.refused_cols = 50;
    run(f, 50);
    assert_int_equal(blas.questions, 2);
    uint32_t products = blas.products;
    run(f, 50);
    assert_int_equal(blas.questions, 3); /* for these rows, by run_plan */
    assert_int_equal(blas.products, products + 1);
    assert_int_equal(blas.last[1], 50);
}

static void a_capture_takes_the_first_guess_and_a_later_call_measures(void **state) {
    const fixture *f = *state;
    cudaGraph_t graph = NULL;
    assert_int_equal(cudaStreamBeginCapture(f->stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    run(f, 8);
    run(f, 8);
    assert_int_equal(blas.products, 2);
    assert_int_equal(blas.last[0], 0);
    assert_int_equal(cudaStreamEndCapture(f->stream, &graph), cudaSuccess);
    assert_int_equal(cudaGraphDestroy(graph), cudaSuccess);
    run(f, 8);
    assert_int_equal(blas.last[0], FASTEST);
    uint32_t products = blas.products;
    assert_int_equal(cudaStreamBeginCapture(f->stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    run(f, 8);
    assert_int_equal(cudaStreamEndCapture(f->stream, &graph), cudaSuccess);
    assert_int_equal(cudaGraphDestroy(graph), cudaSuccess);
    assert_int_equal(blas.products, products + 1);
    assert_int_equal(blas.last[0], FASTEST);
}

static void measuring_on_a_gpu_that_hangs_has_a_deadline(void **state) {
    const fixture *f = *state;
    const linear_args a = args_of(f, NUM_F16, 20, LINEAR_ACT);
    errbuf eb = {0};
    blas.hangs = true;
    assert_int_equal(gemm_lt_linear(f->g, &a, &eb), ST_TIMEOUT);
    assert_string_equal(eb.text, "cublasLt 20x24x16 (rows, n, k): timing did not end within 60 s");
}

/* --- fixed --- */

enum { FIXED_ROWS = 2048 }; /* that it asks for */

static status try_rows(const fixture *f, uint32_t rows) {
    const linear_args a = args_of(f, NUM_BF16, rows, LINEAR_ACT);
    return gemm_lt_linear(f->g, &a, NULL);
}

static void fill(const fixture *f) {
    for (size_t i = 0; i < ROWS * K; i++) store(CUDA_R_16BF, f->x, i, (float)(i * 37 % 101) / 64 - 0.75f);
    for (size_t i = 0; i < N * K; i++) store(CUDA_R_16BF, f->w, i, (float)(i * 53 % 97) / 64 - 0.75f);
}

static void the_first_algorithm_that_works_serves_any_number_of_rows_without_a_clock(void **state) {
    const fixture *f = *state;
    fill(f);
    run(f, ROWS);
    uint16_t all[ROWS * N];
    assert_int_equal(cudaStreamSynchronize(f->stream), cudaSuccess);
    memcpy(all, f->out, sizeof all);
    for (uint32_t rows = 1; rows <= ROWS; rows++) {
        uint32_t products = blas.products;
        memset(f->out, 0, sizeof all);
        run(f, rows);
        assert_int_equal(blas.products, products + 1);
        assert_int_equal(cudaStreamSynchronize(f->stream), cudaSuccess);
        assert_memory_equal(f->out, all, rows * N * sizeof *all);
        assert_int_equal(blas.last[0], 0);
        assert_int_equal(blas.last[1], FIXED_ROWS);
    }
    assert_int_equal(blas.questions, 1);
    assert_int_equal(blas.clock_reads, 0);
    assert_int_equal(blas.used, 1u << 0);
}

/* The last is the most rows that the caller has. */
static void an_algorithm_whose_bits_depend_on_the_rows_is_passed_over(void **state) {
    static const uint64_t odd[] = {1, 33, 64, 100, ROWS};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        void *own = NULL;
        setup_fixed(&own);
        const fixture *f = own;
        fill(f);
        blas.uneven = 1u << 0;
        blas.odd_cols = odd[i];
        size_t bytes, after, live = emulation_allocations(&bytes);
        run(f, ROWS);
        assert_int_equal(emulation_allocations(&after), live); /* what the test took is given back */
        assert_int_equal(after, bytes);
        assert_int_equal(blas.last[0], FASTEST); /* what lies between is not usable or refused */
        run(f, (uint32_t)odd[i]);
        assert_int_equal(blas.last[0], FASTEST);
        assert_int_equal(blas.questions, 1);
        teardown(&own);
    }
}

static void an_algorithm_that_splits_k_is_not_even_tried(void **state) {
    const fixture *f = *state;
    blas.split = 1u << 0;
    run(f, ROWS);
    run(f, 1);
    assert_int_equal(blas.used, 1u << FASTEST);
}

static void where_no_algorithm_passes_the_caller_is_told_at_once_from_then_on(void **state) {
    const fixture *f = *state;
    fill(f);
    blas.uneven = 1u << 0;
    blas.odd_cols = 33;
    blas.split = 1u << FASTEST;
    assert_int_equal(try_rows(f, ROWS), ST_UNSUPPORTED);
    uint32_t products = blas.products;
    for (uint32_t rows = 1; rows <= ROWS; rows += 53) assert_int_equal(try_rows(f, rows), ST_UNSUPPORTED);
    assert_int_equal(blas.products, products);
    assert_int_equal(blas.questions, 1);
}

static void outputs_whose_rows_are_not_aligned_are_not_for_the_library(void **state) {
    const fixture *f = *state;
    linear_args a = args_of(f, NUM_BF16, 20, LINEAR_ACT);
    a.n = N - 4;
    assert_int_equal(gemm_lt_linear(f->g, &a, NULL), ST_UNSUPPORTED);
    assert_int_equal(blas.questions, 0);
}

/* Of a gemm_lt that was given `count` products, of N and of N - 8 outputs, in this order or the other. */
static void name_after(uint32_t count, bool turned, uint32_t split, char name[GEMM_LT_NAME_BYTES]) {
    void *own = NULL;
    setup_fixed(&own);
    const fixture *f = own;
    blas.split = split;
    for (uint32_t i = 0; i < count; i++) {
        linear_args a = args_of(f, NUM_BF16, ROWS, LINEAR_ACT);
        if (turned == (i == 0)) a.n = N - 8;
        assert_int_equal(gemm_lt_linear(f->g, &a, NULL), split == UINT32_MAX ? ST_UNSUPPORTED : ST_OK);
        assert_int_equal(gemm_lt_shapes(f->g), i + 1);
    }
    gemm_lt_name(f->g, name);
    teardown(&own);
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
    const fixture *f = *state;
    const linear_args a = args_of(f, NUM_F16, 20, LINEAR_ACT);
    errbuf eb = {0};
    blas.hangs = true;
    assert_int_equal(gemm_lt_linear(f->g, &a, &eb), ST_TIMEOUT);
    assert_string_equal(eb.text, "cublasLt 128x24x16 (rows, n, k): test did not end within 60 s");
}

static void a_test_without_memory_says_so_and_keeps_none(void **state) {
    const fixture *f = *state;
    const linear_args a = args_of(f, NUM_F16, 20, LINEAR_ACT);
    errbuf eb = {0};
    size_t bytes, after, live = emulation_allocations(&bytes);
    assert_int_equal(setenv("BATON_EMU_MEMORY_MB", "1", 1), 0);
    assert_int_equal(gemm_lt_linear(f->g, &a, &eb), ST_NOMEM);
    assert_int_equal(unsetenv("BATON_EMU_MEMORY_MB"), 0);
    assert_non_null(strstr(eb.text, "cublasLt 20x24x16 (rows, n, k): memory of its test: "));
    assert_int_equal(emulation_allocations(&after), live);
    assert_int_equal(after, bytes);
    run(f, 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rows_of_out_are_rows_of_x_times_rows_of_w, setup, teardown),
        cmocka_unit_test_setup_teardown(the_fastest_that_works_serves_all_rows_up_to_a_power_of_two, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(where_the_choice_is_refused_the_number_of_rows_is_asked_for, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(candidates_that_are_all_refused_are_timed_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_capture_takes_the_first_guess_and_a_later_call_measures, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(measuring_on_a_gpu_that_hangs_has_a_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(
            the_first_algorithm_that_works_serves_any_number_of_rows_without_a_clock, setup_fixed, teardown),
        cmocka_unit_test(an_algorithm_whose_bits_depend_on_the_rows_is_passed_over),
        cmocka_unit_test_setup_teardown(an_algorithm_that_splits_k_is_not_even_tried, setup_fixed, teardown),
        cmocka_unit_test_setup_teardown(where_no_algorithm_passes_the_caller_is_told_at_once_from_then_on,
                                        setup_fixed, teardown),
        cmocka_unit_test_setup_teardown(outputs_whose_rows_are_not_aligned_are_not_for_the_library,
                                        setup_fixed, teardown),
        cmocka_unit_test(the_name_is_the_librarys_version_and_a_hash_of_shapes_and_algorithms),
        cmocka_unit_test_setup_teardown(a_test_on_a_gpu_that_hangs_has_a_deadline, setup_fixed, teardown),
        cmocka_unit_test_setup_teardown(a_test_without_memory_says_so_and_keeps_none, setup_fixed, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
