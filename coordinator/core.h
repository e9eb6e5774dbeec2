/* core - the coordinator's pure part: it owns every request, knows every worker, and decides. Without
 * sockets, clocks, threads or tensors.
 *
 * Events come in (submit, cancel, messages, lost connections) with now_ns and only change tables; core_turn
 * takes decisions once per turn (routing, deadlines, leases, recovery) and returns the time of the next
 * deadline. Actions go out through the sink. The front (HTTP, native socket) and the virtual-time cluster
 * test drive the same object files.
 *
 * A request here is one choice: a client's request with n choices is n of them (protocol rule 17).
 *
 * This is the face for users: nothing that the core is made of includes it but core.c. Its words are in
 * core_types.h, its parts in state.h. */
#ifndef BATON_COORDINATOR_CORE_H
#define BATON_COORDINATOR_CORE_H

#include "coordinator/core_types.h"

core *core_new(const core_options *opt, const core_sink *sink, uint64_t now_ns);
void core_free(core *c);

/* All [count] choices of a client's request, or none of them. ST_OK: reqs[i] is the number of choice i (never
 * reused). Refusals, with text for the client: ST_INVALID (can never fit; names prompt, max_tokens, context,
 * pool or queue), ST_AGAIN (the queue is full, the client's share of it is, or the first token would come too
 * late; *retry_s, which may be NULL, is when to try again), ST_PEER (no worker of role X has joined; only
 * when WAIT_PREFILL could not help: none wanted). client, priority and first_by_ns are those of the first
 * choice. */
status core_submit_all(core *c, const core_request *r, uint32_t count, uint64_t now_ns, uint64_t *reqs,
                       uint32_t *retry_s, errbuf *eb);
/* Of one choice */
status core_submit(core *c, const core_request *r, uint64_t now_ns, uint64_t *req, errbuf *eb);
/* Client went away; unknown req is fine. sink.end follows with REQ_CANCELED */
void core_cancel(core *c, uint64_t req, uint64_t now_ns);
/* A stop string matched: DONE, release everywhere, later tokens dropped */
void core_finish(core *c, uint64_t req, uint64_t now_ns);

void core_message(core *c, uint64_t conn, const ctl_msg *m, uint64_t now_ns);
void core_conn_lost(core *c, uint64_t conn, const char *why, uint64_t now_ns);
uint64_t core_turn(core *c, uint64_t now_ns);
/* The member of this name or id (core_worker_id); *index is core_worker's, until the next event. ST_INVALID:
 * there is none, and eb says so. */
status core_worker_called(const core *c, const char *worker, uint32_t *index, errbuf *eb);
/* No new work for this member; it ends when its requests have. Idempotent. A worker that was sent SIGTERM
 * asks for the same by its heartbeats. */
void core_drain(core *c, uint32_t index, uint64_t now_ns);
/* Takes that back. ST_INVALID: it leaves already, or it wants to leave itself. */
status core_undrain(core *c, uint32_t index, uint64_t now_ns, errbuf *eb);
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
    bool has_work;           /* it has something to compute, as it says or as it was told */
    uint64_t standing_ns;    /* has_work: since anything of that was seen to move; else 0 */
    uint64_t token_age_ns;   /* since its last message with tokens; UINT64_MAX: there was none */
    ctl_heartbeat beat;      /* the last one */
    uint64_t steps_left_out; /* that no heartbeat told, in all */
} core_worker_info;
/* What a worker was given and has not given back, by what becomes of it. By the coordinator's own count. */
typedef struct core_holding {
    uint32_t computing; /* prompts that are not computed yet */
    uint32_t parked;    /* prompts whose KV waits for a decode worker */
    uint32_t sending;   /* and whose KV is under way */
    uint32_t reserved;  /* places for KV that is not verified */
    uint32_t decoding;
    uint32_t closing;      /* over: the worker is to say that it has let go */
    uint32_t pages_pinned; /* of parked and sending */
    uint32_t pages_reserved;
} core_holding;
/* index: as for core_worker. Linear in what it holds: for those who look, not for each turn. */
void core_holding_of(const core *c, uint32_t index, core_holding *out);
typedef struct core_pair_info {
    const char *prefill, *decode; /* names; NULL: it is gone. Borrowed until the next event, like fact */
    const struct pair_fact *fact; /* coordinator/pairs.h */
} core_pair_info;
/* Pairs that prefill workers told of: index 0, 1, ... until it answers false. */
bool core_pair(const core *c, uint32_t index, core_pair_info *out);
#define CORE_WORKER_ID_MAX 17u
/* The id of a session of a worker, as texts have it */
void core_worker_id(uint64_t incarnation, char out[static CORE_WORKER_ID_MAX]);
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
/* The members in the order of joining: index 0, 1, ... until it answers false. Nobody needs to know how many
 * there may be, so nobody can leave some out. */
bool core_worker(const core *c, uint32_t index, uint64_t now_ns, core_worker_info *out);
/* One READY route, and as many workers as wanted have joined at least once */
bool core_ready(const core *c);

/* A hand-off that is not verified: the prompt is computed, or its KV is under way already. */
typedef struct core_handoff {
    uint64_t req;
    const char *prefill,
        *decode;     /* names, borrowed until the next event; decode NULL: parked, no room so far */
    uint64_t age_ns; /* since its KV is under way, or the prompt computed if that was earlier */
} core_handoff;
/* The oldest, at most `max`, oldest first. Returns how many there are in all. */
uint32_t core_handoffs(const core *c, uint64_t now_ns, core_handoff *out, uint32_t max);

/* Stories of the living, each ending now: of the oldest, at most `max`, oldest first. Returns how many. Not
 * from within the sink. */
uint32_t core_alive(const core *c, uint64_t now_ns, core_record *out, uint32_t max);

void core_counters_of(const core *c, core_counters *out);
bool core_request_times(const core *c, uint64_t req, uint64_t now_ns, core_times *out);
/* REQ_DONE when unknown */
req_state core_request_state(const core *c, uint64_t req);
/* 1 + number of requests before it in the queue, if all are one client's; 0 = not queued */
uint32_t core_request_position(const core *c, uint64_t req);
/* Invariants of protocol.md; for tests and, sampled, in debug builds */
bool core_check(const core *c);

#endif
