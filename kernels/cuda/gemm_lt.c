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
 * A bias is added by the library's epilogue, to the fp32 sums: such products have a description of their own,
 * which is told where the bias is before each question and product, and plans of their own.
 *
 * Candidates are run on the caller's own buffers: each of them writes the right result, so nothing has to be
 * undone.
 *
 * Fixed: a plan belongs to all row counts. Candidates are asked for FIXED_ROWS rows, which no config changes,
 * so that workers of unlike sizes choose alike; without any reduction, so that an element is one chain over K
 * in one block. That a chain does not depend on the number of rows is what a fixed kernel should give, but
 * nothing that the library promises: so it is tested, with the weights and tokens at hand.
 *
 * Thread: the device thread. */
#include "kernels/cuda/gemm_lt.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/mix.h"
#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/wait.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLANS_MAX       256u /* about 6 shapes of a model times 20 buckets are used */
#define CANDIDATES_MAX  8
#define TIMED_RUNS      3
#define ALIGNMENT_BYTES 16u
#define FIXED_ROWS      2048u /* a usual chunk of a prompt */
#define PROBE_ROWS      128u
#define PART_ROWS_MAX   100u

typedef struct plan {
    uint32_t bucket, n, k; /* bucket: 0 = any number of rows */
    num_type type;
    linear_out mode;
    bool biased;
    uint32_t rows; /* of the layouts x and out */
    cublasLtMatrixLayout_t w, x, out;
    cublasLtMatmulAlgo_t algo;
    bool settled; /* candidates were timed or tested, whether any could be used or not; else algo is the
                     heuristic's first, taken while the stream was captured */
    bool refused; /* fixed: no candidate passed */
} plan;

struct gemm_lt {
    cublaslt lt;
    gemm_lt_way way;
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t product[2]; /* the second adds a bias */
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

static cublasStatus_t describe_product(gemm_lt *g, bool biased) {
    const cublasOperation_t transposed = CUBLAS_OP_T;
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    cublasLtMatmulDesc_t *to = &g->product[biased];
    cublasStatus_t st = g->lt.MatmulDescCreate(to, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (st == CUBLAS_STATUS_SUCCESS)
        st = g->lt.MatmulDescSetAttribute(*to, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed);
    if (st != CUBLAS_STATUS_SUCCESS || !biased) return st;
    return g->lt.MatmulDescSetAttribute(*to, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
}

/* The description of a's product, which knows of its bias. */
static cublasStatus_t product_of(const gemm_lt *g, const linear_args *a, cublasLtMatmulDesc_t *out) {
    *out = g->product[a->bias != NULL];
    if (!a->bias) return CUBLAS_STATUS_SUCCESS;
    const int32_t type = a->type == NUM_BF16 ? CUDA_R_16BF : CUDA_R_16F;
    cublasStatus_t st =
        g->lt.MatmulDescSetAttribute(*out, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &a->bias, sizeof a->bias);
    if (st != CUBLAS_STATUS_SUCCESS) return st;
    return g->lt.MatmulDescSetAttribute(*out, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type, sizeof type);
}

static cublasStatus_t describe_preference(gemm_lt *g) {
    const uint32_t alignment = ALIGNMENT_BYTES;
    const uint32_t schemes =
        g->way == GEMM_LT_FIXED ? CUBLASLT_REDUCTION_SCHEME_NONE : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
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

status gemm_lt_new(gemm_lt **out, gemm_lt_way way, cudaStream_t stream, errbuf *eb) {
    PRE(out);
    gemm_lt *g = xcalloc(1, sizeof *g);
    g->way = way;
    g->stream = stream;
    status st = cublaslt_open(&g->lt, eb);
    if (st != ST_OK) goto fail;

    st = ST_DEVICE;
    cublasStatus_t blas = g->lt.Create(&g->handle);
    for (int biased = 0; biased < 2 && blas == CUBLAS_STATUS_SUCCESS; biased++)
        blas = describe_product(g, biased);
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
    for (int i = 0; i < 2; i++)
        if (g->product[i]) g->lt.MatmulDescDestroy(g->product[i]);
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
    cublasLtMatmulDesc_t product;
    cublasStatus_t st = product_of(g, a, &product);
    if (st != CUBLAS_STATUS_SUCCESS) return st;
    return g->lt.Matmul(g->handle, product, &one, a->w, p->w, a->x, p->x, &zero, a->out, p->out, a->out,
                        p->out, algo, g->workspace, GEMM_LT_WORKSPACE_BYTES, g->stream);
}

/* The library's candidates for `rows`, best guess first. Leaves the layouts at `rows`. */
static status ask(const gemm_lt *g, const linear_args *a, plan *p, uint32_t rows,
                  cublasLtMatmulHeuristicResult_t found[CANDIDATES_MAX], int *count, errbuf *eb) {
    cublasLtMatmulDesc_t product;
    cublasStatus_t st = plan_set_rows(g, p, rows);
    if (st != CUBLAS_STATUS_SUCCESS) return blas_failed(g, a, "matrix layout", st, eb);
    st = product_of(g, a, &product);
    if (st != CUBLAS_STATUS_SUCCESS) return blas_failed(g, a, "bias", st, eb);
    st = g->lt.MatmulAlgoGetHeuristic(g->handle, product, p->w, p->x, p->out, p->out, g->preference,
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

static uint32_t plan_bucket(const gemm_lt *g, uint32_t rows) {
    return g->way == GEMM_LT_FIXED ? 0 : bucket_of(rows);
}

static plan *find_plan(gemm_lt *g, const linear_args *a) {
    const uint32_t bucket = plan_bucket(g, a->rows);
    for (uint32_t i = 0; i < g->plan_count; i++) {
        plan *p = &g->plans[i];
        if (p->bucket == bucket && p->n == a->n && p->k == a->k && p->type == a->type && p->mode == a->mode &&
            p->biased == (a->bias != NULL))
            return p;
    }
    return NULL;
}

static status add_plan(gemm_lt *g, const linear_args *a, plan **out, errbuf *eb) {
    if (g->plan_count == PLANS_MAX)
        return errf(eb, ST_DEVICE, "cublasLt %ux%ux%u (rows, n, k): more than %u shapes in one model",
                    a->rows, a->n, a->k, PLANS_MAX);
    plan p = {.bucket = plan_bucket(g, a->rows),
              .n = a->n,
              .k = a->k,
              .type = a->type,
              .mode = a->mode,
              .biased = a->bias != NULL};
    const cudaDataType act = a->type == NUM_BF16 ? CUDA_R_16BF : CUDA_R_16F;
    cublasStatus_t st = g->lt.MatrixLayoutCreate(&p.w, act, p.k, p.n, p.k);
    if (st != CUBLAS_STATUS_SUCCESS) return blas_failed(g, a, "matrix layout", st, eb);
    *out = &g->plans[g->plan_count++];
    **out = p;
    return ST_OK;
}

/* --- one algorithm for any number of rows --- */

/* All that the library lets one set of an algorithm: the same traits in the same library are the same
 * algorithm. */
static const struct {
    cublasLtMatmulAlgoConfigAttributes_t name;
    size_t bytes;
} traits[] = {
    {CUBLASLT_ALGO_CONFIG_ID, sizeof(int32_t)},
    {CUBLASLT_ALGO_CONFIG_TILE_ID, sizeof(uint32_t)},
    {CUBLASLT_ALGO_CONFIG_SPLITK_NUM, sizeof(int32_t)},
    {CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, sizeof(uint32_t)},
    {CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, sizeof(uint32_t)},
    {CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, sizeof(uint32_t)},
    {CUBLASLT_ALGO_CONFIG_STAGES_ID, sizeof(uint32_t)},
    {CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID, sizeof(uint16_t)},
    {CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, sizeof(uint16_t)},
};
enum { TRAIT_COUNT = ARRAY_LEN(traits) };

/* By place in `traits`. What an older library does not know of its algorithms is 0. */
typedef struct algo_traits {
    uint32_t value[TRAIT_COUNT];
} algo_traits;

static algo_traits traits_of(const gemm_lt *g, const cublasLtMatmulAlgo_t *algo) {
    algo_traits t = {0};
    for (uint32_t i = 0; i < TRAIT_COUNT; i++) {
        uint32_t value = 0; /* GPUs and their hosts are little-endian: two bytes are its low half */
        size_t written = 0;
        if (g->lt.MatmulAlgoConfigGetAttribute(algo, traits[i].name, &value, traits[i].bytes, &written) ==
            CUBLAS_STATUS_SUCCESS)
            t.value[i] = value;
    }
    return t;
}

static bool splits_k(const algo_traits *t) {
    for (uint32_t i = 0; i < TRAIT_COUNT; i++) {
        if (traits[i].name == CUBLASLT_ALGO_CONFIG_SPLITK_NUM && t->value[i] > 1) return true;
        if (traits[i].name == CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME &&
            t->value[i] != CUBLASLT_REDUCTION_SCHEME_NONE)
            return true;
    }
    return false;
}

static size_t out_row_bytes(const linear_args *a) {
    return a->n * (a->mode == LINEAR_F32 ? sizeof(float) : sizeof(uint16_t));
}

static size_t x_row_bytes(const linear_args *a) {
    return a->k * sizeof(uint16_t);
}

/* What a test needs besides the caller's buffers. */
typedef struct probe {
    char *x, *out, *part; /* device: [PROBE_ROWS, k], [PROBE_ROWS, n], [PART_ROWS_MAX, n] */
    char *host[2];        /* pinned: [PART_ROWS_MAX, n] */
} probe;

static void probe_done(probe *b) {
    if (b->x) cudaFree(b->x);
    if (b->out) cudaFree(b->out);
    if (b->part) cudaFree(b->part);
    for (int i = 0; i < 2; i++)
        if (b->host[i]) cudaFreeHost(b->host[i]);
}

/* Its tokens are a's, over and over. On failure too the caller calls probe_done. */
static status probe_new(const gemm_lt *g, const linear_args *a, probe *b, errbuf *eb) {
    const size_t row = x_row_bytes(a), part = PART_ROWS_MAX * out_row_bytes(a);
    cudaError_t e = cudaMalloc((void **)&b->x, PROBE_ROWS * row);
    if (e == cudaSuccess) e = cudaMalloc((void **)&b->out, PROBE_ROWS * out_row_bytes(a));
    if (e == cudaSuccess) e = cudaMalloc((void **)&b->part, part);
    for (int i = 0; i < 2 && e == cudaSuccess; i++) e = cudaMallocHost((void **)&b->host[i], part);
    for (uint32_t r = 0; r < PROBE_ROWS && e == cudaSuccess; r += a->rows)
        e = cudaMemcpyAsync(b->x + r * row, a->x, MIN(a->rows, PROBE_ROWS - r) * row,
                            cudaMemcpyDeviceToDevice, g->stream);
    if (e == cudaSuccess) return ST_OK;
    (void)cudaGetLastError(); /* later launches must not find it */
    cuda_failed(a, "memory of its test", e, eb);
    return e == cudaErrorMemoryAllocation ? ST_NOMEM : ST_DEVICE;
}

static bool works(const gemm_lt *g, const linear_args *a, plan *p) {
    return plan_set_rows(g, p, a->rows) == CUBLAS_STATUS_SUCCESS &&
           multiply(g, a, p, &p->algo) == CUBLAS_STATUS_SUCCESS;
}

/* Whether a's last `count` rows get the same bits among all of a's rows and by themselves. */
static status rows_agree(const gemm_lt *g, const linear_args *a, plan *p, uint32_t count, const probe *b,
                         bool *agree, errbuf *eb) {
    const uint32_t begin = a->rows - count;
    const size_t bytes = count * out_row_bytes(a);
    linear_args part = *a;
    part.rows = count;
    part.x = (const char *)a->x + begin * x_row_bytes(a);
    part.out = b->part;
    *agree = works(g, a, p) && works(g, &part, p);
    if (!*agree) return ST_OK;
    cudaError_t e = cudaMemcpyAsync(b->host[0], (const char *)a->out + begin * out_row_bytes(a), bytes,
                                    cudaMemcpyDeviceToHost, g->stream);
    if (e == cudaSuccess) e = cudaMemcpyAsync(b->host[1], b->part, bytes, cudaMemcpyDeviceToHost, g->stream);
    if (e == cudaSuccess) e = cudaEventRecord(g->end, g->stream);
    if (e != cudaSuccess) return cuda_failed(a, "test", e, eb);
    status waited = wait_event(g->end, &e);
    if (waited == ST_TIMEOUT)
        return errf(eb, waited, "cublasLt %ux%ux%u (rows, n, k): test did not end within %u s", a->rows, a->n,
                    a->k, WAIT_MAX_S);
    if (waited != ST_OK) return cuda_failed(a, "test", e, eb);
    *agree = memcmp(b->host[0], b->host[1], bytes) == 0;
    return ST_OK;
}

/* Whether p's algorithm gives a row the same bits among any rows: among those of the probe, which are as many
 * in every worker, and among the caller's. */
static status passes(const gemm_lt *g, const linear_args *a, plan *p, const probe *b, bool *same,
                     errbuf *eb) {
    static const uint32_t counts[] = {1, 33, 64, PART_ROWS_MAX};
    linear_args probed = *a;
    probed.rows = PROBE_ROWS;
    probed.x = b->x;
    probed.out = b->out;
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        status st = rows_agree(g, &probed, p, counts[i], b, same, eb);
        if (st != ST_OK || !*same) return st;
    }
    return rows_agree(g, a, p, MIN(a->rows, PART_ROWS_MAX), b, same, eb);
}

static void log_fixed(const linear_args *a, const plan *p, const algo_traits *t, int tried, const char *why) {
    if (p->refused)
        log_warn("cuda",
                 "rows of prompts go through our own kernel, which is slower: no algorithm of "
                 "cuBLASLt gives a row the same bits among any rows",
                 "n=%u k=%u tried=%d%s%s", a->n, a->k, tried, *why ? " cause=" : "", why);
    else
        log_info("cuda", "rows of prompts go through cuBLASLt", "n=%u k=%u tried=%d algorithm=%u tile=%u",
                 a->n, a->k, tried, t->value[0], t->value[1]);
}

/* Gives p the first candidate that passes, or marks it as refused. */
static status choose_fixed(const gemm_lt *g, const linear_args *a, plan *p, errbuf *eb) {
    cublasLtMatmulHeuristicResult_t found[CANDIDATES_MAX];
    errbuf why = {0};
    int count = 0, tried = 0;
    /* Rows of out that begin at any row are aligned as promised only if n is a multiple of eight. */
    if (a->n % (ALIGNMENT_BYTES / sizeof(uint16_t)) == 0 &&
        ask(g, a, p, FIXED_ROWS, found, &count, &why) != ST_OK)
        count = 0;
    probe b = {0};
    algo_traits t = {0};
    status st = count > 0 ? probe_new(g, a, &b, eb) : ST_OK;
    bool same = false;
    while (st == ST_OK && tried < count && !same) {
        p->algo = found[tried++].algo;
        t = traits_of(g, &p->algo);
        if (!splits_k(&t)) st = passes(g, a, p, &b, &same, eb);
    }
    if (st != ST_TIMEOUT) probe_done(&b); /* to free would wait for a GPU that hangs */
    if (st != ST_OK) return st;
    p->settled = true;
    p->refused = !same;
    log_fixed(a, p, &t, tried, why.text);
    return ST_OK;
}

/* Sums of plans do not depend on the order in which shapes came. */
static uint64_t plan_hash(const gemm_lt *g, const plan *p) {
    const algo_traits t = p->refused ? (algo_traits){0} : traits_of(g, &p->algo);
    const uint64_t shape[] = {p->n, p->k, (uint64_t)p->biased << 16 | (uint64_t)p->type << 8 | p->mode,
                              p->refused};
    uint64_t hash = 0;
    for (size_t i = 0; i < ARRAY_LEN(shape); i++) hash = mix64(hash + MIX64_STEP + shape[i]);
    for (uint32_t i = 0; i < TRAIT_COUNT; i++) hash = mix64(hash + MIX64_STEP + t.value[i]);
    return hash;
}

void gemm_lt_name(const gemm_lt *g, char out[GEMM_LT_NAME_BYTES]) {
    PRE(g);
    PRE(g->way == GEMM_LT_FIXED);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < g->plan_count; i++) sum += plan_hash(g, &g->plans[i]);
    const size_t version = g->lt.GetVersion(); /* CUBLAS_VERSION of its header */
    snprintf(out, GEMM_LT_NAME_BYTES, "lt%zu.%zu.%zu-%08x", version / 10000, version / 100 % 100,
             version % 100, (uint32_t)(sum ^ sum >> 32));
}

uint32_t gemm_lt_shapes(const gemm_lt *g) {
    PRE(g);
    return g->plan_count;
}

static status fixed_linear(gemm_lt *g, const linear_args *a, errbuf *eb) {
    plan *p = find_plan(g, a);
    status st = p ? ST_OK : add_plan(g, a, &p, eb);
    if (st == ST_OK && !p->settled) st = choose_fixed(g, a, p, eb);
    if (st != ST_OK) return st;
    if (p->refused) return errf(eb, ST_UNSUPPORTED, "cublasLt %ux%u (n, k): no algorithm passed", a->n, a->k);
    cublasStatus_t blas = plan_set_rows(g, p, a->rows);
    if (blas == CUBLAS_STATUS_SUCCESS) blas = multiply(g, a, p, &p->algo);
    return blas == CUBLAS_STATUS_SUCCESS ? ST_OK : blas_failed(g, a, "product", blas, eb);
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
    PRE(a->mode == LINEAR_ACT || a->mode == LINEAR_F32);
    PRE(!a->bias || a->mode == LINEAR_ACT);
    PRE(a->type != NUM_F32);
    if (g->way == GEMM_LT_FIXED) return fixed_linear(g, a, eb);
    plan *p = find_plan(g, a);
    if (!p || !p->settled) {
        status st = make_plan(g, a, &p, eb);
        if (st != ST_OK) return st;
    }
    return run_plan(g, a, p, eb);
}
