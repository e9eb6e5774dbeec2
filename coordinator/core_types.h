/* core_types - the words of the core: the states of requests and workers, what comes in and what goes out, as
 * plain data. Ground: the core's own parts (member, request, router, state) stand on it, and core.h hands it
 * on to those who use the core. */
#ifndef BATON_COORDINATOR_CORE_TYPES_H
#define BATON_COORDINATOR_CORE_TYPES_H

#include "base/sm.h"
#include "ctl/ctl.h"
#include "ctl/decision.h"

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
    uint64_t epoch;            /* random, per coordinator process */
    uint32_t max_requests;     /* choices alive at once */
    uint32_t max_queue;        /* of them in WAIT_PREFILL; beyond: 429 */
    uint64_t max_queue_tokens; /* prompt tokens of those; beyond: 429. 0: no bound */
    uint64_t ttft_goal_ns; /* a request without a time of its own has so long for its first token; 0: any */
    uint32_t max_workers;
    uint64_t heartbeat_ns;    /* 250 ms */
    uint64_t suspect_ns;      /* 1.5 s */
    uint64_t gone_ns;         /* 5 s */
    uint64_t step_age_min_ns; /* 10 s: see member_step_too_old */
    uint64_t lease_ns;        /* 10 s */
    uint64_t wait_prefill_ns; /* 60 s -> ST_PEER */
    uint64_t prefill_ns;      /* 120 s -> ST_TIMEOUT; longer while the worker gets on with its work */
    uint64_t wait_kv_ns;      /* 60 s -> ST_TIMEOUT */
    uint64_t decode_token_ns; /* 30 s without a token -> replay; longer likewise */
    uint32_t max_attempts;    /* 4 */
    uint32_t max_context;     /* of the model */
    bool mixed_numerics;
    bool prefix_cache;                /* workers keep KV of prompts for those that begin alike */
    bool try_pairs;                   /* tell prefill workers of decode workers before there are requests */
    uint32_t role_wanted[ROLE_COUNT]; /* from the config: how many are expected (readiness) */
} core_options;

typedef struct core_request {
    const int32_t *prompt; /* copied */
    uint32_t prompt_count; /* >= 1 */
    sampling params;       /* copied with its arrays; seed already drawn */
    bool max_tokens_given; /* false: params.max_tokens is clipped to what fits (chat: the rest of the context)
                            */
    int32_t priority;      /* -32768 to 32767: in the queue, lower ones first; 0 is the usual */
    uint64_t client;       /* who asks; 0: nobody in particular. Clients have fair turns (fair_queue.h) */
    uint64_t
        first_by_ns; /* its first token must come until then; 0: ttft_goal_ns decides, UINT64_MAX: any time */
    uint64_t salt[2]; /* of the prefix cache: it meets requests of the same salt only. Both 0: without salt */
} core_request;

typedef struct core_token {
    uint32_t index; /* output index: 0, 1, ... without gap or repetition */
    token_out token;
} core_token;

/* Log-probabilities of tokens [begin, begin + count) of a request's prompt. */
typedef struct core_prompt {
    uint32_t begin;        /* 1 first, then without gap or repetition */
    const token_out *rows; /* [count] borrowed for the call; their ids are not filled in */
    uint32_t count;
} core_prompt;

/* Why a request ended. st of a FAILED one: ST_PEER, no worker took it in time; ST_TIMEOUT, a stage did not
 * end in time; ST_CORRUPT, it must not be sent again as it is: it cannot be computed, or took workers with
 * it, or has no attempt left. */
typedef struct core_end {
    req_state state; /* REQ_DONE, REQ_FAILED, REQ_CANCELED */
    finish fin;      /* DONE: EOS, STOP_ID, LENGTH; FINISH_NONE after core_finish (stop string) */
    status st;       /* FAILED; else ST_OK */
    const char *why; /* FAILED. Borrowed for the call */
} core_end;

/* Stage times of a request: differences of the machine's stamps, ns; 0 = stage not entered. decode_wait: from
 * verified KV (and the first token) to the first token that the decode worker computed; part of decode. */
typedef struct core_times {
    uint64_t queue_ns, prefill_ns, handoff_ns, decode_wait_ns, first_token_ns, decode_ns, total_ns;
    uint32_t attempts, replays, preemptions;
    uint32_t cached_tokens; /* of the prompt, that the attempt which gave the first token found in a prefix
                               cache */
} core_times;

/* Where a request was, one after the other: each span ends where the next begins, the last with the request.
 */
typedef enum core_stage {
    STAGE_QUEUE,
    STAGE_PREFILL,     /* on worker */
    STAGE_HANDOFF,     /* the prompt is computed on worker, its KV not verified elsewhere */
    STAGE_DECODE_WAIT, /* verified; worker has not computed a token yet */
    STAGE_DECODE,      /* on worker */
    STAGE_COUNT
} core_stage;
/* "queue", "prefill", "hand-off", "decode wait", "decode" */
const char *core_stage_name(core_stage stage);

typedef struct core_span {
    uint64_t begin_ns;
    uint32_t worker; /* its number; 0 in STAGE_QUEUE */
    core_stage stage;
} core_span;
#define CORE_SPANS_MAX 16u

/* The story of a request that has ended, for who keeps one; of a living one (core_alive), up to now. */
typedef struct core_record {
    uint64_t req;
    req_state state; /* DONE, FAILED, CANCELED; another: it is alive, and end_ns is now */
    uint32_t prompt_tokens, output_tokens;
    uint32_t attempts, replays, preemptions;
    uint64_t born_ns, first_token_ns, end_ns; /* stamps; first_token_ns: 0 = none came */
    uint32_t span_count;                      /* of a request that was replayed often the last span is longer
                                                 than it was */
    core_span spans[CORE_SPANS_MAX];
} core_record;

/* What a heartbeat tells of steps. */
typedef struct core_steps {
    uint32_t worker; /* its number */
    const char *name;
    worker_role role;
    const ctl_step *steps; /* [count], oldest first; ages count back from now_ns */
    uint32_t count;
    uint64_t left_out; /* ended since the last heartbeat, too, and not told */
    uint64_t now_ns;
} core_steps;

/* Why a request goes back, or its hand-off to another worker. */
typedef enum core_retry {
    RETRY_DEATH,   /* its worker is gone */
    RETRY_HANDOFF, /* the hand-off failed at one of its ends */
    RETRY_TIMEOUT, /* no token came in time */
    RETRY_FAILED,  /* its worker let go of it, or said what it must not */
    RETRY_PREEMPTED,
    RETRY_NO_ROOM, /* the worker that was asked had none: nothing ran */
    RETRY_COUNT
} core_retry;
/* "death", "handoff_failed", "timeout", "worker_failed", "preempted", "no_room" */
const char *core_retry_name(core_retry why);

/* What happened to workers and requests that is more than daily work, as it happens. */
typedef enum core_event_kind {
    EVENT_JOIN,    /* a worker was welcomed */
    EVENT_REFUSED, /* a worker was not */
    EVENT_READY,   /* it came to work, or back */
    EVENT_SUSPECT, /* it is silent, or shares a process with one that is gone */
    EVENT_DRAIN,
    EVENT_UNDRAIN,
    EVENT_LEFT, /* in order */
    EVENT_GONE, /* not so */
    EVENT_REPLAY,
    EVENT_HANDOFF_ABORT,
    EVENT_REQUEST_FAILED,
    EVENT_CANCELED,    /* by hand; a front tells of it, not the core */
    EVENT_CLIENT_LEFT, /* before its answer was complete; as EVENT_CANCELED */
    EVENT_COUNT
} core_event_kind;
/* "join" ... "client_left" */
const char *core_event_name(core_event_kind kind);

typedef struct core_event {
    core_event_kind kind;
    const char *worker;   /* whose news it is, or who had the request; NULL: none */
    const char *role;     /* its role; NULL: none */
    uint64_t incarnation; /* its session; 0: none */
    uint64_t req;         /* 0: it is about no request */
    uint32_t attempt;     /* of req, that ended so; 0: not of one */
    const char *cause;    /* one word: a core_retry's name, or a status; NULL: none */
    const char *reason;   /* for people; "" = none */
} core_event;

typedef struct core_sink {
    void *ctx;
    void (*send)(void *ctx, uint64_t conn, const ctl_msg *m);
    /* Forget this connection (GONE, REFUSED) */
    void (*hang_up)(void *ctx, uint64_t conn);
    /* Each output index once, in order */
    void (*token)(void *ctx, uint64_t req, const core_token *t);
    /* Once; req is unknown afterwards */
    void (*end)(void *ctx, uint64_t req, const core_end *e, const core_times *t);
    /* All of a prompt comes before the first token, if prompt_logprobs asks for it. NULL: nobody does */
    void (*prompt)(void *ctx, uint64_t req, const core_prompt *p);
    /* For those who look on; each may be NULL, what they are given is borrowed for the call */
    void (*record)(void *ctx, const core_record *r); /* before `end` */
    void (*steps)(void *ctx, const core_steps *s);
    void (*decision)(void *ctx, const decision *d); /* routes and reservations, before they are sent */
    void (*event)(void *ctx, const core_event *e);  /* the core is at work: it must not call back */
} core_sink;

typedef struct core_counters {
    uint32_t requests[8]; /* alive, by req_state */
    uint64_t submitted;
    /* Clients' requests refused: too many wait or are alive, their tokens are too many, the client has its
     * share of the queue, the first token would be late, it can never fit, no worker of a role is there or
     * expected. */
    uint64_t rejected_full, rejected_tokens, rejected_share, rejected_late, rejected_invalid, rejected_roles;
    uint64_t expired; /* choices that ended in the queue, since their first token could not come in time */
    uint64_t queue_tokens;     /* that wait */
    uint32_t queue_clients;    /* that have new requests in the queue */
    double queue_tokens_per_s; /* that leave a queue; 0: not known yet */
    uint64_t margin_ns;        /* what first tokens are expected too early by (pace.h) */
    uint64_t finished[4];      /* by finish (FINISH_NONE = stop string) */
    uint64_t failed, canceled;
    uint64_t prompt_tokens, output_tokens;
    uint64_t cache_queries, cache_hits; /* prefix cache of those that compute prompts: tokens looked for, and
                                           found, by every attempt that gave a token */
    uint64_t replays, preemptions, stale_messages, duplicate_tokens;
    uint64_t retries[RETRY_COUNT];
    uint64_t stale_kinds[CTL_KIND_COUNT]; /* stale_messages by what they were */
    uint64_t drops_sent;                  /* DROPs that answered them */
    uint64_t handoffs_started, handoffs_verified, handoffs_failed, handoff_bytes;
    uint64_t handoff_ns_sum; /* WAIT_KV (or last prefill token) to VERIFIED */
    uint32_t handoffs_pending;
    uint64_t pages_pinned;                  /* P pages of finished prompts that wait for VERIFIED */
    uint32_t parked;                        /* of them, prompts whose KV no decode worker takes yet */
    uint64_t parked_bytes, parked_since_ns; /* their KV; when the oldest was parked, 0 = none is */
    uint64_t workers_joined, workers_left,
        workers_lost; /* ever; left: drained; lost: nobody told it to leave */
} core_counters;

#endif
