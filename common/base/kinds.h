/* kinds - the kinds of operations that networks are made of: what an architecture asks for (model/arch.h) and
 * what a backend computes (kernels/ops.h), in one vocabulary.
 *
 * The first kind of each enum is Llama's, so that a zeroed struct asks for that. */
#ifndef BATON_BASE_KINDS_H
#define BATON_BASE_KINDS_H

#include "base/tensor.h"

/* of a row x: RMS is x / sqrt(mean(x^2) + eps); LAYER takes the mean away first. Both times a weight, plus
 * its bias when it has one. */
typedef enum norm_kind { NORM_RMS, NORM_LAYER } norm_kind;

/* SILU is x / (1 + e^-x); GELU the tanh form, 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))). */
typedef enum act_kind { ACT_SILU, ACT_GELU, ACT_RELU } act_kind;

/* Which numbers of a head are rotated together: 2i and 2i + 1, or i and i + rope_dim / 2. */
typedef enum rope_kind { ROPE_PAIRS, ROPE_HALVES } rope_kind;

/* How the parts of a weight are put together. Parts have equal cols. */
typedef enum weight_form {
    WEIGHT_PLAIN,   /* one part: a matrix, an embedding table, or a vector (rows = 1, kept in f32) */
    WEIGHT_QKV,     /* three parts: q, k, v. What linear makes of it is read by attend only */
    WEIGHT_GATE_UP, /* two parts of equal shape, for gate_up only */
} weight_form;

#define WEIGHT_PARTS_MAX 3u
uint32_t weight_form_parts(weight_form form);

/* A weight as a checkpoint has it. */
typedef struct weight_parts {
    weight_form form;
    tensor part[WEIGHT_PARTS_MAX]; /* rows = 0: the model has no such weight */
    tensor bias[WEIGHT_PARTS_MAX]; /* [1, rows of the part] f32, or without data: none. Of a norm: [1, dim] */
} weight_parts;
/* Whether the model has it */
bool weight_is_there(const weight_parts *w);

/* What not every backend computes. Bits, so that a set of them is a number. */
#define FEATURES(X)                                                                                          \
    X(FEATURE_LAYER_NORM, 0, "layer norm")                                                                   \
    X(FEATURE_BIAS, 1, "bias")                                                                               \
    X(FEATURE_ROPE_HALVES, 2, "rotation of halves")                                                          \
    X(FEATURE_NO_ROPE, 3, "attention without rotation")                                                      \
    X(FEATURE_ACT, 4, "an activation other than silu")                                                       \
    X(FEATURE_UNGATED, 5, "feed-forward without gate")                                                       \
    X(FEATURE_POSITIONS, 6, "learned positions")                                                             \
    X(FEATURE_WINDOW, 7, "attention window")                                                                 \
    X(FEATURE_QK_NORM, 8, "norm of queries and keys")                                                        \
    X(FEATURE_EMBED_SCALE, 9, "scaled embedding")                                                            \
    X(FEATURE_POST_NORM, 10, "norm of what a block adds")                                                    \
    X(FEATURE_ROPE_LOCAL, 11, "another rotation in layers with a window")                                    \
    X(FEATURE_ROPE_MAGNITUDE, 12, "rotation that scales")
#define FEATURE_ENUM(name, bit, text) name = 1u << (bit),
typedef enum feature { FEATURES(FEATURE_ENUM) } feature;
#undef FEATURE_ENUM
#define FEATURE_ALL ((1u << 13) - 1)

/* The name of the lowest feature of a set, for error texts; NULL of an empty one. Borrowed: static. */
const char *feature_name(uint32_t set);

#endif
