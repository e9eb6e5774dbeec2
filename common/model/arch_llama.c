/* arch_llama - Llama and what is built like it: RMS norm, rotary positions, grouped queries, SwiGLU, no
 * biases.
 *
 * Anything in the file that would change the computation and is not implemented is refused by name, because a
 * model that runs and answers nonsense is worse than one that does not start. */
#include "base/mem.h"
#include "checkpoint/arch_keys.h"
#include "model/model.h"

#include <inttypes.h>
#include <string.h>

#define DIM_MAX      65536u
#define HEADS_MAX    1024u
#define HEAD_DIM_MAX 512u
#define FFN_MAX      (1u << 20)

static status refuse_variants(const checkpoint *ckpt, errbuf *eb) {
    checkpoint_text scaling;
    if (checkpoint_string(ckpt, "llama.rope.scaling.type", &scaling) &&
        !(scaling.len == 4 && memcmp(scaling.data, "none", 4) == 0))
        return errf(eb, ST_UNSUPPORTED,
                    "llama.rope.scaling.type is '%.*s'; only 'none' (and rope_freqs.weight) is supported",
                    (int)MIN(scaling.len, 32u), scaling.data);
    double linear;
    if (checkpoint_f64(ckpt, "llama.rope.scale_linear", &linear) && linear != 1.0)
        return errf(eb, ST_UNSUPPORTED, "llama.rope.scale_linear is %g; only 1 is supported", linear);
    uint64_t experts;
    if (checkpoint_u64(ckpt, "llama.expert_count", &experts) && experts > 0)
        return errf(eb, ST_UNSUPPORTED,
                    "llama.expert_count is %" PRIu64 "; mixtures of experts are not supported", experts);
    bool causal;
    if (checkpoint_bool(ckpt, "llama.attention.causal", &causal) && !causal)
        return errf(eb, ST_UNSUPPORTED,
                    "llama.attention.causal is false; only causal attention is supported");
    return ST_OK;
}

static status llama_heads(model *m, const checkpoint *ckpt, errbuf *eb) {
    status st = arch_number_get(ckpt, (arch_number){"attention.head_count", 1, HEADS_MAX, 0}, &m->heads, eb);
    if (st == ST_OK)
        st = arch_number_get(ckpt, (arch_number){"attention.head_count_kv", 1, HEADS_MAX, m->heads},
                             &m->kv_heads, eb);
    if (st != ST_OK) return st;
    if (m->heads % m->kv_heads != 0)
        return errf(eb, ST_CORRUPT, "%u heads are no multiple of %u kv heads", m->heads, m->kv_heads);

    st = arch_number_get(ckpt, (arch_number){"attention.key_length", 2, HEAD_DIM_MAX, m->dim / m->heads},
                         &m->head_dim, eb);
    uint32_t value_dim = 0;
    if (st == ST_OK)
        st = arch_number_get(ckpt, (arch_number){"attention.value_length", 2, HEAD_DIM_MAX, m->head_dim},
                             &value_dim, eb);
    if (st != ST_OK) return st;
    if (value_dim != m->head_dim)
        return errf(eb, ST_UNSUPPORTED,
                    "llama.attention.value_length is %u and key_length %u; they must be equal", value_dim,
                    m->head_dim);
    uint64_t named;
    bool whole = checkpoint_u64(ckpt, "llama.attention.key_length", &named) || m->dim % m->heads == 0;
    if (!whole || m->head_dim < 2 || m->head_dim > HEAD_DIM_MAX || m->head_dim % 2 != 0)
        return errf(eb, ST_CORRUPT,
                    "embedding_length %u over %u heads makes no head of an even number of dimensions, 2..%u",
                    m->dim, m->heads, HEAD_DIM_MAX);
    if (m->heads * m->head_dim % 32 != 0)
        return errf(eb, ST_CORRUPT, "%u heads of %u dimensions are no multiple of 32", m->heads, m->head_dim);
    return ST_OK;
}

static status llama_dims(model *m, const checkpoint *ckpt, errbuf *eb) {
    status st = refuse_variants(ckpt, eb);
    if (st == ST_OK)
        st = arch_number_get(ckpt, (arch_number){"embedding_length", 32, DIM_MAX, 0}, &m->dim, eb);
    if (st == ST_OK)
        st = arch_number_get(ckpt, (arch_number){"block_count", 1, MODEL_LAYERS_MAX, 0}, &m->layers, eb);
    if (st == ST_OK)
        st = arch_number_get(ckpt, (arch_number){"feed_forward_length", 32, FFN_MAX, 0}, &m->ffn_dim, eb);
    if (st == ST_OK) st = arch_context(ckpt, &m->context, eb);
    if (st != ST_OK) return st;
    if (m->dim % 32 != 0 || m->ffn_dim % 32 != 0)
        return errf(eb, ST_CORRUPT, "embedding_length %u and feed_forward_length %u must be multiples of 32",
                    m->dim, m->ffn_dim);

    st = llama_heads(m, ckpt, eb);
    if (st == ST_OK)
        st = arch_number_get(ckpt, (arch_number){"rope.dimension_count", 2, HEAD_DIM_MAX, m->head_dim},
                             &m->rope_dim, eb);
    if (st == ST_OK) st = arch_real_get(ckpt, "rope.freq_base", 1e15, 10000.0, &m->rope_base, eb);
    if (st == ST_OK) st = arch_real_get(ckpt, "attention.layer_norm_rms_epsilon", 0.1, 0, &m->norm_eps, eb);
    if (st != ST_OK) return st;
    if (m->rope_dim > m->head_dim || m->rope_dim % 2 != 0)
        return errf(eb, ST_CORRUPT, "rope.dimension_count is %u, want an even number up to the head's %u",
                    m->rope_dim, m->head_dim);

    uint32_t vocab = 0;
    st = arch_number_get(ckpt, (arch_number){"vocab_size", 1, INT32_MAX, m->vocab}, &vocab, eb);
    if (st == ST_OK && vocab != m->vocab)
        st = errf(eb, ST_CORRUPT, "llama.vocab_size is %u, but the tokenizer has %u tokens", vocab, m->vocab);
    return st;
}

/* norm -> q, k, v -> attention -> o -> norm -> gate and up -> down; each half adds to the residual stream. */
const arch arch_llama = {
    .name = "llama",
    .dims = llama_dims,
    .embed = {.part = {{"token_embd", DIM_VOCAB, DIM_MODEL}}},
    .output_norm = {.part = {{"output_norm", DIM_ONE, DIM_MODEL}}},
    .output = {.part = {{"output", DIM_VOCAB, DIM_MODEL}}},
    .rope_factors = "rope_freqs",
    .layer =
        {
            [LAYER_ATTN_NORM] = {.part = {{"attn_norm", DIM_ONE, DIM_MODEL}}},
            [LAYER_QKV] = {.form = WEIGHT_QKV,
                           .part = {{"attn_q", DIM_Q, DIM_MODEL},
                                    {"attn_k", DIM_KV, DIM_MODEL},
                                    {"attn_v", DIM_KV, DIM_MODEL}}},
            [LAYER_ATTN_OUT] = {.part = {{"attn_output", DIM_MODEL, DIM_Q}}},
            [LAYER_FFN_NORM] = {.part = {{"ffn_norm", DIM_ONE, DIM_MODEL}}},
            [LAYER_UP] = {.form = WEIGHT_GATE_UP,
                          .part = {{"ffn_gate", DIM_FFN, DIM_MODEL}, {"ffn_up", DIM_FFN, DIM_MODEL}}},
            [LAYER_DOWN] = {.part = {{"ffn_down", DIM_MODEL, DIM_FFN}}},
        },
    .steps =
        {
            {STEP_NORM, LAYER_ATTN_NORM, .to = BUFFER_NORMED},
            {STEP_LINEAR, LAYER_QKV, BUFFER_NORMED, BUFFER_QKV},
            {STEP_ATTEND, .from = BUFFER_QKV, .to = BUFFER_ATTENTION},
            {STEP_LINEAR, LAYER_ATTN_OUT, BUFFER_ATTENTION, BUFFER_DELTA},
            {STEP_NORM, LAYER_FFN_NORM, .to = BUFFER_NORMED},
            {STEP_FFN, LAYER_UP, BUFFER_NORMED, BUFFER_GATED},
            {STEP_LINEAR, LAYER_DOWN, BUFFER_GATED, BUFFER_DELTA},
        },
    .step_count = 7,
    .widths =
        {
            [BUFFER_NORMED] = {DIM_MODEL},
            [BUFFER_DELTA] = {DIM_MODEL},
            [BUFFER_QKV] = {DIM_Q, DIM_KV, DIM_KV},
            [BUFFER_ATTENTION] = {DIM_Q},
            [BUFFER_SCRATCH] = {DIM_FFN, DIM_FFN},
            [BUFFER_GATED] = {DIM_FFN},
        },
};
