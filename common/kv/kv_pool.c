/* The free pages are a stack, so the page that was given back last is taken first: its memory is the warmest.
 * A count of references per page says the rest. take, share and put cost O(pages named); nothing is searched.
 */
#include "kv/kv_pool.h"

#include "base/mem.h"

#include <stdlib.h>

struct kv_pool {
    uint32_t page_count;
    uint32_t free_count;
    uint32_t *free_pages; /* [page_count], of which free_count are valid; the top is the next to be taken */
    uint32_t *refs;       /* [page_count]; 0 = free */
};

status kv_pool_new(kv_pool **out, uint32_t page_count, errbuf *eb) {
    PRE(out);
    if (page_count == 0 || page_count > KV_POOL_PAGES_MAX)
        return errf(eb, ST_INVALID, "kv pool: %u pages, want 1..%u", page_count, KV_POOL_PAGES_MAX);

    kv_pool *p = xcalloc(1, sizeof *p);
    p->page_count = page_count;
    p->free_count = page_count;
    p->free_pages = malloc(page_count * sizeof *p->free_pages);
    p->refs = calloc(page_count, sizeof *p->refs);
    if (!p->free_pages || !p->refs) goto fail;
    /* Reversed, so that a fresh pool hands out 0, 1, 2, ... */
    for (uint32_t i = 0; i < page_count; i++) p->free_pages[i] = page_count - 1 - i;

    *out = p;
    return ST_OK;

fail:
    kv_pool_free(p);
    return errf(eb, ST_NOMEM, "kv pool: no memory to keep track of %u pages; configure fewer", page_count);
}

void kv_pool_free(kv_pool *p) {
    if (!p) return;
    free(p->refs);
    free(p->free_pages);
    free(p);
}

status kv_pool_take(kv_pool *p, uint32_t count, uint32_t *pages) {
    PRE(p);
    PRE(pages || count == 0);
    if (count > p->free_count) return ST_NOMEM;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t page = p->free_pages[--p->free_count];
        CHECK(p->refs[page] == 0);
        p->refs[page] = 1;
        pages[i] = page;
    }
    return ST_OK;
}

void kv_pool_share(kv_pool *p, const uint32_t *pages, uint32_t count) {
    PRE(p);
    PRE(pages || count == 0);
    for (uint32_t i = 0; i < count; i++) {
        PRE(pages[i] < p->page_count);
        PRE(p->refs[pages[i]] > 0);
        PRE(p->refs[pages[i]] < UINT32_MAX);
        p->refs[pages[i]]++;
    }
}

void kv_pool_put(kv_pool *p, const uint32_t *pages, uint32_t count) {
    PRE(p);
    PRE(pages || count == 0);
    for (uint32_t i = 0; i < count; i++) {
        PRE(pages[i] < p->page_count);
        PRE(p->refs[pages[i]] > 0);
        if (--p->refs[pages[i]] > 0) continue;
        CHECK(p->free_count < p->page_count);
        p->free_pages[p->free_count++] = pages[i];
    }
}

uint32_t kv_pool_available(const kv_pool *p) {
    PRE(p);
    return p->free_count;
}

uint32_t kv_pool_used(const kv_pool *p) {
    PRE(p);
    return p->page_count - p->free_count;
}

uint32_t kv_pool_count(const kv_pool *p) {
    PRE(p);
    return p->page_count;
}

uint32_t kv_pool_refs(const kv_pool *p, uint32_t page) {
    PRE(p);
    PRE(page < p->page_count);
    return p->refs[page];
}

bool kv_pool_check(const kv_pool *p) {
    PRE(p);
    if (p->free_count > p->page_count) return false;
    uint32_t used = 0;
    for (uint32_t i = 0; i < p->page_count; i++) used += p->refs[i] > 0;
    if (used + p->free_count != p->page_count) return false;

    unsigned char *seen = xcalloc(p->page_count, 1);
    bool good = true;
    for (uint32_t i = 0; i < p->free_count && good; i++) {
        uint32_t page = p->free_pages[i];
        good = page < p->page_count && p->refs[page] == 0 && !seen[page];
        if (good) seen[page] = 1;
    }
    free(seen);
    return good;
}
