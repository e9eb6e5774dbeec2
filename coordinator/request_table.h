/* request_table - every request alive, found by its number, by its turn and by its deadline, each without a
 * search.
 *
 * A request stands in at most one line, first the one with the lowest number (in the queue: with the lowest
 * priority, then number; new ones of several clients in fair turns, fair_queue.h); who is first in it is
 * served next (dispatch.c):
 *
 *   PARKED     finished prompts whose KV waits for a D
 *   COMPUTING  prompts in process that have no D yet and will need one
 *   REPLAYS    in the queue, once before given to a worker
 *   NEW        in the queue for the first time
 *
 * One that no living worker could ever hold must not stop those behind it: it is passed over, which sets it
 * aside until a worker comes (request_table_recall).
 *
 * Deadlines are in a heap by a key that is never later than the deadline: it is exact when the request is
 * placed, and left alone when a token moves the deadline on. Who looks at the first ones corrects them, once
 * in a span of decode_token_ns per request at most.
 *
 * After any change of a request's state or workers request_table_place must follow, before anyone looks.
 * Thread: the coordinator's loop. */
#ifndef BATON_COORDINATOR_REQUEST_TABLE_H
#define BATON_COORDINATOR_REQUEST_TABLE_H

#include "base/u64_map.h"
#include "coordinator/request.h"

typedef struct request_table {
    const core_options *opt; /* borrowed: the time limits */
    request **items;         /* [count], in no order; owned with the requests */
    uint32_t count, capacity;
    u64_map by_id;
    heap lines[LINE_COUNT]; /* by id, in the queue by request_queue_key; LINE_NEW is `fair` instead */
    fair_queue fair;        /* those of LINE_NEW, those passed over too */
    uint64_t queued_tokens; /* of those in the queue: what their prefill computes */
    heap aside[LINE_COUNT]; /* passed over */
    uint32_t moved;         /* bits of the lines that somebody entered or left: whoever looks clears them */
    uint32_t handing_over;  /* in WAIT_KV: first token out, KV not verified */
    heap deadlines;         /* by a time that is not later than the deadline */
} request_table;

/* Room for opt->max_requests. opt is borrowed until request_table_done. */
void request_table_init(request_table *t, const core_options *opt);
/* Frees the requests too */
void request_table_done(request_table *t);
/* NULL when there is none */
request *request_table_find(const request_table *t, uint64_t id);
/* Takes ownership */
void request_table_add(request_table *t, request *r);
/* Ownership goes to the caller */
void request_table_remove(request_table *t, request *r);

/* Its state or workers have changed: line and deadline follow. One that was passed over is so no more when
 * its line is another. */
void request_table_place(request_table *t, request *r);
/* NULL when nobody is in the line */
request *request_table_first(const request_table *t, request_line line);
/* The first of a line is set aside. */
void request_table_pass_over(request_table *t, request *r);
/* A worker came: all that were set aside are in their lines again. */
void request_table_recall(request_table *t);
/* In the queue: REPLAYS and NEW, with those set aside */
uint32_t request_table_queued(const request_table *t);

/* Whether its deadline has passed */
bool request_table_is_due(const request_table *t, const request *r, uint64_t now_ns);
/* The ids of all whose deadline has passed, oldest first; out has room for all requests. Returns how many. */
uint32_t request_table_due(request_table *t, uint64_t now_ns, uint64_t *out);
/* The earliest deadline, or limit_ns when that is earlier. */
uint64_t request_table_next_ns(request_table *t, uint64_t limit_ns);

/* Everyone is where it must be. Linear: for tests. */
bool request_table_check(const request_table *t);
/* For qsort: two ids, the older first */
int request_id_compare(const void *a, const void *b);

#endif
