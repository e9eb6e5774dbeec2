/* arch_gemma3 - Gemma 3, its text part: a scaled embedding, norms of q and k and of what each block adds,
 * gated GELU. Of six layers five see a window and rotate by a base of their own; the sixth sees all and has
 * the factors.
 *
 * The weights of norms are w as they multiply: where a checkpoint has 1 + w, 1 was added before. */
#include "checkpoint/arch_keys.h"
#include "model/arch_blocks.h"

#include <math.h>

#define PATTERN       6u      /* layers from one that sees all to the next */
#define LOCAL_BASE    10000.0 /* of layers with a window */
#define LAYERS_OF_27B 62u     /* whose scale is that of dim / heads, and has no key in files of llama.cpp */

static status gemma3_dims(model *m, const checkpoint *ckpt, errbuf *eb) {
    m->act = ACT_GELU;
    m->rope = ROPE_HALVES;
    status st = dim_keys_read(m, ckpt, "attention.layer_norm_rms_epsilon", eb);
    if (st == ST_OK) st = rope_keys_read(m, ckpt, eb);
    if (st == ST_OK)
        st = arch_real_get(ckpt, "rope.freq_base_swa", 1e15, LOCAL_BASE, &m->rope_local_base, eb);
    if (st == ST_OK) st = dim_keys_window(m, ckpt, PATTERN, eb);
    m->embed_scale = sqrtf((float)m->dim);
    if (m->attend_scale == 0 && m->layers == LAYERS_OF_27B)
        m->attend_scale = 1.0f / sqrtf((float)m->dim / (float)m->heads);
    return st;
}

const arch arch_gemma3 = {
    .name = "gemma3",
    .dims = gemma3_dims,
    EMBED,
    .output_norm = NORM_OF("output_norm"),
    .layer = {[LAYER_ATTN_NORM] = NORM_OF("attn_norm"),
              [LAYER_QKV] = {.form = WEIGHT_QKV, .part = QKV_OF("attn_q", "attn_k", "attn_v")},
              [LAYER_Q_NORM] = {.part = {{"attn_q_norm", DIM_ONE, DIM_HEAD}}},
              [LAYER_K_NORM] = {.part = {{"attn_k_norm", DIM_ONE, DIM_HEAD}}},
              [LAYER_ATTN_OUT] = {.part = {{"attn_output", DIM_MODEL, DIM_Q}}},
              [LAYER_ATTN_POST_NORM] = NORM_OF("post_attention_norm"),
              [LAYER_FFN_NORM] = NORM_OF("ffn_norm"),
              [LAYER_UP] = GATE_UP,
              [LAYER_DOWN] = {.part = {{"ffn_down", DIM_MODEL, DIM_FFN}}},
              [LAYER_FFN_POST_NORM] = NORM_OF("post_ffw_norm")},
    .steps = {ATTENTION_STEPS,
              {STEP_POST_NORM, LAYER_ATTN_POST_NORM, BUFFER_DELTA, BUFFER_DELTA},
              FFN_STEPS,
              {STEP_POST_NORM, LAYER_FFN_POST_NORM, BUFFER_DELTA, BUFFER_DELTA}},
    .step_count = 9,
    WIDTHS_GATED,
};
