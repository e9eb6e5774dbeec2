/* gemm_lt_host - kernels/cuda/gemm_lt.h in plain loops, for the emulation: sums in fp32, ascending k. */
#include "kernels/cuda/gemm_lt.h"

#include "emulation.h"
#include "kernels/half.h"

#include <stdlib.h>

struct gemm_lt {
    cudaStream_t stream;
};

status gemm_lt_new(gemm_lt **out, cudaStream_t stream, errbuf *eb) {
    gemm_lt *g = calloc(1, sizeof *g);
    if (!g) return errf(eb, ST_NOMEM, "cublasLt: no memory");
    g->stream = stream;
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

static uint16_t rounded(num_type type, float x) {
    return type == NUM_F16 ? half_of_f32(x) : bf16_of_f32(x);
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
    if (a->type == NUM_F32 || a->mode == LINEAR_GATE_UP)
        return errf(eb, ST_DEVICE, "cublasLt %ux%ux%u: only bf16 and f16, without gate_up", a->rows, a->n,
                    a->k);
    cudaError_t e = emulation_enqueue(g->stream, EMULATION_KERNEL, multiply, a, sizeof *a);
    if (e == cudaSuccess) return ST_OK;
    return errf(eb, ST_DEVICE, "cublasLt %ux%ux%u: %s", a->rows, a->n, a->k, cudaGetErrorString(e));
}
