/* Sequences that decode together. While each of them gets a row per step, a step costs the same however many
 * they are: rows = base + counter, so the context is a sum of bases, and who starts a page when is known by
 * counter % 16. Who ends next is in a heap. Only a sequence that gets no row is touched by a step. */
#include "planner/fleet/state.h"

#include "base/mem.h"
#include "kv/kv_layout.h"

_Static_assert(KV_PAGE_TOKENS == 16, "lane.need has a place for each row of a page");

uint32_t lane_rows(const lane *l, const freq *r) {
    return (uint32_t)(r->base + (int64_t)l->counter);
}

uint32_t lane_pages(const lane *l, const freq *r) {
    uint32_t rows = lane_rows(l, r);
    return kv_pages_for(MAX(rows - 1, r->joined_rows));
}

uint32_t lane_need(const lane *l, uint32_t ahead_steps) {
    return l->need[(l->counter + ahead_steps) % 16] - (ahead_steps ? 0 : l->ahead);
}

uint64_t lane_context(const lane *l) {
    return (uint64_t)(l->base_sum + (int64_t)(l->running.count * l->counter));
}

/* counter % 16 at which its rows are the first of a page. */
static uint32_t edge_of(const freq *r) {
    return (uint32_t)((1 - r->base) & 15);
}

static bool is_ahead(const lane *l, const freq *r) {
    return lane_rows(l, r) == r->joined_rows && r->joined_rows % 16 == 1;
}

/* ---- who ends next ---- */

static void set_end(fleet *f, lane *l, uint32_t i, lane_end e) {
    l->ends[i] = e;
    f->slab[e.slot].end_place = i + 1;
}

static void sift_end(fleet *f, lane *l, uint32_t count, uint32_t i, lane_end e) {
    while (i && e.at < l->ends[(i - 1) / 2].at) {
        set_end(f, l, i, l->ends[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= count) break;
        if (child + 1 < count && l->ends[child + 1].at < l->ends[child].at) child++;
        if (l->ends[child].at >= e.at) break;
        set_end(f, l, i, l->ends[child]);
        i = child;
    }
    set_end(f, l, i, e);
}

uint64_t lane_next_end(const lane *l) {
    return l->running.count ? l->ends[0].at : FLEET_NEVER;
}

uint32_t lane_ended(const lane *l) {
    return lane_next_end(l) <= l->counter ? l->ends[0].slot : SLOT_NONE;
}

/* ---- */

void lane_join(fleet *f, lane *l, uint32_t slot, uint32_t rows) {
    freq *r = &f->slab[slot];
    uint64_t next = l->counter + (l->busy && l->decodes);
    CHECK(r->emitted < r->out.output_tokens);
    r->base = (int64_t)rows - (int64_t)next;
    r->joined_rows = rows;
    r->last_at = next + r->out.output_tokens - r->emitted;
    FLEET_GROW(l->ends, l->running.count, l->end_capacity, 16);
    uint32_t count = l->running.count;
    chain_add(f, &l->running, BY_DECODE, slot);
    sift_end(f, l, count + 1, count, (lane_end){.at = r->last_at, .slot = slot});
    l->base_sum += r->base;
    l->need[edge_of(r)]++;
    l->ahead += rows % 16 == 1;
    gaps_join(f, l, r);
}

void lane_leave(fleet *f, lane *l, uint32_t slot) {
    freq *r = &f->slab[slot];
    gaps_flush(f, l, r);
    l->need[edge_of(r)]--;
    l->ahead -= is_ahead(l, r);
    l->base_sum -= r->base;
    chain_take(f, &l->running, BY_DECODE, slot);
    uint32_t place = r->end_place - 1, count = l->running.count;
    lane_end last = l->ends[count];
    r->end_place = 0;
    if (last.slot != slot) sift_end(f, l, count, place, last);
    r->emitted = r->out.output_tokens - (uint32_t)(r->last_at - l->counter);
}

void lane_hold_back(fleet *f, lane *l, uint32_t slot) {
    freq *r = &f->slab[slot];
    gaps_skip(f, l, r);
    l->need[edge_of(r)]--;
    r->base--;
    l->base_sum--;
    l->need[edge_of(r)]++;
    r->last_at++;
    sift_end(f, l, l->running.count, r->end_place - 1, (lane_end){.at = r->last_at, .slot = slot});
    l->ahead += is_ahead(l, r);
}

bool lane_check(const fleet *f, const lane *l) {
    uint32_t need[16] = {0}, ahead = 0, count = 0;
    int64_t bases = 0;
    for (uint32_t s = l->running.first; s != SLOT_NONE; s = f->slab[s].next[BY_DECODE]) {
        const freq *r = &f->slab[s];
        need[edge_of(r)]++;
        bases += r->base;
        ahead += r->joined_rows == (uint32_t)(r->base + (int64_t)l->counter + (l->busy && l->decodes)) &&
                 r->joined_rows % 16 == 1;
        count++;
        if (!r->end_place || l->ends[r->end_place - 1].slot != s ||
            l->ends[r->end_place - 1].at != r->last_at)
            return false;
    }
    for (uint32_t i = 0; i < 16; i++)
        if (need[i] != l->need[i]) return false;
    for (uint32_t i = 1; i < count; i++)
        if (l->ends[(i - 1) / 2].at > l->ends[i].at) return false;
    return count == l->running.count && bases == l->base_sum && ahead == l->ahead;
}
