/* kv_copy_test - the checksum of a segment, and segments to the wire and back. */
#include "tests/ops/fixture.h"

#include "base/mix.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = 500 };

static void fill_words(uint64_t w[WORDS]) {
    for (size_t i = 0; i < WORDS; i++) w[i] = random_at(21, i);
}

static void the_checksum_is_its_definition(void **state) {
    (void)state;
    uint64_t w[WORDS], want = 77;
    fill_words(w);
    for (size_t i = 0; i < WORDS; i++) want += w[i] * mix_weight(i);
    assert_true(kv_checksum(77, w, sizeof w) == want);
    assert_true(kv_checksum(5, NULL, 0) == 5);
    assert_true(mix_weight(0) == 1);
    assert_true(mix_weight(1) == 0x9E3779B9E17D05ADull);
    for (uint64_t i = 0; i < 1000; i++) assert_true(mix_weight(i) & 1);
}

static void a_tail_is_padded_with_zeros(void **state) {
    (void)state;
    uint8_t bytes[24];
    for (size_t n = 1; n <= sizeof bytes; n++) {
        memset(bytes, 0, sizeof bytes);
        for (size_t i = 0; i < n; i++) bytes[i] = (uint8_t)random_at(n, i);
        assert_true(kv_checksum(1, bytes, n) == kv_checksum(1, bytes, sizeof bytes));
    }
}

static void parts_add_up_to_the_whole(void **state) {
    (void)state;
    uint64_t w[WORDS];
    fill_words(w);
    for (size_t cut = 0; cut <= WORDS; cut += 7) {
        uint64_t sum = kv_checksum_part(9, cut, w + cut, (WORDS - cut) * 8);
        assert_true(kv_checksum_part(sum, 0, w, cut * 8) == kv_checksum(9, w, sizeof w));
    }
}

static void any_flipped_bit_changes_it(void **state) {
    (void)state;
    uint64_t w[WORDS];
    fill_words(w);
    uint64_t was = kv_checksum(1, w, sizeof w);
    for (size_t bit = 0; bit < WORDS * 64; bit += 3) {
        w[bit / 64] ^= 1ull << bit % 64;
        assert_true(kv_checksum(1, w, sizeof w) != was);
        w[bit / 64] ^= 1ull << bit % 64;
    }
    assert_true(kv_checksum(1, w, sizeof w) == was);
}

static void any_two_swapped_words_change_it(void **state) {
    (void)state;
    uint64_t w[WORDS];
    fill_words(w);
    uint64_t was = kv_checksum(1, w, sizeof w);
    for (size_t i = 0; i < WORDS; i += 9) {
        for (size_t j = i + 1; j < WORDS; j += 4) {
            uint64_t t = w[i];
            w[i] = w[j];
            w[j] = t;
            assert_true(kv_checksum(1, w, sizeof w) != was);
            w[j] = w[i];
            w[i] = t;
        }
    }
}

static void a_shifted_run_changes_it(void **state) {
    (void)state;
    uint64_t w[WORDS + 1];
    fill_words(w);
    w[WORDS] = w[0];
    assert_true(kv_checksum(1, w + 1, WORDS * 8) != kv_checksum(1, w, WORDS * 8));
    /* A run of the same word, with one word of another kind at a different place. */
    for (size_t i = 0; i < WORDS; i++) w[i] = 0x3c003c003c003c00ull;
    w[10] = 1;
    uint64_t was = kv_checksum(1, w, WORDS * 8);
    w[10] = 0x3c003c003c003c00ull;
    w[11] = 1;
    assert_true(kv_checksum(1, w, WORDS * 8) != was);
}

static void the_seed_changes_it(void **state) {
    (void)state;
    uint64_t w[WORDS];
    fill_words(w);
    assert_true(kv_checksum(1, w, sizeof w) != kv_checksum(2, w, sizeof w));
}

/* ---- segments ---- */

enum { PAGE_COUNT = 6 };
static const uint32_t pages_p[] = {4, 0, 5, 2}, pages_d[] = {1, 3, 2, 0};

typedef struct memory {
    kv_layout layout;
    size_t bytes;
    uint8_t *kv;
} memory;

/* Each element's bits are a hash of where it lies. */
static memory memory_new(dtype type, uint32_t head_dim, bool filled) {
    memory m = {.layout = {.type = type, .layers = 3, .kv_heads = 2, .head_dim = head_dim}};
    m.bytes = PAGE_COUNT * kv_page_bytes(&m.layout);
    m.kv = xmalloc(m.bytes);
    for (size_t i = 0; i < m.bytes; i++) m.kv[i] = filled ? (uint8_t)(random_at(31, i) >> 8) : 0xee;
    return m;
}

static op_kv_copy segment(const memory *m, const uint32_t *pages, void *wire, uint64_t *checksum) {
    return (op_kv_copy){.layout = &m->layout,
                        .kv = m->kv,
                        .pages = pages,
                        .piece = kv_piece_of(&m->layout, 16, 37, 1, 3),
                        .wire = wire,
                        .seed = 99,
                        .checksum = checksum};
}

static void gather_makes_the_wire_of_ref_and_its_checksum(void **state) {
    (void)state;
    static const uint32_t counts[] = {1, 15, 16, 17, 32, 37, 48};
    device *ref = open_ref(), *d = NULL;
    assert_int_equal(cpu_ops()->open(&d, &(device_options){.threads = 1, .isa = "auto"}, NULL), ST_OK);
    static const uint32_t heads[][2] = {{0, 2}, {0, 1}, {1, 2}};
    for (size_t i = 0; i < 6 * ARRAY_LEN(counts); i++) {
        memory m = memory_new(i % 2 ? DT_F32 : DT_F16, 24, true);
        kv_piece piece = kv_piece_of(&m.layout, 16, counts[i / 6], 1, 3);
        piece.head_begin = heads[i / 2 % 3][0];
        piece.head_end = heads[i / 2 % 3][1];
        size_t bytes = kv_piece_bytes(&m.layout, &piece);
        uint8_t *got = xcalloc(bytes + 1, 1), *want = xcalloc(bytes, 1);
        got[bytes] = 0x5a;
        uint64_t got_sum = 0, want_sum = 0;
        op_kv_copy op = segment(&m, pages_p, got, &got_sum);
        op.piece = piece;
        assert_int_equal(cpu_ops()->kv_gather(d, &op), ST_OK);
        op.wire = want;
        op.checksum = &want_sum;
        op.kv = plain_pages(&m.layout, m.kv, PAGE_COUNT);
        assert_int_equal(ref_ops()->kv_gather(ref, &op), ST_OK);
        assert_same("wire", got, want, bytes);
        assert_true(got_sum == want_sum);
        assert_true(got_sum == kv_checksum(99, got, bytes));
        assert_int_equal(got[bytes], 0x5a);
        free(op.kv);
        free(got);
        free(want);
        free(m.kv);
    }
    cpu_ops()->close(d);
    ref_ops()->close(ref);
}

/* Row `pos` of every tile of the layers that travelled is the sender's; no other byte has changed. */
static void check_received(const backend_ops *ops, const memory *to, const memory *from,
                           const op_kv_copy *op) {
    bool turned = ops == cpu_ops();
    uint8_t *sent = turned ? plain_pages(&from->layout, from->kv, PAGE_COUNT) : from->kv;
    uint8_t *got = turned ? plain_pages(&to->layout, to->kv, PAGE_COUNT) : to->kv;
    memory want = memory_new(to->layout.type, to->layout.head_dim, false);
    const kv_layout *l = &to->layout;
    size_t row = l->head_dim * kv_elem_bytes(l);
    for (uint32_t pos = op->piece.token_begin; pos < op->piece.token_begin + op->piece.token_count; pos++)
        for (uint32_t layer = op->piece.layer_begin; layer < op->piece.layer_end; layer++)
            for (uint32_t t = 0; t < 2 * l->kv_heads; t++) {
                uint32_t is_v = t / l->kv_heads, head = t % l->kv_heads;
                if (head < op->piece.head_begin || head >= op->piece.head_end) continue;
                size_t at = pos % KV_PAGE_TOKENS * row;
                size_t f = kv_tile_offset(l, pages_p[pos / KV_PAGE_TOKENS], layer, is_v, head);
                size_t g = kv_tile_offset(l, pages_d[pos / KV_PAGE_TOKENS], layer, is_v, head);
                memcpy(want.kv + g + at, sent + f + at, row);
            }
    assert_same("received pages", got, want.kv, to->bytes);
    free(want.kv);
    if (!turned) return;
    free(sent);
    free(got);
}

static void scatter_brings_the_valid_rows_and_touches_nothing_else(void **state) {
    (void)state;
    const backend_ops *all[] = {cpu_ops(), ref_ops()};
    for (size_t b = 0; b < 2; b++) {
        for (uint32_t i = 0; i < 4; i++) { /* all heads, then the second alone */
            dtype type = i % 2 ? DT_F16 : DT_F32;
            memory from = memory_new(type, 8, true), to = memory_new(type, 8, false);
            void *wire = xcalloc(kv_segment_bytes(&from.layout, 37, 2), 1);
            uint64_t sent = 0, received = 1;
            op_kv_copy out = segment(&from, pages_p, wire, &sent),
                       in = segment(&to, pages_d, wire, &received);
            out.piece.head_begin = in.piece.head_begin = i / 2;
            device *d = NULL;
            assert_int_equal(all[b]->open(&d, &(device_options){.threads = 1, .isa = "auto"}, NULL), ST_OK);
            assert_int_equal(all[b]->kv_gather(d, &out), ST_OK);
            assert_int_equal(all[b]->kv_scatter(d, &in), ST_OK);
            assert_true(sent == received);
            check_received(all[b], &to, &from, &in);
            all[b]->close(d);
            free(wire);
            free(from.kv);
            free(to.kv);
        }
    }
}

static void a_wire_that_was_changed_has_another_checksum(void **state) {
    (void)state;
    memory from = memory_new(DT_F16, 8, true), to = memory_new(DT_F16, 8, false);
    size_t bytes = kv_segment_bytes(&from.layout, 37, 2);
    uint8_t *wire = xcalloc(bytes, 1);
    uint64_t sent = 0, received = 0;
    op_kv_copy out = segment(&from, pages_p, wire, &sent), in = segment(&to, pages_d, wire, &received);
    device *d = NULL;
    assert_int_equal(cpu_ops()->open(&d, &(device_options){.threads = 1, .isa = "auto"}, NULL), ST_OK);
    assert_int_equal(cpu_ops()->kv_gather(d, &out), ST_OK);
    for (size_t i = 0; i < bytes; i += 97) {
        wire[i] ^= 0x10;
        assert_int_equal(cpu_ops()->kv_scatter(d, &in), ST_OK);
        assert_true(sent != received);
        wire[i] ^= 0x10;
    }
    cpu_ops()->close(d);
    free(wire);
    free(from.kv);
    free(to.kv);
}

/* ---- the transfer thread beside the device thread ---- */

typedef struct transfer {
    device *dev;
    op_kv_copy out, in;
} transfer;

static void *transfer_main(void *arg) {
    transfer *t = arg;
    for (int i = 0; i < 50; i++) {
        CHECK(cpu_ops()->kv_gather(t->dev, &t->out) == ST_OK);
        CHECK(cpu_ops()->kv_scatter(t->dev, &t->in) == ST_OK);
    }
    return NULL;
}

static void another_thread_copies_while_ops_run(void **state) {
    (void)state;
    memory from = memory_new(DT_F16, 16, true), to = memory_new(DT_F16, 16, false);
    void *wire = xcalloc(kv_segment_bytes(&from.layout, 37, 2), 1);
    uint64_t sent = 0, received = 1;
    transfer t = {.out = segment(&from, pages_p, wire, &sent), .in = segment(&to, pages_d, wire, &received)};
    assert_int_equal(cpu_ops()->open(&t.dev, &(device_options){.threads = 2, .isa = "auto"}, NULL), ST_OK);
    enum { ROWS = 20, INNER = 64, OUTER = 64 };
    tensor w = random_matrix(DT_Q4_1, OUTER, INNER, 1);
    float *x = random_floats(2, ROWS * INNER), *k = random_floats(3, 32), out[ROWS * OUTER];
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, transfer_main, &t), 0);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(
            kernels_of(t.dev)->linear(t.dev, &(host_linear){.x = x, .weight = &w, .rows = ROWS, .out = out}),
            ST_OK);
        /* A later row of the page whose first rows are on their way: positions 48..52 travel. */
        kv_ref ref = {.pages = pages_p, .pos = 53 + (uint32_t)i % 11};
        host_kv_write op = {
            .layout = &from.layout, .kv = from.kv, .layer = 1, .k = k, .v = k, .refs = &ref, .rows = 1};
        assert_int_equal(kernels_of(t.dev)->kv_write(t.dev, &op), ST_OK);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(sent == received);
    check_received(cpu_ops(), &to, &from, &t.in);
    cpu_ops()->close(t.dev);
    free_weight(&w);
    free(x);
    free(k);
    free(wire);
    free(from.kv);
    free(to.kv);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_checksum_is_its_definition),
        cmocka_unit_test(a_tail_is_padded_with_zeros),
        cmocka_unit_test(parts_add_up_to_the_whole),
        cmocka_unit_test(any_flipped_bit_changes_it),
        cmocka_unit_test(any_two_swapped_words_change_it),
        cmocka_unit_test(a_shifted_run_changes_it),
        cmocka_unit_test(the_seed_changes_it),
        cmocka_unit_test(gather_makes_the_wire_of_ref_and_its_checksum),
        cmocka_unit_test(scatter_brings_the_valid_rows_and_touches_nothing_else),
        cmocka_unit_test(a_wire_that_was_changed_has_another_checksum),
        cmocka_unit_test(another_thread_copies_while_ops_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
