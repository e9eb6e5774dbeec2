#include "worker_core/batch.h"

#include "base/mem.h"
#include "base/status.h"
#include "kv/kv_layout.h"

/* Rows of the next chunk, 0 when `budget` has no room for one that ends on a page edge. */
static uint32_t chunk_rows(const batch_prompt *p, uint32_t budget, uint32_t chunk_tokens) {
    uint32_t left = p->total - p->done;
    uint32_t rows = MIN(left, MIN(budget, chunk_tokens));
    return rows == left ? rows : rows - rows % KV_PAGE_TOKENS;
}

uint32_t batch_chunks(const batch_prompt *prompts, uint32_t count, uint32_t budget, uint32_t chunk_tokens,
                      batch_chunk *out) {
    PRE(out || count == 0);
    PRE(chunk_tokens >= KV_PAGE_TOKENS);
    PRE(chunk_tokens % KV_PAGE_TOKENS == 0);
    uint32_t n = 0;
    for (uint32_t i = 0; i < count && budget > 0; i++) {
        const batch_prompt *p = &prompts[i];
        PRE(p->done < p->total);
        PRE(p->done % KV_PAGE_TOKENS == 0);
        uint32_t rows = chunk_rows(p, budget, chunk_tokens);
        if (rows == 0) break;
        out[n++] =
            (batch_chunk){.index = i, .begin = p->done, .count = rows, .last = p->done + rows == p->total};
        budget -= rows;
    }
    return n;
}

/* Finds a page for row i. Pages that are on their way are waited for: one more preempted would bring none
 * sooner. */
static batch_verdict row_verdict(const batch_row *rows, uint32_t i, uint32_t *youngest, batch_limits *l,
                                 batch_verdict *out) {
    if (!rows[i].needs_page) return BATCH_ROW;
    for (;;) {
        if (l->free_pages > 0) {
            l->free_pages--;
            return BATCH_ROW;
        }
        if (l->coming_pages > 0) {
            l->coming_pages--;
            return BATCH_WAIT;
        }
        if (*youngest == 0) return BATCH_WAIT; /* only the oldest is left, and it is never preempted */
        uint32_t victim = (*youngest)--;
        uint32_t *gain = rows[victim].frees_now ? &l->free_pages : &l->coming_pages;
        *gain += rows[victim].pages;
        if (victim == i) return BATCH_PREEMPT;
        out[victim] = BATCH_PREEMPT;
    }
}

void batch_rows(const batch_row *rows, uint32_t count, const batch_limits *limits, batch_verdict *out) {
    PRE(limits);
    PRE((out || count == 0));
    batch_limits l = *limits;
    uint32_t wanted = 0;
    for (uint32_t i = 0; i < count; i++) {
        out[i] = BATCH_WAIT;
        wanted += rows[i].wants_row;
    }
    if (wanted == 0) return;

    /* Turn in the round: sequence t (of those that want a row) is served when (t - first) mod wanted <
     * max_rows. */
    uint32_t turn = 0, youngest = count - 1;
    uint32_t first = l.first % wanted;
    for (uint32_t i = 0; i <= youngest; i++) {
        if (!rows[i].wants_row) continue;
        uint32_t place = (turn++ + wanted - first) % wanted;
        if (place >= l.max_rows) continue;
        out[i] = row_verdict(rows, i, &youngest, &l, out);
    }
}
