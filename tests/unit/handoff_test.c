#include "tests/test.h"

#include "base/mem.h"
#include "kv/handoff.h"

#include <stdlib.h>
#include <string.h>

/* 2 * 2 heads * 8 * 4 bytes = 128 bytes per token and layer. */
enum { HEADS = 2 };
static const kv_layout layout = {.type = DT_F32, .layers = 5, .kv_heads = HEADS, .head_dim = 8};
#define ROW_BYTES 128u

static void only_the_drawn_edges_exist(void **state) {
    (void)state;
    const uint32_t next[] = {HANDOFF_RESERVED, HANDOFF_COPYING, HANDOFF_VERIFIED, HANDOFF_RELEASED};
    sm m;
    sm_init(&m, &handoff_sm, 1);
    for (uint32_t i = 0; i < ARRAY_LEN(next); i++) {
        for (uint32_t to = 0; to < handoff_sm.state_count; to++)
            assert_int_equal(sm_can(&m, to), to == next[i] || to == HANDOFF_ABORTED);
        sm_move(&m, next[i], 10 + i);
        assert_int_equal(m.first_ns[next[i]], 10 + i);
    }
    assert_true(sm_ended(&m));
    sm_init(&m, &handoff_sm, 1);
    sm_move(&m, HANDOFF_ABORTED, 2);
    assert_true(sm_ended(&m));
    for (uint32_t to = 0; to < handoff_sm.state_count; to++) assert_false(sm_can(&m, to));
}

static void the_hash_of_ids_continues_from_any_prefix(void **state) {
    (void)state;
    int32_t ids[40];
    for (int i = 0; i < 40; i++) ids[i] = i * 7 % 11;
    uint64_t whole = kv_ids_hash(KV_IDS_HASH_START, ids, 40);
    for (uint32_t cut = 0; cut <= 40; cut++)
        assert_true(kv_ids_hash(kv_ids_hash(KV_IDS_HASH_START, ids, cut), ids + cut, 40 - cut) == whole);
}

static void the_hash_of_ids_sees_value_order_and_length(void **state) {
    (void)state;
    const int32_t a[] = {0, 1, 2, 3}, b[] = {0, 2, 1, 3}, c[] = {0, 1, 2, 4};
    uint64_t h = kv_ids_hash(KV_IDS_HASH_START, a, 4);
    assert_true(h != kv_ids_hash(KV_IDS_HASH_START, b, 4));
    assert_true(h != kv_ids_hash(KV_IDS_HASH_START, c, 4));
    assert_true(h != kv_ids_hash(KV_IDS_HASH_START, a, 3));
    assert_true(kv_ids_hash(KV_IDS_HASH_START, a, 1) != KV_IDS_HASH_START);
}

static uint64_t seed_of(const kv_identity *id, uint32_t segment, kv_piece piece, uint64_t ids_hash) {
    return kv_segment_seed(id, segment, &piece, ids_hash);
}

/* Identities that differ from `id` in one number each. */
static void one_number_off(const kv_identity *id, kv_identity other[5]) {
    for (int i = 0; i < 5; i++) other[i] = *id;
    other[0].epoch++;
    other[1].p_inc++;
    other[2].d_inc++;
    other[3].req++;
    other[4].attempt++;
}

static void each_field_of_a_segment_changes_its_seed(void **state) {
    (void)state;
    const kv_identity id = {.epoch = 1, .p_inc = 2, .d_inc = 3, .req = 4, .attempt = 5};
    kv_identity other[5];
    one_number_off(&id, other);
    uint64_t seeds[15] = {seed_of(&id, 1, (kv_piece){16, 16, 2, 4, 0, HEADS}, 99)};
    for (int i = 0; i < 5; i++) seeds[1 + i] = seed_of(&other[i], 1, (kv_piece){16, 16, 2, 4, 0, HEADS}, 99);
    seeds[6] = seed_of(&id, 2, (kv_piece){16, 16, 2, 4, 0, HEADS}, 99);
    seeds[7] = seed_of(&id, 1, (kv_piece){32, 16, 2, 4, 0, HEADS}, 99);
    seeds[8] = seed_of(&id, 1, (kv_piece){16, 32, 2, 4, 0, HEADS}, 99);
    seeds[9] = seed_of(&id, 1, (kv_piece){16, 16, 1, 4, 0, HEADS}, 99);
    seeds[10] = seed_of(&id, 1, (kv_piece){16, 16, 2, 3, 0, HEADS}, 99);
    seeds[11] = seed_of(&id, 1, (kv_piece){16, 16, 2, 4, 0, HEADS}, 98);
    seeds[12] = seed_of(&id, 16, (kv_piece){1, 16, 2, 4, 0, HEADS}, 99);
    seeds[13] = seed_of(&id, 1, (kv_piece){16, 16, 2, 4, 1, HEADS}, 99);
    seeds[14] = seed_of(&id, 1, (kv_piece){16, 16, 2, 4, 0, HEADS + 1}, 99);
    for (int i = 0; i < 15; i++)
        for (int j = 0; j < i; j++) assert_true(seeds[i] != seeds[j]);
    assert_true(seeds[0] == seed_of(&id, 1, (kv_piece){16, 16, 2, 4, 0, HEADS}, 99));
}

static void identities_are_the_same_when_every_number_is(void **state) {
    (void)state;
    const kv_identity id = {.epoch = 1, .p_inc = 2, .d_inc = 3, .req = 4, .attempt = 5};
    kv_identity other[5];
    one_number_off(&id, other);
    const kv_identity twin = id;
    assert_true(kv_identity_same(&id, &twin));
    for (int i = 0; i < 5; i++) assert_false(kv_identity_same(&id, &other[i]));
}

static status seal(const handoff_recv *r, uint32_t segments, uint32_t begin, uint32_t count, errbuf *eb) {
    return handoff_recv_seal(r, segments, &(kv_piece){.token_begin = begin, .token_count = count}, eb);
}

static void expect_piece(handoff_cut *cut, size_t target, size_t slot, kv_piece want) {
    kv_piece got;
    assert_true(handoff_cut_next(cut, &layout, target, slot, &got));
    assert_int_equal(got.token_begin, want.token_begin);
    assert_int_equal(got.token_count, want.token_count);
    assert_int_equal(got.layer_begin, want.layer_begin);
    assert_int_equal(got.layer_end, want.layer_end);
}

static void expect_none(handoff_cut *cut, size_t target, size_t slot) {
    kv_piece got;
    assert_false(handoff_cut_next(cut, &layout, target, slot, &got));
}

static void layers_are_grouped_up_to_the_target(void **state) {
    (void)state;
    handoff_cut cut = {.begin = 32, .count = 16};
    size_t target = 2 * 16 * ROW_BYTES, slot = 1 << 20;
    expect_none(&cut, target, slot);
    cut.layers_done = 1;
    expect_none(&cut, target, slot); /* one layer is half of the target */
    cut.layers_done = 3;
    expect_piece(&cut, target, slot, (kv_piece){32, 16, 0, 2, 0, HEADS});
    expect_none(&cut, target, slot);
    cut.layers_done = 5;
    expect_piece(&cut, target, slot, (kv_piece){32, 16, 2, 4, 0, HEADS});
    expect_piece(&cut, target, slot, (kv_piece){32, 16, 4, 5, 0, HEADS}); /* the rest, although it is small */
    expect_none(&cut, target, slot);
}

static void a_group_never_exceeds_a_slot(void **state) {
    (void)state;
    handoff_cut cut = {.begin = 0, .count = 16, .layers_done = 5};
    size_t slot = 2 * 16 * ROW_BYTES + 64;
    expect_piece(&cut, 1 << 20, slot, (kv_piece){0, 16, 0, 2, 0, HEADS});
    expect_piece(&cut, 1 << 20, slot, (kv_piece){0, 16, 2, 4, 0, HEADS});
    expect_piece(&cut, 1 << 20, slot, (kv_piece){0, 16, 4, 5, 0, HEADS});
    expect_none(&cut, 1 << 20, slot);
}

static void a_layer_larger_than_a_slot_is_split_on_page_edges(void **state) {
    (void)state;
    handoff_cut cut = {.begin = 16, .count = 39, .layers_done = 2};
    size_t slot = 20 * ROW_BYTES; /* 16 rows and a bit */
    expect_piece(&cut, 1, slot, (kv_piece){16, 16, 0, 1, 0, HEADS});
    expect_piece(&cut, 1, slot, (kv_piece){32, 16, 0, 1, 0, HEADS});
    expect_piece(&cut, 1, slot, (kv_piece){48, 7, 0, 1, 0, HEADS});
    expect_piece(&cut, 1, slot, (kv_piece){16, 16, 1, 2, 0, HEADS});
    expect_piece(&cut, 1, slot, (kv_piece){32, 16, 1, 2, 0, HEADS});
    expect_piece(&cut, 1, slot, (kv_piece){48, 7, 1, 2, 0, HEADS});
    expect_none(&cut, 1, slot);
}

/* Whatever the sizes, the pieces of all chunks cover the prompt exactly once. */
static void pieces_of_any_chunking_cover_the_prompt(void **state) {
    (void)state;
    const uint32_t lengths[] = {1, 15, 16, 17, 31, 33, 255, 256, 257, 1000};
    const uint32_t chunks[] = {16, 64, 256, 1024};
    const size_t targets[] = {1, 4096, 100000}, slots[] = {16 * ROW_BYTES, 5000, 1 << 20};
    for (size_t l = 0; l < ARRAY_LEN(lengths); l++)
        for (size_t k = 0; k < ARRAY_LEN(chunks); k++)
            for (size_t v = 0; v < 9; v++) {
                handoff_recv *r = handoff_recv_new(&layout, 0, lengths[l]);
                uint32_t segments = 0;
                for (uint32_t begin = 0; begin < lengths[l]; begin += chunks[k]) {
                    handoff_cut cut = {.begin = begin, .count = MIN(chunks[k], lengths[l] - begin)};
                    for (cut.layers_done = 1; cut.layers_done <= layout.layers; cut.layers_done++) {
                        kv_piece p;
                        while (handoff_cut_next(&cut, &layout, targets[v / 3], slots[v % 3], &p)) {
                            size_t bytes =
                                kv_segment_bytes(&layout, p.token_count, p.layer_end - p.layer_begin);
                            assert_true(bytes <= slots[v % 3]);
                            assert_int_equal(handoff_recv_add(r, segments++, &p, NULL), ST_OK);
                        }
                        if (cut.layers_done == layout.layers) break;
                    }
                }
                assert_int_equal(seal(r, segments, 0, lengths[l], NULL), ST_OK);
                handoff_recv_free(r);
            }
}

static void chunks_may_come_in_any_order(void **state) {
    (void)state;
    handoff_recv *r = handoff_recv_new(&layout, 0, 40);
    assert_int_equal(handoff_recv_add(r, 0, &(kv_piece){32, 8, 2, 5, 0, HEADS}, NULL), ST_OK);
    assert_int_equal(handoff_recv_add(r, 1, &(kv_piece){0, 32, 0, 5, 0, HEADS}, NULL), ST_OK);
    assert_int_equal(handoff_recv_add(r, 2, &(kv_piece){32, 8, 0, 2, 0, HEADS}, NULL), ST_OK);
    assert_int_equal(seal(r, 3, 0, 40, NULL), ST_OK);
    handoff_recv_free(r);
}

static void what_overlaps_leaves_or_skips_is_corrupt(void **state) {
    (void)state;
    errbuf eb = {0};
    handoff_recv *r = handoff_recv_new(&layout, 0, 40);
    assert_int_equal(handoff_recv_add(r, 1, &(kv_piece){0, 16, 0, 5, 0, HEADS}, &eb), ST_CORRUPT);
    assert_string_equal(eb.text, "segment 1 where 0 is the next");
    assert_int_equal(handoff_recv_add(r, 0, &(kv_piece){0, 32, 1, 3, 0, HEADS}, &eb), ST_OK);
    assert_int_equal(handoff_recv_add(r, 1, &(kv_piece){16, 16, 2, 4, 0, HEADS}, &eb), ST_CORRUPT);
    assert_string_equal(eb.text, "rows from 16, layers 2..4 came twice");
    const kv_piece bad[] = {
        {0, 48, 3, 5, 0, HEADS}, /* past the prompt */
        {48, 1, 0, 5, 0, HEADS},     {UINT32_MAX - 15, 32, 0, 5, 0, HEADS},
        {0, 0, 0, 5, 0, HEADS},  /* empty */
        {8, 8, 3, 5, 0, HEADS},  /* begins inside a page */
        {0, 24, 3, 5, 0, HEADS}, /* ends inside a page that is not the last */
        {32, 7, 3, 5, 0, HEADS}, /* likewise, in the last page */
        {0, 16, 3, 6, 0, HEADS}, /* past the last layer */
        {0, 16, 4, 4, 0, HEADS},     {0, 16, 4, 3, 0, HEADS},
        {0, 16, 3, 5, 1, HEADS}, /* not all heads */
        {0, 16, 3, 5, 0, HEADS + 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(handoff_recv_add(r, 1, &bad[i], &eb), ST_CORRUPT);
    /* None of them left a trace. */
    assert_int_equal(handoff_recv_add(r, 1, &(kv_piece){0, 40, 3, 5, 0, HEADS}, &eb), ST_OK);
    assert_int_equal(handoff_recv_add(r, 2, &(kv_piece){0, 40, 0, 1, 0, HEADS}, &eb), ST_OK);
    assert_int_equal(seal(r, 3, 0, 40, &eb), ST_CORRUPT);
    assert_string_equal(eb.text, "rows from 32, layer 1 are missing");
    assert_int_equal(handoff_recv_add(r, 3, &(kv_piece){32, 8, 1, 3, 0, HEADS}, &eb), ST_OK);
    assert_int_equal(seal(r, 3, 0, 40, &eb), ST_CORRUPT);
    assert_string_equal(eb.text, "sealed 3 segments, 4 came");
    assert_int_equal(seal(r, 4, 0, 39, &eb), ST_CORRUPT);
    assert_string_equal(eb.text, "sealed 39 rows, want 40");
    assert_int_equal(seal(r, 4, 0, 40, &eb), ST_OK);
    handoff_recv_free(r);
}

static void coverage_is_exact_beyond_64_layers(void **state) {
    (void)state;
    const kv_layout tall = {.type = DT_F16, .layers = 130, .kv_heads = HEADS, .head_dim = 4};
    errbuf eb = {0};
    handoff_recv *r = handoff_recv_new(&tall, 0, 16);
    assert_int_equal(handoff_recv_add(r, 0, &(kv_piece){0, 16, 0, 64, 0, HEADS}, &eb), ST_OK);
    assert_int_equal(handoff_recv_add(r, 1, &(kv_piece){0, 16, 63, 65, 0, HEADS}, &eb), ST_CORRUPT);
    assert_int_equal(handoff_recv_add(r, 1, &(kv_piece){0, 16, 64, 129, 0, HEADS}, &eb), ST_OK);
    assert_int_equal(seal(r, 2, 0, 16, &eb), ST_CORRUPT);
    assert_string_equal(eb.text, "rows from 0, layer 129 are missing");
    assert_int_equal(handoff_recv_add(r, 2, &(kv_piece){0, 16, 129, 130, 0, HEADS}, &eb), ST_OK);
    assert_int_equal(seal(r, 3, 0, 16, &eb), ST_OK);
    handoff_recv_free(r);
    handoff_recv_free(NULL);
}

static void a_hand_off_may_start_behind_rows_that_are_there(void **state) {
    (void)state;
    errbuf eb = {0};
    assert_true(handoff_may_start(0, 1));
    assert_true(handoff_may_start(32, 40));
    assert_false(handoff_may_start(8, 40));
    assert_false(handoff_may_start(48, 48));
    handoff_recv *r = handoff_recv_new(&layout, 32, 70);
    assert_int_equal(handoff_recv_add(r, 0, &(kv_piece){16, 32, 0, 5, 0, HEADS}, &eb), ST_CORRUPT);
    assert_string_equal(eb.text, "rows 16+32: those before 32 are here already");
    assert_int_equal(handoff_recv_add(r, 0, &(kv_piece){64, 6, 0, 5, 0, HEADS}, &eb), ST_OK);
    assert_int_equal(handoff_recv_add(r, 1, &(kv_piece){64, 6, 4, 5, 0, HEADS}, &eb), ST_CORRUPT);
    assert_string_equal(eb.text, "rows from 64, layers 4..5 came twice");
    assert_int_equal(seal(r, 1, 32, 38, &eb), ST_CORRUPT);
    assert_string_equal(eb.text, "rows from 32, layer 0 are missing");
    assert_int_equal(handoff_recv_add(r, 1, &(kv_piece){32, 32, 0, 5, 0, HEADS}, &eb), ST_OK);
    assert_int_equal(seal(r, 2, 0, 70, &eb), ST_CORRUPT);
    assert_string_equal(eb.text, "sealed from row 0, want from 32");
    assert_int_equal(seal(r, 2, 32, 37, &eb), ST_CORRUPT);
    assert_string_equal(eb.text, "sealed 37 rows, want 38");
    assert_int_equal(seal(r, 2, 32, 38, &eb), ST_OK);
    handoff_recv_free(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_drawn_edges_exist),
        cmocka_unit_test(the_hash_of_ids_continues_from_any_prefix),
        cmocka_unit_test(the_hash_of_ids_sees_value_order_and_length),
        cmocka_unit_test(each_field_of_a_segment_changes_its_seed),
        cmocka_unit_test(identities_are_the_same_when_every_number_is),
        cmocka_unit_test(layers_are_grouped_up_to_the_target),
        cmocka_unit_test(a_group_never_exceeds_a_slot),
        cmocka_unit_test(a_layer_larger_than_a_slot_is_split_on_page_edges),
        cmocka_unit_test(pieces_of_any_chunking_cover_the_prompt),
        cmocka_unit_test(chunks_may_come_in_any_order),
        cmocka_unit_test(what_overlaps_leaves_or_skips_is_corrupt),
        cmocka_unit_test(coverage_is_exact_beyond_64_layers),
        cmocka_unit_test(a_hand_off_may_start_behind_rows_that_are_there),
    };
    return cmocka_run_group_tests_name("handoff", tests, NULL, NULL);
}
