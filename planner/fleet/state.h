/* state - the struct behind fleet.h and what the room's own files say to each other. Not for users of it.
 *
 *   fleet.c   life, the order of events, what is told and checked
 *   events.c  the heaps: steps that end, and everything else
 *   desk.c    the coordinator: lines, routes, holds, what workers tell it
 *   work.c    the workers: messages, the end of a step, who loses its place
 *   form.c    their next step, by the policies of the roles
 *   chain.c   lists of requests
 *   plan.c    several decode steps at once
 *   lane.c    sequences that decode together, as sums
 *   link.c    hand-offs over the links
 *   gaps.c    the times of a request's tokens
 *
 * A worker never calls the desk and the desk never calls a worker: what a worker says is put into f->mail and
 * read when its turn is over, what the desk says is an event. So each acts on what it knew, as processes do.
 *
 * Requests are in a slab; lists go by slot numbers. */
#ifndef BATON_PLANNER_FLEET_STATE_H
#define BATON_PLANNER_FLEET_STATE_H

#include "colocated_worker/colocated_policy.h"
#include "coordinator/router.h"
#include "planner/fleet/fleet_types.h"

#define SLOT_NONE UINT32_MAX
/* No sum of times overflows: nothing happens behind the horizon, and no single time is longer than a span. */
#define FLEET_HORIZON_NS 3.2e18 /* a hundred years */
#define FLEET_SPAN_NS    1e15   /* eleven days */

/* ---- lists by slot ---- */

typedef enum chain_kind {
    BY_LINE,   /* the desk's lines; key: the index */
    BY_PROMPT, /* prompts of a worker; key: age there */
    BY_DECODE, /* reservations, or the running sequences of a lane; key: age there */
    CHAIN_KINDS
} chain_kind;

typedef struct chain {
    uint32_t first, last, count; /* SLOT_NONE: empty */
} chain;

/* ---- requests ---- */

/* The desk's lines, as coordinator/request_table.h has them. */
typedef enum desk_line {
    DESK_PARKED,
    DESK_COMPUTING,
    DESK_REPLAYS,
    DESK_NEW,
    DESK_LINES,
    DESK_NONE = DESK_LINES
} desk_line;

typedef enum freq_state { FREQ_QUEUED, FREQ_PREFILL, FREQ_WAIT_KV, FREQ_DECODE } freq_state;

typedef struct freq {
    fleet_outcome out; /* as far as known */
    freq_state state;  /* as the desk sees it */
    desk_line line;
    uint32_t prev[CHAIN_KINDS], next[CHAIN_KINDS];
    uint64_t key[CHAIN_KINDS];
    uint32_t emitted;          /* output tokens; of a sequence that decodes: before it joined its lane */
    uint32_t given;            /* of these, what this attempt started from */
    uint32_t attempt;          /* from 1 */
    uint32_t p, d;             /* workers that have it, as the desk sees it; SLOT_NONE */
    uint64_t avoid;            /* incarnation of a D */
    uint32_t p_pages, d_pages; /* taken there; d_pages: when it was admitted */

    /* At P or W, until it is computed. */
    uint32_t rows_done;
    uint64_t offer; /* P: it was the prompt of this number to begin */
    uint32_t lane;  /* of W, then of D */
    bool in_step;

    /* Hand-off. */
    bool expected;    /* D has its pages and waits for the KV */
    bool arrived;     /* D verified the KV, and has not begun with it */
    bool computed;    /* all rows of this attempt */
    bool dest_due;    /* P knows the D since now, and has not begun to send */
    uint32_t unsent;  /* rows that are computed and on no link yet */
    double kv_ns;     /* when what was sent is there */
    uint64_t awaited; /* number of the event that it waits for; 0 none */

    /* In a lane: rows = base + the lane's counter. */
    int64_t base;
    uint32_t joined_rows; /* rows when it joined; D had its page then */
    uint64_t last_at;     /* counter at which it has its last token */
    uint32_t end_place;   /* in the lane's heap of these, from 1 */

    /* Times of tokens (gaps.c), with want_gaps. */
    uint64_t *times; /* [time_count] those that are not in its lane's ring (any more); owned */
    uint32_t time_count, time_capacity;
    uint64_t ring_from; /* its lane's ring has the others, from this counter on */
} freq;

static inline uint32_t freq_rows(const freq *r) {
    return r->out.prompt_tokens + r->given;
}

static inline bool freq_is_replay(const freq *r) {
    return r->given > 0;
}

/* A prefill worker's replays go before its other prompts. */
#define KEY_BEHIND_REPLAYS (UINT64_C(1) << 63)

/* ---- workers ---- */

typedef struct lane_end {
    uint64_t at; /* counter */
    uint32_t slot;
} lane_end;

typedef struct lane_part {
    uint32_t slot, begin, count;
    bool last;
} lane_part;

/* Sequences that share steps, and their step. A worker has one lane; with pp stages it has pp of them. */
typedef struct lane {
    uint32_t worker, number; /* number: of this lane among all of the fleet */
    chain prompts;           /* W */
    chain running;           /* that decode, oldest first */
    uint64_t counter;        /* decode steps so far */
    int64_t base_sum;        /* of the running ones */
    uint32_t need[16];       /* how many of them start a page when counter % 16 is that */
    uint32_t ahead;          /* joined since the last decode step, on a page edge: they have the page */
    lane_end *ends;          /* [running.count] heap by `at`; owned */
    uint32_t end_capacity;
    uint32_t first; /* where the next round of rows starts */

    /* The step. */
    bool busy;
    bool decodes;              /* has rows of running sequences: all of them but the skipped ones */
    uint64_t begin_ns, end_ns; /* ends the step, or the last one planned */
    uint64_t prefill_order;    /* P: in which steps began; else 0 */
    latency_step sums;
    lane_part *parts; /* [part_count] prompt chunks; owned */
    uint32_t part_count, part_capacity;
    uint32_t *skipped; /* [skip_count] running ones without a row, oldest first; owned */
    uint32_t skip_count, skip_capacity;

    /* Several steps at once: end_ns is that of the last one, planned[plan_done] that of the running one. */
    uint64_t *planned; /* [plan_count]; owned */
    uint32_t plan_count, plan_done, plan_capacity;
    uint32_t plan_length; /* so many next time: as many as nothing came between */
    uint32_t plan_pages;  /* that its later steps will take */

    uint64_t *ring; /* [ring_size] ends of decode steps by counter; owned. With want_gaps */
    uint32_t ring_size;
    uint32_t place; /* in the heap of steps, from 1; 0 = in none */
} lane;

typedef struct fworker {
    worker_role role;
    const fleet_role *shape;
    const profile_engine *engine;
    double prefill_mu, prefill_sigma, decode_mu, decode_sigma; /* of the noise; sigma 0: none */
    member *m;                                                 /* the desk's; owned */
    uint32_t pages, free_pages, coming_pages;
    uint32_t max_seqs, pages_most;
    uint64_t next_age;
    chain prompts;   /* P */
    uint32_t slots;  /* P: of its prompts so many have begun; */
    uint64_t offers; /* of all that it had */
    chain expected;  /* D */
    lane *lanes;     /* [lane_count]; owned */
    uint32_t lane_count;
    uint64_t *stage_free_ns; /* [lane_count] when each stage has done with all that was given; owned */
    uint64_t begun;          /* steps */
    uint64_t gap_ns;         /* from a step to the next */
    double link_free_ns;     /* its end of the link has sent or received all up to now */
    uint32_t *dests;         /* [dest_count] P: slots that are dest_due, and some that were; owned */
    uint32_t dest_count, dest_capacity;
    fleet_worker_totals totals;
} fworker;

/* ---- events and mail ---- */

typedef enum fevent_kind {
    FEV_PREFILL,  /* to P or W: a prompt */
    FEV_RESERVE,  /* to D */
    FEV_RELEASE,  /* to P; slot: pages */
    FEV_VERIFIED, /* at D: the KV is there and right */
    FEV_JOIN,     /* at D: it may be in a step */
    FEV_DROPPED,  /* at D: the transfer let go of a reservation that was preempted */
    FEV_DESTS,    /* at P: it begins to send to the D's that it has heard of */
    FEV_STAGE     /* a pipeline's first stage is free */
} fevent_kind;

typedef struct fevent {
    uint64_t at_ns, number;
    uint64_t req; /* RELEASE: its index */
    uint32_t slot, worker;
    fevent_kind kind;
    uint32_t attempt; /* RELEASE */
} fevent;

typedef struct step_end {
    uint64_t at_ns;
    uint32_t lane;
} step_end;

typedef enum fmail_kind {
    FMAIL_TOKENS, /* of a step: the next token_count entries of f->tokens */
    FMAIL_RESERVED,
    FMAIL_VERIFIED,
    FMAIL_NO_ROOM,
    FMAIL_PREEMPTED,
    FMAIL_CLOSED
} fmail_kind;

typedef struct fmail {
    fmail_kind kind;
    uint32_t worker, free_pages;
    uint32_t slot, count;
    uint64_t req;     /* CLOSED: its index */
    uint32_t attempt; /* CLOSED */
} fmail;

typedef struct ftoken {
    uint32_t slot;
    bool first, last; /* of its attempt; of the request */
} ftoken;

typedef struct fleet fleet;

struct fleet {
    fleet_options opt;
    fleet_sink sink;
    uint64_t now_ns;
    fworker *workers; /* [worker_count] P, D, W; owned */
    uint32_t worker_count;
    member **members; /* [worker_count] of these */
    lane **lanes;     /* [lane_count] of all workers */
    uint64_t *due_ns; /* [lane_count] end of its running step, if another one is planned; else FLEET_NEVER.
                         All together, since the desk looks at each of them for each request */
    uint32_t lane_count;
    bool plans;       /* several decode steps at once */
    bool again;       /* the next message makes the desk look again, whatever it says */
    bool slows;       /* busy workers slow each other down */
    uint32_t busy[2]; /* lanes in a step that computes prompts, that does not */
    uint64_t arrive_ns, dispatch_ns, emit_ns, handoff_ns, latency_ns;
    double fabric_free_ns;
    uint32_t tokens_max; /* of a request */

    freq *slab; /* [slab_size]; owned */
    uint32_t slab_size, free_slot, in_flight;
    chain lines[DESK_LINES];

    fleet_request coming; /* the next arrival */
    bool has_coming;
    uint64_t arrived;

    fevent *heap; /* [heap_count] by time and number; owned */
    uint32_t heap_count, heap_capacity;
    fevent *soon; /* ring of those for now; owned */
    uint32_t soon_first, soon_count, soon_capacity;
    uint64_t numbers;
    uint32_t at_lane; /* steps that end now have done so up to this lane */
    step_end *steps;  /* [step_count] heap, at most one for each lane; owned */
    uint32_t step_count;

    fmail *mail; /* [mail_count]; owned */
    uint32_t mail_count, mail_capacity;
    ftoken *tokens; /* [token_count] of the mail; owned */
    uint32_t token_count, token_capacity;

    /* Scratch of one step's forming, [scratch]; owned. */
    uint32_t scratch;
    uint32_t *slots;
    batch_row *rows;
    batch_verdict *verdicts;
    batch_prompt *prompts;
    batch_chunk *chunks;
    double *gaps; /* [gap_capacity] of one request; owned */
    uint32_t gap_capacity;

    fleet_totals totals;
    status failed;
    errbuf why;
};

#define FLEET_GROW(array, count, capacity, least)                                                            \
    do {                                                                                                     \
        if ((count) < (capacity)) break;                                                                     \
        (capacity) = MAX(2 * (capacity), (uint32_t)(least));                                                 \
        (array) = xrealloc((array), (capacity), sizeof *(array));                                            \
    } while (0)

/* ---- chain.c ---- */
void chain_init(chain *c);
/* Behind all with a smaller key; from the end, where nearly all go. */
void chain_add(fleet *f, chain *c, chain_kind by, uint32_t slot);
void chain_take(fleet *f, chain *c, chain_kind by, uint32_t slot);

/* ---- events.c ---- */
/* Numbers it; returns the number. */
uint64_t fleet_post(fleet *f, const fevent *e);
/* The time of the first; FLEET_NEVER: none. */
uint64_t fleet_event_ns(const fleet *f);
fevent fleet_event_take(fleet *f);
/* The lane's end_ns is new. */
void fleet_step_put(fleet *f, lane *l);
/* Its step is over, and there is no other. */
void fleet_step_take(fleet *f, lane *l);

/* ---- desk.c ---- */
void desk_arrive(fleet *f);
/* Reads the mail, message by message. */
void desk_read(fleet *f);
/* A message that says nothing but the free pages in its head. */
void desk_told(fleet *f, uint32_t worker, uint32_t free_pages);
/* Who is first in the queue has no route. */
bool desk_rests(const fleet *f);
void desk_end(fleet *f, uint32_t slot, fleet_end end, uint64_t last_ns);

/* ---- work.c ---- */
void work_event(fleet *f, const fevent *e);
void work_step_end(fleet *f, lane *l);
/* Counts a step, as it ended. */
void work_count_step(fleet *f, const lane *l, uint64_t end_ns);
void work_take_pages(fworker *w, uint32_t pages);
/* It loses its place; the desk will hear of it when its pages are free. */
void work_preempt(fleet *f, fworker *w, uint32_t slot);
uint32_t work_number(const fleet *f, const fworker *w);
void work_decide(fleet *f, fleet_decision_kind kind, uint32_t slot, uint32_t worker, uint32_t other,
                 uint32_t begin, uint32_t count);

/* ---- form.c ---- */
/* One turn of the worker's loop. follows: behind a step, so that the loop's own time passes first. */
void form_steps(fleet *f, fworker *w, bool follows);
/* Time of the worker's step of that number. */
uint64_t form_span_ns(const fleet *f, const fworker *w, const latency_step *s, uint64_t step, bool *covered);
/* Room for so many in the scratch arrays. */
void form_scratch(fleet *f, uint32_t count);
/* Compares two slots by age at their worker. */
int form_older(const void *a, const void *b, void *f);

/* ---- plan.c ---- */
/* The lane's step has begun: those behind it that nothing but a message could change are planned. */
void plan_make(fleet *f, lane *l);
/* Planned steps that have ended by now are over. */
void plan_catch_up(fleet *f, lane *l);
void plan_catch_up_all(fleet *f);
/* All but the last one are over. */
void plan_finish(fleet *f, lane *l);
/* The next step will be formed anew. After plan_catch_up */
void plan_cut(fleet *f, lane *l);

/* ---- lane.c ---- */
uint32_t lane_rows(const lane *l, const freq *r);
/* Pages that a running sequence has. */
uint32_t lane_pages(const lane *l, const freq *r);
/* The pages that all running ones need for one row each, `ahead_steps` steps from now. */
uint32_t lane_need(const lane *l, uint32_t ahead_steps);
uint64_t lane_context(const lane *l);
/* r has so many rows, its newest token included, and emitted that many. */
void lane_join(fleet *f, lane *l, uint32_t slot, uint32_t rows);
void lane_leave(fleet *f, lane *l, uint32_t slot);
/* After the counter went on: the step had no row for it. */
void lane_hold_back(fleet *f, lane *l, uint32_t slot);
/* The next one that has its last token; SLOT_NONE: none. */
uint32_t lane_ended(const lane *l);
uint64_t lane_next_end(const lane *l);
bool lane_check(const fleet *f, const lane *l);

/* ---- link.c ---- */
status link_check(const profile *p, errbuf *eb);
/* ST_INVALID: a hand-off of so many tokens, alone on the link, takes more than an hour. */
status link_check_longest(const profile *p, uint64_t tokens, errbuf *eb);
/* A chunk of r that was computed in [begin_ns, now]. *together_ns: time of the last pieces of the chunks of
 * this step before. */
void link_computed(fleet *f, uint32_t slot, uint32_t rows, uint64_t begin_ns, double *together_ns);
/* A D is known: what is computed leaves, once all have been read that the desk said now. */
void link_dest(fleet *f, uint32_t slot);
/* FEV_DESTS: the oldest at P first, as transfer/send.c does. */
void link_send(fleet *f, fworker *p);

/* ---- gaps.c ---- */
void gaps_token(fleet *f, freq *r, uint64_t at_ns);
void gaps_join(fleet *f, lane *l, freq *r);
/* Out of the ring what is not in r->times yet. */
void gaps_flush(fleet *f, const lane *l, freq *r);
/* The step that ends now had no row for it. */
void gaps_skip(fleet *f, const lane *l, freq *r);
/* Before the lane's counter goes on. */
void gaps_step(const fleet *f, lane *l, uint64_t end_ns);
/* Sets itl_* of r->out. */
void gaps_outcome(fleet *f, freq *r);

#endif
