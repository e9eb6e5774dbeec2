#include "checkpoint/hf_names.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAYER_DIGITS 4u

/* Names to the right are those that llama.cpp's converter gives. OPT is not among its architectures: names in
 * the same manner. */
#define LLAMA_LAYER(q, k)                                                                                    \
    {"input_layernorm", "attn_norm", HF_PLAIN}, {"self_attn.q_proj", "attn_q", q},                           \
        {"self_attn.k_proj", "attn_k", k}, {"self_attn.v_proj", "attn_v", HF_PLAIN},                         \
        {"self_attn.o_proj", "attn_output", HF_PLAIN}, {"post_attention_layernorm", "ffn_norm", HF_PLAIN},   \
        {"mlp.gate_proj", "ffn_gate", HF_PLAIN}, {"mlp.up_proj", "ffn_up", HF_PLAIN}, {                      \
        "mlp.down_proj", "ffn_down", HF_PLAIN                                                                \
    }
#define LLAMA_WHOLE                                                                                          \
    {                                                                                                        \
        {"embed_tokens", "token_embd", HF_PLAIN}, {"norm", "output_norm", HF_PLAIN}, {                       \
            "lm_head", "output", HF_PLAIN                                                                    \
        }                                                                                                    \
    }

static const hf_arch archs[] = {
    {.class = "LlamaForCausalLM",
     .arch = "llama",
     .list = "layers.",
     .whole = LLAMA_WHOLE,
     .layer = {LLAMA_LAYER(HF_ROTATED_Q, HF_ROTATED_K)}},
    {.class = "MistralForCausalLM",
     .arch = "llama",
     .list = "layers.",
     .whole = LLAMA_WHOLE,
     .layer = {LLAMA_LAYER(HF_ROTATED_Q, HF_ROTATED_K)}},
    {.class = "Qwen2ForCausalLM",
     .arch = "qwen2",
     .list = "layers.",
     .whole = LLAMA_WHOLE,
     .layer = {LLAMA_LAYER(HF_PLAIN, HF_PLAIN)}},
    {.class = "Qwen3ForCausalLM",
     .arch = "qwen3",
     .list = "layers.",
     .whole = LLAMA_WHOLE,
     .layer = {LLAMA_LAYER(HF_PLAIN, HF_PLAIN),
               {"self_attn.q_norm", "attn_q_norm", HF_PLAIN},
               {"self_attn.k_norm", "attn_k_norm", HF_PLAIN}}},
    {.class = "Gemma3ForCausalLM",
     .arch = "gemma3",
     .list = "layers.",
     .tied = true,
     .whole = {{"embed_tokens", "token_embd", HF_PLAIN},
               {"norm", "output_norm", HF_PLUS_ONE},
               {"lm_head", "output", HF_PLAIN}},
     .layer = {{"input_layernorm", "attn_norm", HF_PLUS_ONE},
               {"self_attn.q_proj", "attn_q", HF_PLAIN},
               {"self_attn.k_proj", "attn_k", HF_PLAIN},
               {"self_attn.v_proj", "attn_v", HF_PLAIN},
               {"self_attn.o_proj", "attn_output", HF_PLAIN},
               {"self_attn.q_norm", "attn_q_norm", HF_PLUS_ONE},
               {"self_attn.k_norm", "attn_k_norm", HF_PLUS_ONE},
               {"post_attention_layernorm", "post_attention_norm", HF_PLUS_ONE},
               {"pre_feedforward_layernorm", "ffn_norm", HF_PLUS_ONE},
               {"post_feedforward_layernorm", "post_ffw_norm", HF_PLUS_ONE},
               {"mlp.gate_proj", "ffn_gate", HF_PLAIN},
               {"mlp.up_proj", "ffn_up", HF_PLAIN},
               {"mlp.down_proj", "ffn_down", HF_PLAIN}}},
    {.class = "GPT2LMHeadModel",
     .arch = "gpt2",
     .list = "h.",
     .tied = true,
     .biased = true,
     .whole = {{"wte", "token_embd", HF_PLAIN},
               {"wpe", "position_embd", HF_PLAIN},
               {"ln_f", "output_norm", HF_PLAIN},
               {"lm_head", "output", HF_PLAIN}},
     .layer = {{"ln_1", "attn_norm", HF_PLAIN},
               {"attn.c_attn", "attn_qkv", HF_CONV1D},
               {"attn.c_proj", "attn_output", HF_CONV1D},
               {"ln_2", "ffn_norm", HF_PLAIN},
               {"mlp.c_fc", "ffn_up", HF_CONV1D},
               {"mlp.c_proj", "ffn_down", HF_CONV1D}}},
    {.class = "OPTForCausalLM",
     .arch = "opt",
     .list = "layers.",
     .tied = true,
     .biased = true,
     .whole = {{"embed_tokens", "token_embd", HF_PLAIN},
               {"embed_positions", "position_embd", HF_FROM_ROW_2},
               {"final_layer_norm", "output_norm", HF_PLAIN},
               {"lm_head", "output", HF_PLAIN}},
     .layer = {{"self_attn_layer_norm", "attn_norm", HF_PLAIN},
               {"self_attn.q_proj", "attn_q", HF_PLAIN},
               {"self_attn.k_proj", "attn_k", HF_PLAIN},
               {"self_attn.v_proj", "attn_v", HF_PLAIN},
               {"self_attn.out_proj", "attn_output", HF_PLAIN},
               {"final_layer_norm", "ffn_norm", HF_PLAIN},
               {"fc1", "ffn_up", HF_PLAIN},
               {"fc2", "ffn_down", HF_PLAIN}}},
};

/* What classes of whole models, and of models that were compiled, put before the names. */
static const char *const prefixes[] = {"_orig_mod.", "model.", "transformer.", "decoder."};

/* Tables that a model computes when it is built; some versions saved them. */
static const char *const ignored[] = {"self_attn.rotary_emb.inv_freq", "rotary_emb.inv_freq", "attn.bias",
                                      "attn.masked_bias"};

const hf_arch *hf_arch_find(const char *class) {
    PRE(class);
    for (size_t i = 0; i < ARRAY_LEN(archs); i++)
        if (strcmp(archs[i].class, class) == 0) return &archs[i];
    return NULL;
}

char *hf_arch_classes(void) {
    buf b = {0};
    for (size_t i = 0; i < ARRAY_LEN(archs); i++) buf_addf(&b, "%s%s", i ? ", " : "", archs[i].class);
    return b.data;
}

static const char *without_prefixes(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(prefixes);) {
        size_t len = strlen(prefixes[i]);
        bool has = strncmp(name, prefixes[i], len) == 0;
        if (has) name += len;
        i = has ? 0 : i + 1;
    }
    return name;
}

/* Whether the name is `from` and an ending; *ending is that. */
static bool is_part(const char *name, const char *from, const char **ending) {
    size_t len = strlen(from);
    *ending = name + len;
    return strncmp(name, from, len) == 0 &&
           (strcmp(*ending, ".weight") == 0 || strcmp(*ending, ".bias") == 0);
}

static hf_found find_in(const hf_name *names, size_t count, const char *prefix, const char *name,
                        hf_place *out) {
    const char *ending;
    for (size_t i = 0; i < count && names[i].to; i++) {
        if (!is_part(name, names[i].from, &ending)) continue;
        out->vector = strcmp(ending, ".bias") == 0;
        out->change = out->vector ? HF_PLAIN : names[i].change;
        snprintf(out->name, sizeof out->name, "%s%s%s", prefix, names[i].to, ending);
        return HF_TENSOR;
    }
    for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
        if (strcmp(name, ignored[i]) == 0) return HF_IGNORED;
    return HF_UNKNOWN;
}

hf_found hf_place_of(const hf_arch *a, const char *name, hf_place *out) {
    PRE(a);
    PRE(name);
    PRE(out);
    name = without_prefixes(name);
    size_t list = strlen(a->list);
    if (strncmp(name, a->list, list) != 0) return find_in(a->whole, ARRAY_LEN(a->whole), "", name, out);
    name += list;
    size_t digits = strspn(name, "0123456789");
    if (digits == 0 || digits > LAYER_DIGITS || name[digits] != '.' || (name[0] == '0' && digits > 1))
        return HF_UNKNOWN;
    char prefix[16];
    snprintf(prefix, sizeof prefix, "blk.%.*s.", (int)digits, name);
    return find_in(a->layer, ARRAY_LEN(a->layer), prefix, name + digits + 1, out);
}
