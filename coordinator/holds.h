/* holds - what one worker was given and has not given back: one hold per {request, attempt}, until the worker
 * said that nothing of it is left.
 *
 * A hold is `open` while the worker's free_pages may not include its pages yet; those are the promises of
 * control.md. It is `closing` from RELEASE, CANCEL or DROP on; a request has at most one that is not, and it
 * is the newest. What the router asks about all of them is kept as sums, so that a choice costs the same with
 * thousands of them as with one.
 *
 *   by_req: request -> newest hold -> older -> older ...   attempts fall along the chain
 *
 * Fields are read by anyone and changed by holds_* alone, which keep the sums true. Thread: the coordinator's
 * loop. */
#ifndef BATON_COORDINATOR_HOLDS_H
#define BATON_COORDINATOR_HOLDS_H

#include "base/u64_map.h"

typedef struct hold {
    uint64_t req;
    uint32_t attempt_first; /* it was given under this one */
    uint32_t attempt;       /* and renumbered up to this one (DEST) */
    uint32_t pages;         /* taken by the worker when it accepts; > 0 */
    uint32_t rows;          /* prompt rows still to compute there; 0 after its first token, and on a D */
    bool replay;            /* it goes before those that are none */
    bool open;              /* a promise: free_pages may not include it yet */
    bool closing;           /* RELEASE, CANCEL or DROP was sent; CLOSED is awaited */
    uint32_t slot;          /* in items */
    struct hold *older;     /* of the same request; NULL = none. Of a spare one: the next spare one */
} hold;

typedef struct holds {
    hold **items; /* [count], in no order; owned */
    uint32_t count, capacity;
    u64_map by_req;       /* the newest hold of each request */
    hold *spare;          /* for the next ones; owned */
    uint32_t pages;       /* of all */
    uint32_t promised;    /* pages of the open ones */
    uint32_t rows;        /* of all (rule 6) */
    uint32_t replay_rows; /* of the replays among them */
    uint32_t computing;   /* how many have rows */
    bool eased;           /* rows, pages or a place came free: whoever looks clears it */
} holds;

void holds_init(holds *h);
void holds_done(holds *h);

/* The request has no current hold here. */
void holds_add(holds *h, uint64_t req, uint32_t attempt, uint32_t pages, uint32_t rows);
/* The hold just added is a replay's, at a worker that computes those first. */
void holds_replay(holds *h, uint64_t req);
/* The current one; NULL when none or closing. Borrowed: until it is closed */
hold *holds_current(const holds *h, uint64_t req);
/* Any that covers the attempt, or NULL. Borrowed: until it is closed */
hold *holds_find(const holds *h, uint64_t req, uint32_t attempt);
/* The worker answered: its free_pages include the hold's pages. */
void holds_answered(holds *h, hold *one);
/* Its prompt is computed, or will not be. */
void holds_computed(holds *h, hold *one);
/* The current hold of the request is now closing; returns its newest attempt. */
uint32_t holds_close(holds *h, uint64_t req);
/* The worker holds nothing of the request up to this attempt. */
void holds_closed(holds *h, uint64_t req, uint32_t attempt);
/* The requests whose current hold is here; out has room for all of them. Returns how many. */
uint32_t holds_requests(const holds *h, uint64_t *out);
/* All are gone, with their worker. */
void holds_forget(holds *h);

/* The sums are those of the holds, and each is found. Linear: for tests. */
bool holds_check(const holds *h);

#endif
