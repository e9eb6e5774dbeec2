/* Numbers and words of a report, below its pages: rows cut down, distributions, ratios. */
#include "tests/test.h"

#include "base/mem.h"
#include "bench/report/curve.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROWS 240

static char *make_folder(void) {
    char *path = xstrdup("/tmp/baton-report-test-XXXXXX");
    assert_non_null(mkdtemp(path));
    return path;
}

static void remove_folder(char *path) {
    static const char *const names[] = {"rows.jsonl", "rows.csv", "run.json", "state.json"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *file = xasprintf("%s/%s", path, names[i]);
        unlink(file);
        free(file);
    }
    assert_int_equal(rmdir(path), 0);
    free(path);
}

/* Rows of every outcome, of one to five tokens; TTFT 1 to 7 ms, gaps 0 to 4 ms. */
static row make_row(uint32_t i) {
    row r = {.seed = 1 + i % 2, .index = i, .phase = i % 7 ? ROW_WINDOW : ROW_WARMUP, .http = 200};
    r.outcome = i % 11 ? ROW_OK : ROW_FAILED;
    r.scheduled_ns = i * 1000000ull;
    r.sent_ns = r.scheduled_ns + 20000;
    r.event_count = 1 + i % 5;
    r.events = xcalloc(r.event_count, sizeof *r.events);
    uint64_t at = r.scheduled_ns + (1 + i % 7) * 1000000ull;
    for (uint32_t k = 0; k < r.event_count; k++) {
        r.events[k] = (row_event){.at_ns = at, .tokens = 1};
        r.last_ns = at;
        at += (i * 13 + k * k) % 5 * 1000000ull;
    }
    r.first_ns = r.events[0].at_ns;
    r.end_ns = r.last_ns;
    r.output_asked = r.output_tokens = r.event_count;
    snprintf(r.finish, sizeof r.finish, "length");
    r.stages = (row_stages){NAN, NAN, NAN, NAN, NAN, NAN, NAN, 0, 0, 0};
    return r;
}

static void write_rows(const char *folder) {
    row_writer *w = NULL;
    errbuf eb = {0};
    assert_int_equal(row_writer_open(&w, folder, &eb), ST_OK);
    for (uint32_t i = 0; i < ROWS; i++) {
        row r = make_row(i);
        assert_int_equal(row_writer_add(w, &r, &eb), ST_OK);
        row_done(&r);
    }
    assert_int_equal(row_writer_close(w, &eb), ST_OK);
}

static uint32_t good_of_rows(const slo *s) {
    uint32_t good = 0;
    for (uint32_t i = 0; i < ROWS; i++) {
        row r = make_row(i);
        good += r.phase == ROW_WINDOW && slo_good(s, &r);
        row_done(&r);
    }
    return good;
}

static uint32_t good_of_cell(const slo *s, const cell *c) {
    uint32_t good = 0;
    for (size_t i = 0; i < c->row_count; i++)
        good += c->rows[i].phase == ROW_WINDOW && cell_row_good(s, &c->rows[i]);
    return good;
}

static void rows_that_were_cut_down_are_judged_as_whole_ones(void **state) {
    (void)state;
    static const char *const limits[] = {"ttft:4",    "tpot:2",  "ttft:5,tpot:1", "itl_p99:2.5",
                                         "itl_max:3", "e2e:9.5", "ttft:100",      "ttft:4,e2e:8,itl_max:2"};
    char *folder = make_folder();
    write_rows(folder);
    cell c;
    cell_read(&c, folder, "p@w@2", false);
    assert_int_equal(c.row_count, ROWS);
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        slo s = slo_none();
        errbuf eb = {0};
        assert_int_equal(slo_parse(&s, limits[i], &eb), ST_OK);
        assert_int_equal(good_of_cell(&s, &c), good_of_rows(&s));
        assert_in_range(good_of_rows(&s), 1, ROWS - 1);
    }
    cell_done(&c);
    remove_folder(folder);
}

static void more_tokens_than_can_be_sorted_are_refused_with_their_number(void **state) {
    (void)state;
    char *folder = make_folder();
    row_writer *w = NULL;
    assert_int_equal(row_writer_open(&w, folder, NULL), ST_OK);
    for (uint32_t i = 0; i < 9; i++) {
        row r = make_row(i);
        r.output_tokens = ROW_MOST_TOKENS;
        assert_int_equal(row_writer_add(w, &r, NULL), ST_OK);
        row_done(&r);
    }
    assert_int_equal(row_writer_close(w, NULL), ST_OK);
    cell c;
    cell_read(&c, folder, "p@w@2", false);
    assert_int_equal(c.state, CELL_FAILED);
    assert_non_null(strstr(c.reason, "150994944 output tokens, and at most 134217728"));
    assert_int_equal(c.row_count, 0);
    cell_done(&c);
    remove_folder(folder);
}

static void each_kind_of_limit_is_judged_alone(void **state) {
    (void)state;
    cell_row r = {.ok = true, .ttft_ms = 5, .tpot_ms = 6, .itl_p99_ms = 7, .itl_max_ms = 8, .e2e_ms = 9};
    static const struct {
        const char *slo;
        limit missed;
    } all[] = {{"ttft:4", LIMIT_TTFT},
               {"tpot:5", LIMIT_TPOT},
               {"itl_p99:6", LIMIT_ITL},
               {"itl_max:7", LIMIT_ITL},
               {"e2e:8", LIMIT_E2E}};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        slo s = slo_none();
        assert_int_equal(slo_parse(&s, all[i].slo, NULL), ST_OK);
        for (int l = 0; l < LIMITS; l++) {
            assert_int_equal(cell_row_keeps(&s, &r, (limit)l), (limit)l != all[i].missed);
            assert_int_equal(limit_is_set(&s, (limit)l), (limit)l == all[i].missed);
        }
        assert_false(cell_row_good(&s, &r));
    }
    slo none = slo_none();
    assert_true(cell_row_good(&none, &r));
    r.ok = false;
    for (int l = 0; l < LIMITS; l++) assert_false(cell_row_keeps(&none, &r, (limit)l));
}

static void a_cell_without_state_is_unfinished_and_named_by_its_folder(void **state) {
    (void)state;
    char *folder = make_folder();
    write_rows(folder);
    cell c;
    cell_read(&c, folder, "1P1D-again@code@long@2.5", false);
    assert_int_equal(c.state, CELL_RUNNING);
    assert_false(cell_counts(&c));
    assert_string_equal(c.placement, "1P1D-again");
    assert_string_equal(c.again_of, "1P1D");
    assert_string_equal(c.workload, "code@long");
    assert_true(c.rate == 2.5);
    assert_int_equal(c.seed_count, 2);
    assert_false(c.tuning);
    cell_done(&c);
    cell_missing(&c, "chunked~64@w@1");
    assert_true(c.tuning);
    assert_int_equal(c.state, CELL_MISSING);
    cell_done(&c);
    remove_folder(folder);
}

static void a_tail_goes_from_all_to_the_largest(void **state) {
    (void)state;
    double values[1000];
    for (int i = 0; i < 1000; i++) values[i] = (i * 7 + 3) % 1000;
    tail t;
    tail_init(&t, values, ARRAY_LEN(values));
    assert_true(t.p50 == 499.5);
    assert_true(t.at[0] == 0);
    assert_true(t.above[0] == 1);
    assert_true(t.at[t.points - 1] == 999);
    assert_true(t.above[t.points - 1] == 0.001);
    for (uint32_t i = 1; i < t.points; i++) assert_true(t.above[i] < t.above[i - 1]);
    for (uint32_t i = 0; i < t.points; i++) assert_true(t.at[i] == 1000 - round(t.above[i] * 1000));
    tail_done(&t);
    tail_init(&t, NULL, 0);
    assert_true(isnan(t.p99));
    assert_int_equal(t.points, 0);
    tail_done(&t);
}

static void ratios_say_what_is_known(void **state) {
    (void)state;
    static const struct {
        ratio r;
        const char *text;
    } all[] = {{{1.234, 1.1, 1.35, 5}, "1.23 (1.10 to 1.35)"},
               {{0.5, NAN, NAN, 1}, "0.50, no interval"},
               {{1.2, 1.1, INFINITY, 5}, "1.20 (from 1.10, open above)"},
               {{0.8, 0, 0.9, 5}, "0.80 (up to 0.90)"},
               {{1.2, 0, INFINITY, 5}, "1.20 (open)"},
               {{NAN, 1.5, INFINITY, 5}, "> 1.50"},
               {{NAN, 0, 0.7, 5}, "< 0.70"},
               {{NAN, 0.5, 0.7, 5}, "0.50 to 0.70"},
               {{NAN, 0, INFINITY, 5}, "unknown"},
               {{NAN, NAN, NAN, 0}, "unknown"}};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        char text[64];
        ratio_text(&all[i].r, text, sizeof text);
        assert_string_equal(text, all[i].text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_that_were_cut_down_are_judged_as_whole_ones),
        cmocka_unit_test(more_tokens_than_can_be_sorted_are_refused_with_their_number),
        cmocka_unit_test(each_kind_of_limit_is_judged_alone),
        cmocka_unit_test(a_cell_without_state_is_unfinished_and_named_by_its_folder),
        cmocka_unit_test(a_tail_goes_from_all_to_the_largest),
        cmocka_unit_test(ratios_say_what_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
