/* kv_copy_test - hand-off copies of the GPU against kv_layout: the bytes on the wire, the bytes in the pages,
 * and their checksum. */
#include "tests/cuda/gpu.h"

#include "base/mem.h"
#include "kv/kv_layout.h"

#include <stdlib.h>
#include <string.h>

enum { PAGES = 7 };
static const uint32_t table[] = {5, 2, 6, 0, 3}; /* pages of the sequence; 1 and 4 are others' */

typedef struct segment {
    kv_layout layout;
    kv_piece piece;
    uint32_t shift; /* bytes from an aligned address to the wire, a multiple of 8 */
} segment;

static const segment segments[] = {
    {{DT_F16, 2, 2, 64}, {0, 64, 0, 2, 0, 2}, 0},    /* full pages, all layers */
    {{DT_F16, 3, 2, 64}, {16, 37, 1, 2, 0, 2}, 0},   /* one layer from the middle, a part of the last page */
    {{DT_BF16, 3, 1, 128}, {32, 48, 1, 3, 0, 1}, 0}, /* up to the end of the table */
    {{DT_F32, 2, 3, 8}, {0, 17, 0, 2, 0, 3}, 0},     /* one row in the last page */
    {{DT_F32, 1, 1, 4}, {48, 1, 0, 1, 0, 1}, 0},     /* one unit for K, one for V */
    {{DT_F16, 2, 2, 20}, {16, 45, 0, 2, 0, 2}, 0},   /* rows of 40 bytes */
    {{DT_BF16, 2, 1, 64}, {0, 31, 0, 1, 0, 1}, 8},   /* a wire that is aligned to 8 only */
    {{DT_F16, 3, 4, 32}, {16, 45, 1, 3, 1, 3}, 0},   /* two heads from the middle */
    {{DT_BF16, 2, 3, 64}, {0, 32, 0, 2, 2, 3}, 0},   /* the last head */
    {{DT_F16, 32, 16, 128}, {0, 79, 0, 32, 0, 16}, 0}, /* more than one round of the grid's threads */
};
enum { SEGMENTS = sizeof segments / sizeof *segments };

static size_t wire_bytes(const segment *s) {
    return kv_piece_bytes(&s->layout, &s->piece);
}

static size_t pages_bytes(const segment *s) {
    return PAGES * kv_page_bytes(&s->layout);
}

static uint8_t *random_bytes(uint64_t seed, size_t count) {
    uint8_t *p = xmalloc(count);
    for (size_t i = 0; i < count; i++) p[i] = (uint8_t)(random_weight(seed, i) / 2);
    return p;
}

/* The definition: page, layer, K then V, head, row, dim. `to_wire`: else from the wire. */
static void copy_by_definition(const segment *s, uint8_t *pages, uint8_t *wire, bool to_wire) {
    const kv_layout *l = &s->layout;
    const kv_piece *p = &s->piece;
    size_t row_bytes = (size_t)l->head_dim * kv_elem_bytes(l);
    for (uint32_t at = 0; at < p->token_count; at += KV_PAGE_TOKENS) {
        uint32_t page = table[(p->token_begin + at) / KV_PAGE_TOKENS];
        size_t run = MIN(p->token_count - at, KV_PAGE_TOKENS) * row_bytes;
        for (uint32_t layer = p->layer_begin; layer < p->layer_end; layer++)
            for (uint32_t is_v = 0; is_v < 2; is_v++)
                for (uint32_t head = p->head_begin; head < p->head_end; head++) {
                    uint8_t *in_page = pages + kv_tile_offset(l, page, layer, is_v, head);
                    memcpy(to_wire ? wire : in_page, to_wire ? in_page : wire, run);
                    wire += run;
                }
    }
}

static kv_copy_args args_of(const segment *s, void *kv, void *wire, unsigned long long *sum) {
    return (kv_copy_args){.kv = kv,
                          .elem_bytes = kv_elem_bytes(&s->layout),
                          .layers = s->layout.layers,
                          .kv_heads = s->layout.kv_heads,
                          .head_dim = s->layout.head_dim,
                          .pages = gpu_new(table, sizeof table),
                          .piece = s->piece,
                          .wire = wire,
                          .sum = sum};
}

static unsigned long long *new_sum(unsigned long long start) {
    return gpu_new(&start, sizeof start);
}

static unsigned long long take_sum(unsigned long long *dev) {
    unsigned long long sum;
    gpu_read(&sum, dev, sizeof sum);
    gpu_free(dev);
    return sum;
}

/* Gathers random pages; *got is the wire with `slack` bytes behind it. Caller frees. */
enum { SLACK = 64 };
static unsigned long long gather(const segment *s, const uint8_t *pages, unsigned long long start,
                                 uint8_t **got) {
    size_t bytes = wire_bytes(s) + SLACK;
    uint8_t *kv = gpu_new(pages, pages_bytes(s)), *wire = gpu_new(NULL, s->shift + bytes);
    const kv_copy_args a = args_of(s, kv, wire + s->shift, new_sum(start));
    GPU_OK(launch_kv_gather(&a, NULL));
    *got = xmalloc(bytes);
    gpu_read(*got, wire + s->shift, bytes);
    gpu_free(a.pages);
    gpu_free(kv);
    gpu_free(wire);
    return take_sum(a.sum);
}

/* Scatters into pages of 0xff. Caller frees *got. */
static unsigned long long scatter(const segment *s, const uint8_t *bytes, uint8_t **got) {
    uint8_t *kv = gpu_new(NULL, pages_bytes(s)), *wire = gpu_new(NULL, s->shift + wire_bytes(s));
    GPU_OK(cudaMemcpy(wire + s->shift, bytes, wire_bytes(s), cudaMemcpyHostToDevice));
    const kv_copy_args a = args_of(s, kv, wire + s->shift, new_sum(0));
    GPU_OK(launch_kv_scatter(&a, NULL));
    *got = xmalloc(pages_bytes(s));
    gpu_read(*got, kv, pages_bytes(s));
    gpu_free(a.pages);
    gpu_free(kv);
    gpu_free(wire);
    return take_sum(a.sum);
}

static void the_wire_has_the_valid_rows_in_order_and_their_checksum(void **state) {
    (void)state;
    for (int i = 0; i < SEGMENTS; i++) {
        const segment *s = &segments[i];
        uint8_t *pages = random_bytes(11, pages_bytes(s)), *want = xmalloc(wire_bytes(s)), *got;
        copy_by_definition(s, pages, want, true);
        unsigned long long sum = gather(s, pages, 1234567, &got);
        assert_memory_equal(got, want, wire_bytes(s));
        for (size_t j = 0; j < SLACK; j++) assert_int_equal(got[wire_bytes(s) + j], 0xff);
        assert_true(sum == kv_checksum(1234567, want, wire_bytes(s)));
        free(pages);
        free(want);
        free(got);
    }
}

static void scattered_rows_arrive_and_nothing_else_changes(void **state) {
    (void)state;
    for (int i = 0; i < SEGMENTS; i++) {
        const segment *s = &segments[i];
        uint8_t *wire = random_bytes(12, wire_bytes(s)), *want = xmalloc(pages_bytes(s)), *got;
        memset(want, 0xff, pages_bytes(s));
        copy_by_definition(s, want, wire, false);
        unsigned long long sum = scatter(s, wire, &got);
        assert_memory_equal(got, want, pages_bytes(s));
        assert_true(sum == kv_checksum(0, wire, wire_bytes(s)));
        free(wire);
        free(want);
        free(got);
    }
}

static void pieces_of_whole_pages_make_the_same_wire_and_sum(void **state) {
    (void)state;
    const segment whole = {{DT_BF16, 2, 2, 64}, {16, 61, 0, 2, 0, 2}, 0};
    uint8_t *pages = random_bytes(13, pages_bytes(&whole)), *want, *got = xmalloc(wire_bytes(&whole));
    unsigned long long want_sum = gather(&whole, pages, 0, &want);
    uint8_t *kv = gpu_new(pages, pages_bytes(&whole)), *wire = gpu_new(NULL, wire_bytes(&whole));
    kv_copy_args a = args_of(&whole, kv, wire, new_sum(0));
    static const uint32_t lengths[] = {16, 32, 13};
    for (int i = 0; i < 3; i++) {
        segment piece = whole;
        piece.piece.token_count = a.piece.token_count = lengths[i];
        GPU_OK(launch_kv_gather(&a, NULL));
        a.piece.token_begin += lengths[i];
        a.wire = (uint8_t *)a.wire + wire_bytes(&piece);
        a.word_begin += wire_bytes(&piece) / 8;
    }
    gpu_read(got, wire, wire_bytes(&whole));
    assert_memory_equal(got, want, wire_bytes(&whole));
    assert_true(take_sum(a.sum) == want_sum);
    gpu_free(a.pages);
    gpu_free(kv);
    gpu_free(wire);
    free(pages);
    free(want);
    free(got);
}

static void a_flipped_bit_and_swapped_words_change_the_sum(void **state) {
    (void)state;
    const segment s = {{DT_F16, 1, 1, 64}, {0, 18, 0, 1, 0, 1}, 0};
    uint8_t *wire = random_bytes(14, wire_bytes(&s)), *got;
    unsigned long long was = scatter(&s, wire, &got);
    free(got);
    for (size_t bit = 0; bit < wire_bytes(&s) * 8; bit += 331) {
        wire[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(scatter(&s, wire, &got) != was);
        free(got);
        wire[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t word = 0; word + 1 < wire_bytes(&s) / 8; word += 37) {
        uint8_t swapped[16];
        memcpy(swapped, wire + word * 8 + 8, 8);
        memcpy(swapped + 8, wire + word * 8, 8);
        memcpy(wire + word * 8, swapped, 16);
        assert_true(scatter(&s, wire, &got) != was);
        free(got);
        memcpy(swapped, wire + word * 8 + 8, 8);
        memcpy(swapped + 8, wire + word * 8, 8);
        memcpy(wire + word * 8, swapped, 16);
    }
    assert_true(scatter(&s, wire, &got) == was);
    free(got);
    free(wire);
}

static void shapes_that_do_not_fit_are_refused(void **state) {
    (void)state;
    kv_copy_args a = {
        .elem_bytes = 2, .layers = 1, .kv_heads = 1, .head_dim = 2, .piece = {0, 16, 0, 1, 0, 1}};
    assert_int_equal(launch_kv_gather(&a, NULL), cudaErrorInvalidValue); /* rows of 4 bytes */
    a.head_dim = 64;
    a.piece.token_begin = 8;
    assert_int_equal(launch_kv_scatter(&a, NULL), cudaErrorInvalidValue);
    a.piece.token_begin = 0;
    a.piece.layer_end = 2;
    assert_int_equal(launch_kv_scatter(&a, NULL), cudaErrorInvalidValue);
    a.piece.layer_end = 1;
    a.piece.head_end = 2;
    assert_int_equal(launch_kv_scatter(&a, NULL), cudaErrorInvalidValue);
    a.piece.head_end = 0;
    assert_int_equal(launch_kv_scatter(&a, NULL), cudaErrorInvalidValue);
    a.piece.head_end = 1;
    a.piece.token_count = 0;
    assert_int_equal(launch_kv_gather(&a, NULL), cudaSuccess);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_wire_has_the_valid_rows_in_order_and_their_checksum),
        cmocka_unit_test(scattered_rows_arrive_and_nothing_else_changes),
        cmocka_unit_test(pieces_of_whole_pages_make_the_same_wire_and_sum),
        cmocka_unit_test(a_flipped_bit_and_swapped_words_change_the_sum),
        cmocka_unit_test(shapes_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
