/* attention - softmax(q . k * scale) v over pages, tile by tile of KV_PAGE_TOKENS keys, with a running
 * maximum.
 *
 *   block of rows of one sequence x one KV head = one task:
 *     for each tile of 16 positions, from 0:   K -> kt [dim][16 keys], V -> vt [16 keys][dim]; once per task
 *       scores    s[16] = chain over dim of q[dim] * kt[dim]          per (row, query head)
 *       weights   p = e^(s - top), and what earlier tiles found shrinks by e^(old top - top)
 *       sum       acc[dim] = chain over keys of p[key] * vt[key]
 *
 * What a row computes is fixed by its own position: it meets tiles 0..pos/16 in order, and in the last one
 * the keys after pos are left out (a score of -inf and no term in the chain, so what stale bytes lie there
 * does not matter). With a window it begins at the tile of the first key that it sees, where the keys before
 * that one get a score of -inf. The other rows of the block share converted tiles and nothing else; that, and
 * the group of query heads per KV head, is what makes a chunk of a prompt cheap. A decode step is a block of
 * one row.
 */
#include "kernels/cpu/isa/isa.h"

#include <math.h>

#define TILE ((size_t)KV_PAGE_TOKENS)
#define TV   (TILE / SIMD_WIDTH) /* vectors of one row of kt */
/* Queries whose scores are computed at the same time (many, and the few that are left), and queries and
 * vectors of a tile of the sum: accumulators in registers. */
#if SIMD_WIDTH == 16
#define SCORE_QUERIES 12u
#define SCORE_FEW     3u
#define SUM_QUERIES   4u
#define SUM_VECTORS   4u
#elif SIMD_KIND == 2
#define SCORE_QUERIES 6u
#define SCORE_FEW     3u
#define SUM_QUERIES   3u
#define SUM_VECTORS   4u
#else
#define SCORE_QUERIES 2u
#define SCORE_FEW     1u
#define SUM_QUERIES   2u
#define SUM_VECTORS   2u
#endif

enum {
    BLOCK_ROWS = 16,
    BLOCK_QUERIES =
        64, /* rows times query heads per KV head, but at least one row: state stays in the L2 cache */
};

/* Rows of one sequence at consecutive positions. */
typedef struct row_block {
    uint32_t begin, count;
} row_block;

typedef struct attention_job {
    const host_attention *op;
    device *dev;
    const row_block *blocks;
    uint32_t block_count;
    uint32_t group;      /* query heads per KV head */
    uint32_t dim_padded; /* head_dim in whole vectors */
    uint32_t queries_max;
} attention_job;

/* One task's state in a thread's scratch. Query i is row i / group, head i % group of the KV head. */
typedef struct block_state {
    float *kt;       /* [head_dim, TILE] */
    float *vt;       /* [TILE, dim_padded] */
    float *scores;   /* [queries, TILE]; then the weights p */
    float *acc;      /* [queries, dim_padded] */
    float *top;      /* [queries] highest score so far */
    float *shrink;   /* [queries] what earlier tiles' sums are multiplied by */
    float *total;    /* [queries] sum of weights so far */
    const float **q; /* [queries] -> [head_dim] */
} block_state;

static uint32_t whole_vectors(uint32_t floats) {
    return (floats + SIMD_WIDTH - 1) / SIMD_WIDTH * SIMD_WIDTH;
}

static size_t state_bytes(const attention_job *j) {
    size_t queries = whole_vectors(j->queries_max);
    size_t floats = (size_t)j->op->layout->head_dim * TILE + (size_t)TILE * j->dim_padded + queries * TILE +
                    queries * j->dim_padded + 3 * queries;
    return floats * sizeof(float) + queries * sizeof(float *);
}

static block_state state_at(const attention_job *j, void *scratch) {
    size_t queries = whole_vectors(j->queries_max);
    block_state s;
    s.q = scratch;
    s.kt = (float *)(void *)(s.q + queries);
    s.vt = s.kt + (size_t)j->op->layout->head_dim * TILE;
    s.scores = s.vt + (size_t)TILE * j->dim_padded;
    s.acc = s.scores + queries * TILE;
    s.top = s.acc + queries * j->dim_padded;
    s.shrink = s.top + queries;
    s.total = s.shrink + queries;
    return s;
}

/* ---- tiles to fp32 ---- */

typedef uint16_t h8 __attribute__((vector_size(16)));
typedef uint32_t w4 __attribute__((vector_size(16)));
typedef uint64_t d2 __attribute__((vector_size(16)));

/* Rows to columns, 8 x 8 halves, by interleaving 16, 32 and 64 bits. */
INLINE void transpose_halves(const uint8_t *from, size_t row_bytes, uint16_t *to, size_t to_stride) {
    h8 r[8];
    w4 s[8];
    d2 t[8];
    UNROLL for (size_t i = 0; i < 8; i++) memcpy(&r[i], from + i * row_bytes, sizeof r[i]);
    UNROLL for (size_t i = 0; i < 4; i++) {
        s[2 * i] = (w4)__builtin_shufflevector(r[2 * i], r[2 * i + 1], 0, 8, 1, 9, 2, 10, 3, 11);
        s[2 * i + 1] = (w4)__builtin_shufflevector(r[2 * i], r[2 * i + 1], 4, 12, 5, 13, 6, 14, 7, 15);
    }
    UNROLL for (size_t i = 0; i < 2; i++) {
        UNROLL for (size_t half = 0; half < 2; half++) {
            t[4 * i + 2 * half] =
                (d2)__builtin_shufflevector(s[4 * i + half], s[4 * i + 2 + half], 0, 4, 1, 5);
            t[4 * i + 2 * half + 1] =
                (d2)__builtin_shufflevector(s[4 * i + half], s[4 * i + 2 + half], 2, 6, 3, 7);
        }
    }
    UNROLL for (size_t i = 0; i < 4; i++) {
        d2 even = __builtin_shufflevector(t[i], t[i + 4], 0, 2),
           odd = __builtin_shufflevector(t[i], t[i + 4], 1, 3);
        memcpy(to + 2 * i * to_stride, &even, sizeof even);
        memcpy(to + (2 * i + 1) * to_stride, &odd, sizeof odd);
    }
}

static void load_keys(const kv_layout *l, const uint8_t *tile, float *kt) {
    if (l->type == DT_F32) {
        const float *from = (const float *)(const void *)tile;
        for (uint32_t i = 0; i < l->head_dim; i++)
            for (uint32_t key = 0; key < TILE; key++)
                kt[i * TILE + key] = from[(size_t)key * l->head_dim + i];
        return;
    }
    size_t row_bytes = (size_t)l->head_dim * 2;
    for (size_t i = 0; i < l->head_dim; i += 8) {
        uint16_t columns[8 * TILE];
        transpose_halves(tile + i * 2, row_bytes, columns, TILE);
        transpose_halves(tile + 8 * row_bytes + i * 2, row_bytes, columns + 8, TILE);
        UNROLL for (size_t v = 0; v < 8 * TV; v++)
            vf_store(kt + i * TILE + v * SIMD_WIDTH, vf_load_half(columns + v * SIMD_WIDTH));
    }
}

static void load_values(const kv_layout *l, const uint8_t *tile, uint32_t keys, float *vt,
                        uint32_t dim_padded) {
    uint32_t whole = l->head_dim / SIMD_WIDTH * SIMD_WIDTH, rest = l->head_dim - whole;
    for (uint32_t key = 0; key < keys; key++) {
        const uint8_t *from = tile + (size_t)key * l->head_dim * kv_elem_bytes(l);
        float *to = vt + (size_t)key * dim_padded;
        if (l->type == DT_F32) {
            memcpy(to, from, l->head_dim * sizeof *to); /* the padding is summed, and never stored */
            continue;
        }
        for (size_t i = 0; i < whole; i += SIMD_WIDTH) vf_store(to + i, vf_load_half(from + i * 2));
        if (rest) {
            uint16_t halves[SIMD_WIDTH] = {0};
            memcpy(halves, from + (size_t)whole * 2, rest * sizeof *halves);
            vf_store(to + whole, vf_load_half(halves));
        }
    }
}

/* ---- scores ---- */

INLINE void score(uint32_t queries, const float *const *q, const float *kt, uint32_t head_dim, float scale,
                  float *out) {
    vf acc[SCORE_QUERIES][TV];
    UNROLL for (uint32_t n = 0; n < queries; n++) {
        UNROLL for (size_t v = 0; v < TV; v++) acc[n][v] = vf_zero();
    }
    for (uint32_t i = 0; i < head_dim; i++) {
        vf k[TV];
        UNROLL for (size_t v = 0; v < TV; v++) k[v] = vf_load(kt + i * TILE + v * SIMD_WIDTH);
        UNROLL for (uint32_t n = 0; n < queries; n++) {
            vf x = vf_set1(q[n][i]);
            UNROLL for (size_t v = 0; v < TV; v++) acc[n][v] = vf_fma(x, k[v], acc[n][v]);
        }
    }
    UNROLL for (uint32_t n = 0; n < queries; n++) {
        UNROLL for (size_t v = 0; v < TV; v++)
            vf_store(out + n * TILE + v * SIMD_WIDTH, acc[n][v] * vf_set1(scale));
    }
}

static void score_all(const attention_job *j, const block_state *s, uint32_t from, uint32_t to) {
    uint32_t head_dim = j->op->layout->head_dim, n = from;
    float scale = j->op->scale;
    for (; n + SCORE_QUERIES <= to; n += SCORE_QUERIES)
        score(SCORE_QUERIES, s->q + n, s->kt, head_dim, scale, s->scores + n * TILE);
    for (; n + SCORE_FEW <= to; n += SCORE_FEW)
        score(SCORE_FEW, s->q + n, s->kt, head_dim, scale, s->scores + n * TILE);
    for (; n < to; n++) score(1, s->q + n, s->kt, head_dim, scale, s->scores + n * TILE);
}

/* ---- softmax over what was seen so far ---- */

/* Scores of query n become weights; top, total and shrink move on. Keys [begin, end) of the tile count. */
static void find_top(const block_state *s, uint32_t n, uint32_t begin, uint32_t end) {
    float *row = s->scores + n * TILE;
    for (uint32_t key = 0; key < begin; key++) row[key] = -INFINITY;
    for (uint32_t key = end; key < TILE; key++) row[key] = -INFINITY;
    vf m = vf_load(row);
    UNROLL for (size_t v = 1; v < TV; v++) m = vf_max(m, vf_load(row + v * SIMD_WIDTH));
    float top = vf_top(m);
    if (top < s->top[n]) top = s->top[n];
    s->shrink[n] = s->top[n] - top;
    s->top[n] = top;
}

static void weigh(const block_state *s, uint32_t n) {
    float *row = s->scores + n * TILE;
    vf top = vf_set1(s->top[n]), p[TV];
    UNROLL for (size_t v = 0; v < TV; v++) {
        p[v] = vf_exp(vf_load(row + v * SIMD_WIDTH) - top);
        vf_store(row + v * SIMD_WIDTH, p[v]);
    }
    UNROLL for (size_t v = 1; v < TV; v++) p[0] = p[0] + p[v];
    s->total[n] = s->total[n] * s->shrink[n] + vf_sum(p[0]);
}

/* ---- sums ---- */

/* vectors * SIMD_WIDTH dims of `queries` queries. */
INLINE void sum_tile(uint32_t queries, uint32_t vectors, const block_state *s, uint32_t n, uint32_t keys,
                     uint32_t dim, uint32_t dim_padded) {
    vf acc[SUM_QUERIES][SUM_VECTORS];
    float *to = s->acc + (size_t)n * dim_padded + dim;
    const float *p = s->scores + n * TILE, *vt = s->vt + dim;
    UNROLL for (uint32_t i = 0; i < queries; i++) {
        vf shrink = vf_set1(s->shrink[n + i]);
        UNROLL for (size_t v = 0; v < vectors; v++) acc[i][v] =
            vf_load(to + (size_t)i * dim_padded + v * SIMD_WIDTH) * shrink;
    }
    for (uint32_t key = 0; key < keys; key++) {
        vf values[SUM_VECTORS];
        UNROLL for (size_t v = 0; v < vectors; v++) values[v] =
            vf_load(vt + (size_t)key * dim_padded + v * SIMD_WIDTH);
        UNROLL for (uint32_t i = 0; i < queries; i++) {
            vf share = vf_set1(p[i * TILE + key]);
            UNROLL for (size_t v = 0; v < vectors; v++) acc[i][v] = vf_fma(share, values[v], acc[i][v]);
        }
    }
    UNROLL for (uint32_t i = 0; i < queries; i++) {
        UNROLL for (size_t v = 0; v < vectors; v++)
            vf_store(to + (size_t)i * dim_padded + v * SIMD_WIDTH, acc[i][v]);
    }
}

INLINE void sum(uint32_t queries, const block_state *s, uint32_t n, uint32_t keys, uint32_t dim_padded) {
    uint32_t dim = 0;
    for (; dim + SUM_VECTORS * SIMD_WIDTH <= dim_padded; dim += SUM_VECTORS * SIMD_WIDTH)
        sum_tile(queries, SUM_VECTORS, s, n, keys, dim, dim_padded);
    for (; dim < dim_padded; dim += SIMD_WIDTH) sum_tile(queries, 1, s, n, keys, dim, dim_padded);
}

/* Queries [from, to) of the same number of keys. */
static void sum_all(const attention_job *j, const block_state *s, uint32_t from, uint32_t to, uint32_t keys) {
    uint32_t n = from;
    for (; n + SUM_QUERIES <= to; n += SUM_QUERIES) sum(SUM_QUERIES, s, n, keys, j->dim_padded);
    for (; n < to; n++) sum(1, s, n, keys, j->dim_padded);
}

/* ---- a task ---- */

static void begin_block(const attention_job *j, const block_state *s, const row_block *b, uint32_t kv_head) {
    const host_attention *a = j->op;
    uint32_t queries = b->count * j->group;
    for (uint32_t n = 0; n < queries; n++) {
        size_t head =
            (size_t)(b->begin + n / j->group) * a->heads + (size_t)kv_head * j->group + n % j->group;
        s->q[n] = a->q + head * a->layout->head_dim;
        s->top[n] = -INFINITY;
        s->total[n] = 0.0f;
    }
    memset(s->acc, 0, (size_t)queries * j->dim_padded * sizeof *s->acc);
}

/* The first position that a row at `pos` sees. */
static uint32_t first_seen(const host_attention *a, uint32_t pos) {
    return a->window > 0 && pos >= a->window ? pos + 1 - a->window : 0;
}

static void attend_tile(const attention_job *j, const block_state *s, const row_block *b, uint32_t tile,
                        uint32_t kv_head) {
    const host_attention *a = j->op;
    const kv_layout *l = a->layout;
    const kv_ref *refs = a->refs + b->begin;
    const uint8_t *kv = a->kv;
    uint32_t group = j->group;
    uint32_t first_key = tile * TILE, last_pos = refs[b->count - 1].pos, page = refs[0].pages[tile];
    /* Rows before first_row do not see this tile. */
    uint32_t first_row = refs[0].pos >= first_key ? 0 : first_key - refs[0].pos;
    uint32_t end_row = b->count; /* and rows from end_row on no key of it any more */
    while (first_seen(a, refs[end_row - 1].pos) >= first_key + TILE) end_row--;
    uint32_t from = first_row * group, to = end_row * group;
    load_keys(l, kv + kv_tile_offset(l, page, a->layer, 0, kv_head), s->kt);
    load_values(l, kv + kv_tile_offset(l, page, a->layer, 1, kv_head), MIN(last_pos - first_key + 1, TILE),
                s->vt, j->dim_padded);
    score_all(j, s, from, to);
    uint32_t full = to; /* queries from here on see the whole tile */
    for (uint32_t r = first_row; r < end_row; r++) {
        uint32_t keys = MIN(refs[r].pos - first_key + 1, TILE), seen = first_seen(a, refs[r].pos);
        uint32_t begin = seen > first_key ? seen - first_key : 0;
        if (keys == TILE && full == to) full = r * group;
        for (uint32_t n = r * group; n < (r + 1) * group; n++) find_top(s, n, begin, keys);
    }
    for (uint32_t n = from / SIMD_WIDTH * SIMD_WIDTH; n < to; n += SIMD_WIDTH)
        vf_store(s->shrink + n, vf_exp(vf_load(s->shrink + n)));
    for (uint32_t n = from; n < to; n++) weigh(s, n);
    for (uint32_t r = first_row; r * group < full; r++)
        sum_all(j, s, r * group, (r + 1) * group, refs[r].pos - first_key + 1);
    sum_all(j, s, full, to, TILE);
}

static void end_block(const attention_job *j, const block_state *s, const row_block *b, uint32_t kv_head) {
    const host_attention *a = j->op;
    for (uint32_t n = 0; n < b->count * j->group; n++) {
        size_t head =
            (size_t)(b->begin + n / j->group) * a->heads + (size_t)kv_head * j->group + n % j->group;
        float *out = a->out + head * a->layout->head_dim;
        const float *acc = s->acc + (size_t)n * j->dim_padded;
        for (uint32_t i = 0; i < a->layout->head_dim; i++) out[i] = acc[i] / s->total[n];
    }
}

static void attention_task(void *ctx, uint32_t task, uint32_t thread) {
    const attention_job *j = ctx;
    uint32_t kv_head = task % j->op->layout->kv_heads;
    /* The last blocks of a prompt see most keys: they go first. */
    const row_block *b = &j->blocks[j->block_count - 1 - task / j->op->layout->kv_heads];
    block_state s = state_at(j, j->dev->scratch[thread]);
    begin_block(j, &s, b, kv_head);
    uint32_t tiles = j->op->refs[b->begin + b->count - 1].pos / TILE + 1;
    for (uint32_t tile = first_seen(j->op, j->op->refs[b->begin].pos) / TILE; tile < tiles; tile++)
        attend_tile(j, &s, b, tile, kv_head);
    end_block(j, &s, b, kv_head);
}

static uint32_t find_blocks(const host_attention *a, uint32_t rows_max, row_block *blocks) {
    uint32_t count = 0;
    for (uint32_t r = 0; r < a->rows; count++) {
        row_block b = {.begin = r, .count = 1};
        while (++r < a->rows && b.count < rows_max && a->refs[r].pages == a->refs[r - 1].pages &&
               a->refs[r].pos == a->refs[r - 1].pos + 1)
            b.count++;
        blocks[count] = b;
    }
    return count;
}

status ISA(cpu_attention)(device *d, const host_attention *a) {
    const kv_layout *l = a->layout;
    PRE(a->layer < l->layers);
    PRE(l->type == DT_F16 || l->type == DT_F32);
    PRE(l->head_dim % 8 == 0);
    PRE(a->heads % l->kv_heads == 0);
    attention_job j = {
        .op = a, .dev = d, .group = a->heads / l->kv_heads, .dim_padded = whole_vectors(l->head_dim)};
    uint32_t rows_max = MAX(MIN((uint32_t)BLOCK_ROWS, BLOCK_QUERIES / j.group), 1u);
    j.queries_max = rows_max * j.group;
    row_block *blocks = cpu_scratch_shared(d, a->rows * sizeof *blocks);
    if (!blocks || !cpu_scratch_threads(d, state_bytes(&j))) return ST_DEVICE;
    j.blocks = blocks;
    j.block_count = find_blocks(a, rows_max, blocks);
    team_run(d->team, j.block_count * l->kv_heads, attention_task, &j);
    return ST_OK;
}
