/* When a request's tokens came, for the gaps between them. A lane keeps when its last steps ended, so that a
 * token costs nothing; only what leaves the lane or misses a row takes its times along. */
#include "planner/fleet/state.h"

#include "base/mem.h"
#include "bench/stats/stats.h"

#include <math.h>
#include <stdlib.h>

void gaps_token(fleet *f, freq *r, uint64_t at_ns) {
    if (!f->opt.want_gaps) return;
    FLEET_GROW(r->times, r->time_count, r->time_capacity, 4);
    r->times[r->time_count++] = at_ns;
}

/* The ring must reach back to the join of each, which is no more steps than tokens that it still wants: one
 * that misses a row takes its earlier times along. */
void gaps_join(fleet *f, lane *l, freq *r) {
    r->ring_from = r->last_at - (r->out.output_tokens - r->emitted);
    if (!f->opt.want_gaps) return;
    uint64_t want = r->last_at - r->ring_from + 1;
    if (want <= l->ring_size) return;
    uint32_t size = MAX(l->ring_size, 64u);
    while (size < want) size *= 2;
    uint64_t *ring = xcalloc(size, sizeof *ring);
    for (uint64_t i = 0; i < l->ring_size && i < l->counter; i++) {
        uint64_t at = l->counter - 1 - i;
        ring[at & (size - 1)] = l->ring[at & (l->ring_size - 1)];
    }
    free(l->ring);
    l->ring = ring;
    l->ring_size = size;
}

static void flush_to(fleet *f, const lane *l, freq *r, uint64_t end) {
    for (uint64_t i = r->ring_from; i < end; i++) gaps_token(f, r, l->ring[i & (l->ring_size - 1)]);
}

void gaps_flush(fleet *f, const lane *l, freq *r) {
    if (!f->opt.want_gaps) return;
    flush_to(f, l, r, l->counter);
    r->ring_from = l->counter;
}

void gaps_skip(fleet *f, const lane *l, freq *r) {
    if (!f->opt.want_gaps) return;
    flush_to(f, l, r, l->counter - 1);
    r->ring_from = l->counter;
}

void gaps_step(const fleet *f, lane *l, uint64_t end_ns) {
    if (f->opt.want_gaps) l->ring[l->counter & (l->ring_size - 1)] = end_ns;
}

/* The largest k of n go to the end, ascending. */
static void sort_last(double *x, uint32_t n, uint32_t k) {
    for (uint32_t i = 1; i <= k; i++) {
        uint32_t most = 0;
        for (uint32_t j = 1; j <= n - i; j++)
            if (x[j] > x[most]) most = j;
        double moved = x[n - i];
        x[n - i] = x[most];
        x[most] = moved;
    }
}

void gaps_outcome(fleet *f, freq *r) {
    r->out.itl_max_ms = r->out.itl_p99_ms = NAN;
    if (!f->opt.want_gaps || r->time_count < 2) return;
    uint32_t n = r->time_count - 1, k = n / 100 + 2; /* as many as the percentile looks at */
    FLEET_GROW(f->gaps, n, f->gap_capacity, n + 1);
    for (uint32_t i = 0; i < n; i++) f->gaps[i] = (double)(r->times[i + 1] - r->times[i]) / 1e6;
    if (k > 16 || k > n)
        stats_sort(f->gaps, n);
    else
        sort_last(f->gaps, n, k);
    r->out.itl_max_ms = f->gaps[n - 1];
    r->out.itl_p99_ms = stats_percentile(f->gaps, n, 99);
}
