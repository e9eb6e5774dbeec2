/* model - what a checkpoint computes: its dimensions, its kinds of operations, its weights by role. No
 * compute, no text.
 *
 * One struct per checkpoint, loaded once, read-only afterwards (any thread). Its architecture (arch.h) says
 * what the parts mean. Tensors point into the checkpoint; where that makes them (random:NAME), they have no
 * data. */
#ifndef BATON_MODEL_MODEL_H
#define BATON_MODEL_MODEL_H

#include "checkpoint/checkpoint.h"
#include "model/arch.h"

#define MODEL_LAYERS_MAX 256u

/* What an angle may be divided by: beyond, its sine has no digits that count. */
#define ROPE_STRETCH_LEAST 0.01
#define ROPE_STRETCH_MOST  1e6

typedef struct model_layer {
    weight_parts weights[LAYER_ROLES]; /* by layer_role; not there where the architecture has none */
} model_layer;

typedef struct model {
    const arch *arch;
    char *name; /* general.name, or the path's stem */
    char *path; /* as given to checkpoint_open */
    uint32_t dim, layers, heads, kv_heads, head_dim, ffn_dim, vocab;
    uint32_t context; /* tokens the model was trained for */
    norm_kind norm;
    float norm_eps;
    act_kind act;
    rope_kind rope;
    uint32_t rope_dim; /* 0 = nothing is rotated */
    float rope_base;
    float *rope_factors;    /* [rope_dim / 2] what angles are divided by, or NULL. Owned */
    float rope_magnitude;   /* of sine and cosine; 0: 1 */
    float rope_local_base;  /* in layers with a window, without factors and magnitude; 0: as the others */
    float embed_scale;      /* 0: 1 */
    float attend_scale;     /* of q . k; 0: 1 / sqrt(head_dim) */
    uint32_t *window;       /* [layers] tokens that a row sees, itself included; 0 = all. NULL = all. Owned */
    weight_parts embed;     /* [vocab, dim] */
    weight_parts positions; /* [context, dim], or not there */
    weight_parts output_norm; /* [1, dim] */
    weight_parts output;      /* [vocab, dim]; the embedding when tied */
    bool tied;
    model_layer *layer; /* [layers]. Owned */
    /* Of dimensions, tensor table and sampled weight blocks: part of the numerics id */
    uint64_t weights_hash;
    uint64_t weight_count; /* weights of all tensors */
} model;

/* ST_UNSUPPORTED names the architecture or tensor type and what is supported. Borrows `ckpt`, which
 * is prepared, until model_free, with which the caller frees. */
status model_load(model **out, const checkpoint *ckpt, errbuf *eb);
/* The same for an architecture that is given, whatever the checkpoint calls itself. */
status model_load_as(model **out, const arch *a, const checkpoint *ckpt, errbuf *eb);
void model_free(model *m);

/* Sets forms and shapes of all weights from arch and dimensions, without data; allocates the layers. What
 * model_load fills in, and all that a plan needs. */
void model_shape(model *m);
/* The set of feature that its computation takes */
uint32_t model_features(const model *m);
/* True when every step reads what a step before it wrote, has its weight, and all buffers have room. */
bool model_check(const arch *a, const model *m);

uint64_t model_size(const model *m, arch_dim dim);
/* m->rope_factors, made of ones where there are none yet: [rope_dim / 2], which is set */
float *model_rope_factors(model *m);
/* Whether an angle may be divided by it */
bool model_rope_stretches(double factor);
/* Whether a layer rotates by rope_local_base */
bool model_rope_local(const model *m, uint32_t layer);
/* Numbers of a row in a buffer */
uint64_t model_width(const model *m, arch_buffer buffer);

#endif
