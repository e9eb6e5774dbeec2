/* fair_queue - whose turn it is among many clients, so that one that asks for much does not keep others
 * waiting.
 *
 * Each client has a line of its own, by priority, then first come first served. Between the first ones of all
 * lines priority decides, then who was served less, then who came first. One that is more urgent than usual
 * is so within its own line only: or whoever says so would keep all others waiting.
 *
 *   client A   served 900   | 500 | 500 | 500 | ...       B's 40 is next; then A, once B's line is empty or
 * has client B   served 300   | 40 |                        caught up
 *
 * What is served is counted in prompt tokens (cost). It is start-time fair queueing: a client that comes, or
 * comes back, starts at the level that one would have which had its equal share all the time (`level`),
 * unless it was served more than that, so that nobody saves up turns and nobody sheds what it has had by
 * pausing. Between any two clients that wait all the time what they were served differs by the largest cost
 * at most. With one client it is a line by priority, then first come first served.
 *
 * When nobody waits all is forgotten: there is nothing to be fair about. Until then clients whose line is
 * empty are remembered as long as they were served more than the level, FAIR_RESTING_MAX of them at most.
 *
 * An element may be hidden: it keeps counting for its client, and is not in its line.
 *
 * Pure. An element costs the depth of two heaps, fair_queue_ahead the number of clients that wait. */
#ifndef BATON_COORDINATOR_FAIR_QUEUE_H
#define BATON_COORDINATOR_FAIR_QUEUE_H

#include "base/heap.h"
#include "base/u64_map.h"

#define FAIR_RESTING_MAX 1024u
#define FAIR_ORDER_BITS  48u          /* of a key: what comes below the priority */
#define FAIR_KEY_PLAIN   (1ull << 63) /* the priority of a key that nobody gave one */

typedef struct fair_client {
    uint64_t id;
    heap_node node;  /* in `active` by priority and served, or in `resting` by served */
    heap items;      /* of fair_item.turn, by key */
    uint64_t served; /* tokens, in sixteenths, from `level` at its first coming */
    uint32_t count;  /* elements, hidden ones too */
    uint64_t cost;   /* of those */
} fair_client;

/* Stands inside the caller's element. */
typedef struct fair_item {
    heap_node turn;      /* in its client's line; while it is in no queue, or hidden, the caller may use it */
    fair_client *client; /* NULL: in no queue */
    uint32_t cost;
} fair_item;

typedef struct fair_queue {
    u64_map clients; /* by id; owned */
    heap active, resting;
    uint64_t level, level_rest; /* sixteenths; rest: what is left of dividing */
    uint32_t count;             /* elements, hidden ones too */
    uint64_t cost;              /* of those */
} fair_queue;

void fair_queue_init(fair_queue *q);
/* Elements may still be in it: they are the caller's. */
void fair_queue_done(fair_queue *q);
/* key: the priority in the upper 16 bits (lower ones first), then what orders a client's own, lower ones
 * first. */
void fair_queue_put(fair_queue *q, fair_item *i, uint64_t client, uint64_t key, uint32_t cost);
/* NULL: nobody waits, but for those that are hidden */
fair_item *fair_queue_first(const fair_queue *q);
/* It leaves, hidden or not. served: it had its turn, which is counted. */
void fair_queue_take(fair_queue *q, fair_item *i, bool served);
/* It leaves its client's line only. */
void fair_queue_hide(fair_queue *q, fair_item *i);
void fair_queue_show(fair_queue *q, fair_item *i, uint64_t key);

/* What waits for this client, among other things; NULL: nobody knows it. Borrowed until the next change. */
const fair_client *fair_queue_client(const fair_queue *q, uint64_t client);
/* The cost that is served before an element that this client put now, if nobody comes meanwhile. own: what
 * fair_queue_client says of it. */
uint64_t fair_queue_ahead(const fair_queue *q, const fair_client *own, uint64_t key, uint32_t cost);

/* Linear: for tests. */
bool fair_queue_check(const fair_queue *q);

#endif
