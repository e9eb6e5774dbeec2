/* Defaults of a request and the rule that ends it; and the table of storage types. */
#include "tests/test.h"

#include "base/mem.h"
#include "base/tensor.h"
#include "token/sampling.h"

#include <string.h>

static const int32_t eos[] = {2, 5};

static void the_defaults_switch_everything_off(void **s) {
    (void)s;
    sampling d = sampling_default();
    assert_true(d.temperature == 1.0f);
    assert_true(d.top_p == 1.0f);
    assert_true(d.min_p == 0.0f);
    assert_int_equal(d.top_k, 0);
    assert_true(d.repetition_penalty == 1.0f);
    assert_true(d.presence_penalty == 0.0f && d.frequency_penalty == 0.0f);
    assert_int_equal(d.max_tokens, 16);
    assert_int_equal(d.min_tokens, 0);
    assert_int_equal(d.logprobs, -1);
    assert_false(d.ignore_eos);
    assert_int_equal(d.stop_id_count, 0);
    assert_int_equal(d.bias_count, 0);
}

static void a_copy_owns_its_arrays(void **s) {
    (void)s;
    int32_t stop_ids[] = {7, 8};
    sampling_bias bias[] = {{.id = 3, .bias = -1.5f}};
    sampling from = sampling_default(), copy;
    from.seed = 99;
    from.stop_ids = stop_ids;
    from.stop_id_count = 2;
    from.bias = bias;
    from.bias_count = 1;
    char spec[] = "{}";
    from.spec = spec;
    from.spec_len = 2;
    sampling_copy(&copy, &from);
    spec[0] = ' ';
    assert_int_equal(copy.spec_len, 2);
    assert_memory_equal(copy.spec, "{}", 2);
    stop_ids[1] = 0;
    bias[0].id = 0;
    assert_int_equal(copy.seed, 99);
    assert_int_equal(copy.stop_id_count, 2);
    assert_memory_equal(copy.stop_ids, ((const int32_t[]){7, 8}), sizeof stop_ids);
    assert_int_equal(copy.bias_count, 1);
    assert_int_equal(copy.bias[0].id, 3);
    assert_true(copy.bias[0].bias == -1.5f);
    sampling_done(&copy);
    assert_null(copy.stop_ids);
    assert_int_equal(copy.bias_count, 0);
    sampling_done(&copy);
}

/* Arrays of no entries are no memory: a message may lend a pointer with the count 0. */
static void a_copy_of_nothing_holds_nothing(void **s) {
    (void)s;
    sampling from = sampling_default(), copy;
    from.stop_ids = eos;
    sampling_copy(&copy, &from);
    assert_null(copy.stop_ids);
    assert_null(copy.bias);
    assert_null(copy.spec);
    sampling_done(&copy);
}

static void an_answer_with_a_spec_ends_when_an_end_was_chosen(void **s) {
    (void)s;
    sampling p = sampling_default();
    p.min_tokens = 9;
    p.ignore_eos = true;
    assert_int_equal(sampling_finish(&p, eos, 2, 5, 1), FINISH_NONE);
    p.spec = "{}";
    p.spec_len = 2;
    assert_int_equal(sampling_finish(&p, eos, 2, 5, 1), FINISH_EOS);
    assert_int_equal(sampling_finish(&p, eos, 2, 1, 1), FINISH_NONE);
}

static void each_reason_ends_a_sequence(void **s) {
    (void)s;
    sampling p = sampling_default();
    p.max_tokens = 3;
    p.stop_ids = (const int32_t[]){7, 8};
    p.stop_id_count = 2;
    assert_int_equal(sampling_finish(&p, eos, 2, 1, 1), FINISH_NONE);
    assert_int_equal(sampling_finish(&p, eos, 2, 5, 1), FINISH_EOS);
    assert_int_equal(sampling_finish(&p, eos, 2, 8, 1), FINISH_STOP_ID);
    assert_int_equal(sampling_finish(&p, eos, 2, 1, 2), FINISH_NONE);
    assert_int_equal(sampling_finish(&p, eos, 2, 1, 3), FINISH_LENGTH);
    assert_int_equal(sampling_finish(&p, NULL, 0, 5, 1), FINISH_NONE);
}

static void eos_comes_before_stop_id_and_stop_id_before_length(void **s) {
    (void)s;
    sampling p = sampling_default();
    p.max_tokens = 1;
    p.stop_ids = (const int32_t[]){2, 7};
    p.stop_id_count = 2;
    assert_int_equal(sampling_finish(&p, eos, 2, 2, 1), FINISH_EOS);
    assert_int_equal(sampling_finish(&p, eos, 2, 7, 1), FINISH_STOP_ID);
    p.ignore_eos = true;
    assert_int_equal(sampling_finish(&p, eos, 2, 2, 1), FINISH_STOP_ID);
    assert_int_equal(sampling_finish(&p, eos, 2, 5, 1), FINISH_LENGTH);
}

static void nothing_but_the_length_ends_it_within_min_tokens(void **s) {
    (void)s;
    sampling p = sampling_default();
    p.min_tokens = 2;
    p.max_tokens = 4;
    p.stop_ids = (const int32_t[]){7};
    p.stop_id_count = 1;
    assert_int_equal(sampling_finish(&p, eos, 2, 2, 2), FINISH_NONE);
    assert_int_equal(sampling_finish(&p, eos, 2, 7, 2), FINISH_NONE);
    assert_int_equal(sampling_finish(&p, eos, 2, 2, 3), FINISH_EOS);
    assert_int_equal(sampling_finish(&p, eos, 2, 7, 3), FINISH_STOP_ID);
    p.max_tokens = 2;
    assert_int_equal(sampling_finish(&p, eos, 2, 2, 2), FINISH_LENGTH);
}

static void storage_types_have_their_sizes(void **s) {
    (void)s;
    static const struct {
        dtype type;
        const char *name;
        uint32_t weights, bytes;
        size_t row512; /* bytes of 512 weights */
    } cases[] = {
        {DT_F32, "f32", 1, 4, 2048},        {DT_F16, "f16", 1, 2, 1024},
        {DT_BF16, "bf16", 1, 2, 1024},      {DT_Q4_0, "q4_0", 32, 18, 288},
        {DT_Q4_1, "q4_1", 32, 20, 320},     {DT_Q8_0, "q8_0", 32, 34, 544},
        {DT_Q5_0, "q5_0", 32, 22, 352},     {DT_Q5_1, "q5_1", 32, 24, 384},
        {DT_IQ4_NL, "iq4_nl", 32, 18, 288}, {DT_Q2_K, "q2_k", 256, 84, 168},
        {DT_Q3_K, "q3_k", 256, 110, 220},   {DT_Q4_K, "q4_k", 256, 144, 288},
        {DT_Q5_K, "q5_k", 256, 176, 352},   {DT_Q6_K, "q6_k", 256, 210, 420},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_true(dtype_known(cases[i].type));
        assert_string_equal(dtype_name(cases[i].type), cases[i].name);
        assert_int_equal(dtype_block_weights(cases[i].type), cases[i].weights);
        assert_int_equal(dtype_block_bytes(cases[i].type), cases[i].bytes);
        assert_int_equal(dtype_row_bytes(cases[i].type, 512), cases[i].row512);
    }
    static const uint32_t unknown[] = {4, 5, 9, 15, 16, 19, 21, 29, 31, 42, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
        assert_false(dtype_known(unknown[i]));
        assert_null(dtype_name(unknown[i]));
    }
}

static void messages_say_types_as_files_do_also_those_that_are_not_supported(void **s) {
    (void)s;
    static const struct {
        uint32_t type;
        const char *text;
    } cases[] = {{DT_Q4_K, "Q4_K"}, {DT_BF16, "BF16"}, {17, "IQ2_XS"}, {34, "TQ1_0"},
                 {39, "MXFP4"},     {41, "Q1_0"},      {42, "42"},     {UINT32_MAX, "4294967295"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_string_equal(dtype_said(cases[i].type).text, cases[i].text);
    assert_string_equal(dtype_all().text, "F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, "
                                          "Q6_K, IQ4_NL, BF16");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_defaults_switch_everything_off),
        cmocka_unit_test(a_copy_owns_its_arrays),
        cmocka_unit_test(a_copy_of_nothing_holds_nothing),
        cmocka_unit_test(an_answer_with_a_spec_ends_when_an_end_was_chosen),
        cmocka_unit_test(each_reason_ends_a_sequence),
        cmocka_unit_test(eos_comes_before_stop_id_and_stop_id_before_length),
        cmocka_unit_test(nothing_but_the_length_ends_it_within_min_tokens),
        cmocka_unit_test(storage_types_have_their_sizes),
        cmocka_unit_test(messages_say_types_as_files_do_also_those_that_are_not_supported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
