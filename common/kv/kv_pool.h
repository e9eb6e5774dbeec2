/* kv_pool - which KV pages are free, and how often the others are shared.
 *
 * A pool hands out page ids in 0..page_count-1; where the bytes of a page live is not its business, so one
 * implementation serves host memory, device memory and the simulator. Thread: the loop thread of the worker
 * that owns it. No locks. */
#ifndef BATON_KV_KV_POOL_H
#define BATON_KV_KV_POOL_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct kv_pool kv_pool;

#define KV_POOL_PAGES_MAX (1u << 26)

status kv_pool_new(kv_pool **out, uint32_t page_count, errbuf *eb);
void kv_pool_free(kv_pool *p);

/* All or nothing: writes `count` ids, each with one reference. ST_NOMEM when fewer are free (nothing is
 * taken). */
status kv_pool_take(kv_pool *p, uint32_t count, uint32_t *pages);
/* One more reference each */
void kv_pool_share(kv_pool *p, const uint32_t *pages, uint32_t count);
/* One less; free after the last */
void kv_pool_put(kv_pool *p, const uint32_t *pages, uint32_t count);
uint32_t kv_pool_available(const kv_pool *p);
uint32_t kv_pool_used(const kv_pool *p);
uint32_t kv_pool_count(const kv_pool *p);
uint32_t kv_pool_refs(const kv_pool *p, uint32_t page);
/* Pages that an admission must leave free where sequences grow (protocol rule 8): one for each running
 * sequence, or 2 % of the pool, rounded up, if that is more. Coordinator and workers ask this one function,
 * so that what the one offers the other does not refuse. */
static inline uint32_t kv_pool_headroom(uint32_t page_count, uint32_t running) {
    uint32_t share = page_count / 50 + (page_count % 50 != 0);
    return running > share ? running : share;
}
/* Free + used == count, no page twice in the free list */
bool kv_pool_check(const kv_pool *p);

#endif
