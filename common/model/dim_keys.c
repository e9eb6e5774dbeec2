#include "model/dim_keys.h"

#include "base/mem.h"
#include "checkpoint/arch_keys.h"

#include <inttypes.h>
#include <math.h>

#define DIM_MAX      65536u
#define HEADS_MAX    1024u
#define HEAD_DIM_MAX 512u
#define FFN_MAX      (1u << 20)

/* Keys that nobody obeys, with the value that changes nothing. */
static const struct {
    const char *name;
    double neutral;
} refused[] = {
    {"expert_count", 0},
    {"attention.causal", 1},
    {"attn_logit_softcapping", 0},
    {"final_logit_softcapping", 0},
    {"attention.max_alibi_bias", 0},
    {"attention.clamp_kqv", 0},
    {"attention.output_scale", 1},
    {"attention.shared_kv_layers", 0},
    {"logit_scale", 1},
    {"residual_scale", 1},
    {"embedding_scale", 1},
    {"use_parallel_residual", 0},
    {"swin_norm", 0},
    {"rescale_every_n_layers", 0},
    {"rope.scaling.alpha", 0},
    {"rope.scaling.yarn_log_multiplier", 0},
    {"rope.scaling.yarn_ext_factor", 1},
    {"rope.scaling.yarn_attn_factor", 1},
};

static status refuse(const model *m, const checkpoint *ckpt, errbuf *eb) {
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        double value = refused[i].neutral;
        status st = arch_real_find(ckpt, refused[i].name, &value, eb);
        if (st != ST_OK) return st;
        if (value != refused[i].neutral)
            return errf(eb, ST_UNSUPPORTED, "%s.%s is %g; only %g is supported", m->arch->name,
                        refused[i].name, value, refused[i].neutral);
    }
    return ST_OK;
}

static status read_heads(model *m, const checkpoint *ckpt, errbuf *eb) {
    status st = arch_number_get(ckpt, (arch_number){"attention.head_count", 1, HEADS_MAX, 0}, &m->heads, eb);
    if (st == ST_OK)
        st = arch_number_get(ckpt, (arch_number){"attention.head_count_kv", 1, HEADS_MAX, m->heads},
                             &m->kv_heads, eb);
    if (st != ST_OK) return st;
    if (m->heads % m->kv_heads != 0)
        return errf(eb, ST_CORRUPT, "%u heads are no multiple of %u kv heads", m->heads, m->kv_heads);

    uint32_t value_dim = 0, whole = m->dim % m->heads == 0 ? m->dim / m->heads : 0;
    st = arch_number_get(ckpt, (arch_number){"attention.key_length", 2, HEAD_DIM_MAX, whole}, &m->head_dim,
                         eb);
    if (st == ST_OK)
        st = arch_number_get(ckpt, (arch_number){"attention.value_length", 2, HEAD_DIM_MAX, m->head_dim},
                             &value_dim, eb);
    if (st != ST_OK) return st;
    if (value_dim != m->head_dim)
        return errf(eb, ST_UNSUPPORTED,
                    "%s.attention.value_length is %u and key_length %u; they must be equal", m->arch->name,
                    value_dim, m->head_dim);
    if (m->head_dim < 2 || m->head_dim > HEAD_DIM_MAX || m->head_dim % 2 != 0)
        return errf(eb, ST_CORRUPT,
                    "embedding_length %u over %u heads makes no head of an even number of dimensions, 2..%u",
                    m->dim, m->heads, HEAD_DIM_MAX);
    if (m->heads * m->head_dim % 32 != 0)
        return errf(eb, ST_CORRUPT, "%u heads of %u dimensions are no multiple of 32", m->heads, m->head_dim);
    return ST_OK;
}

static status read_scale(model *m, const checkpoint *ckpt, errbuf *eb) {
    double scale = 0;
    status st = arch_real_find(ckpt, "attention.scale", &scale, eb);
    if (st == ST_OK && (scale < 0 || scale > 1e3))
        st = errf(eb, ST_CORRUPT, "%s.attention.scale is %g, want 0..1000", m->arch->name, scale);
    m->attend_scale = (float)scale;
    return st;
}

status dim_keys_read(model *m, const checkpoint *ckpt, const char *eps, errbuf *eb) {
    PRE(m);
    PRE(eps);
    status st = refuse(m, ckpt, eb);
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
    st = read_heads(m, ckpt, eb);
    if (st == ST_OK) st = read_scale(m, ckpt, eb);
    if (st == ST_OK) st = arch_real_get(ckpt, eps, 0.1, 0, &m->norm_eps, eb);
    uint32_t vocab = 0;
    if (st == ST_OK)
        st = arch_number_get(ckpt, (arch_number){"vocab_size", 1, INT32_MAX, m->vocab}, &vocab, eb);
    if (st == ST_OK && vocab != m->vocab)
        st = errf(eb, ST_CORRUPT, "%s.vocab_size is %u, but the tokenizer has %u tokens", m->arch->name,
                  vocab, m->vocab);
    return st;
}

status dim_keys_window(model *m, const checkpoint *ckpt, uint32_t pattern, errbuf *eb) {
    PRE(m);
    PRE(!m->window);
    double window = 0, period = pattern;
    status st = arch_real_find(ckpt, "attention.sliding_window", &window, eb);
    if (st == ST_OK) st = arch_real_find(ckpt, "attention.sliding_window_pattern", &period, eb);
    if (st != ST_OK) return st;
    if (window < 0 || window > UINT32_MAX || floor(window) != window || period < 0 || period > 1024 ||
        floor(period) != period)
        return errf(eb, ST_CORRUPT,
                    "%s.attention.sliding_window is %g and sliding_window_pattern %g, want whole numbers",
                    m->arch->name, window, period);
    if (window == 0) return ST_OK;
    m->window = xcalloc(m->layers, sizeof *m->window);
    for (uint32_t i = 0; i < m->layers; i++)
        if (period == 0 || (i + 1) % (uint32_t)period != 0) m->window[i] = (uint32_t)window;
    return ST_OK;
}
