/* prefix_hints - which workers were given which prefixes: hints for the router, never promises. The worker
 * decides what it holds; what it answers corrects the hints.
 *
 * A prompt is known by the chain of its whole pages: a key per page of KV_PAGE_TOKENS ids, made of the key
 * before it and these ids, with the salt at the start. So equal keys mean equal ids from the first to there,
 * and a worker that has the KV of one page has that of all before it. Two keys that meet by chance make a
 * wrong hint and nothing worse.
 *
 *   buckets: key -> hint -> hint ...       newest first, at most PREFIX_HOLDERS_MAX of one key
 *   of one worker: newest ... oldest       at most as many as its pool has pages
 *   of all workers: newest ... oldest      at most max
 *
 * Within a chain the first page is always the newest one, so that what is forgotten first is a chain's end
 * and what is left is a prefix still. That makes a search for the deepest page a bisection.
 *
 * Cost: add, of its pages; find, of the logarithm of its pages for each set of holders that is met, at most
 * PREFIX_HOLDERS_MAX of them, however many workers there are. Thread: the coordinator's loop. */
#ifndef BATON_COORDINATOR_PREFIX_HINTS_H
#define BATON_COORDINATOR_PREFIX_HINTS_H

#include <stdbool.h>
#include <stdint.h>

/* Hints of all workers that compute prompts, and of all that decode: 40 bytes each, so 40 MiB of either at
 * most, and less as long as the pools together have fewer pages */
#define PREFIX_HINTS_MAX (1u << 20)
/* A prefix that more workers hold is looked for at those that used it last: enough to spread its load, and a
 * bound on the search */
#define PREFIX_HOLDERS_MAX 16u

/* Ends of a list: indices of hints; 0 = empty */
typedef struct hint_list {
    uint32_t newest, oldest;
} hint_list;

/* One worker's share. It must stay where it is from prefix_hints_join to prefix_hints_leave. */
typedef struct prefix_holder {
    uint32_t limit; /* pages of its pool */
    uint32_t count; /* of its hints, <= limit */
    hint_list list;
    uint64_t found; /* the last search that met it, */
    uint32_t pages; /* and how many pages it holds of what was looked for */
} prefix_holder;

typedef struct prefix_hints {
    struct hint *items;    /* [capacity]; owned. 0 is nobody's */
    uint32_t *buckets;     /* [bucket_count], a power of two; owned */
    uint32_t bucket_count; /* 0 before the first worker */
    uint32_t capacity, count, max;
    uint32_t spare;  /* list of unused items by `next` */
    uint32_t fresh;  /* items from here on were never used, so that their memory is not touched */
    uint64_t limits; /* sum of the workers' */
    hint_list list;
    uint64_t searches;
    uint64_t changes; /* hints that came or went */
} prefix_hints;

/* What a search found; all 0: nobody holds anything. */
typedef struct prefix_found {
    uint64_t search; /* its number */
    uint32_t most;   /* pages that the best holder has */
} prefix_found;

void prefix_hints_init(prefix_hints *h, uint32_t max);
void prefix_hints_done(prefix_hints *h);
void prefix_hints_join(prefix_hints *h, prefix_holder *w, uint32_t pages);
/* Its hints go with it. */
void prefix_hints_leave(prefix_hints *h, prefix_holder *w);
/* It has these pages now, and used them. */
void prefix_hints_add(prefix_hints *h, prefix_holder *w, const uint64_t *chain, uint32_t pages);
/* It has the first `held` of these pages and no more. */
void prefix_hints_cut(prefix_hints *h, prefix_holder *w, const uint64_t *chain, uint32_t pages,
                      uint32_t held);
/* Valid until the next search, join or leave. */
prefix_found prefix_hints_find(prefix_hints *h, const uint64_t *chain, uint32_t pages);
/* Pages that w holds of what f looked for. */
uint32_t prefix_found_pages(const prefix_found *f, const prefix_holder *w);

/* Counts, bounds and lists agree. Linear: for tests. */
bool prefix_hints_check(const prefix_hints *h);

#endif
