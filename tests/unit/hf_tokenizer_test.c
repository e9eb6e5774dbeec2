/* tokenizer.json and the files beside it in the vocabulary of checkpoint.h: what is read, what is refused. */
#include "tests/test.h"

#include "base/mem.h"
#include "checkpoint/hf_tokenizer.h"
#include "key_checkpoint.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BYTE_LEVEL                                                                                           \
    "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"             \
    "\"decoder\":{\"type\":\"ByteLevel\"},\"post_processor\":null,"
#define ADDED  "{\"id\":3,\"content\":\"<s>\",\"special\":true,\"normalized\":false}"
#define MERGES "\"merges\":[[\"a\",\"b\"]]"
/* a, b and ab */
#define MODEL "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}," MERGES "}"
/* A tokenizer.json of these parts */
#define FILE_OF(around, added, model) "{" around "\"added_tokens\":[" added "]," model "}"

static status parse(const char *json, size_t len, uint32_t rows, errbuf *eb) {
    key_store *keys = key_store_new();
    status st = hf_tokenizer_parse(keys, json, len, rows, eb);
    tokenizer *t;
    if (st == ST_OK) {
        checkpoint *c = key_checkpoint(keys);
        st = tokenizer_new(&t, c, eb);
        if (st == ST_OK) tokenizer_free(t);
        checkpoint_close(c);
    } else {
        key_store_free(keys);
    }
    return st;
}

static void refuse(const char *json, status want, const char *text) {
    errbuf eb = {0};
    status st = parse(json, strlen(json), 0, &eb);
    if (st != want || !strstr(eb.text, text))
        fail_msg("%.400s\n is %s: '%s', want %s: '%s'", json, status_name(st), eb.text, status_name(want),
                 text);
}

static void what_is_impossible_is_named(void **s) {
    (void)s;
    errbuf eb = {0};
    static const char good[] = FILE_OF(BYTE_LEVEL, ADDED, MODEL);
    assert_int_equal(parse(good, strlen(good), 0, &eb), ST_OK);
    const struct {
        const char *json, *text;
    } cases[] = {
        {"", "tokenizer.json: no JSON"},
        {"[]", "there is no model"},
        {FILE_OF(BYTE_LEVEL, ADDED, "\"model\":{\"type\":\"BPE\",\"merges\":[]}"), "no vocabulary"},
        {FILE_OF(BYTE_LEVEL, "", "\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}"),
         "there are no tokens"},
        {FILE_OF(BYTE_LEVEL, "", "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}"), "no list of merges"},
        {FILE_OF(BYTE_LEVEL, "", "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}"),
         "the id of token 'a'"},
        {FILE_OF(BYTE_LEVEL, "", "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1e9},\"merges\":[]}"),
         "the id of token 'a'"},
        {FILE_OF(BYTE_LEVEL, "", "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":4000000},\"merges\":[]}"),
         "token id 4000000 among only 1 tokens"},
        {FILE_OF(BYTE_LEVEL, "", "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}"),
         "tokens 'a' and 'b' have the same id"},
        {FILE_OF(BYTE_LEVEL, "", "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}"),
         "token 'a' is there twice"},
        {FILE_OF(BYTE_LEVEL, "{\"id\":0,\"content\":\"x\"}", MODEL), "added token 'x' has the id of 'a'"},
        {FILE_OF(BYTE_LEVEL, "{\"id\":7,\"content\":\"a\"}", MODEL), "added token 'a' has another id"},
        {FILE_OF(BYTE_LEVEL, "{\"id\":7,\"content\":\"x\"},{\"id\":8,\"content\":\"x\"}", MODEL),
         "tokens 7 and 8 have the same text"},
        {FILE_OF(BYTE_LEVEL, "{\"content\":\"x\"}", MODEL), "the id of added token 0"},
        {FILE_OF(BYTE_LEVEL, "{\"id\":7}", MODEL), "added token 0 has no content"},
        {FILE_OF(BYTE_LEVEL, "7", MODEL), "the id of added token 0"},
        {FILE_OF(BYTE_LEVEL, "",
                 "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[\"a b\"]}"),
         "merge 0: 'ab' is no token"},
        {FILE_OF(BYTE_LEVEL, "", "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a c\"]}"),
         "merge 0: 'c' is no token"},
        {FILE_OF(BYTE_LEVEL, "", "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a\"]}"),
         "merge 0 is no pair"},
        {FILE_OF(BYTE_LEVEL, "", "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\",1]]}"),
         "merge 0 is no pair"},
        {FILE_OF(BYTE_LEVEL, "",
                 "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\",\"a\",\"a\"]]}"),
         "merge 0 is no pair"},
        {FILE_OF(BYTE_LEVEL, "",
                 "\"model\":{\"type\":\"BPE\",\"unk_token\":\"u\",\"vocab\":{\"a\":0},\"merges\":[]}"),
         "the unknown token 'u' is not in the vocabulary"},
        {"{\"normalizer\":{\"type\":\"Sequence\"}," MODEL "}", "a Sequence without its list"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) refuse(cases[i].json, ST_CORRUPT, cases[i].text);
    assert_int_equal(parse(good, strlen(good), 3, &eb), ST_CORRUPT);
    assert_string_equal(eb.text, "tokenizer.json: token id 3 is beyond the model's 3 rows of embeddings");
}

static void parts_that_nothing_here_reads_are_named_with_what_is_read(void **s) {
    (void)s;
    const struct {
        const char *json, *text;
    } cases[] = {
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", "model 'Unigram' is not supported; BPE is"},
        {"{\"normalizer\":{\"type\":\"Lowercase\"}," MODEL "}",
         "normalizer 'Lowercase' is not supported; NFC"},
        {"{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"NFKC\"}]}"
         "," MODEL "}",
         "normalizer 'NFKC'"},
        {"{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Sequence\"}]}," MODEL "}",
         "normalizer 'Sequence'"},
        {"{\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}," MODEL "}", "pre-tokenizer 'BertPreTokenizer'"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[0-9]+\"},\"behavior\":"
         "\"Isolated\"}," MODEL "}",
         "pattern '[0-9]+' (Isolated) is not supported; those of GPT-2, Llama 3 and Qwen2"},
        {"{\"pre_tokenizer\":{\"type\":\"Digits\",\"individual_digits\":false}," MODEL "}",
         "pre-tokenizer 'Digits'"},
        {"{\"pre_tokenizer\":null," MODEL "}", "neither ByteLevel nor"},
        {"{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"decoder\":{\"type\":\"WordPiece\"}," MODEL "}",
         "decoder 'WordPiece' is not supported; ByteLevel is"},
        {"{\"pre_tokenizer\":{\"type\":\"ByteLevel\"}," MODEL "}", "no decoder"},
        {"{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"decoder\":{\"type\":\"ByteLevel\"},"
         "\"post_processor\":{\"type\":\"BertProcessing\"}," MODEL "}",
         "post-processor 'BertProcessing'"},
        {FILE_OF(BYTE_LEVEL, "",
                 "\"model\":{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{\"a\":0},\"merges\":[]}"),
         "a BPE model with 'dropout'"},
        {FILE_OF(BYTE_LEVEL, "",
                 "\"model\":{\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\",\"vocab\":{},\"merges\":[]}"),
         "a BPE model with 'end_of_word_suffix'"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) refuse(cases[i].json, ST_UNSUPPORTED, cases[i].text);
}

static void huge_and_deep_files_are_read_or_refused(void **s) {
    (void)s;
    errbuf eb = {0};
    buf deep = {0}, wide = {0};
    for (uint32_t i = 0; i < 100000; i++) buf_adds(&deep, "[");
    assert_int_equal(parse(deep.data, deep.len, 0, &eb), ST_CORRUPT);
    assert_non_null(strstr(eb.text, "maximum parsing depth"));

    buf_adds(&wide, "{" BYTE_LEVEL "\"added_tokens\":[],\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"");
    memset(buf_grow(&wide, 10u << 20), 'x', 10u << 20);
    buf_adds(&wide, "\":1},\"merges\":[]}}");
    assert_int_equal(parse(wide.data, wide.len, 0, &eb), ST_OK);
    wide.data[wide.len - 5] = '7'; /* no list any more */
    assert_int_equal(parse(wide.data, wide.len, 0, &eb), ST_CORRUPT);
    buf_done(&deep);
    buf_done(&wide);
}

static void no_start_of_a_file_is_taken_for_all_of_it(void **s) {
    (void)s;
    static const char good[] = FILE_OF(BYTE_LEVEL, ADDED, MODEL);
    errbuf eb = {0};
    for (size_t len = 0; len + 1 < sizeof good - 1; len++)
        assert_int_equal(parse(good, len, 0, &eb), ST_CORRUPT);
}

static void ids_without_a_token_are_unused_ones(void **s) {
    (void)s;
    static const char json[] = FILE_OF(BYTE_LEVEL, "{\"id\":5,\"content\":\"<s>\",\"special\":true}", MODEL);
    key_store *keys = key_store_new();
    checkpoint_kind kind;
    uint64_t count;
    assert_int_equal(hf_tokenizer_parse(keys, json, strlen(json), 8, NULL), ST_OK);
    assert_true(key_store_get_list(keys, "tokenizer.ggml.token_type", &kind, &count));
    assert_int_equal(count, 8);
    const int64_t want[] = {1, 1, 1, 5, 5, 3, 5, 5};
    for (uint64_t i = 0; i < count; i++) {
        int64_t got;
        assert_true(key_store_get_list_i64(keys, "tokenizer.ggml.token_type", i, &got));
        assert_int_equal(got, want[i]);
    }
    key_store_free(keys);
}

/* Qwen2's vocabulary has learnt "</s>" from HTML, Gemma's has it as an added token. */
static void a_tag_that_is_text_ends_no_generation(void **s) {
    (void)s;
    static const char *const added[] = {
        "{\"id\":3,\"content\":\"</s>\",\"special\":false}",
        "{\"id\":3,\"content\":\"</s>\",\"special\":true}",
    };
    for (uint32_t i = 0; i < ARRAY_LEN(added); i++) {
        char *json = xasprintf("{" BYTE_LEVEL "\"added_tokens\":[%s]," MODEL "}", added[i]);
        key_store *keys = key_store_new();
        tokenizer *t;
        uint32_t ends;
        assert_int_equal(hf_tokenizer_parse(keys, json, strlen(json), 0, NULL), ST_OK);
        checkpoint *c = key_checkpoint(keys);
        assert_int_equal(tokenizer_new(&t, c, NULL), ST_OK);
        (void)tokenizer_eog(t, &ends);
        assert_int_equal(ends, i);
        assert_int_equal(tokenizer_is_special(t, 3), i == 1);
        tokenizer_free(t);
        checkpoint_close(c);
        free(json);
    }
}

static void texts_are_read_with_their_escapes_wherever_they_stand(void **s) {
    (void)s;
    static const char json[] =
        "{ \"model\" : {\"merges\":[ \"a \\u00e9\" ,\n [\"\\\"\",\"\\\\\"]\t, [\"a b\",\"a\"] ],"
        "\"other\":\"]}\\\"\", \"vocab\"\n: { \"a\" : 0 , \"\\u00E9\":1,\"a\\u00e9\":2,\"\\\"\":3,\"\\\\\":4 "
        ","
        "\"\\\"\\\\\":5,\"\\ud83d\\ude00\\n\\/\":6,\"a b\":7,\"a "
        "ba\":8,\"\\u0000\":9},\"type\":\"BPE\"}," BYTE_LEVEL "\"added_tokens\":[]}";
    static const struct {
        const char *text;
        size_t len;
    } want[] = {{"a", 1},    {"\xC3\xA9", 2}, {"a\xC3\xA9", 3},           {"\"", 1},
                {"\\", 1},   {"\"\\", 2},     {"\xF0\x9F\x98\x80\n/", 6}, {"a b", 3},
                {"a ba", 4}, {"", 1}};
    key_store *keys = key_store_new();
    errbuf eb = {0};
    if (hf_tokenizer_parse(keys, json, strlen(json), 0, &eb) != ST_OK) fail_msg("%s", eb.text);
    for (uint64_t i = 0; i < ARRAY_LEN(want); i++) {
        checkpoint_text got;
        assert_true(key_store_get_list_text(keys, "tokenizer.ggml.tokens", i, &got));
        assert_int_equal(got.len, want[i].len);
        assert_memory_equal(got.data, want[i].text, got.len);
    }
    const int64_t merges[] = {0, 1, 2, 3, 4, 5, 7, 0, 8};
    for (uint64_t i = 0; i < ARRAY_LEN(merges); i++) {
        int64_t got;
        assert_true(key_store_get_list_i64(keys, "tokenizer.ggml.merges", i, &got));
        assert_int_equal(got, merges[i]);
    }
    key_store_free(keys);
}

static void lists_that_are_no_json_are_refused(void **s) {
    (void)s;
    static const struct {
        const char *vocab, *merges, *text;
    } cases[] = {
        {"{\"a\":0,}", "[]", "no text and number behind token 1"},
        {"{\"a\":0 \"b\":1}", "[]", "no comma behind token 'a'"},
        {"{\"a\" 0}", "[]", "no text and number behind token 0"},
        {"{a:0}", "[]", "no text and number behind token 0"},
        {"{\"a\":\"0\"}", "[]", "the id of token 'a'"},
        {"{\"a\":0.5}", "[]", "the id of token 'a'"},
        {"{\"a\":99999999999999999999}", "[]", "the id of token 'a'"},
        {"{\"\\x\":0}", "[]", "no text and number behind token 0"},
        {"{\"\\ud800\":0}", "[]", "no text and number behind token 0"},
        {"{\"\\ud800\\u0041\":0}", "[]", "no text and number behind token 0"},
        {"{\"\\udc00\":0}", "[]", "no text and number behind token 0"},
        {"{\"\\u12\":0}", "[]", "no text and number behind token 0"},
        {"{\"a\":{}}", "[]", "the id of token 'a'"},
        {"{\"a\":0,\"aa\":1}", "[\"a a\",]", "merge 1 is no pair"},
        {"{\"a\":0,\"aa\":1}", "[\"a a\" \"a a\"]", "no comma behind merge 0"},
        {"{\"a\":0,\"aa\":1}", "[[\"a\",\"\"]]", "merge 0: '' is no token"},
        {"{\"a\":0,\"aa\":1}", "[{}]", "merge 0 is no pair"},
        {"{\"a\":0,\"aa\":1}", "[[[\"a\"],\"a\"]]", "merge 0 is no pair"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *json = xasprintf("{" BYTE_LEVEL "\"model\":{\"type\":\"BPE\",\"vocab\":%s,\"merges\":%s}}",
                               cases[i].vocab, cases[i].merges);
        refuse(json, ST_CORRUPT, cases[i].text);
        free(json);
    }
}

/* --- the files beside it --- */

typedef struct folder {
    char path[64];
} folder;

static void put(const folder *f, const char *name, const char *text) {
    char *path = xasprintf("%s/%s", f->path, name);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
    free(path);
}

static folder make_folder(void) {
    folder f = {"/tmp/baton_hf_XXXXXX"};
    assert_non_null(mkdtemp(f.path));
    return f;
}

static void remove_folder(const folder *f) {
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                                        "chat_template.jinja"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *path = xasprintf("%s/%s", f->path, names[i]);
        unlink(path);
        free(path);
    }
    rmdir(f->path);
}

static void expect_template(const folder *f, const char *want) {
    key_store *keys = key_store_new();
    checkpoint_text text = {"", 0};
    errbuf eb = {0};
    if (hf_tokenizer_read(keys, f->path, 0, &eb) != ST_OK) fail_msg("%s", eb.text);
    key_store_get_text(keys, "tokenizer.chat_template", &text);
    assert_int_equal(text.len, strlen(want));
    assert_memory_equal(text.data, want, text.len);
    key_store_free(keys);
}

static void the_chat_template_is_the_default_one_and_its_file_wins(void **s) {
    (void)s;
    folder f = make_folder();
    put(&f, "tokenizer.json", FILE_OF(BYTE_LEVEL, ADDED, MODEL));
    expect_template(&f, "");
    put(&f, "tokenizer_config.json", "{\"chat_template\":\"one\"}");
    expect_template(&f, "one");
    put(&f, "tokenizer_config.json",
        "{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"t\"},{\"name\":\"default\",\"template\":"
        "\"d\"}]}");
    expect_template(&f, "d");
    put(&f, "tokenizer_config.json", "{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"t\"},7]}");
    expect_template(&f, "");
    put(&f, "chat_template.jinja", "file\n");
    expect_template(&f, "file\n");
    remove_folder(&f);
}

static void expect_ends(const folder *f, int64_t bos, bool add_bos, int64_t eos, bool add_eos) {
    key_store *keys = key_store_new();
    errbuf eb = {0};
    uint64_t id;
    bool add = false;
    if (hf_tokenizer_read(keys, f->path, 0, &eb) != ST_OK) fail_msg("%s", eb.text);
    assert_int_equal(key_store_get_u64(keys, "tokenizer.ggml.bos_token_id", &id) ? (int64_t)id : -1, bos);
    assert_int_equal(key_store_get_u64(keys, "tokenizer.ggml.eos_token_id", &id) ? (int64_t)id : -1, eos);
    assert_true(key_store_get_bool(keys, "tokenizer.ggml.add_bos_token", &add));
    assert_int_equal(add, add_bos);
    assert_true(key_store_get_bool(keys, "tokenizer.ggml.add_eos_token", &add));
    assert_int_equal(add, add_eos);
    key_store_free(keys);
}

static void what_the_configuration_says_of_bos_and_eos_wins(void **s) {
    (void)s;
    folder f = make_folder();
    put(&f, "tokenizer.json",
        "{\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"decoder\":{\"type\":\"ByteLevel\"}"
        ","
        "\"post_processor\":{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},{\"type\":"
        "\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{"
        "\"id\":\"A\",\"type_id\":0}}],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[3]}}}]},"
        "\"added_tokens\":[" ADDED ",{\"id\":4,\"content\":\"</s>\",\"special\":true}]," MODEL "}");
    expect_ends(&f, 3, true, -1, false);
    put(&f, "tokenizer_config.json", "{\"eos_token\":{\"content\":\"</s>\"}}");
    expect_ends(&f, 3, true, 4, false);
    put(&f, "tokenizer_config.json", "{\"bos_token\":\"a\"}");
    expect_ends(&f, 3, true, -1, false);
    put(&f, "special_tokens_map.json", "{\"eos_token\":\"</s>\"}");
    expect_ends(&f, 3, true, 4, false);
    put(&f, "tokenizer_config.json",
        "{\"bos_token\":\"<s>\",\"add_bos_token\":false,\"add_eos_token\":true}");
    expect_ends(&f, 3, false, 4, true);
    put(&f, "tokenizer_config.json", "{\"bos_token\":null,\"add_bos_token\":true}");
    expect_ends(&f, 3, false, 4, false);
    remove_folder(&f);
}

static void a_folder_without_its_files_is_refused_by_name(void **s) {
    (void)s;
    folder f = make_folder();
    key_store *keys = key_store_new();
    errbuf eb = {0};
    assert_int_equal(hf_tokenizer_read(keys, f.path, 0, &eb), ST_IO);
    assert_non_null(strstr(eb.text, "/tokenizer.json is not there"));
    put(&f, "tokenizer.json", FILE_OF(BYTE_LEVEL, ADDED, MODEL));
    put(&f, "tokenizer_config.json", "{");
    assert_int_equal(hf_tokenizer_read(keys, f.path, 0, &eb), ST_CORRUPT);
    assert_non_null(strstr(eb.text, "/tokenizer_config.json: line 1"));
    put(&f, "tokenizer.json", "{}");
    assert_int_equal(hf_tokenizer_read(keys, f.path, 0, &eb), ST_CORRUPT);
    assert_non_null(strstr(eb.text, "/tokenizer.json: there is no model"));
    key_store_free(keys);
    remove_folder(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_impossible_is_named),
        cmocka_unit_test(parts_that_nothing_here_reads_are_named_with_what_is_read),
        cmocka_unit_test(huge_and_deep_files_are_read_or_refused),
        cmocka_unit_test(no_start_of_a_file_is_taken_for_all_of_it),
        cmocka_unit_test(ids_without_a_token_are_unused_ones),
        cmocka_unit_test(a_tag_that_is_text_ends_no_generation),
        cmocka_unit_test(texts_are_read_with_their_escapes_wherever_they_stand),
        cmocka_unit_test(lists_that_are_no_json_are_refused),
        cmocka_unit_test(the_chat_template_is_the_default_one_and_its_file_wins),
        cmocka_unit_test(what_the_configuration_says_of_bos_and_eos_wins),
        cmocka_unit_test(a_folder_without_its_files_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
