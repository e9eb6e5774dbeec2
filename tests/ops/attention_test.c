#include "tests/ops/fixture.h"

#include "kernels/half.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGES = 24 }; /* of one sequence at most */

/* Some sequences with random KV in all pages, and rows that ask about them. */
typedef struct scene {
    kv_layout layout;
    uint32_t heads, layer;
    uint32_t window; /* 0 = none */
    uint8_t *kv;     /* page memory, as kv_layout.h says */
    size_t kv_bytes;
    uint32_t tables[3][PAGES]; /* page tables of three sequences */
    kv_ref *refs;              /* [rows] */
    uint32_t rows;
    float *q; /* [rows, heads * head_dim] */
    size_t out_bytes;
} scene;

static scene scene_new(dtype type, uint32_t heads, uint32_t kv_heads, uint32_t head_dim, uint32_t rows) {
    scene s = {.layout = {.type = type, .layers = 2, .kv_heads = kv_heads, .head_dim = head_dim},
               .heads = heads,
               .layer = 1,
               .rows = rows};
    s.kv_bytes = 3 * PAGES * kv_page_bytes(&s.layout);
    s.kv = xmalloc(s.kv_bytes);
    size_t elem = kv_elem_bytes(&s.layout);
    for (size_t i = 0; i < s.kv_bytes / elem; i++) {
        float x = random_float(11, i);
        uint16_t h = half_of_f32(x);
        memcpy(s.kv + i * elem, type == DT_F16 ? (void *)&h : (void *)&x, elem);
    }
    /* 7 has no factor in common with 72: a permutation of the pages. */
    for (uint32_t i = 0; i < 3 * PAGES; i++) s.tables[i / PAGES][i % PAGES] = i * 7 % (3 * PAGES);
    s.refs = xcalloc(rows, sizeof *s.refs);
    s.q = random_floats(12, (size_t)rows * heads * head_dim);
    for (size_t i = 0; i < (size_t)rows * heads * head_dim; i++) s.q[i] *= 4.0f;
    s.out_bytes = (size_t)rows * heads * head_dim * sizeof(float);
    return s;
}

static void scene_done(scene *s) {
    free(s->kv);
    free(s->refs);
    free(s->q);
}

/* Rows [first, first + count) become a chunk of sequence `seq` that begins at position `pos`. */
static void put_chunk(scene *s, uint32_t first, uint32_t count, uint32_t seq, uint32_t pos) {
    for (uint32_t i = 0; i < count; i++)
        s->refs[first + i] = (kv_ref){.pages = s->tables[seq], .pos = pos + i};
}

static void run(device *d, const scene *s, uint32_t first, uint32_t count, float *out) {
    size_t row = (size_t)s->heads * s->layout.head_dim;
    bool plain = kernels_of(d)->copy_words == NULL; /* ref */
    uint8_t *kv = plain ? s->kv : cpu_pages(&s->layout, s->kv, 3 * PAGES);
    host_attention op = {.layout = &s->layout,
                         .kv = kv,
                         .layer = s->layer,
                         .q = s->q + first * row,
                         .refs = s->refs + first,
                         .rows = count,
                         .heads = s->heads,
                         .scale = 1.0f / sqrtf((float)s->layout.head_dim),
                         .window = s->window,
                         .out = out + first * row};
    assert_int_equal(kernels_of(d)->attention(d, &op), ST_OK);
    if (!plain) free(kv);
}

static void put_all_kinds_of_rows(scene *s) {
    put_chunk(s, 0, 1, 0, 0);    /* the first position of all */
    put_chunk(s, 1, 1, 1, 15);   /* the last of a page */
    put_chunk(s, 2, 1, 1, 16);   /* the first of the next: continues the row before */
    put_chunk(s, 3, 33, 2, 31);  /* a chunk that begins at the end of a page */
    put_chunk(s, 36, 1, 0, 370); /* a decode row */
    put_chunk(s, 37, 37, 1, 17);
    put_chunk(s, 74, 1, 2, 100);
}

static void types_and_shapes_agree_with_ref(void **state) {
    need_path(*state);
    static const uint32_t shapes[][3] = {{9, 3, 64}, {1, 1, 16},  {4, 4, 24},  {8, 1, 40},  {6, 2, 32},
                                         {3, 3, 80}, {2, 1, 128}, {14, 2, 64}, {2, 2, 256}, {71, 1, 8}};
    device *d = open_path(*state, 2), *ref = open_ref();
    for (size_t i = 0; i < 2 * ARRAY_LEN(shapes); i++) {
        const uint32_t *shape = shapes[i / 2];
        scene s = scene_new(i % 2 ? DT_F32 : DT_F16, shape[0], shape[1], shape[2], 75);
        put_all_kinds_of_rows(&s);
        float *got = xmalloc(s.out_bytes), *want = xmalloc(s.out_bytes);
        run(d, &s, 0, s.rows, got);
        run(ref, &s, 0, s.rows, want);
        char what[80];
        snprintf(what, sizeof what, "%s heads %u on %u of %u", dtype_name(s.layout.type), shape[0], shape[1],
                 shape[2]);
        assert_close(what, got, want, s.out_bytes / sizeof *got, 1e-12);
        free(got);
        free(want);
        scene_done(&s);
    }
    cpu_ops()->close(d);
    ref_ops()->close(ref);
}

static void windows_agree_with_ref(void **state) {
    need_path(*state);
    static const uint32_t windows[] = {1, 2, 5, 15, 16, 17, 33, 100, 371};
    device *d = open_path(*state, 2), *ref = open_ref();
    for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
        scene s = scene_new(i % 2 ? DT_F32 : DT_F16, 6, 2, 40, 75);
        put_all_kinds_of_rows(&s);
        float *got = xmalloc(s.out_bytes), *want = xmalloc(s.out_bytes), *all = xmalloc(s.out_bytes);
        run(ref, &s, 0, s.rows, all);
        s.window = windows[i];
        run(d, &s, 0, s.rows, got);
        run(ref, &s, 0, s.rows, want);
        char what[80];
        snprintf(what, sizeof what, "window of %u", s.window);
        assert_close(what, got, want, s.out_bytes / sizeof *got, 1e-12);
        assert_int_equal(memcmp(want, all, s.out_bytes) != 0,
                         s.window < 371); /* the last row sees 371 keys */
        free(got);
        free(want);
        free(all);
        scene_done(&s);
    }
    cpu_ops()->close(d);
    ref_ops()->close(ref);
}

static void same_bytes_for(const op_path *p, const scene *s) {
    static const uint32_t chunks[] = {1, 3, 16, 17, 64};
    float *want = xmalloc(s->out_bytes), *got = xmalloc(s->out_bytes);
    for (uint32_t threads = 1; threads <= 3; threads++) {
        device *d = open_path(p, threads);
        if (threads == 1) run(d, s, 0, s->rows, want);
        memset(got, 0xff, s->out_bytes);
        run(d, s, 0, s->rows, got);
        assert_same("whole", got, want, s->out_bytes);
        for (size_t c = 0; c < ARRAY_LEN(chunks); c++) {
            memset(got, 0xff, s->out_bytes);
            for (uint32_t r = 0; r < s->rows; r += chunks[c]) run(d, s, r, MIN(chunks[c], s->rows - r), got);
            char what[64];
            snprintf(what, sizeof what, "head_dim %u, %u threads, chunks of %u", s->layout.head_dim, threads,
                     chunks[c]);
            assert_same(what, got, want, s->out_bytes);
        }
        cpu_ops()->close(d);
    }
    free(want);
    free(got);
}

static void a_row_has_the_same_bytes_in_any_chunk_and_with_any_threads(void **state) {
    need_path(*state);
    static const uint32_t shapes[][3] = {{9, 3, 64}, {4, 4, 24}, {8, 1, 40}, {2, 2, 16}};
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        scene s = scene_new(i % 2 ? DT_F32 : DT_F16, shapes[i][0], shapes[i][1], shapes[i][2], 150);
        put_chunk(&s, 0, 100, 0, 0);
        put_chunk(&s, 100, 1, 1, 333);
        put_chunk(&s, 101, 49, 2, 200);
        same_bytes_for(*state, &s);
        s.window = 21;
        same_bytes_for(*state, &s);
        scene_done(&s);
    }
}

/* The same rows with decode rows of other sequences in between, so that no two rows of the prompt are
 * neighbours. */
static void a_row_has_the_same_bytes_among_rows_of_other_sequences(void **state) {
    need_path(*state);
    device *d = open_path(*state, 2);
    enum { ROWS = 60 };
    scene s = scene_new(DT_F16, 9, 3, 64, ROWS), mixed = scene_new(DT_F16, 9, 3, 64, 2 * ROWS);
    size_t row = (size_t)s.heads * s.layout.head_dim;
    put_chunk(&s, 0, ROWS, 0, 5);
    for (uint32_t r = 0; r < ROWS; r++) {
        put_chunk(&mixed, 2 * r, 1, 0, 5 + r);
        put_chunk(&mixed, 2 * r + 1, 1, 1 + r % 2, r * 6);
        memcpy(mixed.q + 2 * r * row, s.q + r * row, row * sizeof(float));
        for (uint32_t page = 0; page < PAGES; page++) CHECK(mixed.tables[0][page] == s.tables[0][page]);
    }
    float *alone = xmalloc(s.out_bytes), *among = xmalloc(mixed.out_bytes);
    run(d, &s, 0, ROWS, alone);
    run(d, &mixed, 0, 2 * ROWS, among);
    for (uint32_t r = 0; r < ROWS; r++)
        assert_same("a row among others", among + 2 * r * row, alone + r * row, row * sizeof(float));
    free(alone);
    free(among);
    scene_done(&s);
    scene_done(&mixed);
    cpu_ops()->close(d);
}

/* What lies in a page after the position of a row, a NaN even, is not part of its result. */
static void stale_bytes_after_a_row_do_not_matter(void **state) {
    need_path(*state);
    device *d = open_path(*state, 1);
    for (uint32_t type = DT_F32; type <= DT_F16; type++) {
        scene s = scene_new((dtype)type, 6, 2, 40, 21);
        put_chunk(&s, 0, 21, 0, 0); /* its last page holds positions 16..20 */
        float *want = xmalloc(s.out_bytes), *got = xmalloc(s.out_bytes);
        run(d, &s, 0, s.rows, want);
        size_t row = s.layout.head_dim * kv_elem_bytes(&s.layout);
        for (uint32_t tile = 0; tile < 4; tile++) {
            size_t at = kv_tile_offset(&s.layout, s.tables[0][1], s.layer, tile / 2, tile % 2);
            memset(s.kv + at + 5 * row, 0xff, 11 * row);
        }
        run(d, &s, 0, s.rows, got);
        assert_same("with NaN behind", got, want, s.out_bytes);
        free(want);
        free(got);
        scene_done(&s);
    }
    cpu_ops()->close(d);
}

static void one_key_gives_its_value(void **state) {
    need_path(*state);
    device *d = open_path(*state, 1);
    scene s = scene_new(DT_F32, 3, 1, 24, 1);
    put_chunk(&s, 0, 1, 0, 0);
    float *out = xmalloc(s.out_bytes);
    run(d, &s, 0, 1, out);
    const float *v = (const void *)(s.kv + kv_tile_offset(&s.layout, s.tables[0][0], s.layer, 1, 0));
    for (uint32_t h = 0; h < 3; h++) assert_same("value", out + h * 24, v, 24 * sizeof *v);
    free(out);
    scene_done(&s);
    cpu_ops()->close(d);
}

/* Scores of +-1000: weights of all but the best keys vanish, and nothing overflows. */
static void large_scores_do_not_overflow(void **state) {
    need_path(*state);
    device *d = open_path(*state, 1), *ref = open_ref();
    scene s = scene_new(DT_F32, 4, 2, 32, 40);
    put_chunk(&s, 0, 40, 0, 0);
    for (size_t i = 0; i < s.out_bytes / sizeof(float); i++) s.q[i] *= 300.0f;
    float *got = xmalloc(s.out_bytes), *want = xmalloc(s.out_bytes);
    run(d, &s, 0, s.rows, got);
    run(ref, &s, 0, s.rows, want);
    assert_close("large scores", got, want, s.out_bytes / sizeof *got, 1e-7);
    free(got);
    free(want);
    scene_done(&s);
    cpu_ops()->close(d);
    ref_ops()->close(ref);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST_ON_PATH(types_and_shapes_agree_with_ref),
        TEST_ON_PATH(windows_agree_with_ref),
        TEST_ON_PATH(a_row_has_the_same_bytes_in_any_chunk_and_with_any_threads),
        TEST_ON_PATH(a_row_has_the_same_bytes_among_rows_of_other_sequences),
        TEST_ON_PATH(stale_bytes_after_a_row_do_not_matter),
        TEST_ON_PATH(one_key_gives_its_value),
        TEST_ON_PATH(large_scores_do_not_overflow),
    };
    return run_on_paths(tests, ARRAY_LEN(tests));
}
