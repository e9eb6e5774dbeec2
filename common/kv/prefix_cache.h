/* prefix_cache - KV pages that are kept after their request, for requests that begin with the same tokens.
 * Pure.
 *
 * A pool of pages, and a tree over those that are kept: a page is the child of the page before it, and holds
 * the rows of 16 ids. Two prompts share pages as far as they share whole pages of ids:
 *
 *   salt ── [0..16) ─┬─ [16..32) ── [32..48)      kept: one reference of the cache, besides those of users
 *                    └─ [16..32)'                 idle: kept, and nobody uses it; the first to be given up
 *
 * A page is found by a hash of its parent and its ids, and taken only when both are the same, for the first
 * page the salt in place of a parent: neither chance nor a crafted prompt leads to KV of other tokens.
 *
 * Who uses a kept page uses its parents, too, since a page is kept only behind a parent that its user has
 * itself. So an idle page has idle children only, and since users give back their last page first, the pages
 * that have been idle longest are leaves: what is given up is the head of one list. Each page costs O(1) to
 * find, keep, use, give back and give up. Entries are as many as pages; their memory is touched when used.
 *
 * What is free to be taken is what is free in the pool and what is idle. Thread: of the pool. Invariant:
 * prefix_cache_check. */
#ifndef BATON_KV_PREFIX_CACHE_H
#define BATON_KV_PREFIX_CACHE_H

#include "kv/kv_pool.h"

typedef struct prefix_cache prefix_cache;

/* The first whole pages of a sequence of ids. Borrowed. */
typedef struct prefix {
    uint64_t salt[2];   /* sequences of other salts are others */
    const int32_t *ids; /* [16 * page_count] */
    uint32_t page_count;
} prefix;

/* Keeps nothing yet. Takes pages of the pool, which it borrows; from now on they are taken, shared and put
 * back here only. */
prefix_cache *prefix_cache_new(kv_pool *pool);
/* What it keeps is not put back. */
void prefix_cache_free(prefix_cache *c);

/* The longest part of the prefix that is kept: writes its pages ([page_count]) and returns how many. They are
 * only lent until the next call that takes pages: share them before. idle: how many of them nobody uses. */
uint32_t prefix_cache_find(const prefix_cache *c, const prefix *p, uint32_t *pages, uint32_t *idle);
/* The same for a sequence that has pages of its own already, of which the first `known` are kept: takes kept
 * pages in place of its own, as far as there are. Only for pages that nobody but the caller knows. Returns
 * how many of the prefix are kept now. */
uint32_t prefix_cache_join(prefix_cache *c, const prefix *p, uint32_t known, uint32_t *pages);
/* Keeps the pages of a prefix from `known` on, of which those before are kept already: the caller has a
 * reference on each, their rows are written and will not be written again. Returns how many pages of it are
 * kept now: it stops where another page with these ids is kept. */
uint32_t prefix_cache_keep(prefix_cache *c, const prefix *p, uint32_t known, const uint32_t *pages);

/* Like kv_pool_take: idle pages are given up for it, those that have been idle longest first. */
status prefix_cache_take(prefix_cache *c, uint32_t count, uint32_t *pages);
/* One more reference each. With a kept page its parents: pages are those of a sequence from its first on. */
void prefix_cache_share(prefix_cache *c, const uint32_t *pages, uint32_t count);
/* One less. pages: all that a sequence has, from its first on. */
void prefix_cache_put(prefix_cache *c, const uint32_t *pages, uint32_t count);

/* Pages that can be taken: free or idle. */
uint32_t prefix_cache_available(const prefix_cache *c);
/* Pages that only the cache has. */
uint32_t prefix_cache_idle(const prefix_cache *c);
/* Pages given up so far. */
uint64_t prefix_cache_evictions(const prefix_cache *c);
bool prefix_cache_keeps(const prefix_cache *c, uint32_t page);
/* Users of a page, the cache not counted. */
uint32_t prefix_cache_users(const prefix_cache *c, uint32_t page);

/* Linear: for tests. */
bool prefix_cache_check(const prefix_cache *c);

#endif
