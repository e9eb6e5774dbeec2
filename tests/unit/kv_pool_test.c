#include "tests/test.h"

#include "kv/kv_pool.h"

#include <stdlib.h>

static kv_pool *pool_of(uint32_t page_count) {
    kv_pool *p = NULL;
    assert_int_equal(kv_pool_new(&p, page_count, NULL), ST_OK);
    assert_true(kv_pool_check(p));
    return p;
}

static void take_is_all_or_nothing(void **state) {
    (void)state;
    uint32_t pages[5];
    kv_pool *p = pool_of(4);
    assert_int_equal(kv_pool_take(p, 5, pages), ST_NOMEM);
    assert_int_equal(kv_pool_available(p), 4);
    assert_int_equal(kv_pool_take(p, 4, pages), ST_OK);
    assert_int_equal(kv_pool_available(p), 0);
    assert_int_equal(kv_pool_used(p), 4);
    assert_int_equal(kv_pool_take(p, 1, pages), ST_NOMEM);
    assert_int_equal(kv_pool_take(p, 0, NULL), ST_OK);
    assert_true(kv_pool_check(p));
    kv_pool_free(p);
}

static void taken_pages_are_distinct_and_in_range(void **state) {
    (void)state;
    uint32_t pages[7];
    unsigned seen = 0;
    kv_pool *p = pool_of(7);
    assert_int_equal(kv_pool_take(p, 3, pages), ST_OK);
    assert_int_equal(kv_pool_take(p, 4, pages + 3), ST_OK);
    for (int i = 0; i < 7; i++) {
        assert_true(pages[i] < 7);
        seen |= 1u << pages[i];
        assert_int_equal(kv_pool_refs(p, pages[i]), 1);
    }
    assert_int_equal(seen, 0x7f);
    kv_pool_free(p);
}

static void a_fresh_pool_hands_out_pages_in_order(void **state) {
    (void)state;
    uint32_t pages[3];
    kv_pool *p = pool_of(3);
    assert_int_equal(kv_pool_take(p, 3, pages), ST_OK);
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(pages[i], i);
    kv_pool_free(p);
}

static void a_page_given_back_is_taken_next(void **state) {
    (void)state;
    uint32_t pages[4], again;
    kv_pool *p = pool_of(8);
    assert_int_equal(kv_pool_take(p, 4, pages), ST_OK);
    kv_pool_put(p, &pages[1], 1);
    assert_int_equal(kv_pool_take(p, 1, &again), ST_OK);
    assert_int_equal(again, pages[1]);
    kv_pool_free(p);
}

static void a_shared_page_is_free_after_the_last_put(void **state) {
    (void)state;
    uint32_t page;
    kv_pool *p = pool_of(2);
    assert_int_equal(kv_pool_take(p, 1, &page), ST_OK);
    kv_pool_share(p, &page, 1);
    kv_pool_share(p, &page, 1);
    assert_int_equal(kv_pool_refs(p, page), 3);
    kv_pool_put(p, &page, 1);
    kv_pool_put(p, &page, 1);
    assert_int_equal(kv_pool_available(p), 1);
    assert_true(kv_pool_check(p));
    kv_pool_put(p, &page, 1);
    assert_int_equal(kv_pool_refs(p, page), 0);
    assert_int_equal(kv_pool_available(p), 2);
    assert_true(kv_pool_check(p));
    kv_pool_free(p);
}

static void a_pool_of_no_pages_or_too_many_is_refused(void **state) {
    (void)state;
    kv_pool *p = NULL;
    errbuf eb = {0};
    assert_int_equal(kv_pool_new(&p, 0, &eb), ST_INVALID);
    assert_string_equal(eb.text, "kv pool: 0 pages, want 1..67108864");
    assert_int_equal(kv_pool_new(&p, KV_POOL_PAGES_MAX + 1, &eb), ST_INVALID);
    assert_null(p);
    kv_pool_free(NULL);
}

/* Against a model that only counts: 20,000 random takes, shares and puts. */
static void free_and_used_add_up_after_any_order_of_calls(void **state) {
    (void)state;
    enum { PAGES = 37 };
    uint32_t refs[PAGES] = {0};
    uint64_t rng = 12345;
    kv_pool *p = pool_of(PAGES);
    for (int step = 0; step < 20000; step++) {
        rng = rng * 6364136223846793005ull + 1442695040888963407ull;
        uint32_t page = (uint32_t)(rng >> 33) % PAGES;
        uint32_t used = 0;
        for (int i = 0; i < PAGES; i++) used += refs[i] > 0;
        if (rng >> 62 == 0) {
            uint32_t taken[3];
            status want = PAGES - used >= 3 ? ST_OK : ST_NOMEM;
            assert_int_equal(kv_pool_take(p, 3, taken), want);
            for (int i = 0; want == ST_OK && i < 3; i++) {
                assert_int_equal(refs[taken[i]], 0);
                refs[taken[i]] = 1;
            }
        } else if (refs[page] && rng >> 62 == 1) {
            kv_pool_share(p, &page, 1);
            refs[page]++;
        } else if (refs[page]) {
            kv_pool_put(p, &page, 1);
            refs[page]--;
        }
        if (step % 64 == 0) assert_true(kv_pool_check(p));
        assert_int_equal(kv_pool_refs(p, page), refs[page]);
    }
    assert_int_equal(kv_pool_available(p) + kv_pool_used(p), PAGES);
    kv_pool_free(p);
}

static void headroom_is_a_page_per_running_sequence_or_two_percent_rounded_up(void **state) {
    (void)state;
    const struct {
        uint32_t page_count, running, want;
    } cases[] = {
        {0, 0, 0},
        {1, 0, 1},
        {49, 0, 1},
        {50, 0, 1},
        {51, 0, 2},
        {100, 2, 2},
        {100, 3, 3},
        {101, 2, 3},
        {1000, 20, 20},
        {1000, 21, 21},
        {1000, 0, 20},
        {1001, 0, 21},
        {49, 2, 2},
        {KV_POOL_PAGES_MAX, 0, 1342178},
        {UINT32_MAX, 0, 85899346},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(kv_pool_headroom(cases[i].page_count, cases[i].running), cases[i].want);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(take_is_all_or_nothing),
        cmocka_unit_test(taken_pages_are_distinct_and_in_range),
        cmocka_unit_test(a_fresh_pool_hands_out_pages_in_order),
        cmocka_unit_test(a_page_given_back_is_taken_next),
        cmocka_unit_test(a_shared_page_is_free_after_the_last_put),
        cmocka_unit_test(a_pool_of_no_pages_or_too_many_is_refused),
        cmocka_unit_test(free_and_used_add_up_after_any_order_of_calls),
        cmocka_unit_test(headroom_is_a_page_per_running_sequence_or_two_percent_rounded_up),
    };
    return cmocka_run_group_tests_name("kv_pool", tests, NULL, NULL);
}
