/* grammar_test - which texts obey a grammar, and that masks say the same as taking does. */
#include "base/mem.h"
#include "base/mix.h"
#include "grammar/grammar.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

/* Ids 0..255 are the bytes; then words as a model's vocabulary has them, one that is not there, and a long
 * one. */
static const char *const words[] = {
    "{\"", "\":",  "\", \"", "\"}",   "\"",   "true",   "tru",      "null",       "},",
    "[1",  ", ",   "]}",     "abc",   "name", "name\"", "\": \"",   "12",         "-1",
    "0.",  "\n  ", "\\\"",   "\\u00", "d83d", "\xc3",   "\xc3\xa9", "\xa9\"",     "\"]",
    "yes", "no",   "maybe",  "}}",    "{}",   "[]",     "",         "hello world"};
enum { VOCAB = 256 + ARRAY_LEN(words) };

static size_t token_bytes(void *ctx, int32_t id, char *out, size_t cap) {
    (void)ctx;
    if (id < 256) {
        out[0] = (char)id;
        return 1;
    }
    size_t len = strlen(words[id - 256]);
    memcpy(out, words[id - 256], MIN(len, cap));
    return len;
}

typedef struct scene {
    grammar_vocab *v;
    grammar *g;
} scene;

static scene scene_of(const char *spec) {
    scene s = {.v = grammar_vocab_new(VOCAB, token_bytes, NULL)};
    errbuf eb = {0};
    if (grammar_new(&s.g, s.v, spec, strlen(spec), &eb)) fail_msg("%s: %s", spec, eb.text);
    return s;
}

static void scene_end(scene *s) {
    grammar_free(s->g);
    grammar_vocab_free(s->v);
}

static bool obeys(grammar *g, const char *text) {
    grammar_run *r = grammar_run_new(g);
    bool taken = true;
    for (const char *at = text; *at && taken; at++) taken = grammar_run_take(r, (uint8_t)*at);
    bool whole = taken && grammar_run_may_end(r);
    grammar_run_free(r);
    return whole;
}

/* yes and no end with NULL. */
static void judge(const char *spec, const char *const *yes, const char *const *no) {
    scene s = scene_of(spec);
    for (; *yes; yes++)
        if (!obeys(s.g, *yes)) fail_msg("%s: %s does not obey", spec, *yes);
    for (; *no; no++)
        if (obeys(s.g, *no)) fail_msg("%s: %s obeys", spec, *no);
    scene_end(&s);
}
#define TEXTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void any_object_is_json(void **state) {
    (void)state;
    judge("{\"json_object\": true}",
          TEXTS("{}", "{ }", "{\"a\":1}",
                "{\"a\": [1, -2.5e+3, {\"b\": null}], \"\": \"x\\n\\u00e9\\ud83d\\ude00\"}",
                "{\n  \"a\": true,\n  \"b\": false\n}", "{\"\xc3\xa9\": \"\xf0\x9f\x98\x80\"}"),
          TEXTS("", "[]", "1", "{", "{}}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{\"a\":01}",
                "{\"a\":1.}", "{\"a\":\"\n\"}", "{\"a\":\"\\ud83d\"}", "{\"a\":\"\\x\"}", "{\"a\":\"\xc3\"}",
                "{\"a\":\"\xed\xa0\x80\"}", "{  }", "{\"a\":+1}", "{\"a\":tru}", "{\"a\":nan}"));
}

static void properties_come_in_their_order_and_optional_ones_may_lack(void **state) {
    (void)state;
    judge(
        "{\"json_schema\": {\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":"
        "\"string\"},\"c\":{\"type\":\"boolean\"}},\"required\":[\"b\"],\"additionalProperties\":false}}",
        TEXTS("{\"b\":\"\"}", "{\"a\":-7,\"b\":\"x\"}", "{\"b\":\"x\",\"c\":true}",
              "{ \"a\": 0, \"b\": \"\\\"\", \"c\": false }"),
        TEXTS("{}", "{\"a\":1}", "{\"b\":\"x\",\"a\":1}", "{\"a\":1.5,\"b\":\"x\"}", "{\"b\":1}",
              "{\"b\":\"x\",\"d\":1}", "{,\"b\":\"x\"}", "{\"a\":1 \"b\":\"x\"}"));
    judge("{\"json_schema\": {\"properties\":{\"a\":{},\"b\":{}}}}",
          TEXTS("{}", "{\"a\":[1]}", "{\"b\":null}", "{\"a\":1,\"b\":2}"),
          TEXTS("{\"c\":1}", "{\"a\":1,}", "3"));
    judge("{\"json_schema\": {\"type\":\"object\",\"additionalProperties\":{\"type\":\"null\"}}}",
          TEXTS("{}", "{\"x\":null}", "{\"x\":null, \"y\":null}"), TEXTS("{\"x\":1}"));
    judge("{\"json_schema\": {\"type\":\"object\",\"additionalProperties\":false}}", TEXTS("{}", "{ }"),
          TEXTS("{\"x\":1}"));
}

static void lists_have_as_many_items_as_they_may(void **state) {
    (void)state;
    judge("{\"json_schema\": "
          "{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":3}}",
          TEXTS("[1]", "[1,2]", "[ 1, 2, 3 ]"), TEXTS("[]", "[1,2,3,4]", "[1,]", "[\"\"]"));
    judge("{\"json_schema\": {\"type\":\"array\",\"items\":{\"type\":\"integer\"}}}",
          TEXTS("[]", "[1,2,3,4,5]"), TEXTS("[null]", "[,1]"));
    judge("{\"json_schema\": "
          "{\"type\":\"array\",\"prefixItems\":[{\"const\":1},{\"type\":\"string\"}],\"minItems\":1}}",
          TEXTS("[1]", "[1,\"a\"]"), TEXTS("[]", "[2]", "[1,\"a\",3]", "[1,2]"));
    judge("{\"json_schema\": {\"prefixItems\":[{\"const\":1}],\"items\":{\"const\":2},\"maxItems\":3}}",
          TEXTS("[]", "[1]", "[1,2]", "[1,2,2]"), TEXTS("[2]", "[1,2,2,2]", "[1,1]"));
    judge("{\"json_schema\": {\"type\":\"array\",\"maxItems\":0}}", TEXTS("[]", "[ ]"), TEXTS("[1]"));
}

static void strings_keep_their_length_pattern_and_format(void **state) {
    (void)state;
    judge("{\"json_schema\": {\"type\":\"string\",\"minLength\":2,\"maxLength\":3}}",
          TEXTS("\"ab\"", "\"\xc3\xa9\xf0\x9f\x98\x80\"", "\"\\n\\\"x\""), TEXTS("\"a\"", "\"abcd\"", "ab"));
    judge("{\"json_schema\": {\"type\":\"string\",\"pattern\":\"^[a-c]+(\\\\d{2}|x)?$\"}}",
          TEXTS("\"abc\"", "\"a12\"", "\"bx\""), TEXTS("\"\"", "\"a1\"", "\"d\"", "\"a12x\""));
    judge("{\"json_schema\": {\"type\":\"string\",\"pattern\":\"b\"}}",
          TEXTS("\"b\"", "\"abc\"", "\"\\\"b\""), TEXTS("\"\"", "\"ac\""));
    judge("{\"json_schema\": {\"type\":\"string\",\"pattern\":\"^(a|\\\\\\\\|\\\")$\"}}",
          TEXTS("\"a\"", "\"\\\\\"", "\"\\\"\""), TEXTS("\"\\\"", "\"\"\"", "\"b\""));
    judge("{\"json_schema\": {\"type\":\"string\",\"format\":\"date\"}}", TEXTS("\"2026-11-28\""),
          TEXTS("\"2026-13-28\"", "\"2026-11-28T\"", "\"26-11-28\""));
    judge("{\"json_schema\": {\"type\":\"string\",\"format\":\"ipv4\"}}",
          TEXTS("\"127.0.0.1\"", "\"255.10.0.99\""), TEXTS("\"256.0.0.1\"", "\"1.2.3\""));
}

static void whole_numbers_keep_their_limits(void **state) {
    (void)state;
    static const struct {
        const char *limits;
        int64_t least, most;
    } cases[] = {{"\"minimum\":0,\"maximum\":120", 0, 120},
                 {"\"minimum\":-12,\"maximum\":7", -12, 7},
                 {"\"minimum\":95,\"maximum\":1003", 95, 1003},
                 {"\"exclusiveMinimum\":0", 1, INT64_MAX},
                 {"\"maximum\":-3", INT64_MIN, -3},
                 {"\"minimum\":37", 37, INT64_MAX},
                 {"\"minimum\":2.5,\"exclusiveMaximum\":9", 3, 8},
                 {"\"minimum\":-5", -5, INT64_MAX},
                 {"\"minimum\":5,\"maximum\":5", 5, 5}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char spec[200], text[32];
        snprintf(spec, sizeof spec, "{\"json_schema\": {\"type\":\"integer\",%s}}", cases[i].limits);
        scene s = scene_of(spec);
        for (int64_t n = -1500; n <= 1500; n++) {
            snprintf(text, sizeof text, "%lld", (long long)n);
            bool want = n >= cases[i].least && n <= cases[i].most;
            if (obeys(s.g, text) != want) fail_msg("%s: %s", spec, text);
        }
        assert_int_equal(obeys(s.g, "123456789012"), cases[i].most == INT64_MAX);
        assert_int_equal(obeys(s.g, "-123456789012"), cases[i].least == INT64_MIN);
        assert_false(obeys(s.g, "007"));
        assert_false(obeys(s.g, "-0"));
        scene_end(&s);
    }
}

static void values_alternatives_and_references(void **state) {
    (void)state;
    judge("{\"json_schema\": {\"enum\":[\"red\",\"green\",3,null,{\"a\":[1]}]}}",
          TEXTS("\"red\"", "\"green\"", "3", "null", "{\"a\":[1]}"),
          TEXTS("\"re\"", "red", "4", "\"redgreen\""));
    judge("{\"json_schema\": "
          "{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"null\"}],\"title\":\"T\",\"default\":null}}",
          TEXTS("1", "null"), TEXTS("\"1\"", "1.5"));
    judge("{\"json_schema\": {\"type\":[\"string\",\"null\"]}}", TEXTS("\"\"", "null"), TEXTS("1"));
    judge("{\"json_schema\": "
          "{\"$ref\":\"#/$defs/tree\",\"$defs\":{\"tree\":{\"type\":\"object\",\"properties\":{\"v\":{"
          "\"type\":\"integer\"},\"l\":{\"anyOf\":[{\"$ref\":\"#/$defs/"
          "tree\"},{\"type\":\"null\"}]}},\"required\":["
          "\"v\",\"l\"]}}}}",
          TEXTS("{\"v\":1,\"l\":null}", "{\"v\":1,\"l\":{\"v\":2,\"l\":{\"v\":3,\"l\":null}}}"),
          TEXTS("{\"v\":1,\"l\":{}}", "{\"v\":1}"));
}

static void expressions_choices_and_sequences(void **state) {
    (void)state;
    judge("{\"regex\": \"(yes|no)( maybe)?[.!]{1,2}\"}", TEXTS("yes.", "no maybe!!", "yes!."),
          TEXTS("yes", "no maybe", "yes...", "maybe."));
    judge("{\"regex\": \"^[^\\\\s]+@\\\\w+\\\\u00e9?$\"}", TEXTS("a@b", "\xc3\xa9@x_1", "a@b\xc3\xa9"),
          TEXTS("a b@c", "@c", "a@"));
    judge("{\"choice\": [\"yes\", \"no\", \"yesterday\"]}", TEXTS("yes", "no", "yesterday"),
          TEXTS("", "ye", "yest"));
    judge("{\"sequence\": [{\"literal\": \"<call>\"}, {\"json_schema\": {\"const\": 1}}, {\"repeat\": "
          "{\"literal\": \"!\"}, "
          "\"least\": 1, \"most\": 3}]}",
          TEXTS("<call>1!", "<call>1!!!"), TEXTS("<call>1", "<call>1!!!!", "1!"));
    judge("{\"any_of\": [{\"literal\": \"a\"}, {\"choice\": [\"ab\", \"c\"]}]}", TEXTS("a", "ab", "c"),
          TEXTS("b", "ac"));
}

static void what_cannot_be_obeyed_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *spec, *text;
    } cases[] = {
        {"{\"json_schema\": {\"type\":\"array\",\"uniqueItems\":true}}",
         "does not support the word 'uniqueItems'"},
        {"{\"json_schema\": {\"type\":\"strin\"}}", "there is no type 'strin'"},
        {"{\"json_schema\": {\"$ref\":\"#/$defs/x\"}}", "there is nothing at '#/$defs/x'"},
        {"{\"json_schema\": {\"$ref\":\"http://x/y\"}}", "only references into the schema itself"},
        {"{\"json_schema\": {\"$ref\":\"#\"}}", "no answer of finite length"},
        {"{\"json_schema\": {\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}}",
         "no answer of finite length"},
        {"{\"json_schema\": {\"type\":\"number\",\"minimum\":0}}", "limits of a 'number' are not supported"},
        {"{\"json_schema\": {\"type\":\"integer\",\"minimum\":3,\"maximum\":2}}",
         "no whole number is from 3 to 2"},
        {"{\"json_schema\": {\"type\":\"object\",\"required\":[\"x\"]}}", "not among the properties: 'x'"},
        {"{\"json_schema\": {\"type\":\"string\",\"pattern\":\"(?=a)\"}}", "look around"},
        {"{\"json_schema\": {\"type\":\"string\",\"minLength\":-1}}", "minLength: want a whole number"},
        {"{\"regex\": \"a{2,1}\"}", "m below n"},
        {"{\"regex\": \"(a\"}", "not closed"},
        {"{\"regex\": \"[\\\\]\"}", "not closed"},
        {"{\"regex\": \"a)\"}", "closes nothing"},
        {"{\"regex\": \"*\"}", "nothing to repeat"},
        {"{\"regex\": \"\\\\bx\"}", "the escape \\b is not supported"},
        {"{\"regex\": \"((a{4096}){4096}){4096}\"}", "more than 262144 nodes or 1024 sets"},
        {"{\"choice\": []}", "want a list of strings"},
        {"{\"nothing\": 1}", "an object with one member"},
        {"[", "no JSON"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        errbuf eb = {0};
        status st = grammar_check(cases[i].spec, strlen(cases[i].spec), &eb);
        if (st != ST_INVALID && st != ST_UNSUPPORTED) fail_msg("%s: %s", cases[i].spec, status_name(st));
        if (!strstr(eb.text, cases[i].text)) fail_msg("%s: %s", cases[i].spec, eb.text);
    }
}

/* A walk by tokens drawn from the mask; at each place every token is allowed exactly when it can be taken. */
static void masks_allow_what_can_be_taken_and_nothing_else(void **state) {
    (void)state;
    static const char *const specs[] = {
        "{\"json_object\": true}",
        "{\"json_schema\": "
        "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":6},\"n\":{"
        "\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":-1,\"maximum\":12}},\"ok\":{\"type\":"
        "\"boolean\"}},"
        "\"required\":[\"name\"]}}",
        "{\"regex\": \"(yes|no|maybe)(, (abc|12)+)*\"}",
        "{\"json_schema\": {\"type\":\"string\",\"pattern\":\"^.{0,4}name\"}}",
    };
    uint64_t seed = 7;
    for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
        scene s = scene_of(specs[i]);
        for (uint32_t walk = 0; walk < 20; walk++) {
            int32_t taken[24];
            grammar_run *r = grammar_run_new(s.g);
            for (uint32_t n = 0; n < ARRAY_LEN(taken); n++) {
                uint32_t bits[(VOCAB + 31) / 32], allowed = 0;
                grammar_run_mask(r, bits);
                for (int32_t id = 0; id < VOCAB; id++) {
                    grammar_run *other = grammar_run_new(s.g);
                    for (uint32_t k = 0; k < n; k++) assert_true(grammar_run_take(other, taken[k]));
                    bool can = grammar_run_take(other, id), may = bits[id / 32] >> (id % 32) & 1;
                    if (can != may)
                        fail_msg("%s: token %d after %u: can %d, may %d", specs[i], id, n, can, may);
                    allowed += may;
                    grammar_run_free(other);
                }
                assert_int_equal(allowed == 0, grammar_run_at_end(r));
                if (allowed == 0) {
                    assert_true(grammar_run_may_end(r));
                    break;
                }
                uint32_t pick = (uint32_t)(mix64(seed += MIX64_STEP) % allowed);
                int32_t id = 0;
                for (;; id++)
                    if ((bits[id / 32] >> (id % 32) & 1) && pick-- == 0) break;
                assert_true(grammar_run_take(r, id));
                taken[n] = id;
            }
            grammar_run_free(r);
        }
        scene_end(&s);
    }
}

static void a_refused_token_changes_nothing(void **state) {
    (void)state;
    scene s = scene_of("{\"choice\": [\"abc\", \"abd\"]}");
    grammar_run *r = grammar_run_new(s.g);
    assert_true(grammar_run_take(r, 'a'));
    assert_false(grammar_run_take(r, 'c'));
    assert_false(grammar_run_take(r, 256 + 12)); /* "abc" after "a" */
    assert_false(grammar_run_take(r, VOCAB));
    assert_false(grammar_run_take(r, -1));
    assert_true(grammar_run_take(r, 'b'));
    assert_false(grammar_run_may_end(r));
    assert_true(grammar_run_take(r, 'd'));
    assert_true(grammar_run_may_end(r));
    assert_true(grammar_run_at_end(r));
    grammar_run_free(r);
    scene_end(&s);
}

/* A spec that would keep a worker busy for minutes costs its own request only. */
static void a_hostile_spec_ends_in_time(void **state) {
    (void)state;
    scene s = scene_of("{\"regex\": \"((.?.?){64}){16}((.?.?){64}){16}x\"}");
    grammar_run *r = grammar_run_new(s.g);
    uint32_t bits[(VOCAB + 31) / 32];
    bool in_time = grammar_run_mask(r, bits);
    for (uint32_t i = 0; i < ARRAY_LEN(bits) && !in_time; i++) assert_int_equal(bits[i], 0);
    (void)grammar_run_take(r, 'a');
    grammar_run_free(r);
    scene_end(&s);
}

/* Long answers use no more frames than their nesting. */
static void an_answer_may_be_long(void **state) {
    (void)state;
    scene s = scene_of("{\"json_object\": true}");
    grammar_run *r = grammar_run_new(s.g);
    uint32_t bits[(VOCAB + 31) / 32];
    assert_true(grammar_run_take(r, '{'));
    for (uint32_t i = 0; i < 20000; i++) {
        const char *text = i ? ", \"k\": [{\"a\": {\"b\": [1, 2]}}]" : "\"k\": []";
        for (; *text; text++) assert_true(grammar_run_take(r, (uint8_t)*text));
        if (i % 1000 == 0) grammar_run_mask(r, bits);
    }
    assert_true(grammar_run_take(r, '}'));
    assert_true(grammar_run_at_end(r));
    grammar_run_free(r);
    scene_end(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_object_is_json),
        cmocka_unit_test(properties_come_in_their_order_and_optional_ones_may_lack),
        cmocka_unit_test(lists_have_as_many_items_as_they_may),
        cmocka_unit_test(strings_keep_their_length_pattern_and_format),
        cmocka_unit_test(whole_numbers_keep_their_limits),
        cmocka_unit_test(values_alternatives_and_references),
        cmocka_unit_test(expressions_choices_and_sequences),
        cmocka_unit_test(what_cannot_be_obeyed_is_refused_by_name),
        cmocka_unit_test(masks_allow_what_can_be_taken_and_nothing_else),
        cmocka_unit_test(a_refused_token_changes_nothing),
        cmocka_unit_test(a_hostile_spec_ends_in_time),
        cmocka_unit_test(an_answer_may_be_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
