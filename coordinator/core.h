/* core - the coordinator's pure part: it owns every request, knows every worker, and decides. Without
 * sockets, clocks, threads or tensors.
 *
 * Events come in (submit, cancel, messages, lost connections) with now_ns and only change tables; core_turn
 * takes decisions once per turn (routing, deadlines, leases, recovery) and returns the time of the next
 * deadline. Actions go out through the sink. The front (HTTP, native socket) and the virtual-time cluster
 * test drive the same object files.
 *
 * A request here is one choice: a client's request with n choices is n of them (protocol rule 17). */
#ifndef BATON_COORDINATOR_CORE_H
#define BATON_COORDINATOR_CORE_H

#include "base/sm.h"
#include "ctl/ctl.h"

typedef struct core core;

typedef enum req_state {
    REQ_NEW,
    REQ_WAIT_PREFILL,
    REQ_PREFILL,
    REQ_WAIT_KV,
    REQ_DECODE,
    REQ_DONE,
    REQ_FAILED,
    REQ_CANCELED
} req_state;
extern const sm_def request_sm;

typedef enum member_state {
    MEMBER_JOINING,
    MEMBER_READY,
    MEMBER_SUSPECT,
    MEMBER_DRAINING,
    MEMBER_GONE
} member_state;
extern const sm_def member_sm;

typedef struct core_options {
    uint64_t epoch;        /* random, per coordinator process */
    uint32_t max_requests; /* choices alive at once */
    uint32_t max_queue;    /* of them in WAIT_PREFILL; beyond: 429 */
    uint32_t max_workers;
    uint64_t heartbeat_ns;    /* 250 ms */
    uint64_t suspect_ns;      /* 1.5 s */
    uint64_t gone_ns;         /* 5 s */
    uint64_t step_age_min_ns; /* 10 s: a step older than max(this, 20 x median) means GONE */
    uint64_t lease_ns;        /* 10 s */
    uint64_t wait_prefill_ns; /* 60 s -> 503 */
    uint64_t prefill_ns;      /* 120 s -> 504 */
    uint64_t wait_kv_ns;      /* 60 s -> 504 */
    uint64_t decode_token_ns; /* 30 s without a token -> replay */
    uint32_t max_attempts;    /* 4 */
    uint32_t max_context;     /* of the model */
    bool mixed_numerics;
    uint32_t role_wanted[ROLE_COUNT]; /* from the config: how many are expected (readiness) */
} core_options;

typedef struct core_request {
    const int32_t *prompt; /* copied */
    uint32_t prompt_count; /* >= 1 */
    sampling params;       /* copied with its arrays; seed already drawn */
    bool max_tokens_given; /* false: params.max_tokens is clipped to what fits (chat: the rest of the context)
                            */
} core_request;

typedef struct core_token {
    uint32_t index; /* output index: 0, 1, ... without gap or repetition */
    token_out token;
} core_token;

/* Why a request ended. http is the status to show when nothing was sent yet. */
typedef struct core_end {
    req_state state; /* REQ_DONE, REQ_FAILED, REQ_CANCELED */
    finish fin;      /* DONE: EOS, STOP_ID, LENGTH; FINISH_NONE after core_finish (stop string) */
    uint32_t http;   /* FAILED: 503, 504, 500 */
    const char *why; /* FAILED. Borrowed for the call */
} core_end;

/* Stage times of a request: differences of the machine's stamps, ns; 0 = stage not entered. */
typedef struct core_times {
    uint64_t queue_ns, prefill_ns, handoff_ns, first_token_ns, decode_ns, total_ns;
    uint32_t attempts, replays, preemptions;
} core_times;

typedef struct core_sink {
    void *ctx;
    void (*send)(void *ctx, uint64_t conn, const ctl_msg *m);
    void (*hang_up)(void *ctx, uint64_t conn);                   /* forget this connection (GONE, REFUSED) */
    void (*token)(void *ctx, uint64_t req, const core_token *t); /* each output index once, in order */
    void (*end)(void *ctx, uint64_t req, const core_end *e,
                const core_times *t); /* once; req is unknown afterwards */
} core_sink;

core *core_new(const core_options *opt, const core_sink *sink, uint64_t now_ns);
void core_free(core *c);

/* ST_OK: *req is its number (never reused). Refusals, with text for the client: ST_INVALID (400: can never
 * fit; names prompt, max_tokens, context or pool), ST_AGAIN (429: queue full), ST_PEER (503: no worker of
 * role X has joined; only when WAIT_PREFILL could not help: none wanted). */
status core_submit(core *c, const core_request *r, uint64_t now_ns, uint64_t *req, errbuf *eb);
/* Client went away; unknown req is fine. sink.end follows with REQ_CANCELED */
void core_cancel(core *c, uint64_t req, uint64_t now_ns);
/* A stop string matched: DONE, release everywhere, later tokens dropped */
void core_finish(core *c, uint64_t req, uint64_t now_ns);

void core_message(core *c, uint64_t conn, const ctl_msg *m, uint64_t now_ns);
void core_conn_lost(core *c, uint64_t conn, const char *why, uint64_t now_ns);
uint64_t core_turn(core *c, uint64_t now_ns);
/* By name: no new work, EXIT when empty */
void core_drain(core *c, const char *worker, uint64_t now_ns);
/* Orderly stop: EXIT to every worker */
void core_exit_all(core *c, uint64_t now_ns);

/* For /health, /metrics, /v1/models and the tests. */
typedef struct core_worker_info {
    uint64_t conn, incarnation;
    const char *name, *host; /* borrowed until the next event */
    worker_role role;
    member_state state;
    uint32_t page_count, free_pages, pages_promised; /* promised: by this coordinator's own count */
    uint32_t assigned;                               /* requests with an attempt there */
    uint64_t silence_ns;
    ctl_heartbeat beat; /* the last one */
} core_worker_info;
/* One part of the numerics that all members share (protocol.md, rule 24), such as "path"; NULL before the
 * first JOIN. With mixed_numerics: the first member's. Borrowed until the next event. */
const char *core_numeric(const core *c, const char *name);
/* The worker that was lost last: its connection ended, it was silent, or it said why it leaves. */
typedef struct core_lost {
    const char *worker, *why; /* borrowed until the next event */
    uint64_t age_ns;
} core_lost;
/* False: none was lost */
bool core_last_lost(const core *c, core_lost *out, uint64_t now_ns);
uint32_t core_workers(const core *c, core_worker_info *out, uint32_t max, uint64_t now_ns);
/* One READY route, and as many workers as wanted have joined at least once */
bool core_ready(const core *c);

typedef struct core_counters {
    uint32_t requests[8]; /* alive, by req_state */
    uint64_t submitted, rejected_full, rejected_invalid;
    uint64_t finished[4]; /* by finish (FINISH_NONE = stop string) */
    uint64_t failed, canceled;
    uint64_t prompt_tokens, output_tokens;
    uint64_t replays, preemptions, stale_messages, duplicate_tokens;
    uint64_t handoffs_started, handoffs_verified, handoffs_failed, handoff_bytes;
    uint64_t handoff_ns_sum; /* WAIT_KV (or last prefill token) to VERIFIED */
    uint32_t handoffs_pending;
    uint64_t pages_pinned;                 /* P pages of finished prompts that wait for VERIFIED */
    uint64_t workers_joined, workers_lost; /* ever; lost: without having been told to leave */
} core_counters;
void core_counters_of(const core *c, core_counters *out);
bool core_request_times(const core *c, uint64_t req, uint64_t now_ns, core_times *out);
/* REQ_DONE when unknown */
req_state core_request_state(const core *c, uint64_t req);
/* 1 + number of requests before it in the queue; 0 = not queued */
uint32_t core_request_position(const core *c, uint64_t req);
/* Invariants of protocol.md; for tests and, sampled, in debug builds */
bool core_check(const core *c);

#endif
