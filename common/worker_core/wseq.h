/* wseq - one request as a worker holds it: its ids, pages, engine slot, and who may still touch them.
 *
 * A plain struct: wtable (worker_core/wtable.h) keeps the lists and counts that a field takes part in, so the
 * fields marked "table" are written by wtable's functions only. */
#ifndef BATON_WORKER_CORE_WSEQ_H
#define BATON_WORKER_CORE_WSEQ_H

#include "base/list.h"
#include "ctl/ctl.h"
#include "proto/kv_wire.h"

#define WSEQ_NO_SLOT UINT32_MAX

typedef enum wseq_phase {
    WSEQ_PROMPT,   /* rows of prompt ++ output are to be computed */
    WSEQ_PINNED,   /* P: all computed; the pages wait for RELEASE */
    WSEQ_EXPECTED, /* D: reserved; the KV is on its way */
    WSEQ_DECODE,   /* one row per step */
    WSEQ_CLOSING,
} wseq_phase;

typedef struct wseq {
    uint64_t req;
    uint32_t attempt;      /* newest that the coordinator gave */
    wseq_phase phase;      /* table */
    int32_t *ids;          /* [ids_capacity] prompt ++ output. Owned */
    uint32_t ids_capacity; /* room for one more than is known */
    uint32_t prompt_count; /* tokens */
    uint32_t output_count; /* output tokens known so far, those of earlier attempts included */
    uint32_t rows_done;    /* WSEQ_PROMPT: rows whose KV is written */
    bool cache;            /* it may use and feed the prefix cache */
    bool anew;             /* but not use: all rows are computed here, their logprobs are wanted */
    uint64_t salt[2];      /* there */
    uint32_t hit_rows;     /* rows whose KV was there when it came */
    uint32_t kept_pages;   /* the first so many of its pages are kept by the cache, and never written */
    sampling params;       /* owned, with its arrays */
    uint32_t *pages;       /* [page_count] of page_capacity. Owned; table */
    uint32_t page_count, page_capacity;
    uint32_t coming_pages;            /* WSEQ_CLOSING: those that nobody else had; table */
    uint32_t slot;                    /* engine slot, or WSEQ_NO_SLOT; table */
    bool open;                        /* the engine has it */
    uint32_t engine_pages;            /* pages the engine knows of */
    bool in_step;                     /* part of the running step */
    bool xfer_known;                  /* the transfer thread may touch the pages */
    bool drop_posted;                 /* X_DROP is on its way */
    kv_identity id;                   /* of the hand-off, as far as known */
    bool has_dest;                    /* P: a D was named and did not fail; table */
    char *dest_endpoint;              /* P: where that is, while X_DEST has to wait for X_OFFER. Owned */
    uint32_t dest_begin;              /* P: the first row that it lacks; likewise */
    token_out first;                  /* D: token k, from SEAL */
    bool repeat_first;                /* D: token k is not repeated to the coordinator yet */
    bool tell_closed, tell_preempted; /* WSEQ_CLOSING: what to send at the end */

    uint64_t age;                /* of admission, ascending; table */
    list_link by_age, by_phase;  /* in the table's lists; table */
    struct wseq *closing_before; /* WSEQ_CLOSING: the request's attempt that began to close before this one */
} wseq;

/* Copies what the message lends; room for so many pages, none taken. Caller frees with wseq_free. */
wseq *wseq_new(const ctl_msg *m, uint32_t page_capacity);
void wseq_free(wseq *s);
/* The next output id. */
void wseq_add_id(wseq *s, int32_t id);
/* prompt_count + output_count */
uint32_t wseq_rows(const wseq *s);
/* A prompt whose client has tokens already, and waits for the next one */
bool wseq_is_replay(const wseq *s);

#endif
