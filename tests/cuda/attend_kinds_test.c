/* attend_kinds_test - what not every model's attention has: rotation of halves, norms of q and k, windows.
 * Against loops in double, and bit for bit against themselves. */
#include "tests/cuda/attend_rig.h"

#include "base/mem.h"
#include "base/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WHOLE = ATTEND_RIG_POSITIONS + DECODE_TILE_KEYS }; /* a split that has all keys */
#define NORM_EPS 1e-5f

typedef struct shape {
    num_type type;
    uint32_t heads, kv_heads, head_dim;
    rope_kind kind;
    bool norm;
    uint32_t window;
} shape;

static float norm_weight(bool is_k, uint32_t d) {
    return 1.0f + (float)random_weight(is_k ? 92 : 91, d) / 1024;
}

static attend_rig open_shape(shape s) {
    attend_rig r = attend_rig_open(s.type, s.heads, s.kv_heads, s.head_dim);
    r.a.kind = s.kind;
    r.a.window = s.window;
    r.a.norm_eps = NORM_EPS;
    float w[2][256];
    for (uint32_t d = 0; d < s.head_dim; d++)
        for (int is_k = 0; is_k < 2; is_k++) w[is_k][d] = norm_weight(is_k, d);
    if (!s.norm) return r;
    r.a.q_norm = gpu_new(w[0], s.head_dim * sizeof(float));
    r.a.k_norm = gpu_new(w[1], s.head_dim * sizeof(float));
    return r;
}

static void close_shape(attend_rig *r) {
    gpu_free(r->a.q_norm);
    gpu_free(r->a.k_norm);
    attend_rig_close(r);
}

/* --- heads --- */

/* A head of the row of qkv as it should be, in double. */
static void made_head(const attend_rig *r, uint32_t seq, uint32_t pos, uint32_t head, double out[256]) {
    const attend_args *a = &r->a;
    const bool is_k = head >= a->heads, is_v = head >= a->heads + a->kv_heads;
    double squares = 0;
    for (uint32_t d = 0; d < a->head_dim; d++) {
        out[d] = attend_rig_qkv(r, seq, pos, head * a->head_dim + d);
        squares += out[d] * out[d];
    }
    if (is_v) return;
    for (uint32_t d = 0; a->q_norm && d < a->head_dim; d++)
        out[d] *= (double)norm_weight(is_k, d) / sqrt(squares / a->head_dim + (double)NORM_EPS);
    for (uint32_t i = 0; i < a->rope_dim / 2; i++) {
        double *x = &out[a->kind == ROPE_HALVES ? i : 2 * i];
        double *y = a->kind == ROPE_HALVES ? x + a->rope_dim / 2 : x + 1;
        const double angle = pos * pow(10000.0, -2.0 * i / a->rope_dim), first = *x;
        *x = first * cos(angle) - *y * sin(angle);
        *y = first * sin(angle) + *y * cos(angle);
    }
}

static const shape made[] = {
    {NUM_BF16, 3, 1, 32, ROPE_HALVES, false, 0}, {NUM_F16, 4, 2, 64, ROPE_HALVES, true, 0},
    {NUM_BF16, 2, 2, 128, ROPE_PAIRS, true, 0},  {NUM_F32, 2, 1, 34, ROPE_HALVES, true, 0},
    {NUM_F32, 3, 1, 64, ROPE_HALVES, false, 0},
};

static void heads_are_normed_and_rotated_as_in_double_and_nothing_else_is_written(void **state) {
    (void)state;
    const part parts[] = {{1, 0, 3}, {4, 14, 5}, {2, 300, 1}};
    for (size_t n = 0; n < ARRAY_LEN(made); n++) {
        attend_rig r = open_shape(made[n]);
        const double rounding = r.a.type == NUM_BF16 ? 0x1p-8 : r.a.type == NUM_F16 ? 0x1p-11 : 1e-6;
        attend_step *s = attend_step_new(&r, parts, ARRAY_LEN(parts), 128, WHOLE);
        GPU_OK(launch_rope_kv(&s->a, NULL));
        char *qkv = attend_step_qkv(s), *pages = attend_rig_pages(&r);
        const uint32_t hd = r.a.head_dim, heads = r.a.heads + 2 * r.a.kv_heads;
        for (uint32_t row = 0; row < s->rows; row++)
            for (uint32_t h = 0; h < heads; h++) {
                double want[256];
                const size_t from = ((size_t)row * heads + h) * hd;
                made_head(&r, s->seq[row], s->pos[row], h, want);
                for (uint32_t d = 0; d < hd; d++) {
                    const double got = attend_rig_number(r.a.type, qkv, from + d);
                    if (!(fabs(got - want[d]) <= rounding * fabs(want[d]) + 2e-6))
                        fail_msg("case %zu head %u element %u: %.9g instead of %.9g", n, h, d, got, want[d]);
                }
                if (h < r.a.heads) continue;
                const uint32_t k = h - r.a.heads; /* pages have the very bits of qkv */
                const size_t to =
                    attend_rig_place(&r, s->seq[row], s->pos[row], k / r.a.kv_heads, k % r.a.kv_heads);
                assert_memory_equal(pages + to * r.elem, qkv + from * r.elem, hd * r.elem);
                memset(pages + to * r.elem, 0xff, hd * r.elem);
            }
        for (size_t i = 0; i < r.kv_bytes; i++) assert_int_equal((unsigned char)pages[i], 0xff);
        free(qkv);
        free(pages);
        attend_step_free(s);
        close_shape(&r);
    }
}

/* One row of each sequence, at the edges of pages, tiles and windows. */
static const part edges[] = {{0, 0, 1},  {1, 15, 1}, {2, 16, 1},  {3, 17, 1},  {4, 63, 1},
                             {5, 64, 1}, {6, 65, 1}, {7, 127, 1}, {8, 128, 1}, {9, 300, 1}};

static void write_before(attend_rig *r, const part *parts, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (parts[i].pos > 0) attend_rig_write(r, (part){parts[i].seq, 0, parts[i].pos});
}

static void decode(const attend_step *s, bool rope) {
    if (!rope) GPU_OK(launch_rope_kv(&s->a, NULL));
    GPU_OK(launch_attend_decode(&s->a, 0, s->items, s->items, rope, NULL));
}

static void heads_made_inside_the_kernel_have_the_same_bits(void **state) {
    (void)state;
    static const shape shapes[] = {{NUM_BF16, 4, 2, 128, ROPE_HALVES, true, 0},
                                   {NUM_F16, 4, 1, 64, ROPE_HALVES, false, 100},
                                   {NUM_BF16, 16, 1, 32, ROPE_PAIRS, true, 12},
                                   {NUM_BF16, 5, 1, 64, ROPE_PAIRS, false, 70}};
    static const uint32_t splits[] = {64, WHOLE};
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
            attend_step_zero_counters(s);
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
        close_shape(&r);
    }
}

/* --- windows --- */

static const uint32_t windows[] = {1, 12, 64, 65, 130, 290};

/* Pages before the first tile of keys that a row sees are NaN: they are not read. */
static void forget(const attend_rig *r, const part *p) {
    const uint32_t keys = p->pos + 1;
    const uint32_t first = keys > r->a.window ? (keys - r->a.window) / 64 * 64 : 0;
    for (uint32_t pos = 0; pos < first; pos++)
        for (uint32_t h = 0; h < 2 * r->a.kv_heads; h++) {
            const size_t at = attend_rig_place(r, p->seq, pos, h / r->a.kv_heads, h % r->a.kv_heads);
            GPU_OK(cudaMemset((char *)r->a.kv + at * r->elem, 0xff, r->a.head_dim * r->elem));
        }
}

static void generated_rows_see_their_window_and_read_no_tile_before_it(void **state) {
    (void)state;
    static const uint32_t splits[] = {64, 128, WHOLE};
    for (size_t n = 0; n < ARRAY_LEN(windows) * ARRAY_LEN(splits); n++) {
        attend_rig r = open_shape((shape){n % 2 ? NUM_BF16 : NUM_F16, 4, 2, n % 4 < 2 ? 64 : 32, ROPE_PAIRS,
                                          false, windows[n / ARRAY_LEN(splits)]});
        write_before(&r, edges, ARRAY_LEN(edges));
        for (size_t i = 0; i < ARRAY_LEN(edges); i++) forget(&r, &edges[i]);
        attend_step *s = attend_step_new(&r, edges, ARRAY_LEN(edges), 128, splits[n % ARRAY_LEN(splits)]);
        for (int recorded = 0; recorded < 2; recorded++) {
            GPU_OK(cudaMemset(s->a.out, 0xff, s->out_bytes));
            if (recorded)
                GPU_OK(launch_attend_decode(&s->a, 0, UINT32_MAX, 3, false, NULL));
            else
                decode(s, false);
            void *out = attend_step_out(s);
            attend_step_near(s, out);
            attend_step_zero_counters(s);
            free(out);
        }
        attend_step_free(s);
        close_shape(&r);
    }
}

static void a_window_as_long_as_the_row_changes_no_bit(void **state) {
    (void)state;
    void *out[2];
    for (int windowed = 0; windowed < 2; windowed++) {
        attend_rig r = open_shape((shape){NUM_BF16, 4, 2, 64, ROPE_PAIRS, false, windowed ? 301 : 0});
        write_before(&r, edges, ARRAY_LEN(edges));
        attend_step *s = attend_step_new(&r, edges, ARRAY_LEN(edges), 128, 64);
        decode(s, true);
        out[windowed] = attend_step_out(s);
        if (windowed) assert_memory_equal(out[1], out[0], s->out_bytes);
        attend_step_free(s);
        close_shape(&r);
    }
    free(out[0]);
    free(out[1]);
}

/* 520 and 600: the walk begins in the middle of the pages that are looked up together, or at their first. */
static void chunks_of_prompts_see_their_window(void **state) {
    (void)state;
    static const part parts[] = {{3, 50, 40}, {7, 0, 140}, {6, 191, 70}, {2, 62, 3}, {9, 520, 20}, {8, 0, 1}};
    for (size_t n = 0; n < ARRAY_LEN(windows); n++) {
        attend_rig r = open_shape(
            (shape){n % 2 ? NUM_BF16 : NUM_F16, 2, 1, n % 3 ? 64 : 128, ROPE_PAIRS, false, windows[n]});
        write_before(&r, parts, ARRAY_LEN(parts));
        for (size_t i = 0; i < ARRAY_LEN(parts); i++) forget(&r, &parts[i]);
        attend_step *s = attend_step_new(&r, parts, ARRAY_LEN(parts), PREFILL_TILE_ROWS, WHOLE);
        GPU_OK(launch_rope_kv(&s->a, NULL));
        GPU_OK(launch_attend_prefill(&s->a, 0, s->tiles, NULL));
        void *out = attend_step_out(s);
        attend_step_near(s, out);
        free(out);
        attend_step_free(s);
        close_shape(&r);
    }
}

static void however_a_prompt_is_cut_a_window_leaves_the_same_bits(void **state) {
    (void)state;
    enum { ROWS = 200, SEQ = 8 };
    static const uint32_t cuts[][2] = {{ROWS, PREFILL_TILE_ROWS}, {16, 128}, {61, 61}, {ROWS, 37}};
    for (size_t n = 1; n < 4; n++) {
        attend_rig r = open_shape((shape){NUM_BF16, 2, 1, 64, ROPE_HALVES, true, windows[n]});
        const size_t width = (size_t)r.a.heads * r.a.head_dim * r.elem;
        char *outs[2] = {xmalloc(ROWS * width), xmalloc(ROWS * width)};
        for (size_t c = 0; c < ARRAY_LEN(cuts); c++) {
            attend_rig_clear(&r);
            for (uint32_t pos = 0; pos < ROWS; pos += cuts[c][0]) {
                const part p = {SEQ, pos, MIN(cuts[c][0], ROWS - pos)};
                attend_step *s = attend_step_new(&r, &p, 1, cuts[c][1], WHOLE);
                GPU_OK(launch_rope_kv(&s->a, NULL));
                GPU_OK(launch_attend_prefill(&s->a, 0, s->tiles, NULL));
                char *out = attend_step_out(s);
                memcpy(outs[c > 0] + pos * width, out, s->out_bytes);
                free(out);
                attend_step_free(s);
            }
            if (c > 0) assert_memory_equal(outs[1], outs[0], ROWS * width);
        }
        free(outs[0]);
        free(outs[1]);
        close_shape(&r);
    }
}

static void attention_in_fp32_has_windows_too(void **state) {
    (void)state;
    static const part parts[] = {{0, 0, 40}, {1, 33, 1}, {2, 64, 3}};
    for (size_t n = 0; n < ARRAY_LEN(windows); n++) {
        attend_rig r = open_shape((shape){NUM_F32, 2, 1, 34, ROPE_HALVES, true, windows[n]});
        attend_rig_write(&r, (part){1, 0, 33});
        attend_rig_write(&r, (part){2, 0, 64});
        attend_step *s = attend_step_new(&r, parts, ARRAY_LEN(parts), 128, WHOLE);
        GPU_OK(launch_rope_kv(&s->a, NULL));
        GPU_OK(launch_attend_f32(&s->a, NULL));
        void *out = attend_step_out(s);
        attend_step_near(s, out);
        free(out);
        attend_step_free(s);
        close_shape(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_normed_and_rotated_as_in_double_and_nothing_else_is_written),
        cmocka_unit_test(heads_made_inside_the_kernel_have_the_same_bits),
        cmocka_unit_test(generated_rows_see_their_window_and_read_no_tile_before_it),
        cmocka_unit_test(a_window_as_long_as_the_row_changes_no_bit),
        cmocka_unit_test(chunks_of_prompts_see_their_window),
        cmocka_unit_test(however_a_prompt_is_cut_a_window_leaves_the_same_bits),
        cmocka_unit_test(attention_in_fp32_has_windows_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
