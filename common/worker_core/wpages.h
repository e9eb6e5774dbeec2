/* wpages - the KV pages of a worker: its pool, its prefix cache, and what each request has of them.
 *
 * A request that may use the cache begins with the kept pages that hold its first rows; it computes, or is
 * sent, the rows behind. Its own whole pages are kept when their rows are written. At least its last row is
 * always its own: somebody needs the logits behind it.
 *
 * Pages that only the cache has count as free: they are given up when they are needed.
 *
 * Thread: the loop thread. Invariant (wpages_check with wpages_count for each request): a page has as many
 * users as requests have it, and a request whose page is kept has the kept pages before it. */
#ifndef BATON_WORKER_CORE_WPAGES_H
#define BATON_WORKER_CORE_WPAGES_H

#include "kv/prefix_cache.h"
#include "worker_core/wseq.h"

typedef struct wpages {
    kv_pool *pool;
    prefix_cache *cache;
    bool on;                /* requests may use the cache */
    bool outputs;           /* pages of generated rows are kept, too */
    uint64_t queries, hits; /* rows of requests that looked into the cache, and of those found */
} wpages;

void wpages_init(wpages *w, uint32_t page_count, bool on, bool outputs);
void wpages_done(wpages *w);

/* Pages for so many rows, kept ones first; sets hit_rows, kept_pages and rows_done. False: they are not there
 * with so many left free; nothing is taken. s has none yet, and room for them. */
bool wpages_take(wpages *w, wseq *s, uint32_t rows, uint32_t headroom);
/* Pages for so many rows in all; false: not that many are free. */
bool wpages_grow(wpages *w, wseq *s, uint32_t rows);
/* All that it has. */
void wpages_put(wpages *w, wseq *s);
/* Takes kept pages in place of its own for its first so many rows. Nobody else knows its pages. */
void wpages_join(wpages *w, wseq *s, uint32_t rows);
/* The same for a prompt of which nothing was computed yet, as in wpages_take. */
void wpages_look_again(wpages *w, wseq *s);
/* So many of its rows are written: keeps the whole pages of them. */
void wpages_keep(wpages *w, wseq *s, uint32_t rows);

uint32_t wpages_available(const wpages *w);
/* By requests. */
uint32_t wpages_used(const wpages *w);
/* Pages that nobody but this request has: what comes back with it. */
uint32_t wpages_own(const wpages *w, const wseq *s);

/* For tests, linear. users: [pages of the pool]. */
bool wpages_count(const wpages *w, const wseq *s, uint32_t *users);
bool wpages_check(const wpages *w, const uint32_t *users);

#endif
