/* host_ops - the small operations that the host backends (ref, cpu) are made of; host.c composes the contract
 * of ops.h out of them.
 *
 * Activations are fp32, row-major, [rows, dim]; weights stay in the file's type. Numbers of rows are tokens
 * of a step, of any mixture of sequences. Each output element is one chain over its inner dimension in
 * ascending groups; work is split over rows and columns, never over the inner dimension, so that a row's bits
 * depend on nothing but the row, its sequence's KV and the weights.
 *
 * All pointers are borrowed for the call and are ordinary memory. Ops are done when they return. ST_DEVICE:
 * there was no memory for the op's scratch. Shapes are the caller's duty and are asserted. */
#ifndef BATON_KERNELS_HOST_HOST_OPS_H
#define BATON_KERNELS_HOST_HOST_OPS_H

#include "kernels/ops.h"

typedef struct host_embed {
    const tensor *table; /* [vocab, dim], any dtype */
    const int32_t *ids;  /* [rows], each in 0..vocab-1 */
    uint32_t rows;
    float *out; /* [rows, dim] */
} host_embed;

/* out = x / sqrt(mean(x^2) + eps) * weight. out may be x. */
typedef struct host_rmsnorm {
    const float *x;       /* [rows, dim] */
    const tensor *weight; /* [1, dim] f32 */
    uint32_t rows, dim;
    float eps;
    float *out; /* [rows, dim] */
} host_rmsnorm;

/* out[r, n] = sum_k x[r, k] * weight[n, k] */
typedef struct host_linear {
    const float *x;       /* [rows, weight->cols] */
    const tensor *weight; /* [out features, in features], any dtype */
    uint32_t rows;
    float *out; /* [rows, weight->rows]; does not overlap x */
} host_linear;

/* Rotary embedding of Llama in GGUF's order: pairs (2i, 2i+1), angle = pos * base^(-2i/rope_dim) /
 * factors[i]; in place. */
typedef struct host_rope {
    float *x;            /* [rows, heads * head_dim] */
    const uint32_t *pos; /* [rows] absolute positions */
    uint32_t rows, heads, head_dim;
    uint32_t rope_dim; /* <= head_dim, even; the rest of a head is left alone */
    float base;
    const float *factors; /* [rope_dim / 2] or NULL */
    float magnitude;      /* of sine and cosine; 0: 1 */
} host_rope;

/* Where one row's sequence keeps its KV. Rows of one sequence share a table. */
typedef struct kv_ref {
    const uint32_t *pages; /* page ids, [ceil((pos + 1) / KV_PAGE_TOKENS)] or more */
    uint32_t pos;          /* absolute position of this row */
} kv_ref;

/* Writes k and v of each row into the pages of its sequence at its position, converted to the layout's dtype
 * (round to nearest even). */
typedef struct host_kv_write {
    const kv_layout *layout;
    void *kv; /* base of the page memory */
    uint32_t layer;
    const float *k, *v; /* [rows, kv_heads * head_dim] */
    const kv_ref *refs; /* [rows] */
    uint32_t rows;
} host_kv_write;

/* Causal attention with grouped queries: row r sees positions 0..refs[r].pos of its own sequence, all of
 * which are in pages already. out = softmax(q . k * scale) v. Key tiles are aligned to position 0. */
typedef struct host_attention {
    const kv_layout *layout;
    const void *kv;
    uint32_t layer;
    const float *q; /* [rows, heads * head_dim] */
    const kv_ref *refs;
    uint32_t rows;
    uint32_t heads;  /* query heads, a multiple of layout->kv_heads */
    float scale;     /* of q . k */
    uint32_t window; /* a row sees so many positions at most, its own included; 0 = all */
    float *out;      /* [rows, heads * head_dim]; does not overlap q */
} host_attention;

/* out = act(gate) * up, or act(gate) when there is no up, [rows, dim]. out may be gate. */
typedef struct host_act_mul {
    act_kind act;
    const float *gate, *up; /* up: or NULL */
    uint32_t rows, dim;
    float *out;
} host_act_mul;

/* x += y, [rows, dim]. */
typedef struct host_add {
    float *x;
    const float *y;
    uint32_t rows, dim;
} host_add;

/* Copies `words` words of 8 bytes, which do not overlap, and returns their part of a checksum in which the
 * first is number `begin`: the sum of word * mix_weight(number). In one pass, as fast as memory is. */
typedef uint64_t host_copy_words(void *to, const void *from, size_t words, uint64_t begin);

/* One way to compute them: ref, or cpu with one instruction set. */
typedef struct host_kernels {
    const char *path; /* "cpu/avx2" */
    status (*embed)(device *d, const host_embed *a);
    status (*rmsnorm)(device *d, const host_rmsnorm *a);
    status (*linear)(device *d, const host_linear *a);
    status (*rope)(device *d, const host_rope *a);
    status (*kv_write)(device *d, const host_kv_write *a);
    status (*attention)(device *d, const host_attention *a);
    status (*act_mul)(device *d, const host_act_mul *a);
    status (*add)(device *d, const host_add *a);
    host_copy_words *copy_words; /* NULL: the backend copies hand-offs by itself */
} host_kernels;

#endif
