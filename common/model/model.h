/* model - what a checkpoint is: its dimensions, its weights by role, its tokenizer. No compute.
 *
 * One struct per model file, loaded once, read-only afterwards (any thread). Architectures are a table of
 * loaders; the first is `llama`. Tensors point into the mapped file; a random model has none
 * (random_model.h). */
#ifndef BATON_MODEL_MODEL_H
#define BATON_MODEL_MODEL_H

#include "base/status.h"
#include "base/tensor.h"
#include "text/tokenizer.h"

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
    char *path; /* as given: a file, or "random:NAME" */
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
    model_layer *layer;    /* [layers] */
    uint64_t weights_hash; /* of dimensions, tensor table and sampled weight blocks: part of the numerics id;
                              0 for MODEL_TEXT */
    uint64_t weight_bytes; /* bytes of all tensors, as the file has them; random ones: as bf16 */
    uint64_t weight_count; /* weights of all tensors: what they cost a backend that keeps them in a type of
                              its own */
    tokenizer *tok;
    struct gguf *file;           /* owner of the mapping */
    struct random_model *random; /* owner of what `file` and the norms are then read from; NULL for a file */
} model;

/* path: a .gguf file or random:NAME[:SEED]. parts: MODEL_ALL loads everything; MODEL_TEXT leaves the weights
 * unchecked and unset (the coordinator: dimensions, tokenizer and chat template only). ST_UNSUPPORTED names
 * the architecture or tensor type and what is supported. Caller frees with model_free. */
typedef enum model_parts { MODEL_ALL, MODEL_TEXT } model_parts;
status model_load(model **out, const char *path, model_parts parts, errbuf *eb);
void model_free(model *m);

#endif
