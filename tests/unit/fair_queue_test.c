/* Whose turn it is among many clients, to the token. */
#include "coordinator/fair_queue.h"

#include "base/mem.h"
#include "base/mix.h"
#include "tests/test.h"

#include <stdlib.h>

#define ITEMS 4096u
#define A     1u
#define B     2u
#define C     3u

typedef struct line {
    fair_queue q;
    fair_item items[ITEMS];
    uint32_t came; /* its items are numbered from 0 in the order of coming */
} line;

static line *line_new(void) {
    line *l = xcalloc(1, sizeof *l);
    fair_queue_init(&l->q);
    return l;
}

static void line_free(line *l) {
    assert_true(fair_queue_check(&l->q));
    fair_queue_done(&l->q);
    free(l);
}

static uint64_t key_of(int32_t priority, uint64_t number) {
    return (uint64_t)(priority - INT16_MIN) << FAIR_ORDER_BITS | number;
}

static uint32_t put_at(line *l, uint64_t client, uint32_t cost, int32_t priority) {
    uint32_t n = l->came++;
    fair_queue_put(&l->q, &l->items[n], client, key_of(priority, n), cost);
    assert_true(fair_queue_check(&l->q));
    return n;
}

static uint32_t put(line *l, uint64_t client, uint32_t cost) {
    return put_at(l, client, cost, 5);
}

static uint32_t number_of(const line *l, const fair_item *i) {
    return (uint32_t)(i - l->items);
}

static uint32_t serve(line *l) {
    fair_item *i = fair_queue_first(&l->q);
    assert_non_null(i);
    fair_queue_take(&l->q, i, true);
    assert_true(fair_queue_check(&l->q));
    return number_of(l, i);
}

static uint64_t ahead_of(const line *l, uint64_t client, uint64_t key, uint32_t cost) {
    return fair_queue_ahead(&l->q, fair_queue_client(&l->q, client), key, cost);
}

static void assert_served(line *l, const uint32_t *want, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) assert_int_equal(serve(l), want[i]);
}
#define SERVED(l, ...)                                                                                       \
    assert_served(l, (const uint32_t[]){__VA_ARGS__}, ARRAY_LEN(((const uint32_t[]){__VA_ARGS__})))

static void one_client_is_served_in_the_order_it_came(void **state) {
    (void)state;
    line *l = line_new();
    assert_null(fair_queue_first(&l->q));
    for (uint32_t i = 0; i < 4; i++) put(l, A, 100 - i);
    assert_int_equal(l->q.cost, 100 + 99 + 98 + 97);
    SERVED(l, 0, 1, 2, 3);
    assert_null(fair_queue_first(&l->q));
    line_free(l);
}

static void equal_requests_of_two_clients_take_turns(void **state) {
    (void)state;
    line *l = line_new();
    for (uint32_t i = 0; i < 4; i++) put(l, A, 10);
    for (uint32_t i = 0; i < 3; i++) put(l, B, 10); /* 4, 5, 6 */
    SERVED(l, 0, 4, 1, 5, 2, 6, 3);
    line_free(l);
}

static void turns_are_by_tokens_and_not_by_requests(void **state) {
    (void)state;
    line *l = line_new();
    for (uint32_t i = 0; i < 3; i++) put(l, A, 90);
    for (uint32_t i = 0; i < 7; i++) put(l, B, 30); /* 3 ... 9 */
    /* A 90; B 30, 60, 90, equal now, and A's came first; A 180; B 120, 150, 180; A 270; B 210 */
    SERVED(l, 0, 3, 4, 5, 1, 6, 7, 8, 2, 9);
    line_free(l);
}

static void a_newcomer_waits_for_one_request_of_a_flood(void **state) {
    (void)state;
    line *l = line_new();
    for (uint32_t i = 0; i < 1000; i++) put(l, A, 50);
    for (uint32_t i = 0; i < 500; i++) assert_int_equal(serve(l), i);
    uint32_t n = put(l, B, 50);
    assert_int_equal(ahead_of(l, B, key_of(5, l->came), 50), 50 + 50 + 50); /* its own, A's turn for each */
    SERVED(l, 500, n, 501);
    line_free(l);
}

static void nobody_saves_up_turns_and_a_pause_sheds_nothing(void **state) {
    (void)state;
    line *l = line_new();
    for (uint32_t i = 0; i < 20; i++) put(l, A, 10);
    uint32_t big = put(l, B, 100);
    SERVED(l, 0, big); /* B's line is empty and it was served 100, A 10 */
    uint32_t again = put(l, B, 10);
    SERVED(l, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
           again); /* A has been served 100, too, and its tenth came earlier */
    /* C never asked for anything, and starts at the level of the others, not at 0. */
    uint32_t first = put(l, C, 10), second = put(l, C, 10);
    SERVED(l, 11, first, 12, second);
    line_free(l);
}

static void priority_goes_before_fairness_and_age_is_last(void **state) {
    (void)state;
    line *l = line_new();
    put_at(l, A, 10, 5);
    put_at(l, B, 500, 5);
    put_at(l, B, 10, 4); /* overtakes its own, too */
    put_at(l, A, 10, 6);
    put_at(l, B, 10, 4);
    SERVED(l, 2, 4, 0, 1, 3);
    line_free(l);
}

static void who_claims_to_be_urgent_overtakes_nobody_else(void **state) {
    (void)state;
    line *l = line_new();
    put_at(l, A, 100, 0);
    for (uint32_t i = 0; i < 4; i++) put_at(l, A, 100, INT16_MIN); /* 1 to 4: before its own */
    put_at(l, B, 100, 0);                                          /* 5 */
    put_at(l, B, 100, -1);
    put_at(l, C, 100, 1);
    assert_int_equal(ahead_of(l, B, key_of(INT16_MIN, 99), 100), 100);
    assert_int_equal(ahead_of(l, C, key_of(-1, 99), 100), 100 + 100);
    SERVED(l, 1, 6, 2, 5, 3, 4, 0, 7);
    line_free(l);
}

static void what_leaves_without_its_turn_costs_nothing(void **state) {
    (void)state;
    line *l = line_new();
    for (uint32_t i = 0; i < 3; i++) put(l, A, 100);
    for (uint32_t i = 0; i < 3; i++) put(l, B, 100); /* 3, 4, 5 */
    fair_queue_take(&l->q, &l->items[0], false);
    fair_queue_take(&l->q, &l->items[1], false);
    assert_true(fair_queue_check(&l->q));
    assert_int_equal(l->q.cost, 400);
    SERVED(l, 2, 3, 4, 5);
    line_free(l);
}

static void what_is_hidden_counts_and_comes_back_to_its_place(void **state) {
    (void)state;
    line *l = line_new();
    for (uint32_t i = 0; i < 3; i++) put(l, A, 10);
    fair_queue_hide(&l->q, &l->items[0]);
    assert_int_equal(number_of(l, fair_queue_first(&l->q)), 1);
    assert_int_equal(fair_queue_client(&l->q, A)->count, 3);
    assert_int_equal(fair_queue_client(&l->q, A)->cost, 30);
    fair_queue_hide(&l->q, &l->items[1]);
    fair_queue_hide(&l->q, &l->items[2]);
    assert_null(fair_queue_first(&l->q));
    assert_true(fair_queue_check(&l->q));
    fair_queue_take(&l->q, &l->items[1], false);
    fair_queue_show(&l->q, &l->items[2], key_of(5, 2));
    fair_queue_show(&l->q, &l->items[0], key_of(5, 0));
    assert_true(fair_queue_check(&l->q));
    SERVED(l, 0, 2);
    assert_null(fair_queue_client(&l->q, A));
    line_free(l);
}

static void what_is_ahead_is_the_turns_of_the_others_until_then(void **state) {
    (void)state;
    line *l = line_new();
    assert_int_equal(ahead_of(l, A, key_of(5, 0), 70), 0);
    for (uint32_t i = 0; i < 10; i++) put(l, A, 100);
    for (uint32_t i = 0; i < 2; i++) put(l, B, 20);
    assert_int_equal(ahead_of(l, A, key_of(5, 99), 100), 1000 + 40); /* all of A, all of B */
    assert_int_equal(ahead_of(l, B, key_of(5, 99), 100), 40 + 140);
    assert_int_equal(ahead_of(l, C, key_of(5, 99), 30), 30 + 30);
    assert_int_equal(ahead_of(l, C, key_of(4, 99), 30), 0); /* nobody else is as urgent */
    assert_int_equal(ahead_of(l, A, key_of(4, 99), 30), 0);
    assert_int_equal(ahead_of(l, C, key_of(6, 99), 1), 1 + 1);
    line_free(l);
}

static void clients_are_forgotten_when_nobody_waits_and_are_bounded_before(void **state) {
    (void)state;
    line *l = line_new();
    put(l, A, 1000000);
    for (uint32_t i = 0; i < 3000; i++) { /* each comes once */
        uint32_t n = put(l, 100 + i, 10);
        if (i == 0) assert_int_equal(serve(l), 0);
        if (i == 0) put(l, A, 1000000);
        assert_int_equal(serve(l), n);
        assert_true(l->q.resting.count <= FAIR_RESTING_MAX);
    }
    assert_int_equal(serve(l), 2);
    assert_int_equal(l->q.clients.count, 0);
    assert_int_equal(l->q.level, 0);
    line_free(l);
}

static void clients_that_come_for_the_first_time_do_not_starve_a_large_one(void **state) {
    (void)state;
    line *l = line_new();
    put(l, A, 100);
    put(l, A, 100); /* behind the first it has been served 100 */
    uint32_t other = put(l, B, 100), served_before = 0;
    assert_int_equal(serve(l), 0); /* of two, so the level is 50 */
    fair_queue_take(&l->q, &l->items[other], false);
    for (uint64_t client = 10;; client++) { /* one waits always, and nobody comes twice */
        put(l, client, 10);
        if (serve(l) == 1) break;
        served_before++;
    }
    assert_int_equal(served_before, 10); /* the level rises by 5 for each 10 */
    line_free(l);
}

/* What clients that wait all the time were served differs by the largest request at most, at any time. */
static void clients_that_wait_all_the_time_differ_by_one_request(void **state) {
    (void)state;
    enum { CLIENTS = 5, LARGEST = 200 };
    line *l = line_new();
    uint64_t rng = 7, served[CLIENTS] = {0};
    for (uint32_t i = 0; i < ITEMS; i++) {
        uint64_t client = i % CLIENTS;
        if (i >= 2 * CLIENTS) { /* whoever is served asks again */
            const fair_item *first = fair_queue_first(&l->q);
            client = first->client->id;
            served[client] += first->cost;
            serve(l);
        }
        rng = mix64(rng + MIX64_STEP);
        put(l, client, 1 + (uint32_t)(rng % (client ? 20 : LARGEST)));
        uint64_t least = UINT64_MAX, most = 0;
        for (uint32_t c = 0; c < CLIENTS; c++) {
            least = MIN(least, served[c]);
            most = MAX(most, served[c]);
        }
        assert_true(most - least <= LARGEST);
    }
    assert_true(served[0] > 1000);
    line_free(l);
}

/* Random life, with checks after each event: nothing is lost, nothing served twice. */
static void whatever_happens_each_is_served_once(void **state) {
    (void)state;
    line *l = line_new();
    uint64_t rng = 3;
    bool gone[ITEMS] = {0}, hidden[ITEMS] = {0};
    uint32_t out = 0;
    while (l->came < ITEMS || fair_queue_first(&l->q)) {
        rng = mix64(rng + MIX64_STEP);
        uint32_t what = (uint32_t)(rng % 8), any = (uint32_t)((rng >> 8) % MAX(l->came, 1u));
        if (what < 4 && l->came < ITEMS) {
            put_at(l, (rng >> 16) % 7, 1 + (uint32_t)((rng >> 24) % 50), 5 + (uint32_t)((rng >> 32) % 2));
        } else if (what == 4 && l->came && !gone[any] && !hidden[any]) {
            fair_queue_hide(&l->q, &l->items[any]);
            hidden[any] = true;
        } else if (what == 5 && l->came && !gone[any]) {
            fair_queue_take(&l->q, &l->items[any], false);
            gone[any] = true;
            out++;
        } else if (fair_queue_first(&l->q)) {
            uint32_t n = serve(l);
            assert_false(gone[n] || hidden[n]);
            gone[n] = true;
            out++;
        }
        if (rng % 3 == 0) assert_true(fair_queue_check(&l->q));
    }
    for (uint32_t i = 0; i < ITEMS; i++) {
        if (gone[i]) continue;
        assert_true(hidden[i]);
        fair_queue_take(&l->q, &l->items[i], false);
        out++;
    }
    assert_int_equal(out, ITEMS);
    assert_int_equal(l->q.clients.count, 0);
    line_free(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_client_is_served_in_the_order_it_came),
        cmocka_unit_test(equal_requests_of_two_clients_take_turns),
        cmocka_unit_test(turns_are_by_tokens_and_not_by_requests),
        cmocka_unit_test(a_newcomer_waits_for_one_request_of_a_flood),
        cmocka_unit_test(nobody_saves_up_turns_and_a_pause_sheds_nothing),
        cmocka_unit_test(priority_goes_before_fairness_and_age_is_last),
        cmocka_unit_test(who_claims_to_be_urgent_overtakes_nobody_else),
        cmocka_unit_test(what_leaves_without_its_turn_costs_nothing),
        cmocka_unit_test(what_is_hidden_counts_and_comes_back_to_its_place),
        cmocka_unit_test(what_is_ahead_is_the_turns_of_the_others_until_then),
        cmocka_unit_test(clients_are_forgotten_when_nobody_waits_and_are_bounded_before),
        cmocka_unit_test(clients_that_come_for_the_first_time_do_not_starve_a_large_one),
        cmocka_unit_test(clients_that_wait_all_the_time_differ_by_one_request),
        cmocka_unit_test(whatever_happens_each_is_served_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
