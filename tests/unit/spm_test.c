/* SentencePiece's BPE by scores on a vocabulary small enough to check by hand. */
#include "tests/test.h"

#include "base/mem.h"
#include "gguf_build.h"
#include "text/tokenizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { UNK, BOS, EOS, BYTE_41, BYTE_C3, BYTE_A9, SIGN, A, B, AB, BA, AA, XY, BLANKS, SIGN_A, COUNT };

typedef struct piece {
    const char *text;
    int32_t kind;
    float score;
} piece;

static const piece pieces[COUNT] = {
    [UNK] = {"<unk>", 2, 0},      [BOS] = {"<s>", 3, 0},        [EOS] = {"</s>", 3, 0},
    [BYTE_41] = {"<0x41>", 6, 0}, [BYTE_C3] = {"<0xC3>", 6, 0}, [BYTE_A9] = {"<0xA9>", 6, 0},
    [SIGN] = {"▁", 1, -20},       [A] = {"a", 1, -10},          [B] = {"b", 1, -11},
    [AB] = {"ab", 1, -2},         [BA] = {"ba", 1, -2},         [AA] = {"aa", 1, -1},
    [XY] = {"xy", 1, -3},         [BLANKS] = {"  ", 4, -5},     [SIGN_A] = {"▁a", 1, -4},
};

typedef struct scene {
    buf file;
    checkpoint *g;
    tokenizer *t;
} scene;

static void add_keys(gguf_build *b, bool prefix, bool ends) {
    const char *texts[COUNT];
    int32_t kinds[COUNT];
    float scores[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        texts[i] = pieces[i].text;
        kinds[i] = pieces[i].kind;
        scores[i] = pieces[i].score;
    }
    build_string(b, "tokenizer.ggml.model", "llama");
    build_string(b, "tokenizer.ggml.pre", "default");
    build_strings(b, "tokenizer.ggml.tokens", texts, COUNT);
    build_i32s(b, "tokenizer.ggml.token_type", kinds, COUNT);
    build_f32s(b, "tokenizer.ggml.scores", scores, COUNT);
    build_u32(b, "tokenizer.ggml.bos_token_id", BOS);
    build_u32(b, "tokenizer.ggml.eos_token_id", EOS);
    build_u32(b, "tokenizer.ggml.unknown_token_id", UNK);
    build_bool(b, "tokenizer.ggml.add_space_prefix", prefix);
    build_bool(b, "tokenizer.ggml.add_eos_token", ends);
}

static scene open_scene(bool prefix, bool ends) {
    gguf_build b = {0};
    scene s = {0};
    errbuf eb = {0};
    add_keys(&b, prefix, ends);
    s.file = build_file(&b);
    assert_int_equal(gguf_parse_checkpoint(&s.g, s.file.data, s.file.len, &eb), ST_OK);
    if (tokenizer_new(&s.t, s.g, &eb) != ST_OK) fail_msg("%s", eb.text);
    return s;
}

static void close_scene(scene *s) {
    tokenizer_free(s->t);
    checkpoint_close(s->g);
    buf_done(&s->file);
}

/* want: ids, ended by -1 */
static void expect(const scene *s, const char *text, bool special, const int32_t *want) {
    token_list l = {0};
    encode_options opt = {.parse_special = special, .add_special = special, .max_tokens = 100};
    assert_int_equal(tokenizer_encode(s->t, text, strlen(text), &opt, &l, NULL), ST_OK);
    uint32_t i = 0;
    for (; want[i] >= 0; i++)
        if (i >= l.count || l.ids[i] != want[i])
            fail_msg("'%s': token %u is %d, want %d", text, i, i < l.count ? l.ids[i] : -1, want[i]);
    assert_int_equal(l.count, i);
    token_list_done(&l);
}

#define IDS(...) ((const int32_t[]){__VA_ARGS__, -1})

static void the_highest_score_merges_first_and_the_leftmost_of_equals(void **state) {
    (void)state;
    scene s = open_scene(false, false);
    expect(&s, "aba", false, IDS(AB, A));
    expect(&s, "bab", false, IDS(BA, B));
    expect(&s, "baab", false, IDS(B, AA, B));
    expect(&s, "xy", false, IDS(XY)); /* no token for x, none for y */
    close_scene(&s);
}

static void a_character_without_a_token_is_its_bytes_or_the_unknown_one(void **state) {
    (void)state;
    scene s = open_scene(false, false);
    expect(&s, "A", false, IDS(BYTE_41));
    expect(&s, "\xC3\xA9", false, IDS(BYTE_C3, BYTE_A9));
    expect(&s, "a??b", false, IDS(A, UNK, B));
    expect(&s, "?a?", false, IDS(UNK, A, UNK));
    close_scene(&s);
}

static void a_space_stands_in_front_of_each_stretch(void **state) {
    (void)state;
    scene s = open_scene(true, false);
    expect(&s, "a", false, IDS(SIGN_A));
    expect(&s, " a", false, IDS(SIGN, SIGN_A));
    expect(&s, "", false, (const int32_t[]){-1});
    expect(&s, "a<s>a", true, IDS(BOS, SIGN_A, BOS, SIGN_A));
    expect(&s, "a  a", false, IDS(SIGN_A, BLANKS, SIGN_A));
    close_scene(&s);
}

static void plain_text_never_becomes_a_control_token_or_one_of_a_byte(void **state) {
    (void)state;
    scene s = open_scene(false, false);
    expect(&s, "<s>", false, IDS(UNK));
    expect(&s, "<0x41>", false, IDS(UNK));
    close_scene(&s);
}

static void bos_and_eos_are_put_around_a_text(void **state) {
    (void)state;
    scene s = open_scene(false, true);
    expect(&s, "ab", true, IDS(BOS, AB, EOS));
    expect(&s, "", true, IDS(BOS, EOS));
    token_list l = {0};
    errbuf eb = {0};
    encode_options opt = {.add_special = true, .max_tokens = 2};
    assert_int_equal(tokenizer_encode(s.t, "ab", 2, &opt, &l, &eb), ST_NOMEM);
    assert_int_equal(l.count, 0);
    token_list_done(&l);
    close_scene(&s);
}

static void only_the_first_token_of_a_text_loses_its_space(void **state) {
    (void)state;
    scene s = open_scene(true, false);
    const int32_t ids[] = {BOS, SIGN_A, SIGN_A, BYTE_C3, BYTE_A9};
    buf out = {0};
    detok whole = {0}, after = detok_after(s.t, ids, 2), start = detok_after(s.t, ids, 1);
    for (uint32_t i = 0; i < ARRAY_LEN(ids); i++) detok_add(&whole, s.t, ids[i], false, &out);
    assert_string_equal(out.data, "a a\xC3\xA9");
    buf_reset(&out);
    detok_add(&after, s.t, SIGN_A, false, &out);
    assert_string_equal(out.data, " a");
    buf_reset(&out);
    detok_add(&start, s.t, SIGN_A, false, &out);
    assert_string_equal(out.data, "a");
    buf_done(&out);
    close_scene(&s);
}

static void refuse(gguf_build *b, const char *text) {
    buf file = build_file(b);
    checkpoint *g;
    tokenizer *t;
    errbuf eb = {0};
    assert_int_equal(gguf_parse_checkpoint(&g, file.data, file.len, NULL), ST_OK);
    assert_int_equal(tokenizer_new(&t, g, &eb), ST_CORRUPT);
    if (!strstr(eb.text, text)) fail_msg("'%s', want '%s'", eb.text, text);
    checkpoint_close(g);
    buf_done(&file);
}

static void vocabularies_that_cannot_be_are_refused(void **state) {
    (void)state;
    const char *const tokens[] = {"a", "b"};
    const float no_number[] = {0, NAN}, one[] = {0};
    const int32_t bytes[] = {1, 6}, ids[] = {0, 1, 2};
    gguf_build b = {0};
    build_string(&b, "tokenizer.ggml.model", "llama");
    build_strings(&b, "tokenizer.ggml.tokens", tokens, 2);
    refuse(&b, "neither merges (tokenizer.ggml.merges) nor a score");
    b = (gguf_build){0};
    build_string(&b, "tokenizer.ggml.model", "llama");
    build_strings(&b, "tokenizer.ggml.tokens", tokens, 2);
    build_f32s(&b, "tokenizer.ggml.scores", one, 1);
    refuse(&b, "neither merges");
    b = (gguf_build){0};
    build_string(&b, "tokenizer.ggml.model", "llama");
    build_strings(&b, "tokenizer.ggml.tokens", tokens, 2);
    build_f32s(&b, "tokenizer.ggml.scores", no_number, 2);
    refuse(&b, "the score of token 1 is no number");
    b = (gguf_build){0};
    build_string(&b, "tokenizer.ggml.model", "llama");
    build_strings(&b, "tokenizer.ggml.tokens", tokens, 2);
    build_i32s(&b, "tokenizer.ggml.token_type", bytes, 2);
    refuse(&b, "token 1 is a byte, but is not written like '<0x0A>'");
    b = (gguf_build){0};
    build_string(&b, "tokenizer.ggml.model", "llama");
    build_strings(&b, "tokenizer.ggml.tokens", tokens, 2);
    build_i32s(&b, "tokenizer.ggml.merges", ids, 3);
    refuse(&b, "merge 0 is not two tokens that make a third");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_highest_score_merges_first_and_the_leftmost_of_equals),
        cmocka_unit_test(a_character_without_a_token_is_its_bytes_or_the_unknown_one),
        cmocka_unit_test(a_space_stands_in_front_of_each_stretch),
        cmocka_unit_test(plain_text_never_becomes_a_control_token_or_one_of_a_byte),
        cmocka_unit_test(bos_and_eos_are_put_around_a_text),
        cmocka_unit_test(only_the_first_token_of_a_text_loses_its_space),
        cmocka_unit_test(vocabularies_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
