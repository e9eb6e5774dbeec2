/* What a worker was given: found by request and attempt, with sums that are always those of the holds. */
#include "coordinator/holds.h"

#include "base/mix.h"
#include "tests/test.h"

static void a_hold_is_a_promise_until_the_worker_answered(void **state) {
    (void)state;
    holds h;
    holds_init(&h);
    holds_add(&h, 7, 1, 12, 180);
    assert_int_equal(h.promised, 12);
    assert_int_equal(h.rows, 180);
    assert_int_equal(h.computing, 1);
    holds_answered(&h, holds_current(&h, 7));
    assert_int_equal(h.promised, 0);
    assert_int_equal(h.pages, 12);
    holds_computed(&h, holds_current(&h, 7));
    assert_int_equal(h.rows, 0);
    assert_int_equal(h.computing, 0);
    holds_closed(&h, 7, 1);
    assert_int_equal(h.pages, 0);
    assert_int_equal(h.count, 0);
    assert_true(holds_check(&h));
    holds_done(&h);
}

static void a_closing_hold_is_found_by_its_attempts_and_is_not_current(void **state) {
    (void)state;
    holds h;
    holds_init(&h);
    holds_add(&h, 7, 2, 3, 40);
    holds_current(&h, 7)->attempt = 4; /* renumbered by DEST */
    assert_int_equal(holds_close(&h, 7), 4);
    assert_null(holds_current(&h, 7));
    assert_int_equal(h.rows, 0); /* what is given up is not computed */
    assert_int_equal(h.promised, 3);
    holds_add(&h, 7, 5, 9, 0);
    assert_int_equal(holds_current(&h, 7)->attempt, 5);
    assert_null(holds_find(&h, 7, 1));
    assert_int_equal(holds_find(&h, 7, 2)->pages, 3);
    assert_int_equal(holds_find(&h, 7, 4)->pages, 3);
    assert_int_equal(holds_find(&h, 7, 5)->pages, 9);
    assert_null(holds_find(&h, 7, 6));
    assert_null(holds_find(&h, 8, 5));
    holds_closed(&h, 7, 4); /* the newer one stays */
    assert_null(holds_find(&h, 7, 4));
    assert_int_equal(h.count, 1);
    assert_int_equal(h.pages, 9);
    assert_true(holds_check(&h));
    holds_done(&h);
}

static void the_requests_of_a_worker_are_those_of_current_holds(void **state) {
    (void)state;
    holds h;
    holds_init(&h);
    for (uint64_t req = 1; req <= 3; req++) holds_add(&h, req, 1, 1, 0);
    (void)holds_close(&h, 2);
    uint64_t ids[3] = {0};
    assert_int_equal(holds_requests(&h, ids), 2);
    assert_true(ids[0] + ids[1] == 4);
    assert_true(ids[0] == 1 || ids[0] == 3);
    holds_forget(&h);
    assert_int_equal(h.count, 0);
    assert_int_equal(h.promised, 0);
    assert_null(holds_find(&h, 2, 1));
    assert_true(holds_check(&h));
    holds_done(&h);
}

static void the_sums_hold_after_any_sequence(void **state) {
    (void)state;
    holds h;
    holds_init(&h);
    uint32_t attempt[9] = {0};
    uint64_t x = 3;
    uint32_t most = 0;
    for (uint32_t step = 0; step < 20000; step++) {
        x = mix64(x + step);
        uint64_t req = 1 + x % 8;
        hold *current = holds_current(&h, req);
        switch (x >> 60 & 3) {
        case 0:
            if (!current)
                holds_add(&h, req, ++attempt[req], 1 + (uint32_t)(x >> 20) % 9, (uint32_t)(x >> 30) % 3);
            break;
        case 1:
            if (current && (x & 1u << 19)) holds_answered(&h, current);
            if (current && (x & 1u << 18)) holds_computed(&h, current);
            break;
        case 2:
            if (current) assert_int_equal(holds_close(&h, req), attempt[req]);
            break;
        default: {
            uint32_t upto = attempt[req] > 2 ? attempt[req] - (uint32_t)(x >> 40) % 3 : attempt[req];
            holds_closed(&h, req, upto);
            assert_null(holds_find(&h, req, upto));
        }
        }
        assert_true(holds_check(&h));
        if (h.count > most) most = h.count;
    }
    assert_true(most > 8); /* some requests had more than one */
    holds_done(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hold_is_a_promise_until_the_worker_answered),
        cmocka_unit_test(a_closing_hold_is_found_by_its_attempts_and_is_not_current),
        cmocka_unit_test(the_requests_of_a_worker_are_those_of_current_holds),
        cmocka_unit_test(the_sums_hold_after_any_sequence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
