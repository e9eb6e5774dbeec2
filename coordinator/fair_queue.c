#include "coordinator/fair_queue.h"

#include "base/mem.h"
#include "base/status.h"

#include <stddef.h>
#include <stdlib.h>

#define FRACTION   16u /* of a token: what `served` counts in */
#define ORDER_MASK ((1ull << FAIR_ORDER_BITS) - 1)

static fair_client *client_of(heap_node *n) {
    return n ? (fair_client *)((char *)n - offsetof(fair_client, node)) : NULL;
}

static fair_item *item_of(heap_node *n) {
    return n ? (fair_item *)((char *)n - offsetof(fair_item, turn)) : NULL;
}

void fair_queue_init(fair_queue *q) {
    PRE(q);
    *q = (fair_queue){0};
    u64_map_init(&q->clients, 0);
    heap_init(&q->active, 0);
    heap_init(&q->resting, 0);
}

static void forget(fair_queue *q, fair_client *c) {
    (void)u64_map_take(&q->clients, c->id);
    heap_done(&c->items);
    free(c);
}

void fair_queue_done(fair_queue *q) {
    PRE(q);
    for (uint32_t i = 0; i < q->clients.slot_count; i++) {
        fair_client *c = q->clients.slots[i].value;
        if (c) heap_done(&c->items);
        free(c);
    }
    u64_map_done(&q->clients);
    heap_done(&q->active);
    heap_done(&q->resting);
    *q = (fair_queue){0};
}

/* ---- clients ---- */

static void rest(fair_queue *q, fair_client *c) {
    if (q->resting.count == FAIR_RESTING_MAX) {
        fair_client *least = client_of(heap_first(&q->resting));
        heap_take(&q->resting, &least->node);
        forget(q, least);
    }
    c->node.tie = 0;
    heap_put(&q->resting, &c->node, c->served);
}

/* The priority in a key, as it counts against other clients. */
static uint64_t urgency(uint64_t key) {
    return MAX(key & ~ORDER_MASK, FAIR_KEY_PLAIN);
}

/* Its first element, or what it was served, has changed. Counts beyond 48 bits are equal, so that then the
 * first come is first: that takes 200 days of a million tokens a second during which somebody always waits.
 */
static void order(fair_queue *q, fair_client *c) {
    const heap_node *first = heap_first(&c->items);
    bool was = heap_has(&c->node);
    if (!first) {
        if (was) heap_take(&q->active, &c->node);
        return;
    }
    uint64_t key = urgency(first->key) | MIN(c->served, ORDER_MASK);
    c->node.tie = first->key & ORDER_MASK;
    if (was)
        heap_move(&q->active, &c->node, key);
    else
        heap_put(&q->active, &c->node, key);
}

/* Those that have had no more than the level are like those that never came; when nobody waits all are. */
static void forget_some(fair_queue *q) {
    bool idle = q->active.count == 0 && q->clients.count == q->resting.count;
    for (fair_client *c; (c = client_of(heap_first(&q->resting)));) {
        if (!idle && c->served > q->level) break;
        heap_take(&q->resting, &c->node);
        forget(q, c);
    }
    if (idle) q->level = q->level_rest = 0;
}

/* The client's line has an element more. */
static void enter(fair_queue *q, fair_item *i, uint64_t key) {
    fair_client *c = i->client;
    if (!c->items.count) c->served = MAX(c->served, q->level);
    heap_put(&c->items, &i->turn, key);
    order(q, c);
}

/* ---- elements ---- */

void fair_queue_put(fair_queue *q, fair_item *i, uint64_t client, uint64_t key, uint32_t cost) {
    PRE(q);
    PRE(i);
    PRE(!i->client);
    fair_client *c = u64_map_get(&q->clients, client);
    if (!c) {
        c = xcalloc(1, sizeof *c);
        c->id = client;
        heap_init(&c->items, 0);
        u64_map_put(&q->clients, client, c);
    } else if (!c->count) {
        heap_take(&q->resting, &c->node);
    }
    i->client = c;
    i->cost = cost;
    c->count++;
    c->cost += cost;
    q->count++;
    q->cost += cost;
    enter(q, i, key);
}

fair_item *fair_queue_first(const fair_queue *q) {
    PRE(q);
    const fair_client *c = client_of(heap_first(&q->active));
    return c ? item_of(heap_first(&c->items)) : NULL;
}

void fair_queue_hide(fair_queue *q, fair_item *i) {
    PRE(q);
    PRE(i);
    PRE(i->client);
    heap_take(&i->client->items, &i->turn);
    order(q, i->client);
}

void fair_queue_show(fair_queue *q, fair_item *i, uint64_t key) {
    PRE(q);
    PRE(i);
    PRE(i->client);
    enter(q, i, key);
}

/* All that wait share what is served, so the level rises by the share of one. */
static void charge(fair_queue *q, fair_client *c, uint32_t cost) {
    uint64_t parts = (uint64_t)cost * FRACTION, sharers = MAX(q->active.count, 1u);
    c->served += parts;
    q->level_rest += parts;
    q->level += q->level_rest / sharers;
    q->level_rest %= sharers;
}

void fair_queue_take(fair_queue *q, fair_item *i, bool served) {
    PRE(q);
    PRE(i);
    PRE(i->client);
    fair_client *c = i->client;
    if (served) charge(q, c, i->cost);
    if (heap_has(&i->turn)) heap_take(&c->items, &i->turn);
    i->client = NULL;
    c->count--;
    c->cost -= i->cost;
    q->count--;
    q->cost -= i->cost;
    order(q, c);
    if (!c->count) rest(q, c);
    forget_some(q);
}

/* ---- looking ---- */

const fair_client *fair_queue_client(const fair_queue *q, uint64_t client) {
    PRE(q);
    return u64_map_get(&q->clients, client);
}

/* Its line is served until `end`; so is everybody else's, unless nothing there is as urgent. Hidden elements
 * are counted as if they were in line, which is too much, and rare. */
uint64_t fair_queue_ahead(const fair_queue *q, const fair_client *own, uint64_t key, uint32_t cost) {
    PRE(q);
    uint64_t begin = own ? MAX(own->served, q->level) : q->level;
    if (own && own->items.count) begin = own->served;
    bool waits =
        own && own->items.count && (heap_first(&own->items)->key & ~ORDER_MASK) <= (key & ~ORDER_MASK);
    uint64_t ahead = waits ? own->cost : 0;
    uint64_t end = begin + (ahead + cost) * FRACTION;
    for (uint32_t i = 0; i < q->active.count; i++) {
        const fair_client *c = client_of(q->active.nodes[i]);
        if (c == own || (c->node.key & ~ORDER_MASK) > urgency(key) || c->served >= end) continue;
        ahead += MIN(c->cost, (end - c->served + FRACTION - 1) / FRACTION);
    }
    return ahead;
}

bool fair_queue_check(const fair_queue *q) {
    PRE(q);
    uint32_t count = 0, waiting = 0, idle = 0;
    uint64_t cost = 0;
    for (uint32_t i = 0; i < q->clients.slot_count; i++) {
        const fair_client *c = q->clients.slots[i].value;
        if (!c) continue;
        count += c->count;
        cost += c->cost;
        waiting += c->items.count > 0;
        idle += c->count == 0;
        if (c->items.count > c->count || !heap_check(&c->items)) return false;
        if (heap_has(&c->node) != (c->items.count || !c->count)) return false;
        for (uint32_t k = 0; k < c->items.count; k++)
            if (item_of(c->items.nodes[k])->client != c) return false;
    }
    return count == q->count && cost == q->cost && waiting == q->active.count && idle == q->resting.count &&
           heap_check(&q->active) && heap_check(&q->resting) && u64_map_check(&q->clients);
}
