/* host_ops - the small operations that the host backends (ref, cpu) are made of; host.c composes the contract of ops.h
 * out of them.
 *
 * Activations are fp32, row-major, [rows, dim]; weights stay in the file's type. Numbers of rows are tokens of a step,
 * of any mixture of sequences. Rule of the house (batch invariance): a row's result depends on that row, its sequence's
 * KV and the weights only, never on the other rows, their number, or the number of threads. Each output element is one
 * chain over its inner dimension in ascending groups; work is split over rows and columns, never over the inner
 * dimension.
 *
 * All pointers are borrowed for the call and are memory of the backend (mem_alloc). Ops return ST_OK or ST_DEVICE;
 * shapes are the caller's duty and are asserted. An op may return before it is done; `sync` waits. */
#ifndef BATON_KERNELS_OPS_H
#define BATON_KERNELS_OPS_H

#include "base/status.h"
#include "base/tensor.h"
#include "kv/kv_layout.h"

typedef struct op_embed {
    const tensor *table; /* [vocab, dim], any dtype */
    const int32_t *ids;  /* [rows], each in 0..vocab-1 (host memory) */
    uint32_t rows;
    float *out; /* [rows, dim] */
} op_embed;

/* out = x / sqrt(mean(x^2) + eps) * weight. out may be x. */
typedef struct op_rmsnorm {
    const float *x;       /* [rows, dim] */
    const tensor *weight; /* [1, dim] f32 */
    uint32_t rows, dim;
    float eps;
    float *out; /* [rows, dim] */
} op_rmsnorm;

/* out[r, n] = sum_k x[r, k] * weight[n, k] */
typedef struct op_linear {
    const float *x;       /* [rows, weight->cols] */
    const tensor *weight; /* [out features, in features], any dtype */
    uint32_t rows;
    float *out; /* [rows, weight->rows]; does not overlap x */
} op_linear;

/* Rotary embedding of Llama in GGUF's order: pairs (2i, 2i+1), angle = pos * base^(-2i/rope_dim) / factors[i]; in
 * place. */
typedef struct op_rope {
    float *x;            /* [rows, heads * head_dim] */
    const uint32_t *pos; /* [rows] absolute positions (host memory) */
    uint32_t rows, heads, head_dim;
    uint32_t rope_dim; /* <= head_dim, even; the rest of a head is left alone */
    float base;
    const float *factors; /* [rope_dim / 2] or NULL */
} op_rope;

/* Where one row's sequence keeps its KV. Rows of one sequence share a table. */
typedef struct kv_ref {
    const uint32_t *pages; /* page ids, [ceil((pos + 1) / KV_PAGE_TOKENS)] or more (host memory) */
    uint32_t pos;          /* absolute position of this row */
} kv_ref;

/* Writes k and v of each row into the pages of its sequence at its position, converted to the layout's dtype
 * (round to nearest even). */
typedef struct op_kv_write {
    const kv_layout *layout;
    void *kv; /* base of the page memory */
    uint32_t layer;
    const float *k, *v; /* [rows, kv_heads * head_dim] */
    const kv_ref *refs; /* [rows] */
    uint32_t rows;
} op_kv_write;

/* Causal attention with grouped queries: row r sees positions 0..refs[r].pos of its own sequence, all of which are in
 * pages already. out = softmax(q . k * scale) v. Key tiles are aligned to position 0. */
typedef struct op_attention {
    const kv_layout *layout;
    const void *kv;
    uint32_t layer;
    const float *q; /* [rows, heads * head_dim] */
    const kv_ref *refs;
    uint32_t rows;
    uint32_t heads; /* query heads, a multiple of layout->kv_heads */
    float scale;    /* 1 / sqrt(head_dim) */
    float *out;     /* [rows, heads * head_dim]; does not overlap q */
} op_attention;

/* out = silu(gate) * up, [rows, dim]. out may be gate. */
typedef struct op_silu_mul {
    const float *gate, *up;
    uint32_t rows, dim;
    float *out;
} op_silu_mul;

/* x += y, [rows, dim]. */
typedef struct op_add {
    float *x;
    const float *y;
    uint32_t rows, dim;
} op_add;

/* One segment of a hand-off (see proto/kv_wire.h): rows [token_begin, token_begin + token_count) of one sequence,
 * layers [layer_begin, layer_end). kv_gather copies pages -> wire, kv_scatter wire -> pages. token_begin is a multiple
 * of KV_PAGE_TOKENS. Wire order: page, layer, K then V, head, row, dim; only valid rows; bytes = kv_segment_bytes().
 * Both set *checksum = kv_checksum over the wire bytes, started from `seed` (kv/kv_layout.h). kv_scatter writes pages
 * whatever the checksum is; the caller verifies before the sequence is used. */
typedef struct op_kv_copy {
    const kv_layout *layout;
    void *kv;              /* base of the page memory */
    const uint32_t *pages; /* page table of the sequence */
    uint32_t token_begin, token_count;
    uint32_t layer_begin, layer_end;
    void *wire; /* host memory, 8-byte aligned */
    uint64_t seed;
    uint64_t *checksum; /* out */
} op_kv_copy;

#endif
