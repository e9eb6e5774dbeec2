/* Hugging Face folders as checkpoints: what becomes of names, numbers and files. What config.json means is in
 * hf_config_test.c. */
#include "tests/test.h"

#include "checkpoint/checkpoint.h"
#include "hf_build.h"

#include <math.h>

#define DIM   8u
#define VOCAB 260u

static const char llama[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":8,\"num_hidden_layers\":1,"
    "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"intermediate_size\":16,\"vocab_size\":260,"
    "\"max_position_embeddings\":64,\"tie_word_embeddings\":true,\"eos_token_id\":2,\"bos_token_id\":1}";

static checkpoint *opened(const hf_folder *f) {
    checkpoint *c = NULL;
    errbuf eb = {0};
    if (checkpoint_open(&c, f->path, &eb) != ST_OK) fail_msg("%s", eb.text);
    return c;
}

static checkpoint_prepared prepare(checkpoint *c, const char *type) {
    checkpoint_prepared done;
    errbuf eb = {0};
    if (checkpoint_prepare(c, type, &done, &eb) != ST_OK) fail_msg("%s", eb.text);
    return done;
}

static void refuses(const hf_folder *f, status want, const char *text) {
    checkpoint *c = NULL;
    errbuf eb = {0};
    status st = checkpoint_open(&c, f->path, &eb);
    if (st != want || !strstr(eb.text, text))
        fail_msg("want '%s', got %s: %s", text, status_name(st), eb.text);
    assert_null(c);
}

/* A matrix whose number [r][c] is 100 r + c. */
static const float *counted(uint32_t rows, uint32_t cols) {
    static float x[VOCAB * DIM];
    assert_true(rows * cols <= VOCAB * DIM);
    for (uint32_t i = 0; i < rows * cols; i++) x[i] = (float)(100 * (i / cols) + i % cols);
    return x;
}

static const float *numbers(const checkpoint *c, const char *name, uint64_t rows, uint64_t cols) {
    const checkpoint_tensor *t = checkpoint_tensor_find(c, name);
    if (!t) fail_msg("no %s", name);
    assert_int_equal(t->type, DT_F32);
    assert_int_equal(t->dims[1], rows);
    assert_int_equal(t->dims[0], cols);
    assert_int_equal(t->bytes, rows * cols * 4);
    assert_non_null(t->data);
    return t->data;
}

static void add_counted(st_build *b, const char *name, uint32_t rows, uint32_t cols) {
    st_add(b, name, "F32", rows, cols, 4, counted(rows, cols));
}

static void rows_of_llamas_queries_and_keys_take_turns(void **state) {
    (void)state;
    hf_folder f;
    hf_folder_open(&f);
    hf_write(&f, "config.json", llama);
    st_build b = {0};
    add_counted(&b, "model.embed_tokens.weight", VOCAB, DIM);
    add_counted(&b, "lm_head.weight", VOCAB, DIM); /* tied: it is the embedding */
    add_counted(&b, "model.layers.0.self_attn.q_proj.weight", 8, DIM);
    add_counted(&b, "model.layers.0.self_attn.k_proj.weight", 4, DIM);
    add_counted(&b, "model.layers.0.self_attn.v_proj.weight", 4, DIM);
    add_counted(&b, "model.layers.0.self_attn.rotary_emb.inv_freq", 1, 2);
    add_counted(&b, "model.norm.weight", 1, DIM);
    st_write(&f, "model.safetensors", &b);
    checkpoint *c = opened(&f);
    checkpoint_prepared done = prepare(c, "auto");
    assert_int_equal(done.converted, 0);
    assert_int_equal(checkpoint_tensor_count(c), 5);
    assert_false(checkpoint_has(c, "output.weight"));
    const float *q = numbers(c, "blk.0.attn_q.weight", 8, DIM);
    const float *k = numbers(c, "blk.0.attn_k.weight", 4, DIM),
                *v = numbers(c, "blk.0.attn_v.weight", 4, DIM);
    static const uint32_t from[] = {0, 2, 1, 3, 4, 6, 5, 7};
    for (uint32_t r = 0; r < 8; r++)
        for (uint32_t i = 0; i < DIM; i++) {
            assert_true(q[r * DIM + i] == (float)(100 * from[r] + i));
            if (r < 4) assert_true(k[r * DIM + i] == (float)(100 * from[r] + i));
            if (r < 4) assert_true(v[r * DIM + i] == (float)(100 * r + i));
        }
    uint64_t id;
    checkpoint_text text;
    assert_true(checkpoint_string(c, "general.architecture", &text) && memcmp(text.data, "llama", 5) == 0);
    assert_true(checkpoint_u64(c, "tokenizer.ggml.bos_token_id", &id) && id == 1);
    checkpoint_close(c);
    hf_folder_done(&f);
}

static void vectors_are_f32_and_gemmas_are_one_more(void **state) {
    (void)state;
    static const uint16_t bf16[DIM] = {0x3f80, 0xbf80, 0, 0x3f00, 0x4000, 0x3f80, 0x3f80, 0x3f80};
    static const float norm[DIM] = {2, 0, 1, 1.5f, 3, 2, 2, 2};
    hf_folder f;
    hf_folder_open(&f);
    hf_write(
        &f, "config.json",
        "{\"architectures\":[\"Gemma3ForCausalLM\"],\"hidden_size\":8,\"num_hidden_layers\":1,"
        "\"num_attention_heads\":1,\"num_key_value_heads\":1,\"intermediate_size\":16,\"vocab_size\":260,"
        "\"max_position_embeddings\":64,\"head_dim\":8,\"query_pre_attn_scalar\":8}");
    st_build b = {0};
    add_counted(&b, "model.embed_tokens.weight", VOCAB, DIM);
    st_add(&b, "model.norm.weight", "BF16", 1, DIM, 2, bf16);
    st_add(&b, "model.layers.0.post_feedforward_layernorm.weight", "BF16", 1, DIM, 2, bf16);
    st_write(&f, "model.safetensors", &b);
    checkpoint *c = opened(&f);
    assert_null(checkpoint_tensor_find(c, "output_norm.weight")->data); /* not yet */
    prepare(c, "auto");
    assert_memory_equal(numbers(c, "output_norm.weight", 1, DIM), norm, sizeof norm);
    assert_memory_equal(numbers(c, "blk.0.post_ffw_norm.weight", 1, DIM), norm, sizeof norm);
    checkpoint_close(c);
    hf_folder_done(&f);
}

/* conv1d: as transformers saves GPT-2; otherwise as nanoGPT does. */
static void check_gpt2(bool conv1d, const char *prefix) {
    hf_folder f;
    hf_folder_open(&f);
    hf_write(&f, "config.json",
             "{\"architectures\":[\"GPT2LMHeadModel\"],\"n_embd\":8,\"n_layer\":1,\"n_head\":2,"
             "\"vocab_size\":260,\"n_positions\":16,\"activation_function\":\"gelu_new\"}");
    st_build b = {0};
    char name[96];
    snprintf(name, sizeof name, "%swte.weight", prefix);
    add_counted(&b, name, VOCAB, DIM);
    snprintf(name, sizeof name, "%sh.0.attn.c_attn.weight", prefix);
    add_counted(&b, name, conv1d ? 8 : 24, conv1d ? 24 : 8);
    snprintf(name, sizeof name, "%sh.0.attn.bias", prefix); /* the mask */
    st_add(&b, name, "U8", 16, 16, 1, NULL);
    snprintf(name, sizeof name, "%sh.0.ln_1.weight", prefix);
    add_counted(&b, name, 1, DIM);
    st_write(&f, "model.safetensors", &b);
    checkpoint *c = opened(&f);
    prepare(c, "auto");
    const float *w = numbers(c, "blk.0.attn_qkv.weight", 24, 8);
    for (uint32_t r = 0; r < 24; r++)
        for (uint32_t i = 0; i < 8; i++)
            assert_true(w[r * 8 + i] == (float)(conv1d ? 100 * i + r : 100 * r + i));
    const float *zeros = numbers(c, "blk.0.attn_qkv.bias", 1, 24);
    for (uint32_t i = 0; i < 24; i++) assert_true(zeros[i] == 0);
    zeros = numbers(c, "blk.0.attn_norm.bias", 1, DIM);
    for (uint32_t i = 0; i < DIM; i++) assert_true(zeros[i] == 0);
    assert_int_equal(checkpoint_tensor_count(c), 5);
    checkpoint_close(c);
    hf_folder_done(&f);
}

static void gpt2s_matrices_are_transposed_and_nanogpts_are_not(void **state) {
    (void)state;
    check_gpt2(true, "");
    check_gpt2(true, "transformer.");
    check_gpt2(false, "transformer.");
    check_gpt2(false, "_orig_mod.transformer.");
}

static void opts_positions_begin_at_row_two(void **state) {
    (void)state;
    hf_folder f;
    hf_folder_open(&f);
    hf_write(&f, "config.json",
             "{\"architectures\":[\"OPTForCausalLM\"],\"hidden_size\":8,\"num_hidden_layers\":1,"
             "\"num_attention_heads\":2,\"ffn_dim\":16,\"vocab_size\":260,\"max_position_embeddings\":16,"
             "\"word_embed_proj_dim\":8,\"activation_function\":\"relu\"}");
    st_build b = {0};
    add_counted(&b, "model.decoder.embed_tokens.weight", VOCAB, DIM);
    add_counted(&b, "model.decoder.embed_positions.weight", 18, DIM);
    st_write(&f, "model.safetensors", &b);
    checkpoint *c = opened(&f);
    prepare(c, "auto");
    const float *p = numbers(c, "position_embd.weight", 16, DIM);
    assert_true(p[0] == 200 && p[DIM] == 300);
    checkpoint_close(c);
    hf_folder_done(&f);
}

/* --- types --- */

static void a_llama(const hf_folder *f, const char *name) {
    hf_write(f, "config.json", llama);
    st_build b = {0};
    add_counted(&b, "model.embed_tokens.weight", VOCAB, DIM);
    add_counted(&b, "model.norm.weight", 1, DIM);
    st_write(f, name, &b);
}

static void weights_become_the_type_that_is_wanted(void **state) {
    (void)state;
    static const struct {
        const char *name;
        dtype matrix, table;
    } cases[] = {
        {"f32", DT_F32, DT_F32},    {"f16", DT_F16, DT_F16},    {"bf16", DT_BF16, DT_BF16},
        {"q8_0", DT_Q8_0, DT_Q8_0}, {"q4_0", DT_Q4_0, DT_Q8_0},
    };
    hf_folder f;
    hf_folder_open(&f);
    hf_write(&f, "config.json", llama);
    st_build b = {0};
    static float rows[VOCAB * 32];
    for (uint32_t i = 0; i < VOCAB * 32; i++) rows[i] = (float)(i % 97) - 48;
    st_add(&b, "model.embed_tokens.weight", "F32", VOCAB, 32, 4, rows);
    st_add(&b, "model.layers.0.mlp.up_proj.weight", "F32", 64, 32, 4, rows);
    st_add(&b, "model.norm.weight", "F32", 1, 32, 4, rows);
    st_write(&f, "model.safetensors", &b);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        checkpoint *c = opened(&f);
        checkpoint_prepared done = prepare(c, cases[i].name);
        assert_int_equal(done.converted, cases[i].matrix == DT_F32 ? 0 : 2);
        assert_int_equal(done.kept, 0);
        const checkpoint_tensor *up = checkpoint_tensor_find(c, "blk.0.ffn_up.weight");
        assert_int_equal(up->type, cases[i].matrix);
        assert_int_equal(up->bytes, 64 * dtype_row_bytes(cases[i].matrix, 32));
        assert_int_equal(checkpoint_tensor_find(c, "token_embd.weight")->type, cases[i].table);
        assert_int_equal(checkpoint_tensor_find(c, "output_norm.weight")->type, DT_F32);
        assert_ptr_equal(&checkpoint_tensor_at(c, 0)[up - checkpoint_tensor_at(c, 0)], up);
        checkpoint_close(c);
    }
    hf_folder_done(&f);
}

static void a_type_that_cannot_be_is_refused_by_name(void **state) {
    (void)state;
    hf_folder f;
    hf_folder_open(&f);
    a_llama(&f, "model.safetensors");
    checkpoint *c = opened(&f);
    checkpoint_prepared done;
    errbuf eb = {0};
    assert_int_equal(checkpoint_prepare(c, "q5_k", &done, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "'q5_k' is no type of weights"));
    assert_int_equal(checkpoint_prepare(c, "q8_0", &done, &eb), ST_UNSUPPORTED);
    assert_non_null(strstr(eb.text, "'token_embd.weight' has rows of 8 numbers"));
    checkpoint_close(c);
    assert_int_equal(checkpoint_open(&c, "random:tiny", NULL), ST_OK);
    assert_int_equal(checkpoint_prepare(c, "q8_0", &done, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "auto or bf16"));
    checkpoint_close(c);

    st_build b = {0};
    static float rows[VOCAB * DIM] = {[77] = NAN, [78] = 1e6f};
    st_add(&b, "model.embed_tokens.weight", "F32", VOCAB, DIM, 4, rows);
    st_write(&f, "model.safetensors", &b);
    c = opened(&f);
    assert_int_equal(checkpoint_prepare(c, "f16", &done, &eb), ST_CORRUPT);
    assert_non_null(strstr(eb.text, "'token_embd.weight' has a number that"));
    checkpoint_close(c);
    hf_folder_done(&f);
}

/* --- files --- */

static void link_to(const hf_folder *f, const char *to, const char *name) {
    char path[192];
    snprintf(path, sizeof path, "%s/%s", f->path, name);
    assert_int_equal(symlink(to, path), 0);
}

static void shards(const hf_folder *f, bool twice) {
    hf_write(f, "config.json", llama);
    st_build a = {0}, b = {0};
    add_counted(&a, "model.embed_tokens.weight", VOCAB, DIM);
    add_counted(&b, "model.norm.weight", 1, DIM);
    if (twice) add_counted(&b, "model.embed_tokens.weight", VOCAB, DIM);
    st_write(f, "one.safetensors", &a);
    st_write(f, "two.safetensors", &b);
}

static void index_of(const hf_folder *f, const char *embed, const char *norm) {
    char text[512];
    snprintf(text, sizeof text,
             "{\"metadata\":{\"total_size\":1},\"weight_map\":{\"model.embed_tokens.weight\":\"%s\","
             "\"model.norm.weight\":\"%s\"}}",
             embed, norm);
    hf_write(f, "model.safetensors.index.json", text);
}

static void shards_are_what_the_index_names(void **state) {
    (void)state;
    hf_folder f;
    hf_folder_open(&f);
    shards(&f, false);
    index_of(&f, "one.safetensors", "two.safetensors");
    checkpoint *c = opened(&f);
    prepare(c, "auto");
    assert_int_equal(checkpoint_tensor_count(c), 2);
    uint64_t stamp = checkpoint_stamp(c);
    checkpoint_close(c);

    link_to(&f, "two.safetensors", "link.safetensors");
    index_of(&f, "one.safetensors", "link.safetensors");
    c = opened(&f);
    assert_true(checkpoint_stamp(c) == stamp);
    checkpoint_close(c);
    hf_write(&f, "two.safetensors", "");
    refuses(&f, ST_CORRUPT, "link.safetensors: the file is empty");
    hf_folder_done(&f);
}

static void an_index_that_lies_is_refused(void **state) {
    (void)state;
    hf_folder f;
    hf_folder_open(&f);
    shards(&f, false);
    index_of(&f, "one.safetensors", "../two.safetensors");
    refuses(&f, ST_CORRUPT, "'../two.safetensors', which is no file of the folder");
    index_of(&f, "one.safetensors", "/etc/passwd");
    refuses(&f, ST_CORRUPT, "no file of the folder");
    index_of(&f, "one.safetensors", "..");
    refuses(&f, ST_CORRUPT, "no file of the folder");
    index_of(&f, "one.safetensors", "three.safetensors");
    refuses(&f, ST_IO, "three.safetensors: cannot open");
    index_of(&f, "two.safetensors", "one.safetensors");
    refuses(&f, ST_CORRUPT, "is not in ");
    hf_write(&f, "model.safetensors.index.json", "{\"weight_map\":{\"x\":7}}");
    refuses(&f, ST_CORRUPT, "tensor 'x' is in 'no text'");
    hf_write(&f, "model.safetensors.index.json", "{}");
    refuses(&f, ST_CORRUPT, "weight_map");
    hf_write(&f, "model.safetensors.index.json", "{");
    refuses(&f, ST_CORRUPT, "model.safetensors.index.json: no JSON");
    shards(&f, true);
    index_of(&f, "one.safetensors", "two.safetensors");
    refuses(&f, ST_CORRUPT, "'model.embed_tokens.weight' is in two files");
    hf_folder_done(&f);
}

static void what_is_missing_is_named(void **state) {
    (void)state;
    hf_folder f;
    hf_folder_open(&f);
    refuses(&f, ST_IO, "config.json: cannot open");
    hf_write(&f, "config.json", llama);
    refuses(&f, ST_IO, "neither model.safetensors nor model.safetensors.index.json is there");
    a_llama(&f, "model.safetensors");
    hf_remove(&f, "tokenizer.json");
    refuses(&f, ST_IO, "tokenizer.json");
    hf_write_tokenizer(&f);
    hf_write(&f, "generation_config.json", "[]");
    refuses(&f, ST_CORRUPT, "generation_config.json: no JSON object");
    checkpoint *c = NULL;
    errbuf eb = {0};
    char path[192];
    snprintf(path, sizeof path, "%s/model.safetensors", f.path);
    assert_int_equal(checkpoint_open(&c, path, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "the path is that of the folder"));
    hf_folder_done(&f);
}

static void a_tensor_without_a_place_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *name, *dtype;
        uint32_t rows, cols, width;
        status want;
        const char *text;
    } cases[] = {
        {"model.layers.0.mlp.experts.weight", "F32", 2, 4, 4, ST_UNSUPPORTED,
         "mlp.experts.weight' has no place"},
        {"model.layers.00.mlp.up_proj.weight", "F32", 2, 4, 4, ST_UNSUPPORTED, "has no place"},
        {"model.layers.x.mlp.up_proj.weight", "F32", 2, 4, 4, ST_UNSUPPORTED, "has no place"},
        {"model.layers.99999.mlp.up_proj.weight", "F32", 2, 4, 4, ST_UNSUPPORTED, "has no place"},
        {"model.layers.0.mlp.up_proj.weight", "I64", 2, 4, 8, ST_UNSUPPORTED, "has dtype I64"},
        {"model.layers.0.mlp.up_proj.weight", "F8_E4M3", 2, 4, 1, ST_UNSUPPORTED, "has dtype F8_E4M3"},
        {"model.layers.0.mlp.up_proj.weight", "F32", 2, 0, 4, ST_CORRUPT, "has no numbers"},
        {"model.layers.0.self_attn.q_proj.weight", "F32", 6, 8, 4, ST_CORRUPT, "has 6 rows, want 8"},
        {"layers.0.input_layernorm.weight", "F32", 1, 8, 4, ST_CORRUPT, "two tensors become blk.0.attn_norm"},
    };
    hf_folder f;
    hf_folder_open(&f);
    hf_write(&f, "config.json", llama);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        st_build b = {0};
        add_counted(&b, "model.embed_tokens.weight", VOCAB, DIM);
        add_counted(&b, "model.layers.0.input_layernorm.weight", 1, DIM);
        st_add(&b, cases[i].name, cases[i].dtype, cases[i].rows, cases[i].cols, cases[i].width, NULL);
        st_write(&f, "model.safetensors", &b);
        refuses(&f, cases[i].want, cases[i].text);
    }
    st_build b = {0};
    add_counted(&b, "model.embed_tokens.weight", 16, DIM);
    st_write(&f, "model.safetensors", &b);
    refuses(&f, ST_CORRUPT, "the embedding has 16 rows, but vocab_size is 260");
    b = (st_build){0};
    st_write(&f, "model.safetensors", &b);
    refuses(&f, ST_CORRUPT, "no embedding");
    hf_folder_done(&f);
}

static void a_folder_is_called_by_its_whole_name(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"/tmp", "tmp"},
        {"/tmp/", "tmp"},
        {"/", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *stem = checkpoint_stem(cases[i][0]);
        assert_string_equal(stem, cases[i][1]);
        free(stem);
    }
    char path[] = "/tmp/hf-2.5-0.5B.XXXXXX";
    assert_non_null(mkdtemp(path));
    char *stem = checkpoint_stem(path);
    assert_string_equal(stem, path + 5);
    free(stem);
    rmdir(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_llamas_queries_and_keys_take_turns),
        cmocka_unit_test(vectors_are_f32_and_gemmas_are_one_more),
        cmocka_unit_test(gpt2s_matrices_are_transposed_and_nanogpts_are_not),
        cmocka_unit_test(opts_positions_begin_at_row_two),
        cmocka_unit_test(weights_become_the_type_that_is_wanted),
        cmocka_unit_test(a_type_that_cannot_be_is_refused_by_name),
        cmocka_unit_test(shards_are_what_the_index_names),
        cmocka_unit_test(an_index_that_lies_is_refused),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(a_tensor_without_a_place_is_refused_by_name),
        cmocka_unit_test(a_folder_is_called_by_its_whole_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
