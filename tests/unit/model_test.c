/* Loading a model description: a tiny file made here, every way in which it can be wrong, and the real one.
 */
#include "tests/test.h"

#include "tests/model_file.h"
#include "vocab_build.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DIM   64u
#define FFN   96u
#define HEADS 4u
#define KV    2u
#define HEAD  16u
#define VOCAB 257u

/* What a case changes about the good file. */
typedef struct variant {
    const char *skip_key; /* leave this key out */
    const char *u32_key;  /* or set it to u32 */
    uint32_t u32;
    const char *text_key, *text;
    const char *real_key[2]; /* add them */
    float real[2];
    const char *skip_tensor;  /* leave this tensor out */
    const char *extra_tensor; /* add it, [1, DIM] f32 */
    const char *turn_tensor;  /* swap its rows and columns */
    const char *type_tensor;  /* give it this type */
    dtype type;
    bool untied, factors;
    char fill;
    float rope_base; /* 0 = 10000 */
} variant;

static bool same(const char *a, const char *b) {
    return a && strcmp(a, b) == 0;
}

static void key_u32(gguf_build *b, const variant *v, const char *key, uint32_t value) {
    if (!same(v->skip_key, key)) build_u32(b, key, same(v->u32_key, key) ? v->u32 : value);
}

static void weight(gguf_build *b, const variant *v, const char *name, dtype type, uint32_t rows,
                   uint32_t cols) {
    if (same(v->skip_tensor, name)) return;
    if (same(v->type_tensor, name)) type = v->type;
    bool turn = same(v->turn_tensor, name);
    build_tensor(b, name, type, turn ? cols : rows, turn ? rows : cols, v->fill);
}

static void keys(gguf_build *b, const variant *v) {
    static const char *const merges[] = {"a b"};
    vocab_build vocab;
    vocab_build_init(&vocab);
    vocab_build_add(&vocab, "ab", 1);
    if (!same(v->skip_key, "general.architecture"))
        build_string(b, "general.architecture",
                     same(v->text_key, "general.architecture") ? v->text : "llama");
    if (v->text_key && !same(v->text_key, "general.architecture")) build_string(b, v->text_key, v->text);
    vocab_build_keys(&vocab, b, "gpt-2", merges, 1);
    key_u32(b, v, "llama.embedding_length", DIM);
    key_u32(b, v, "llama.block_count", 1);
    key_u32(b, v, "llama.feed_forward_length", FFN);
    key_u32(b, v, "llama.context_length", 128);
    key_u32(b, v, "llama.attention.head_count", HEADS);
    key_u32(b, v, "llama.attention.head_count_kv", KV);
    if (v->u32_key &&
        (same(v->u32_key, "llama.expert_count") || same(v->u32_key, "llama.vocab_size") ||
         same(v->u32_key, "llama.rope.dimension_count") || same(v->u32_key, "llama.attention.value_length") ||
         same(v->u32_key, "llama.attention.key_length")))
        build_u32(b, v->u32_key, v->u32);
    for (int i = 0; i < 2; i++)
        if (v->real_key[i]) build_f32(b, v->real_key[i], v->real[i]);
    build_f32(b, "llama.rope.freq_base", v->rope_base != 0 ? v->rope_base : 10000.0f);
    if (!same(v->skip_key, "llama.attention.layer_norm_rms_epsilon"))
        build_f32(b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
}

static buf make(const variant *v) {
    gguf_build b = {0};
    keys(&b, v);
    weight(&b, v, "token_embd.weight", DT_Q8_0, VOCAB, DIM);
    weight(&b, v, "output_norm.weight", DT_F32, 1, DIM);
    weight(&b, v, "blk.0.attn_norm.weight", DT_F32, 1, DIM);
    weight(&b, v, "blk.0.attn_q.weight", DT_Q4_1, HEADS * HEAD, DIM);
    weight(&b, v, "blk.0.attn_k.weight", DT_Q4_0, KV * HEAD, DIM);
    weight(&b, v, "blk.0.attn_v.weight", DT_F16, KV * HEAD, DIM);
    weight(&b, v, "blk.0.attn_output.weight", DT_BF16, DIM, HEADS * HEAD);
    weight(&b, v, "blk.0.ffn_norm.weight", DT_F32, 1, DIM);
    weight(&b, v, "blk.0.ffn_gate.weight", DT_F32, FFN, DIM);
    weight(&b, v, "blk.0.ffn_up.weight", DT_F32, FFN, DIM);
    weight(&b, v, "blk.0.ffn_down.weight", DT_F32, DIM, FFN);
    if (v->untied) weight(&b, v, "output.weight", DT_F32, VOCAB, DIM);
    if (v->factors) weight(&b, v, "rope_freqs.weight", DT_F32, 1, HEAD / 2);
    if (v->extra_tensor) build_tensor(&b, v->extra_tensor, DT_F32, 1, DIM, 0);
    return build_file(&b);
}

static status load(const variant *v, model_file *out, errbuf *eb) {
    char path[] = "/tmp/model_test.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    buf file = make(v);
    assert_int_equal(write(fd, file.data, file.len), file.len);
    close(fd);
    *out = (model_file){0};
    assert_int_equal(checkpoint_open(&out->ckpt, path, eb), ST_OK);
    status st = model_load(&out->m, out->ckpt, eb);
    if (st != ST_OK) {
        assert_null(out->m);
        assert_non_null(strstr(eb->text, path));
        model_file_close(out);
    }
    unlink(path);
    buf_done(&file);
    return st;
}

static void a_tiny_model_is_described(void **s) {
    (void)s;
    model_file f;
    errbuf eb = {0};
    variant v = {.fill = 1, .text_key = "general.name", .text = "tiny"};
    assert_int_equal(load(&v, &f, &eb), ST_OK);
    const model *m = f.m;
    assert_string_equal(m->name, "tiny");
    assert_string_equal(m->arch->name, "llama");
    assert_int_equal(m->dim, DIM);
    assert_int_equal(m->layers, 1);
    assert_int_equal(m->heads, HEADS);
    assert_int_equal(m->kv_heads, KV);
    assert_int_equal(m->head_dim, HEAD);
    assert_int_equal(m->rope_dim, HEAD);
    assert_int_equal(m->ffn_dim, FFN);
    assert_int_equal(m->vocab, VOCAB);
    assert_int_equal(m->context, 128);
    assert_true(m->rope_base == 10000.0f);
    assert_true(m->norm_eps == 1e-5f);
    assert_null(m->rope_factors);
    assert_true(m->tied);
    assert_ptr_equal(m->output.part[0].data, m->embed.part[0].data);
    assert_int_equal(m->embed.part[0].type, DT_Q8_0);
    assert_int_equal(m->embed.part[0].rows, VOCAB);
    assert_int_equal(m->embed.part[0].cols, DIM);
    assert_int_equal(m->layer[0].weights[LAYER_QKV].part[1].rows, KV * HEAD);
    assert_int_equal(m->layer[0].weights[LAYER_QKV].part[1].type, DT_Q4_0);
    assert_int_equal(m->layer[0].weights[LAYER_ATTN_OUT].part[0].type, DT_BF16);
    assert_int_equal(m->layer[0].weights[LAYER_DOWN].part[0].rows, DIM);
    assert_int_equal(m->layer[0].weights[LAYER_DOWN].part[0].cols, FFN);
    assert_int_equal(*(const char *)m->layer[0].weights[LAYER_UP].part[1].data, 1);
    assert_int_equal(m->weight_count, VOCAB * DIM + 3 * DIM + 3 * DIM * FFN + 2 * DIM * DIM + 2 * 32 * DIM);
    assert_int_equal(model_features(m), 0);
    model_file_close(&f);
}

static void an_output_of_its_own_and_rope_factors_are_taken(void **s) {
    (void)s;
    model_file f;
    errbuf eb = {0};
    variant v = {.untied = true, .factors = true, .fill = 0x3f};
    assert_int_equal(load(&v, &f, &eb), ST_OK);
    const model *m = f.m;
    assert_false(m->tied);
    assert_int_equal(m->output.part[0].type, DT_F32);
    assert_ptr_not_equal(m->output.part[0].data, m->embed.part[0].data);
    assert_non_null(m->rope_factors);
    float all;
    memset(&all, 0x3f, sizeof all);
    for (uint32_t i = 0; i < HEAD / 2; i++) assert_true(m->rope_factors[i] == all);
    model_file_close(&f);
}

/* Each key that changes the rotation, alone and with others: a first factor, the last one, the magnitude. */
static void rope_scaling_is_obeyed_with_and_without_a_type(void **s) {
    (void)s;
    static const char type[] = "llama.rope.scaling.type", factor[] = "llama.rope.scaling.factor",
                      attn[] = "llama.rope.scaling.attn_factor";
    static const struct {
        variant v;
        float first, last, magnitude; /* first 0: there are no factors */
    } cases[] = {
        {{.real_key = {factor}, .real = {4}}, 4, 4, 0},
        {{.real_key = {"llama.rope.scale_linear"}, .real = {2}}, 2, 2, 0},
        {{.real_key = {"llama.rope.scale_linear", factor}, .real = {2, 8}}, 8, 8, 0},
        {{.real_key = {attn}, .real = {2}}, 0, 0, 2},
        {{.text_key = type, .text = "linear", .real_key = {factor, attn}, .real = {4, 3}}, 4, 4, 3},
        {{.text_key = type, .text = "none", .real_key = {factor}, .real = {4}}, 0, 0, 0},
        {{.text_key = type, .text = "none"}, 0, 0, 0},
        {{.real_key = {factor}, .real = {0}}, 0, 0, 0},
        {{.text_key = type, .text = "yarn", .real_key = {factor}, .real = {4}}, 1, 4, 1.1386294f},
        {{.text_key = type, .text = "yarn", .real_key = {factor, attn}, .real = {4, 2}}, 1, 4, 2.2772589f},
        {{.real_key = {factor}, .real = {4}, .factors = true, .fill = 0x3f}, 4 * 0.74705881f, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        model_file f;
        errbuf eb = {0};
        if (load(&cases[i].v, &f, &eb) != ST_OK) fail_msg("case %zu: %s", i, eb.text);
        const float *factors = f.m->rope_factors;
        assert_int_equal(factors != NULL, cases[i].first != 0);
        if (factors) assert_true(fabsf(factors[0] - cases[i].first) < 1e-6f);
        if (factors && cases[i].last != 0) assert_true(fabsf(factors[HEAD / 2 - 1] - cases[i].last) < 1e-6f);
        assert_true(fabsf(f.m->rope_magnitude - cases[i].magnitude) < 1e-6f);
        assert_int_equal(model_features(f.m), cases[i].magnitude != 0 ? FEATURE_ROPE_MAGNITUDE : 0);
        model_file_close(&f);
    }
}

static void a_window_of_the_file_is_that_of_all_layers(void **s) {
    (void)s;
    model_file f;
    errbuf eb = {0};
    const variant v = {.real_key = {"llama.attention.sliding_window"}, .real = {24}};
    assert_int_equal(load(&v, &f, &eb), ST_OK);
    assert_non_null(f.m->window);
    assert_int_equal(f.m->window[0], 24);
    assert_int_equal(model_features(f.m), FEATURE_WINDOW);
    model_file_close(&f);
}

static void files_that_are_wrong_are_refused_by_name(void **s) {
    (void)s;
    static const struct {
        variant v;
        status want;
        const char *text;
    } cases[] = {
        {{.skip_key = "general.architecture"},
         ST_UNSUPPORTED,
         "architecture '' is not supported; supported: llama"},
        {{.text_key = "general.architecture", .text = "mamba"}, ST_UNSUPPORTED, "architecture 'mamba'"},
        {{.skip_key = "llama.embedding_length"}, ST_CORRUPT, "llama.embedding_length is missing"},
        {{.skip_key = "llama.attention.layer_norm_rms_epsilon"},
         ST_CORRUPT,
         "layer_norm_rms_epsilon is missing"},
        {{.u32_key = "llama.embedding_length", .u32 = 48}, ST_CORRUPT, "multiples of 32"},
        {{.u32_key = "llama.embedding_length", .u32 = 1u << 31},
         ST_CORRUPT,
         "llama.embedding_length is 2147483648"},
        {{.u32_key = "llama.block_count", .u32 = 0}, ST_CORRUPT, "llama.block_count is 0"},
        {{.u32_key = "llama.block_count", .u32 = 257}, ST_CORRUPT, "llama.block_count is 257"},
        {{.u32_key = "llama.block_count", .u32 = 2},
         ST_CORRUPT,
         "tensor 'blk.1.attn_norm.weight' is missing"},
        {{.u32_key = "llama.attention.head_count", .u32 = 3}, ST_CORRUPT, "3 heads are no multiple of 2"},
        {{.u32_key = "llama.attention.head_count_kv", .u32 = 0}, ST_CORRUPT, "head_count_kv is 0"},
        {{.u32_key = "llama.attention.head_count", .u32 = 64}, ST_CORRUPT, "makes no head"},
        {{.u32_key = "llama.attention.value_length", .u32 = 8}, ST_UNSUPPORTED, "value_length is 8"},
        {{.u32_key = "llama.attention.key_length", .u32 = 32},
         ST_CORRUPT,
         "tensor 'blk.0.attn_q.weight' is [64, 64], want [128, 64]"},
        {{.u32_key = "llama.feed_forward_length", .u32 = 128},
         ST_CORRUPT,
         "tensor 'blk.0.ffn_gate.weight' is [96, 64], want [128, 64]"},
        {{.u32_key = "llama.context_length", .u32 = 0}, ST_CORRUPT, "llama.context_length is 0"},
        {{.u32_key = "llama.rope.dimension_count", .u32 = 18}, ST_CORRUPT, "rope.dimension_count is 18"},
        {{.u32_key = "llama.vocab_size", .u32 = 256},
         ST_CORRUPT,
         "llama.vocab_size is 256, but the tokenizer has 257"},
        {{.u32_key = "llama.expert_count", .u32 = 8}, ST_UNSUPPORTED, "llama.expert_count is 8"},
        {{.text_key = "llama.rope.scaling.type", .text = "longrope"},
         ST_UNSUPPORTED,
         "llama.rope.scaling.type is 'longrope'"},
        {{.real_key = {"llama.rope.scaling.type"}, .real = {1}}, ST_CORRUPT, "rope.scaling.type is no text"},
        {{.text_key = "llama.rope.scaling.factor", .text = "4"}, ST_CORRUPT, "scaling.factor is no number"},
        {{.real_key = {"llama.rope.scaling.factor"}, .real = {-4}}, ST_CORRUPT, "rope.scaling.factor is -4"},
        {{.real_key = {"llama.rope.scaling.factor"}, .real = {NAN}}, ST_CORRUPT, "scaling.factor is nan"},
        {{.real_key = {"llama.rope.scaling.attn_factor"}, .real = {1e9f}}, ST_CORRUPT, "attn_factor 1e+09"},
        {{.text_key = "llama.rope.scaling.type",
          .text = "yarn",
          .real_key = {"llama.rope.scaling.factor", "llama.rope.scaling.yarn_beta_slow"},
          .real = {4, 64}},
         ST_CORRUPT,
         "makes no rotation"},
        {{.real_key = {"llama.rope.scaling.yarn_log_multiplier"}, .real = {0.1f}},
         ST_UNSUPPORTED,
         "yarn_log_multiplier is 0.1"},
        {{.real_key = {"llama.attn_logit_softcapping"}, .real = {50}},
         ST_UNSUPPORTED,
         "llama.attn_logit_softcapping is 50; only 0"},
        {{.real_key = {"llama.logit_scale"}, .real = {0.5f}}, ST_UNSUPPORTED, "llama.logit_scale is 0.5"},
        {{.real_key = {"llama.attention.scale"}, .real = {-1}}, ST_CORRUPT, "llama.attention.scale is -1"},
        {{.real_key = {"llama.attention.sliding_window"}, .real = {2.5f}},
         ST_CORRUPT,
         "llama.attention.sliding_window is 2.5"},
        {{.factors = true}, ST_CORRUPT, "tensor 'rope_freqs.weight': number 0 is 0"},
        {{.rope_base = -1.0f}, ST_CORRUPT, "llama.rope.freq_base is -1"},
        {{.skip_tensor = "token_embd.weight"}, ST_CORRUPT, "tensor 'token_embd.weight' is missing"},
        {{.skip_tensor = "blk.0.ffn_up.weight"}, ST_CORRUPT, "tensor 'blk.0.ffn_up.weight' is missing"},
        {{.turn_tensor = "blk.0.ffn_down.weight"},
         ST_CORRUPT,
         "tensor 'blk.0.ffn_down.weight' is [96, 64], want [64, 96]"},
        {{.type_tensor = "blk.0.ffn_norm.weight", .type = DT_F16},
         ST_UNSUPPORTED,
         "tensor 'blk.0.ffn_norm.weight' has type f16"},
        {{.extra_tensor = "blk.0.attn_q.bias"}, ST_UNSUPPORTED, "tensor 'blk.0.attn_q.bias' has no place"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        model_file f;
        errbuf eb = {0};
        status st = load(&cases[i].v, &f, &eb);
        if (st != cases[i].want || !strstr(eb.text, cases[i].text))
            print_error("case %zu: %s: %s\n", i, status_name(st), eb.text);
        assert_int_equal(st, cases[i].want);
        assert_non_null(strstr(eb.text, cases[i].text));
    }
}

static void a_type_without_kernels_is_refused_with_those_that_have(void **s) {
    (void)s;
    gguf_build b = {0};
    variant v = {.skip_tensor = "output_norm.weight"};
    keys(&b, &v);
    build_entry(&b, "token_embd.weight", 17, 2, (uint64_t[]){DIM, VOCAB}, 0);
    buf_adds(&b.data, "x");
    buf file = build_file(&b);
    char path[] = "/tmp/model_test.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, file.data, file.len), file.len);
    close(fd);
    model_file f = {0};
    errbuf eb = {0};
    assert_int_equal(checkpoint_open(&f.ckpt, path, &eb), ST_OK);
    assert_int_equal(model_load(&f.m, f.ckpt, &eb), ST_UNSUPPORTED);
    model_file_close(&f);
    assert_non_null(strstr(eb.text, "'token_embd.weight' has type IQ2_XS; supported are F32, F16, Q4_0"));
    unlink(path);
    buf_done(&file);
}

static uint64_t hash_of(variant v) {
    model_file f;
    errbuf eb = {0};
    assert_int_equal(load(&v, &f, &eb), ST_OK);
    const model *m = f.m;
    uint64_t hash = m->weights_hash;
    model_file_close(&f);
    return hash;
}

static void the_hash_tells_models_apart(void **s) {
    (void)s;
    uint64_t base = hash_of((variant){.fill = 1});
    assert_true(base != 0);
    assert_true(base == hash_of((variant){.fill = 1}));
    assert_true(base == hash_of((variant){.fill = 1, .text_key = "general.name", .text = "another name"}));
    assert_true(base != hash_of((variant){.fill = 2}));
    assert_true(base != hash_of((variant){.fill = 1, .rope_base = 5000.0f}));
    assert_true(base != hash_of((variant){.fill = 1, .type_tensor = "blk.0.ffn_up.weight", .type = DT_BF16}));
}

static void the_real_model_loads(void **s) {
    (void)s;
    const char *path = getenv("BATON_MODEL");
    if (!path || access(path, R_OK) != 0) skip();
    model_file f = model_file_open(path);
    const model *m = f.m;
    assert_string_equal(m->arch->name, "llama");
    assert_int_equal(m->dim, 576);
    assert_int_equal(m->layers, 30);
    assert_int_equal(m->heads, 9);
    assert_int_equal(m->kv_heads, 3);
    assert_int_equal(m->head_dim, 64);
    assert_int_equal(m->rope_dim, 64);
    assert_int_equal(m->ffn_dim, 1536);
    assert_int_equal(m->vocab, 49152);
    assert_int_equal(m->context, 8192);
    assert_true(m->rope_base == 100000.0f);
    assert_true(m->norm_eps == 1e-5f);
    assert_true(m->tied);
    assert_int_equal(m->embed.part[0].type, DT_Q8_0);
    assert_int_equal(m->layer[29].weights[LAYER_DOWN].part[0].type, DT_Q4_1);
    assert_true(m->weights_hash != 0);
    model_file_close(&f);
}

static void a_file_that_is_not_there_is_named(void **s) {
    (void)s;
    checkpoint *ckpt = NULL;
    errbuf eb = {0};
    assert_int_equal(checkpoint_open(&ckpt, "/nowhere/x.gguf", &eb), ST_IO);
    assert_non_null(strstr(eb.text, "/nowhere/x.gguf"));
    assert_null(ckpt);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tiny_model_is_described),
        cmocka_unit_test(an_output_of_its_own_and_rope_factors_are_taken),
        cmocka_unit_test(rope_scaling_is_obeyed_with_and_without_a_type),
        cmocka_unit_test(a_window_of_the_file_is_that_of_all_layers),
        cmocka_unit_test(files_that_are_wrong_are_refused_by_name),
        cmocka_unit_test(a_type_without_kernels_is_refused_with_those_that_have),
        cmocka_unit_test(the_hash_tells_models_apart),
        cmocka_unit_test(the_real_model_loads),
        cmocka_unit_test(a_file_that_is_not_there_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
