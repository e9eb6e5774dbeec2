#include "worker_core/wpages.h"

#include "base/mem.h"
#include "kv/kv_layout.h"

void wpages_init(wpages *w, uint32_t page_count, bool on, bool outputs) {
    PRE(w);
    PRE(page_count > 0);
    errbuf eb = {0};
    *w = (wpages){.on = on, .outputs = outputs};
    CHECK(kv_pool_new(&w->pool, page_count, &eb) == ST_OK);
    w->cache = prefix_cache_new(w->pool);
}

void wpages_done(wpages *w) {
    if (!w) return;
    prefix_cache_free(w->cache);
    kv_pool_free(w->pool);
    *w = (wpages){0};
}

/* The first rows of s as far as they may stand in the cache, in whole pages. */
static prefix prefix_of(const wpages *w, const wseq *s, uint32_t rows) {
    prefix p = {.salt = {s->salt[0], s->salt[1]}, .ids = s->ids};
    if (!w->on || !s->cache) return p;
    if (!w->outputs) rows = MIN(rows, s->prompt_count);
    p.page_count = rows / KV_PAGE_TOKENS;
    return p;
}

bool wpages_take(wpages *w, wseq *s, uint32_t rows, uint32_t headroom) {
    PRE(w);
    PRE(s);
    PRE(s->page_count == 0);
    PRE(s->page_capacity >= kv_pages_for(rows));
    prefix p = prefix_of(w, s, s->anew ? 0 : wseq_rows(s) - 1);
    uint32_t idle, hit = prefix_cache_find(w->cache, &p, s->pages, &idle);
    uint32_t count = kv_pages_for(rows), available = wpages_available(w);
    CHECK(hit < count);
    uint32_t less = count - hit + idle;
    if (less > available || available - less < headroom) return false;
    prefix_cache_share(w->cache, s->pages, hit);
    CHECK(prefix_cache_take(w->cache, count - hit, s->pages + hit) == ST_OK);
    s->page_count = count;
    s->kept_pages = hit;
    s->hit_rows = s->rows_done = hit * KV_PAGE_TOKENS;
    if (w->on && s->cache && !s->anew) w->queries += wseq_rows(s);
    w->hits += s->hit_rows;
    return true;
}

bool wpages_grow(wpages *w, wseq *s, uint32_t rows) {
    PRE(w);
    PRE(s);
    uint32_t want = kv_pages_for(rows);
    if (want <= s->page_count) return true;
    if (want > s->page_capacity) {
        s->page_capacity = MAX(want, 2 * s->page_capacity);
        s->pages = xrealloc(s->pages, s->page_capacity, sizeof *s->pages);
    }
    if (prefix_cache_take(w->cache, want - s->page_count, s->pages + s->page_count) != ST_OK) return false;
    s->page_count = want;
    return true;
}

void wpages_put(wpages *w, wseq *s) {
    PRE(w);
    PRE(s);
    prefix_cache_put(w->cache, s->pages, s->page_count);
    s->page_count = s->kept_pages = 0;
}

void wpages_join(wpages *w, wseq *s, uint32_t rows) {
    PRE(w);
    PRE(s);
    PRE(rows <= wseq_rows(s));
    prefix p = prefix_of(w, s, rows);
    if (p.page_count > s->kept_pages)
        s->kept_pages = prefix_cache_join(w->cache, &p, s->kept_pages, s->pages);
}

void wpages_look_again(wpages *w, wseq *s) {
    PRE(s->rows_done == s->hit_rows);
    if (s->anew) return;
    uint32_t before = s->hit_rows;
    wpages_join(w, s, wseq_rows(s) - 1);
    s->hit_rows = s->rows_done = s->kept_pages * KV_PAGE_TOKENS;
    w->hits += s->hit_rows - before;
}

void wpages_keep(wpages *w, wseq *s, uint32_t rows) {
    PRE(w);
    PRE(s);
    PRE(rows <= wseq_rows(s));
    prefix p = prefix_of(w, s, rows);
    if (p.page_count > s->kept_pages)
        s->kept_pages = prefix_cache_keep(w->cache, &p, s->kept_pages, s->pages);
}

uint32_t wpages_available(const wpages *w) {
    PRE(w);
    return prefix_cache_available(w->cache);
}

uint32_t wpages_used(const wpages *w) {
    PRE(w);
    return kv_pool_used(w->pool) - prefix_cache_idle(w->cache);
}

uint32_t wpages_own(const wpages *w, const wseq *s) {
    PRE(w);
    PRE(s);
    uint32_t shared = s->page_count; /* what is shared are first pages */
    while (shared > 0 && prefix_cache_users(w->cache, s->pages[shared - 1]) == 1) shared--;
    return s->page_count - shared;
}

bool wpages_count(const wpages *w, const wseq *s, uint32_t *users) {
    PRE(w);
    PRE(s);
    for (uint32_t i = 0; i < s->page_count; i++) users[s->pages[i]]++;
    for (uint32_t i = 0; i < s->page_count; i++)
        if (prefix_cache_keeps(w->cache, s->pages[i]) != (i < s->kept_pages)) return false;
    return true;
}

bool wpages_check(const wpages *w, const uint32_t *users) {
    PRE(w);
    for (uint32_t i = 0; i < kv_pool_count(w->pool); i++)
        if (prefix_cache_users(w->cache, i) != users[i]) return false;
    return prefix_cache_check(w->cache);
}
