#include "tests/cuda/attend_rig.h"

#include "base/mem.h"
#include "base/tensor.h"
#include "kernels/half.h"
#include "kv/kv_layout.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 2, LAYER = 1, PADDING = 1 };
#define ROPE_BASE 10000.0

/* --- numbers --- */

static void put_number(num_type type, void *values, size_t i, float x) {
    if (type == NUM_F32) {
        ((float *)values)[i] = x;
    } else {
        ((uint16_t *)values)[i] = type == NUM_F16 ? half_of_f32(x) : (uint16_t)(f32_bits(x) >> 16);
    }
}

double attend_rig_number(num_type type, const void *values, size_t i) {
    if (type == NUM_F32) return ((const float *)values)[i];
    uint16_t bits = ((const uint16_t *)values)[i];
    return type == NUM_F16 ? f32_of_half(bits) : f32_of_bf16(bits);
}

/* Uniform in -2..2: scores then have a deviation of about 1.8, so that some keys stand out and none is alone.
 */
double attend_rig_qkv(const attend_rig *r, uint32_t seq, uint32_t pos, uint32_t i) {
    uint64_t seed = ((uint64_t)seq << 32) + pos;
    float x =
        (float)random_weight(seed, 2 * (uint64_t)i) + (float)random_weight(seed, 2 * (uint64_t)i + 1) / 256;
    return gpu_rounded(r->a.type, x / 128);
}

/* --- rig --- */

attend_rig attend_rig_open(num_type type, uint32_t heads, uint32_t kv_heads, uint32_t head_dim) {
    attend_rig r = {.elem = type == NUM_F32 ? 4 : 2};
    r.kv_bytes = (size_t)ATTEND_RIG_PAGES * LAYERS * 2 * kv_heads * KV_PAGE_TOKENS * head_dim * r.elem;
    uint32_t rope_dim =
        head_dim >= 8 ? head_dim - 6 : head_dim; /* the last three pairs stay, within a unit of four */
    float *rope = gpu_new(NULL, (size_t)ATTEND_RIG_POSITIONS * rope_dim * sizeof(float));
    GPU_OK(launch_rope_table(rope, ATTEND_RIG_POSITIONS, rope_dim, ROPE_BASE, NULL, 1, NULL));
    r.a = (attend_args){.type = type,
                        .kv = gpu_new(NULL, r.kv_bytes),
                        .layers = LAYERS,
                        .layer = LAYER,
                        .kv_heads = kv_heads,
                        .heads = heads,
                        .head_dim = head_dim,
                        .scale = 1 / sqrtf((float)head_dim),
                        .rope = rope,
                        .rope_dim = rope_dim};
    return r;
}

void attend_rig_close(attend_rig *r) {
    gpu_free(r->a.kv);
    gpu_free(r->a.rope);
    *r = (attend_rig){0};
}

void attend_rig_clear(attend_rig *r) {
    GPU_OK(cudaMemset(r->a.kv, 0xff, r->kv_bytes));
}

void *attend_rig_pages(const attend_rig *r) {
    void *pages = xmalloc(r->kv_bytes);
    gpu_read(pages, r->a.kv, r->kv_bytes);
    return pages;
}

/* ATTEND_RIG_PAGES is prime, so multiples of 77 are all different. */
static uint32_t page_of(uint32_t seq, uint32_t index) {
    return (seq * ATTEND_RIG_SEQ_PAGES + index + 1) * 77 % ATTEND_RIG_PAGES;
}

size_t attend_rig_place(const attend_rig *r, uint32_t seq, uint32_t pos, uint32_t is_v, uint32_t kv_head) {
    kv_layout l = {.type = r->elem == 4 ? DT_F32 : DT_F16,
                   .layers = LAYERS,
                   .kv_heads = r->a.kv_heads,
                   .head_dim = r->a.head_dim};
    size_t tile = kv_tile_offset(&l, page_of(seq, pos / KV_PAGE_TOKENS), LAYER, is_v, kv_head) / r->elem;
    return tile + (size_t)(pos % KV_PAGE_TOKENS) * r->a.head_dim;
}

void attend_rig_write(attend_rig *r, part p) {
    attend_step *s = attend_step_new(r, &p, 1, PREFILL_TILE_ROWS, ATTEND_RIG_POSITIONS);
    GPU_OK(launch_rope_kv(&s->a, NULL));
    attend_step_free(s);
}

/* --- steps --- */

static uint32_t row_width(const attend_rig *r) {
    return (r->a.heads + 2 * r->a.kv_heads) * r->a.head_dim;
}

static void make_tiles(attend_step *s, const part *parts, uint32_t count, uint32_t tile_rows) {
    prefill_tile tiles[ARRAY_LEN(s->pos)];
    for (uint32_t p = 0, row = 0; p < count; p++)
        for (uint32_t i = 0; i < parts[p].rows;) {
            uint32_t n = MIN(tile_rows, parts[p].rows - i);
            tiles[s->tiles++] = (prefill_tile){.row = row, .count = n};
            i += n;
            row += n;
        }
    s->a.t.tiles = gpu_new(tiles, s->tiles * sizeof *tiles);
}

static void make_items(attend_step *s, uint32_t split) {
    enum { ITEMS_MAX = ATTEND_RIG_POSITIONS * 2 };
    decode_item *items = xcalloc(ITEMS_MAX, sizeof *items);
    for (uint32_t row = 0; row < s->rows; row++) {
        uint32_t keys = s->pos[row] + 1, splits = (keys + split - 1) / split;
        for (uint32_t i = 0; i < splits; i++) {
            assert_true(s->items < ITEMS_MAX);
            items[s->items++] = (decode_item){.row = row,
                                              .begin = i * split,
                                              .end = MIN((i + 1) * split, keys),
                                              .split = (uint16_t)i,
                                              .splits = (uint16_t)splits};
        }
    }
    s->a.t.items = gpu_new(items, s->items * sizeof *items);
    free(items);
    uint32_t *zeros = xcalloc(s->items * s->a.kv_heads, sizeof *zeros);
    s->a.counters = gpu_new(zeros, (size_t)s->items * s->a.kv_heads * sizeof *zeros);
    s->a.partials = gpu_new(NULL, (size_t)s->items * s->a.heads * (s->a.head_dim + 2) * sizeof(float));
    free(zeros);
}

static void make_tables(attend_step *s) {
    uint32_t pages[ATTEND_RIG_TABLE], first[ARRAY_LEN(s->pos) + PADDING], pos[ARRAY_LEN(s->pos) + PADDING];
    for (uint32_t i = 0; i < ATTEND_RIG_TABLE; i++) pages[i] = page_of(0, i);
    memset(first, 0xff, sizeof first);
    memset(pos, 0xff, sizeof pos);
    memcpy(pos, s->pos, s->rows * sizeof *pos);
    for (uint32_t row = 0; row < s->rows; row++) first[row] = s->seq[row] * ATTEND_RIG_SEQ_PAGES;
    step_header header = {.rows = s->rows, .items = s->items};
    s->a.t.header = gpu_new(&header, sizeof header);
    s->a.t.pages = gpu_new(pages, sizeof pages);
    s->a.t.pos = gpu_new(pos, (s->rows + PADDING) * sizeof *pos);
    s->a.t.row_pages = gpu_new(first, (s->rows + PADDING) * sizeof *first);
}

static void make_rows(attend_step *s) {
    const attend_rig *r = s->rig;
    size_t width = row_width(r), bytes = (s->rows + PADDING) * width * r->elem;
    char *qkv = xmalloc(bytes);
    memset(qkv, 0xff, bytes);
    for (uint32_t row = 0; row < s->rows; row++)
        for (uint32_t i = 0; i < width; i++)
            put_number(r->a.type, qkv, row * width + i,
                       (float)attend_rig_qkv(r, s->seq[row], s->pos[row], i));
    s->a.qkv = gpu_new(qkv, bytes);
    s->out_bytes = (size_t)s->rows * r->a.heads * r->a.head_dim * r->elem;
    s->a.out = gpu_new(NULL, s->out_bytes + (size_t)PADDING * r->a.heads * r->a.head_dim * r->elem);
    free(qkv);
}

attend_step *attend_step_new(const attend_rig *r, const part *parts, uint32_t count, uint32_t tile_rows,
                             uint32_t split) {
    attend_step *s = xcalloc(1, sizeof *s);
    s->rig = r;
    s->a = r->a;
    for (uint32_t p = 0; p < count; p++)
        for (uint32_t i = 0; i < parts[p].rows; i++) {
            assert_true(s->rows < ARRAY_LEN(s->pos));
            assert_true(parts[p].seq < ATTEND_RIG_SEQS);
            assert_true(parts[p].pos + i < (parts[p].seq + 1 < ATTEND_RIG_SEQS
                                                ? ATTEND_RIG_SEQ_PAGES * KV_PAGE_TOKENS
                                                : ATTEND_RIG_POSITIONS));
            s->seq[s->rows] = parts[p].seq;
            s->pos[s->rows++] = parts[p].pos + i;
        }
    s->a.rows = s->rows + PADDING;
    make_tiles(s, parts, count, tile_rows);
    make_items(s, split);
    make_tables(s);
    make_rows(s);
    return s;
}

void attend_step_free(attend_step *s) {
    GPU_OK(cudaDeviceSynchronize());
    const void *const owned[] = {s->a.t.tiles, s->a.t.items,     s->a.counters, s->a.partials, s->a.t.header,
                                 s->a.t.pages, s->a.t.row_pages, s->a.t.pos,    s->a.qkv,      s->a.out};
    for (size_t i = 0; i < ARRAY_LEN(owned); i++) gpu_free(owned[i]);
    free(s);
}

void *attend_step_qkv(const attend_step *s) {
    size_t bytes = (size_t)s->rows * row_width(s->rig) * s->rig->elem;
    void *qkv = xmalloc(bytes);
    gpu_read(qkv, s->a.qkv, bytes);
    return qkv;
}

void *attend_step_out(const attend_step *s) {
    void *out = xmalloc(s->out_bytes);
    gpu_read(out, s->a.out, s->out_bytes);
    return out;
}

void attend_step_zero_counters(const attend_step *s) {
    uint32_t count = s->items * s->a.kv_heads, *counters = xcalloc(count, sizeof *counters);
    gpu_read(counters, s->a.counters, count * sizeof *counters);
    for (uint32_t i = 0; i < count; i++) assert_int_equal(counters[i], 0);
    free(counters);
}

/* --- attention in double --- */

/* out[head_dim] of one row and query head; also the largest |v| that it saw. */
static double attend_double(const attend_step *s, const void *qkv, const void *pages, uint32_t row,
                            uint32_t head, double *out) {
    const attend_rig *r = s->rig;
    const attend_args *a = &r->a;
    uint32_t kv_head = head / (a->heads / a->kv_heads), keys = s->pos[row] + 1;
    size_t q = (size_t)row * row_width(r) + (size_t)head * a->head_dim;
    double score[ATTEND_RIG_POSITIONS], top = -INFINITY, total = 0, most = 0;
    const uint32_t first = a->window != 0 && keys > a->window ? keys - a->window : 0;
    for (uint32_t key = first; key < keys; key++) {
        size_t k = attend_rig_place(r, s->seq[row], key, 0, kv_head);
        score[key] = 0;
        for (uint32_t d = 0; d < a->head_dim; d++)
            score[key] += attend_rig_number(a->type, qkv, q + d) * attend_rig_number(a->type, pages, k + d);
        score[key] *= (double)a->scale;
        top = fmax(top, score[key]);
    }
    memset(out, 0, a->head_dim * sizeof *out);
    for (uint32_t key = first; key < keys; key++) {
        size_t v = attend_rig_place(r, s->seq[row], key, 1, kv_head);
        double weight = exp(score[key] - top);
        total += weight;
        for (uint32_t d = 0; d < a->head_dim; d++) {
            double x = attend_rig_number(a->type, pages, v + d);
            out[d] += weight * x;
            most = fmax(most, fabs(x));
        }
    }
    for (uint32_t d = 0; d < a->head_dim; d++) out[d] /= total;
    return most;
}

/* The kernels round each weight and each result to the type, by at most a share u of it: an error of u *
 * (largest |v|) for the weighted mean and of u * |out| (u = 2^-8 of bf16, 2^-11 of f16). A fifth more for
 * what is done in fp32, where scores of up to about 10 have errors of some 1e-6; in the f32 kernel that is
 * all there is. */
void attend_step_near(const attend_step *s, const void *out) {
    const attend_args *a = &s->a;
    double rounding = a->type == NUM_BF16 ? 0x1p-8 : a->type == NUM_F16 ? 0x1p-11 : 4e-6;
    double expect[256];
    void *qkv = attend_step_qkv(s), *pages = attend_rig_pages(s->rig);
    for (uint32_t row = 0; row < s->rows; row++)
        for (uint32_t head = 0; head < a->heads; head++) {
            double most = attend_double(s, qkv, pages, row, head, expect);
            for (uint32_t d = 0; d < a->head_dim; d++) {
                double got =
                    attend_rig_number(a->type, out, ((size_t)row * a->heads + head) * a->head_dim + d);
                double bound = 1.2 * rounding * (most + fabs(expect[d]));
                if (!(fabs(got - expect[d]) <= bound))
                    fail_msg("sequence %u position %u head %u element %u: %g instead of %g (bound %g)",
                             s->seq[row], s->pos[row], head, d, got, expect[d], bound);
            }
        }
    free(qkv);
    free(pages);
}
