#include "coordinator/prefix_hints.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdlib.h>

typedef enum list_kind { OF_HOLDER, OF_ALL, LIST_KINDS } list_kind;

typedef struct hint {
    uint64_t key;
    prefix_holder *holder; /* NULL: it is spare */
    uint32_t next;         /* in its bucket, or the next spare one; 0 = none */
    struct {
        uint32_t newer, older; /* 0 = none */
    } at[LIST_KINDS];
} hint;

void prefix_hints_init(prefix_hints *h, uint32_t max) {
    PRE(h);
    PRE(max > 0);
    *h = (prefix_hints){.max = max};
}

void prefix_hints_done(prefix_hints *h) {
    if (!h) return;
    free(h->items);
    free(h->buckets);
    *h = (prefix_hints){0};
}

/* ---- lists ---- */

static hint_list *list_of(prefix_hints *h, const hint *one, list_kind kind) {
    return kind == OF_ALL ? &h->list : &one->holder->list;
}

static void unlink_from(prefix_hints *h, uint32_t i, list_kind kind) {
    hint *one = &h->items[i];
    hint_list *l = list_of(h, one, kind);
    uint32_t newer = one->at[kind].newer, older = one->at[kind].older;
    if (newer)
        h->items[newer].at[kind].older = older;
    else
        l->newest = older;
    if (older)
        h->items[older].at[kind].newer = newer;
    else
        l->oldest = newer;
}

static void link_newest(prefix_hints *h, uint32_t i, list_kind kind) {
    hint *one = &h->items[i];
    hint_list *l = list_of(h, one, kind);
    one->at[kind].newer = 0;
    one->at[kind].older = l->newest;
    if (l->newest)
        h->items[l->newest].at[kind].newer = i;
    else
        l->oldest = i;
    l->newest = i;
}

/* ---- buckets ---- */

static uint32_t *bucket_of(const prefix_hints *h, uint64_t key) {
    return &h->buckets[key & (h->bucket_count - 1)];
}

static void put_in_bucket(prefix_hints *h, uint32_t i) {
    uint32_t *first = bucket_of(h, h->items[i].key);
    h->items[i].next = *first;
    *first = i;
}

static void take_from_bucket(prefix_hints *h, uint32_t i) {
    uint32_t *link = bucket_of(h, h->items[i].key);
    while (*link != i) link = &h->items[*link].next;
    *link = h->items[i].next;
}

/* 0 = there is none. */
static uint32_t hint_of(const prefix_hints *h, const prefix_holder *w, uint64_t key) {
    if (!h->bucket_count) return 0;
    uint32_t i = *bucket_of(h, key);
    while (i && (h->items[i].key != key || h->items[i].holder != w)) i = h->items[i].next;
    return i;
}

static void drop(prefix_hints *h, uint32_t i) {
    hint *one = &h->items[i];
    take_from_bucket(h, i);
    unlink_from(h, i, OF_HOLDER);
    unlink_from(h, i, OF_ALL);
    one->holder->count--;
    h->count--;
    h->changes++;
    *one = (hint){.next = h->spare};
    h->spare = i;
}

/* Room for as many hints as the pools have pages, at most max. Grows at a JOIN only, at least twofold. */
static void grow(prefix_hints *h) {
    uint64_t want = MIN(h->limits, (uint64_t)h->max) + 1;
    if (want <= h->capacity) return;
    uint32_t capacity = (uint32_t)MIN(MAX(want, 2ull * h->capacity), (uint64_t)h->max + 1);
    h->items = xrealloc(h->items, capacity, sizeof *h->items);
    h->fresh = MAX(h->fresh, 1u);
    h->capacity = capacity;
    uint32_t buckets = MAX(h->bucket_count, 16u);
    while (buckets < capacity) buckets *= 2;
    if (buckets == h->bucket_count) return;
    free(h->buckets);
    h->buckets = xcalloc(buckets, sizeof *h->buckets);
    h->bucket_count = buckets;
    /* Oldest first, so that the newest stands first in its bucket again. */
    for (uint32_t i = h->list.oldest; i; i = h->items[i].at[OF_ALL].newer) put_in_bucket(h, i);
}

void prefix_hints_join(prefix_hints *h, prefix_holder *w, uint32_t pages) {
    PRE(h);
    PRE(w);
    PRE(pages > 0);
    *w = (prefix_holder){.limit = pages};
    h->limits += pages;
    grow(h);
}

void prefix_hints_leave(prefix_hints *h, prefix_holder *w) {
    PRE(h);
    PRE(w);
    while (w->count) drop(h, w->list.oldest);
    h->limits -= w->limit;
    *w = (prefix_holder){0};
}

/* Makes the hint the newest everywhere. */
static void touch(prefix_hints *h, uint32_t i) {
    take_from_bucket(h, i);
    put_in_bucket(h, i);
    for (list_kind kind = 0; kind < LIST_KINDS; kind++) {
        unlink_from(h, i, kind);
        link_newest(h, i, kind);
    }
}

static void add_one(prefix_hints *h, prefix_holder *w, uint64_t key) {
    uint32_t others = 0, last = 0;
    for (uint32_t i = *bucket_of(h, key); i; i = h->items[i].next) {
        if (h->items[i].key != key) continue;
        if (h->items[i].holder == w) {
            touch(h, i);
            return;
        }
        others++;
        last = i;
    }
    if (others == PREFIX_HOLDERS_MAX) drop(h, last);
    if (w->count == w->limit) drop(h, w->list.oldest);
    if (!h->spare && h->fresh == h->capacity) drop(h, h->list.oldest);
    uint32_t i = h->spare ? h->spare : h->fresh++;
    hint *one = &h->items[i];
    if (h->spare) h->spare = one->next;
    *one = (hint){.key = key, .holder = w};
    put_in_bucket(h, i);
    for (list_kind kind = 0; kind < LIST_KINDS; kind++) link_newest(h, i, kind);
    w->count++;
    h->count++;
    h->changes++;
}

void prefix_hints_add(prefix_hints *h, prefix_holder *w, const uint64_t *chain, uint32_t pages) {
    PRE(h);
    PRE(w);
    PRE(chain || pages == 0);
    /* A chain must not push itself out from its front. */
    for (uint32_t i = MIN(pages, MIN(w->limit, h->max)); i-- > 0;) add_one(h, w, chain[i]);
}

void prefix_hints_cut(prefix_hints *h, prefix_holder *w, const uint64_t *chain, uint32_t pages,
                      uint32_t held) {
    PRE(h);
    PRE(w);
    PRE(chain || pages == 0);
    for (uint32_t i = held; i < pages; i++) {
        uint32_t at = hint_of(h, w, chain[i]);
        if (at) drop(h, at);
    }
}

/* ---- searching ---- */

static uint32_t holders_of(const prefix_hints *h, uint64_t key) {
    uint32_t n = 0;
    for (uint32_t i = *bucket_of(h, key); i; i = h->items[i].next) n += h->items[i].key == key;
    return n;
}

/* The most pages, of the first `pages`, that more than `count` workers hold. */
static uint32_t deepest(const prefix_hints *h, const uint64_t *chain, uint32_t pages, uint32_t count) {
    uint32_t low = 0;
    while (low < pages) {
        uint32_t middle = low + (pages - low + 1) / 2;
        if (holders_of(h, chain[middle - 1]) > count)
            low = middle;
        else
            pages = middle - 1;
    }
    return low;
}

prefix_found prefix_hints_find(prefix_hints *h, const uint64_t *chain, uint32_t pages) {
    PRE(h);
    PRE(chain || pages == 0);
    prefix_found f = {.search = ++h->searches};
    if (!h->count) return (prefix_found){0};
    uint32_t met = 0;
    while (met < PREFIX_HOLDERS_MAX && (pages = deepest(h, chain, pages, met)) > 0) {
        f.most = MAX(f.most, pages);
        uint64_t key = chain[pages - 1];
        for (uint32_t i = *bucket_of(h, key); i; i = h->items[i].next) {
            prefix_holder *w = h->items[i].holder;
            if (h->items[i].key != key || w->found == f.search) continue;
            w->found = f.search;
            w->pages = pages;
            met++;
        }
        pages--;
    }
    return f.most ? f : (prefix_found){0};
}

uint32_t prefix_found_pages(const prefix_found *f, const prefix_holder *w) {
    PRE(f);
    PRE(w);
    return f->search && w->found == f->search ? w->pages : 0;
}

bool prefix_hints_check(const prefix_hints *h) {
    PRE(h);
    uint32_t all = 0, older = 0;
    for (uint32_t i = h->list.newest; i; i = h->items[i].at[OF_ALL].older) {
        const hint *one = &h->items[i];
        if (!one->holder || one->at[OF_ALL].newer != older || ++all > h->count) return false;
        if (hint_of(h, one->holder, one->key) != i || holders_of(h, one->key) > PREFIX_HOLDERS_MAX)
            return false;
        uint32_t its = 0;
        if (i == one->holder->list.newest) {
            for (uint32_t k = i; k; k = h->items[k].at[OF_HOLDER].older)
                its += h->items[k].holder == one->holder;
            if (its != one->holder->count || its > one->holder->limit) return false;
        }
        older = i;
    }
    uint32_t spare = 0;
    for (uint32_t i = h->spare; i; i = h->items[i].next) spare++;
    return all == h->count && older == h->list.oldest && h->fresh <= h->capacity &&
           (!h->fresh || all + spare + 1 == h->fresh);
}
