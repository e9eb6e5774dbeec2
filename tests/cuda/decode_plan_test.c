/* decode_plan_test - splits: which keys, how many, and where a launch may be cut. */
#include "kernels/cuda/decode_plan.h"

#include "base/mem.h"
#include "tests/test.h"

#include <stdlib.h>

static void deterministic_splits_depend_on_the_longest_context_only(void **state) {
    (void)state;
    decode_plan small = decode_plan_make(true, 4096, 132, 8), large = decode_plan_make(true, 131072, 132, 8);
    assert_int_equal(small.split_tokens, 512);
    assert_int_equal(large.split_tokens, 4096);
    assert_int_equal(decode_plan_make(true, 131072, 16, 1).split_tokens, 4096);
    assert_int_equal(decode_plan_split(&small, 1), 512);
    assert_int_equal(decode_plan_split(&small, 1000000), 512);
    /* 100000 / 32 = 3125 keys, in whole tiles. */
    assert_int_equal(decode_plan_make(true, 100000, 132, 8).split_tokens, 3136);
}

static void the_items_of_a_row_cover_its_keys_once(void **state) {
    (void)state;
    const uint32_t keys[] = {1, 63, 64, 65, 511, 512, 513, 4096};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        decode_item items[64];
        uint32_t count = decode_plan_row(7, keys[i], 512, items), at = 0;
        assert_int_equal(count, decode_plan_row_items(keys[i], 512));
        for (uint32_t s = 0; s < count; s++) {
            assert_int_equal(items[s].row, 7);
            assert_int_equal(items[s].begin, at);
            assert_true(items[s].end > at && items[s].end - at <= 512);
            assert_int_equal(items[s].split, s);
            assert_int_equal(items[s].splits, count);
            at = items[s].end;
        }
        assert_int_equal(at, keys[i]);
    }
}

static void one_long_row_is_cut_until_the_device_is_busy_twice_over(void **state) {
    (void)state;
    decode_plan p = decode_plan_make(false, 131072, 132, 8);
    assert_int_equal(p.fill, 33);
    uint32_t split = decode_plan_split(&p, 32768);
    assert_int_equal(split, 1024); /* 32768 / 33 = 993 keys, in whole tiles */
    assert_int_equal(decode_plan_row_items(32768, split), 32);
    /* But no split is so short that merging it costs more than its keys. */
    assert_int_equal(decode_plan_split(&p, 4096), 256);
    assert_int_equal(decode_plan_split(&p, 1), 256);
}

static void many_rows_are_not_cut(void **state) {
    (void)state;
    decode_plan p = decode_plan_make(false, 131072, 132, 8);
    uint32_t split = decode_plan_split(&p, (uint64_t)64 * 4096);
    assert_true(split >= 4096);
    assert_int_equal(decode_plan_row_items(4096, split), 1);
}

/* Rows of random lengths that fit into the pool, in both modes. */
static void no_step_has_more_items_than_the_bound(void **state) {
    (void)state;
    uint32_t most[2] = {0};
    srand(1);
    for (int round = 0; round < 2000; round++) {
        bool deterministic = round % 2;
        uint32_t max_context = 16 * (1 + (uint32_t)rand() % 1024), rows = 1 + (uint32_t)rand() % 40;
        uint64_t page_tokens = 16 * (uint64_t)(rows + (uint32_t)rand() % 4000), left = page_tokens, keys = 0;
        uint32_t lengths[40], items = 0;
        decode_plan p = decode_plan_make(deterministic, max_context, 1 + (uint32_t)rand() % 140,
                                         1 + (uint32_t)rand() % 8);
        for (uint32_t r = 0; r < rows; r++) {
            uint32_t room =
                (uint32_t)MIN(left - 16 * (rows - 1 - r), max_context); /* a page for each row to come */
            lengths[r] = 1 + (uint32_t)rand() % room;
            left -= (lengths[r] + 15) / 16 * 16;
            keys += lengths[r];
        }
        uint32_t split = decode_plan_split(&p, keys);
        for (uint32_t r = 0; r < rows; r++) items += decode_plan_row_items(lengths[r], split);
        assert_true(items <= decode_plan_items_max(&p, rows, page_tokens, max_context));
        most[deterministic] = MAX(most[deterministic], items);
    }
    assert_true(most[0] > 50 && most[1] > 50); /* or the bound was never near */
}

static void a_launch_is_cut_between_rows_only(void **state) {
    (void)state;
    decode_item items[12];
    uint32_t count = 0;
    count += decode_plan_row(0, 1000, 512, items + count); /* 2 */
    count += decode_plan_row(1, 1500, 512, items + count); /* 3 */
    count += decode_plan_row(2, 10, 512, items + count);   /* 1 */
    count += decode_plan_row(3, 2000, 512, items + count); /* 4 */
    assert_int_equal(count, 10);
    assert_int_equal(decode_plan_range(items, 0, count, 10), 10);
    assert_int_equal(decode_plan_range(items, 0, count, 9), 6);
    assert_int_equal(decode_plan_range(items, 0, count, 5), 5);
    assert_int_equal(decode_plan_range(items, 0, count, 4), 2);
    assert_int_equal(decode_plan_range(items, 2, count, 4), 4);
    assert_int_equal(decode_plan_range(items, 6, count, 4), 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deterministic_splits_depend_on_the_longest_context_only),
        cmocka_unit_test(the_items_of_a_row_cover_its_keys_once),
        cmocka_unit_test(one_long_row_is_cut_until_the_device_is_busy_twice_over),
        cmocka_unit_test(many_rows_are_not_cut),
        cmocka_unit_test(no_step_has_more_items_than_the_bound),
        cmocka_unit_test(a_launch_is_cut_between_rows_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
