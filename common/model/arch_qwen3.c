/* arch_qwen3 - Qwen3 (dense): Llama with norms of the heads of q and k, and rotation of halves. */
#include "model/arch_blocks.h"

static status qwen3_dims(model *m, const checkpoint *ckpt, errbuf *eb) {
    m->rope = ROPE_HALVES;
    status st = dim_keys_read(m, ckpt, "attention.layer_norm_rms_epsilon", eb);
    if (st == ST_OK) st = rope_keys_read(m, ckpt, eb);
    return st == ST_OK ? dim_keys_window(m, ckpt, 0, eb) : st;
}

const arch arch_qwen3 = {
    .name = "qwen3",
    .dims = qwen3_dims,
    EMBED,
    .output_norm = NORM_OF("output_norm"),
    .rope_factors = "rope_freqs",
    .layer = {[LAYER_ATTN_NORM] = NORM_OF("attn_norm"),
              [LAYER_QKV] = {.form = WEIGHT_QKV, .part = QKV_OF("attn_q", "attn_k", "attn_v")},
              [LAYER_Q_NORM] = {.part = {{"attn_q_norm", DIM_ONE, DIM_HEAD}}},
              [LAYER_K_NORM] = {.part = {{"attn_k_norm", DIM_ONE, DIM_HEAD}}},
              [LAYER_ATTN_OUT] = {.part = {{"attn_output", DIM_MODEL, DIM_Q}}},
              [LAYER_FFN_NORM] = NORM_OF("ffn_norm"),
              [LAYER_UP] = GATE_UP,
              [LAYER_DOWN] = {.part = {{"ffn_down", DIM_MODEL, DIM_FFN}}}},
    PRE_NORM_STEPS,
    WIDTHS_GATED,
};
