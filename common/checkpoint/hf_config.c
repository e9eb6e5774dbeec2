#include "checkpoint/hf_config.h"

#include "base/mem.h"
#include "checkpoint/json_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIM_MOST     (1u << 20)
#define LAYERS_MOST  4096u
#define CONTEXT_MOST (1u << 27)
#define ENDS_MOST    64u

/* --- what is refused --- */

/* Members that may be absent or null, or have one of these values (as JSON, separated by |). */
typedef struct only {
    const char *key, *values;
    const char *class; /* NULL: of all */
} only;

static const only onlys[] = {
    {"quantization_config", "null", NULL},
    {"partial_rotary_factor", "1|1.0", NULL},
    {"rotary_pct", "1|1.0", NULL},
    {"num_experts", "0", NULL},
    {"num_local_experts", "0", NULL},
    {"n_routed_experts", "0", NULL},
    {"attn_logit_softcapping", "null", NULL},
    {"final_logit_softcapping", "null", NULL},
    {"logit_scale", "1|1.0", NULL},
    {"logits_scaling", "1|1.0", NULL},
    {"residual_multiplier", "1|1.0", NULL},
    {"embedding_multiplier", "1|1.0", NULL},
    {"clip_qkv", "null", NULL},
    {"attention_chunk_size", "null", NULL},
    {"no_rope_layers", "null|[]", NULL},
    {"use_bidirectional_attention", "false", NULL},
    {"add_cross_attention", "false", NULL},
    {"is_encoder_decoder", "false", NULL},
    {"hidden_act", "\"silu\"|\"swish\"", "LlamaForCausalLM"},
    {"attention_bias", "false", "LlamaForCausalLM"},
    {"mlp_bias", "false", "LlamaForCausalLM"},
    {"hidden_act", "\"silu\"|\"swish\"", "MistralForCausalLM"},
    {"hidden_act", "\"silu\"|\"swish\"", "Qwen2ForCausalLM"},
    {"hidden_act", "\"silu\"|\"swish\"", "Qwen3ForCausalLM"},
    {"attention_bias", "false", "Qwen3ForCausalLM"},
    {"hidden_activation", "\"gelu_pytorch_tanh\"", "Gemma3ForCausalLM"},
    {"attention_bias", "false", "Gemma3ForCausalLM"},
    {"activation_function", "\"gelu_new\"|\"gelu_pytorch_tanh\"|\"gelu_fast\"", "GPT2LMHeadModel"},
    {"scale_attn_weights", "true", "GPT2LMHeadModel"},
    {"scale_attn_by_inverse_layer_idx", "false", "GPT2LMHeadModel"},
    {"activation_function", "\"relu\"", "OPTForCausalLM"},
    {"do_layer_norm_before", "true", "OPTForCausalLM"},
    {"_remove_final_layer_norm", "false", "OPTForCausalLM"},
    {"layer_norm_elementwise_affine", "true", "OPTForCausalLM"},
};

static bool is_listed(const char *values, const char *text) {
    size_t len = strlen(text);
    for (const char *at = values; *at;) {
        size_t one = strcspn(at, "|");
        if (one == len && memcmp(at, text, len) == 0) return true;
        at += one + (at[one] == '|');
    }
    return false;
}

static status refuse_variants(const hf_config *c, const json_t *config, errbuf *eb) {
    for (size_t i = 0; i < ARRAY_LEN(onlys); i++) {
        const only *o = &onlys[i];
        if ((o->class && strcmp(o->class, c->arch->class) != 0) || !json_is_there(config, o->key)) continue;
        char *text = json_dumps(json_object_get(config, o->key), JSON_ENCODE_ANY | JSON_COMPACT);
        CHECK(text);
        status st = is_listed(o->values, text)
                        ? ST_OK
                        : errf(eb, ST_UNSUPPORTED, "%s is %.48s; of %s only %s is supported", o->key, text,
                               c->arch->class, o->values);
        free(text);
        if (st != ST_OK) return st;
    }
    return ST_OK;
}

/* --- dimensions --- */

/* The class's names for the same things. */
typedef struct dim_names {
    const char *dim, *layers, *heads, *ffn, *context, *eps;
    double eps_usual;
} dim_names;

static const dim_names usual_names = {"hidden_size",
                                      "num_hidden_layers",
                                      "num_attention_heads",
                                      "intermediate_size",
                                      "max_position_embeddings",
                                      "rms_norm_eps",
                                      1e-6};
static const dim_names gpt2_names = {
    "n_embd", "n_layer", "n_head", "n_inner", "n_positions", "layer_norm_epsilon", 1e-5};
static const dim_names opt_names = {"hidden_size", "num_hidden_layers",       "num_attention_heads",
                                    "ffn_dim",     "max_position_embeddings", NULL,
                                    1e-5};

static const dim_names *names_of(const hf_arch *a) {
    if (strcmp(a->arch, "gpt2") == 0) return &gpt2_names;
    return strcmp(a->arch, "opt") == 0 ? &opt_names : &usual_names;
}

static bool is_arch(const hf_config *c, const char *arch) {
    return strcmp(c->arch->arch, arch) == 0;
}

/* One that must be there */
static status need(const json_t *config, const char *key, uint64_t most, uint64_t *out, errbuf *eb) {
    if (!json_is_there(config, key)) return errf(eb, ST_CORRUPT, "%s is missing", key);
    return json_number_get(config, key, 1, most, 0, out, eb);
}

static status read_dims(hf_config *c, const json_t *config, errbuf *eb) {
    const dim_names *n = names_of(c->arch);
    bool gpt2 = is_arch(c, "gpt2");
    status st = need(config, n->dim, DIM_MOST, &c->dim, eb);
    if (st == ST_OK) st = need(config, n->layers, LAYERS_MOST, &c->layers, eb);
    if (st == ST_OK) st = need(config, n->heads, DIM_MOST, &c->heads, eb);
    if (st == ST_OK) st = need(config, "vocab_size", INT32_MAX, &c->vocab, eb);
    if (st == ST_OK) st = need(config, n->context, CONTEXT_MOST, &c->context, eb);
    if (st != ST_OK) return st;
    st = gpt2 ? json_number_get(config, n->ffn, 1, DIM_MOST * 4ull, 4 * c->dim, &c->ffn_dim, eb)
              : need(config, n->ffn, DIM_MOST * 4ull, &c->ffn_dim, eb);
    bool plain = gpt2 || is_arch(c, "opt"); /* heads divide the model's width, and all have their keys */
    c->kv_heads = c->heads;
    c->head_dim = c->dim / c->heads;
    if (st == ST_OK && !plain)
        st = json_number_get(config, "num_key_value_heads", 1, DIM_MOST, c->heads, &c->kv_heads, eb);
    /* Qwen3's and Gemma3's classes have a head_dim of their own, whatever the model's width */
    uint64_t fallback = is_arch(c, "qwen3") ? 128 : is_arch(c, "gemma3") ? 256 : c->head_dim;
    if (st == ST_OK && !plain)
        st = json_number_get(config, "head_dim", 1, DIM_MOST, fallback, &c->head_dim, eb);
    if (st != ST_OK) return st;
    bool given = !plain && (json_is_there(config, "head_dim") || fallback != c->dim / c->heads);
    if (c->head_dim == 0 || (!given && c->dim % c->heads != 0) || c->heads % c->kv_heads != 0)
        return errf(eb, ST_CORRUPT,
                    "%" PRIu64 " heads and %" PRIu64 " key heads do not divide a width of %" PRIu64, c->heads,
                    c->kv_heads, c->dim);
    return ST_OK;
}

static void put(const hf_config *c, key_store *to, const char *name, uint64_t value) {
    char key[96];
    snprintf(key, sizeof key, "%s.%s", c->arch->arch, name);
    key_store_u64(to, key, value);
}

static void put_real(const hf_config *c, key_store *to, const char *name, double value) {
    char key[96];
    snprintf(key, sizeof key, "%s.%s", c->arch->arch, name);
    key_store_f64(to, key, value);
}

static void put_dims(const hf_config *c, key_store *to) {
    put(c, to, "block_count", c->layers);
    put(c, to, "embedding_length", c->dim);
    put(c, to, "feed_forward_length", c->ffn_dim);
    put(c, to, "context_length", c->context);
    put(c, to, "vocab_size", c->vocab);
    put(c, to, "attention.head_count", c->heads);
    put(c, to, "attention.head_count_kv", c->kv_heads);
    put(c, to, "attention.key_length", c->head_dim);
    put(c, to, "attention.value_length", c->head_dim);
}

/* --- windows --- */

/* Whether layer i is one with a window, by layer_types, as -1 (there is no such list) says nothing. */
static int typed(const json_t *config, uint64_t layer) {
    const json_t *types = json_object_get(config, "layer_types");
    if (!json_is_array(types)) return -1;
    const char *t = json_string_value(json_array_get(types, layer));
    if (t && strcmp(t, "sliding_attention") == 0) return 1;
    return t && strcmp(t, "full_attention") == 0 ? 0 : 2;
}

static status check_types(const hf_config *c, const json_t *config, errbuf *eb) {
    const json_t *types = json_object_get(config, "layer_types");
    if (!json_is_there(config, "layer_types")) return ST_OK;
    if (json_array_size(types) != c->layers)
        return errf(eb, ST_CORRUPT, "layer_types has %zu entries for %" PRIu64 " layers",
                    json_array_size(types), c->layers);
    for (uint64_t i = 0; i < c->layers; i++)
        if (typed(config, i) == 2)
            return errf(eb, ST_UNSUPPORTED,
                        "layer_types: layer %" PRIu64 " is '%.32s'; full_attention and sliding_attention are "
                        "supported",
                        i,
                        json_is_string(json_array_get(types, i)) ? json_string_value(json_array_get(types, i))
                                                                 : "no text");
    return ST_OK;
}

/* All layers have the window, or none. */
static status read_window(const hf_config *c, key_store *to, const json_t *config, errbuf *eb) {
    bool qwen = strncmp(c->arch->class, "Qwen", 4) == 0, used = true;
    bool mistral = strcmp(c->arch->class, "MistralForCausalLM") == 0;
    if (!qwen && !mistral) return ST_OK;
    uint64_t window, full = 0, first = 0;
    status st = json_number_get(config, "sliding_window", 1, INT32_MAX, 0, &window, eb);
    if (st == ST_OK && qwen) st = json_truth_get(config, "use_sliding_window", false, &used, eb);
    if (st == ST_OK && qwen) st = json_number_get(config, "max_window_layers", 0, INT32_MAX, 28, &first, eb);
    if (st != ST_OK || !used || window == 0) return st;
    for (uint64_t i = 0; i < c->layers; i++)
        full += typed(config, i) >= 0 ? typed(config, i) == 0 : i < first;
    if (full == c->layers) return ST_OK;
    if (full > 0)
        return errf(eb, ST_UNSUPPORTED,
                    "%" PRIu64 " of %" PRIu64 " layers have a sliding_window and the others none "
                    "(max_window_layers, layer_types): of %s that is not supported",
                    c->layers - full, c->layers, c->arch->class);
    put(c, to, "attention.sliding_window", window);
    return ST_OK;
}

/* Every so many layers one sees all; the others have the window. */
static status read_pattern(const hf_config *c, key_store *to, const json_t *config, errbuf *eb) {
    uint64_t window, pattern, scalar;
    status st = json_number_get(config, "sliding_window", 1, INT32_MAX, 4096, &window, eb);
    if (st == ST_OK) {
        const char *key = json_is_there(config, "sliding_window_pattern") ? "sliding_window_pattern"
                                                                          : "_sliding_window_pattern";
        st = json_number_get(config, key, 1, LAYERS_MOST, 6, &pattern, eb);
    }
    if (st == ST_OK) st = json_number_get(config, "query_pre_attn_scalar", 1, DIM_MOST, 256, &scalar, eb);
    if (st != ST_OK) return st;
    for (uint64_t i = 0; i < c->layers; i++)
        if (typed(config, i) >= 0 && typed(config, i) != ((i + 1) % pattern != 0))
            return errf(eb, ST_UNSUPPORTED,
                        "layer_types: layer %" PRIu64 " is not as every %" PRIu64
                        "th seeing all would have it",
                        i, pattern);
    put(c, to, "attention.sliding_window", window);
    put(c, to, "attention.sliding_window_pattern", pattern);
    if (scalar != c->head_dim) put_real(c, to, "attention.scale", 1 / sqrt((double)scalar));
    return ST_OK;
}

/* --- all of it --- */

static status find_class(hf_config *c, const json_t *config, errbuf *eb) {
    const char *class = json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    if (class) c->arch = hf_arch_find(class);
    if (c->arch) return ST_OK;
    char *known = hf_arch_classes();
    status st =
        class ? errf(eb, ST_UNSUPPORTED, "architecture '%.48s' is not supported; supported: %s", class, known)
              : errf(eb, ST_CORRUPT, "\"architectures\" names no class; want one of %s", known);
    free(known);
    return st;
}

static status check_widths(const hf_config *c, const json_t *config, errbuf *eb) {
    uint64_t width;
    status st = json_number_get(config, "word_embed_proj_dim", 1, DIM_MOST, c->dim, &width, eb);
    if (st == ST_OK && is_arch(c, "opt") && width != c->dim)
        st = errf(eb, ST_UNSUPPORTED,
                  "word_embed_proj_dim is %" PRIu64 " and hidden_size %" PRIu64 "; they must be equal", width,
                  c->dim);
    return st;
}

status hf_config_read(hf_config *c, key_store *to, const json_t *config, errbuf *eb) {
    PRE(c);
    PRE(to);
    status st = find_class(c, config, eb);
    if (st == ST_OK) st = refuse_variants(c, config, eb);
    if (st == ST_OK) st = read_dims(c, config, eb);
    if (st == ST_OK) st = check_types(c, config, eb);
    if (st == ST_OK) st = check_widths(c, config, eb);
    if (st == ST_OK) st = json_truth_get(config, "tie_word_embeddings", c->arch->tied, &c->tied, eb);
    if (st != ST_OK) return st;
    c->untied = !c->tied && json_is_there(config, "tie_word_embeddings");
    key_store_text(to, "general.architecture", c->arch->arch, strlen(c->arch->arch));
    put_dims(c, to);
    const dim_names *n = names_of(c->arch);
    double eps = n->eps_usual;
    if (n->eps) st = json_real_get(config, n->eps, eps, &eps, eb);
    if (st != ST_OK) return st;
    bool layer_norm = n != &usual_names;
    put_real(c, to, layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", eps);
    if (layer_norm) return ST_OK;
    st = is_arch(c, "gemma3") ? read_pattern(c, to, config, eb) : read_window(c, to, config, eb);
    if (st == ST_OK) st = hf_rope_read(&c->rope, c->arch, c->head_dim, to, config, eb);
    if (st == ST_OK && c->rope.context > c->context) put(c, to, "context_length", c->rope.context);
    return st;
}

void hf_config_done(hf_config *c) {
    PRE(c);
    free(c->rope.factors);
    *c = (hf_config){0};
}

/* --- generation_config.json --- */

/* eos_token_id: a number or a list. An id that is no token's (configs of cut models have such) ends nothing.
 */
static status read_ends(key_store *to, const json_t *from, uint64_t vocab, errbuf *eb) {
    static const char list[] = "tokenizer.ggml.eos_token_ids", one[] = "tokenizer.ggml.eos_token_id";
    const json_t *ends = json_object_get(from, "eos_token_id");
    size_t count = json_is_array(ends) ? json_array_size(ends) : 1, kept = 0;
    if (count > ENDS_MOST)
        return errf(eb, ST_CORRUPT, "eos_token_id has %zu ids, want at most %u", count, ENDS_MOST);
    int64_t ids[ENDS_MOST];
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_is_array(ends) ? json_array_get(ends, i) : ends;
        json_int_t value = json_integer_value(id);
        if (!json_is_integer(id))
            return errf(eb, ST_CORRUPT, "eos_token_id is no token's id, and no list of such");
        if (value >= 0 && (uint64_t)value < vocab) ids[kept++] = value;
    }
    if (kept == 0) return ST_OK;
    key_store_list(to, list, CHECKPOINT_INTEGERS, kept);
    for (size_t i = 0; i < kept; i++) key_store_list_i64(to, list, i, ids[i]);
    uint64_t known;
    if (!key_store_get_u64(to, one, &known)) key_store_u64(to, one, (uint64_t)ids[0]);
    return ST_OK;
}

static status read_bos(key_store *to, const json_t *generation, const json_t *config, uint64_t vocab,
                       errbuf *eb) {
    static const char key[] = "tokenizer.ggml.bos_token_id";
    uint64_t id;
    if (key_store_get_u64(to, key, &id)) return ST_OK;
    const json_t *from = json_is_there(generation, "bos_token_id") ? generation : config;
    status st = json_number_get(from, "bos_token_id", 0, INT64_MAX, INT64_MAX, &id, eb);
    if (st == ST_OK && id < vocab) key_store_u64(to, key, id);
    return st;
}

/* Defaults of requests, in the file's words. */
static status read_defaults(key_store *to, const json_t *g, errbuf *eb) {
    static const char *const keys[] = {"temperature", "top_p", "top_k", "min_p", "repetition_penalty"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (!json_is_there(g, keys[i])) continue;
        const json_t *v = json_object_get(g, keys[i]);
        double x = json_number_value(v);
        if (!json_is_number(v) || !isfinite(x) || x < 0 || x > INT32_MAX)
            return errf(eb, ST_CORRUPT, "%s is no number from 0", keys[i]);
        char key[64];
        snprintf(key, sizeof key, "generation.%s", keys[i]);
        key_store_f64(to, key, x);
    }
    return ST_OK;
}

status hf_generation_read(key_store *to, const json_t *generation, const json_t *config, uint64_t vocab,
                          errbuf *eb) {
    PRE(to);
    PRE(vocab > 0);
    bool here = json_is_there(generation, "eos_token_id");
    status st = ST_OK;
    if (here || json_is_there(config, "eos_token_id"))
        st = read_ends(to, here ? generation : config, vocab, eb);
    if (st == ST_OK) st = read_bos(to, generation, config, vocab, eb);
    if (st == ST_OK) st = read_defaults(to, generation, eb);
    return st;
}
