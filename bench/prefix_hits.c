/* prefix_hits - how much of the prompts of a trace prefix caches of several sizes find, beside one that never
 * gives anything up.
 *
 *   prefix_hits FILE [PAGES_PER_BLOCK]      a trace with shared prefixes (bench/workload/trace_file.h)
 *
 * One worker's pool and cache, the product's own (kv/prefix_cache.h), given the prompts one after the other
 * as they come: each looks, takes what is missing, keeps its whole pages and lets go. So nothing is in use
 * meanwhile: with long prompts at the same time there is less room. A block of the trace (512 tokens in
 * Mooncake's) is scaled to PAGES_PER_BLOCK pages of 16 tokens, 1 if not given; pools scale along. What of a
 * prompt is no whole block is nobody else's. */
#include "base/mem.h"
#include "base/mix.h"
#include "bench/workload/trace_file.h"
#include "kv/kv_layout.h"
#include "kv/prefix_cache.h"

#include <stdio.h>
#include <stdlib.h>

#define BLOCK_TOKENS 512u

/* All prompts, scaled. */
typedef struct prompts {
    int32_t **ids;    /* [count][KV_PAGE_TOKENS * pages] */
    uint32_t *pages;  /* [count] whole ones; behind them lies one row at least */
    uint64_t *tokens; /* [count] that are scaled */
    uint32_t count;
    uint64_t all_pages; /* of all of them */
} prompts;

static void fill(int32_t *ids, uint64_t block, uint32_t pages) {
    for (uint32_t i = 0; i < pages * KV_PAGE_TOKENS; i++)
        ids[i] = (int32_t)(mix64(mix64(block + 1) + i) >> 33);
}

static prompts scale(const trace *t, uint32_t block_pages) {
    prompts p = {.count = t->count};
    p.ids = xcalloc(t->count, sizeof *p.ids);
    p.pages = xcalloc(t->count, sizeof *p.pages);
    p.tokens = xcalloc(t->count, sizeof *p.tokens);
    for (uint32_t r = 0; r < t->count; r++) {
        const trace_row *row = &t->rows[r];
        uint32_t blocks = 0;
        while (blocks < row->prefix_count && t->prefixes[row->prefix_first + blocks].tokens == BLOCK_TOKENS)
            blocks++;
        uint64_t rest = row->prompt_tokens - (uint64_t)blocks * BLOCK_TOKENS;
        rest = rest * block_pages * KV_PAGE_TOKENS / BLOCK_TOKENS;
        p.pages[r] = blocks * block_pages;
        p.tokens[r] = (uint64_t)p.pages[r] * KV_PAGE_TOKENS + rest;
        if (rest == 0 && blocks) p.pages[r]--; /* the last row is computed */
        p.ids[r] = xcalloc((size_t)blocks * block_pages * KV_PAGE_TOKENS + 1, sizeof *p.ids[r]);
        for (uint32_t b = 0; b < blocks; b++)
            fill(p.ids[r] + (size_t)b * block_pages * KV_PAGE_TOKENS, t->prefixes[row->prefix_first + b].id,
                 block_pages);
        p.all_pages += p.pages[r];
    }
    return p;
}

static void free_prompts(prompts *p) {
    for (uint32_t r = 0; r < p->count; r++) free(p->ids[r]);
    free(p->ids);
    free(p->pages);
    free(p->tokens);
}

typedef struct outcome {
    uint64_t asked, found; /* tokens */
    uint64_t kept, given_up, too_long;
} outcome;

static outcome run(const prompts *p, uint32_t pool_pages) {
    outcome out = {0};
    kv_pool *pool;
    CHECK(kv_pool_new(&pool, pool_pages, NULL) == ST_OK);
    prefix_cache *cache = prefix_cache_new(pool);
    uint32_t *pages = xcalloc(pool_pages, sizeof *pages);
    for (uint32_t r = 0; r < p->count; r++) {
        prefix whole = {.ids = p->ids[r], .page_count = p->pages[r]};
        out.asked += p->tokens[r];
        if (p->pages[r] >= pool_pages) {
            out.too_long++;
            continue;
        }
        uint32_t idle, hit = prefix_cache_find(cache, &whole, pages, &idle);
        prefix_cache_share(cache, pages, hit);
        CHECK(prefix_cache_take(cache, p->pages[r] - hit, pages + hit) == ST_OK);
        CHECK(prefix_cache_keep(cache, &whole, hit, pages) == p->pages[r]);
        prefix_cache_put(cache, pages, p->pages[r]);
        out.found += (uint64_t)hit * KV_PAGE_TOKENS;
    }
    out.kept = prefix_cache_idle(cache);
    out.given_up = prefix_cache_evictions(cache);
    CHECK(prefix_cache_check(cache));
    free(pages);
    prefix_cache_free(cache);
    kv_pool_free(pool);
    return out;
}

int main(int argc, char **argv) {
    uint32_t block_pages = argc > 2 ? (uint32_t)atoi(argv[2]) : 1;
    if (argc < 2 || argc > 3 || block_pages < 1 || block_pages > 32) {
        fprintf(stderr, "usage: prefix_hits FILE [PAGES_PER_BLOCK, 1 to 32]\n");
        return 2;
    }
    errbuf eb = {0};
    trace t = {0};
    if (trace_read(&t, argv[1], &(trace_options){0}, &eb) != ST_OK) {
        fprintf(stderr, "prefix_hits: %s\n", eb.text);
        return 1;
    }
    prompts p = scale(&t, block_pages);
    CHECK(p.all_pages < KV_POOL_PAGES_MAX);
    outcome endless = run(&p, (uint32_t)p.all_pages + 1);
    printf("%u prompts of %.0f tokens on average, scaled; %llu different pages\n\n", p.count,
           (double)endless.asked / p.count, (unsigned long long)endless.kept);
    printf("| pool, pages | of all different pages | found | of what an endless cache finds | given up | "
           "longer than "
           "the pool |\n|---|---|---|---|---|---|\n");
    for (uint32_t part = 256; part >= 1; part /= 2) {
        uint32_t pages = (uint32_t)(endless.kept / part) + 1;
        outcome o = run(&p, pages);
        printf("| %u | 1/%u | %.1f %% | %.1f %% | %llu | %llu |\n", pages, part,
               100.0 * (double)o.found / (double)o.asked, 100.0 * (double)o.found / (double)endless.found,
               (unsigned long long)o.given_up, (unsigned long long)o.too_long);
    }
    printf("| endless | | %.1f %% | 100 %% | 0 | 0 |\n",
           100.0 * (double)endless.found / (double)endless.asked);
    free_prompts(&p);
    trace_done(&t);
    return 0;
}
