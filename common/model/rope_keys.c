#include "model/rope_keys.h"

#include "base/mem.h"
#include "checkpoint/arch_keys.h"

#include <math.h>
#include <string.h>

/* The pair that turns `turns` times over the context that the model was first trained for. */
static double pair_of(const model *m, double turns, double context) {
    return m->rope_dim * log(context / (turns * 2 * M_PI)) / (2 * log((double)m->rope_base));
}

static status stretch_yarn(model *m, const checkpoint *ckpt, double factor, errbuf *eb) {
    double fast = 32, slow = 1, context = m->context;
    status st = arch_real_find(ckpt, "rope.scaling.yarn_beta_fast", &fast, eb);
    if (st == ST_OK) st = arch_real_find(ckpt, "rope.scaling.yarn_beta_slow", &slow, eb);
    if (st == ST_OK) st = arch_real_find(ckpt, "rope.scaling.original_context_length", &context, eb);
    if (st != ST_OK) return st;
    if (factor < 1 || !(slow > 0) || !(fast >= slow) || !(context >= 1) || !(m->rope_base > 1))
        return errf(eb, ST_CORRUPT,
                    "rope.scaling: yarn with factor %g, yarn_beta_fast %g, yarn_beta_slow %g, "
                    "original_context_length %g and freq_base %g makes no rotation",
                    factor, fast, slow, context, (double)m->rope_base);
    double low = fmax(floor(pair_of(m, fast, context)), 0);
    double high = fmin(ceil(pair_of(m, slow, context)), m->rope_dim - 1);
    if (high <= low) high = low + 0.001;
    float *to = model_rope_factors(m);
    for (uint32_t i = 0; i < m->rope_dim / 2; i++) {
        double stretched = fmin(fmax((i - low) / (high - low), 0), 1);
        to[i] *= (float)(1 / (1 - stretched + stretched / factor));
    }
    m->rope_magnitude = (float)(0.1 * log(factor) + 1);
    return ST_OK;
}

static bool is(checkpoint_text text, const char *word) {
    return text.len == strlen(word) && memcmp(text.data, word, text.len) == 0;
}

static status scaling(model *m, const checkpoint *ckpt, errbuf *eb) {
    checkpoint_text type = {"linear", 6};
    double factor = 1, attention = 1;
    status st = arch_text_find(ckpt, "rope.scaling.type", &type, eb);
    if (st == ST_OK) st = arch_real_find(ckpt, "rope.scale_linear", &factor, eb);
    if (st == ST_OK) st = arch_real_find(ckpt, "rope.scaling.factor", &factor, eb);
    if (st == ST_OK) st = arch_real_find(ckpt, "rope.scaling.attn_factor", &attention, eb);
    if (st != ST_OK) return st;
    if (factor == 0) factor = 1; /* written by some converters where there is none */
    if (!model_rope_stretches(factor) || !model_rope_stretches(attention))
        return errf(eb, ST_CORRUPT, "rope.scaling.factor is %g and attn_factor %g, want %g..%g", factor,
                    attention, ROPE_STRETCH_LEAST, ROPE_STRETCH_MOST);
    if (is(type, "yarn"))
        st = stretch_yarn(m, ckpt, factor, eb);
    else if (is(type, "linear") && factor != 1)
        for (uint32_t i = 0; i < m->rope_dim / 2; i++) model_rope_factors(m)[i] *= (float)factor;
    else if (!is(type, "linear") && !is(type, "none"))
        return errf(eb, ST_UNSUPPORTED,
                    "%s.rope.scaling.type is '%.*s'; supported are none, linear and yarn (and "
                    "rope_freqs.weight)",
                    m->arch->name, (int)MIN(type.len, 32u), type.data);
    double magnitude = attention * (m->rope_magnitude != 0 ? (double)m->rope_magnitude : 1);
    m->rope_magnitude = magnitude != 1 ? (float)magnitude : 0;
    return st;
}

status rope_keys_read(model *m, const checkpoint *ckpt, errbuf *eb) {
    PRE(m);
    PRE(m->head_dim > 0);
    status st = arch_number_get(ckpt, (arch_number){"rope.dimension_count", 2, m->head_dim, m->head_dim},
                                &m->rope_dim, eb);
    if (st == ST_OK) st = arch_real_get(ckpt, "rope.freq_base", 1e15, 10000.0, &m->rope_base, eb);
    if (st != ST_OK) return st;
    if (m->rope_dim % 2 != 0)
        return errf(eb, ST_CORRUPT, "rope.dimension_count is %u, want an even number up to the head's %u",
                    m->rope_dim, m->head_dim);
    return scaling(m, ckpt, eb);
}
