#include "checkpoint/hf_rope.h"

#include "base/mem.h"
#include "checkpoint/json_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONTEXT_MOST (1u << 27)

static void put(const hf_arch *a, key_store *to, const char *name, double value) {
    char key[96];
    snprintf(key, sizeof key, "%s.rope.%s", a->arch, name);
    key_store_f64(to, key, value);
}

/* Each frequency is divided by its factor: long waves by `factor`, short ones by 1, those between by a mean
 * of both (Llama 3.1's model code; the same numbers as llama.cpp's converter writes to rope_freqs.weight). */
static status llama3_factors(hf_rope *out, uint64_t head_dim, const json_t *rope, double base, errbuf *eb) {
    double factor, low, high;
    uint64_t trained;
    status st = json_real_get(rope, "factor", 8, &factor, eb);
    if (st == ST_OK) st = json_real_get(rope, "low_freq_factor", 1, &low, eb);
    if (st == ST_OK) st = json_real_get(rope, "high_freq_factor", 4, &high, eb);
    if (st == ST_OK)
        st = json_number_get(rope, "original_max_position_embeddings", 1, CONTEXT_MOST, 8192, &trained, eb);
    if (st != ST_OK) return st;
    if (low >= high)
        return errf(eb, ST_CORRUPT, "low_freq_factor %g is not below high_freq_factor %g", low, high);
    out->count = (uint32_t)(head_dim / 2);
    out->factors = xcalloc(MAX(out->count, 1u), sizeof *out->factors);
    for (uint32_t i = 0; i < out->count; i++) {
        double wave = 2 * M_PI * pow(base, 2.0 * i / (double)head_dim);
        double smooth = ((double)trained / wave - low) / (high - low);
        if (wave < (double)trained / high)
            out->factors[i] = 1;
        else if (wave > (double)trained / low)
            out->factors[i] = (float)factor;
        else
            out->factors[i] = (float)(1 / ((1 - smooth) / factor + smooth));
    }
    return ST_OK;
}

static status put_scaling(const hf_arch *a, key_store *to, const json_t *rope, const char *type, errbuf *eb) {
    double factor;
    status st = json_real_get(rope, "factor", 0, &factor, eb);
    if (st == ST_OK && factor == 0) st = errf(eb, ST_CORRUPT, "it has no factor");
    if (st != ST_OK) return st;
    char key[96];
    snprintf(key, sizeof key, "%s.rope.scaling.type", a->arch);
    key_store_text(to, key, type, strlen(type));
    put(a, to, "scaling.factor", factor);
    return ST_OK;
}

typedef struct reading {
    hf_rope *out;
    const hf_arch *a;
    uint64_t head_dim, context;
    key_store *to;
} reading;

/* Yarn's numbers: factors and magnitude follow from them where the model is loaded, as transformers computes
 * them. */
static status read_yarn(const reading *r, const json_t *rope, errbuf *eb) {
    const hf_arch *a = r->a;
    key_store *to = r->to;
    static const char *const others[] = {"mscale", "mscale_all_dim", "short_factor", "long_factor"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (json_is_there(rope, others[i]))
            return errf(eb, ST_UNSUPPORTED, "yarn with %s is not supported", others[i]);
    bool truncate;
    double factor, fast, slow, attention;
    uint64_t trained;
    status st = json_truth_get(rope, "truncate", true, &truncate, eb);
    if (st == ST_OK && !truncate) st = errf(eb, ST_UNSUPPORTED, "yarn with truncate false is not supported");
    if (st == ST_OK) st = put_scaling(a, to, rope, "yarn", eb);
    if (st == ST_OK) st = json_real_get(rope, "factor", 0, &factor, eb);
    if (st == ST_OK) st = json_real_get(rope, "beta_fast", 32, &fast, eb);
    if (st == ST_OK) st = json_real_get(rope, "beta_slow", 1, &slow, eb);
    if (st != ST_OK) return st;
    double usual = factor > 1 ? 0.1 * log(factor) + 1 : 1;
    st = json_real_get(rope, "attention_factor", usual, &attention, eb);
    if (st == ST_OK)
        st = json_number_get(rope, "original_max_position_embeddings", 1, CONTEXT_MOST, r->context, &trained,
                             eb);
    if (st != ST_OK) return st;
    put(a, to, "scaling.yarn_beta_fast", fast);
    put(a, to, "scaling.yarn_beta_slow", slow);
    put(a, to, "scaling.original_context_length", (double)trained);
    r->out->context = (uint64_t)fmin((double)trained * factor, CONTEXT_MOST);
    if (attention != usual) put(a, to, "scaling.attn_factor", attention / usual);
    return ST_OK;
}

/* Of one kind of layers; base: its rope_theta. */
static status read_scaling(const reading *r, const json_t *rope, double base, errbuf *eb) {
    const hf_arch *a = r->a;
    const char *type = json_string_value(json_object_get(rope, "rope_type"));
    if (!type) type = json_string_value(json_object_get(rope, "type"));
    if (!type || strcmp(type, "default") == 0) return ST_OK;
    if (json_is_there(rope, "partial_rotary_factor") &&
        json_number_value(json_object_get(rope, "partial_rotary_factor")) != 1.0)
        return errf(eb, ST_UNSUPPORTED, "partial_rotary_factor is not 1");
    if (strcmp(type, "linear") == 0) return put_scaling(a, r->to, rope, type, eb);
    if (strcmp(type, "yarn") == 0 && strcmp(a->arch, "gemma3") != 0) return read_yarn(r, rope, eb);
    if (strcmp(type, "llama3") == 0 && strcmp(a->arch, "llama") == 0)
        return llama3_factors(r->out, r->head_dim, rope, base, eb);
    return errf(eb, ST_UNSUPPORTED, "'%.32s' of %s is not supported; default, linear%s%s are", type, a->class,
                strcmp(a->arch, "gemma3") == 0 ? "" : ", yarn",
                strcmp(a->arch, "llama") == 0 ? ", llama3" : "");
}

/* Gemma 3 has a base for layers with a window, which nothing stretches, and one for the others. */
static status read_local(const hf_arch *a, key_store *to, const json_t *config, const json_t *local,
                         errbuf *eb) {
    double base;
    const char *type = json_string_value(json_object_get(local, "rope_type"));
    if (type && strcmp(type, "default") != 0)
        return errf(eb, ST_UNSUPPORTED, "'%.32s' in layers with a window is not supported", type);
    status st = json_real_get(config, "rope_local_base_freq", 10000, &base, eb);
    if (st == ST_OK) st = json_real_get(local, "rope_theta", base, &base, eb);
    if (st == ST_OK) put(a, to, "freq_base_swa", base);
    return st;
}

status hf_rope_read(hf_rope *out, const hf_arch *a, uint64_t head_dim, key_store *to, const json_t *config,
                    errbuf *eb) {
    PRE(out);
    PRE(a);
    uint64_t context;
    PRE(to);
    bool gemma = strcmp(a->arch, "gemma3") == 0;
    const json_t *rope = json_object_get(config, "rope_parameters");
    if (!json_is_object(rope)) rope = json_object_get(config, "rope_scaling");
    const json_t *local = NULL;
    if (json_is_object(json_object_get(rope, "full_attention"))) {
        local = json_object_get(rope, "sliding_attention");
        rope = json_object_get(rope, "full_attention");
        if (!gemma && local && !json_equal(rope, local))
            return errf(eb, ST_UNSUPPORTED,
                        "rope_parameters: layers with a window differ; of %s that is not "
                        "supported",
                        a->class);
    }
    double base = gemma ? 1e6 : 1e4;
    status st = json_number_get(config, "max_position_embeddings", 1, CONTEXT_MOST, 1, &context, eb);
    if (st == ST_OK) st = json_real_get(config, "rope_theta", base, &base, eb);
    if (st == ST_OK) st = json_real_get(rope, "rope_theta", base, &base, eb);
    if (st != ST_OK) return st;
    put(a, to, "freq_base", base);
    char key[96];
    snprintf(key, sizeof key, "%s.rope.dimension_count", a->arch);
    key_store_u64(to, key, head_dim);
    st = read_scaling(&(reading){out, a, head_dim, context, to}, rope, base, eb);
    if (st == ST_OK && gemma) st = read_local(a, to, config, local, eb);
    return st == ST_OK ? ST_OK : err_prefix(eb, st, "rope_parameters (rope_scaling)");
}
