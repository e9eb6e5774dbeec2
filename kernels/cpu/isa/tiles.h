/* tiles - the inner loops of attention over rounds of TILES tiles, for keys and values of either type.
 *
 *   scores   s[key] = chain over dim of q[dim] * k[dim][key], in vectors of keys
 *   sums     acc[dim] = chain over keys of p[key] * v[key][dim], in vectors of dims
 *
 * A chunk of a prompt converts the tiles of a round to fp32 once for all its queries; a row alone reads them
 * as they lie in the page and fetches the next round's meanwhile. Both run these loops, so a result does not
 * depend on which of the two computed it. */
#ifndef BATON_KERNELS_CPU_ISA_TILES_H
#define BATON_KERNELS_CPU_ISA_TILES_H

#include "kernels/cpu/isa/isa.h"

#define TILE  ((size_t)KV_PAGE_TOKENS)
#define TILES 4u
#define ROUND (TILES * TILE)      /* keys */
#define TV    (TILE / SIMD_WIDTH) /* vectors of one dimension of a tile of keys */

/* Queries whose scores are computed at the same time (many, and the few that are left) over so many tiles,
 * and queries and vectors of dims of the sum: accumulators in registers. */
#if SIMD_WIDTH == 16
#define SCORE_QUERIES 6u
#define SCORE_FEW     3u
#define SCORE_TILES   4u
#define SUM_QUERIES   6u
#define SUM_FEW       3u
#define SUM_VECTORS   4u
#elif SIMD_KIND == 2
#define SCORE_QUERIES 3u
#define SCORE_FEW     2u
#define SCORE_TILES   2u
#define SUM_QUERIES   3u
#define SUM_FEW       2u
#define SUM_VECTORS   4u
#else
#define SCORE_QUERIES 2u
#define SCORE_FEW     1u
#define SCORE_TILES   1u
#define SUM_QUERIES   2u
#define SUM_FEW       1u
#define SUM_VECTORS   2u
#endif

/* Tiles of keys [head_dim][TILE] and of values [TILE][value_bytes]. */
typedef struct round_tiles {
    dtype type;
    const uint8_t *k[TILES], *v[TILES];
    const uint8_t *next_k[TILES], *next_v[TILES]; /* what is wanted next; with `ahead` */
    size_t value_bytes;
} round_tiles;

INLINE vf load_kv(dtype type, const uint8_t *p) {
    return type == DT_F16 ? vf_load_half(p) : vf_load((const float *)(const void *)p);
}

INLINE size_t elem_bytes(dtype type) {
    return type == DT_F16 ? 2 : 4;
}

/* Scores of tiles [tile, tile + tiles) of `queries` queries into out [queries][ROUND]. */
INLINE void score_tiles(dtype type, bool ahead, uint32_t queries, uint32_t tiles, const float *const *q,
                        const round_tiles *r, uint32_t tile, uint32_t head_dim, float scale, float *out) {
    vf acc[SCORE_QUERIES][SCORE_TILES * TV];
    const uint8_t *k[SCORE_TILES], *next[SCORE_TILES];
    const float *x[SCORE_QUERIES];
    const size_t row = TILE * elem_bytes(type);
    UNROLL for (uint32_t t = 0; t < tiles; t++) {
        k[t] = r->k[tile + t];
        next[t] = r->next_k[tile + t];
    }
    UNROLL for (uint32_t n = 0; n < queries; n++) {
        x[n] = q[n];
        UNROLL for (size_t v = 0; v < tiles * TV; v++) acc[n][v] = vf_zero();
    }
    for (size_t i = 0; i < head_dim; i++) {
        vf keys[SCORE_TILES * TV];
        UNROLL for (uint32_t t = 0; t < tiles; t++) {
            if (ahead) __builtin_prefetch(next[t] + i * row);
            UNROLL for (size_t v = 0; v < TV; v++) keys[t * TV + v] =
                load_kv(type, k[t] + i * row + v * SIMD_WIDTH * elem_bytes(type));
        }
        UNROLL for (uint32_t n = 0; n < queries; n++) {
            vf one = vf_set1(x[n][i]);
            UNROLL for (size_t v = 0; v < tiles * TV; v++) acc[n][v] = vf_fma(one, keys[v], acc[n][v]);
        }
    }
    UNROLL for (uint32_t n = 0; n < queries; n++) {
        UNROLL for (size_t v = 0; v < tiles * TV; v++)
            vf_store(out + n * ROUND + tile * TILE + v * SIMD_WIDTH, acc[n][v] * vf_set1(scale));
    }
}

/* Scores of the first `tiles` tiles. */
INLINE void score(dtype type, bool ahead, uint32_t queries, uint32_t tiles, const float *const *q,
                  const round_tiles *r, uint32_t head_dim, float scale, float *out) {
    uint32_t t = 0;
    for (; t + SCORE_TILES <= tiles; t += SCORE_TILES)
        score_tiles(type, ahead, queries, SCORE_TILES, q, r, t, head_dim, scale, out);
#if SCORE_TILES == 4
    switch (tiles - t) {
    case 3:
        score_tiles(type, ahead, queries, 3, q, r, t, head_dim, scale, out);
        break;
    case 2:
        score_tiles(type, ahead, queries, 2, q, r, t, head_dim, scale, out);
        break;
    case 1:
        score_tiles(type, ahead, queries, 1, q, r, t, head_dim, scale, out);
        break;
    default:
        break;
    }
#else
    for (; t < tiles; t++) score_tiles(type, ahead, queries, 1, q, r, t, head_dim, scale, out);
#endif
}

/* acc of `queries` queries, from dim on, `vectors` vectors: shrunk, then keys [begin, end) are added. */
INLINE void sum_dims(dtype type, bool ahead, uint32_t queries, uint32_t vectors, const round_tiles *r,
                     const float *p, const float *shrink, uint32_t begin, uint32_t end, float *acc,
                     size_t acc_stride, uint32_t dim) {
    vf sums[SUM_QUERIES][SUM_VECTORS];
    const size_t at = dim * elem_bytes(type), step = SIMD_WIDTH * elem_bytes(type);
    acc += dim;
    UNROLL for (uint32_t n = 0; n < queries; n++) {
        vf less = vf_set1(shrink[n]);
        UNROLL for (uint32_t v = 0; v < vectors; v++) sums[n][v] =
            vf_load(acc + n * acc_stride + v * SIMD_WIDTH) * less;
    }
    for (uint32_t key = begin; key < end;) {
        uint32_t stop = MIN((uint32_t)(key / TILE * TILE + TILE), end);
        const uint8_t *row = r->v[key / TILE] + key % TILE * r->value_bytes + at;
        const uint8_t *next = ahead ? r->next_v[key / TILE] + key % TILE * r->value_bytes + at : NULL;
        for (; key < stop; key++, row += r->value_bytes) {
            vf values[SUM_VECTORS];
            if (ahead) {
                __builtin_prefetch(next);
                if (vectors * step > 64) __builtin_prefetch(next + 64);
                next += r->value_bytes;
            }
            UNROLL for (uint32_t v = 0; v < vectors; v++) values[v] = load_kv(type, row + v * step);
            UNROLL for (uint32_t n = 0; n < queries; n++) {
                vf share = vf_set1(p[n * ROUND + key]);
                UNROLL for (uint32_t v = 0; v < vectors; v++) sums[n][v] =
                    vf_fma(share, values[v], sums[n][v]);
            }
        }
    }
    UNROLL for (uint32_t n = 0; n < queries; n++) {
        UNROLL for (uint32_t v = 0; v < vectors; v++)
            vf_store(acc + n * acc_stride + v * SIMD_WIDTH, sums[n][v]);
    }
}

/* All `dims` of them, a multiple of the vector. */
INLINE void sum(dtype type, bool ahead, uint32_t queries, const round_tiles *r, const float *p,
                const float *shrink, uint32_t begin, uint32_t end, float *acc, uint32_t dims) {
    uint32_t dim = 0;
    for (; dim + SUM_VECTORS * SIMD_WIDTH <= dims; dim += SUM_VECTORS * SIMD_WIDTH)
        sum_dims(type, ahead, queries, SUM_VECTORS, r, p, shrink, begin, end, acc, dims, dim);
    for (; dim < dims; dim += SIMD_WIDTH)
        sum_dims(type, ahead, queries, 1, r, p, shrink, begin, end, acc, dims, dim);
}

/* ---- to fp32 ---- */

/* `dims` floats per value: more than head_dim when that is no multiple of the vector. */
static inline void values_to_floats(const kv_layout *l, const uint8_t *tile, uint32_t keys, float *to,
                                    uint32_t dims) {
    uint32_t whole = l->head_dim / SIMD_WIDTH * SIMD_WIDTH, rest = l->head_dim - whole;
    for (uint32_t key = 0; key < keys; key++, to += dims) {
        const uint8_t *from = tile + (size_t)key * l->head_dim * kv_elem_bytes(l);
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

static inline void halves_to_floats(const uint8_t *from, size_t count, float *to) {
    for (size_t i = 0; i < count; i += SIMD_WIDTH) vf_store(to + i, vf_load_half(from + i * 2));
}

#endif
