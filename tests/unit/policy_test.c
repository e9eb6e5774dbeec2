#include "tests/test.h"

#include "colocated_worker/colocated_policy.h"
#include "decode_worker/decode_policy.h"
#include "prefill_worker/prefill_policy.h"

static void expect_chunk(const batch_chunk *c, uint32_t index, uint32_t begin, uint32_t count, bool last) {
    assert_int_equal(c->index, index);
    assert_int_equal(c->begin, begin);
    assert_int_equal(c->count, count);
    assert_int_equal(c->last, last);
}

static const prefill_limits limits = {.max_rows = 64, .chunk_tokens = 32, .max_seqs = 4};

static void a_prompt_never_has_more_than_one_chunk_of_chunk_tokens_in_a_step(void **state) {
    (void)state;
    batch_prompt p = {.total = 100};
    batch_chunk c[4];
    assert_int_equal(prefill_policy_form(&p, 1, &limits, c), 1);
    expect_chunk(&c[0], 0, 0, 32, false);
}

static void the_rest_of_the_budget_goes_to_the_next_prompts_in_order(void **state) {
    (void)state;
    batch_prompt p[] = {{.done = 96, .total = 100}, {.total = 50}, {.total = 60}, {.total = 5}};
    batch_chunk c[4];
    assert_int_equal(prefill_policy_form(p, 4, &limits, c), 4);
    expect_chunk(&c[0], 0, 96, 4, true);
    expect_chunk(&c[1], 1, 0, 32, false);
    expect_chunk(&c[2], 2, 0, 16, false); /* 28 rows are left: down to the page edge */
    expect_chunk(&c[3], 3, 0, 5, true);
}

static void a_chunk_ends_off_a_page_edge_only_at_the_prompts_end(void **state) {
    (void)state;
    for (uint32_t total = 1; total < 200; total++) {
        for (uint32_t budget = 16; budget < 70; budget++) {
            batch_prompt p = {.total = total};
            while (p.done < p.total) {
                batch_chunk c;
                prefill_limits l = {.max_rows = budget, .chunk_tokens = 48, .max_seqs = 1};
                assert_int_equal(prefill_policy_form(&p, 1, &l, &c), 1);
                assert_true(c.count <= budget && c.count <= 48 && c.begin == p.done);
                p.done += c.count;
                assert_int_equal(c.last, p.done == total);
                assert_true(c.last || p.done % 16 == 0);
            }
        }
    }
}

static void a_younger_prompt_does_not_overtake_one_that_the_budget_cannot_serve(void **state) {
    (void)state;
    batch_prompt p[] = {{.total = 32}, {.total = 20}, {.total = 40}, {.total = 3}};
    batch_chunk c[4];
    assert_int_equal(prefill_policy_form(p, 4, &limits, c), 2);
    expect_chunk(&c[1], 1, 0, 20, true);
}

static void at_most_max_seqs_prompts_share_a_step(void **state) {
    (void)state;
    batch_prompt p[] = {{.total = 3}, {.total = 3}, {.total = 3}};
    batch_chunk c[2];
    prefill_limits l = {.max_rows = 64, .chunk_tokens = 32, .max_seqs = 2};
    assert_int_equal(prefill_policy_form(p, 3, &l, c), 2);
}

static void replays_share_a_step_with_nobody_else(void **state) {
    (void)state;
    batch_prompt p[] = {
        {.done = 32, .total = 41, .replay = true}, {.total = 20, .replay = true}, {.total = 3}};
    batch_chunk c[4];
    assert_int_equal(prefill_policy_form(p, 3, &limits, c), 2);
    expect_chunk(&c[0], 0, 32, 9, true);
    expect_chunk(&c[1], 1, 0, 20, true);
}

static batch_row row(bool needs_page, uint32_t pages) {
    return (batch_row){.wants_row = true, .needs_page = needs_page, .pages = pages, .frees_now = true};
}

static void every_running_sequence_has_a_row_when_pages_are_free(void **state) {
    (void)state;
    batch_row r[] = {row(true, 3), row(false, 2), row(true, 1)};
    batch_verdict v[3];
    assert_int_equal(decode_policy_form(r, 3, &(batch_limits){.free_pages = 2, .max_rows = 8}, v), 0);
    for (int i = 0; i < 3; i++) assert_int_equal(v[i], BATCH_ROW);
}

static void without_a_free_page_the_youngest_is_preempted_for_the_oldest(void **state) {
    (void)state;
    batch_row r[] = {row(true, 3), row(false, 2), row(false, 1)};
    batch_verdict v[3];
    decode_policy_form(r, 3, &(batch_limits){.max_rows = 8}, v);
    assert_int_equal(v[0], BATCH_ROW);
    assert_int_equal(v[1], BATCH_ROW);
    assert_int_equal(v[2], BATCH_PREEMPT);
}

static void the_youngest_preempts_itself_when_it_needs_the_page(void **state) {
    (void)state;
    batch_row r[] = {row(false, 3), row(true, 2)};
    batch_verdict v[2];
    decode_policy_form(r, 2, &(batch_limits){.max_rows = 8}, v);
    assert_int_equal(v[0], BATCH_ROW);
    assert_int_equal(v[1], BATCH_PREEMPT);
}

static void the_oldest_is_never_preempted(void **state) {
    (void)state;
    batch_row r[] = {row(true, 3)};
    batch_verdict v[1];
    decode_policy_form(r, 1, &(batch_limits){.max_rows = 8}, v);
    assert_int_equal(v[0], BATCH_WAIT);
}

static void pages_on_their_way_are_waited_for_before_another_one_is_preempted(void **state) {
    (void)state;
    batch_row r[] = {row(true, 3), row(true, 3), row(false, 2)};
    batch_verdict v[3];
    decode_policy_form(r, 3, &(batch_limits){.coming_pages = 1, .max_rows = 8}, v);
    assert_int_equal(v[0], BATCH_WAIT);
    assert_int_equal(v[1], BATCH_ROW);
    assert_int_equal(v[2], BATCH_PREEMPT);
}

static void a_victim_that_the_transfer_thread_knows_frees_nothing_in_this_step(void **state) {
    (void)state;
    batch_row r[] = {row(true, 3), row(false, 2), row(false, 2)};
    r[2].frees_now = false;
    batch_verdict v[3];
    decode_policy_form(r, 3, &(batch_limits){.max_rows = 8}, v);
    assert_int_equal(v[0], BATCH_WAIT);
    assert_int_equal(v[1], BATCH_ROW);
    assert_int_equal(v[2], BATCH_PREEMPT);
}

static void with_more_sequences_than_rows_they_take_turns(void **state) {
    (void)state;
    batch_row r[5];
    for (int i = 0; i < 5; i++) r[i] = row(false, 1);
    uint32_t served[5] = {0}, first = 0;
    for (int step = 0; step < 5; step++) {
        batch_verdict v[5];
        first = decode_policy_form(r, 5, &(batch_limits){.first = first, .max_rows = 2}, v);
        for (int i = 0; i < 5; i++) served[i] += v[i] == BATCH_ROW;
    }
    for (int i = 0; i < 5; i++) assert_int_equal(served[i], 2);
}

static void chunked_serves_decodes_first_and_prompts_from_the_rest(void **state) {
    (void)state;
    colocated_split s = colocated_policy_divide(COLOCATED_CHUNKED, 10, 3, 64);
    assert_int_equal(s.decode_rows, 10);
    assert_true(s.prompts);
}

static void chunked_leaves_a_page_of_the_budget_to_waiting_prompts(void **state) {
    (void)state;
    assert_int_equal(colocated_policy_divide(COLOCATED_CHUNKED, 64, 1, 64).decode_rows, 48);
    assert_int_equal(colocated_policy_divide(COLOCATED_CHUNKED, 64, 0, 64).decode_rows, 64);
}

static void prefill_first_decodes_only_when_no_prompt_waits(void **state) {
    (void)state;
    colocated_split s = colocated_policy_divide(COLOCATED_PREFILL_FIRST, 10, 1, 64);
    assert_int_equal(s.decode_rows, 0);
    assert_true(s.prompts);
    s = colocated_policy_divide(COLOCATED_PREFILL_FIRST, 10, 0, 64);
    assert_int_equal(s.decode_rows, 10);
    assert_false(s.prompts);
}

static void a_policy_is_found_by_its_name_only(void **state) {
    (void)state;
    colocated_policy p = COLOCATED_CHUNKED;
    assert_true(colocated_policy_find("prefill_first", &p));
    assert_int_equal(p, COLOCATED_PREFILL_FIRST);
    assert_true(colocated_policy_find("chunked", &p));
    assert_int_equal(p, COLOCATED_CHUNKED);
    assert_false(colocated_policy_find("chunke", &p));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prompt_never_has_more_than_one_chunk_of_chunk_tokens_in_a_step),
        cmocka_unit_test(the_rest_of_the_budget_goes_to_the_next_prompts_in_order),
        cmocka_unit_test(a_chunk_ends_off_a_page_edge_only_at_the_prompts_end),
        cmocka_unit_test(a_younger_prompt_does_not_overtake_one_that_the_budget_cannot_serve),
        cmocka_unit_test(at_most_max_seqs_prompts_share_a_step),
        cmocka_unit_test(replays_share_a_step_with_nobody_else),
        cmocka_unit_test(every_running_sequence_has_a_row_when_pages_are_free),
        cmocka_unit_test(without_a_free_page_the_youngest_is_preempted_for_the_oldest),
        cmocka_unit_test(the_youngest_preempts_itself_when_it_needs_the_page),
        cmocka_unit_test(the_oldest_is_never_preempted),
        cmocka_unit_test(pages_on_their_way_are_waited_for_before_another_one_is_preempted),
        cmocka_unit_test(a_victim_that_the_transfer_thread_knows_frees_nothing_in_this_step),
        cmocka_unit_test(with_more_sequences_than_rows_they_take_turns),
        cmocka_unit_test(chunked_serves_decodes_first_and_prompts_from_the_rest),
        cmocka_unit_test(chunked_leaves_a_page_of_the_budget_to_waiting_prompts),
        cmocka_unit_test(prefill_first_decodes_only_when_no_prompt_waits),
        cmocka_unit_test(a_policy_is_found_by_its_name_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
