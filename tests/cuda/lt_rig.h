/* lt_rig - gemm_lt.c in front of a stand-in for cuBLASLt, which multiplies as the library's manual says
 * (column-major matrices, leading dimensions, transposition) and is strict about what it is given, in streams
 * of the emulation. Built where the toolkit's header is. */
#ifndef BATON_TESTS_CUDA_LT_RIG_H
#define BATON_TESTS_CUDA_LT_RIG_H

#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/gemm_lt.h"
#include "tests/test.h"

/* FASTEST by the clock; the first that is neither unusable nor refused is number 0. */
enum {
    LT_N = 24,
    LT_K = 16,
    LT_ROWS = 160,
    CANDIDATES = 4,
    UNUSABLE = 1,
    REFUSED = 2,
    FASTEST = 3,
    WORKSPACE = 1 << 20,
    VERSION = 130205
};

/* The stand-in. Algorithm number i of a question has i in data[0] and the question's columns in data[1]. */
typedef struct stand_in {
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
    bool preferences[16];
    bool hangs;
} stand_in;
extern stand_in blas;

typedef struct lt_rig {
    gemm_lt *g;
    cudaStream_t stream;
    uint16_t *x, *w; /* [LT_ROWS, LT_K], [LT_N, LT_K]; the emulation's device memory can be read here */
    void *out;       /* [LT_ROWS, LT_N] */
} lt_rig;

/* Of cmocka. The stand-in begins anew; at the end nothing of it may be left in use. */
int lt_rig_setup(void **state, gemm_lt_way way);
int lt_rig_teardown(void **state);
linear_args lt_rig_args(const lt_rig *f, num_type type, uint32_t rows, linear_out mode);
/* A product in bf16, which must work. */
void lt_rig_run(const lt_rig *f, uint32_t rows);
float lt_number(cudaDataType type, const void *at, size_t i);
void lt_store(cudaDataType type, void *at, size_t i, float v);

#endif
