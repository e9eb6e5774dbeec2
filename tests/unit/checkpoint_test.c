/* A checkpoint behind its header, whatever the format: keys and lists by kind, the keys of the architecture,
 * stems, and the ends that a worker asks for. */
#include "tests/test.h"

#include "base/mem.h"
#include "checkpoint/arch_keys.h"
#include "checkpoint/byte_chars.h"
#include "text/token_ends.h"
#include "vocab_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

typedef struct scene {
    buf file;
    checkpoint *ckpt;
} scene;

static scene scene_of(gguf_build *b) {
    scene s = {.file = build_file(b)};
    errbuf eb = {0};
    if (gguf_parse_checkpoint(&s.ckpt, s.file.data, s.file.len, &eb) != ST_OK) fail_msg("%s", eb.text);
    return s;
}

static void scene_done(scene *s) {
    checkpoint_close(s->ckpt);
    buf_done(&s->file);
}

static void a_key_is_found_by_name_and_kind(void **state) {
    (void)state;
    static const char *const words[] = {"one", "two"};
    static const int32_t numbers[] = {-1, 7};
    gguf_build b = {0};
    build_u32(&b, "number", 9);
    build_f32(&b, "real", 0.5f);
    build_bool(&b, "truth", true);
    build_string(&b, "text", "abc");
    build_strings(&b, "texts", words, 2);
    build_i32s(&b, "numbers", numbers, 2);
    build_tensor(&b, "w", DT_F32, 2, 4, 0);
    scene s = scene_of(&b);
    uint64_t u = 0;
    double f = 0;
    bool truth = false;
    checkpoint_text text;
    assert_true(checkpoint_u64(s.ckpt, "number", &u));
    assert_int_equal(u, 9);
    assert_false(checkpoint_u64(s.ckpt, "real", &u));
    assert_false(checkpoint_u64(s.ckpt, "absent", &u));
    assert_true(checkpoint_f64(s.ckpt, "real", &f));
    assert_true(f == 0.5);
    assert_true(checkpoint_bool(s.ckpt, "truth", &truth));
    assert_true(truth);
    assert_true(checkpoint_string(s.ckpt, "text", &text));
    assert_int_equal(text.len, 3);
    assert_memory_equal(text.data, "abc", 3);
    checkpoint_kind kind;
    uint64_t count = 0;
    assert_true(checkpoint_list(s.ckpt, "texts", &kind, &count));
    assert_int_equal(kind, CHECKPOINT_TEXTS);
    assert_int_equal(count, 2);
    assert_true(checkpoint_list_text(s.ckpt, "texts", 1, &text));
    assert_memory_equal(text.data, "two", 3);
    assert_false(checkpoint_list_text(s.ckpt, "texts", 2, &text));
    int64_t number = 0;
    assert_true(checkpoint_list(s.ckpt, "numbers", &kind, &count));
    assert_int_equal(kind, CHECKPOINT_INTEGERS);
    assert_true(checkpoint_list_i64(s.ckpt, "numbers", 0, &number));
    assert_int_equal(number, -1);
    assert_false(checkpoint_list(s.ckpt, "number", &kind, &count));
    assert_int_equal(checkpoint_tensor_count(s.ckpt), 1);
    assert_ptr_equal(checkpoint_tensor_find(s.ckpt, "w"), checkpoint_tensor_at(s.ckpt, 0));
    assert_null(checkpoint_tensor_find(s.ckpt, "v"));
    assert_true(checkpoint_has(s.ckpt, "w"));
    assert_false(checkpoint_has(s.ckpt, "v"));
    assert_int_equal(checkpoint_made_of(s.ckpt), 0);
    scene_done(&s);
}

static void keys_of_the_architecture_stand_under_its_name(void **state) {
    (void)state;
    gguf_build b = {0};
    build_string(&b, "general.architecture", "arc");
    build_u32(&b, "arc.context_length", 77);
    build_u32(&b, "arc.large", 100);
    build_f32(&b, "arc.eps", 0.25f);
    scene s = scene_of(&b);
    uint32_t n = 0;
    float real = 0;
    errbuf eb = {0};
    assert_int_equal(arch_name(s.ckpt).len, 3);
    assert_int_equal(arch_context(s.ckpt, &n, &eb), ST_OK);
    assert_int_equal(n, 77);
    assert_int_equal(arch_number_get(s.ckpt, (arch_number){"large", 1, 99, 0}, &n, &eb), ST_CORRUPT);
    assert_string_equal(eb.text, "arc.large is 100, want 1..99");
    assert_int_equal(arch_number_get(s.ckpt, (arch_number){"absent", 1, 99, 5}, &n, &eb), ST_OK);
    assert_int_equal(n, 5);
    assert_int_equal(arch_number_get(s.ckpt, (arch_number){"absent", 1, 99, 0}, &n, &eb), ST_CORRUPT);
    assert_string_equal(eb.text, "arc.absent is missing or no whole number");
    assert_int_equal(arch_number_get(s.ckpt, (arch_number){"eps", 1, 99, 5}, &n, &eb), ST_CORRUPT);
    assert_int_equal(arch_real_get(s.ckpt, "eps", 1, 0, &real, &eb), ST_OK);
    assert_true(real == 0.25f);
    assert_int_equal(arch_real_get(s.ckpt, "eps", 0.125, 0, &real, &eb), ST_CORRUPT);
    assert_string_equal(eb.text, "arc.eps is 0.25, want above 0 and at most 0.125");
    scene_done(&s);
}

static void a_stem_is_the_file_without_folder_and_suffix(void **state) {
    (void)state;
    static const char *const cases[][2] = {{"models/Smol.Q4_1.gguf", "Smol.Q4_1"},
                                           {"x.gguf", "x"},
                                           {"a.b/x", "x"},
                                           {".hidden", ".hidden"},
                                           {"random:tiny:7", "random:tiny:7"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *stem = checkpoint_stem(cases[i][0]);
        assert_string_equal(stem, cases[i][1]);
        free(stem);
    }
}

static void every_byte_has_a_character_of_its_own(void **state) {
    (void)state;
    byte_chars t;
    byte_chars_init(&t);
    for (uint32_t b = 0; b < 256; b++) assert_int_equal(t.byte_of_code[t.code_of_byte[b]], b);
    char out[6];
    assert_int_equal(byte_chars_write(&t, "a \n", 3, out), 5);
    assert_memory_equal(out, "a\xC4\xA0\xC4\x8A", 5);
}

static void a_worker_is_told_the_ends_alone(void **state) {
    (void)state;
    vocab_build v;
    gguf_build b = {0};
    vocab_build_init(&v);
    vocab_build_add(&v, "ab", 1);
    vocab_build_add(&v, "<|im_end|>", 3);
    vocab_build_keys(&v, &b, "gpt-2", NULL, 0);
    build_u32(&b, "tokenizer.ggml.eos_token_id", 256);
    scene s = scene_of(&b);
    token_ends ends;
    assert_int_equal(token_ends_init(&ends, s.ckpt, NULL), ST_OK);
    assert_int_equal(ends.count, 2);
    assert_int_equal(ends.ids[0], 256);
    assert_int_equal(ends.ids[1], 257);
    token_ends_done(&ends);
    scene_done(&s);

    gguf_build other = {0};
    build_string(&other, "tokenizer.ggml.model", "bert");
    s = scene_of(&other);
    errbuf eb = {0};
    assert_int_equal(token_ends_init(&ends, s.ckpt, &eb), ST_UNSUPPORTED);
    assert_non_null(strstr(eb.text, "tokenizer: model 'bert' is not supported"));
    scene_done(&s);
}

static void ends_that_a_file_lists_are_ends(void **state) {
    (void)state;
    static const int32_t listed[] = {7, 256}, bad[] = {300};
    vocab_build v;
    gguf_build b = {0};
    vocab_build_init(&v);
    vocab_build_add(&v, "ab", 1);
    gguf_build other = {0};
    vocab_build_keys(&v, &b, "gpt-2", NULL, 0);
    vocab_build_keys(&v, &other, "gpt-2", NULL, 0);
    build_u32(&b, "tokenizer.ggml.eos_token_id", 256);
    build_i32s(&b, "tokenizer.ggml.eos_token_ids", listed, 2);
    scene s = scene_of(&b);
    token_ends ends;
    assert_int_equal(token_ends_init(&ends, s.ckpt, NULL), ST_OK);
    assert_int_equal(ends.count, 2);
    assert_int_equal(ends.ids[0], 7);
    assert_int_equal(ends.ids[1], 256);
    token_ends_done(&ends);
    scene_done(&s);
    build_i32s(&other, "tokenizer.ggml.eos_token_ids", bad, 1);
    s = scene_of(&other);
    errbuf eb = {0};
    assert_int_equal(token_ends_init(&ends, s.ckpt, &eb), ST_CORRUPT);
    assert_non_null(strstr(eb.text, "eos_token_ids has 300, but there are 257 tokens"));
    scene_done(&s);
}

/* Resident KiB of the file's mapping */
static uint64_t resident_kb(const char *path) {
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512];
    bool here = false;
    uint64_t kb = 0;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        unsigned long begin, end;
        if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
            here = strstr(line, path) != NULL;
        else if (here && strncmp(line, "Rss:", 4) == 0)
            kb += strtoull(line + 4, NULL, 10);
    }
    fclose(f);
    return kb;
}

static void what_was_read_can_be_given_back_and_read_again(void **state) {
    (void)state;
    gguf_build b = {0};
    build_string(&b, "general.name", "large");
    build_tensor(&b, "w", DT_F32, 1024, 1024, 7);
    buf file = build_file(&b);
    char path[] = "/tmp/checkpoint_test.XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, file.data, file.len), file.len);
    checkpoint *c = NULL;
    assert_int_equal(checkpoint_open(&c, path, NULL), ST_OK);
    const checkpoint_tensor *t = checkpoint_tensor_find(c, "w");
    assert_int_equal(t->bytes, 4u << 20);
    uint64_t sum = XXH3_64bits(t->data, t->bytes);
    assert_true(resident_kb(path) >= 4096);
    checkpoint_drop(c);
    assert_int_equal(resident_kb(path), 0);
    assert_true(XXH3_64bits(t->data, t->bytes) == sum);
    assert_true(resident_kb(path) >= 4096);
    checkpoint_close(c);
    close(fd);
    unlink(path);

    /* Memory that was parsed is the caller's, and a model without a file has none. */
    assert_int_equal(gguf_parse_checkpoint(&c, file.data, file.len, NULL), ST_OK);
    checkpoint_drop(c);
    t = checkpoint_tensor_find(c, "w");
    assert_true(XXH3_64bits(t->data, t->bytes) == sum);
    checkpoint_close(c);
    buf_done(&file);
    assert_int_equal(checkpoint_open(&c, "random:tiny", NULL), ST_OK);
    checkpoint_drop(c);
    checkpoint_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_found_by_name_and_kind),
        cmocka_unit_test(keys_of_the_architecture_stand_under_its_name),
        cmocka_unit_test(a_stem_is_the_file_without_folder_and_suffix),
        cmocka_unit_test(every_byte_has_a_character_of_its_own),
        cmocka_unit_test(a_worker_is_told_the_ends_alone),
        cmocka_unit_test(ends_that_a_file_lists_are_ends),
        cmocka_unit_test(what_was_read_can_be_given_back_and_read_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
