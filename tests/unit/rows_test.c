/* Rows and scores on synthetic timestamps whose answers are known exactly. */
#include "bench/rows/row.h"

#include "base/mem.h"
#include "bench/rows/score.h"
#include "tests/test.h"

#include <math.h>
#include <string.h>

#define MS 1000000ull

static row scheduled(uint64_t at_ms) {
    row r;
    row_init(&r);
    r.phase = ROW_WINDOW;
    r.scheduled_ns = r.sent_ns = at_ms * MS;
    return r;
}

/* Role chunk, "A", three tokens in one chunk, "E", empty finish. known: the client knows of the three. */
static row the_example(bool known) {
    row r = scheduled(0);
    row_add_event(&r, 10 * MS, 0);
    row_add_event(&r, 100 * MS, 1);
    row_add_event(&r, 160 * MS, known ? 3 : 1);
    row_add_event(&r, 180 * MS, 1);
    row_add_event(&r, 181 * MS, 0);
    r.end_ns = 182 * MS;
    r.output_tokens = 5;
    return r;
}

static void the_example_by_our_rules(void **state) {
    (void)state;
    row r = the_example(true);
    assert_true(row_ttft_ms(&r) == 100);
    assert_true(row_tpot_ms(&r) == 20);
    assert_true(row_e2e_ms(&r) == 180);
    double itls[8];
    assert_int_equal(row_itls_ms(&r, itls, 8), 4);
    const double want[] = {60, 0, 0, 20};
    for (size_t i = 0; i < 4; i++) assert_true(itls[i] == want[i]);
    row_done(&r);
}

static void the_example_by_vllms_rules(void **state) {
    (void)state;
    row r = the_example(true);
    assert_true(row_vllm_ttft_ms(&r) == 10);
    assert_true(row_vllm_tpot_ms(&r) == 42.75);
    assert_true(row_vllm_e2e_ms(&r) == 181);
    double itls[8];
    assert_int_equal(row_vllm_itls_ms(&r, itls, 8), 4);
    const double want[] = {90, 60, 20, 1};
    for (size_t i = 0; i < 4; i++) assert_true(itls[i] == want[i]);
    row_done(&r);
}

static void tokens_that_nobody_placed_are_zeros_at_the_end(void **state) {
    (void)state;
    row r = the_example(false);
    assert_true(row_tpot_ms(&r) == 20);
    double itls[4] = {-1, -1, -1, -1};
    assert_int_equal(row_itls_ms(&r, itls, 3), 4);
    assert_true(itls[0] == 60);
    assert_true(itls[1] == 20);
    assert_true(itls[2] == 0);
    assert_true(itls[3] == -1); /* beyond max */
    row_done(&r);
}

static void without_usage_the_events_count(void **state) {
    (void)state;
    row r = the_example(true);
    r.output_tokens = 0;
    assert_int_equal(row_tokens(&r), 5);
    assert_true(row_tpot_ms(&r) == 20);
    assert_int_equal(row_itls_ms(&r, NULL, 0), 4);
    row_done(&r);
}

static void more_chunks_than_tokens_are_gaps_all_the_same(void **state) {
    (void)state;
    row r = scheduled(0);
    for (uint32_t i = 1; i <= 4; i++) row_add_event(&r, i * 10 * MS, 1);
    r.output_tokens = 2; /* bytes of one token came in pieces */
    assert_int_equal(row_itls_ms(&r, NULL, 0), 3);
    assert_true(row_tpot_ms(&r) == 30);
    row_done(&r);
}

static void latency_counts_from_the_schedule_and_vllms_from_the_send(void **state) {
    (void)state;
    row r = scheduled(1000);
    r.sent_ns += 7 * MS;
    row_add_event(&r, 1100 * MS, 1);
    r.output_tokens = 1;
    assert_true(row_ttft_ms(&r) == 100);
    assert_true(row_vllm_ttft_ms(&r) == 93);
    row_done(&r);
}

static void one_token_has_tpot_zero_and_no_itl(void **state) {
    (void)state;
    row r = scheduled(0);
    row_add_event(&r, 5 * MS, 1);
    row_add_event(&r, 50 * MS, 0);
    r.output_tokens = 1;
    assert_true(row_tpot_ms(&r) == 0);
    assert_true(row_vllm_tpot_ms(&r) == 0);
    assert_int_equal(row_itls_ms(&r, NULL, 0), 0);
    assert_true(row_e2e_ms(&r) == 5);
    row_done(&r);
}

static void without_content_there_is_no_latency(void **state) {
    (void)state;
    row r = scheduled(0);
    assert_true(isnan(row_vllm_ttft_ms(&r)));
    row_add_event(&r, 5 * MS, 0);
    assert_true(isnan(row_ttft_ms(&r)));
    assert_true(isnan(row_tpot_ms(&r)));
    assert_true(isnan(row_e2e_ms(&r)));
    assert_int_equal(row_itls_ms(&r, NULL, 0), 0);
    assert_true(row_vllm_ttft_ms(&r) == 5);
    row_done(&r);
    assert_null(r.events);
    assert_true(r.first_ns == ROW_NEVER);
}

/* A member with these latencies and 11 tokens, or with one token when tpot_ms < 0. */
static void add(row_list *l, uint64_t seed, uint64_t ttft_ms, int64_t tpot_ms, row_outcome outcome) {
    row r = scheduled(l->count * 10);
    r.seed = seed;
    r.index = (uint32_t)l->count;
    r.outcome = outcome;
    uint64_t first = r.scheduled_ns + ttft_ms * MS;
    if (outcome == ROW_OK) {
        row_add_event(&r, first, 1);
        for (uint32_t i = 1; tpot_ms >= 0 && i <= 10; i++)
            row_add_event(&r, first + i * (uint64_t)tpot_ms * MS, 1);
        r.output_tokens = tpot_ms < 0 ? 1 : 11;
    }
    row_list_add(l, &r);
}

/* 5 % miss TTFT, 5 % others miss TPOT. */
static void ninety_percent_joint_of_ninety_five_each(void **state) {
    (void)state;
    row_list l = {0};
    for (uint32_t i = 0; i < 1000; i++)
        add(&l, 1 + i % 5, i % 20 == 3 ? 201 : 200, i % 20 == 8 ? 51 : 50, ROW_OK);
    slo s = slo_none();
    assert_int_equal(slo_parse(&s, "ttft:200,tpot:50", NULL), ST_OK);
    score all = score_of(&l, &s, SCORE_ALL, 100);
    assert_int_equal(all.members, 1000);
    assert_int_equal(all.good, 900);
    assert_int_equal(all.ttft_good, 950);
    assert_int_equal(all.tpot_good, 950);
    assert_true(all.attainment == 0.9);
    assert_true(all.attainment_ttft == 0.95);
    assert_true(all.attainment_tpot == 0.95);
    assert_true(all.attainment_ok == 0.9);
    assert_true(all.good_per_s == 9);
    row_list_done(&l);
}

static void one_token_answers_are_good_by_their_ttft_alone(void **state) {
    (void)state;
    row_list l = {0};
    add(&l, 1, 200, -1, ROW_OK);
    add(&l, 1, 201, -1, ROW_OK);
    slo s = slo_none();
    assert_int_equal(slo_parse(&s, "ttft:200,tpot:0,itl_max:0,itl_p99:0", NULL), ST_OK);
    score got = score_of(&l, &s, SCORE_ALL, 1);
    assert_int_equal(got.good, 1);
    assert_int_equal(got.tpot_good, 2);
    row_list_done(&l);
}

static void whatever_did_not_end_as_asked_is_a_miss(void **state) {
    (void)state;
    row_list l = {0};
    for (row_outcome o = ROW_OK; o <= ROW_UNSENT; o++) add(&l, 1, 10, 1, o);
    row warm = scheduled(0);
    warm.phase = ROW_WARMUP;
    row_list_add(&l, &warm);
    row tail = scheduled(0);
    tail.phase = ROW_TAIL;
    row_list_add(&l, &tail);
    slo s = slo_none();
    score got = score_of(&l, &s, SCORE_ALL, 2);
    assert_int_equal(got.members, 6);
    assert_int_equal(got.ok, 1);
    assert_int_equal(got.good, 1);
    assert_true(got.attainment == 1.0 / 6);
    assert_true(got.attainment_ok == 1);
    assert_true(got.good_per_s == 0.5);
    row_list_done(&l);
}

static void an_end_without_a_token_is_a_miss_even_without_limits(void **state) {
    (void)state;
    row r = scheduled(0);
    slo s = slo_none();
    assert_false(slo_good(&s, &r));
    row_add_event(&r, 1, 1);
    assert_true(slo_good(&s, &r));
    row_done(&r);
}

static void limits_are_kept_when_met_exactly(void **state) {
    (void)state;
    row r = the_example(true);
    const struct {
        const char *text;
        bool good;
    } cases[] = {{"ttft:100", true},   {"ttft:99.9", false},  {"tpot:20", true},      {"tpot:19.9", false},
                 {"itl_max:60", true}, {"itl_max:59", false}, {"itl_p99:58.8", true}, {"itl_p99:58.7", false},
                 {"e2e:180", true},    {"e2el:179", false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        slo s = slo_none();
        assert_int_equal(slo_parse(&s, cases[i].text, NULL), ST_OK);
        assert_int_equal(slo_good(&s, &r), cases[i].good);
    }
    row_done(&r);
}

static void seeds_are_scored_apart_and_make_the_interval(void **state) {
    (void)state;
    row_list l = {0};
    const uint32_t good[] = {90, 92, 88, 91, 89};
    for (uint32_t seed = 0; seed < 5; seed++)
        for (uint32_t i = 0; i < 100; i++) add(&l, seed, i < good[seed] ? 1 : 2, 1, ROW_OK);
    slo s = slo_none();
    s.ttft_ms = 1;
    assert_true(score_of(&l, &s, 1, 10).attainment == 0.92);
    assert_true(score_of(&l, &s, 7, 10).members == 0);
    assert_true(isnan(score_of(&l, &s, 7, 0).attainment));
    const uint64_t seeds[] = {0, 1, 2, 3, 4};
    interval i = score_interval(&l, &s, seeds, 5);
    assert_true(fabs(i.mean - 0.9) < 1e-15);
    assert_true(fabs(i.high - (0.9 + 2.7764451051977934 * 0.015811388300841896 / sqrt(5))) < 1e-12);
    assert_int_equal(i.n, 5);
    row_list_done(&l);
}

/* Rows stand in the order of their ends; the batches are of arrivals. */
static void one_seed_has_the_interval_of_batch_means(void **state) {
    (void)state;
    row_list l = {0};
    for (uint32_t i = 0; i < 40; i++) {
        uint32_t at = i * 7 % 40;
        row r = scheduled(at);
        row_add_event(&r, (at + (at / 2 % 2 ? 1 : 2)) * MS, 1);
        row_list_add(&l, &r);
    }
    slo s = slo_none();
    s.ttft_ms = 1;
    const uint64_t seed = 0;
    interval i = score_interval(&l, &s, &seed, 1);
    assert_true(i.mean == 0.5);
    assert_true(fabs(i.high - 0.5 - 2.0930240544083087 * sqrt(20 * 0.25 / 19) / sqrt(20)) < 1e-12);
    assert_int_equal(i.n, 20);
    row_list_done(&l);
}

static void where_all_are_alike_the_interval_is_of_all_members(void **state) {
    (void)state;
    row_list l = {0};
    for (uint32_t i = 0; i < 50; i++) add(&l, i % 5, 1, 1, ROW_OK);
    slo s = slo_none();
    const uint64_t seeds[] = {0, 1, 2, 3, 4};
    interval i = score_interval(&l, &s, seeds, 5);
    assert_true(i.mean == 1);
    assert_true(fabs(i.low - 50 / (50 + 1.959963984540054 * 1.959963984540054)) < 1e-12);
    assert_true(i.high == 1);
    assert_int_equal(i.n, 5);
    row_list_done(&l);
    for (uint32_t k = 0; k < 45; k++) add(&l, 0, 1, 1, ROW_OK);
    i = score_interval(&l, &s, seeds, 5);
    assert_true(i.mean == 1);
    assert_true(fabs(i.low - 45 / (45 + 1.959963984540054 * 1.959963984540054)) < 1e-12);
    row_list_done(&l);
}

static void bad_limits_are_named(void **state) {
    (void)state;
    const struct {
        const char *text, *names;
    } bad[] = {{"ttft", "'ttft'"},     {"", "''"},
               {"tftt:3", "'tftt:3'"}, {"ttft:", "'ttft:'"},
               {"ttft:x", "'ttft:x'"}, {"ttft:1x", "1x"},
               {"ttft:-1", "-1"},      {"ttft:nan", "nan"},
               {"ttft:inf", "inf"},    {"ttft: 3", "ttft: 3"},
               {"ttft:1,,", "''"},     {"ttft:1e999", "1e999"}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        slo s = slo_none();
        errbuf eb = {0};
        assert_int_equal(slo_parse(&s, bad[i].text, &eb), ST_INVALID);
        assert_non_null(strstr(eb.text, bad[i].names));
        assert_true(isinf(s.ttft_ms));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_by_our_rules),
        cmocka_unit_test(the_example_by_vllms_rules),
        cmocka_unit_test(tokens_that_nobody_placed_are_zeros_at_the_end),
        cmocka_unit_test(without_usage_the_events_count),
        cmocka_unit_test(more_chunks_than_tokens_are_gaps_all_the_same),
        cmocka_unit_test(latency_counts_from_the_schedule_and_vllms_from_the_send),
        cmocka_unit_test(one_token_has_tpot_zero_and_no_itl),
        cmocka_unit_test(without_content_there_is_no_latency),
        cmocka_unit_test(ninety_percent_joint_of_ninety_five_each),
        cmocka_unit_test(one_token_answers_are_good_by_their_ttft_alone),
        cmocka_unit_test(whatever_did_not_end_as_asked_is_a_miss),
        cmocka_unit_test(an_end_without_a_token_is_a_miss_even_without_limits),
        cmocka_unit_test(limits_are_kept_when_met_exactly),
        cmocka_unit_test(seeds_are_scored_apart_and_make_the_interval),
        cmocka_unit_test(one_seed_has_the_interval_of_batch_means),
        cmocka_unit_test(where_all_are_alike_the_interval_is_of_all_members),
        cmocka_unit_test(bad_limits_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
