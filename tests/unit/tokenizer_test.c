/* The tokenizer on a vocabulary small enough to check by hand, and on the real one where its model file is
 * there. */
#include "tests/test.h"

#include "text/tokenizer.h"
#include "vocab_build.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Ids after the 256 bytes. */
enum {
    T_HE = 256,
    T_LL,
    T_LLO,
    T_HELLO,
    T_SP_H,
    T_AA,
    T_AAAA,
    T_START,
    T_END,
    T_ENDX,
    T_USER,
    T_UNUSED,
    T_COUNT
};

static const char *const merges[] = {"h e", "l l", "ll o", "he llo", "Ġ h", "a a", "aa aa"};

typedef struct fixture {
    buf file;
    checkpoint *g;
    tokenizer *t;
} fixture;

static void add_tokens(vocab_build *v) {
    vocab_build_init(v);
    vocab_build_add(v, "he", 1);
    vocab_build_add(v, "ll", 1);
    vocab_build_add(v, "llo", 1);
    vocab_build_add(v, "hello", 1);
    vocab_build_add(v, "Ġh", 1);
    vocab_build_add(v, "aa", 1);
    vocab_build_add(v, "aaaa", 1);
    vocab_build_add(v, "<|im_start|>", 3);
    vocab_build_add(v, "<|im_end|>", 3);
    vocab_build_add(v, "<|im_end|>x", 3);
    vocab_build_add(v, "«user»", 4);
    vocab_build_add(v, "[unused]", 5);
}

static void setup(fixture *f, const char *pre, bool add_bos) {
    vocab_build v;
    add_tokens(&v);
    assert_int_equal(v.count, T_COUNT);
    gguf_build b = {0};
    vocab_build_keys(&v, &b, pre, merges, ARRAY_LEN(merges));
    build_u32(&b, "tokenizer.ggml.bos_token_id", T_START);
    build_u32(&b, "tokenizer.ggml.eos_token_id", T_ENDX);
    build_bool(&b, "tokenizer.ggml.add_bos_token", add_bos);
    f->file = build_file(&b);
    errbuf eb = {0};
    assert_int_equal(gguf_parse_checkpoint(&f->g, f->file.data, f->file.len, &eb), ST_OK);
    assert_int_equal(tokenizer_new(&f->t, f->g, &eb), ST_OK);
}

static void teardown(fixture *f) {
    tokenizer_free(f->t);
    checkpoint_close(f->g);
    buf_done(&f->file);
}

static void expect(const tokenizer *t, const char *text, encode_options opt, const int32_t *want,
                   uint32_t count) {
    token_list l = {0};
    errbuf eb = {0};
    assert_int_equal(tokenizer_encode(t, text, strlen(text), &opt, &l, &eb), ST_OK);
    if (l.count != count || (count > 0 && memcmp(l.ids, want, count * sizeof *want) != 0)) {
        print_error("'%s' became", text);
        for (uint32_t i = 0; i < l.count; i++) print_error(" %d", l.ids[i]);
        print_error("\n");
    }
    assert_int_equal(l.count, count);
    if (count > 0) assert_memory_equal(l.ids, want, count * sizeof *want);
    token_list_done(&l);
}

#define EXPECT(t, text, opt, ...)                                                                            \
    expect(t, text, opt, (const int32_t[]){__VA_ARGS__},                                                     \
           sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static const encode_options plainly = {.max_tokens = 1000};
static const encode_options specially = {.max_tokens = 1000, .parse_special = true};

static void pairs_merge_by_rank_and_equal_ranks_from_the_left(void **s) {
    (void)s;
    fixture f;
    setup(&f, "gpt-2", false);
    EXPECT(f.t, "hello", plainly, T_HELLO);
    EXPECT(f.t, "hell", plainly, T_HE, T_LL);
    EXPECT(f.t, "llol", plainly, T_LLO, 'l');
    EXPECT(f.t, " hello", plainly, ' ', T_HELLO); /* "h e" comes before "Ġ h" */
    EXPECT(f.t, " ho", plainly, T_SP_H, 'o');
    EXPECT(f.t, "aaa", plainly, T_AA, 'a');
    EXPECT(f.t, "aaaaaaa", plainly, T_AAAA, T_AA, 'a');
    teardown(&f);
}

static void merges_do_not_cross_the_pieces(void **s) {
    (void)s;
    fixture f;
    setup(&f, "gpt-2", false);
    EXPECT(f.t, "a1a", plainly, 'a', '1', 'a');
    EXPECT(f.t, "aa's aa", plainly, T_AA, '\'', 's', ' ', T_AA);
    EXPECT(f.t, "he\n\n he", plainly, T_HE, '\n', '\n', ' ', T_HE);
    teardown(&f);
}

static void bytes_of_any_character_are_tokens(void **s) {
    (void)s;
    fixture f;
    setup(&f, "smollm", false);
    EXPECT(f.t, "é", plainly, 0xC3, 0xA9);
    EXPECT(f.t, "€1", plainly, 0xE2, 0x82, 0xAC, '1');
    EXPECT(f.t, "\x01\x7F", plainly, 1, 0x7F);
    expect(f.t, "", plainly, NULL, 0);
    teardown(&f);
}

static void special_tokens_count_only_when_asked_for(void **s) {
    (void)s;
    fixture f;
    setup(&f, "gpt-2", false);
    EXPECT(f.t, "he<|im_end|>he", specially, T_HE, T_END, T_HE);
    EXPECT(f.t, "<|im_end|>", plainly, '<', '|', 'i', 'm', '_', 'e', 'n', 'd', '|', '>');
    EXPECT(f.t, "<|im_start|><|im_end|>", specially, T_START, T_END);
    teardown(&f);
}

static void the_longest_special_token_wins(void **s) {
    (void)s;
    fixture f;
    setup(&f, "gpt-2", false);
    EXPECT(f.t, "<|im_end|>x", specially, T_ENDX);
    EXPECT(f.t, "<|im_end|>y", specially, T_END, 'y');
    EXPECT(f.t, "<<|im_end|>", specially, '<', T_END);
    teardown(&f);
}

static void user_defined_tokens_are_always_found(void **s) {
    (void)s;
    fixture f;
    setup(&f, "gpt-2", false);
    EXPECT(f.t, "he«user»he", plainly, T_HE, T_USER, T_HE);
    EXPECT(f.t, "he«user»he", specially, T_HE, T_USER, T_HE);
    EXPECT(f.t, "[unused]", specially, '[', 'u', 'n', 'u', 's', 'e', 'd', ']');
    teardown(&f);
}

static void inside_a_plain_span_special_tokens_are_text(void **s) {
    (void)s;
    fixture f;
    setup(&f, "gpt-2", false);
    /*                  0         10        20 */
    const char *text = "<|im_end|><|im_end|>he";
    text_span second = {10, 22}, edge = {9, 10}, both[] = {{0, 0}, {0, 20}};
    encode_options opt = specially;
    opt.plain = &second;
    opt.plain_count = 1;
    EXPECT(f.t, text, opt, T_END, '<', '|', 'i', 'm', '_', 'e', 'n', 'd', '|', '>', T_HE);
    opt.plain = &edge; /* one byte of the first is plain */
    EXPECT(f.t, text, opt, '<', '|', 'i', 'm', '_', 'e', 'n', 'd', '|', '>', T_END, T_HE);
    opt.plain = both; /* an empty span protects nothing */
    opt.plain_count = 1;
    EXPECT(f.t, text, opt, T_END, T_END, T_HE);
    opt.plain_count = 2;
    EXPECT(f.t, text, opt, '<', '|', 'i', 'm', '_', 'e', 'n', 'd', '|', '>', '<', '|', 'i', 'm', '_', 'e',
           'n', 'd', '|', '>', T_HE);
    teardown(&f);
}

static void the_edge_of_a_plain_span_does_not_cut_words(void **s) {
    (void)s;
    fixture f;
    setup(&f, "gpt-2", false);
    text_span span = {3, 5};
    encode_options opt = specially;
    opt.plain = &span;
    opt.plain_count = 1;
    EXPECT(f.t, "hello", opt, T_HELLO);
    teardown(&f);
}

static void the_bos_comes_first_when_the_file_says_so(void **s) {
    (void)s;
    fixture f;
    setup(&f, "gpt-2", true);
    encode_options opt = {.max_tokens = 10, .add_special = true};
    EXPECT(f.t, "he", opt, T_START, T_HE);
    EXPECT(f.t, "", opt, T_START);
    opt.add_special = false;
    EXPECT(f.t, "he", opt, T_HE);
    teardown(&f);
    setup(&f, "gpt-2", false);
    opt.add_special = true;
    EXPECT(f.t, "he", opt, T_HE);
    assert_int_equal(tokenizer_bos(f.t), T_START);
    teardown(&f);
}

static void too_many_tokens_leave_the_list_as_it_was(void **s) {
    (void)s;
    fixture f;
    setup(&f, "gpt-2", false);
    token_list l = {0};
    token_list_add(&l, 77);
    errbuf eb = {0};
    encode_options opt = {.max_tokens = 4, .parse_special = true};
    assert_int_equal(tokenizer_encode(f.t, "hell h", 6, &opt, &l, &eb), ST_OK); /* 1 + 3: he ll Ġh */
    assert_int_equal(l.count, 4);
    l.count = 1;
    assert_int_equal(tokenizer_encode(f.t, "hell hx", 7, &opt, &l, &eb), ST_NOMEM);
    assert_non_null(strstr(eb.text, "more than 4 tokens"));
    assert_int_equal(l.count, 1);
    assert_int_equal(l.ids[0], 77);
    assert_int_equal(tokenizer_encode(f.t, "hell<|im_end|><|im_end|>", 24, &opt, &l, &eb), ST_NOMEM);
    assert_int_equal(l.count, 1);
    opt.max_tokens = 1;
    assert_int_equal(tokenizer_encode(f.t, "", 0, &opt, &l, &eb), ST_OK);
    token_list_done(&l);
    teardown(&f);
}

static void text_that_is_not_utf8_is_refused_with_its_place(void **s) {
    (void)s;
    static const struct {
        const char *text;
        size_t len;
        const char *want;
    } cases[] = {
        {"abc\xFF", 4, "byte 3"},           {"\x80", 1, "byte 0"}, {"a\xC0\xAF", 3, "byte 1"}, /* overlong */
        {"a\xED\xA0\x80", 4, "byte 1"},                                                        /* surrogate */
        {"\xF4\x90\x80\x80", 4, "byte 0"},  /* above U+10FFFF */
        {"12345678\xE2\x82", 10, "byte 8"}, /* cut off */
    };
    fixture f;
    setup(&f, "gpt-2", false);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        token_list l = {0};
        errbuf eb = {0};
        assert_int_equal(tokenizer_encode(f.t, cases[i].text, cases[i].len, &plainly, &l, &eb), ST_INVALID);
        assert_non_null(strstr(eb.text, cases[i].want));
        assert_int_equal(l.count, 0);
        token_list_done(&l);
    }
    teardown(&f);
}

static void whole_words_that_are_tokens_need_no_merges(void **s) {
    (void)s;
    fixture f;
    setup(&f, "llama-bpe", false);
    EXPECT(f.t, "llo", plainly, T_LLO);
    EXPECT(f.t, " h", plainly, T_SP_H);
    EXPECT(f.t, "12345", plainly, '1', '2', '3', '4', '5');
    EXPECT(f.t, "hell", plainly, T_HE, T_LL);
    teardown(&f);
}

static void tokens_are_known_by_text_bytes_and_kind(void **s) {
    (void)s;
    fixture f;
    setup(&f, "gpt-2", false);
    char out[16] = {0};
    assert_int_equal(tokenizer_vocab(f.t), T_COUNT);
    assert_int_equal(tokenizer_bytes(f.t, T_SP_H, out, sizeof out), 2);
    assert_memory_equal(out, " h", 2);
    assert_int_equal(tokenizer_bytes(f.t, 0xFF, out, sizeof out), 1);
    assert_int_equal((unsigned char)out[0], 0xFF);
    assert_int_equal(tokenizer_bytes(f.t, T_USER, out, sizeof out), 8);
    assert_memory_equal(out, "«user»", 8);
    assert_int_equal(tokenizer_bytes(f.t, T_START, NULL, 0), 12);
    assert_int_equal(tokenizer_bytes(f.t, T_UNUSED, NULL, 0), 0);
    assert_int_equal(tokenizer_bytes(f.t, T_COUNT, NULL, 0), 0);
    assert_int_equal(tokenizer_bytes(f.t, -1, NULL, 0), 0);
    memset(out, '#', sizeof out);
    assert_int_equal(tokenizer_bytes(f.t, T_HELLO, out, 2), 5);
    assert_memory_equal(out, "he#", 3);

    assert_true(tokenizer_is_special(f.t, T_END));
    assert_false(tokenizer_is_special(f.t, T_USER));
    assert_false(tokenizer_is_special(f.t, T_COUNT));
    assert_int_equal(tokenizer_find(f.t, "<|im_end|>"), T_END);
    assert_int_equal(tokenizer_find(f.t, "hel"), -1);
    uint32_t count;
    const int32_t *eog = tokenizer_eog(f.t, &count); /* <|im_end|> by its name, T_ENDX as the file's EOS */
    assert_int_equal(count, 2);
    assert_int_equal(eog[0], T_END);
    assert_int_equal(eog[1], T_ENDX);
    teardown(&f);
}

static void only_whole_characters_come_out_of_detok(void **s) {
    (void)s;
    fixture f;
    setup(&f, "gpt-2", false);
    static const struct {
        int32_t ids[6];
        uint32_t count;
        const char *want, *want_end; /* before and after detok_end */
    } cases[] = {
        {{T_HE, T_SP_H}, 2, "he h", "he h"},
        {{0xF0, 0x9F, 0x98}, 3, "", "\xEF\xBF\xBD"},
        {{0xF0, 0x9F, 0x98, 0x81, 'a'}, 5, "😁a", "😁a"},
        {{0xE2, 0x82, T_HE},
         3,
         "\xEF\xBF\xBDhe",
         "\xEF\xBF\xBDhe"}, /* one U+FFFD for a character that broke off */
        {{0xFF, 'a', 0x80},
         3,
         "\xEF\xBF\xBD"
         "a\xEF\xBF\xBD",
         "\xEF\xBF\xBD"
         "a\xEF\xBF\xBD"},
        {{0xED, 0xA0, 0x80},
         3,
         "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD",
         "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {{0xE2, T_END, 0x82, 0xAC}, 4, "€", "€"}, /* a special token is nothing */
        {{0xC3, 0xC3, 0xA9}, 3, "\xEF\xBF\xBDé", "\xEF\xBF\xBDé"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        detok d = {0};
        buf out = {0};
        buf_adds(&out, "");
        for (uint32_t k = 0; k < cases[i].count; k++) detok_add(&d, f.t, cases[i].ids[k], false, &out);
        assert_string_equal(out.data, cases[i].want);
        detok_end(&d, &out);
        assert_string_equal(out.data, cases[i].want_end);
        assert_int_equal(d.held_count, 0);
        buf_done(&out);
    }
    detok d = {0};
    buf out = {0};
    detok_add(&d, f.t, T_END, true, &out);
    assert_string_equal(out.data, "<|im_end|>");
    buf_done(&out);
    teardown(&f);
}

typedef struct worker {
    pthread_t thread;
    const tokenizer *t;
    uint32_t wrong; /* encodings that were not what they should be */
} worker;

static void *encode_often(void *arg) {
    worker *w = arg;
    static const int32_t want[] = {T_HELLO, ' ', T_HELLO, T_END, T_AAAA};
    for (uint32_t i = 0; i < 200; i++) {
        token_list l = {0};
        status st = tokenizer_encode(w->t, "hello hello<|im_end|>aaaa", 25, &specially, &l, NULL);
        w->wrong += st != ST_OK || l.count != ARRAY_LEN(want) || memcmp(l.ids, want, sizeof want) != 0;
        token_list_done(&l);
    }
    return NULL;
}

static void several_threads_encode_at_once(void **s) {
    (void)s;
    fixture f;
    setup(&f, "llama-bpe", false);
    worker workers[4] = {{0}};
    for (size_t i = 0; i < ARRAY_LEN(workers); i++) {
        workers[i].t = f.t;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, encode_often, &workers[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(workers); i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].wrong, 0);
    }
    teardown(&f);
}

/* --- files that are wrong --- */

static void refuse(gguf_build *b, status want, const char *text) {
    buf file = build_file(b);
    checkpoint *g;
    tokenizer *t = NULL;
    errbuf eb = {0};
    assert_int_equal(gguf_parse_checkpoint(&g, file.data, file.len, NULL), ST_OK);
    assert_int_equal(tokenizer_new(&t, g, &eb), want);
    assert_null(t);
    assert_non_null(strstr(eb.text, text));
    checkpoint_close(g);
    buf_done(&file);
}

static void what_is_not_supported_is_named_with_what_is(void **s) {
    (void)s;
    gguf_build b = {0};
    build_string(&b, "tokenizer.ggml.model", "bert");
    refuse(&b, ST_UNSUPPORTED, "'bert' is not supported; byte-level BPE ('gpt2')");
    vocab_build v;
    add_tokens(&v);
    vocab_build_keys(&v, &b, "bert-bge", merges, 1);
    refuse(&b, ST_UNSUPPORTED, "'bert-bge' is not supported; supported are smollm");
}

static void vocabularies_that_contradict_themselves_are_refused(void **s) {
    (void)s;
    gguf_build b = {0};
    vocab_build v;
    build_string(&b, "tokenizer.ggml.model", "gpt2");
    refuse(&b, ST_CORRUPT, "tokenizer.ggml.tokens");
    add_tokens(&v);
    vocab_build_add(&v, "hello", 1);
    vocab_build_keys(&v, &b, "gpt-2", merges, 1);
    refuse(&b, ST_CORRUPT, "tokens 259 and 268 have the same text");

    build_string(&b, "tokenizer.ggml.model", "gpt2");
    build_strings(&b, "tokenizer.ggml.tokens", (const char *[]){""}, 1);
    refuse(&b, ST_CORRUPT, "tokens are empty");

    static const char *const bad[] = {"q z", "hello", "h", "", " h", "nonsense token"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        add_tokens(&v);
        vocab_build_keys(&v, &b, "gpt-2", &bad[i], 1);
        refuse(&b, ST_CORRUPT, "merge 0");
    }
    add_tokens(&v);
    vocab_build_keys(&v, &b, "gpt-2", merges, 1);
    build_u32(&b, "tokenizer.ggml.eos_token_id", T_COUNT);
    refuse(&b, ST_CORRUPT, "eos_token_id is 268");
    add_tokens(&v);
    vocab_build_keys(&v, &b, "llama-bpe", merges, 1); /* adds a BOS unless told otherwise, and has none */
    refuse(&b, ST_CORRUPT, "bos_token_id");
    add_tokens(&v);
    build_string(&b, "tokenizer.ggml.model", "gpt2");
    build_strings(&b, "tokenizer.ggml.tokens", v.tokens, v.count);
    build_i32s(&b, "tokenizer.ggml.token_type", v.kinds, v.count - 1);
    refuse(&b, ST_CORRUPT, "267 token types for 268 tokens");
}

/* --- the real vocabulary --- */

static tokenizer *open_real(checkpoint **g) {
    const char *path = getenv("BATON_MODEL");
    if (!path || checkpoint_open(g, path, NULL) != ST_OK) skip();
    tokenizer *t;
    assert_int_equal(tokenizer_new(&t, *g, NULL), ST_OK);
    return t;
}

static void the_real_vocabulary_ends_with_what_llama_cpp_ends_with(void **s) {
    (void)s;
    checkpoint *g;
    tokenizer *t = open_real(&g);
    uint32_t count;
    const int32_t *eog = tokenizer_eog(t, &count);
    assert_int_equal(tokenizer_vocab(t), 49152);
    assert_int_equal(count, 3); /* <|endoftext|>, <|im_end|>, <reponame> */
    assert_int_equal(eog[0], 0);
    assert_int_equal(eog[1], 2);
    assert_int_equal(eog[2], 4);
    assert_int_equal(tokenizer_bos(t), 1);
    tokenizer_free(t);
    checkpoint_close(g);
}

/* The thread's own time: other work on the machine does not count. */
static uint64_t cpu_ns(void) {
    struct timespec t;
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), 0);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t encode_ns(const tokenizer *t, const buf *text, uint32_t *count) {
    token_list l = {0};
    encode_options opt = {.max_tokens = UINT32_MAX};
    uint64_t begin = cpu_ns();
    assert_int_equal(tokenizer_encode(t, text->data, text->len, &opt, &l, NULL), ST_OK);
    uint64_t ns = cpu_ns() - begin;
    *count = l.count;
    token_list_done(&l);
    return ns;
}

/* Quadratic merging takes minutes here; the limit is wide for slow machines and sanitizers. */
static void long_words_and_texts_take_no_quadratic_time(void **s) {
    (void)s;
    checkpoint *g;
    tokenizer *t = open_real(&g);
    static const struct {
        const char *what, *unit;
        size_t bytes;
    } cases[] = {
        {"200 KB of one letter", "a", 200000},
        {"200 KB of one word", "abcdefghijklmnopqrstuvwxyz", 200000},
        {"1 MB of blanks", " ", 1000000},
        {"1 MB of line ends and blanks", " \n", 1000000},
        {"1 MB of digits", "0123456789", 1000000},
        {"1 MB of '<'", "<", 1000000},
        {"1 MB of prose", "The quick brown fox doesn't jump over 12 lazy dogs; 犬は怠け者です。\n", 1000000},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf text = {0};
        while (text.len < cases[i].bytes) buf_adds(&text, cases[i].unit);
        uint32_t count;
        uint64_t ns = encode_ns(t, &text, &count);
        print_message("%s: %zu bytes, %u tokens, %.1f ms\n", cases[i].what, text.len, count,
                      (double)ns / 1e6);
        assert_true(ns < 10000000000u);
        buf_done(&text);
    }
    tokenizer_free(t);
    checkpoint_close(g);
}

static void text_comes_back_from_its_tokens(void **s) {
    (void)s;
    checkpoint *g;
    tokenizer *t = open_real(&g);
    static const char text[] = "Hello, y'all! How are you 😁 ?\r\n\t我想在apple工作1314151天～   "
                               "ნაცვლად\u00a0\u3000é\u0301 <|im_end|>\n";
    token_list l = {0};
    assert_int_equal(tokenizer_encode(t, text, strlen(text), &plainly, &l, NULL), ST_OK);
    detok d = {0};
    buf out = {0};
    for (uint32_t i = 0; i < l.count; i++) detok_add(&d, t, l.ids[i], false, &out);
    assert_int_equal(d.held_count, 0);
    assert_string_equal(out.data, text);
    buf_done(&out);
    token_list_done(&l);
    tokenizer_free(t);
    checkpoint_close(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_merge_by_rank_and_equal_ranks_from_the_left),
        cmocka_unit_test(merges_do_not_cross_the_pieces),
        cmocka_unit_test(bytes_of_any_character_are_tokens),
        cmocka_unit_test(special_tokens_count_only_when_asked_for),
        cmocka_unit_test(the_longest_special_token_wins),
        cmocka_unit_test(user_defined_tokens_are_always_found),
        cmocka_unit_test(inside_a_plain_span_special_tokens_are_text),
        cmocka_unit_test(the_edge_of_a_plain_span_does_not_cut_words),
        cmocka_unit_test(the_bos_comes_first_when_the_file_says_so),
        cmocka_unit_test(too_many_tokens_leave_the_list_as_it_was),
        cmocka_unit_test(text_that_is_not_utf8_is_refused_with_its_place),
        cmocka_unit_test(whole_words_that_are_tokens_need_no_merges),
        cmocka_unit_test(tokens_are_known_by_text_bytes_and_kind),
        cmocka_unit_test(only_whole_characters_come_out_of_detok),
        cmocka_unit_test(several_threads_encode_at_once),
        cmocka_unit_test(what_is_not_supported_is_named_with_what_is),
        cmocka_unit_test(vocabularies_that_contradict_themselves_are_refused),
        cmocka_unit_test(the_real_vocabulary_ends_with_what_llama_cpp_ends_with),
        cmocka_unit_test(long_words_and_texts_take_no_quadratic_time),
        cmocka_unit_test(text_comes_back_from_its_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
