/* attend - attention of the cpu backend: what host_attend does with five small operations, in one pass over
 * the rows that are alone in their sequence, and in two over the others.
 *
 *   row alone (a decode step)   task: rotate its q and k, k and v -> page, attend         no barrier between
 *   rows of a chunk             tasks: rotate q in place, rotated k and v -> pages; then tasks: attend
 *
 * Pages of this backend: values lie as kv_layout.h says. A tile of keys is transposed, [head_dim][16 keys],
 * so that one vector holds one dimension of 16 keys and scores need neither shuffles nor sums over lanes; the
 * hand-off copies (kv_copy.c) turn them on the way to the wire and back.
 *
 * The bytes of a row: its keys are taken in parts of CPU_ATTEND_PART positions, aligned to position 0, whose
 * results are joined in ascending order. A part's result does not depend on who computed it, so the parts of
 * a long row may be spread over threads. */
#ifndef BATON_KERNELS_CPU_ATTEND_H
#define BATON_KERNELS_CPU_ATTEND_H

#include "kernels/host/host_ops.h"

#define CPU_ATTEND_PART 256u /* keys */

/* All that the passes need. Rows of one sequence are neighbours at consecutive positions. */
typedef struct cpu_attention {
    const kv_layout *layout;
    void *kv;
    uint32_t layer;
    const kv_ref *refs; /* [rows] */
    uint32_t rows;
    uint32_t heads;
    float scale;
    uint32_t window;
    float *q;           /* [rows, heads * head_dim]; may be overwritten when there are k and v */
    const float *k, *v; /* [rows, kv_heads * head_dim]; NULL: q is rotated and the pages hold all */
    const float *turns; /* [rows, rope_dim]: cosines of a row's rope_dim / 2 angles, then their sines. NULL:
                           nothing is rotated */
    uint32_t rope_dim;
    rope_kind rope;
    float *out; /* [rows, heads * head_dim]; does not overlap q */
} cpu_attention;

/* out = x rotated, [head_dim]; out may be x. */
static inline void cpu_rotate(const float *x, float *out, uint32_t head_dim, const float *turns,
                              uint32_t rope_dim, rope_kind rope) {
    uint32_t half = rope_dim / 2;
    const float *cosines = turns, *sines = turns + half;
    for (size_t i = 0; i < half; i++) {
        size_t a = rope == ROPE_PAIRS ? 2 * i : i, b = rope == ROPE_PAIRS ? a + 1 : i + half;
        float first = x[a], second = x[b];
        out[a] = first * cosines[i] - second * sines[i];
        out[b] = first * sines[i] + second * cosines[i];
    }
    for (uint32_t i = rope_dim; i < head_dim; i++) out[i] = x[i];
}

/* The byte of dimension `dim` of key `slot` of a tile is at this many elements times their size. */
static inline size_t cpu_key_at(uint32_t slot, size_t dim) {
    return dim * KV_PAGE_TOKENS + slot;
}

#endif
