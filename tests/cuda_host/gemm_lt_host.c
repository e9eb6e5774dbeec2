/* gemm_lt_host - kernels/cuda/gemm_lt.h in plain loops, for the emulation: sums in fp32, ascending k.
 *
 * Sums are rounded towards zero, so that about half of all numbers have other bits than our own kernels give
 * them: where a row of a prompt goes through the wrong one of the two, it shows. */
#include "kernels/cuda/gemm_lt.h"

#include "emulation.h"
#include "kernels/half.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct gemm_lt {
    gemm_lt_way way;
    cudaStream_t stream;
    bool refuses;
};

static _Atomic uint64_t rows_so_far;

uint64_t emulation_library_rows(void) {
    return atomic_load(&rows_so_far);
}

static bool told(const char *what) {
    const char *s = getenv("BATON_EMU_CUBLASLT");
    return s && strcmp(s, what) == 0;
}

status gemm_lt_new(gemm_lt **out, gemm_lt_way way, cudaStream_t stream, errbuf *eb) {
    if (told("absent")) return errf(eb, ST_UNSUPPORTED, "cublasLt: BATON_EMU_CUBLASLT says absent");
    gemm_lt *g = calloc(1, sizeof *g);
    if (!g) return errf(eb, ST_NOMEM, "cublasLt: no memory");
    *g = (gemm_lt){.way = way, .stream = stream, .refuses = told("refuses")};
    *out = g;
    return ST_OK;
}

void gemm_lt_free(gemm_lt *g) {
    free(g);
}

static float number(num_type type, const void *at, size_t i) {
    uint16_t bits = ((const uint16_t *)at)[i];
    return type == NUM_BF16 ? f32_of_bf16(bits) : f32_of_half(bits);
}

/* Of two neighbours the one that is nearer to zero: numbers of one sign are ordered as their bits. */
static uint16_t rounded(num_type type, float x) {
    uint16_t bits = type == NUM_F16 ? half_of_f32(x) : bf16_of_f32(x);
    float back = number(type, &bits, 0);
    if ((bits & 0x7FFF) > 0 && (x < 0 ? back < x : back > x)) bits--;
    return bits;
}

static void multiply(void *args) {
    const linear_args *a = args;
    float *w = malloc((size_t)a->k * sizeof *w);
    if (!w) abort();
    for (uint32_t n = 0; n < a->n; n++) {
        for (uint32_t i = 0; i < a->k; i++) w[i] = number(a->type, a->w, (size_t)n * a->k + i);
        for (uint32_t r = 0; r < a->rows; r++) {
            float sum = 0;
            for (uint32_t i = 0; i < a->k; i++) sum += number(a->type, a->x, (size_t)r * a->k + i) * w[i];
            if (a->bias) sum += number(a->type, a->bias, n);
            size_t at = (size_t)r * a->n + n;
            if (a->mode == LINEAR_F32)
                ((float *)a->out)[at] = sum;
            else
                ((uint16_t *)a->out)[at] = rounded(a->type, sum);
        }
    }
    free(w);
}

status gemm_lt_linear(gemm_lt *g, const linear_args *a, errbuf *eb) {
    if (a->type == NUM_F32 || a->mode > LINEAR_F32)
        return errf(eb, ST_DEVICE, "cublasLt %ux%ux%u: only bf16 and f16, without activation", a->rows, a->n,
                    a->k);
    if (g->way == GEMM_LT_FIXED && g->refuses) return errf(eb, ST_UNSUPPORTED, "cublasLt: refused");
    atomic_fetch_add(&rows_so_far, a->rows);
    cudaError_t e = emulation_enqueue(g->stream, EMULATION_KERNEL, multiply, a, sizeof *a);
    if (e == cudaSuccess) return ST_OK;
    return errf(eb, ST_DEVICE, "cublasLt %ux%ux%u: %s", a->rows, a->n, a->k, cudaGetErrorString(e));
}

void gemm_lt_name(const gemm_lt *g, char out[GEMM_LT_NAME_BYTES]) {
    snprintf(out, GEMM_LT_NAME_BYTES, g->refuses ? "lt0.0.0-refused" : "lt0.0.0-emulated");
}

uint32_t gemm_lt_shapes(const gemm_lt *g) {
    (void)g;
    return 0;
}
