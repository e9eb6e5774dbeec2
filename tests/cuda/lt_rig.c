#include "tests/cuda/lt_rig.h"

#include "base/clock.h"
#include "base/mem.h"
#include "kernels/half.h"
#include "tests/cuda_host/emulation.h"

#include <stdlib.h>
#include <string.h>

stand_in blas;

typedef struct layout {
    cudaDataType type;
    uint64_t rows, cols, stride;
} layout;

typedef struct description {
    cublasOperation_t of_a;
    cublasLtEpilogue_t epilogue;
    const void *bias;
    int32_t bias_type;
} description;

typedef struct product {
    layout a, b, d;
    const void *a_at, *b_at;
    void *d_at;
    bool transpose_a;
    float start;      /* of each sum */
    const void *bias; /* [rows of d] of d's type, or NULL */
} product;

float lt_number(cudaDataType type, const void *at, size_t i) {
    uint16_t bits = ((const uint16_t *)at)[i];
    return type == CUDA_R_16BF ? f32_of_bf16(bits) : f32_of_half(bits);
}

void lt_store(cudaDataType type, void *at, size_t i, float v) {
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
                sum +=
                    lt_number(p->a.type, p->a_at, a) * lt_number(p->b.type, p->b_at, col * p->b.stride + i);
            }
            if (p->bias) sum += lt_number(p->d.type, p->bias, row);
            lt_store(p->d.type, p->d_at, col * p->d.stride + row, sum);
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
    *out = xcalloc(1, sizeof(description));
    blas.live++;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t product_set(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t name,
                                  const void *value, size_t bytes) {
    assert_non_null(d);
    description *to = (void *)d;
    const struct {
        cublasLtMatmulDescAttributes_t name;
        void *to;
        size_t bytes;
    } known[] = {{CUBLASLT_MATMUL_DESC_TRANSA, &to->of_a, sizeof to->of_a},
                 {CUBLASLT_MATMUL_DESC_EPILOGUE, &to->epilogue, sizeof to->epilogue},
                 {CUBLASLT_MATMUL_DESC_BIAS_POINTER, &to->bias, sizeof to->bias},
                 {CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &to->bias_type, sizeof to->bias_type}};
    size_t i = 0;
    while (i < ARRAY_LEN(known) && known[i].name != name) i++;
    assert_true(i < ARRAY_LEN(known));
    assert_int_equal(bytes, known[i].bytes);
    memcpy(known[i].to, value, bytes);
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
    const description *of = (const void *)d;
    product p = {.a_at = a_at, .b_at = b_at, .d_at = d_at, .transpose_a = of->of_a == CUBLAS_OP_T};
    memcpy(&p.a, a, sizeof p.a);
    memcpy(&p.b, b, sizeof p.b);
    memcpy(&p.d, out, sizeof p.d);
    assert_true(handle && d && workspace && workspace_bytes >= WORKSPACE);
    if (of->epilogue == CUBLASLT_EPILOGUE_BIAS) {
        assert_non_null(of->bias);
        assert_int_equal(of->bias_type, p.d.type);
        p.bias = of->bias;
    }
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

/* --- the rig --- */

int lt_rig_setup(void **state, gemm_lt_way way) {
    lt_rig *f = xcalloc(1, sizeof *f);
    errbuf eb = {0};
    memset(&blas, 0, sizeof blas);
    blas.fixed = way == GEMM_LT_FIXED;
    assert_int_equal(cudaStreamCreateWithFlags(&f->stream, cudaStreamNonBlocking), cudaSuccess);
    assert_int_equal(cudaMalloc((void **)&f->x, LT_ROWS * LT_K * sizeof *f->x), cudaSuccess);
    assert_int_equal(cudaMalloc((void **)&f->w, LT_N * LT_K * sizeof *f->w), cudaSuccess);
    assert_int_equal(cudaMalloc(&f->out, LT_ROWS * LT_N * sizeof(float)), cudaSuccess);
    if (gemm_lt_new(&f->g, way, f->stream, &eb) != ST_OK) fail_msg("%s", eb.text);
    *state = f;
    return 0;
}

int lt_rig_teardown(void **state) {
    lt_rig *f = *state;
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

linear_args lt_rig_args(const lt_rig *f, num_type type, uint32_t rows, linear_out mode) {
    return (linear_args){
        .type = type, .x = f->x, .w = f->w, .rows = rows, .n = LT_N, .k = LT_K, .out = f->out, .mode = mode};
}

void lt_rig_run(const lt_rig *f, uint32_t rows) {
    const linear_args a = lt_rig_args(f, NUM_BF16, rows, LINEAR_ACT);
    errbuf eb = {0};
    if (gemm_lt_linear(f->g, &a, &eb) != ST_OK) fail_msg("%u rows: %s", rows, eb.text);
}
