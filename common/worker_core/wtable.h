/* wtable - the requests a worker holds, by request, by age and by phase, and how they leave.
 *
 * The common ground of the three role cores.
 *
 *   admit -> live (in order of age) -> close -> closing -> gone: pages back, CLOSED or PREEMPTED sent
 *
 * A request that is over may still be in the running step, and the transfer thread may still read or write
 * its pages. So `close` only takes it off the live list; its pages go back when the step has ended and
 * X_DROPPED came. The answer is sent after that, so that the free_pages in its head already count them.
 *
 * Engine slots are different: jobs run one after another and close before they open, so a slot is free again
 * at once.
 *
 * A message costs the same however many requests are held: they are found by an index, stand in lists without
 * a search, and what heartbeats tell is counted as it changes. Only two may walk: a sequence that begins to
 * decode past those that are younger and decode already, a replay past the replays of a prefill worker.
 *
 * Everything but the requests themselves is sized at wtable_init. The step is in worker_core/wstep.h.
 * Thread: the loop thread. Invariant (wtable_check): a page is used as often as live and closing
 * requests have it. */
#ifndef BATON_WORKER_CORE_WTABLE_H
#define BATON_WORKER_CORE_WTABLE_H

#include "base/u64_map.h"
#include "kv/kv_layout.h"
#include "worker_core/wcore.h"
#include "worker_core/wpages.h"

#define WTABLE_REQUESTS_MAX 4096u /* live and closing, where engine slots do not bound them earlier */

typedef struct wtable {
    worker_role role;
    wcore_options opt;
    wcore_sink sink;
    uint64_t epoch, incarnation;
    wpages pages;
    list live;                 /* of wseq.by_age, oldest first */
    list phases[WSEQ_CLOSING]; /* the live ones of each phase, of wseq.by_phase. Oldest first; PINNED: as they
                                  came to be; PROMPT of P: replays, then the others */
    list closing;              /* of wseq.by_age, in order of closing */
    u64_map live_of, closing_of; /* by request; of several attempts that close the newest */
    uint64_t next_age;
    uint32_t capacity;    /* of live and closing together */
    uint32_t *free_slots; /* [free_slot_count], a stack */
    uint32_t free_slot_count;
    uint32_t *left_slots; /* [left_slot_count] left while open: closed by the next job */
    uint32_t left_slot_count;
    uint32_t coming_pages; /* of closing requests: what comes back with them */
    wcore_stats stats;     /* kept as it changes, but for pages_used and pages_free */

    /* The step: see wstep.h. */
    bool busy;         /* a step is out */
    uint64_t steps;    /* begun so far */
    dev_job job;       /* points into the arrays below */
    uint32_t *closes;  /* [max_seqs] */
    dev_open *opens;   /* [max_seqs] */
    step_item *items;  /* [max_seqs] */
    wseq **step_seqs;  /* [max_seqs] of each item */
    ctl_token *tokens; /* [2 * max_seqs] of the step that ended */
    uint32_t token_count;
} wtable;

void wtable_init(wtable *t, worker_role role, const wcore_options *opt, const wcore_sink *sink,
                 uint32_t capacity);
void wtable_done(wtable *t);
/* Forgets every request, silently; what the prefix cache keeps stays: it was computed with the same numbers.
 * X_EPOCH goes out before any X_DROP. Both numbers 0: between two sessions. */
void wtable_session(wtable *t, uint64_t epoch, uint64_t incarnation);

/* Live, or NULL. Borrowed: valid until it is closed. */
wseq *wtable_find(const wtable *t, uint64_t req);
/* The newest attempt of the request that is closing, or NULL; older ones are behind its closing_before. */
wseq *wtable_closing(const wtable *t, uint64_t req);
/* The first live one of the phase, and the one after `s` in the phase; NULL at the end. */
wseq *wtable_first(const wtable *t, wseq_phase phase);
wseq *wtable_next(const wtable *t, const wseq *s);
uint32_t wtable_count(const wtable *t, wseq_phase phase);
/* Of all that live: the oldest, and the next younger one; NULL at the end. */
wseq *wtable_oldest(const wtable *t);
wseq *wtable_younger(const wtable *t, const wseq *s);

typedef struct wtable_need {
    uint32_t rows;     /* pages are taken for so many, all or none */
    uint32_t headroom; /* pages that must stay free */
    bool slot;         /* an engine slot is taken, too */
    wseq_phase phase;
} wtable_need;
/* A live request for PREFILL or RESERVE, or NULL: a stale attempt was counted, or NO_ROOM was sent. */
wseq *wtable_admit(wtable *t, const ctl_msg *m, const wtable_need *need);
/* To another live phase. */
void wtable_move(wtable *t, wseq *s, wseq_phase phase);
void wtable_set_dest(wtable *t, wseq *s, bool has_dest);

/* RELEASE, CANCEL, DROP: frees what is held under any attempt up to the message's, answers CLOSED when it is
 * free. */
void wtable_release(wtable *t, const ctl_msg *m);
/* Over, from our side: freed as soon as nobody touches it. preempted: tells so then. */
void wtable_close(wtable *t, wseq *s, bool preempted);
/* It cannot be computed: closed, and the coordinator is told why. */
void wtable_fail(wtable *t, wseq *s, const char *why);
/* Frees a closing request if neither the running step nor the transfer thread can touch its pages (any more).
 */
void wtable_settle(wtable *t, wseq *s);
/* X_EXPECT, X_OFFER (with ids and pages), X_SEAL, X_DROP */
void wtable_post(wtable *t, wseq *s, xfer_cmd_kind kind);
/* X_DROPPED */
void wtable_dropped(wtable *t, uint64_t req);

void wtable_send(wtable *t, const ctl_msg *m);
void wtable_no_room(wtable *t, const ctl_msg *m, const char *why);

/* False: none is free. */
bool wtable_take_slot(wtable *t, wseq *s);
void wtable_leave_slot(wtable *t, wseq *s);
/* Pages for so many rows; false: not that many are free */
bool wtable_grow(wtable *t, wseq *s, uint32_t rows);
/* A prompt of which nothing was computed yet: perhaps others have computed its first rows since it came. */
void wtable_look_again(wtable *t, wseq *s);
/* So many rows of it are written: the prefix cache may keep their whole pages. While nobody else knows its
 * pages it takes those that are kept already in place of its own. */
void wtable_keep(wtable *t, wseq *s, uint32_t rows);
/* The end rule for the output token just added to output_count; a full context is an end by length. */
finish wtable_finish(const wtable *t, const wseq *s, int32_t id);

wcore_stats wtable_stats(const wtable *t);
bool wtable_idle(const wtable *t);
/* Counts everything anew: linear. */
bool wtable_check(const wtable *t);
/* The same for a role's wcore_ops: `core` is a role core, which begins with its wtable. */
wcore_stats wtable_core_stats(const void *core);
bool wtable_core_idle(const void *core);
bool wtable_core_check(const void *core);

#endif
