/* gemm_lt - plans of cuBLASLt, one per bucket of rows, n, k, type and kind of output.
 *
 * The library's matrices are column-major, so that our row-major x [rows, k], w [n, k] and out [rows, n] are
 * its x' [k, rows], w' [k, n] and out' [n, rows], and out' = w'^T x': operand A is w, transposed, operand B
 * is x.
 *
 * A plan belongs to all row counts up to a power of two (its bucket) and above half of it. Candidates are
 * asked for the bucket, whose workspace is the largest; they are timed with the rows at hand, and products
 * carry the true number of rows. Split-K may only reduce in fp32: reducing in the type of the output would
 * round every part to 16 bits. The library is told to expect pointers of 16-byte alignment, since x and out
 * may begin at any row.
 *
 * Candidates are run on the caller's own buffers: each of them writes the right result, so nothing has to be
 * undone.
 *
 * Thread: the device thread. */
#include "kernels/cuda/gemm_lt.h"

#include "base/mem.h"
#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/wait.h"

#include <stdlib.h>

#define PLANS_MAX       256u /* about 6 shapes of a model times 20 buckets are used */
#define CANDIDATES_MAX  8
#define TIMED_RUNS      3
#define ALIGNMENT_BYTES 16u

typedef struct plan {
    uint32_t bucket, n, k;
    num_type type;
    linear_out mode;
    uint32_t rows; /* of the layouts x and out */
    cublasLtMatrixLayout_t w, x, out;
    cublasLtMatmulAlgo_t algo;
    bool settled; /* candidates were timed, whether any could be used or not; else algo is the heuristic's
                     first, taken while the stream was captured */
} plan;

struct gemm_lt {
    cublaslt lt;
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t product;
    cublasLtMatmulPreference_t preference;
    cudaStream_t stream; /* borrowed */
    cudaEvent_t begin, end;
    void *workspace; /* [GEMM_LT_WORKSPACE_BYTES] of the device */
    uint32_t plan_count;
    plan plans[PLANS_MAX];
};

/* --- errors --- */

static status blas_failed(const gemm_lt *g, const linear_args *a, const char *what, cublasStatus_t st,
                          errbuf *eb) {
    return errf(eb, ST_DEVICE, "cublasLt %ux%ux%u (rows, n, k): %s: %s", a->rows, a->n, a->k, what,
                g->lt.GetStatusString(st));
}

static status cuda_failed(const linear_args *a, const char *what, cudaError_t e, errbuf *eb) {
    return errf(eb, ST_DEVICE, "cublasLt %ux%ux%u (rows, n, k): %s: %s", a->rows, a->n, a->k, what,
                cudaGetErrorString(e));
}

/* --- life --- */

static cublasStatus_t describe_product(gemm_lt *g) {
    const cublasOperation_t transposed = CUBLAS_OP_T;
    cublasStatus_t st = g->lt.MatmulDescCreate(&g->product, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (st != CUBLAS_STATUS_SUCCESS) return st;
    return g->lt.MatmulDescSetAttribute(g->product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                        sizeof transposed);
}

static cublasStatus_t describe_preference(gemm_lt *g) {
    const uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, alignment = ALIGNMENT_BYTES;
    const struct {
        cublasLtMatmulPreferenceAttributes_t name;
        const void *value;
        size_t bytes;
    } wishes[] = {
        {CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &(uint64_t){GEMM_LT_WORKSPACE_BYTES}, sizeof(uint64_t)},
        {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &alignment, sizeof alignment},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &alignment, sizeof alignment},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &alignment, sizeof alignment},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &alignment, sizeof alignment},
    };
    cublasStatus_t st = g->lt.MatmulPreferenceCreate(&g->preference);
    for (size_t i = 0; i < ARRAY_LEN(wishes) && st == CUBLAS_STATUS_SUCCESS; i++)
        st = g->lt.MatmulPreferenceSetAttribute(g->preference, wishes[i].name, wishes[i].value,
                                                wishes[i].bytes);
    return st;
}

status gemm_lt_new(gemm_lt **out, cudaStream_t stream, errbuf *eb) {
    PRE(out);
    gemm_lt *g = xcalloc(1, sizeof *g);
    g->stream = stream;
    status st = cublaslt_open(&g->lt, eb);
    if (st != ST_OK) goto fail;

    st = ST_DEVICE;
    cublasStatus_t blas = g->lt.Create(&g->handle);
    if (blas == CUBLAS_STATUS_SUCCESS) blas = describe_product(g);
    if (blas == CUBLAS_STATUS_SUCCESS) blas = describe_preference(g);
    if (blas != CUBLAS_STATUS_SUCCESS) {
        errf(eb, st, "cublasLt: no handle: %s", g->lt.GetStatusString(blas));
        goto fail;
    }
    cudaError_t e = cudaEventCreate(&g->begin);
    if (e == cudaSuccess) e = cudaEventCreate(&g->end);
    if (e == cudaSuccess) e = cudaMalloc(&g->workspace, GEMM_LT_WORKSPACE_BYTES);
    if (e != cudaSuccess) {
        (void)cudaGetLastError(); /* later launches must not find it */
        if (e == cudaErrorMemoryAllocation) st = ST_NOMEM;
        errf(eb, st, "cublasLt: events and a workspace of %zu MiB: %s", GEMM_LT_WORKSPACE_BYTES >> 20,
             cudaGetErrorString(e));
        goto fail;
    }
    *out = g;
    return ST_OK;

fail:
    gemm_lt_free(g);
    return st;
}

static void plan_done(const gemm_lt *g, plan *p) {
    if (p->w) g->lt.MatrixLayoutDestroy(p->w);
    if (p->x) g->lt.MatrixLayoutDestroy(p->x);
    if (p->out) g->lt.MatrixLayoutDestroy(p->out);
    *p = (plan){0};
}

void gemm_lt_free(gemm_lt *g) {
    if (!g) return;
    for (uint32_t i = 0; i < g->plan_count; i++) plan_done(g, &g->plans[i]);
    if (g->workspace) cudaFree(g->workspace);
    if (g->end) cudaEventDestroy(g->end);
    if (g->begin) cudaEventDestroy(g->begin);
    if (g->preference) g->lt.MatmulPreferenceDestroy(g->preference);
    if (g->product) g->lt.MatmulDescDestroy(g->product);
    if (g->handle) g->lt.Destroy(g->handle);
    cublaslt_close(&g->lt);
    free(g);
}

/* --- plans --- */

static uint32_t bucket_of(uint32_t rows) {
    uint32_t bucket = 1;
    while (bucket < rows) bucket *= 2;
    return bucket;
}

/* Makes the layouts that depend on the number of rows those of `rows`. */
static cublasStatus_t plan_set_rows(const gemm_lt *g, plan *p, uint32_t rows) {
    if (p->rows == rows) return CUBLAS_STATUS_SUCCESS;
    const cudaDataType act = p->type == NUM_BF16 ? CUDA_R_16BF : CUDA_R_16F;
    if (p->x) g->lt.MatrixLayoutDestroy(p->x);
    if (p->out) g->lt.MatrixLayoutDestroy(p->out);
    p->x = NULL;
    p->out = NULL;
    p->rows = 0;
    cublasStatus_t st = g->lt.MatrixLayoutCreate(&p->x, act, p->k, rows, p->k);
    if (st != CUBLAS_STATUS_SUCCESS) return st;
    st = g->lt.MatrixLayoutCreate(&p->out, p->mode == LINEAR_F32 ? CUDA_R_32F : act, p->n, rows, p->n);
    if (st == CUBLAS_STATUS_SUCCESS) p->rows = rows;
    return st;
}

static cublasStatus_t multiply(const gemm_lt *g, const linear_args *a, const plan *p,
                               const cublasLtMatmulAlgo_t *algo) {
    const float one = 1.0f, zero = 0.0f;
    return g->lt.Matmul(g->handle, g->product, &one, a->w, p->w, a->x, p->x, &zero, a->out, p->out, a->out,
                        p->out, algo, g->workspace, GEMM_LT_WORKSPACE_BYTES, g->stream);
}

/* The library's candidates for `rows`, best guess first. Leaves the layouts at `rows`. */
static status ask(const gemm_lt *g, const linear_args *a, plan *p, uint32_t rows,
                  cublasLtMatmulHeuristicResult_t found[CANDIDATES_MAX], int *count, errbuf *eb) {
    cublasStatus_t st = plan_set_rows(g, p, rows);
    if (st != CUBLAS_STATUS_SUCCESS) return blas_failed(g, a, "matrix layout", st, eb);
    st = g->lt.MatmulAlgoGetHeuristic(g->handle, g->product, p->w, p->x, p->out, p->out, g->preference,
                                      CANDIDATES_MAX, found, count);
    if (st != CUBLAS_STATUS_SUCCESS) return blas_failed(g, a, "choice of an algorithm", st, eb);
    int usable = 0;
    for (int i = 0; i < *count; i++)
        if (found[i].state == CUBLAS_STATUS_SUCCESS) found[usable++] = found[i];
    *count = usable;
    if (usable == 0) return blas_failed(g, a, "no algorithm for this shape", CUBLAS_STATUS_NOT_SUPPORTED, eb);
    return ST_OK;
}

/* Time of TIMED_RUNS products after one that is not counted; *usable is false when the library refuses. */
static status time_candidate(const gemm_lt *g, const linear_args *a, const plan *p,
                             const cublasLtMatmulAlgo_t *algo, bool *usable, float *ms, errbuf *eb) {
    *usable = multiply(g, a, p, algo) == CUBLAS_STATUS_SUCCESS;
    if (!*usable) return ST_OK;
    cudaError_t e = cudaEventRecord(g->begin, g->stream);
    if (e != cudaSuccess) return cuda_failed(a, "timing", e, eb);
    for (int i = 0; i < TIMED_RUNS; i++) {
        cublasStatus_t st = multiply(g, a, p, algo);
        if (st != CUBLAS_STATUS_SUCCESS) return blas_failed(g, a, "timing", st, eb);
    }
    e = cudaEventRecord(g->end, g->stream);
    if (e != cudaSuccess) return cuda_failed(a, "timing", e, eb);
    status waited = wait_event(g->end, &e);
    if (waited == ST_TIMEOUT)
        return errf(eb, waited, "cublasLt %ux%ux%u (rows, n, k): timing did not end within %u s", a->rows,
                    a->n, a->k, WAIT_MAX_S);
    if (waited == ST_OK) e = cudaEventElapsedTime(ms, g->begin, g->end);
    return e == cudaSuccess ? ST_OK : cuda_failed(a, "timing", e, eb);
}

/* Gives p the fastest candidate for a's rows, or the first when the stream is being captured. */
static status choose(const gemm_lt *g, const linear_args *a, plan *p, bool capturing, errbuf *eb) {
    cublasLtMatmulHeuristicResult_t found[CANDIDATES_MAX];
    int count = 0;
    status st = ask(g, a, p, p->bucket, found, &count, eb);
    if (st != ST_OK) return st;
    p->algo = found[0].algo;
    if (capturing) return ST_OK;

    cublasStatus_t blas = plan_set_rows(g, p, a->rows);
    if (blas != CUBLAS_STATUS_SUCCESS) return blas_failed(g, a, "matrix layout", blas, eb);
    float best_ms = 0;
    bool any = false;
    for (int i = 0; i < count; i++) {
        bool usable = false;
        float ms = 0;
        st = time_candidate(g, a, p, &found[i].algo, &usable, &ms, eb);
        if (st != ST_OK) return st;
        if (!usable || (any && ms >= best_ms)) continue;
        p->algo = found[i].algo;
        any = true;
        best_ms = ms;
    }
    p->settled = true;
    return ST_OK;
}

static plan *find_plan(gemm_lt *g, const linear_args *a) {
    const uint32_t bucket = bucket_of(a->rows);
    for (uint32_t i = 0; i < g->plan_count; i++) {
        plan *p = &g->plans[i];
        if (p->bucket == bucket && p->n == a->n && p->k == a->k && p->type == a->type && p->mode == a->mode)
            return p;
    }
    return NULL;
}

static status add_plan(gemm_lt *g, const linear_args *a, plan **out, errbuf *eb) {
    if (g->plan_count == PLANS_MAX)
        return errf(eb, ST_DEVICE, "cublasLt %ux%ux%u (rows, n, k): more than %u shapes in one model",
                    a->rows, a->n, a->k, PLANS_MAX);
    plan p = {.bucket = bucket_of(a->rows), .n = a->n, .k = a->k, .type = a->type, .mode = a->mode};
    const cudaDataType act = a->type == NUM_BF16 ? CUDA_R_16BF : CUDA_R_16F;
    cublasStatus_t st = g->lt.MatrixLayoutCreate(&p.w, act, p.k, p.n, p.k);
    if (st != CUBLAS_STATUS_SUCCESS) return blas_failed(g, a, "matrix layout", st, eb);
    *out = &g->plans[g->plan_count++];
    **out = p;
    return ST_OK;
}

/* --- products --- */

/* With the plan's algorithm; where the library refuses that one for this number of rows, with its first guess
 * for it.
 */
static status run_plan(const gemm_lt *g, const linear_args *a, plan *p, errbuf *eb) {
    cublasStatus_t st = plan_set_rows(g, p, a->rows);
    if (st != CUBLAS_STATUS_SUCCESS) return blas_failed(g, a, "matrix layout", st, eb);
    st = multiply(g, a, p, &p->algo);
    if ((st == CUBLAS_STATUS_NOT_SUPPORTED || st == CUBLAS_STATUS_INVALID_VALUE) && a->rows != p->bucket) {
        cublasLtMatmulHeuristicResult_t found[CANDIDATES_MAX];
        int count = 0;
        status asked = ask(g, a, p, a->rows, found, &count, eb);
        if (asked != ST_OK) return asked;
        st = multiply(g, a, p, &found[0].algo);
    }
    return st == CUBLAS_STATUS_SUCCESS ? ST_OK : blas_failed(g, a, "product", st, eb);
}

/* A plan for a's bucket: a new one, or one from a recording that can be timed now. */
static status make_plan(gemm_lt *g, const linear_args *a, plan **inout, errbuf *eb) {
    enum cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    cudaError_t e = cudaStreamIsCapturing(g->stream, &capture);
    if (e != cudaSuccess) return cuda_failed(a, "state of the stream", e, eb);
    const bool capturing = capture != cudaStreamCaptureStatusNone;
    if (*inout && capturing) return ST_OK;
    if (!*inout) {
        status st = add_plan(g, a, inout, eb);
        if (st != ST_OK) return st;
    }
    return choose(g, a, *inout, capturing, eb);
}

status gemm_lt_linear(gemm_lt *g, const linear_args *a, errbuf *eb) {
    PRE(g);
    PRE(a);
    PRE(a->rows > 0);
    PRE(a->rows <= 1u << 31);
    PRE(a->mode != LINEAR_GATE_UP);
    PRE(a->type != NUM_F32);
    plan *p = find_plan(g, a);
    if (!p || !p->settled) {
        status st = make_plan(g, a, &p, eb);
        if (st != ST_OK) return st;
    }
    return run_plan(g, a, p, eb);
}
