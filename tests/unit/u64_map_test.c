#include "tests/test.h"

#include "base/mem.h"
#include "base/mix.h"
#include "base/u64_map.h"

#include <stdlib.h>

static void mix64_is_the_finaliser_of_splitmix64(void **state) {
    (void)state;
    /* The first three outputs of splitmix64 seeded with 1234567, as its authors publish them. */
    uint64_t z = 1234567;
    assert_true(mix64(z += MIX64_STEP) == 6457827717110365317u);
    assert_true(mix64(z += MIX64_STEP) == 3203168211198807973u);
    assert_true(mix64(z += MIX64_STEP) == 9817491932198370423u);
    assert_true(mix64(0) == 0);
}

static void a_key_is_there_from_put_to_take(void **state) {
    (void)state;
    int a, b;
    u64_map m;
    u64_map_init(&m, 4);
    assert_null(u64_map_get(&m, 0));
    assert_null(u64_map_take(&m, 0));
    u64_map_put(&m, 0, &a);
    u64_map_put(&m, UINT64_MAX, &b);
    assert_int_equal(u64_map_count(&m), 2);
    assert_ptr_equal(u64_map_get(&m, 0), &a);
    assert_ptr_equal(u64_map_get(&m, UINT64_MAX), &b);
    assert_null(u64_map_get(&m, 1));
    assert_ptr_equal(u64_map_take(&m, 0), &a);
    assert_null(u64_map_get(&m, 0));
    assert_null(u64_map_take(&m, 0));
    assert_ptr_equal(u64_map_get(&m, UINT64_MAX), &b);
    assert_int_equal(u64_map_count(&m), 1);
    u64_map_done(&m);
    u64_map_done(&m); /* zeroed */
}

static void a_map_with_a_true_hint_never_grows(void **state) {
    (void)state;
    int value;
    u64_map m;
    for (uint32_t hint = 0; hint < 70; hint++) {
        u64_map_init(&m, hint);
        const u64_map_slot *slots = m.slots;
        for (uint64_t key = 0; key < hint; key++) u64_map_put(&m, key, &value);
        assert_ptr_equal(m.slots, slots);
        u64_map_done(&m);
    }
    u64_map_init(&m, 4);
    assert_int_equal(m.slot_count, 8);
    for (uint64_t key = 0; key < 5; key++) u64_map_put(&m, key, &value);
    assert_int_equal(m.slot_count, 16);
    u64_map_done(&m);
}

/* Keys of which all stand in one cluster that wraps around the end of the array: the place of each is the
 * last slot but one, the last or the first. */
static void holes_close_across_the_end_of_the_array(void **state) {
    (void)state;
    enum { SLOTS = 16, KEYS = SLOTS / 2 };
    uint64_t keys[KEYS];
    uint32_t count = 0;
    for (uint64_t key = 1; count < KEYS; key++) {
        uint32_t place = (uint32_t)mix64(key) % SLOTS;
        if (place >= SLOTS - 2 || place == 0) keys[count++] = key;
    }
    for (uint32_t first = 0; first < KEYS; first++) {
        u64_map m;
        u64_map_init(&m, KEYS);
        assert_int_equal(m.slot_count, SLOTS);
        for (uint32_t i = 0; i < KEYS; i++) u64_map_put(&m, keys[i], &keys[i]);
        for (uint32_t taken = 0; taken < KEYS; taken++) {
            uint32_t i = (first + 3 * taken) % KEYS; /* each once, from everywhere in the cluster */
            assert_ptr_equal(u64_map_take(&m, keys[i]), &keys[i]);
            assert_true(u64_map_check(&m));
            assert_null(u64_map_get(&m, keys[i]));
        }
        assert_int_equal(u64_map_count(&m), 0);
        u64_map_done(&m);
    }
}

/* The naive table: value of each key, or NULL. */
static void random_steps_agree_with_an_array(void **state) {
    (void)state;
    enum { KEYS = 200, STEPS = 100000 };
    char values[KEYS];
    void *naive[KEYS] = {0};
    uint32_t count = 0;
    u64_map m;
    u64_map_init(&m, 0);
    uint64_t seed = 20261128;
    for (int step = 0; step < STEPS; step++) {
        uint64_t random = mix64(seed += MIX64_STEP);
        uint32_t i = (uint32_t)(random >> 8) % KEYS;
        uint64_t key = i % 2 ? i : mix64(i); /* counted ones and random ones */
        assert_ptr_equal(u64_map_get(&m, key), naive[i]);
        /* The number of keys swings between few and all. */
        bool put = (random & 255) < (step / 5000 % 2 ? 64 : 192);
        if (put && !naive[i]) {
            u64_map_put(&m, key, naive[i] = &values[i]);
            count++;
        } else if (!put) {
            assert_ptr_equal(u64_map_take(&m, key), naive[i]);
            count -= naive[i] != NULL;
            naive[i] = NULL;
        }
        assert_int_equal(u64_map_count(&m), count);
        if (step % 64 == 0) assert_true(u64_map_check(&m));
    }
    u64_map_done(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mix64_is_the_finaliser_of_splitmix64),
        cmocka_unit_test(a_key_is_there_from_put_to_take),
        cmocka_unit_test(a_map_with_a_true_hint_never_grows),
        cmocka_unit_test(holes_close_across_the_end_of_the_array),
        cmocka_unit_test(random_steps_agree_with_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
