/* The hints alone: chains in, who holds how much out. */
#include "coordinator/prefix_hints.h"

#include "base/mem.h"
#include "tests/test.h"

#define PAGES 40u

/* Chains are made here of their number: those of one `family` are alike in their first pages. */
static const uint64_t *chain(uint64_t family, uint64_t branch, uint32_t alike) {
    static uint64_t keys[4][PAGES];
    static uint32_t turn;
    uint64_t *k = keys[turn++ % 4];
    for (uint32_t i = 0; i < PAGES; i++)
        k[i] = (family << 32 | (i < alike ? 0 : branch) << 16 | i) * 0x9e3779b97f4a7c15ull;
    return k;
}

static uint32_t holds(prefix_hints *h, const prefix_holder *w, const uint64_t *keys, uint32_t pages) {
    prefix_found f = prefix_hints_find(h, keys, pages);
    assert_true(prefix_hints_check(h));
    return prefix_found_pages(&f, w);
}

static void a_prefix_is_found_as_deep_as_it_was_given(void **state) {
    (void)state;
    prefix_hints h;
    prefix_holder a, b, c;
    prefix_hints_init(&h, 1000);
    prefix_hints_join(&h, &a, 100);
    prefix_hints_join(&h, &b, 100);
    prefix_hints_join(&h, &c, 100);
    prefix_found none = prefix_hints_find(&h, chain(1, 1, 5), 20);
    assert_int_equal(none.most, 0);
    assert_int_equal(prefix_found_pages(&none, &a), 0);
    prefix_hints_add(&h, &a, chain(1, 1, 5), 20);
    prefix_hints_add(&h, &b, chain(1, 2, 5), 12);
    prefix_found f = prefix_hints_find(&h, chain(1, 1, 5), 18);
    assert_int_equal(f.most, 18);
    assert_int_equal(prefix_found_pages(&f, &a), 18);
    assert_int_equal(prefix_found_pages(&f, &b), 5);
    assert_int_equal(prefix_found_pages(&f, &c), 0);
    f = prefix_hints_find(&h, chain(1, 3, 5), 18); /* a third branch */
    assert_int_equal(f.most, 5);
    assert_int_equal(prefix_found_pages(&f, &a), 5);
    assert_int_equal(prefix_found_pages(&f, &b), 5);
    assert_int_equal(holds(&h, &a, chain(2, 1, 5), 18), 0);
    assert_int_equal(h.count, 32);
    prefix_hints_done(&h);
}

static void what_the_worker_has_lost_is_forgotten_and_its_hints_leave_with_it(void **state) {
    (void)state;
    prefix_hints h;
    prefix_holder a, b;
    prefix_hints_init(&h, 1000);
    prefix_hints_join(&h, &a, 100);
    prefix_hints_join(&h, &b, 100);
    prefix_hints_add(&h, &a, chain(1, 1, 5), 20);
    prefix_hints_add(&h, &b, chain(1, 1, 5), 20);
    prefix_hints_cut(&h, &a, chain(1, 1, 5), 20, 7);
    assert_int_equal(holds(&h, &a, chain(1, 1, 5), 20), 7);
    assert_int_equal(holds(&h, &b, chain(1, 1, 5), 20), 20);
    prefix_hints_leave(&h, &b);
    assert_int_equal(holds(&h, &a, chain(1, 1, 5), 20), 7);
    assert_int_equal(holds(&h, &b, chain(1, 1, 5), 20), 0);
    assert_int_equal(h.count, 7);
    prefix_hints_join(&h, &b, 3);
    assert_int_equal(holds(&h, &b, chain(1, 1, 5), 20), 0);
    prefix_hints_done(&h);
}

static void a_pool_bounds_its_hints_and_ends_of_chains_go_first(void **state) {
    (void)state;
    prefix_hints h;
    prefix_holder a;
    prefix_hints_init(&h, 1000);
    prefix_hints_join(&h, &a, 16);
    prefix_hints_add(&h, &a, chain(1, 1, 5), 10);
    prefix_hints_add(&h, &a, chain(2, 1, 5), 10);
    assert_int_equal(a.count, 16);
    assert_int_equal(holds(&h, &a, chain(1, 1, 5), 10), 6);
    assert_int_equal(holds(&h, &a, chain(2, 1, 5), 10), 10);
    prefix_hints_add(&h, &a, chain(1, 1, 5), 6); /* used again: now the other one is the oldest */
    prefix_hints_add(&h, &a, chain(3, 1, 5), 4);
    assert_int_equal(holds(&h, &a, chain(1, 1, 5), 10), 6);
    assert_int_equal(holds(&h, &a, chain(2, 1, 5), 10), 6);
    assert_int_equal(holds(&h, &a, chain(3, 1, 5), 10), 4);
    prefix_hints_add(&h, &a, chain(4, 1, 5), 30); /* longer than the pool: its first pages */
    assert_int_equal(holds(&h, &a, chain(4, 1, 5), 30), 16);
    assert_int_equal(a.count, 16);
    prefix_hints_done(&h);
}

static void all_workers_together_are_bounded_too(void **state) {
    (void)state;
    prefix_hints h;
    prefix_holder w[3];
    prefix_hints_init(&h, 50);
    for (uint32_t i = 0; i < 3; i++) prefix_hints_join(&h, &w[i], 30);
    for (uint32_t i = 0; i < 3; i++) prefix_hints_add(&h, &w[i], chain(1 + i, 1, 5), 20);
    assert_int_equal(h.count, 50);
    assert_int_equal(holds(&h, &w[0], chain(1, 1, 5), 20), 10); /* whoever added it first has lost its end */
    assert_int_equal(holds(&h, &w[1], chain(2, 1, 5), 20), 20);
    assert_int_equal(holds(&h, &w[2], chain(3, 1, 5), 20), 20);
    prefix_hints_done(&h);
}

static void of_many_holders_those_are_known_that_used_it_last(void **state) {
    (void)state;
    prefix_hints h;
    static prefix_holder w[PREFIX_HOLDERS_MAX + 4];
    prefix_hints_init(&h, 10000);
    for (uint32_t i = 0; i < ARRAY_LEN(w); i++) {
        prefix_hints_join(&h, &w[i], 100);
        prefix_hints_add(&h, &w[i], chain(1, 1, 5), 5);
        assert_true(prefix_hints_check(&h));
    }
    prefix_found f = prefix_hints_find(&h, chain(1, 1, 5), 5);
    for (uint32_t i = 0; i < ARRAY_LEN(w); i++)
        assert_int_equal(prefix_found_pages(&f, &w[i]), i < 4 ? 0 : 5);
    prefix_hints_add(&h, &w[4], chain(1, 1, 5), 5); /* the next to be forgotten otherwise */
    prefix_hints_add(&h, &w[0], chain(1, 7, 5), 9);
    f = prefix_hints_find(&h, chain(1, 7, 5), 9);
    assert_int_equal(f.most, 9);
    assert_int_equal(prefix_found_pages(&f, &w[0]), 9);
    assert_int_equal(prefix_found_pages(&f, &w[4]), 5);
    assert_int_equal(prefix_found_pages(&f, &w[5]), 0);
    prefix_hints_done(&h);
}

/* Against a plain list of who was given what, without evictions. */
static void a_thousand_random_chains_are_found_as_a_plain_search_finds_them(void **state) {
    (void)state;
    enum { WORKERS = 8, CHAINS = 60 };
    prefix_hints h;
    static prefix_holder w[WORKERS];
    static uint32_t given[WORKERS][CHAINS];
    prefix_hints_init(&h, 100000);
    for (uint32_t i = 0; i < WORKERS; i++) prefix_hints_join(&h, &w[i], 5000);
    uint64_t x = 1;
    for (uint32_t round = 0; round < 1000; round++) {
        x = x * 6364136223846793005ull + 1442695040888963407ull;
        uint32_t worker = (uint32_t)(x >> 33) % WORKERS, c = (uint32_t)(x >> 40) % CHAINS;
        uint32_t pages = 1 + (uint32_t)(x >> 50) % PAGES;
        prefix_hints_add(&h, &w[worker], chain(c / 6, c, 3 + c / 6), pages);
        given[worker][c] = MAX(given[worker][c], pages);
        uint32_t asked = (uint32_t)(x >> 20) % CHAINS, want[WORKERS] = {0};
        prefix_found f = prefix_hints_find(&h, chain(asked / 6, asked, 3 + asked / 6), PAGES);
        for (uint32_t i = 0; i < WORKERS; i++) {
            for (uint32_t k = asked / 6 * 6; k < asked / 6 * 6 + 6; k++)
                want[i] = MAX(want[i], k == asked ? given[i][k] : MIN(given[i][k], 3 + asked / 6));
            assert_int_equal(prefix_found_pages(&f, &w[i]), want[i]);
        }
    }
    assert_true(prefix_hints_check(&h));
    prefix_hints_done(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prefix_is_found_as_deep_as_it_was_given),
        cmocka_unit_test(what_the_worker_has_lost_is_forgotten_and_its_hints_leave_with_it),
        cmocka_unit_test(a_pool_bounds_its_hints_and_ends_of_chains_go_first),
        cmocka_unit_test(all_workers_together_are_bounded_too),
        cmocka_unit_test(of_many_holders_those_are_known_that_used_it_last),
        cmocka_unit_test(a_thousand_random_chains_are_found_as_a_plain_search_finds_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
