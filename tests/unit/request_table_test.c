/* The table of requests alone: who is next, what is due, and who is set aside. */
#include "coordinator/request_table.h"

#include "base/mem.h"
#include "coordinator/member.h"
#include "tests/test.h"

static const core_options limits = {
    .max_requests = 64, .wait_prefill_ns = 100, .prefill_ns = 200, .wait_kv_ns = 300, .decode_token_ns = 50};

static request *add_of(request_table *t, uint64_t id, int32_t priority, uint64_t now_ns) {
    static const int32_t prompt[] = {1, 2, 3};
    core_request in = {
        .prompt = prompt, .prompt_count = 3, .params = sampling_default(), .priority = priority};
    request *r = request_new(id, &in, 10, now_ns);
    request_move(r, REQ_WAIT_PREFILL, now_ns);
    r->queue_since_ns = now_ns;
    request_table_add(t, r);
    return r;
}

static request *add(request_table *t, uint64_t id, uint64_t now_ns) {
    return add_of(t, id, 0, now_ns);
}

static void remove_free(request_table *t, request *r) {
    request_table_remove(t, r);
    request_free(r);
}

static void a_request_is_found_until_it_is_removed(void **state) {
    (void)state;
    request_table t;
    request_table_init(&t, &limits);
    request *a = add(&t, 1, 1), *b = add(&t, 2, 1), *c = add(&t, 3, 1);
    assert_ptr_equal(request_table_find(&t, 2), b);
    remove_free(&t, a);
    assert_null(request_table_find(&t, 1));
    assert_ptr_equal(request_table_find(&t, 3), c);
    assert_int_equal(request_table_queued(&t), 2);
    assert_true(request_table_check(&t));
    request_table_done(&t);
}

static void the_oldest_of_a_line_is_first_whenever_it_came(void **state) {
    (void)state;
    request_table t;
    request_table_init(&t, &limits);
    request *r[5];
    for (uint64_t i = 0; i < 5; i++) r[i] = add(&t, i + 1, 1);
    for (uint64_t i = 5;
         i-- > 2;) { /* 5, 4 and 3 start again: they line up by age, not by when they fell back */
        r[i]->attempt = 2;
        request_table_place(&t, r[i]);
    }
    assert_ptr_equal(request_table_first(&t, LINE_REPLAYS), r[2]);
    assert_ptr_equal(request_table_first(&t, LINE_NEW), r[0]);
    remove_free(&t, r[2]);
    assert_ptr_equal(request_table_first(&t, LINE_REPLAYS), r[3]);
    assert_null(request_table_first(&t, LINE_PARKED));
    assert_true(request_table_check(&t));
    request_table_done(&t);
}

static void a_lower_priority_goes_first_in_the_queue_and_equal_ones_by_age(void **state) {
    (void)state;
    request_table t;
    request_table_init(&t, &limits);
    static const int32_t priorities[] = {0, 5, -32768, 0, 32767, -1};
    static const uint64_t want[] = {3, 6, 1, 4, 2, 5};
    for (uint32_t i = 0; i < ARRAY_LEN(priorities); i++) (void)add_of(&t, i + 1, priorities[i], 1);
    for (uint32_t i = 0; i < ARRAY_LEN(want); i++) {
        request *r = request_table_first(&t, LINE_NEW);
        assert_int_equal(r->id, want[i]);
        remove_free(&t, r);
    }
    request_table_done(&t);
}

static void what_is_passed_over_comes_back_to_its_place(void **state) {
    (void)state;
    request_table t;
    request_table_init(&t, &limits);
    request *a = add(&t, 1, 1), *b = add(&t, 2, 1), *c = add(&t, 3, 1);
    request_table_pass_over(&t, a);
    request_table_pass_over(&t, b);
    assert_ptr_equal(request_table_first(&t, LINE_NEW), c);
    assert_int_equal(request_table_queued(&t), 3);
    assert_true(request_table_check(&t));
    remove_free(&t, b); /* its client left meanwhile */
    request_table_recall(&t);
    assert_ptr_equal(request_table_first(&t, LINE_NEW), a);
    assert_true(request_table_check(&t));
    request_table_done(&t);
}

static void a_prompt_that_waits_for_a_decode_worker_is_in_a_line(void **state) {
    (void)state;
    request_table t;
    request_table_init(&t, &limits);
    member p = {.role = ROLE_PREFILL}, w = {.role = ROLE_COLOCATED}, d = {.role = ROLE_DECODE};
    request *a = add(&t, 1, 1), *b = add(&t, 2, 1);
    request_move(a, REQ_PREFILL, 2);
    a->prefill = &p;
    request_table_place(&t, a);
    assert_ptr_equal(request_table_first(&t, LINE_COMPUTING), a);
    request_move(b, REQ_PREFILL, 2);
    b->prefill = &w; /* decodes itself */
    request_table_place(&t, b);
    assert_int_equal(b->line, LINE_NONE);
    request_move(a, REQ_WAIT_KV, 3);
    request_table_place(&t, a);
    assert_null(request_table_first(&t, LINE_COMPUTING));
    assert_ptr_equal(request_table_first(&t, LINE_PARKED), a);
    a->decode = &d;
    request_table_place(&t, a);
    assert_null(request_table_first(&t, LINE_PARKED));
    assert_int_equal(request_table_queued(&t), 0);
    assert_true(request_table_check(&t));
    request_table_done(&t);
}

static void deadlines_are_exact_although_tokens_move_them_unseen(void **state) {
    (void)state;
    request_table t;
    request_table_init(&t, &limits);
    member w = {.role = ROLE_COLOCATED};
    request *a = add(&t, 1, 1000), *b = add(&t, 2, 1010);
    assert_true(request_table_next_ns(&t, UINT64_MAX) == 1100);
    assert_true(request_table_next_ns(&t, 1050) == 1050);
    request_move(a, REQ_PREFILL, 1020);
    a->prefill = &w;
    request_table_place(&t, a);
    request_move(a, REQ_DECODE, 1030);
    a->prefill = NULL;
    a->decode = &w;
    a->token_ns = 1030;
    request_table_place(&t, a);
    assert_true(request_table_next_ns(&t, UINT64_MAX) == 1080);
    a->token_ns = 1070; /* a token: its key stays */
    assert_true(a->due.key == 1080);
    assert_true(request_table_next_ns(&t, UINT64_MAX) == 1110); /* b's, in the queue since 1010 */
    uint64_t ids[2] = {0};
    assert_int_equal(request_table_due(&t, 1109, ids), 0);
    assert_int_equal(request_table_due(&t, 1119, ids), 1);
    assert_true(ids[0] == 2);
    assert_true(request_table_is_due(&t, b, 1110));
    assert_false(request_table_is_due(&t, b, 1109));
    assert_int_equal(request_table_due(&t, 1120, ids), 2); /* oldest first, not earliest first */
    assert_true(ids[0] == 1);
    assert_true(ids[1] == 2);
    assert_true(request_table_check(&t));
    request_table_done(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_found_until_it_is_removed),
        cmocka_unit_test(the_oldest_of_a_line_is_first_whenever_it_came),
        cmocka_unit_test(a_lower_priority_goes_first_in_the_queue_and_equal_ones_by_age),
        cmocka_unit_test(what_is_passed_over_comes_back_to_its_place),
        cmocka_unit_test(a_prompt_that_waits_for_a_decode_worker_is_in_a_line),
        cmocka_unit_test(deadlines_are_exact_although_tokens_move_them_unseen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
