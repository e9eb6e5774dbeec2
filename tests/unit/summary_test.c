/* A run's table and JSON: by vLLM's rules the numbers of its formulas (tests/golden/vllm_serve.py), by ours
 * the same keys from the scheduled times. */
#include "bench/rows/summary.h"

#include "base/status.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS 1000000ull

static char *slurp(const char *path) {
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    buf b = {0};
    char piece[4096];
    size_t n;
    while ((n = fread(piece, 1, sizeof piece, f)) > 0) buf_add(&b, piece, n);
    fclose(f);
    return b.data;
}

static row_list golden_rows(void) {
    row_list l = {0};
    bool cut = true;
    errbuf eb = {0};
    assert_int_equal(row_file_read(&l, GOLDEN_DIR "/vllm/rows.jsonl", &cut, &eb), ST_OK);
    assert_false(cut);
    assert_int_equal(l.count, 100);
    return l;
}

/* As in tests/golden/vllm_serve.py */
static summary_options golden_options(slo *s) {
    *s = slo_none();
    assert_int_equal(slo_parse(s, "ttft:300,tpot:36,e2el:2500", NULL), ST_OK);
    summary_options o = {
        .vllm = true, .duration_s = 41.5, .goodput = s, .request_rate = 2.5, .max_concurrency = 8};
    assert_int_equal(summary_parse_percentiles(&o, "50,90,99,99.9", NULL), ST_OK);
    assert_int_equal(
        summary_parse_metrics(&o, "ttft,tpot,itl,e2el,client_queue_time,e2el_including_client_queue", NULL),
        ST_OK);
    return o;
}

static void by_vllms_rules_every_number_is_that_of_its_formulas(void **state) {
    (void)state;
    row_list l = golden_rows();
    slo s;
    summary_options o = golden_options(&s);
    json_t *got = summary_numbers_json(&l, &o);
    json_t *want = json_load_file(GOLDEN_DIR "/vllm/numbers.json", 0, NULL);
    assert_non_null(want);
    assert_int_equal(json_object_size(got), json_object_size(want));
    const char *key;
    json_t *value;
    json_object_foreach(want, key, value) {
        double a = json_number_value(json_object_get(got, key)), b = json_number_value(value);
        if (fabs(a - b) > 1e-9 * fmax(1, fabs(b))) fail_msg("%s is %.12g, not %.12g", key, a, b);
    }
    json_decref(want);
    json_decref(got);
    row_list_done(&l);
}

static void the_table_is_vllms_to_the_byte(void **state) {
    (void)state;
    row_list l = golden_rows();
    slo s;
    summary_options o = golden_options(&s);
    buf got = {0};
    summary_table(&got, &l, &o, NULL, 0);
    char *want = slurp(GOLDEN_DIR "/vllm/table.txt");
    assert_string_equal(got.data, want);
    free(want);
    buf_done(&got);
    row_list_done(&l);
}

/* Member `i` of three: sent 5 ms late, first token 100 ms after the schedule, then every 10 (i + 1) ms. */
static void add_member(row_list *l, uint32_t i, uint32_t tokens) {
    row r;
    row_init(&r);
    r.seed = 1;
    r.index = i;
    r.phase = ROW_WINDOW;
    r.scheduled_ns = i * 500 * MS;
    r.sent_ns = r.scheduled_ns + 5 * MS;
    row_add_event(&r, r.scheduled_ns + 50 * MS, 0);
    for (uint32_t k = 0; k < tokens; k++)
        row_add_event(&r, r.scheduled_ns + (100 + k * 10 * (i + 1)) * MS, 1);
    r.end_ns = r.last_ns + MS;
    r.prompt_asked = 7;
    r.output_tokens = tokens;
    row_list_add(l, &r);
}

static row_list three_members(void) {
    row_list l = {0};
    for (uint32_t i = 3; i-- > 0;) add_member(&l, i, i == 2 ? 1 : 11);
    row failed;
    row_init(&failed);
    failed.phase = ROW_WINDOW;
    failed.outcome = ROW_REFUSED;
    failed.error = xstrdup("503 no worker");
    failed.scheduled_ns = failed.sent_ns = 1700 * MS;
    failed.prompt_asked = 9;
    row_list_add(&l, &failed);
    row warm;
    row_init(&warm);
    row_add_event(&warm, MS, 1);
    row_list_add(&l, &warm);
    return l;
}

static void by_our_rules_times_count_from_the_schedule_and_the_first_content(void **state) {
    (void)state;
    row_list l = three_members();
    slo limits = slo_none();
    limits.tpot_ms = 10;
    summary_options o = {.duration_s = 2, .goodput = &limits, .request_rate = INFINITY};
    summary s = summary_of(&l, &o);
    assert_int_equal(s.completed, 3);
    assert_int_equal(s.failed, 1);
    assert_int_equal(s.input_tokens, 21);
    assert_int_equal(s.output_tokens, 23);
    assert_true(s.request_per_s == 1.5);
    assert_true(s.good_per_s == 1);
    assert_true(s.total_per_s == 22);
    assert_true(s.values[SUMMARY_TTFT].mean == 100);
    assert_true(s.values[SUMMARY_TTFT].std == 0);
    assert_int_equal(s.values[SUMMARY_TPOT].n, 2); /* of one token there is none */
    assert_true(s.values[SUMMARY_TPOT].mean == 15);
    assert_true(s.values[SUMMARY_TPOT].std == 5);
    assert_int_equal(s.values[SUMMARY_ITL].n, 20);
    assert_true(s.values[SUMMARY_ITL].median == 15);
    assert_true(s.values[SUMMARY_QUEUE].mean == 5);
    assert_true(s.values[SUMMARY_E2EL].percentiles[0] == 300 - 0.02 * 100);
    assert_int_equal(s.peak_concurrent, 1);
    assert_true(s.peak_output_per_s == 22);
    row_list_done(&l);
}

static void the_json_has_every_key_of_vllm_bench_serve(void **state) {
    (void)state;
    static const char *const KEYS[] = {"date",
                                       "endpoint_type",
                                       "backend",
                                       "label",
                                       "model_id",
                                       "tokenizer_id",
                                       "num_prompts",
                                       "request_rate",
                                       "burstiness",
                                       "max_concurrency",
                                       "duration",
                                       "completed",
                                       "failed",
                                       "total_input_tokens",
                                       "total_output_tokens",
                                       "request_throughput",
                                       "request_goodput",
                                       "output_throughput",
                                       "total_token_throughput",
                                       "max_output_tokens_per_s",
                                       "max_concurrent_requests",
                                       "rtfx",
                                       "mean_ttft_ms",
                                       "median_ttft_ms",
                                       "std_ttft_ms",
                                       "p99_ttft_ms",
                                       "mean_tpot_ms",
                                       "median_tpot_ms",
                                       "std_tpot_ms",
                                       "p99_tpot_ms",
                                       "mean_itl_ms",
                                       "median_itl_ms",
                                       "std_itl_ms",
                                       "p99_itl_ms",
                                       "mean_e2el_ms",
                                       "median_e2el_ms",
                                       "std_e2el_ms",
                                       "p99_e2el_ms"};
    row_list l = three_members();
    const char *metadata[] = {"gpu=none", "model_id=other", "no equals sign", "bad\xff=1"};
    summary_options o = {.duration_s = 2, .request_rate = INFINITY};
    summary_setup setup = {.date = "20261128-083100",
                           .backend = "openai",
                           .model = "org/small",
                           .num_prompts = 4,
                           .burstiness = 1,
                           .metadata = metadata,
                           .metadata_count = 4};
    json_t *got = summary_json(&l, &o, &setup);
    for (size_t i = 0; i < ARRAY_LEN(KEYS); i++)
        if (!json_object_get(got, KEYS[i])) fail_msg("no %s", KEYS[i]);
    assert_int_equal(json_object_size(got), ARRAY_LEN(KEYS) + 1);
    assert_string_equal(json_string_value(json_object_get(got, "gpu")), "none");
    assert_string_equal(json_string_value(json_object_get(got, "model_id")), "org/small");
    assert_string_equal(json_string_value(json_object_get(got, "request_rate")), "inf");
    assert_true(json_is_null(json_object_get(got, "request_goodput")));
    assert_true(json_is_null(json_object_get(got, "max_concurrency")));
    json_decref(got);
    row_list_done(&l);
}

static void details_are_in_the_order_of_schedule(void **state) {
    (void)state;
    row_list l = three_members();
    summary_options o = {.duration_s = 2, .request_rate = 2};
    summary_setup setup = {.date = "d", .backend = "openai", .detailed = true};
    json_t *got = summary_json(&l, &o, &setup);
    const char *want[][2] = {
        {"input_lens", "[7,7,7,9]"},
        {"output_lens", "[11,11,1,0]"},
        {"ttfts", "[0.1,0.1,0.1,0.0]"},
        {"start_times", "[0.005,0.505,1.005,1.7]"},
        {"queue_times", "[0.005,0.005,0.005,0.0]"},
        {"latencies", "[0.2,0.3,0.1,0.0]"},
        {"generated_texts", "[\"\",\"\",\"\",\"\"]"},
        {"errors", "[\"\",\"\",\"\",\"503 no worker\"]"},
    };
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        char *text = json_dumps(json_object_get(got, want[i][0]), JSON_COMPACT | JSON_REAL_PRECISION(12));
        assert_string_equal(text, want[i][1]);
        free(text);
    }
    const json_t *itls = json_object_get(got, "itls");
    assert_int_equal(json_array_size(itls), 4);
    assert_int_equal(json_array_size(json_array_get(itls, 1)), 10);
    assert_true(json_number_value(json_array_get(json_array_get(itls, 1), 0)) == 0.02);
    assert_int_equal(json_array_size(json_array_get(itls, 3)), 0);
    json_decref(got);
    row_list_done(&l);
}

static void result_files_have_vllms_names(void **state) {
    (void)state;
    const struct {
        summary_options o;
        summary_setup s;
        const char *name;
    } cases[] = {
        {{.request_rate = INFINITY},
         {.date = "D", .backend = "openai", .model = "org/m"},
         "openai-infqps-m-D.json"},
        {{.request_rate = 2, .max_concurrency = 8},
         {.date = "D", .backend = "openai", .label = "x", .model = "m"},
         "x-2.0qps-concurrency8-m-D.json"},
        {{.request_rate = 0.1}, {.date = "D", .backend = "b", .model = "m"}, "b-0.1qps-m-D.json"},
        {{.request_rate = INFINITY},
         {.date = "D", .backend = "b", .model = "m", .ramp_strategy = "linear", .ramp_from = 1, .ramp_to = 9},
         "b-ramp-up-linear-1qps-9qps-m-D.json"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *name = summary_file_name(&cases[i].o, &cases[i].s);
        assert_string_equal(name, cases[i].name);
        free(name);
    }
}

static void our_lines_stand_below_vllms(void **state) {
    (void)state;
    row_list l = three_members();
    summary_options o = {.duration_s = 2, .request_rate = 2};
    assert_int_equal(summary_parse_metrics(&o, "itl", NULL), ST_OK);
    summary_limits limits = {.limits = slo_none(), .attainment = {0.5, NAN, NAN, 1}};
    assert_int_equal(slo_parse(&limits.limits, "ttft:200,tpot:10", NULL), ST_OK);
    limits.result = score_of(&l, &limits.limits, SCORE_ALL, 4);
    buf got = {0};
    summary_table(&got, &l, &o, &limits, 1);
    const char *below = strstr(got.data, "------------------Latency Limits");
    assert_non_null(below);
    assert_string_equal(below, "------------------Latency Limits------------------\n"
                               "Limits:                                  ttft 200 ms, tpot 10 ms\n"
                               "Good requests:                           2 of 4\n"
                               "Attainment (%):                          50.00     \n"
                               "95 % interval (%):                       unknown: one seed and few requests\n"
                               "Attainment of TTFT (%):                  75.00     \n"
                               "Attainment of TPOT (%):                  50.00     \n"
                               "Attainment among successes (%):          66.67     \n"
                               "Goodput (req/s):                         0.50      \n"
                               "==================================================\n");
    assert_non_null(strstr(got.data, "P99 ITL (ms):                            20.00     \n"));
    assert_null(strstr(got.data, "TTFT (ms)"));
    buf_reset(&got);
    limits.attainment = (interval){0.5, 0.375, 1.2, 5};
    summary_table(&got, &l, &o, &limits, 1);
    assert_non_null(strstr(got.data, "95 % interval (%):                       37.50 to 100.00\n"));
    buf_done(&got);
    row_list_done(&l);
}

static void nothing_that_ended_gives_zeros(void **state) {
    (void)state;
    row_list l = {0};
    summary_options o = {.duration_s = 0, .request_rate = 2};
    json_t *got = summary_numbers_json(&l, &o);
    const char *key;
    json_t *value;
    json_object_foreach(got, key, value) {
        if (strcmp(key, "request_goodput") != 0) assert_true(json_number_value(value) == 0);
    }
    json_decref(got);
}

static void bad_percentiles_and_metrics_are_named(void **state) {
    (void)state;
    summary_options o = {.shown = 1};
    const char *percentiles[] = {"", "101", "-1", "5,,6", "nan", "9x", "1,"};
    errbuf eb = {0};
    for (size_t i = 0; i < ARRAY_LEN(percentiles); i++)
        assert_int_equal(summary_parse_percentiles(&o, percentiles[i], &eb), ST_INVALID);
    assert_int_equal(summary_parse_percentiles(&o, "9x", &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "'9x'"));
    assert_int_equal(summary_parse_percentiles(&o, "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", &eb),
                     ST_INVALID);
    assert_int_equal(o.percentile_count, 0);
    assert_int_equal(summary_parse_metrics(&o, "ttft,tptt", &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "'tptt'"));
    assert_int_equal(o.shown, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_vllms_rules_every_number_is_that_of_its_formulas),
        cmocka_unit_test(the_table_is_vllms_to_the_byte),
        cmocka_unit_test(by_our_rules_times_count_from_the_schedule_and_the_first_content),
        cmocka_unit_test(the_json_has_every_key_of_vllm_bench_serve),
        cmocka_unit_test(details_are_in_the_order_of_schedule),
        cmocka_unit_test(result_files_have_vllms_names),
        cmocka_unit_test(our_lines_stand_below_vllms),
        cmocka_unit_test(nothing_that_ended_gives_zeros),
        cmocka_unit_test(bad_percentiles_and_metrics_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
