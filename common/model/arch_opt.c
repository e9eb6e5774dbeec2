/* arch_opt - OPT: learned positions, layer norms, biases everywhere, ReLU without gate.
 *
 * llama.cpp has no such architecture; the names are in its manner. position_embd begins with the row of
 * position 0: the two rows that Hugging Face's has before it are not in it. The 350M model, which norms after
 * its blocks and projects its embedding, is refused where its config is read. */
#include "model/arch_blocks.h"

static status opt_dims(model *m, const checkpoint *ckpt, errbuf *eb) {
    m->norm = NORM_LAYER;
    m->act = ACT_RELU;
    return dim_keys_read(m, ckpt, "attention.layer_norm_epsilon", eb);
}

const arch arch_opt = {
    .name = "opt",
    .dims = opt_dims,
    EMBED,
    .positions = {.part = {{"position_embd", DIM_POSITIONS, DIM_MODEL}}},
    .output_norm = NORM_BIAS_OF("output_norm"),
    .layer = {[LAYER_ATTN_NORM] = NORM_BIAS_OF("attn_norm"),
              [LAYER_QKV] = {.form = WEIGHT_QKV, .bias = true, .part = QKV_OF("attn_q", "attn_k", "attn_v")},
              [LAYER_ATTN_OUT] = {.bias = true, .part = {{"attn_output", DIM_MODEL, DIM_Q}}},
              [LAYER_FFN_NORM] = NORM_BIAS_OF("ffn_norm"),
              [LAYER_UP] = {.bias = true, .part = {{"ffn_up", DIM_FFN, DIM_MODEL}}},
              [LAYER_DOWN] = {.bias = true, .part = {{"ffn_down", DIM_MODEL, DIM_FFN}}}},
    PRE_NORM_STEPS,
    WIDTHS_UNGATED,
};
