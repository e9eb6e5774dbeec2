#include "tests/test.h"

#include "kv/kv_layout.h"
#include "kv/prefix_cache.h"

#include "base/mem.h"
#include "base/mix.h"

#include <stdlib.h>
#include <string.h>

#define ROWS 256u

typedef struct world {
    kv_pool *pool;
    prefix_cache *cache;
} world;

static world start(uint32_t page_count) {
    world w = {0};
    assert_int_equal(kv_pool_new(&w.pool, page_count, NULL), ST_OK);
    w.cache = prefix_cache_new(w.pool);
    assert_true(prefix_cache_check(w.cache));
    return w;
}

static void finish(world *w) {
    assert_true(prefix_cache_check(w->cache));
    prefix_cache_free(w->cache);
    kv_pool_free(w->pool);
}

/* ids 100, 101, ...; from page `fork` on other ones, different for each `kind`. */
static const int32_t *ids_of(uint32_t fork, int32_t kind) {
    static int32_t of_kind[64][ROWS];
    int32_t *ids = of_kind[kind];
    for (uint32_t i = 0; i < ROWS; i++)
        ids[i] = (int32_t)(100 + i) + (i / KV_PAGE_TOKENS >= fork ? 1000 * kind : 0);
    return ids;
}

static prefix prefix_of(uint32_t pages, uint32_t fork, int32_t kind) {
    return (prefix){.ids = ids_of(fork, kind), .page_count = pages};
}

/* A sequence that has looked, taken what is missing and computed it: keeps all. */
static uint32_t compute(world *w, const prefix *p, uint32_t *pages) {
    uint32_t idle, hit = prefix_cache_find(w->cache, p, pages, &idle);
    prefix_cache_share(w->cache, pages, hit);
    assert_int_equal(prefix_cache_take(w->cache, p->page_count - hit, pages + hit), ST_OK);
    assert_int_equal(prefix_cache_keep(w->cache, p, hit, pages), p->page_count);
    assert_true(prefix_cache_check(w->cache));
    return hit;
}

static uint32_t found(const world *w, const prefix *p) {
    uint32_t pages[16], idle;
    return prefix_cache_find(w->cache, p, pages, &idle);
}

static void pages_are_found_as_far_as_their_ids_are_the_same(void **state) {
    (void)state;
    world w = start(32);
    uint32_t a[4], b[6], got[6], idle;
    prefix p = prefix_of(4, 16, 0);
    assert_int_equal(compute(&w, &p, a), 0);
    p = prefix_of(6, 2, 1);
    assert_int_equal(compute(&w, &p, b), 2);
    assert_memory_equal(a, b, 2 * sizeof *a);
    assert_int_equal(prefix_cache_users(w.cache, a[0]), 2);
    assert_int_equal(prefix_cache_users(w.cache, a[2]), 1);
    assert_int_equal(prefix_cache_find(w.cache, &p, got, &idle), 6);
    assert_memory_equal(got, b, sizeof got);
    assert_int_equal(idle, 0);
    p = prefix_of(6, 3, 1);
    assert_int_equal(found(&w, &p), 3);
    p.page_count = 2;
    assert_int_equal(found(&w, &p), 2);
    p.page_count = 0;
    assert_int_equal(found(&w, &p), 0);
    finish(&w);
}

/* The second page of one prompt is no second page of another, though its ids are the same. */
static void a_page_is_found_behind_its_own_parent_only(void **state) {
    (void)state;
    world w = start(32);
    uint32_t pages[3];
    int32_t ids[48], other[48];
    for (uint32_t i = 0; i < 48; i++) other[i] = ids[i] = (int32_t)i;
    other[7] = 99;
    prefix p = {.ids = ids, .page_count = 3};
    compute(&w, &p, pages);
    prefix q = {.ids = other, .page_count = 3};
    assert_int_equal(found(&w, &q), 0);
    q.ids = ids + 16; /* nor is it a first one */
    q.page_count = 2;
    assert_int_equal(found(&w, &q), 0);
    finish(&w);
}

static void salts_are_apart_and_each_half_of_one_counts(void **state) {
    (void)state;
    world w = start(32);
    uint32_t pages[2];
    prefix p = prefix_of(2, 16, 0);
    p.salt[0] = 1;
    compute(&w, &p, pages);
    assert_int_equal(found(&w, &p), 2);
    p.salt[1] = 1;
    assert_int_equal(found(&w, &p), 0);
    p.salt[0] = p.salt[1] = 0;
    assert_int_equal(found(&w, &p), 0);
    p.salt[1] = 1;
    assert_int_equal(compute(&w, &p, pages), 0);
    finish(&w);
}

/* So few buckets that most of these have the bucket of what is kept, if not its hash. */
static void what_has_the_same_bucket_is_still_another_page(void **state) {
    (void)state;
    world w = start(4);
    uint32_t pages[2];
    int32_t ids[32] = {0};
    prefix p = {.ids = ids, .page_count = 2};
    compute(&w, &p, pages);
    for (int32_t other = 1; other <= 200; other++) {
        p.salt[other % 2] = (uint64_t)other;
        assert_int_equal(found(&w, &p), 0);
        p.salt[other % 2] = 0;
        ids[other % 16] = other;
        assert_int_equal(found(&w, &p), 0);
        ids[other % 16] = 0;
        ids[16 + other % 16] = other;
        assert_int_equal(found(&w, &p), 1);
        ids[16 + other % 16] = 0;
    }
    assert_int_equal(found(&w, &p), 2);
    finish(&w);
}

static void what_nobody_uses_is_free_and_given_up_last_page_first(void **state) {
    (void)state;
    world w = start(8);
    uint32_t a[4], b[3], taken[8];
    prefix pa = prefix_of(4, 16, 0), pb = {.ids = ids_of(0, 7), .page_count = 3};
    compute(&w, &pa, a);
    compute(&w, &pb, b);
    assert_int_equal(prefix_cache_available(w.cache), 1);
    prefix_cache_put(w.cache, a, 4);
    prefix_cache_put(w.cache, b, 3);
    assert_true(prefix_cache_check(w.cache));
    assert_int_equal(prefix_cache_available(w.cache), 8);
    assert_int_equal(prefix_cache_idle(w.cache), 7);
    assert_int_equal(prefix_cache_take(w.cache, 9, taken), ST_NOMEM);
    assert_int_equal(prefix_cache_evictions(w.cache), 0);
    assert_int_equal(prefix_cache_take(w.cache, 3, taken), ST_OK); /* one is free, two are of a */
    assert_int_equal(prefix_cache_evictions(w.cache), 2);
    assert_int_equal(taken[0] + taken[1] + taken[2], a[2] + a[3] + 7);
    assert_int_equal(found(&w, &pa), 2);
    assert_int_equal(prefix_cache_take(w.cache, 3, taken + 3), ST_OK); /* the rest of a, then of b */
    assert_int_equal(found(&w, &pa), 0);
    assert_int_equal(found(&w, &pb), 2);
    assert_true(prefix_cache_check(w.cache));
    prefix_cache_put(w.cache, taken, 6);
    assert_int_equal(prefix_cache_available(w.cache), 8);
    finish(&w);
}

static void what_was_used_again_outlives_what_was_not(void **state) {
    (void)state;
    world w = start(8);
    uint32_t a[4], b[4], taken[4];
    prefix p = prefix_of(4, 16, 0);
    compute(&w, &p, a);
    prefix_cache_put(w.cache, a, 4);
    p = (prefix){.ids = ids_of(0, 7), .page_count = 4};
    compute(&w, &p, b);
    prefix_cache_put(w.cache, b, 4);
    p = prefix_of(4, 16, 0);
    assert_int_equal(compute(&w, &p, a), 4);
    prefix_cache_put(w.cache, a, 4);
    assert_int_equal(prefix_cache_take(w.cache, 4, taken), ST_OK);
    assert_int_equal(found(&w, &p), 4);
    p = (prefix){.ids = ids_of(0, 7), .page_count = 4};
    assert_int_equal(found(&w, &p), 0);
    finish(&w);
}

static void a_parent_stays_while_a_child_of_it_is_used(void **state) {
    (void)state;
    world w = start(6);
    uint32_t a[3], b[4], taken[2];
    prefix p = prefix_of(3, 16, 0);
    compute(&w, &p, a);
    p = prefix_of(4, 2, 1);
    compute(&w, &p, b);
    prefix_cache_put(w.cache, a, 3);
    assert_int_equal(prefix_cache_idle(w.cache), 1);
    assert_int_equal(prefix_cache_take(w.cache, 2, taken), ST_OK);
    assert_int_equal(prefix_cache_available(w.cache), 0);
    assert_true(prefix_cache_check(w.cache));
    assert_int_equal(prefix_cache_take(w.cache, 1, taken), ST_NOMEM);
    assert_true(prefix_cache_keeps(w.cache, a[0]));
    assert_false(prefix_cache_keeps(w.cache, a[2]));
    finish(&w);
}

/* Two have computed the same: the pages of one are kept, and whoever is told by nobody else changes to them.
 */
static void pages_that_were_computed_twice_are_kept_once(void **state) {
    (void)state;
    world w = start(16);
    uint32_t a[4], b[4], c[4];
    prefix p = prefix_of(4, 16, 0), two = prefix_of(2, 16, 0);
    assert_int_equal(prefix_cache_take(w.cache, 4, a), ST_OK);
    assert_int_equal(prefix_cache_take(w.cache, 4, b), ST_OK);
    assert_int_equal(prefix_cache_take(w.cache, 4, c), ST_OK);
    assert_int_equal(prefix_cache_keep(w.cache, &two, 0, a), 2);
    assert_int_equal(prefix_cache_keep(w.cache, &p, 0, b),
                     0); /* nor what lies behind: its parent is not b's */
    assert_int_equal(prefix_cache_join(w.cache, &p, 0, c), 2);
    assert_memory_equal(a, c, 2 * sizeof *a);
    assert_int_equal(prefix_cache_keep(w.cache, &p, 2, c), 4);
    assert_int_equal(prefix_cache_keep(w.cache, &p, 2, a), 2);
    assert_int_equal(prefix_cache_available(w.cache), 6);
    assert_true(prefix_cache_check(w.cache));
    prefix_cache_put(w.cache, a, 4);
    prefix_cache_put(w.cache, b, 4);
    assert_int_equal(prefix_cache_available(w.cache), 12);
    assert_int_equal(prefix_cache_idle(w.cache), 0);
    prefix_cache_put(w.cache, c, 4);
    assert_int_equal(prefix_cache_idle(w.cache), 4);
    assert_int_equal(found(&w, &p), 4);
    finish(&w);
}

/* Every page of a full pool in one long chain, many times: the table never grows. */
static void a_pool_full_of_one_prompt_is_given_up_page_by_page(void **state) {
    (void)state;
    world w = start(16);
    uint32_t pages[16];
    for (int32_t kind = 0; kind < 50; kind++) {
        prefix p = {.ids = ids_of(0, kind), .page_count = 16};
        assert_int_equal(compute(&w, &p, pages), 0);
        prefix_cache_put(w.cache, pages, 16);
        assert_int_equal(prefix_cache_idle(w.cache), 16);
    }
    assert_int_equal(prefix_cache_evictions(w.cache), 49 * 16);
    finish(&w);
}

/* Sequences come, grow, find, join and go at random; what is found always has the ids that it should have. */
static void whatever_happens_a_page_has_the_ids_that_it_was_kept_for(void **state) {
    (void)state;
    enum { SEQS = 6, LONGEST = 8, PAGES = 24 };
    typedef struct seq {
        int32_t ids[LONGEST * 16];
        uint32_t pages[LONGEST], count, kept;
        uint64_t salt;
    } seq;
    world w = start(PAGES);
    seq seqs[SEQS] = {0};
    struct {
        int32_t ids[LONGEST * 16];
        uint32_t page;
        uint64_t salt;
    } *wrote = xcalloc(PAGES, sizeof *wrote); /* by page: all ids up to it */
    uint64_t rng = 1, hits = 0;
    for (uint32_t step = 0; step < 20000; step++) {
        uint64_t r = mix64(rng += MIX64_STEP);
        seq *s = &seqs[r % SEQS];
        r >>= 8;
        if (s->count) {
            prefix p = {.salt = {s->salt}, .ids = s->ids, .page_count = s->count};
            if (r % 3 == 0) {
                s->kept = prefix_cache_join(w.cache, &p, s->kept, s->pages);
            } else if (r % 3 == 1) {
                for (uint32_t i = s->kept; i < s->count; i++) {
                    memcpy(wrote[s->pages[i]].ids, s->ids, sizeof s->ids);
                    wrote[s->pages[i]].page = i;
                    wrote[s->pages[i]].salt = s->salt;
                }
                s->kept = prefix_cache_keep(w.cache, &p, s->kept, s->pages);
            } else {
                prefix_cache_put(w.cache, s->pages, s->count);
                s->count = 0;
            }
        } else {
            uint32_t count = 1 + (uint32_t)(r >> 4) % LONGEST, idle;
            for (uint32_t i = 0; i < count * 16; i++)
                s->ids[i] = (int32_t)(i / 16 * ((r >> 20 >> i / 16) & 1));
            s->salt = r >> 50 & 1;
            prefix p = {.salt = {s->salt}, .ids = s->ids, .page_count = count};
            uint32_t hit = prefix_cache_find(w.cache, &p, s->pages, &idle);
            if (count - hit + idle > prefix_cache_available(w.cache)) continue;
            prefix_cache_share(w.cache, s->pages, hit);
            assert_int_equal(prefix_cache_take(w.cache, count - hit, s->pages + hit), ST_OK);
            s->count = count;
            s->kept = hit;
            hits += hit;
        }
        for (uint32_t i = 0; i < s->kept && s->count; i++) {
            assert_int_equal(wrote[s->pages[i]].page, i);
            assert_int_equal(wrote[s->pages[i]].salt, s->salt);
            assert_memory_equal(wrote[s->pages[i]].ids, s->ids, (i + 1) * 16 * sizeof *s->ids);
        }
        if (step % 16 == 0) assert_true(prefix_cache_check(w.cache));
    }
    assert_true(hits > 2000);
    assert_true(prefix_cache_evictions(w.cache) > 2000);
    for (uint32_t i = 0; i < SEQS; i++) prefix_cache_put(w.cache, seqs[i].pages, seqs[i].count);
    assert_int_equal(prefix_cache_available(w.cache), PAGES);
    free(wrote);
    finish(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_found_as_far_as_their_ids_are_the_same),
        cmocka_unit_test(a_page_is_found_behind_its_own_parent_only),
        cmocka_unit_test(salts_are_apart_and_each_half_of_one_counts),
        cmocka_unit_test(what_has_the_same_bucket_is_still_another_page),
        cmocka_unit_test(what_nobody_uses_is_free_and_given_up_last_page_first),
        cmocka_unit_test(what_was_used_again_outlives_what_was_not),
        cmocka_unit_test(a_parent_stays_while_a_child_of_it_is_used),
        cmocka_unit_test(pages_that_were_computed_twice_are_kept_once),
        cmocka_unit_test(a_pool_full_of_one_prompt_is_given_up_page_by_page),
        cmocka_unit_test(whatever_happens_a_page_has_the_ids_that_it_was_kept_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
