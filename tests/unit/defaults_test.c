/* Defaults of requests, as the model's files have them. */
#include "tests/test.h"

#include "coordinator/defaults.h"
#include "gguf_build.h"

static status read(sampling *out, const char *key, float value, errbuf *eb) {
    gguf_build b = {0};
    build_string(&b, "general.name", "x");
    if (key) build_f32(&b, key, value);
    build_f32(&b, "generation.top_p", 0.75f);
    buf file = build_file(&b);
    checkpoint *c = NULL;
    assert_int_equal(gguf_parse_checkpoint(&c, file.data, file.len, eb), ST_OK);
    status st = defaults_read(out, c, eb);
    checkpoint_close(c);
    buf_done(&file);
    return st;
}

static void what_the_model_says_is_the_default(void **state) {
    (void)state;
    sampling s, usual = sampling_default();
    assert_int_equal(read(&s, "generation.top_k", 20, NULL), ST_OK);
    assert_int_equal(s.top_k, 20);
    assert_true(s.top_p == 0.75f);
    assert_true(s.temperature == usual.temperature && s.min_p == usual.min_p);
    assert_int_equal(s.max_tokens, usual.max_tokens);
    assert_int_equal(read(&s, "generation.temperature", 0, NULL), ST_OK);
    assert_true(s.temperature == 0);
}

static void a_value_that_no_request_could_have_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *key;
        float value;
    } cases[] = {
        {"generation.temperature", 101}, {"generation.min_p", 1.5f},
        {"generation.min_p", -1},        {"generation.repetition_penalty", 0},
        {"generation.top_k", 1e12f},     {"generation.temperature", 0.0f / 0.0f},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        sampling s;
        errbuf eb = {0};
        assert_int_equal(read(&s, cases[i].key, cases[i].value, &eb), ST_CORRUPT);
        assert_non_null(strstr(eb.text, strchr(cases[i].key, '.') + 1));
        assert_non_null(strstr(eb.text, "model.generation_config: false"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_model_says_is_the_default),
        cmocka_unit_test(a_value_that_no_request_could_have_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
