/* An entry stands at the number of its page, so nothing is allocated per page, and a parent that is named by
 * its page is the same one for as long as it has children: it is given up after them. */
#include "kv/prefix_cache.h"

#include "base/list.h"
#include "base/mem.h"
#include "base/mix.h"
#include "kv/kv_layout.h"

#include <stdlib.h>
#include <string.h>

#define NO_PAGE 0u /* pages are numbered from 1 here, so that memory of zeros is an empty cache */

typedef struct entry {
    list_link idle; /* in no list: used, or not kept */
    bool kept;
    uint32_t parent;   /* page + 1; NO_PAGE: it is the first of its sequence */
    uint32_t children; /* kept pages whose parent it is */
    uint32_t next;     /* page + 1 of the same bucket */
    uint64_t salt[2];  /* of a first page; else 0 */
    int32_t ids[KV_PAGE_TOKENS];
} entry;

struct prefix_cache {
    kv_pool *pool;
    entry *entries; /* [page_count] */
    uint32_t page_count;
    uint32_t *buckets; /* [bucket_count] page + 1 of the first */
    uint32_t bucket_count;
    uint32_t kept_count;
    list idle; /* of entry.idle; idle for longest first, children before their parents */
    uint64_t evictions;
};

prefix_cache *prefix_cache_new(kv_pool *pool) {
    PRE(pool);
    prefix_cache *c = xcalloc(1, sizeof *c);
    c->pool = pool;
    c->page_count = kv_pool_count(pool);
    c->entries = xcalloc(c->page_count, sizeof *c->entries);
    c->bucket_count = 16;
    while (c->bucket_count < c->page_count) c->bucket_count *= 2;
    c->buckets = xcalloc(c->bucket_count, sizeof *c->buckets);
    list_init(&c->idle);
    return c;
}

void prefix_cache_free(prefix_cache *c) {
    if (!c) return;
    free(c->entries);
    free(c->buckets);
    free(c);
}

/* ---- finding ---- */

/* What an entry is found by, and compared in. */
typedef struct key {
    uint32_t parent;
    uint64_t salt[2];
    const int32_t *ids; /* [KV_PAGE_TOKENS] */
} key;

static key key_of(const prefix *p, uint32_t i, uint32_t parent) {
    key k = {.parent = parent, .ids = p->ids + (size_t)i * KV_PAGE_TOKENS};
    if (parent == NO_PAGE) memcpy(k.salt, p->salt, sizeof k.salt);
    return k;
}

static uint32_t *bucket_of(const prefix_cache *c, const key *k) {
    uint64_t h = mix64(k->parent + MIX64_STEP);
    h = mix64(h ^ k->salt[0]);
    h = mix64(h ^ k->salt[1]);
    for (uint32_t i = 0; i < KV_PAGE_TOKENS; i += 2)
        h = mix64(h ^ ((uint64_t)(uint32_t)k->ids[i] << 32 | (uint32_t)k->ids[i + 1]));
    return &c->buckets[h & (c->bucket_count - 1)];
}

static bool matches(const entry *e, const key *k) {
    return e->parent == k->parent && memcmp(e->salt, k->salt, sizeof e->salt) == 0 &&
           memcmp(e->ids, k->ids, sizeof e->ids) == 0;
}

/* page + 1, or NO_PAGE */
static uint32_t lookup(const prefix_cache *c, const key *k) {
    uint32_t at = *bucket_of(c, k);
    while (at != NO_PAGE && !matches(&c->entries[at - 1], k)) at = c->entries[at - 1].next;
    return at;
}

uint32_t prefix_cache_find(const prefix_cache *c, const prefix *p, uint32_t *pages, uint32_t *idle) {
    PRE(c);
    PRE(p);
    PRE(idle);
    *idle = 0;
    uint32_t at = NO_PAGE;
    for (uint32_t i = 0; i < p->page_count; i++) {
        key k = key_of(p, i, at);
        at = lookup(c, &k);
        if (at == NO_PAGE) return i;
        pages[i] = at - 1;
        *idle += c->entries[at - 1].idle.next != NULL;
    }
    return p->page_count;
}

/* ---- keeping and giving up ---- */

static void add(prefix_cache *c, const key *k, uint32_t page) {
    entry *e = &c->entries[page];
    CHECK(!e->kept);
    uint32_t *bucket = bucket_of(c, k);
    *e = (entry){.kept = true, .parent = k->parent, .next = *bucket};
    memcpy(e->salt, k->salt, sizeof e->salt);
    memcpy(e->ids, k->ids, sizeof e->ids);
    *bucket = page + 1;
    if (k->parent != NO_PAGE) c->entries[k->parent - 1].children++;
    kv_pool_share(c->pool, &page, 1);
    c->kept_count++;
}

static void give_up(prefix_cache *c, uint32_t page) {
    entry *e = &c->entries[page];
    CHECK(e->kept);
    CHECK(e->children == 0);
    key k = {.parent = e->parent, .salt = {e->salt[0], e->salt[1]}, .ids = e->ids};
    uint32_t *at = bucket_of(c, &k);
    while (*at != page + 1) at = &c->entries[*at - 1].next;
    *at = e->next;
    if (e->parent != NO_PAGE) c->entries[e->parent - 1].children--;
    list_remove(&c->idle, &e->idle);
    e->kept = false;
    kv_pool_put(c->pool, &page, 1);
    c->kept_count--;
    c->evictions++;
}

uint32_t prefix_cache_join(prefix_cache *c, const prefix *p, uint32_t known, uint32_t *pages) {
    PRE(c);
    PRE(p);
    PRE(known <= p->page_count);
    PRE(known == 0 || c->entries[pages[known - 1]].kept);
    for (uint32_t i = known; i < p->page_count; i++) {
        key k = key_of(p, i, i ? pages[i - 1] + 1 : NO_PAGE);
        uint32_t at = lookup(c, &k), own = pages[i];
        if (at == NO_PAGE) return i;
        CHECK(at - 1 != own); /* what is kept of these pages is known */
        CHECK(!c->entries[own].kept);
        pages[i] = at - 1;
        prefix_cache_share(c, &pages[i], 1);
        kv_pool_put(c->pool, &own, 1);
    }
    return p->page_count;
}

uint32_t prefix_cache_keep(prefix_cache *c, const prefix *p, uint32_t known, const uint32_t *pages) {
    PRE(c);
    PRE(p);
    PRE(known <= p->page_count);
    PRE(known == 0 || c->entries[pages[known - 1]].kept);
    for (uint32_t i = known; i < p->page_count; i++) {
        key k = key_of(p, i, i ? pages[i - 1] + 1 : NO_PAGE);
        if (lookup(c, &k) != NO_PAGE) return i;
        add(c, &k, pages[i]);
    }
    return p->page_count;
}

status prefix_cache_take(prefix_cache *c, uint32_t count, uint32_t *pages) {
    PRE(c);
    if (count > prefix_cache_available(c)) return ST_NOMEM;
    while (kv_pool_available(c->pool) < count) {
        entry *e = LIST_ITEM(list_first(&c->idle), entry, idle);
        give_up(c, (uint32_t)(e - c->entries));
    }
    return kv_pool_take(c->pool, count, pages);
}

void prefix_cache_share(prefix_cache *c, const uint32_t *pages, uint32_t count) {
    PRE(c);
    kv_pool_share(c->pool, pages, count);
    for (uint32_t i = 0; i < count; i++) {
        entry *e = &c->entries[pages[i]];
        if (e->idle.next) list_remove(&c->idle, &e->idle);
    }
}

void prefix_cache_put(prefix_cache *c, const uint32_t *pages, uint32_t count) {
    PRE(c);
    for (uint32_t i = count; i-- > 0;) { /* children first: see the list */
        entry *e = &c->entries[pages[i]];
        kv_pool_put(c->pool, &pages[i], 1);
        if (e->kept && kv_pool_refs(c->pool, pages[i]) == 1) list_add_last(&c->idle, &e->idle);
    }
}

/* ---- what is told and checked ---- */

uint32_t prefix_cache_available(const prefix_cache *c) {
    PRE(c);
    return kv_pool_available(c->pool) + c->idle.count;
}

uint32_t prefix_cache_idle(const prefix_cache *c) {
    PRE(c);
    return c->idle.count;
}

uint64_t prefix_cache_evictions(const prefix_cache *c) {
    PRE(c);
    return c->evictions;
}

bool prefix_cache_keeps(const prefix_cache *c, uint32_t page) {
    PRE(c);
    PRE(page < c->page_count);
    return c->entries[page].kept;
}

uint32_t prefix_cache_users(const prefix_cache *c, uint32_t page) {
    PRE(c);
    uint32_t refs = kv_pool_refs(c->pool, page);
    return refs - c->entries[page].kept;
}

static bool check_entry(const prefix_cache *c, uint32_t page, uint32_t children) {
    const entry *e = &c->entries[page];
    uint32_t refs = kv_pool_refs(c->pool, page);
    if (!e->kept) return !e->idle.next && children == 0;
    if (refs == 0 || (refs == 1) != (e->idle.next != NULL)) return false;
    const entry *parent = e->parent == NO_PAGE ? NULL : &c->entries[e->parent - 1];
    if (parent && (!parent->kept || (parent->idle.next && !e->idle.next))) return false;
    key k = {.parent = e->parent, .salt = {e->salt[0], e->salt[1]}, .ids = e->ids};
    return children == e->children && lookup(c, &k) == page + 1;
}

bool prefix_cache_check(const prefix_cache *c) {
    PRE(c);
    uint32_t kept = 0, listed = 0;
    uint32_t *children = xcalloc((size_t)c->page_count + 1, sizeof *children); /* by page + 1 */
    for (uint32_t i = 0; i < c->page_count; i++)
        if (c->entries[i].kept) children[c->entries[i].parent]++;
    bool good = true;
    for (uint32_t i = 0; i < c->page_count && good; i++) {
        good = check_entry(c, i, children[i + 1]);
        kept += c->entries[i].kept;
    }
    /* Children before parents: whatever stands in front has no child left. */
    for (list_link *l = list_first(&c->idle); l && good; l = list_next(&c->idle, l)) {
        const entry *e = LIST_ITEM(l, entry, idle);
        good = children[e - c->entries + 1] == 0;
        children[e->parent]--;
        listed++;
    }
    free(children);
    return good && kept == c->kept_count && listed == c->idle.count && kv_pool_check(c->pool);
}
