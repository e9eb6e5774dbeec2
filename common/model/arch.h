/* arch - an architecture in one place: what its checkpoints hold, what a layer computes in which order, and
 * which memory that takes.
 *
 *   arch_llama.c --describes--> dimensions, weights, steps of a layer, buffers
 *        |                           |              |                 |
 *        `- model.c reads it    weights.c       forward.c        activations.c     (the engine obeys)
 *
 * A description is data, so that each fact stands once: the loader asks it for names and shapes, the engine
 * for forms, order and sizes, the planner for bytes. A new architecture is a file that fills one of these and
 * its name in ARCHS. What a layer needs that no step or kind below says is a new step here and in forward.c.
 */
#ifndef BATON_MODEL_ARCH_H
#define BATON_MODEL_ARCH_H

#include "base/kinds.h"
#include "base/status.h"
#include "checkpoint/checkpoint.h"

struct model;

/* Sizes by name. Those of a model are in its struct. */
typedef enum arch_dim {
    DIM_NONE,
    DIM_ONE,       /* the rows of a vector */
    DIM_MODEL,     /* of the residual stream */
    DIM_Q,         /* heads * head_dim */
    DIM_KV,        /* kv_heads * head_dim */
    DIM_HEAD,      /* head_dim */
    DIM_FFN,       /* of the feed-forward */
    DIM_VOCAB,     /* tokens */
    DIM_POSITIONS, /* the model's context */
} arch_dim;

/* A tensor NAME.weight, and NAME.bias beside it where the weight has biases. Parts of one weight that have
 * one name are one tensor: its rows in their order. */
typedef struct arch_part {
    const char *name; /* of a layer: what follows "blk.N." */
    arch_dim rows, cols;
} arch_part;

typedef struct arch_weight {
    weight_form form;
    bool bias;
    arch_part part[WEIGHT_PARTS_MAX];
} arch_weight;

/* The weights of a layer. An architecture has those whose first part has a name. */
typedef enum layer_role {
    LAYER_ATTN_NORM,
    LAYER_QKV,
    LAYER_Q_NORM, /* [1, head_dim] of each query head, before it is rotated; likewise of the keys */
    LAYER_K_NORM,
    LAYER_ATTN_OUT,
    LAYER_ATTN_POST_NORM, /* of what attention adds to the residual stream */
    LAYER_FFN_NORM,
    LAYER_UP, /* of gate and up, or of up alone */
    LAYER_DOWN,
    LAYER_FFN_POST_NORM, /* of what the feed-forward adds */
} layer_role;
enum { LAYER_ROLES = LAYER_FFN_POST_NORM + 1 };

/* The activations between the steps of a layer; one memory for all layers. */
typedef enum arch_buffer {
    BUFFER_NORMED,
    BUFFER_DELTA, /* what a block adds to the residual stream: the next norm does the adding */
    BUFFER_QKV,
    BUFFER_ATTENTION,
    BUFFER_SCRATCH, /* of the feed-forward */
    BUFFER_GATED,
} arch_buffer;
enum { ARCH_BUFFERS = BUFFER_GATED + 1, ARCH_WIDTHS_MAX = 3 };

typedef enum step_kind {
    STEP_NORM,   /* residual += delta (but not the first of the first layer); to = norm(residual) * weight */
    STEP_LINEAR, /* to = from * weight */
    STEP_ATTEND, /* to = attention of from */
    STEP_FFN,    /* to = act(from * gate) * (from * up), or act(from * up) */
    STEP_POST_NORM, /* delta = norm(delta) * weight: from and to are BUFFER_DELTA */
} step_kind;

typedef struct arch_step {
    step_kind kind;
    layer_role weight; /* not of STEP_ATTEND */
    arch_buffer from, to;
} arch_step;

#define ARCH_STEPS_MAX 16u

typedef struct arch {
    const char *name; /* value of general.architecture */
    /* Sets the dimensions, constants and kinds of m, whose vocab is set, and checks them. */
    status (*dims)(struct model *m, const checkpoint *ckpt, errbuf *eb);
    arch_weight embed, positions, output_norm, output; /* output: may be absent, then it is the embedding */
    /* A vector of rope_dim / 2 that may be there; NULL: the architecture has none */
    const char *rope_factors;
    arch_weight layer[LAYER_ROLES];
    arch_step steps[ARCH_STEPS_MAX]; /* [step_count], of a layer. The last one writes BUFFER_DELTA */
    uint32_t step_count;
    arch_dim widths[ARCH_BUFFERS][ARCH_WIDTHS_MAX]; /* numbers of a row in each buffer: their sum */
} arch;

/* A description each, in a file of its name. */
#define ARCHS(X)                                                                                             \
    X(arch_llama)                                                                                            \
    X(arch_qwen2)                                                                                            \
    X(arch_qwen3)                                                                                            \
    X(arch_gemma3)                                                                                           \
    X(arch_gpt2)                                                                                             \
    X(arch_opt)

#define ARCH_DECLARE(name) extern const arch name;
ARCHS(ARCH_DECLARE)
#undef ARCH_DECLARE

/* NULL when there is none of that name. Borrowed: static. */
const arch *arch_find(checkpoint_text name);
/* Names of all, comma-separated. Caller frees with free. */
char *arch_names(void);

#endif
