/* ops - the contract between the engine and a backend: one argument struct and one slot per operation.
 *
 * A layer is seven operations, which is what a GPU wants of a decode step (one launch each) and costs a CPU
 * nothing:
 *
 *   norm -> linear (q, k, v) -> attend -> linear (o) -> norm -> gate_up -> linear (down)
 *
 * The residual stream is fp32 [rows, dim] everywhere. Activations between the operations have the backend's
 * type (act_type of the device: f32 on ref and cpu; bf16, f16 or f32 on cuda), row-major.
 *
 * Rows are tokens of a step, of any mixture of sequences. Rule of the house (batch invariance): a row's
 * result depends on that row, its sequence's KV and the weights only, never on the other rows, their number,
 * the chunking or the number of threads. Host backends always keep it; cuda keeps it when opened with
 * deterministic = true.
 *
 * Memory of activations, weights and KV is the backend's (mem_alloc, weight_load) and may not be read by the
 * host; everything that is marked "host" is ordinary memory. Ops return ST_OK or ST_DEVICE (device_error has
 * the text); shapes are the caller's duty and are asserted. An op may return before it is done: step_end and
 * sync wait. */
#ifndef BATON_KERNELS_OPS_H
#define BATON_KERNELS_OPS_H

#include "base/kinds.h"
#include "base/status.h"
#include "kv/kv_layout.h"
#include "token/sampling.h"

typedef struct weight weight; /* a matrix or vector as the backend keeps it, with its bias when it has one */
typedef struct device device; /* one opened backend: its memory, its threads or its GPU */

/* One sequence's share of a step. Host memory. */
typedef struct step_seq {
    const uint32_t *pages; /* page table, [page_count], enough for pos + row_count tokens */
    uint32_t page_count;
    uint32_t row_begin, row_count; /* its rows in the step; sequences lie one after another */
    uint32_t pos;                  /* absolute position of its first row */
    uint32_t prompt_count; /* rows at positions below this are the prompt's, the others were generated. A
                              backend may use different kernels for the two, since which a row is does not
                              depend on chunking */
} step_seq;

/* What one row of logits is turned into a token with. Host memory. */
typedef struct sample_input {
    bool score;    /* no token is chosen: the result is of `given`, the prompt's next one, with its rank and
                      the params' prompt_logprobs best. Only params, score and given are read then */
    int32_t given; /* in 0..vocab-1 */
    const sampling *params;
    const int32_t *prompt; /* [prompt_count], for the repetition penalty */
    uint32_t prompt_count;
    const int32_t *output; /* [output_count], for all penalties and min_tokens */
    uint32_t output_count;
    const int32_t *eog; /* end-of-generation ids */
    uint32_t eog_count;
    const uint32_t *mask; /* [(vocab + 31) / 32] the tokens that may be chosen, bit id % 32 of word id / 32;
                             it takes the place of the ban of min_tokens. NULL: all */
} sample_input;

typedef struct sample_result {
    token_out token; /* fin is FINISH_NONE */
    bool broken;     /* no token can be chosen: a logit is NaN or +infinity, or all are banned */
    bool banned;     /* broken because of bans, mask and biases, not because of the logits */
} sample_result;

/* A step as the device gets it. Host memory, borrowed until step_end. */
typedef struct op_step {
    const int32_t *ids; /* [rows], each in 0..vocab-1 */
    uint32_t rows;
    const step_seq *seqs; /* [seq_count], in the order of their rows, no sequence twice */
    uint32_t seq_count;
    const uint32_t *head; /* [head_count] rows whose logits are wanted, ascending */
    uint32_t head_count;
    const sample_input *samples; /* [head_count], or NULL: logits only */
    sample_result *results;      /* [head_count] written by the time step_end returns; NULL without samples */
    bool repeatable; /* a pure decode step without hooks: one generated row per sequence, each in head. The
                        backend may record it and play it back */
} op_step;

/* What step_begin answers. */
typedef struct step_pass {
    bool replayed; /* a recorded step was launched: issue no op, go to step_end */
    uint32_t rows; /* rows to issue ops for: >= step.rows (padding rows compute garbage that nobody reads) */
    uint32_t head_count; /* likewise for the head */
    uint64_t step;       /* its number, for gathers of what it writes; 0: it writes at once (the host) */
} step_pass;

/* x[r] = table[ids of the step [r]] * scale (+ positions[position of the row]) for all rows. */
typedef struct op_embed {
    const weight *table;     /* [vocab, dim] */
    const weight *positions; /* [context, dim], or NULL */
    float scale;             /* FEATURE_EMBED_SCALE: the product is rounded to f32 once. 0: none, as 1 */
    uint32_t rows;
    float *x; /* [rows, dim] */
} op_embed;

/* x += delta (when there is one); out = norm(x) * weight (+ its bias).
 *
 * Without x (FEATURE_POST_NORM): out = norm(delta) * weight (+ its bias), where out may be delta. That is how
 * a block's result is normed before the next norm adds it; nothing is added, the residual stream stays. */
typedef struct op_norm {
    float *x;             /* [rows, dim] residual stream, or NULL */
    const void *delta;    /* activations [rows, dim] or NULL; not both NULL */
    const weight *weight; /* [1, dim] */
    norm_kind kind;
    uint32_t rows, dim;
    float eps;
    void *out; /* activations [rows, dim] */
} op_norm;

/* The rows that go through the output head: out[i] = norm(x[head[begin + i]] + delta[head[begin + i]]). x
 * stays. */
typedef struct op_head_norm {
    const float *x;
    const void *delta; /* activations, or NULL */
    const weight *weight;
    norm_kind kind;
    uint32_t begin, count; /* of the step's head rows */
    uint32_t dim;
    float eps;
    void *out; /* activations [count, dim] */
} op_head_norm;

/* out[r, n] = sum_k x[r, k] * w[n, k] (+ bias[n]) */
typedef struct op_linear {
    const void *x; /* activations [rows, in features] */
    const weight *w;
    uint32_t rows;
    void *out;   /* [rows, out features] activations, or f32 when `logits`; does not overlap x */
    bool logits; /* the output head */
} op_linear;

/* out = act(x gate^T) * (x up^T), or act(x w^T) of a plain weight; biases are added before. */
typedef struct op_gate_up {
    const void *x;   /* activations [rows, dim] */
    const weight *w; /* WEIGHT_GATE_UP or WEIGHT_PLAIN */
    act_kind act;
    uint32_t rows;
    void *scratch; /* activations [rows, rows of all parts of w] */
    void *out;     /* activations [rows, ffn_dim] */
} op_gate_up;

/* The model's attention, told once before the first step. */
typedef struct attend_setup {
    kv_layout layout;
    void *kv;       /* page memory of the backend */
    uint32_t heads; /* query heads, a multiple of layout.kv_heads */
    float scale;    /* of q . k: 1 / sqrt(head_dim), or what the model says */
    rope_kind rope;
    uint32_t rope_dim; /* <= head_dim, even; the rest of a head is left alone. 0: nothing is rotated */
    float rope_base;   /* pair i: angle = pos * base^(-2i / rope_dim) / factors[i] */
    const float *rope_factors; /* host [rope_dim / 2] or NULL; borrowed until close. All that stretches angles
                                  (linear, yarn, Llama 3's) is in them */
    float rope_magnitude;      /* FEATURE_ROPE_MAGNITUDE: sine and cosine times this. 0: none, as 1 */
    float rope_local_base; /* FEATURE_ROPE_LOCAL: the base where op_attend.rope_local says so, with neither
                              factors nor magnitude. 0: no layer says so */
} attend_setup;

/* Norms the heads of q and k (RMS; when there are weights), rotates them, writes k and v into the pages of
 * their sequences (converted to the layout's dtype, round to nearest even), and attends: row r sees positions
 * 0..pos[r] of its own sequence, of which the last `window` only when that is not 0. */
typedef struct op_attend {
    uint32_t layer;
    uint32_t rows;
    uint32_t window;
    bool rope_local;               /* this layer rotates by attend_setup.rope_local_base */
    const weight *q_norm, *k_norm; /* [1, head_dim], or both NULL */
    float norm_eps;
    void *qkv; /* activations [rows, (heads + 2 * kv_heads) * head_dim] as linear made it; overwritten */
    void *out; /* activations [rows, heads * head_dim] */
} op_attend;

/* A token for each of the step's head rows [begin, begin + count), into step.results, or what the row thinks
 * of a given one. The chain and the generator are those of protocol.md, "Same bytes": equal logits give equal
 * tokens on every backend. Logprobs are of the raw logits. */
typedef struct op_sample {
    float *logits; /* [count, vocab] f32; may be overwritten */
    uint32_t begin, count;
    uint32_t vocab;
} op_sample;

/* In which memory bytes lie, as far as a copy has to know. */
typedef enum memory_kind {
    MEMORY_HOST,   /* of this process, or shared with another */
    MEMORY_PINNED, /* the host's, and known to the device (backend_ops.host_pin): copied without staging */
    MEMORY_DEVICE,
    MEMORY_PEER, /* of another GPU, mapped here: a copy engine writes it */
} memory_kind;

/* One segment of a hand-off (see proto/kv_wire.h): a piece of one sequence. kv_gather copies pages -> wire,
 * kv_scatter wire -> pages. Wire order: page, layer, K then V, head, row, dim; only valid rows; bytes =
 * kv_piece_bytes(). Both set *checksum = kv_checksum over the wire bytes, started from `seed`
 * (kv/kv_layout.h). kv_scatter writes pages whatever the checksum is; the caller verifies before the sequence
 * is used. Both are done when they return. kv_gather waits for step `step` to have computed layer
 * piece.layer_end - 1, which it has marked by then (layer_mark), and for no later step; for nothing when that
 * step has ended. */
typedef struct op_kv_copy {
    const kv_layout *layout;
    void *kv;              /* base of the page memory */
    const uint32_t *pages; /* [kv_piece_pages(&piece)] host: page table of the sequence */
    kv_piece piece;
    void *wire; /* 8-byte aligned */
    memory_kind wire_in;
    /* Gather: the last one that wrote rows of the piece (step_pass.step); 0: none is awaited */
    uint64_t step;
    uint64_t seed;
    uint64_t *checksum; /* out */
    /* Gather, test hook: this byte of a wire that is not the host's is damaged after it was summed; 0: none.
     */
    size_t damage_at;
} op_kv_copy;

#endif
