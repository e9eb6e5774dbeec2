/* The latency model: what a step takes, exactly; presets; models from files. */
#include "tests/test.h"

#include "config/latency_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const latency_model model = {.prefill = {1000, 100, 2}, .decode = {3000, 10, 1}};

static void a_prompt_takes_alpha_beta_gamma(void **state) {
    (void)state;
    latency_step s = {0};
    latency_add_chunk(&s, 0, 7);
    assert_int_equal(latency_ns(&model, &s), 1000 + 700 + 2 * 49);
}

static void chunks_add_up_to_their_prompt_but_for_the_alphas(void **state) {
    (void)state;
    latency_step whole = {0};
    latency_add_chunk(&whole, 0, 100);
    static const uint32_t cuts[] = {0, 16, 32, 33, 90, 100};
    uint64_t sum_ns = 0;
    for (size_t i = 1; i < sizeof cuts / sizeof cuts[0]; i++) {
        latency_step part = {0};
        latency_add_chunk(&part, cuts[i - 1], cuts[i] - cuts[i - 1]);
        sum_ns += latency_ns(&model, &part) - 1000;
    }
    assert_int_equal(latency_ns(&model, &whole) - 1000, sum_ns);
}

static void prompts_of_one_step_share_its_alpha_and_square_apart(void **state) {
    (void)state;
    latency_step s = {0};
    latency_add_chunk(&s, 0, 3);
    latency_add_chunk(&s, 10, 2);
    assert_int_equal(latency_ns(&model, &s), 1000 + 100 * 5 + 2 * (9 + 144 - 100));
}

static void decoding_takes_alpha_batch_and_context(void **state) {
    (void)state;
    latency_step s = {0};
    latency_add_decode(&s, 50);
    latency_add_decode(&s, 70);
    assert_int_equal(latency_ns(&model, &s), 3000 + 20 + 120);
}

static void a_mixed_step_pays_the_larger_alpha_and_the_sum_of_the_rest(void **state) {
    (void)state;
    latency_step s = {0};
    latency_add_decode(&s, 50);
    latency_add_chunk(&s, 0, 3);
    assert_int_equal(latency_ns(&model, &s), 3000 + 10 + 50 + 300 + 18);
    const latency_model slow_prefill = {.prefill = {9000, 0, 0}, .decode = {3000, 0, 0}};
    assert_int_equal(latency_ns(&slow_prefill, &s), 9000);
}

static void an_empty_step_takes_no_time_and_none_takes_more_than_an_hour(void **state) {
    (void)state;
    latency_step s = {0};
    assert_int_equal(latency_ns(&model, &s), 0);
    latency_add_chunk(&s, UINT32_MAX, UINT32_MAX);
    assert_int_equal(latency_ns(&model, &s), 3600000000000ull);
}

static void the_longest_context_is_counted_exactly(void **state) {
    (void)state;
    latency_step s = {0};
    for (int i = 0; i < 4096; i++) latency_add_chunk(&s, 1 << 20, 1 << 16);
    uint64_t n = 1 << 16, c = 1 << 20;
    assert_int_equal(s.squares, 4096 * (n * n + 2 * n * c));
    assert_int_equal(s.tokens, 4096 * n);
}

static uint64_t prompt_ns(const char *preset, uint32_t tokens) {
    latency_step s = {0};
    latency_add_chunk(&s, 0, tokens);
    return latency_ns(latency_preset(preset), &s);
}

static uint64_t decode_ns(const char *preset, uint32_t batch, uint32_t context) {
    latency_step s = {0};
    for (uint32_t i = 0; i < batch; i++) latency_add_decode(&s, context);
    return latency_ns(latency_preset(preset), &s);
}

static void presets_say_what_their_sources_do(void **state) {
    (void)state;
    errbuf eb = {0};
    static const char *const names[] = {"a100-opt-13b", "h200-8b", "instant"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_non_null(latency_preset(names[i]));
        assert_non_null(strstr(latency_preset_names(), names[i]));
        assert_int_equal(latency_check(latency_preset(names[i]), &eb), ST_OK);
    }
    assert_null(latency_preset("h100"));
    assert_null(latency_preset(""));
    /* DistServe: 18.1025 + 0.101912 * 512 + 7.12226e-6 * 512^2 ms; 19.9347 + 0.000626936 * 32 * 512 +
     * 0.038507 * 32 ms. */
    assert_int_equal(prompt_ns("a100-opt-13b", 512) / 1000, 72148);
    assert_int_equal(decode_ns("a100-opt-13b", 32, 512) / 1000, 31438);
    /* 3.85 ms + 1024 * 32.44 us + 1024^2 * 0.53 ns; 3.85 ms + 64 * 16.22 us + 65536 * 27.3 ns. */
    assert_int_equal(prompt_ns("h200-8b", 1024), 3850000 + 1024 * 32440 + 555745);
    assert_int_equal(decode_ns("h200-8b", 64, 1024), 3850000 + 64 * 16220 + 1789133);
    assert_int_equal(prompt_ns("instant", 100000), 0);
    assert_int_equal(decode_ns("instant", 64, 1024), 0);
}

static void a_coefficient_that_is_negative_or_no_number_is_refused_by_name(void **state) {
    (void)state;
    errbuf eb = {0};
    latency_model m = model;
    assert_int_equal(latency_check(&m, &eb), ST_OK);
    m.decode.beta_ns = -1e6;
    assert_int_equal(latency_check(&m, &eb), ST_INVALID);
    assert_string_equal(eb.text, "decode.beta_ms is -1: want a number of milliseconds that is not negative");
    m = model;
    m.prefill.gamma_ns = NAN;
    assert_int_equal(latency_check(&m, &eb), ST_INVALID);
    assert_string_equal(eb.text,
                        "prefill.gamma_ms is nan: want a number of milliseconds that is not negative");
}

/* --- files --- */

static status load(const char *text, latency_model *out, char path[32], errbuf *eb) {
    strcpy(path, "/tmp/baton-latency-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    status st = latency_file_find(path, out, eb);
    unlink(path);
    return st;
}

static void yaml_and_json_give_the_same_model(void **state) {
    (void)state;
    static const char *const texts[] = {
        "prefill: {alpha_ms: 1.5, beta_ms: 0.25, gamma_ms: 1e-3}\n"
        "decode:\n  alpha_ms: 2\n  beta_ms: 0\n  gamma_ms: 0.5 # of a ms\n",
        "{\"decode\": {\"gamma_ms\": 0.5, \"beta_ms\": 0, \"alpha_ms\": 2.0},\n"
        " \"prefill\": {\"alpha_ms\": 1.5, \"beta_ms\": 2.5E-1, \"gamma_ms\": 0.001}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        latency_model m;
        errbuf eb = {0};
        char path[32];
        if (load(texts[i], &m, path, &eb) != ST_OK) fail_msg("%s", eb.text);
        assert_true(m.prefill.alpha_ns == 1500000);
        assert_true(m.prefill.beta_ns == 250000);
        assert_true(m.prefill.gamma_ns == 1000);
        assert_true(m.decode.alpha_ns == 2000000);
        assert_true(m.decode.beta_ns == 0);
        assert_true(m.decode.gamma_ns == 500000);
    }
}

static void a_name_of_a_preset_needs_no_file(void **state) {
    (void)state;
    latency_model m;
    assert_int_equal(latency_file_find("h200-8b", &m, NULL), ST_OK);
    assert_memory_equal(&m, latency_preset("h200-8b"), sizeof m);
}

/* want: what follows the path. */
static void refuses(const char *text, const char *want) {
    latency_model m;
    errbuf eb = {0};
    char path[32], full[300];
    assert_int_equal(load(text, &m, path, &eb), ST_INVALID);
    snprintf(full, sizeof full, "%s%s", path, want);
    assert_string_equal(eb.text, full);
}

#define PREFILL "prefill: {alpha_ms: 1, beta_ms: 1, gamma_ms: 1}\n"

static void a_bad_file_is_refused_with_its_place_and_key(void **state) {
    (void)state;
    refuses(PREFILL "decode: {alpha_ms: 1, beta_ms: 1}\n",
            ": decode.gamma_ms is missing: add it (0 for none)");
    refuses(PREFILL, ": decode.alpha_ms is missing: add it (0 for none)");
    refuses(PREFILL "decode:\n  alpha_ms: -1\n",
            ":3:13: decode.alpha_ms: want a number of milliseconds that is not negative, such as 0.102");
    refuses(PREFILL "decode:\n  beta_ms: 1ms\n",
            ":3:12: decode.beta_ms: want a number of milliseconds that is not negative, such as 0.102");
    refuses(PREFILL "decode:\n  beta_ms: inf\n",
            ":3:12: decode.beta_ms: want a number of milliseconds that is not negative, such as 0.102");
    refuses(PREFILL "decode:\n  beta_ms: [1]\n",
            ":3:12: decode.beta_ms: want a number of milliseconds that is not negative, such as 0.102");
    refuses(PREFILL "decode:\n  delta_ms: 1\n",
            ":3:3: decode.delta_ms: unknown key: want alpha_ms, beta_ms or gamma_ms");
    refuses(PREFILL PREFILL, ":2:21: prefill.alpha_ms: stands twice: delete one");
    refuses("speed: 3\n", ":1:1: speed: unknown key: want prefill or decode");
    refuses("prefill: 3\n", ":1:10: prefill: want the keys alpha_ms, beta_ms and gamma_ms here");
    refuses("- 1\n", ":1:1: latency model: want the keys prefill and decode here");
    refuses("", ":1:1: latency model: want the keys prefill and decode here");
    refuses("prefill: {\n", ":2:1: did not find expected node content");
}

static void what_is_neither_preset_nor_file_is_refused_with_the_presets(void **state) {
    (void)state;
    latency_model m;
    errbuf eb = {0};
    assert_int_equal(latency_file_find("h200", &m, &eb), ST_INVALID);
    assert_string_equal(eb.text, "\"h200\": no preset, and as a file: No such file or directory: want one of "
                                 "a100-opt-13b, h200-8b, instant, or a file's path");
    assert_int_equal(latency_file_find("/tmp", &m, &eb), ST_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prompt_takes_alpha_beta_gamma),
        cmocka_unit_test(chunks_add_up_to_their_prompt_but_for_the_alphas),
        cmocka_unit_test(prompts_of_one_step_share_its_alpha_and_square_apart),
        cmocka_unit_test(decoding_takes_alpha_batch_and_context),
        cmocka_unit_test(a_mixed_step_pays_the_larger_alpha_and_the_sum_of_the_rest),
        cmocka_unit_test(an_empty_step_takes_no_time_and_none_takes_more_than_an_hour),
        cmocka_unit_test(the_longest_context_is_counted_exactly),
        cmocka_unit_test(presets_say_what_their_sources_do),
        cmocka_unit_test(a_coefficient_that_is_negative_or_no_number_is_refused_by_name),
        cmocka_unit_test(yaml_and_json_give_the_same_model),
        cmocka_unit_test(a_name_of_a_preset_needs_no_file),
        cmocka_unit_test(a_bad_file_is_refused_with_its_place_and_key),
        cmocka_unit_test(what_is_neither_preset_nor_file_is_refused_with_the_presets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
