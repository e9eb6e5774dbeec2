/* wtable - the requests a worker holds: their ids, pages, engine slots, and how they leave.
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
 * One step at a time: wstep_add fills the job, wstep_go hands it over, wstep_end takes it back. Everything
 * is sized at wtable_init. Invariant (wtable_check): pages in use == sum over live and closing requests. */
#ifndef BATON_WORKER_CORE_WTABLE_H
#define BATON_WORKER_CORE_WTABLE_H

#include "kv/kv_layout.h"
#include "kv/kv_pool.h"
#include "worker_core/wcore.h"

#define WTABLE_REQUESTS_MAX 4096u /* live and closing, where engine slots do not bound them earlier */
#define WSEQ_NO_SLOT        UINT32_MAX

typedef enum wseq_phase {
    WSEQ_PROMPT,   /* rows of prompt ++ output are to be computed */
    WSEQ_PINNED,   /* P: all computed; the pages wait for RELEASE */
    WSEQ_EXPECTED, /* D: reserved; the KV is on its way */
    WSEQ_DECODE,   /* one row per step */
    WSEQ_CLOSING,
} wseq_phase;

typedef struct wseq {
    uint64_t req;
    uint32_t attempt; /* newest that the coordinator gave */
    wseq_phase phase;
    int32_t *ids;          /* prompt ++ output as they came, and room for one more. Owned */
    uint32_t prompt_count; /* tokens */
    uint32_t output_count; /* output tokens known so far, those of earlier attempts included */
    uint32_t rows_done;    /* WSEQ_PROMPT: rows whose KV is written */
    sampling params;       /* its arrays are owned */
    uint32_t *pages;       /* [page_count] of page_capacity. Owned */
    uint32_t page_count, page_capacity;
    uint32_t slot;                    /* engine slot, or WSEQ_NO_SLOT */
    bool open;                        /* the engine has it */
    uint32_t engine_pages;            /* pages the engine knows of */
    bool in_step;                     /* part of the running step */
    bool xfer_known;                  /* the transfer thread may touch the pages */
    bool drop_posted;                 /* X_DROP is on its way */
    kv_identity id;                   /* of the hand-off, as far as known */
    bool has_dest;                    /* P: a D was named and did not fail */
    token_out first;                  /* D: token k, from SEAL */
    bool repeat_first;                /* D: token k is not repeated to the coordinator yet */
    bool tell_closed, tell_preempted; /* WSEQ_CLOSING: what to send at the end */
} wseq;

typedef struct wtable {
    worker_role role;
    wcore_options opt;
    wcore_sink sink;
    uint64_t epoch, incarnation;
    kv_pool *pool;
    wseq **live; /* [live_count], oldest first */
    uint32_t live_count;
    wseq **closing; /* [closing_count], in order of closing */
    uint32_t closing_count;
    uint32_t capacity;    /* of live and closing together */
    uint32_t *free_slots; /* [free_slot_count], a stack */
    uint32_t free_slot_count;
    bool *slot_open; /* [max_seqs] to be closed in the next job */

    bool busy;         /* a step is out */
    dev_job job;       /* points into the arrays below */
    uint32_t *closes;  /* [max_seqs] */
    dev_open *opens;   /* [max_seqs] */
    step_item *items;  /* [max_seqs] */
    wseq **step_seqs;  /* [max_seqs] of each item */
    ctl_token *tokens; /* [2 * max_seqs] of the step that ended */
    uint32_t token_count;

    wcore_stats counters; /* decode_rows, decode_steps, prefill_rows, stale; the rest is counted on demand */
} wtable;

void wtable_init(wtable *t, worker_role role, const wcore_options *opt, const wcore_sink *sink,
                 uint32_t capacity);
void wtable_done(wtable *t);
/* Forgets everything, silently; X_EPOCH goes out before any X_DROP. Both numbers 0: between two sessions. */
void wtable_session(wtable *t, uint64_t epoch, uint64_t incarnation);

/* Live, or NULL */
wseq *wtable_find(const wtable *t, uint64_t req);

typedef struct wtable_need {
    uint32_t rows;     /* pages are taken for so many, all or none */
    uint32_t headroom; /* pages that must stay free */
    bool slot;         /* an engine slot is taken, too */
    wseq_phase phase;
} wtable_need;
/* A live request for PREFILL or RESERVE, or NULL: a stale attempt was counted, or NO_ROOM was sent. */
wseq *wtable_admit(wtable *t, const ctl_msg *m, const wtable_need *need);

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

bool wtable_take_slot(wtable *t, wseq *s);
void wtable_leave_slot(wtable *t, wseq *s);
/* Pages for so many rows; false: not that many are free */
bool wtable_grow(wtable *t, wseq *s, uint32_t rows);
/* Held by closing requests */
uint32_t wtable_coming_pages(const wtable *t);
/* The end rule for the output token just added to output_count; a full context is an end by length. */
finish wtable_finish(const wtable *t, const wseq *s, int32_t id);
/* prompt_count + output_count */
uint32_t wtable_rows(const wseq *s);

void wstep_add(wtable *t, wseq *s, uint32_t begin, uint32_t count, bool sample);
/* False: nothing was added, so no step */
bool wstep_go(wtable *t);
/* The step is over: calls row(t, s, item, result) for each sequence that is still wanted, sends the tokens in
 * one message, lets go of the others. */
void wstep_end(wtable *t, const step_result *results, uint32_t count,
               void (*row)(wtable *t, wseq *s, const step_item *item, const step_result *r));
/* From row(): joins the message */
void wstep_token(wtable *t, const wseq *s, uint32_t index, const token_out *token);

wcore_stats wtable_stats(const wtable *t);
bool wtable_idle(const wtable *t);
bool wtable_check(const wtable *t);
/* The same for a role's wcore_ops: `core` is a role core, which begins with its wtable. */
wcore_stats wtable_core_stats(const void *core);
bool wtable_core_idle(const void *core);
bool wtable_core_check(const void *core);

#endif
