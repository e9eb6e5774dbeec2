/* attend_test - rotation, page writes and attention of the GPU: against loops in double, and bit for bit
 * against themselves, cut and mixed in other ways. */
#include "tests/cuda/attend_rig.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WHOLE = ATTEND_RIG_POSITIONS + DECODE_TILE_KEYS }; /* a split that has all keys */

typedef struct shape {
    num_type type;
    uint32_t heads, kv_heads, head_dim;
} shape;

static attend_rig open_shape(shape s) {
    return attend_rig_open(s.type, s.heads, s.kv_heads, s.head_dim);
}

static void prefill(const attend_step *s) {
    GPU_OK(launch_rope_kv(&s->a, NULL));
    GPU_OK(launch_attend_prefill(&s->a, 0, s->tiles, NULL));
}

/* All items, each with its own block. */
static void decode(const attend_step *s, bool rope) {
    if (!rope) GPU_OK(launch_rope_kv(&s->a, NULL));
    GPU_OK(launch_attend_decode(&s->a, 0, s->items, s->items, rope, NULL));
}

/* Writes all positions that come before the parts. */
static void write_before(attend_rig *r, const part *parts, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (parts[i].pos > 0) attend_rig_write(r, (part){parts[i].seq, 0, parts[i].pos});
}

/* Copies the step's rows of sequence `seq` from out to where[pos]; rows are `width` bytes. */
static void collect(const attend_step *s, uint32_t seq, char *where) {
    char *out = attend_step_out(s);
    size_t width = s->out_bytes / s->rows;
    for (uint32_t row = 0; row < s->rows; row++)
        if (s->seq[row] == seq) memcpy(where + s->pos[row] * width, out + row * width, width);
    free(out);
}

/* --- rotation --- */

static void the_table_is_the_cosine_and_sine_of_every_angle(void **state) {
    (void)state;
    enum { POSITIONS = 1500, PAIRS = 5 };
    const float factors[PAIRS] = {1, 2, 0.5f, 8, 32};
    float *dev = gpu_new(NULL, POSITIONS * PAIRS * 2 * sizeof(float)),
          *dev_factors = gpu_new(factors, sizeof factors);
    float *table = xcalloc(POSITIONS * PAIRS * 2, sizeof *table);
    for (int scaled = 0; scaled < 2; scaled++) {
        const double magnitude = scaled ? 1.25 : 1;
        GPU_OK(launch_rope_table(dev, POSITIONS, 2 * PAIRS, 500000.0, scaled ? dev_factors : NULL, magnitude,
                                 NULL));
        gpu_read(table, dev, POSITIONS * PAIRS * 2 * sizeof *table);
        for (uint32_t pos = 0; pos < POSITIONS; pos++)
            for (uint32_t i = 0; i < PAIRS; i++) {
                double angle =
                    pos * pow(500000.0, -2.0 * i / (2 * PAIRS)) / (scaled ? (double)factors[i] : 1.0);
                const float *turn = table + (pos * PAIRS + i) * 2;
                /* Half a unit of a float below 2, and the error of an angle in double. */
                assert_true(fabs((double)turn[0] - magnitude * cos(angle)) <= magnitude * 0x1p-24 + 1e-12);
                assert_true(fabs((double)turn[1] - magnitude * sin(angle)) <= magnitude * 0x1p-24 + 1e-12);
            }
    }
    gpu_free(dev);
    gpu_free(dev_factors);
    free(table);
}

/* Element i of the row of qkv after rotation, in double. */
static double rotated(const attend_rig *r, uint32_t seq, uint32_t pos, uint32_t i) {
    const attend_args *a = &r->a;
    uint32_t d = i % a->head_dim, even = i - i % 2;
    double x = attend_rig_qkv(r, seq, pos, even), y = attend_rig_qkv(r, seq, pos, even + 1);
    if (i >= (a->heads + a->kv_heads) * a->head_dim || d >= a->rope_dim) return i % 2 ? y : x;
    double angle = pos * pow(10000.0, -(double)(d - d % 2) / a->rope_dim);
    return i % 2 ? x * sin(angle) + y * cos(angle) : x * cos(angle) - y * sin(angle);
}

static void near_rounding(num_type type, double got, double expect) {
    double rounding = type == NUM_BF16 ? 0x1p-8 : type == NUM_F16 ? 0x1p-11 : 0x1p-24;
    if (!(fabs(got - expect) <= rounding * fabs(expect) + 1e-6))
        fail_msg("%.9g instead of %.9g", got, expect);
}

static void rotation_writes_the_pages_of_its_rows_and_nothing_else(void **state) {
    (void)state;
    const shape shapes[] = {
        {NUM_BF16, 3, 1, 32}, {NUM_F16, 4, 2, 64}, {NUM_BF16, 2, 2, 128}, {NUM_F32, 2, 1, 34}};
    const part parts[] = {{1, 0, 3}, {4, 14, 5}, {2, 300, 1}};
    for (size_t n = 0; n < ARRAY_LEN(shapes); n++) {
        attend_rig r = open_shape(shapes[n]);
        attend_step *s = attend_step_new(&r, parts, ARRAY_LEN(parts), 128, WHOLE);
        GPU_OK(launch_rope_kv(&s->a, NULL));
        char *qkv = attend_step_qkv(s), *pages = attend_rig_pages(&r);
        uint32_t hd = r.a.head_dim, width = (r.a.heads + 2 * r.a.kv_heads) * hd;
        for (uint32_t row = 0; row < s->rows; row++) {
            for (uint32_t i = 0; i < width; i++)
                near_rounding(r.a.type, attend_rig_number(r.a.type, qkv, row * width + i),
                              rotated(&r, s->seq[row], s->pos[row], i));
            for (uint32_t h = 0; h < 2 * r.a.kv_heads; h++) { /* pages have the very bits of qkv */
                size_t from = (size_t)row * width + (r.a.heads + h) * hd;
                size_t to =
                    attend_rig_place(&r, s->seq[row], s->pos[row], h / r.a.kv_heads, h % r.a.kv_heads);
                assert_memory_equal(pages + to * r.elem, qkv + from * r.elem, hd * r.elem);
                memset(pages + to * r.elem, 0xff, hd * r.elem);
            }
        }
        for (size_t i = 0; i < r.kv_bytes; i++) assert_int_equal((unsigned char)pages[i], 0xff);
        free(qkv);
        free(pages);
        attend_step_free(s);
        attend_rig_close(&r);
    }
}

/* --- prompts --- */

static void prompts_of_all_lengths_in_one_launch_are_near_attention_in_double(void **state) {
    (void)state;
    const shape shapes[] = {{NUM_BF16, 2, 1, 128}, {NUM_F16, 2, 2, 128}, {NUM_BF16, 3, 1, 64},
                            {NUM_F16, 4, 2, 64},   {NUM_BF16, 4, 2, 32}, {NUM_F16, 1, 1, 32}};
    const part parts[] = {{0, 0, 1}, {1, 0, 17}, {2, 0, 64}, {3, 0, 65}, {4, 0, 131}};
    for (size_t n = 0; n < ARRAY_LEN(shapes); n++) {
        attend_rig r = open_shape(shapes[n]);
        attend_step *s = attend_step_new(&r, parts, ARRAY_LEN(parts), PREFILL_TILE_ROWS, WHOLE);
        prefill(s);
        void *out = attend_step_out(s);
        attend_step_near(s, out);
        free(out);
        attend_step_free(s);
        attend_rig_close(&r);
    }
}

static void a_chunk_sees_the_pages_of_the_chunks_before(void **state) {
    (void)state;
    attend_rig r = attend_rig_open(NUM_BF16, 2, 1, 64);
    /* 33 and 62: the last row of a warp begins a tile of keys; its first row misses one key of a tile. 520 is
     * on the 33rd page. */
    const part parts[] = {{3, 50, 40}, {5, 128, 3}, {7, 0, 9},   {6, 191, 70},
                          {1, 33, 40}, {2, 62, 3},  {9, 520, 20}};
    write_before(&r, parts, ARRAY_LEN(parts));
    attend_step *s = attend_step_new(&r, parts, ARRAY_LEN(parts), PREFILL_TILE_ROWS, WHOLE);
    prefill(s);
    void *out = attend_step_out(s);
    attend_step_near(s, out);
    free(out);
    attend_step_free(s);
    attend_rig_close(&r);
}

/* Runs a prompt in chunks, each in tiles of tile_rows. Caller frees both outputs. */
static void run_in_chunks(attend_rig *r, uint32_t rows, uint32_t chunk, uint32_t tile_rows, char **out,
                          void **pages) {
    size_t width = (size_t)r->a.heads * r->a.head_dim * r->elem;
    attend_rig_clear(r);
    *out = xmalloc(rows * width);
    for (uint32_t pos = 0; pos < rows; pos += chunk) {
        part p = {8, pos, MIN(chunk, rows - pos)};
        attend_step *s = attend_step_new(r, &p, 1, tile_rows, WHOLE);
        prefill(s);
        collect(s, 8, *out);
        attend_step_free(s);
    }
    *pages = attend_rig_pages(r);
}

static void however_a_prompt_is_cut_it_has_the_same_bits(void **state) {
    (void)state;
    enum { ROWS = 150 };
    const shape shapes[] = {{NUM_BF16, 2, 1, 128}, {NUM_F16, 2, 1, 64}, {NUM_BF16, 2, 2, 32}};
    const uint32_t cuts[][2] = {{16, 128}, {48, 128}, {ROWS, 37}, {61, 61}};
    for (size_t n = 0; n < ARRAY_LEN(shapes); n++) {
        attend_rig r = open_shape(shapes[n]);
        char *whole, *cut;
        void *whole_pages, *cut_pages;
        run_in_chunks(&r, ROWS, ROWS, PREFILL_TILE_ROWS, &whole, &whole_pages);
        for (size_t c = 0; c < ARRAY_LEN(cuts); c++) {
            run_in_chunks(&r, ROWS, cuts[c][0], cuts[c][1], &cut, &cut_pages);
            assert_memory_equal(cut, whole, ROWS * (size_t)r.a.heads * r.a.head_dim * r.elem);
            assert_memory_equal(cut_pages, whole_pages, r.kv_bytes);
            free(cut);
            free(cut_pages);
        }
        free(whole);
        free(whole_pages);
        attend_rig_close(&r);
    }
}

static void a_row_alone_has_the_bits_of_the_row_among_others(void **state) {
    (void)state;
    attend_rig r = attend_rig_open(NUM_BF16, 2, 1, 128);
    const part all[] = {{1, 0, 20}, {2, 0, 130}, {3, 0, 1}};
    attend_step *s = attend_step_new(&r, all, ARRAY_LEN(all), PREFILL_TILE_ROWS, WHOLE);
    prefill(s);
    char *out = attend_step_out(s);
    const uint32_t rows[] = {0, 7, 19, 20, 36, 83, 84, 147, 149, 150};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        part p = {s->seq[rows[i]], s->pos[rows[i]], 1};
        attend_step *one = attend_step_new(&r, &p, 1, PREFILL_TILE_ROWS, WHOLE);
        prefill(one);
        char *alone = attend_step_out(one);
        assert_memory_equal(alone, out + rows[i] * one->out_bytes, one->out_bytes);
        free(alone);
        attend_step_free(one);
    }
    free(out);
    attend_step_free(s);
    attend_rig_close(&r);
}

/* --- generated rows --- */

/* One row of each sequence, at the edges of pages and tiles. */
static const part edges[] = {{0, 0, 1},  {1, 15, 1}, {2, 16, 1},  {3, 17, 1},  {4, 63, 1},
                             {5, 64, 1}, {6, 65, 1}, {7, 127, 1}, {8, 128, 1}, {9, 300, 1}};

static void generated_rows_are_near_attention_in_double(void **state) {
    (void)state;
    const shape shapes[] = {{NUM_BF16, 8, 2, 128}, {NUM_F16, 14, 2, 128}, {NUM_BF16, 8, 1, 64},
                            {NUM_F16, 3, 1, 64},   {NUM_BF16, 2, 2, 64},  {NUM_F16, 2, 2, 32},
                            {NUM_BF16, 16, 1, 32}};
    for (size_t n = 0; n < ARRAY_LEN(shapes); n++) {
        attend_rig r = open_shape(shapes[n]);
        write_before(&r, edges, ARRAY_LEN(edges));
        attend_step *s = attend_step_new(&r, edges, ARRAY_LEN(edges), PREFILL_TILE_ROWS, 128);
        decode(s, false);
        void *out = attend_step_out(s);
        attend_step_near(s, out);
        attend_step_zero_counters(s);
        free(out);
        attend_step_free(s);
        attend_rig_close(&r);
    }
}

/* The rows in splits of `split` tokens are so many items, are near attention in double, and leave the
 * counters at zero.
 */
static void splits_are_near(attend_rig *r, const part *rows, uint32_t count, uint32_t split, uint32_t items) {
    attend_step *s = attend_step_new(r, rows, count, 128, split);
    assert_int_equal(s->items, items);
    decode(s, false);
    void *out = attend_step_out(s);
    attend_step_near(s, out);
    attend_step_zero_counters(s);
    free(out);
    attend_step_free(s);
}

static void thousands_of_keys_may_be_one_split_or_dozens(void **state) {
    (void)state;
    const part rows[] = {{9, 2200, 1}, {9, 2047, 1}};
    const uint32_t splits[] = {WHOLE, 64}, items[] = {2, 35 + 32};
    attend_rig r = attend_rig_open(NUM_F16, 5, 1, 64);
    attend_rig_write(&r, (part){9, 0, 2200});
    for (size_t n = 0; n < ARRAY_LEN(splits); n++)
        splits_are_near(&r, rows, ARRAY_LEN(rows), splits[n], items[n]);
    attend_rig_close(&r);
}

static void rotation_inside_the_kernel_has_the_same_bits(void **state) {
    (void)state;
    const shape shapes[] = {{NUM_BF16, 4, 2, 128}, {NUM_F16, 4, 1, 64}, {NUM_BF16, 2, 2, 32}};
    const uint32_t splits[] = {64, WHOLE};
    for (size_t n = 0; n < ARRAY_LEN(shapes) * ARRAY_LEN(splits); n++) {
        attend_rig r = open_shape(shapes[n / ARRAY_LEN(splits)]);
        void *out[2], *pages[2];
        for (int rope = 0; rope < 2; rope++) {
            attend_rig_clear(&r);
            write_before(&r, edges, ARRAY_LEN(edges));
            attend_step *s = attend_step_new(&r, edges, ARRAY_LEN(edges), 128, splits[n % ARRAY_LEN(splits)]);
            decode(s, rope);
            out[rope] = attend_step_out(s);
            pages[rope] = attend_rig_pages(&r);
            if (rope) {
                assert_memory_equal(out[1], out[0], s->out_bytes);
                assert_memory_equal(pages[1], pages[0], r.kv_bytes);
            }
            attend_step_free(s);
        }
        for (int i = 0; i < 2; i++) {
            free(out[i]);
            free(pages[i]);
        }
        attend_rig_close(&r);
    }
}

static void a_generated_row_has_the_same_bits_in_every_batch(void **state) {
    (void)state;
    attend_rig r = attend_rig_open(NUM_BF16, 4, 1, 128);
    const part five[] = {{9, 300, 1}, {2, 16, 1}, {7, 127, 1}, {0, 0, 1}, {8, 200, 1}};
    write_before(&r, five, ARRAY_LEN(five));
    attend_step *s = attend_step_new(&r, five, ARRAY_LEN(five), 128, 128);
    decode(s, false);
    char *out = attend_step_out(s);
    for (uint32_t row = 0; row < s->rows; row++) {
        attend_step *one = attend_step_new(&r, five + row, 1, 128, 128);
        decode(one, true);
        char *alone = attend_step_out(one);
        assert_memory_equal(alone, out + row * one->out_bytes, one->out_bytes);
        free(alone);
        attend_step_free(one);
    }
    free(out);
    attend_step_free(s);
    attend_rig_close(&r);
}

static void the_number_of_splits_changes_roundings_only(void **state) {
    (void)state;
    const uint32_t splits[] = {WHOLE, 192, 64}; /* 301 keys: 1, 2 and 5 items */
    const uint32_t items[] = {1, 2, 5};
    const part row = {9, 300, 1};
    attend_rig r = attend_rig_open(NUM_F16, 6, 2, 64);
    attend_rig_write(&r, (part){9, 0, 300});
    for (size_t n = 0; n < ARRAY_LEN(splits); n++) splits_are_near(&r, &row, 1, splits[n], items[n]);
    attend_rig_close(&r);
}

/* A recorded step reads the number of items on the device and has a grid of its own; a step with more items
 * than there is room for partial results is launched in ranges. Twice each: the counters are as before. */
static void blocks_that_walk_items_make_the_same_bits(void **state) {
    (void)state;
    attend_rig r = attend_rig_open(NUM_BF16, 4, 2, 64);
    const part rows[] = {{9, 300, 1}, {2, 16, 1}, {7, 127, 1}, {8, 200, 1}};
    write_before(&r, rows, ARRAY_LEN(rows));
    attend_step *s = attend_step_new(&r, rows, ARRAY_LEN(rows), 128, 64); /* items: 5, 1, 2, 4 */
    assert_int_equal(s->items, 12);
    decode(s, false);
    void *direct = attend_step_out(s);
    const uint32_t grids[] = {1, 3, 20};
    for (size_t n = 0; n < 2 * ARRAY_LEN(grids); n++) {
        GPU_OK(cudaMemset(s->a.out, 0xff, s->out_bytes));
        GPU_OK(launch_attend_decode(&s->a, 0, UINT32_MAX, grids[n / 2], false, NULL));
        void *walked = attend_step_out(s);
        assert_memory_equal(walked, direct, s->out_bytes);
        free(walked);
        attend_step_zero_counters(s);
    }
    GPU_OK(cudaMemset(s->a.out, 0xff, s->out_bytes));
    const uint32_t begins[] = {0, 5, 8, 12};
    enum { ROOM = 5 }; /* partial results, of the longest range */
    size_t slot = sizeof(float) * s->a.heads * (s->a.head_dim + 2);
    GPU_OK(cudaMemset(s->a.partials, 0xff, s->items * slot));
    for (size_t i = 0; i + 1 < ARRAY_LEN(begins); i++)
        GPU_OK(launch_attend_decode(&s->a, begins[i], begins[i + 1] - begins[i], 2, false, NULL));
    void *ranges = attend_step_out(s);
    assert_memory_equal(ranges, direct, s->out_bytes);
    attend_step_zero_counters(s);
    unsigned char *partials = xmalloc(s->items * slot);
    gpu_read(partials, s->a.partials, s->items * slot);
    for (size_t i = ROOM * slot; i < s->items * slot; i++) assert_int_equal(partials[i], 0xff);
    free(partials);
    free(ranges);
    free(direct);
    attend_step_free(s);
    attend_rig_close(&r);
}

/* --- fp32 and refusals --- */

static void attention_in_fp32_takes_rows_of_any_kind(void **state) {
    (void)state;
    const uint32_t head_dims[] = {6, 34, 128, 256};
    const part parts[] = {{0, 0, 40}, {1, 33, 1}, {2, 64, 3}};
    for (size_t n = 0; n < ARRAY_LEN(head_dims); n++) {
        attend_rig r = attend_rig_open(NUM_F32, 2, 1, head_dims[n]);
        attend_rig_write(&r, (part){1, 0, 33});
        attend_rig_write(&r, (part){2, 0, 64});
        attend_step *s = attend_step_new(&r, parts, ARRAY_LEN(parts), 128, WHOLE);
        GPU_OK(launch_rope_kv(&s->a, NULL));
        GPU_OK(launch_attend_f32(&s->a, NULL));
        void *out = attend_step_out(s);
        attend_step_near(s, out);
        free(out);
        attend_step_free(s);
        attend_rig_close(&r);
    }
}

static void shapes_without_a_kernel_are_refused(void **state) {
    (void)state;
    attend_args a = {
        .type = NUM_BF16, .layers = 1, .kv_heads = 1, .heads = 1, .head_dim = 48, .rope_dim = 48, .rows = 1};
    assert_int_equal(launch_attend_prefill(&a, 0, 1, NULL), cudaErrorInvalidValue);
    assert_int_equal(launch_attend_decode(&a, 0, 1, 1, false, NULL), cudaErrorInvalidValue);
    a.head_dim = a.rope_dim = 64;
    a.heads = 17;
    assert_int_equal(launch_attend_decode(&a, 0, 1, 1, false, NULL), cudaErrorInvalidValue);
    assert_int_equal(launch_attend_f32(&a, NULL), cudaErrorInvalidValue);
    a.type = NUM_F32;
    assert_int_equal(launch_attend_prefill(&a, 0, 1, NULL), cudaErrorInvalidValue);
    assert_int_equal(launch_attend_decode(&a, 0, 1, 1, false, NULL), cudaErrorInvalidValue);
    a.head_dim = 258;
    assert_int_equal(launch_attend_f32(&a, NULL), cudaErrorInvalidValue);
    a.rope_dim = 260;
    assert_int_equal(launch_rope_kv(&a, NULL), cudaErrorInvalidValue);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_the_cosine_and_sine_of_every_angle),
        cmocka_unit_test(rotation_writes_the_pages_of_its_rows_and_nothing_else),
        cmocka_unit_test(prompts_of_all_lengths_in_one_launch_are_near_attention_in_double),
        cmocka_unit_test(a_chunk_sees_the_pages_of_the_chunks_before),
        cmocka_unit_test(however_a_prompt_is_cut_it_has_the_same_bits),
        cmocka_unit_test(a_row_alone_has_the_bits_of_the_row_among_others),
        cmocka_unit_test(generated_rows_are_near_attention_in_double),
        cmocka_unit_test(thousands_of_keys_may_be_one_split_or_dozens),
        cmocka_unit_test(rotation_inside_the_kernel_has_the_same_bits),
        cmocka_unit_test(a_generated_row_has_the_same_bits_in_every_batch),
        cmocka_unit_test(the_number_of_splits_changes_roundings_only),
        cmocka_unit_test(blocks_that_walk_items_make_the_same_bits),
        cmocka_unit_test(attention_in_fp32_takes_rows_of_any_kind),
        cmocka_unit_test(shapes_without_a_kernel_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
