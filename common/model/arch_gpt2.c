/* arch_gpt2 - GPT-2: learned positions, layer norms, biases everywhere, q, k and v in one tensor, GELU
 * without gate. */
#include "model/arch_blocks.h"

static status gpt2_dims(model *m, const checkpoint *ckpt, errbuf *eb) {
    m->norm = NORM_LAYER;
    m->act = ACT_GELU;
    return dim_keys_read(m, ckpt, "attention.layer_norm_epsilon", eb);
}

const arch arch_gpt2 = {
    .name = "gpt2",
    .dims = gpt2_dims,
    EMBED,
    .positions = {.part = {{"position_embd", DIM_POSITIONS, DIM_MODEL}}},
    .output_norm = NORM_BIAS_OF("output_norm"),
    .layer = {[LAYER_ATTN_NORM] = NORM_BIAS_OF("attn_norm"),
              [LAYER_QKV] = {.form = WEIGHT_QKV,
                             .bias = true,
                             .part = QKV_OF("attn_qkv", "attn_qkv", "attn_qkv")},
              [LAYER_ATTN_OUT] = {.bias = true, .part = {{"attn_output", DIM_MODEL, DIM_Q}}},
              [LAYER_FFN_NORM] = NORM_BIAS_OF("ffn_norm"),
              [LAYER_UP] = {.bias = true, .part = {{"ffn_up", DIM_FFN, DIM_MODEL}}},
              [LAYER_DOWN] = {.bias = true, .part = {{"ffn_down", DIM_MODEL, DIM_FFN}}}},
    PRE_NORM_STEPS,
    WIDTHS_UNGATED,
};
