#include "coordinator/holds.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdlib.h>

void holds_init(holds *h) {
    PRE(h);
    *h = (holds){0};
    u64_map_init(&h->by_req, 0);
}

void holds_done(holds *h) {
    if (!h) return;
    for (uint32_t i = 0; i < h->count; i++) free(h->items[i]);
    while (h->spare) {
        hold *next = h->spare->older;
        free(h->spare);
        h->spare = next;
    }
    free(h->items);
    u64_map_done(&h->by_req);
    *h = (holds){0};
}

static hold *take_spare(holds *h) {
    hold *one = h->spare;
    if (!one) return xmalloc(sizeof *one);
    h->spare = one->older;
    return one;
}

void holds_add(holds *h, uint64_t req, uint32_t attempt, uint32_t pages, uint32_t rows) {
    PRE(req);
    PRE(attempt);
    PRE(pages > 0);
    PRE(!holds_current(h, req));
    if (h->count == h->capacity) {
        h->capacity = h->capacity ? h->capacity * 2 : 16;
        h->items = xrealloc(h->items, h->capacity, sizeof *h->items);
    }
    hold *one = take_spare(h);
    *one = (hold){.req = req,
                  .attempt_first = attempt,
                  .attempt = attempt,
                  .pages = pages,
                  .rows = rows,
                  .open = true,
                  .slot = h->count,
                  .older = u64_map_take(&h->by_req, req)};
    CHECK(!one->older || one->older->attempt < attempt);
    u64_map_put(&h->by_req, req, one);
    h->items[h->count++] = one;
    h->pages += pages;
    h->promised += pages;
    h->rows += rows;
    h->computing += rows > 0;
}

void holds_replay(holds *h, uint64_t req) {
    hold *one = holds_current(h, req);
    PRE(one);
    PRE(!one->replay);
    one->replay = true;
    h->replay_rows += one->rows;
}

hold *holds_current(const holds *h, uint64_t req) {
    PRE(h);
    hold *newest = u64_map_get(&h->by_req, req);
    return newest && !newest->closing ? newest : NULL;
}

hold *holds_find(const holds *h, uint64_t req, uint32_t attempt) {
    PRE(h);
    hold *one = u64_map_get(&h->by_req, req);
    while (one && attempt < one->attempt_first) one = one->older;
    return one && attempt <= one->attempt ? one : NULL;
}

void holds_answered(holds *h, hold *one) {
    PRE(one);
    if (!one->open) return;
    one->open = false;
    h->promised -= one->pages;
    h->eased = true;
}

void holds_computed(holds *h, hold *one) {
    PRE(one);
    if (!one->rows) return;
    h->rows -= one->rows;
    if (one->replay) h->replay_rows -= one->rows;
    h->computing--;
    one->rows = 0;
    h->eased = true;
}

uint32_t holds_close(holds *h, uint64_t req) {
    hold *one = holds_current(h, req);
    CHECK(one);
    one->closing = true;
    holds_computed(h, one);
    return one->attempt;
}

static void drop(holds *h, hold *one) {
    holds_answered(h, one);
    holds_computed(h, one);
    h->pages -= one->pages;
    h->eased = true;
    hold *last = h->items[--h->count];
    h->items[one->slot] = last;
    last->slot = one->slot;
    one->older = h->spare;
    h->spare = one;
}

/* Attempts fall along the chain, so what goes is its end. */
void holds_closed(holds *h, uint64_t req, uint32_t attempt) {
    PRE(h);
    hold *one = u64_map_get(&h->by_req, req);
    if (!one) return;
    hold **link = NULL; /* that of the last one that stays */
    while (one && one->attempt > attempt) {
        link = &one->older;
        one = one->older;
    }
    if (link)
        *link = NULL;
    else
        (void)u64_map_take(&h->by_req, req);
    while (one) {
        hold *older = one->older;
        drop(h, one);
        one = older;
    }
}

uint32_t holds_requests(const holds *h, uint64_t *out) {
    PRE(out || h->count == 0);
    uint32_t n = 0;
    for (uint32_t i = 0; i < h->count; i++)
        if (!h->items[i]->closing) out[n++] = h->items[i]->req;
    return n;
}

void holds_forget(holds *h) {
    while (h->count) holds_closed(h, h->items[0]->req, UINT32_MAX);
    POST(h->pages == 0);
    POST(u64_map_count(&h->by_req) == 0);
}

/* It is found, and only the newest of a request may be current. */
static bool one_is_sound(const holds *h, const hold *one) {
    if (one->attempt < one->attempt_first || one->pages == 0 || (one->closing && one->rows)) return false;
    const hold *at = u64_map_get(&h->by_req, one->req);
    if (!one->closing) return at == one;
    while (at && at != one) at = at->older;
    return at;
}

bool holds_check(const holds *h) {
    uint32_t pages = 0, promised = 0, rows = 0, replay_rows = 0, computing = 0;
    for (uint32_t i = 0; i < h->count; i++) {
        const hold *one = h->items[i];
        if (one->slot != i || !one_is_sound(h, one)) return false;
        pages += one->pages;
        promised += one->open ? one->pages : 0;
        rows += one->rows;
        replay_rows += one->replay ? one->rows : 0;
        computing += one->rows > 0;
    }
    return pages == h->pages && promised == h->promised && rows == h->rows && replay_rows == h->replay_rows &&
           computing == h->computing;
}
