/* arch_blocks - what architectures have in common, as pieces of their descriptions. For arch_NAME.c. */
#ifndef BATON_MODEL_ARCH_BLOCKS_H
#define BATON_MODEL_ARCH_BLOCKS_H

#include "model/dim_keys.h"
#include "model/model.h"
#include "model/rope_keys.h"

#define ATTENTION_STEPS                                                                                      \
    {STEP_NORM, LAYER_ATTN_NORM, .to = BUFFER_NORMED}, {STEP_LINEAR, LAYER_QKV, BUFFER_NORMED, BUFFER_QKV},  \
        {STEP_ATTEND, .from = BUFFER_QKV, .to = BUFFER_ATTENTION}, {                                         \
        STEP_LINEAR, LAYER_ATTN_OUT, BUFFER_ATTENTION, BUFFER_DELTA                                          \
    }
#define FFN_STEPS                                                                                            \
    {STEP_NORM, LAYER_FFN_NORM, .to = BUFFER_NORMED}, {STEP_FFN, LAYER_UP, BUFFER_NORMED, BUFFER_GATED}, {   \
        STEP_LINEAR, LAYER_DOWN, BUFFER_GATED, BUFFER_DELTA                                                  \
    }
/* norm -> q, k, v -> attention -> o -> norm -> up (and gate) -> down; each half adds to the residual stream.
 */
#define PRE_NORM_STEPS .steps = {ATTENTION_STEPS, FFN_STEPS}, .step_count = 7

#define WIDTHS(...)                                                                                          \
    .widths = {[BUFFER_NORMED] = {DIM_MODEL},          [BUFFER_DELTA] = {DIM_MODEL},                         \
               [BUFFER_QKV] = {DIM_Q, DIM_KV, DIM_KV}, [BUFFER_ATTENTION] = {DIM_Q},                         \
               [BUFFER_SCRATCH] = {__VA_ARGS__},       [BUFFER_GATED] = {DIM_FFN}}
#define WIDTHS_GATED   WIDTHS(DIM_FFN, DIM_FFN)
#define WIDTHS_UNGATED WIDTHS(DIM_FFN)

#define NORM_OF(what)                                                                                        \
    {                                                                                                        \
        .part = { {what, DIM_ONE, DIM_MODEL} }                                                               \
    }
#define NORM_BIAS_OF(what)                                                                                   \
    {                                                                                                        \
        .bias = true, .part = { {what, DIM_ONE, DIM_MODEL} }                                                 \
    }
#define QKV_OF(q, k, v)                                                                                      \
    {                                                                                                        \
        {q, DIM_Q, DIM_MODEL}, {k, DIM_KV, DIM_MODEL}, {                                                     \
            v, DIM_KV, DIM_MODEL                                                                             \
        }                                                                                                    \
    }
#define GATE_UP                                                                                              \
    {                                                                                                        \
        .form = WEIGHT_GATE_UP, .part = { {"ffn_gate", DIM_FFN, DIM_MODEL}, {"ffn_up", DIM_FFN, DIM_MODEL} } \
    }
#define EMBED                                                                                                \
    .embed = {.part = {{"token_embd", DIM_VOCAB, DIM_MODEL}}},                                               \
    .output = {.part = {{"output", DIM_VOCAB, DIM_MODEL}}}

#endif
