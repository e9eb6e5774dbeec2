/* warp - shuffles, ballot, ldmatrix and mma over the operands of 32 lanes, by the fragment layouts of the PTX
 * ISA (sections "ldmatrix" and "Matrix Fragments for mma.m16n8k16"). With g = lane / 4 and t = lane % 4, the
 * layouts are those that device.cuh describes.
 *
 * A product of two 16-bit numbers is exact in fp32; the 16 products of one element are added in ascending k,
 * and then their sum to d. Real tensor cores add in another order and precision, so tests compare within a
 * tolerance. */
#include "warp.h"

typedef float float4 __attribute__((vector_size(16)));

template <class Word> static void get(void *const operands[32]) {
    Word v[32];
    for (unsigned l = 0; l < 32; l++)
        memcpy(&v[l], static_cast<cuda_host_get *>(operands[l])->value, sizeof v[l]);
    for (unsigned l = 0; l < 32; l++) {
        const cuda_host_get *o = static_cast<cuda_host_get *>(operands[l]);
        memcpy(o->value, &v[o->from], sizeof v[l]);
    }
}

static void ballot(void *const operands[32]) {
    uint32_t all = 0;
    for (unsigned l = 0; l < 32; l++)
        all |= (uint32_t) static_cast<cuda_host_ballot *>(operands[l])->yes << l;
    for (unsigned l = 0; l < 32; l++) static_cast<cuda_host_ballot *>(operands[l])->all = all;
}

static void load_matrix(void *const operands[32], bool trans) {
    uint16_t m[4][8][8];
    for (unsigned l = 0; l < 32; l++)
        memcpy(m[l / 8][l % 8], static_cast<cuda_host_rows *>(operands[l])->row, 16);
    for (unsigned l = 0; l < 32; l++) {
        uint32_t *r = static_cast<cuda_host_rows *>(operands[l])->r;
        unsigned g = l / 4, t = l % 4;
        for (unsigned j = 0; j < 4; j++) {
            uint16_t low = trans ? m[j][2 * t][g] : m[j][g][2 * t];
            uint16_t high = trans ? m[j][2 * t + 1][g] : m[j][g][2 * t + 1];
            r[j] = (uint32_t)high << 16 | low;
        }
    }
}

template <class T> static void matrix_product(void *const operands[32]) {
    float a[16][16];    /* [m][k] */
    float4 b[16][2];    /* [k][n / 4] */
    float4 sums[16][2]; /* [m][n / 4] */
    for (unsigned l = 0; l < 32; l++) {
        const cuda_host_product *o = static_cast<cuda_host_product *>(operands[l]);
        unsigned g = l / 4, t = l % 4;
        for (unsigned i = 0; i < 4; i++) {
            unsigned m = g + 8 * (i & 1), k = 2 * t + 8 * (i >> 1);
            a[m][k] = low_of<T>(o->a[i]);
            a[m][k + 1] = high_of<T>(o->a[i]);
        }
        for (unsigned i = 0; i < 2; i++) {
            b[2 * t + 8 * i][g / 4][g % 4] = low_of<T>(o->b[i]);
            b[2 * t + 8 * i + 1][g / 4][g % 4] = high_of<T>(o->b[i]);
        }
    }
    for (unsigned m = 0; m < 16; m++) {
        float4 sum0 = a[m][0] * b[0][0], sum1 = a[m][0] * b[0][1];
        for (unsigned k = 1; k < 16; k++) {
            sum0 += a[m][k] * b[k][0];
            sum1 += a[m][k] * b[k][1];
        }
        sums[m][0] = sum0;
        sums[m][1] = sum1;
    }
    for (unsigned l = 0; l < 32; l++) {
        float *d = static_cast<cuda_host_product *>(operands[l])->d;
        unsigned g = l / 4, t = l % 4;
        for (unsigned i = 0; i < 4; i++) d[i] += sums[g + 8 * (i >> 1)][t / 2][2 * (t % 2) + (i & 1)];
    }
}

void warp_compute(cuda_host_kind kind, void *const operands[32]) {
    switch (kind) {
    case CUDA_HOST_RETURN:
    case CUDA_HOST_BLOCK_SYNC:
    case CUDA_HOST_CLUSTER_SYNC:
    case CUDA_HOST_WARP_SYNC:
        return;
    case CUDA_HOST_GET4:
        return get<uint32_t>(operands);
    case CUDA_HOST_GET8:
        return get<uint64_t>(operands);
    case CUDA_HOST_BALLOT:
        return ballot(operands);
    case CUDA_HOST_LOAD_MATRIX:
        return load_matrix(operands, false);
    case CUDA_HOST_LOAD_MATRIX_TRANS:
        return load_matrix(operands, true);
    case CUDA_HOST_MATRIX_BF16:
        return matrix_product<bf16>(operands);
    case CUDA_HOST_MATRIX_F16:
        return matrix_product<f16>(operands);
    }
}

const char *warp_kind_name(cuda_host_kind kind) {
    switch (kind) {
    case CUDA_HOST_RETURN:
        return "return";
    case CUDA_HOST_BLOCK_SYNC:
        return "block_sync";
    case CUDA_HOST_CLUSTER_SYNC:
        return "cluster_sync";
    case CUDA_HOST_WARP_SYNC:
        return "warp_sync";
    case CUDA_HOST_GET4:
    case CUDA_HOST_GET8:
        return "warp_get";
    case CUDA_HOST_BALLOT:
        return "warp_ballot";
    case CUDA_HOST_LOAD_MATRIX:
        return "load_matrix_x4";
    case CUDA_HOST_LOAD_MATRIX_TRANS:
        return "load_matrix_x4_trans";
    case CUDA_HOST_MATRIX_BF16:
    case CUDA_HOST_MATRIX_F16:
        return "matrix_add";
    }
    return "?";
}
