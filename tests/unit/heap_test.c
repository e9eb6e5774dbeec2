/* The heap against a list that is searched: the same smallest key after any sequence of changes. */
#include "base/heap.h"

#include "base/mix.h"
#include "tests/test.h"

#define NODES 200u

static void an_empty_heap_has_no_first(void **state) {
    (void)state;
    heap h;
    heap_init(&h, 0);
    assert_null(heap_first(&h));
    assert_true(heap_check(&h));
    heap_done(&h);
}

static void keys_come_out_in_their_order(void **state) {
    (void)state;
    static const uint64_t keys[] = {7, 3, UINT64_MAX, 9, 0, 5};
    static const uint64_t sorted[] = {0, 3, 5, 7, 9, UINT64_MAX};
    heap_node n[6] = {0};
    heap h;
    heap_init(&h, 2); /* and it grows */
    for (uint32_t i = 0; i < 6; i++) heap_put(&h, &n[i], keys[i]);
    for (uint32_t i = 0; i < 6; i++) {
        heap_node *first = heap_first(&h);
        assert_true(first->key == sorted[i]);
        heap_take(&h, first);
        assert_false(heap_has(first));
    }
    assert_int_equal(h.count, 0);
    heap_done(&h);
}

static void a_moved_node_stands_where_its_key_belongs(void **state) {
    (void)state;
    heap_node n[3] = {0};
    heap h;
    heap_init(&h, 3);
    for (uint32_t i = 0; i < 3; i++) heap_put(&h, &n[i], 10 * (i + 1));
    heap_move(&h, &n[2], 5);
    assert_ptr_equal(heap_first(&h), &n[2]);
    heap_move(&h, &n[2], 25);
    assert_ptr_equal(heap_first(&h), &n[0]);
    heap_move(&h, &n[0], 99);
    assert_ptr_equal(heap_first(&h), &n[1]);
    assert_true(heap_check(&h));
    heap_done(&h);
}

/* The smallest key of those that are in, by looking at all. */
static const heap_node *naive_first(const heap_node *n, const bool *in) {
    const heap_node *best = NULL;
    for (uint32_t i = 0; i < NODES; i++)
        if (in[i] && (!best || n[i].key < best->key)) best = &n[i];
    return best;
}

static void any_sequence_agrees_with_a_list_that_is_searched(void **state) {
    (void)state;
    static heap_node n[NODES];
    static bool in[NODES];
    heap h;
    heap_init(&h, 1);
    uint64_t x = 1;
    uint32_t puts = 0, moves = 0, takes = 0;
    for (uint32_t step = 0; step < 20000; step++) {
        x = mix64(x + step);
        uint32_t i = (uint32_t)(x % NODES);
        uint64_t key = (x >> 16) % 1000; /* many are equal */
        if (!in[i]) {
            heap_put(&h, &n[i], key);
            in[i] = true;
            puts++;
        } else if (x >> 60 < 9) {
            heap_move(&h, &n[i], key);
            moves++;
        } else {
            heap_take(&h, &n[i]);
            in[i] = false;
            takes++;
        }
        assert_true(heap_check(&h));
        assert_int_equal(heap_has(&n[i]), in[i]);
        const heap_node *want = naive_first(n, in);
        const heap_node *got = heap_first(&h);
        assert_int_equal(got != NULL, want != NULL);
        if (got) assert_true(got->key == want->key);
        assert_int_equal(h.count, puts - takes);
    }
    assert_true(puts > 1000);
    assert_true(moves > 1000);
    assert_true(takes > 1000);
    heap_done(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_heap_has_no_first),
        cmocka_unit_test(keys_come_out_in_their_order),
        cmocka_unit_test(a_moved_node_stands_where_its_key_belongs),
        cmocka_unit_test(any_sequence_agrees_with_a_list_that_is_searched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
