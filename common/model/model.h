/* model - what a checkpoint computes: its dimensions, its weights by role. No compute, no text.
 *
 * One struct per checkpoint, loaded once, read-only afterwards (any thread). Architectures are a table of
 * loaders; the first is `llama`. Tensors point into the checkpoint; where that makes them (random:NAME), they
 * have no data. */
#ifndef BATON_MODEL_MODEL_H
#define BATON_MODEL_MODEL_H

#include "base/status.h"
#include "base/tensor.h"
#include "checkpoint/checkpoint.h"

#define MODEL_LAYERS_MAX 256u

typedef struct model_layer {
    tensor attn_norm;    /* [1, dim] f32 */
    tensor wq, wk, wv;   /* [heads*head_dim, dim], [kv_heads*head_dim, dim] x 2 */
    tensor wo;           /* [dim, heads*head_dim] */
    tensor ffn_norm;     /* [1, dim] f32 */
    tensor w_gate, w_up; /* [ffn_dim, dim] */
    tensor w_down;       /* [dim, ffn_dim] */
} model_layer;

typedef struct model {
    char *name; /* general.name, or the file's stem */
    char *path; /* as given to checkpoint_open */
    char *arch; /* "llama" */
    uint32_t dim, layers, heads, kv_heads, head_dim, ffn_dim, vocab;
    uint32_t context; /* tokens the model was trained for */
    uint32_t rope_dim;
    float rope_base;
    const float *rope_factors; /* [rope_dim / 2] or NULL */
    float norm_eps;
    tensor embed;       /* [vocab, dim] */
    tensor output_norm; /* [1, dim] f32 */
    tensor output;      /* [vocab, dim]; the embedding when tied */
    bool tied;
    model_layer *layer; /* [layers] */
    uint64_t
        weights_hash; /* of dimensions, tensor table and sampled weight blocks: part of the numerics id */
    uint64_t weight_bytes; /* bytes of all tensors, as the file has them; random ones: as bf16 */
    uint64_t weight_count; /* weights of all tensors: what they cost a backend that keeps them in a type of
                              its own */
} model;

/* ST_UNSUPPORTED names the architecture or tensor type and what is supported. Borrows `ckpt` until
 * model_free, with which the caller frees. */
status model_load(model **out, const checkpoint *ckpt, errbuf *eb);
void model_free(model *m);

#endif
