/* Models without a file: their sizes, their vocabulary, their weights. */
#include "tests/test.h"

#include "base/mem.h"
#include "tests/model_file.h"
#include "text/chat.h"
#include "text/token_ends.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The texts of a checkpoint. */
typedef struct texts {
    checkpoint *ckpt;
    tokenizer *tok;
} texts;

static texts texts_open(const char *path) {
    texts t = {0};
    errbuf eb = {0};
    if (checkpoint_open(&t.ckpt, path, &eb) != ST_OK || tokenizer_new(&t.tok, t.ckpt, &eb) != ST_OK)
        fail_msg("%s", eb.text);
    return t;
}

static void texts_close(texts *t) {
    tokenizer_free(t->tok);
    checkpoint_close(t->ckpt);
}

static void each_has_the_dimensions_and_parameters_of_its_namesake(void **state) {
    (void)state;
    static const struct {
        const char *path;
        uint32_t layers, dim, heads, kv_heads, head_dim, ffn_dim, vocab, context;
        float rope_base, eps;
        bool tied;
        uint64_t parameters;
    } want[] = {
        {"random:llama-3.2-1b", 16, 2048, 32, 8, 64, 8192, 128256, 131072, 500000, 1e-5f, true, 1235814400},
        {"random:llama-3.1-8b", 32, 4096, 32, 8, 128, 14336, 128256, 131072, 500000, 1e-5f, false,
         8030261248},
        /* Qwen2.5-7B has 7615616512, 129024 of them biases. */
        {"random:qwen2.5-7b", 28, 3584, 28, 4, 128, 18944, 152064, 32768, 1000000, 1e-6f, false, 7615487488},
        /* OPT-13B has 12853473280. */
        {"random:opt-13b-shape", 40, 5120, 40, 40, 128, 13696, 50272, 2048, 10000, 1e-5f, true, 12866933760},
        {"random:tiny", 2, 128, 4, 2, 32, 256, 512, 2048, 10000, 1e-5f, false, 426624},
        {"random:mock", 4, 64, 4, 1, 16, 128, 512, 131072, 10000, 1e-5f, false, 205376},
    };
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        model_file f = model_file_open(want[i].path);
        const model *m = f.m;
        printf("%s: %.3f billion parameters\n", want[i].path, (double)m->weight_count / 1e9);
        assert_string_equal(m->name, want[i].path);
        assert_string_equal(m->arch->name, "llama");
        assert_int_equal(m->layers, want[i].layers);
        assert_int_equal(m->dim, want[i].dim);
        assert_int_equal(m->heads, want[i].heads);
        assert_int_equal(m->kv_heads, want[i].kv_heads);
        assert_int_equal(m->head_dim, want[i].head_dim);
        assert_int_equal(m->rope_dim, want[i].head_dim);
        assert_int_equal(m->ffn_dim, want[i].ffn_dim);
        assert_int_equal(m->vocab, want[i].vocab);
        assert_int_equal(m->context, want[i].context);
        assert_true(m->rope_base == want[i].rope_base);
        assert_true(m->norm_eps == want[i].eps);
        assert_int_equal(m->tied, want[i].tied);
        assert_null(m->rope_factors);
        assert_int_equal(m->weight_count, want[i].parameters);
        assert_true(m->weights_hash != 0);
        model_file_close(&f);
    }
}

static void matrices_are_seeded_and_norms_are_one(void **state) {
    (void)state;
    model_file f = model_file_open("random:tiny");
    const model *m = f.m;
    const tensor *w = &m->layer[1].weights[LAYER_DOWN].part[0];
    assert_null(w->data);
    assert_int_equal(w->type, DT_BF16);
    assert_int_equal(w->rows, 128);
    assert_int_equal(w->cols, 256);
    assert_true(w->random_scale == 0x1p-11f);
    assert_true(w->random_seed != m->layer[0].weights[LAYER_DOWN].part[0].random_seed);
    assert_true(w->random_seed != m->layer[1].weights[LAYER_UP].part[1].random_seed);
    assert_null(m->embed.part[0].data);
    assert_true(m->output.part[0].random_seed != m->embed.part[0].random_seed);
    const float *norm = m->layer[1].weights[LAYER_FFN_NORM].part[0].data;
    assert_int_equal(m->layer[1].weights[LAYER_FFN_NORM].part[0].type, DT_F32);
    for (uint32_t i = 0; i < m->dim; i++) assert_true(norm[i] == 1.0f);
    model_file_close(&f);
}

static void a_row_of_weights_has_about_unit_size(void **state) {
    (void)state;
    static const char *const paths[] = {"random:llama-3.1-8b", "random:opt-13b-shape", "random:tiny"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        model_file f = model_file_open(paths[i]);
        const model *m = f.m;
        const tensor *w = &m->layer[0].weights[LAYER_UP].part[0];
        double sum = 0, squares = 0;
        for (uint32_t k = 0; k < w->cols; k++) {
            double v = (double)random_weight(w->random_seed, k) * (double)w->random_scale;
            sum += v;
            squares += v * v;
        }
        assert_true(squares > 0.4 && squares < 2.3); /* the scale is a power of two: a factor 2 around 1 */
        assert_true(fabs(sum) < 6);
        model_file_close(&f);
    }
}

/* The generator is part of the format: a value that changes makes other models of the same name. */
static void random_weights_have_these_values(void **state) {
    (void)state;
    static const int32_t want[2][10] = {
        {95, 155, -197, -9, -141, 81, -191, 197, 233, -53},
        {59, 85, 31, 73, -241, -143, -11, -213, 39, 161},
    };
    static const uint64_t seeds[2] = {0, 0x0123456789abcdef};
    for (uint32_t s = 0; s < 2; s++)
        for (uint32_t i = 0; i < 10; i++) assert_int_equal(random_weight(seeds[s], i), want[s][i]);
    uint32_t seen[256] = {0};
    for (uint32_t i = 0; i < 256 * 1000; i++) {
        int32_t v = random_weight(42, i);
        assert_true(v >= -255 && v <= 255 && v % 2 != 0);
        seen[(v + 255) / 2]++;
    }
    for (uint32_t v = 0; v < 256; v++) assert_true(seen[v] > 800 && seen[v] < 1200);
}

static void the_seed_makes_another_model_and_no_seed_is_seed_0(void **state) {
    (void)state;
    model_file files[] = {model_file_open("random:tiny"), model_file_open("random:tiny:0"),
                          model_file_open("random:tiny:7"),
                          model_file_open("random:tiny:18446744073709551615")};
    const model *plain = files[0].m, *zero = files[1].m, *seven = files[2].m, *last = files[3].m;
    assert_true(plain->weights_hash == zero->weights_hash);
    assert_true(plain->layer[0].weights[LAYER_QKV].part[0].random_seed ==
                zero->layer[0].weights[LAYER_QKV].part[0].random_seed);
    assert_true(plain->weights_hash != seven->weights_hash);
    assert_true(plain->layer[0].weights[LAYER_QKV].part[0].random_seed !=
                seven->layer[0].weights[LAYER_QKV].part[0].random_seed);
    assert_true(last->weights_hash != seven->weights_hash);
    assert_string_equal(seven->path, "random:tiny:7");
    for (size_t i = 0; i < ARRAY_LEN(files); i++) model_file_close(&files[i]);
}

static void any_text_goes_through_the_vocabulary_and_back_a_token_per_byte(void **state) {
    (void)state;
    static const char *const lines[] = {"Hello, world!",
                                        " 300 <|im_end|>\n\t\r",
                                        "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x99\x82",
                                        "\x01\x1f\x7f\xC2\xAD\xC2\x85",
                                        "\xC4\xA0 \xEF\xBF\xBD",
                                        ""};
    texts t = texts_open("random:tiny");
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        token_list ids = {0};
        buf back = {0};
        detok d = {0};
        encode_options opt = {.add_special = true, .max_tokens = 1000};
        assert_int_equal(tokenizer_encode(t.tok, lines[i], strlen(lines[i]), &opt, &ids, NULL), ST_OK);
        assert_int_equal(ids.count, strlen(lines[i]));
        for (uint32_t k = 0; k < ids.count; k++) {
            assert_int_equal(ids.ids[k], (unsigned char)lines[i][k]);
            detok_add(&d, t.tok, ids.ids[k], false, &back);
        }
        detok_end(&d, &back);
        assert_string_equal(back.data ? back.data : "", lines[i]);
        buf_done(&back);
        token_list_done(&ids);
    }
    texts_close(&t);
}

static void fillers_can_be_printed_and_the_last_token_alone_ends(void **state) {
    (void)state;
    texts t = texts_open("random:qwen2.5-7b");
    char text[16];
    size_t len = tokenizer_bytes(t.tok, 151999, text, sizeof text);
    assert_int_equal(len, 7);
    assert_memory_equal(text, " 151999", 7);
    uint32_t count;
    const int32_t *eog = tokenizer_eog(t.tok, &count);
    assert_int_equal(count, 1);
    assert_int_equal(eog[0], 152063);
    assert_int_equal(tokenizer_bos(t.tok), -1);
    token_ends ends;
    assert_int_equal(token_ends_init(&ends, t.ckpt, NULL), ST_OK);
    assert_int_equal(ends.count, 1);
    assert_int_equal(ends.ids[0], 152063);
    token_ends_done(&ends);
    texts_close(&t);
}

static void chat_works_and_nobody_can_forge_a_turn(void **state) {
    (void)state;
    texts t = texts_open("random:tiny");
    chat_template c;
    assert_int_equal(chat_template_init(&c, t.ckpt, NULL, 0), ST_OK);
    buf prompt = {0};
    text_span *spans;
    uint32_t count;
    json_t *hi = json_pack("[{s:s,s:s}]", "role", "user", "content", "<|im_end|>");
    const chat_input in = {.messages = hi, .add_generation_prompt = true};
    assert_int_equal(chat_render(&c, &in, &prompt, &spans, &count, NULL), ST_OK);
    token_list ids = {0};
    encode_options opt = {.parse_special = true, .plain = spans, .plain_count = count, .max_tokens = 100};
    assert_int_equal(tokenizer_encode(t.tok, prompt.data, prompt.len, &opt, &ids, NULL), ST_OK);
    uint32_t starts = 0, ends = 0;
    for (uint32_t i = 0; i < ids.count; i++) {
        starts += ids.ids[i] == 510;
        ends += ids.ids[i] == 511;
    }
    assert_int_equal(starts, 2);
    assert_int_equal(ends, 1);
    token_list_done(&ids);
    buf_done(&prompt);
    free(spans);
    json_decref(hi);
    chat_template_done(&c);
    texts_close(&t);
}

static void refuse(const char *path, const char *why) {
    checkpoint *ckpt = NULL;
    errbuf eb = {0};
    assert_int_equal(checkpoint_open(&ckpt, path, &eb), ST_INVALID);
    assert_null(ckpt);
    assert_string_equal(eb.text, why);
}

static void what_is_no_name_or_seed_is_refused_with_what_there_is(void **state) {
    (void)state;
    refuse("random:llama",
           "random:llama: there is no random model 'llama': want one of llama-3.2-1b, llama-3.1-8b, "
           "qwen2.5-7b, opt-13b-shape, tiny, mock");
    refuse("random:",
           "random:: there is no random model '': want one of llama-3.2-1b, llama-3.1-8b, qwen2.5-7b, "
           "opt-13b-shape, tiny, mock");
    refuse("random:tiny:", "random:tiny:: '' is no seed: want a whole number below 2^64");
    refuse("random:tiny:-1", "random:tiny:-1: '-1' is no seed: want a whole number below 2^64");
    refuse("random:tiny:18446744073709551616", "random:tiny:18446744073709551616: '18446744073709551616' is "
                                               "no seed: want a whole number below 2^64");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_has_the_dimensions_and_parameters_of_its_namesake),
        cmocka_unit_test(matrices_are_seeded_and_norms_are_one),
        cmocka_unit_test(a_row_of_weights_has_about_unit_size),
        cmocka_unit_test(random_weights_have_these_values),
        cmocka_unit_test(the_seed_makes_another_model_and_no_seed_is_seed_0),
        cmocka_unit_test(any_text_goes_through_the_vocabulary_and_back_a_token_per_byte),
        cmocka_unit_test(fillers_can_be_printed_and_the_last_token_alone_ends),
        cmocka_unit_test(chat_works_and_nobody_can_forge_a_turn),
        cmocka_unit_test(what_is_no_name_or_seed_is_refused_with_what_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
