/* launch - what the .cu files offer to the C files of this folder: plain structs and one launcher per kernel.
 *
 * Pointers are device memory unless they say "host". Launchers put work into `stream` and return at once; the
 * error is that of the launch itself. The same header serves nvcc, gcc and the host emulation of the tests.
 */
#ifndef BATON_KERNELS_CUDA_LAUNCH_H
#define BATON_KERNELS_CUDA_LAUNCH_H

#include "base/kinds.h"
#include "proto/kv_wire.h"

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum num_type { NUM_BF16, NUM_F16, NUM_F32 } num_type; /* of activations, weights and KV alike */

/* --- a step's tables: one block of device memory at fixed addresses, so that recorded steps stay right ---
 */

typedef struct step_header {
    uint32_t rows;  /* real rows of the step; a launch may have more */
    uint32_t items; /* decode_item entries */
    uint32_t pad[2];
} step_header;

/* Prompt rows of one sequence that one block of prefill attention serves, with all keys they see. */
typedef struct prefill_tile {
    uint32_t row;   /* first row of the step */
    uint32_t count; /* 1..PREFILL_TILE_ROWS; row + i has position pos[row] + i */
} prefill_tile;
#define PREFILL_TILE_ROWS 128u

/* Keys [begin, end) of one generated row: one split. The splits of a row are consecutive items, so item -
 * split is the row's first. Split sizes are multiples of DECODE_TILE_KEYS. */
typedef struct decode_item {
    uint32_t row, begin, end;
    uint16_t split, splits;
} decode_item;
#define DECODE_TILE_KEYS 64u

/* What one row of logits is turned into a token with; the lists are device memory of the step. */
typedef struct sample_row {
    float temperature, top_p, min_p;
    int32_t top_k;
    float repetition, presence, frequency; /* 1, 0, 0 = off */
    uint32_t key[2], choice, position;     /* Philox */
    uint32_t prompt_count, output_count;   /* of `ids`: 0 when no penalty needs them */
    uint32_t bias_count, ban_count;
    const int32_t *ids;      /* [prompt_count + output_count] */
    const int32_t *bans;     /* [ban_count] ids that may not come */
    const int32_t *bias_ids; /* [bias_count] */
    const float *biases;     /* [bias_count] */
} sample_row;

typedef enum sample_state { SAMPLE_OK, SAMPLE_BROKEN, SAMPLE_BANNED } sample_state; /* ops.h, sample_result */
typedef struct sample_token {
    int32_t id;
    uint32_t state; /* sample_state */
} sample_token;

typedef struct step_tables {
    const step_header *header;
    const int32_t *ids;        /* [max_rows] */
    const uint32_t *pos;       /* [max_rows] absolute positions */
    const uint32_t *row_pages; /* [max_rows] where in `pages` the table of the row's sequence begins */
    const uint32_t *pages;     /* page ids */
    const uint32_t *head;      /* [max_seqs] rows that go through the output head */
    const prefill_tile *tiles;
    const decode_item *items;
    const sample_row *samples; /* [max_seqs] */
    sample_token *tokens;      /* [max_seqs] out */
} step_tables;

/* --- overlap --- */

/* Whether kernels of a step overlap (device.cuh, links): on GPUs and drivers that can, unless somebody said
 * no before anything was launched, to see what it is worth. The bits are the same. */
void launch_overlap(bool wanted);
/* Of the GPU that the calling thread uses. */
bool launch_overlaps(void);

/* --- rows --- */

/* x[r] = table[ids[r]] * scale + positions[pos[r]] */
typedef struct embed_args {
    num_type type;
    const void *table;     /* [vocab, dim] */
    const void *positions; /* [more than any position, dim], or NULL */
    float scale;           /* 0: none */
    step_tables t;
    uint32_t rows, dim;
    float *x;
} embed_args;
cudaError_t launch_embed(const embed_args *a, cudaStream_t stream);
/* head: NULL: row r reads and updates x[r]; else row r reads x[head[r]] and leaves it. */
typedef struct norm_args {
    num_type type;
    norm_kind kind;
    float *x;          /* or NULL: delta is normed, nothing is added, and out may be delta */
    const void *delta; /* or NULL */
    const float *weight;
    const float *bias; /* or NULL */
    const uint32_t *head;
    uint32_t rows, dim;
    float eps;
    void *out;
} norm_args;
cudaError_t launch_norm(const norm_args *a, cudaStream_t stream);

/* --- linear --- */

/* Rows of a WEIGHT_GATE_UP matrix alternate in groups of 8: 8 of gate, 8 of up (ffn_dim is a multiple of 8).
 */
#define GATE_UP_GROUP 8u
typedef enum linear_out {
    LINEAR_ACT,     /* out [rows, n] of `type` */
    LINEAR_F32,     /* out [rows, n] f32 */
    LINEAR_GATE_UP, /* out [rows, n / 2] of `type`: act(gate) * up, computed from the fp32 sums */
    LINEAR_UNGATED, /* out [rows, n] of `type`: act of the fp32 sums */
} linear_out;
typedef struct linear_args {
    num_type type;
    const void *x; /* [rows, k] */
    const void *w; /* [n, k] */
    uint32_t rows, n, k;
    void *out;
    linear_out mode;
    act_kind act; /* of the last two modes */
    /* [n] of `type`, added to the sums, in the order of w's rows; zeros to a multiple of 8. Or NULL */
    const void *bias;
    bool no_cluster; /* as on a device without clusters of blocks: to compare the two */
} linear_args;
#define LINEAR_FEW_ROWS                                                                                      \
    32u /* up to here one kernel reads each weight once (linear.cu); more are cut into tiles */
/* On a device with clusters of blocks (sm_90), bf16 and f16 of so many rows are for them (linear_cluster.cu).
 */
#define LINEAR_CLUSTER_MIN 17u
#define LINEAR_CLUSTER_MAX 256u
bool linear_in_clusters(const linear_args *a);
/* Our own kernels, for every number of rows with the same bits per row (linear.cu). k: a multiple of 8. */
cudaError_t launch_linear(const linear_args *a, cudaStream_t stream);
/* What a library multiplied for one of the last two modes. gated: x [rows, 2 * dim] in groups as above; else
 * [rows, dim]. dim: a multiple of 8. */
typedef struct act_args {
    num_type type;
    act_kind act;
    bool gated;
    const void *x;
    uint32_t rows, dim;
    void *out; /* [rows, dim] */
} act_args;
cudaError_t launch_act_mul(const act_args *a, cudaStream_t stream);

/* --- attention --- */

typedef struct attend_args {
    num_type type; /* of qkv, out and KV */
    void *kv;      /* page memory (kv_layout.h) */
    uint32_t layers, layer, kv_heads, heads, head_dim;
    float scale;
    rope_kind kind;
    const float *rope; /* [max_pos, rope_dim / 2, 2] cos, sin; NULL with rope_dim 0 */
    uint32_t rope_dim;
    uint32_t window;              /* a row sees so many keys at most, its own included; 0: all */
    const float *q_norm, *k_norm; /* [head_dim], or both NULL */
    float norm_eps;
    step_tables t;
    uint32_t rows;
    void *qkv; /* [rows, (heads + 2 * kv_heads) * head_dim] */
    void *out; /* [rows, heads * head_dim] */
    /* decode */
    float *partials;    /* [items, heads, head_dim + 2]: sums, then maximum and total weight */
    uint32_t *counters; /* [items, kv_heads] zero between launches */
} attend_args;

/* rope[p][i] = cos, sin of p * base^(-2i / rope_dim) / factors[i], times magnitude, computed in double. */
cudaError_t launch_rope_table(float *rope, uint32_t max_pos, uint32_t rope_dim, double base,
                              const float *factors, double magnitude, cudaStream_t stream);
/* Norms and rotates q and k of all rows in qkv and writes k and v into the pages. */
cudaError_t launch_rope_kv(const attend_args *a, cudaStream_t stream);
/* After launch_rope_kv. Tiles [begin, begin + count) of the tables. */
cudaError_t launch_attend_prefill(const attend_args *a, uint32_t begin, uint32_t count, cudaStream_t stream);
/* Items [begin, begin + count): a grid of `grid` blocks per KV head walks them; with count = UINT32_MAX up to
 * header->items, read on the device (a recorded step). Items out of the window are left out. rope: rows are
 * of different sequences, not rotated and not written yet; the kernel does both. Equal bits either way. */
cudaError_t launch_attend_decode(const attend_args *a, uint32_t begin, uint32_t count, uint32_t grid,
                                 bool rope, cudaStream_t stream);
/* NUM_F32 only: all rows, prompt or generated, after launch_rope_kv. */
cudaError_t launch_attend_f32(const attend_args *a, cudaStream_t stream);

/* --- sampling --- */

/* logits [count, vocab] are overwritten. seen: [count, vocab] zeros before and after. */
cudaError_t launch_sample(float *logits, uint32_t count, uint32_t vocab, const sample_row *rows,
                          uint32_t *seen, sample_token *tokens, cudaStream_t stream);

/* --- hand-off --- */

typedef struct kv_copy_args {
    void *kv;
    uint32_t elem_bytes, layers, kv_heads, head_dim;
    const uint32_t *pages; /* of the sequence, from its position 0 on */
    kv_piece piece;
    void *wire;
    uint64_t word_begin; /* index of the first 8-byte word of `wire` in the whole segment, which is copied in
                            pieces */
    unsigned long long *sum; /* += sum over words w_i * mix(word_begin + i), mod 2^64 (kv_layout.h) */
} kv_copy_args;
cudaError_t launch_kv_gather(const kv_copy_args *a, cudaStream_t stream);
cudaError_t launch_kv_scatter(const kv_copy_args *a, cudaStream_t stream);

/* --- random weights --- */

/* out [count] of `type`: element i is random_weight(seed, begin + i) of base/tensor.h. */
cudaError_t launch_random_fill(num_type type, void *out, uint64_t seed, uint64_t begin, uint64_t count,
                               float scale, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
