/* What config.json and generation_config.json of a Hugging Face folder mean. */
#include "tests/test.h"

#include "base/mem.h"
#include "checkpoint/hf_config.h"
#include "checkpoint/json_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LLAMA                                                                                                \
    "\"hidden_size\":64,\"num_hidden_layers\":4,\"num_attention_heads\":4,\"num_key_value_heads\":2,"        \
    "\"intermediate_size\":128,\"vocab_size\":300,\"max_position_embeddings\":512"
#define GPT2 "\"n_embd\":64,\"n_layer\":4,\"n_head\":4,\"vocab_size\":300,\"n_positions\":512"
#define OPT                                                                                                  \
    "\"hidden_size\":64,\"num_hidden_layers\":4,\"num_attention_heads\":4,\"ffn_dim\":128,"                  \
    "\"vocab_size\":300,\"max_position_embeddings\":512"

typedef struct scene {
    hf_config c;
    key_store *keys;
} scene;

/* class: "Llama"; more: ",\"key\":value" or "" */
static status read(scene *s, const char *class, const char *more, errbuf *eb) {
    const char *dims = strcmp(class, "GPT2LMHeadModel") == 0  ? GPT2
                       : strcmp(class, "OPTForCausalLM") == 0 ? OPT
                                                              : LLAMA;
    char *text = xasprintf("{\"architectures\":[\"%s\"],%s%s}", class, dims, more);
    json_t *config = NULL;
    *s = (scene){.keys = key_store_new()};
    status st = json_object_parse(&config, text, strlen(text), eb);
    if (st == ST_OK) st = hf_config_read(&s->c, s->keys, config, eb);
    json_decref(config);
    free(text);
    return st;
}

static void done(scene *s) {
    hf_config_done(&s->c);
    key_store_free(s->keys);
}

static scene whole(const char *class, const char *more) {
    scene s;
    errbuf eb = {0};
    if (read(&s, class, more, &eb) != ST_OK) fail_msg("%s %s: %s", class, more, eb.text);
    return s;
}

static void refuses(const char *class, const char *more, status want, const char *text) {
    scene s;
    errbuf eb = {0};
    status st = read(&s, class, more, &eb);
    if (st != want || !strstr(eb.text, text))
        fail_msg("%s %s: want '%s', got %s: %s", class, more, text, status_name(st), eb.text);
    done(&s);
}

static void is_u64(const scene *s, const char *key, uint64_t want) {
    uint64_t value = 0;
    if (!key_store_get_u64(s->keys, key, &value) || value != want) fail_msg("%s is %lu", key, value);
}

static void is_f64(const scene *s, const char *key, double want) {
    double value = 0;
    if (!key_store_get_f64(s->keys, key, &value) || value != want) fail_msg("%s is %g", key, value);
}

static bool has_u64(const scene *s, const char *key) {
    uint64_t value;
    return key_store_get_u64(s->keys, key, &value);
}

static void dimensions_stand_under_the_architectures_name(void **state) {
    (void)state;
    scene s = whole("LlamaForCausalLM", ",\"rms_norm_eps\":1e-5,\"rope_theta\":500000,\"head_dim\":null");
    is_u64(&s, "llama.block_count", 4);
    is_u64(&s, "llama.embedding_length", 64);
    is_u64(&s, "llama.feed_forward_length", 128);
    is_u64(&s, "llama.context_length", 512);
    is_u64(&s, "llama.vocab_size", 300);
    is_u64(&s, "llama.attention.head_count", 4);
    is_u64(&s, "llama.attention.head_count_kv", 2);
    is_u64(&s, "llama.attention.key_length", 16);
    is_u64(&s, "llama.rope.dimension_count", 16);
    is_f64(&s, "llama.attention.layer_norm_rms_epsilon", 1e-5);
    is_f64(&s, "llama.rope.freq_base", 500000);
    assert_false(s.c.tied);
    assert_false(s.c.untied);
    done(&s);
    s = whole("GPT2LMHeadModel", ",\"n_inner\":null");
    is_u64(&s, "gpt2.feed_forward_length", 256);
    is_f64(&s, "gpt2.attention.layer_norm_epsilon", 1e-5);
    assert_true(s.c.tied);
    done(&s);
    s = whole("OPTForCausalLM", "");
    is_u64(&s, "opt.feed_forward_length", 128);
    is_u64(&s, "opt.attention.head_count_kv", 4);
    done(&s);
    s = whole("Qwen3ForCausalLM", ",\"tie_word_embeddings\":false");
    is_u64(&s, "qwen3.attention.key_length", 128); /* the class's own, whatever the width */
    assert_true(s.c.untied);
    done(&s);
}

static void windows_are_of_all_layers_or_as_gemma_has_them(void **state) {
    (void)state;
    scene s = whole("MistralForCausalLM", ",\"sliding_window\":256");
    is_u64(&s, "llama.attention.sliding_window", 256);
    done(&s);
    s = whole("MistralForCausalLM", ",\"sliding_window\":null");
    assert_false(has_u64(&s, "llama.attention.sliding_window"));
    done(&s);
    s = whole("Qwen2ForCausalLM", ",\"sliding_window\":256,\"use_sliding_window\":false");
    assert_false(has_u64(&s, "qwen2.attention.sliding_window"));
    done(&s);
    s = whole("Qwen2ForCausalLM",
              ",\"sliding_window\":256,\"use_sliding_window\":true,\"max_window_layers\":4");
    assert_false(has_u64(&s, "qwen2.attention.sliding_window"));
    done(&s);
    s = whole("Qwen2ForCausalLM",
              ",\"sliding_window\":256,\"use_sliding_window\":true,\"max_window_layers\":0");
    is_u64(&s, "qwen2.attention.sliding_window", 256);
    done(&s);
    refuses("Qwen2ForCausalLM", ",\"sliding_window\":256,\"use_sliding_window\":true,\"max_window_layers\":2",
            ST_UNSUPPORTED, "2 of 4 layers have a sliding_window");
    s = whole("Gemma3ForCausalLM", ",\"head_dim\":16,\"query_pre_attn_scalar\":16,\"sliding_window\":32,"
                                   "\"sliding_window_pattern\":2,\"layer_types\":[\"sliding_attention\","
                                   "\"full_attention\",\"sliding_attention\",\"full_attention\"]");
    is_u64(&s, "gemma3.attention.sliding_window", 32);
    is_u64(&s, "gemma3.attention.sliding_window_pattern", 2);
    done(&s);
    refuses(
        "Gemma3ForCausalLM",
        ",\"layer_types\":[\"sliding_attention\",\"full_attention\",\"full_attention\",\"full_attention\"]",
        ST_UNSUPPORTED, "layer_types: layer 1");
    refuses("LlamaForCausalLM", ",\"layer_types\":[\"full_attention\"]", ST_CORRUPT,
            "1 entries for 4 layers");
    refuses(
        "LlamaForCausalLM",
        ",\"layer_types\":[\"full_attention\",\"full_attention\",\"full_attention\",\"linear_attention\"]",
        ST_UNSUPPORTED, "layer 3 is 'linear_attention'");
}

static void rotation_is_read_as_old_and_new_versions_write_it(void **state) {
    (void)state;
    static const char *const both[] = {
        ",\"rope_theta\":10000.0,\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}",
        ",\"rope_parameters\":{\"rope_theta\":10000,\"rope_type\":\"linear\",\"factor\":4.0}",
    };
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        scene s = whole("LlamaForCausalLM", both[i]);
        checkpoint_text type;
        is_f64(&s, "llama.rope.freq_base", 10000);
        is_f64(&s, "llama.rope.scaling.factor", 4);
        assert_true(key_store_get_text(s.keys, "llama.rope.scaling.type", &type));
        assert_memory_equal(type.data, "linear", 6);
        done(&s);
    }
    static const char *const gemma[] = {
        ",\"rope_theta\":1000000.0,\"rope_local_base_freq\":5000",
        ",\"rope_parameters\":{\"sliding_attention\":{\"rope_type\":\"default\",\"rope_theta\":5000},"
        "\"full_attention\":{\"rope_type\":\"default\",\"rope_theta\":1000000.0}}",
    };
    for (size_t i = 0; i < ARRAY_LEN(gemma); i++) {
        scene s = whole("Gemma3ForCausalLM", gemma[i]);
        is_f64(&s, "gemma3.rope.freq_base", 1e6);
        is_f64(&s, "gemma3.rope.freq_base_swa", 5000);
        done(&s);
    }
    scene y = whole("Qwen2ForCausalLM", ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":8.0,"
                                        "\"original_max_position_embeddings\":128}");
    is_f64(&y, "qwen2.rope.scaling.factor", 8);
    is_u64(&y, "qwen2.context_length", 1024);
    is_f64(&y, "qwen2.rope.scaling.original_context_length", 128);
    is_f64(&y, "qwen2.rope.scaling.yarn_beta_fast", 32);
    done(&y);
    refuses("Qwen2ForCausalLM", ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4.0,\"mscale\":1.0}",
            ST_UNSUPPORTED, "yarn with mscale");
    refuses("LlamaForCausalLM", ",\"rope_scaling\":{\"rope_type\":\"longrope\",\"factor\":2}", ST_UNSUPPORTED,
            "'longrope'");
    refuses("LlamaForCausalLM", ",\"rope_scaling\":{\"rope_type\":\"dynamic\",\"factor\":2}", ST_UNSUPPORTED,
            "'dynamic'");
    refuses("Qwen2ForCausalLM", ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":2}", ST_UNSUPPORTED,
            "'llama3'");
    refuses("LlamaForCausalLM", ",\"rope_scaling\":{\"rope_type\":\"linear\"}", ST_CORRUPT, "no factor");
    refuses("LlamaForCausalLM", ",\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":-1}", ST_CORRUPT,
            "factor is no number above 0");
    refuses("LlamaForCausalLM", ",\"rope_theta\":\"x\"", ST_CORRUPT, "rope_theta");
}

static void llama3s_factors_are_those_of_transformers(void **state) {
    (void)state;
    /* Of transformers' _compute_llama3_parameters, whose frequencies these divide. */
    static const float want[8] = {1, 1.29397583f, 7.66738513f, 8, 8, 8, 8, 8};
    scene s = whole("LlamaForCausalLM", ",\"rope_theta\":10000.0,\"rope_scaling\":{\"rope_type\":\"llama3\","
                                        "\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
                                        "\"original_max_position_embeddings\":64}");
    assert_int_equal(s.c.rope.count, 8);
    for (uint32_t i = 0; i < 8; i++)
        if (fabsf(s.c.rope.factors[i] - want[i]) > 1e-6f * want[i])
            fail_msg("factor %u is %.9g", i, (double)s.c.rope.factors[i]);
    done(&s);
    refuses("LlamaForCausalLM",
            ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"low_freq_factor\":4,\"high_freq_factor\":4}",
            ST_CORRUPT, "is not below");
}

static void what_would_change_the_computation_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *class, *more, *text;
    } cases[] = {
        {"LlamaForCausalLM", ",\"attention_bias\":true", "attention_bias is true"},
        {"LlamaForCausalLM", ",\"mlp_bias\":true", "mlp_bias is true"},
        {"LlamaForCausalLM", ",\"hidden_act\":\"gelu\"", "hidden_act is \"gelu\""},
        {"LlamaForCausalLM", ",\"partial_rotary_factor\":0.5", "partial_rotary_factor is 0.5"},
        {"LlamaForCausalLM", ",\"quantization_config\":{\"bits\":4}", "quantization_config is {\"bits\":4}"},
        {"LlamaForCausalLM", ",\"num_local_experts\":8", "num_local_experts is 8"},
        {"Qwen3ForCausalLM", ",\"attention_bias\":true", "attention_bias is true"},
        {"Gemma3ForCausalLM", ",\"attn_logit_softcapping\":50.0", "attn_logit_softcapping is 50.0"},
        {"Gemma3ForCausalLM", ",\"hidden_activation\":\"silu\"", "hidden_activation"},
        {"GPT2LMHeadModel", ",\"scale_attn_by_inverse_layer_idx\":true", "scale_attn_by_inverse_layer_idx"},
        {"GPT2LMHeadModel", ",\"activation_function\":\"relu\"", "activation_function is \"relu\""},
        {"OPTForCausalLM", ",\"do_layer_norm_before\":false", "do_layer_norm_before is false"},
        {"OPTForCausalLM", ",\"word_embed_proj_dim\":32", "word_embed_proj_dim is 32 and hidden_size 64"},
        {"MixtralForCausalLM", "", "'MixtralForCausalLM' is not supported; supported: LlamaForCausalLM, "},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        refuses(cases[i].class, cases[i].more, ST_UNSUPPORTED, cases[i].text);
    scene s =
        whole("LlamaForCausalLM", ",\"attention_bias\":null,\"partial_rotary_factor\":1.0,"
                                  "\"quantization_config\":null,\"hidden_act\":\"silu\",\"anything\":[1]");
    done(&s);
}

static void numbers_that_cannot_be_are_refused_by_name(void **state) {
    (void)state;
    static const char *const bad[] = {"0", "-1", "1e30", "\"8\"", "9223372036854775807", "true", "1.5"};
    static const char head[] = "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":";
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char *text = xasprintf("%s%s}", head, bad[i]);
        json_t *config = NULL;
        key_store *keys = key_store_new();
        hf_config c = {0};
        errbuf eb = {0};
        assert_int_equal(json_object_parse(&config, text, strlen(text), &eb), ST_OK);
        assert_int_equal(hf_config_read(&c, keys, config, &eb), ST_CORRUPT);
        assert_non_null(strstr(eb.text, "hidden_size"));
        hf_config_done(&c);
        key_store_free(keys);
        json_decref(config);
        free(text);
    }
    refuses("LlamaForCausalLM", ",\"head_dim\":0", ST_CORRUPT, "head_dim");
    refuses("LlamaForCausalLM", ",\"rms_norm_eps\":-1", ST_CORRUPT, "rms_norm_eps");
    refuses("LlamaForCausalLM", ",\"tie_word_embeddings\":3", ST_CORRUPT, "tie_word_embeddings");
}

/* --- generation_config.json --- */

static status generation(key_store *keys, const char *text, const char *config_text, errbuf *eb) {
    json_t *g = NULL, *config = NULL;
    assert_int_equal(json_object_parse(&config, config_text, strlen(config_text), eb), ST_OK);
    if (text) assert_int_equal(json_object_parse(&g, text, strlen(text), eb), ST_OK);
    status st = hf_generation_read(keys, g, config, 300, eb);
    json_decref(g);
    json_decref(config);
    return st;
}

static void ends_are_generation_configs_or_else_configs(void **state) {
    (void)state;
    static const struct {
        const char *generation, *config;
        uint64_t count;
        int64_t ids[2];
    } cases[] = {
        {"{\"eos_token_id\":[7,8]}", "{\"eos_token_id\":2}", 2, {7, 8}},
        {"{\"eos_token_id\":0}", "{\"eos_token_id\":2}", 1, {0}},
        {"{\"eos_token_id\":null}", "{\"eos_token_id\":2}", 1, {2}},
        {NULL, "{\"eos_token_id\":[2,3]}", 2, {2, 3}},
        {"{\"eos_token_id\":[300,5,-1]}", "{}", 1, {5}},
    };
    errbuf eb = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        key_store *keys = key_store_new();
        checkpoint_kind kind;
        uint64_t count = 0, one;
        assert_int_equal(generation(keys, cases[i].generation, cases[i].config, &eb), ST_OK);
        assert_true(key_store_get_list(keys, "tokenizer.ggml.eos_token_ids", &kind, &count));
        assert_int_equal(count, cases[i].count);
        for (uint64_t k = 0; k < count; k++) {
            int64_t id = -1;
            assert_true(key_store_get_list_i64(keys, "tokenizer.ggml.eos_token_ids", k, &id));
            assert_int_equal(id, cases[i].ids[k]);
        }
        assert_true(key_store_get_u64(keys, "tokenizer.ggml.eos_token_id", &one));
        assert_int_equal(one, cases[i].ids[0]);
        key_store_free(keys);
    }
    static const char *const bad[] = {"\"x\"", "[1,[2]]", "1.5", "true"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        key_store *keys = key_store_new();
        char text[64];
        snprintf(text, sizeof text, "{\"eos_token_id\":%s}", bad[i]);
        assert_int_equal(generation(keys, text, "{}", &eb), ST_CORRUPT);
        assert_non_null(strstr(eb.text, "eos_token_id is no token's id"));
        key_store_free(keys);
    }
}

static void defaults_of_requests_are_kept_under_their_names(void **state) {
    (void)state;
    key_store *keys = key_store_new();
    errbuf eb = {0};
    double x = 0;
    assert_int_equal(
        generation(keys, "{\"temperature\":0.6,\"top_k\":20,\"top_p\":0.95,\"do_sample\":true}", "{}", &eb),
        ST_OK);
    assert_true(key_store_get_f64(keys, "generation.temperature", &x) && x == 0.6);
    assert_true(key_store_get_f64(keys, "generation.top_k", &x) && x == 20);
    assert_true(key_store_get_f64(keys, "generation.top_p", &x) && x == 0.95);
    assert_false(key_store_get_f64(keys, "generation.repetition_penalty", &x));
    assert_int_equal(generation(keys, "{\"temperature\":-1}", "{}", &eb), ST_CORRUPT);
    assert_non_null(strstr(eb.text, "temperature"));
    key_store_free(keys);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dimensions_stand_under_the_architectures_name),
        cmocka_unit_test(windows_are_of_all_layers_or_as_gemma_has_them),
        cmocka_unit_test(rotation_is_read_as_old_and_new_versions_write_it),
        cmocka_unit_test(llama3s_factors_are_those_of_transformers),
        cmocka_unit_test(what_would_change_the_computation_is_refused_by_name),
        cmocka_unit_test(numbers_that_cannot_be_are_refused_by_name),
        cmocka_unit_test(ends_are_generation_configs_or_else_configs),
        cmocka_unit_test(defaults_of_requests_are_kept_under_their_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
