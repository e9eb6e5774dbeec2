/* attention - softmax(q . k * scale) v over pages, with a running maximum.
 *
 *   block of rows of one sequence x one KV head:
 *     for each part of CPU_ATTEND_PART positions, from 0:
 *       for each round of 64 positions:
 *         scores    s = q . k * scale                            per (row, query head), see tiles.h
 *         weights   p = e^(s - top), and what earlier rounds found shrinks by e^(old top - top)
 *         sum       acc[dim] = chain over keys of p[key] * v[key][dim]
 *       the part's top, total and acc join those of the parts before it
 *
 * What a row computes is fixed by its own position: it meets parts and rounds in order, and in the last round
 * the keys after pos are left out (a score of -inf and no term in the chain, so what stale bytes lie there
 * does not matter). With a window it begins at the round of the first key that it sees, where the keys before
 * that one get a score of -inf. The other rows of the block share converted tiles and nothing else; that, and
 * the group of query heads per KV head, is what makes a chunk of a prompt cheap.
 *
 * A row that is alone in its sequence reads tiles as they lie. When there are too few such rows for all
 * threads, a task is one part of one row and head, and whoever ends the last part of them joins all. */
#include "kernels/cpu/isa/kv_write.h"
#include "kernels/cpu/isa/tiles.h"

#include <math.h>
#include <stdatomic.h>

enum {
    BLOCK_ROWS = 32,
    BLOCK_QUERIES =
        96,     /* rows times query heads per KV head, but at least one row: state stays in the L2 cache */
    SPREAD = 4, /* tasks per thread below which the parts of rows become tasks of their own */
};

/* Rows of one sequence at consecutive positions. */
typedef struct row_block {
    uint32_t begin, count;
    uint32_t task_begin; /* of a row alone, when parts are tasks: its first task among those of such rows */
    uint32_t first_part; /* likewise: the part with the first key that it sees */
    uint32_t part_count;
    size_t record; /* likewise: where the results of its parts begin, in floats */
} row_block;

typedef struct attention_job {
    const cpu_attention *op;
    device *dev;
    row_block *blocks;        /* chunks, then rows alone */
    uint32_t chunks, singles; /* so many of each */
    bool spread;              /* parts of rows alone are tasks */
    uint32_t heads_per_task;  /* else: KV heads of a row alone in one task */
    uint32_t group;           /* query heads per KV head */
    uint32_t dims;            /* head_dim in whole vectors */
    uint32_t queries_max;
    float *records;          /* of parts: [group][dims + 2], acc, top, total */
    _Atomic uint32_t *ended; /* [singles * kv_heads] parts that are done */
} attention_job;

/* One task's state in a thread's scratch. Query i is row i / group, head i % group of the KV head. */
typedef struct block_state {
    float *kt;      /* [TILES][head_dim, TILE] */
    float *vt;      /* [ROUND, dims] */
    float *scores;  /* [queries, ROUND]; then the weights p */
    float *acc;     /* [queries, dims] of the running part */
    float *top;     /* [queries] highest score so far */
    float *total;   /* [queries] sum of weights so far */
    float *all_acc; /* the same of the parts before */
    float *all_top;
    float *all_total;
    float *shrink;   /* [queries] what earlier rounds' sums are multiplied by */
    float *rotated;  /* [group, head_dim] q of a row alone, then its k */
    const float **q; /* [queries] -> [head_dim] */
} block_state;

static uint32_t whole_vectors(uint32_t floats) {
    return (floats + SIMD_WIDTH - 1) / SIMD_WIDTH * SIMD_WIDTH;
}

static float *take(float **at, size_t floats) {
    float *p = *at;
    *at += floats;
    return p;
}

/* Lays the state out from `scratch` on; returns its end. */
static float *state_at(const attention_job *j, float *scratch, block_state *s) {
    size_t queries = whole_vectors(j->queries_max), head_dim = j->op->layout->head_dim;
    float *at = scratch;
    s->kt = take(&at, head_dim * ROUND);
    s->vt = take(&at, (size_t)ROUND * j->dims);
    s->scores = take(&at, queries * ROUND);
    s->acc = take(&at, queries * j->dims);
    s->all_acc = take(&at, queries * j->dims);
    s->top = take(&at, queries);
    s->total = take(&at, queries);
    s->all_top = take(&at, queries);
    s->all_total = take(&at, queries);
    s->shrink = take(&at, queries);
    s->q = (const float **)(void *)take(&at, queries * sizeof *s->q / sizeof *at);
    s->rotated = take(&at, (size_t)(j->group + 1) * head_dim);
    return at;
}

static size_t state_bytes(const attention_job *j) {
    block_state s;
    return (size_t)((uintptr_t)state_at(j, NULL, &s));
}

/* The first position that a row at `pos` sees. */
static uint32_t first_seen(const cpu_attention *a, uint32_t pos) {
    return a->window > 0 && pos >= a->window ? pos + 1 - a->window : 0;
}

/* ---- softmax over what was seen so far ---- */

/* Keys [begin, end) of the round count for query n: the others' scores are -inf. The top moves on. */
static void find_top(const block_state *s, uint32_t n, uint32_t begin, uint32_t end) {
    float *row = s->scores + (size_t)n * ROUND;
    uint32_t vectors = (end + SIMD_WIDTH - 1) / SIMD_WIDTH;
    for (uint32_t key = 0; key < begin; key++) row[key] = -INFINITY;
    for (uint32_t key = end; key < vectors * SIMD_WIDTH; key++) row[key] = -INFINITY;
    vf m = vf_load(row);
    for (uint32_t v = 1; v < vectors; v++) m = vf_max(m, vf_load(row + v * SIMD_WIDTH));
    float top = vf_top(m);
    if (top < s->top[n]) top = s->top[n];
    s->shrink[n] = s->top[n] - top;
    s->top[n] = top;
}

/* Scores of keys [0, end) become weights. Vectors that hold no key would add zeros. */
static void weigh(const block_state *s, uint32_t n, uint32_t end) {
    float *row = s->scores + (size_t)n * ROUND;
    vf top = vf_set1(s->top[n]), all = vf_zero();
    for (uint32_t i = 0; i < end; i += SIMD_WIDTH) {
        vf p = vf_exp(vf_load(row + i) - top);
        vf_store(row + i, p);
        all = all + p;
    }
    s->total[n] = s->total[n] * s->shrink[n] + vf_sum(all);
}

static void begin_part(const attention_job *j, const block_state *s, uint32_t queries) {
    for (uint32_t n = 0; n < queries; n++) {
        s->top[n] = -INFINITY;
        s->total[n] = 0.0f;
    }
    memset(s->acc, 0, (size_t)queries * j->dims * sizeof *s->acc);
}

/* A query that saw no key of this part keeps what it has; one that saw none before takes it over. */
static void join_part(const attention_job *j, const block_state *s, uint32_t queries) {
    for (uint32_t n = 0; n < queries; n++) {
        float *all = s->all_acc + (size_t)n * j->dims, *part = s->acc + (size_t)n * j->dims;
        if (s->total[n] == 0.0f) continue;
        if (s->all_total[n] == 0.0f) {
            memcpy(all, part, j->dims * sizeof *all);
            s->all_top[n] = s->top[n];
            s->all_total[n] = s->total[n];
            continue;
        }
        float top = s->top[n] > s->all_top[n] ? s->top[n] : s->all_top[n], shares[2 * SIMD_WIDTH];
        vf old = vf_exp(vf_set1(s->all_top[n] - top)), fresh = vf_exp(vf_set1(s->top[n] - top));
        for (uint32_t i = 0; i < j->dims; i += SIMD_WIDTH)
            vf_store(all + i, vf_fma(vf_load(part + i), fresh, vf_load(all + i) * old));
        vf_store(shares, old);
        vf_store(shares + SIMD_WIDTH, fresh);
        s->all_total[n] = s->all_total[n] * shares[0] + s->total[n] * shares[SIMD_WIDTH];
        s->all_top[n] = top;
    }
}

/* ---- a round ---- */

/* What rows of a block see of a round. */
typedef struct round_view {
    const kv_ref *refs;
    uint32_t first_key, group;
    uint32_t from, to; /* queries that see a key of it */
    uint32_t keys;     /* of it up to the last that one of them sees */
} round_view;

static uint32_t keys_of(const round_view *w, uint32_t query) {
    return MIN(w->refs[query / w->group].pos - w->first_key + 1, ROUND);
}

static round_view view_of(const attention_job *j, const row_block *b, uint32_t first_key) {
    const cpu_attention *a = j->op;
    round_view w = {.refs = a->refs + b->begin, .first_key = first_key, .group = j->group};
    uint32_t first_row = w.refs[0].pos >= first_key ? 0 : first_key - w.refs[0].pos, end_row = b->count;
    while (first_seen(a, w.refs[end_row - 1].pos) >= first_key + ROUND) end_row--;
    w.from = first_row * j->group;
    w.to = end_row * j->group;
    w.keys = keys_of(&w, w.to - 1);
    return w;
}

/* Tiles as they lie; values that are no whole vectors are converted. */
static round_tiles tiles_of(const attention_job *j, const block_state *s, const round_view *w,
                            uint32_t kv_head, bool convert) {
    const cpu_attention *a = j->op;
    const kv_layout *l = a->layout;
    const uint8_t *kv = a->kv;
    bool convert_values = convert ? l->type != DT_F32 || j->dims != l->head_dim : j->dims != l->head_dim;
    round_tiles r = {.type = convert ? DT_F32 : l->type, .value_bytes = l->head_dim * kv_elem_bytes(l)};
    uint32_t first = w->first_key / TILE, last = w->refs[0].pos / TILE; /* `last`: of a row alone */
    for (uint32_t t = 0; t * TILE < w->keys; t++) {
        const uint32_t *pages = w->refs[0].pages;
        r.k[t] = kv + kv_tile_offset(l, pages[first + t], a->layer, 0, kv_head);
        r.v[t] = kv + kv_tile_offset(l, pages[first + t], a->layer, 1, kv_head);
        if (!convert && !convert_values) {
            uint32_t next = pages[MIN(first + t + TILES, last)];
            r.next_k[t] = kv + kv_tile_offset(l, next, a->layer, 0, kv_head);
            r.next_v[t] = kv + kv_tile_offset(l, next, a->layer, 1, kv_head);
        }
        if (convert && l->type == DT_F16) {
            float *to = s->kt + t * TILE * l->head_dim;
            halves_to_floats(r.k[t], TILE * l->head_dim, to);
            r.k[t] = (const uint8_t *)to;
        }
        if (convert && convert_values) {
            float *to = s->vt + t * TILE * j->dims;
            values_to_floats(l, r.v[t], MIN(w->keys - t * TILE, TILE), to, j->dims);
            r.v[t] = (const uint8_t *)to;
        }
    }
    if (convert && convert_values) r.value_bytes = j->dims * sizeof(float);
    return r;
}

/* A step of many, few or one of the queries [n, to). */
static uint32_t step_of(uint32_t n, uint32_t to, uint32_t many, uint32_t few) {
    return n + many <= to ? many : n + few <= to ? few : 1;
}

INLINE void score_all(dtype type, bool ahead, const attention_job *j, const block_state *s,
                      const round_view *w, const round_tiles *r) {
    uint32_t head_dim = j->op->layout->head_dim;
    float scale = j->op->scale;
    for (uint32_t n = w->from, step; n < w->to; n += step) {
        step = step_of(n, w->to, SCORE_QUERIES, SCORE_FEW);
        uint32_t tiles = (keys_of(w, n + step - 1) + TILE - 1) / TILE;
        float *out = s->scores + (size_t)n * ROUND;
        if (step == SCORE_QUERIES)
            score(type, ahead, SCORE_QUERIES, tiles, s->q + n, r, head_dim, scale, out);
        else if (step == SCORE_FEW)
            score(type, ahead, SCORE_FEW, tiles, s->q + n, r, head_dim, scale, out);
        else
            score(type, ahead, 1, tiles, s->q + n, r, head_dim, scale, out);
    }
}

INLINE void sum_queries(dtype type, bool ahead, uint32_t queries, const attention_job *j,
                        const block_state *s, const round_tiles *r, uint32_t n, uint32_t begin,
                        uint32_t end) {
    sum(type, ahead, queries, r, s->scores + (size_t)n * ROUND, s->shrink + n, begin, end,
        s->acc + (size_t)n * j->dims, j->dims);
}

/* Queries that are summed together take the keys that all of them see, and the rest each by itself. */
INLINE void sum_all(dtype type, bool ahead, const attention_job *j, const block_state *s, const round_view *w,
                    const round_tiles *r) {
    for (uint32_t n = w->from, step; n < w->to; n += step) {
        step = step_of(n, w->to, SUM_QUERIES, SUM_FEW);
        uint32_t keys = keys_of(w, n);
        if (step == SUM_QUERIES)
            sum_queries(type, ahead, SUM_QUERIES, j, s, r, n, 0, keys);
        else if (step == SUM_FEW)
            sum_queries(type, ahead, SUM_FEW, j, s, r, n, 0, keys);
        else
            sum_queries(type, ahead, 1, j, s, r, n, 0, keys);
        for (uint32_t m = n + 1; m < n + step; m++) {
            uint32_t end = keys_of(w, m);
            if (end == keys) continue;
            s->shrink[m] = 1.0f;
            sum_queries(type, ahead, 1, j, s, r, m, keys, end);
        }
    }
}

static void soften(const attention_job *j, const block_state *s, const round_view *w) {
    for (uint32_t n = w->from; n < w->to; n++) {
        uint32_t seen = first_seen(j->op, w->refs[n / w->group].pos);
        find_top(s, n, seen > w->first_key ? seen - w->first_key : 0, keys_of(w, n));
    }
    for (uint32_t n = w->from / SIMD_WIDTH * SIMD_WIDTH; n < w->to; n += SIMD_WIDTH)
        vf_store(s->shrink + n, vf_exp(vf_load(s->shrink + n)));
    for (uint32_t n = w->from; n < w->to; n++) weigh(s, n, keys_of(w, n));
}

static void attend_round(const attention_job *j, const block_state *s, const row_block *b, uint32_t first_key,
                         uint32_t kv_head) {
    round_view w = view_of(j, b, first_key);
    bool convert = b->count > 1 || j->dims != j->op->layout->head_dim;
    round_tiles r = tiles_of(j, s, &w, kv_head, convert);
    if (convert) {
        score_all(DT_F32, false, j, s, &w, &r);
        soften(j, s, &w);
        sum_all(DT_F32, false, j, s, &w, &r);
    } else if (r.type == DT_F16) {
        score_all(DT_F16, true, j, s, &w, &r);
        soften(j, s, &w);
        sum_all(DT_F16, true, j, s, &w, &r);
    } else {
        score_all(DT_F32, true, j, s, &w, &r);
        soften(j, s, &w);
        sum_all(DT_F32, true, j, s, &w, &r);
    }
}

/* ---- a block ---- */

static size_t head_of(const attention_job *j, const row_block *b, uint32_t kv_head, uint32_t n) {
    return (size_t)(b->begin + n / j->group) * j->op->heads + (size_t)kv_head * j->group + n % j->group;
}

static void begin_block(const attention_job *j, const block_state *s, const row_block *b, uint32_t kv_head) {
    for (uint32_t n = 0; n < b->count * j->group; n++) {
        s->q[n] = j->op->q + head_of(j, b, kv_head, n) * j->op->layout->head_dim;
        s->all_total[n] = 0.0f;
    }
}

/* Part `part` of what the block's rows see, into acc, top and total. */
static void attend_part(const attention_job *j, const block_state *s, const row_block *b, uint32_t kv_head,
                        uint32_t part) {
    const kv_ref *refs = j->op->refs + b->begin;
    uint32_t key = MAX(part * CPU_ATTEND_PART, first_seen(j->op, refs[0].pos) / ROUND * ROUND);
    uint32_t end = MIN((part + 1) * CPU_ATTEND_PART, refs[b->count - 1].pos + 1);
    begin_part(j, s, b->count * j->group);
    for (; key < end; key += ROUND) attend_round(j, s, b, key, kv_head);
}

static void end_block(const attention_job *j, const block_state *s, const row_block *b, uint32_t kv_head) {
    uint32_t head_dim = j->op->layout->head_dim;
    for (uint32_t n = 0; n < b->count * j->group; n++) {
        float *out = j->op->out + head_of(j, b, kv_head, n) * head_dim;
        const float *acc = s->all_acc + (size_t)n * j->dims;
        for (uint32_t i = 0; i < head_dim; i++) out[i] = acc[i] / s->all_total[n];
    }
}

static uint32_t first_part(const cpu_attention *a, const row_block *b) {
    return first_seen(a, a->refs[b->begin].pos) / CPU_ATTEND_PART;
}

static uint32_t end_part(const cpu_attention *a, const row_block *b) {
    return a->refs[b->begin + b->count - 1].pos / CPU_ATTEND_PART + 1;
}

static void attend_block(const attention_job *j, const block_state *s, const row_block *b, uint32_t kv_head) {
    uint32_t end = end_part(j->op, b);
    for (uint32_t part = first_part(j->op, b); part < end; part++) {
        attend_part(j, s, b, kv_head, part);
        join_part(j, s, b->count * j->group);
    }
    end_block(j, s, b, kv_head);
}

/* ---- rotation and pages ---- */

static void rotate(const cpu_attention *a, uint32_t row, const float *x, float *out) {
    cpu_rotate(x, out, a->layout->head_dim, a->turns + (size_t)row * a->rope_dim, a->rope_dim, a->rope);
}

/* k and v of one head of a row, into its page. `rotated` [head_dim] is scratch. */
static void keep(const cpu_attention *a, uint32_t row, uint32_t kv_head, float *rotated) {
    const kv_layout *l = a->layout;
    const kv_ref *ref = &a->refs[row];
    size_t at = ((size_t)row * l->kv_heads + kv_head) * l->head_dim;
    const float *k = a->k + at;
    if (a->turns) {
        rotate(a, row, k, rotated);
        k = rotated;
    }
    write_head(l, a->kv, ref->pages[ref->pos / KV_PAGE_TOKENS], a->layer, kv_head, ref->pos % KV_PAGE_TOKENS,
               k, a->v + at);
}

/* q of a row alone, rotated, to where it disturbs nobody. */
static void rotate_single(const attention_job *j, const block_state *s, const row_block *b) {
    const cpu_attention *a = j->op;
    if (!a->k || !a->turns) return;
    for (uint32_t n = 0; n < j->group; n++) {
        float *to = s->rotated + (size_t)n * a->layout->head_dim;
        rotate(a, b->begin, s->q[n], to);
        s->q[n] = to;
    }
}

static void prepare_chunk(void *ctx, uint32_t task, uint32_t thread) {
    const attention_job *j = ctx;
    const cpu_attention *a = j->op;
    const row_block *b = &j->blocks[task];
    block_state s;
    state_at(j, j->dev->scratch[thread], &s);
    for (uint32_t row = b->begin; row < b->begin + b->count; row++) {
        for (uint32_t h = 0; h < a->heads && a->turns; h++) {
            float *q = a->q + ((size_t)row * a->heads + h) * a->layout->head_dim;
            rotate(a, row, q, s.rotated);
            memcpy(q, s.rotated, a->layout->head_dim * sizeof *q);
        }
        for (uint32_t h = 0; h < a->layout->kv_heads; h++) keep(a, row, h, s.rotated);
    }
}

/* ---- tasks ---- */

static void single_heads(const attention_job *j, const block_state *s, const row_block *b, uint32_t begin,
                         uint32_t end) {
    const uint32_t head_dim = j->op->layout->head_dim;
    for (uint32_t h = begin; h < end; h++) {
        begin_block(j, s, b, h);
        rotate_single(j, s, b);
        if (j->op->k) keep(j->op, b->begin, h, s->rotated + (size_t)j->group * head_dim);
        attend_block(j, s, b, h);
    }
}

static float *record_of(const attention_job *j, const row_block *b, uint32_t kv_head, uint32_t part) {
    size_t at = ((size_t)kv_head * b->part_count + part - b->first_part) * j->group * (j->dims + 2);
    return j->records + b->record + at;
}

static void save_part(const attention_job *j, const block_state *s, float *to) {
    size_t floats = (size_t)j->group * j->dims;
    memcpy(to, s->acc, floats * sizeof *to);
    memcpy(to + floats, s->top, j->group * sizeof *to);
    memcpy(to + floats + j->group, s->total, j->group * sizeof *to);
}

static void load_part(const attention_job *j, const block_state *s, const float *from) {
    size_t floats = (size_t)j->group * j->dims;
    memcpy(s->acc, from, floats * sizeof *from);
    memcpy(s->top, from + floats, j->group * sizeof *from);
    memcpy(s->total, from + floats + j->group, j->group * sizeof *from);
}

/* One part of one head of a row alone. */
static void single_part(const attention_job *j, const block_state *s, const row_block *b, uint32_t task) {
    const uint32_t head_dim = j->op->layout->head_dim, kv_heads = j->op->layout->kv_heads;
    /* The last part, which has to be written first, goes first. */
    uint32_t kv_head = task % kv_heads, part = b->first_part + b->part_count - 1 - task / kv_heads;
    begin_block(j, s, b, kv_head);
    rotate_single(j, s, b);
    if (j->op->k && task < kv_heads) keep(j->op, b->begin, kv_head, s->rotated + (size_t)j->group * head_dim);
    attend_part(j, s, b, kv_head, part);
    save_part(j, s, record_of(j, b, kv_head, part));
    size_t which = (size_t)(b - (j->blocks + j->chunks)) * kv_heads + kv_head;
    if (atomic_fetch_add(&j->ended[which], 1) + 1 < b->part_count) return;
    for (uint32_t p = 0; p < b->part_count; p++) {
        load_part(j, s, record_of(j, b, kv_head, b->first_part + p));
        join_part(j, s, j->group);
    }
    end_block(j, s, b, kv_head);
}

static void attention_task(void *ctx, uint32_t task, uint32_t thread) {
    const attention_job *j = ctx;
    uint32_t kv_heads = j->op->layout->kv_heads;
    block_state s;
    state_at(j, j->dev->scratch[thread], &s);
    if (task < j->chunks * kv_heads) {
        /* The last blocks of a prompt see most keys: they go first. */
        const row_block *b = &j->blocks[j->chunks - 1 - task / kv_heads];
        begin_block(j, &s, b, task % kv_heads);
        attend_block(j, &s, b, task % kv_heads);
        return;
    }
    task -= j->chunks * kv_heads;
    const row_block *b = j->blocks + j->chunks;
    if (!j->spread) {
        uint32_t tasks = (kv_heads + j->heads_per_task - 1) / j->heads_per_task;
        uint32_t head = task % tasks * j->heads_per_task;
        single_heads(j, &s, b + task / tasks, head, MIN(head + j->heads_per_task, kv_heads));
        return;
    }
    while (task - b->task_begin >= b->part_count * kv_heads) b++;
    single_part(j, &s, b, task - b->task_begin);
}

/* ---- the op ---- */

/* Rows at which a run of one sequence that begins at `row` ends. */
static uint32_t run_end(const cpu_attention *a, uint32_t row) {
    while (++row < a->rows && a->refs[row].pages == a->refs[row - 1].pages &&
           a->refs[row].pos == a->refs[row - 1].pos + 1) {
    }
    return row;
}

static void find_blocks(attention_job *j, uint32_t rows_max) {
    const cpu_attention *a = j->op;
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t row = 0, end; row < a->rows; row = end) {
            end = run_end(a, row);
            if ((end - row > 1) == (pass == 1)) continue;
            for (uint32_t r = row; r < end; r += rows_max)
                j->blocks[j->chunks + j->singles++] =
                    (row_block){.begin = r, .count = MIN(rows_max, end - r)};
        }
        if (pass == 0) {
            j->chunks = j->singles;
            j->singles = 0;
        }
    }
}

/* Tasks of the rows alone. False when there is no memory. */
static bool plan_singles(attention_job *j, uint32_t *tasks) {
    const cpu_attention *a = j->op;
    uint32_t kv_heads = a->layout->kv_heads, threads = team_threads(j->dev->team);
    row_block *b = j->blocks + j->chunks;
    *tasks = 0;
    size_t floats = 0;
    for (uint32_t i = 0; i < j->singles && threads > 1 && j->singles * kv_heads < SPREAD * threads; i++) {
        b[i].task_begin = *tasks;
        b[i].first_part = first_part(a, &b[i]);
        b[i].part_count = end_part(a, &b[i]) - b[i].first_part;
        b[i].record = floats;
        *tasks += b[i].part_count * kv_heads;
        floats += (size_t)b[i].part_count * kv_heads * j->group * (j->dims + 2);
    }
    j->spread = *tasks > j->singles * kv_heads;
    if (!j->spread) {
        j->heads_per_task = j->singles < SPREAD * threads && threads > 1 ? 1 : kv_heads;
        *tasks = j->singles * ((kv_heads + j->heads_per_task - 1) / j->heads_per_task);
        return true;
    }
    size_t ended = (size_t)j->singles * kv_heads;
    j->records = cpu_scratch_parts(j->dev, floats * sizeof(float) + ended * sizeof *j->ended);
    if (!j->records) return false;
    j->ended = (_Atomic uint32_t *)(void *)(j->records + floats);
    for (size_t i = 0; i < ended; i++) atomic_init(&j->ended[i], 0);
    return true;
}

status ISA(cpu_attend_rows)(device *d, const cpu_attention *a) {
    const kv_layout *l = a->layout;
    PRE(a->layer < l->layers);
    PRE(l->type == DT_F16 || l->type == DT_F32);
    PRE(a->heads % l->kv_heads == 0);
    PRE(!a->k == !a->v);
    attention_job j = {
        .op = a, .dev = d, .group = a->heads / l->kv_heads, .dims = whole_vectors(l->head_dim)};
    uint32_t rows_max = MAX(MIN((uint32_t)BLOCK_ROWS, BLOCK_QUERIES / j.group), 1u), tasks;
    j.queries_max = rows_max * j.group;
    j.blocks = cpu_scratch_shared(d, a->rows * sizeof *j.blocks);
    if (!j.blocks || !cpu_scratch_threads(d, state_bytes(&j))) return ST_DEVICE;
    find_blocks(&j, rows_max);
    if (!plan_singles(&j, &tasks)) return ST_DEVICE;
    if (a->k) team_run(d->team, j.chunks, prepare_chunk, &j);
    team_run(d->team, j.chunks * l->kv_heads + tasks, attention_task, &j);
    return ST_OK;
}

/* Rotated queries, and pages that hold all. */
status ISA(cpu_attention)(device *d, const host_attention *a) {
    const cpu_attention all = {.layout = a->layout,
                               .kv = (void *)a->kv,
                               .layer = a->layer,
                               .refs = a->refs,
                               .rows = a->rows,
                               .heads = a->heads,
                               .scale = a->scale,
                               .window = a->window,
                               .q = (float *)a->q,
                               .out = a->out};
    return ISA(cpu_attend_rows)(d, &all);
}
