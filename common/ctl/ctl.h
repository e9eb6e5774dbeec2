/* ctl - the control messages between coordinator and workers as plain C structs; proto/control.proto is their
 * wire form.
 *
 * Pure code (coordinator core, worker cores, virtual-time tests) sees only these structs; ctl/ctl.c packs and
 * unpacks them. A ctl_msg that came from ctl_unpack owns its arrays (ctl_done frees); one that pure code
 * builds to send borrows them for the call.
 *
 * Every message names {epoch, incarnation of the worker it is from or to, request, attempt}; a receiver drops
 * what is stale before any state moves (counted, answered with DROP). Every worker message carries its free
 * pages. */
#ifndef BATON_CTL_H
#define BATON_CTL_H

#include "base/role.h"
#include "base/status.h"
#include "token/sampling.h"
#include "token/step.h"

typedef enum ctl_kind {
    CTL_NONE,
    /* worker > coordinator */
    CTL_JOIN,
    CTL_HEARTBEAT,
    CTL_NO_ROOM, /* P: to PREFILL; D: to RESERVE */
    CTL_RESERVED,
    CTL_TOKENS,
    CTL_VERIFIED,
    CTL_HANDOFF_FAILED, /* P or D */
    CTL_PREEMPTED,
    CTL_FAILED,  /* this request cannot be computed, wherever it runs; it ends with 500 */
    CTL_CLOSED,  /* answer to CANCEL, DROP, RELEASE: nothing of {req, attempt} is held here any more.
                    Idempotent */
    CTL_DRAINED, /* answer to DRAIN: nothing is running here */
    CTL_LEAVING, /* this worker cannot go on (failed.why); answered with EXIT */
    /* coordinator > worker */
    CTL_WELCOME,
    CTL_REFUSED,
    CTL_ACK,
    CTL_PREFILL,
    CTL_RESERVE,
    CTL_DEST,
    CTL_RELEASE, /* P: VERIFIED was seen, or the request ended: unpin; D: the request ended (stop string):
                    close */
    CTL_CANCEL,  /* stop and free {req, attempt}; for P and D */
    CTL_DROP, /* answer to a stale message, or undo of a RESERVE: free whatever is held under {req, attempt}
               */
    CTL_DRAIN,
    CTL_EXIT,
    CTL_PEER,      /* P: a decode worker is here (dest.d_inc, dest.endpoint): open a pair to it and try it */
    CTL_PEER_GONE, /* the worker of the other role with incarnation dest.d_inc is gone: end the pair to it */
    /* worker > coordinator */
    CTL_PAIR,   /* P: what became of the pair to a decode worker */
    CTL_PROMPT, /* P and W: log-probabilities of tokens of the prompt, a step's or a part of them; and that
                   the prompt is computed when max_tokens is 0 */
    CTL_KIND_COUNT
} ctl_kind;

/* One named part of the numerics id: unlike values in one cluster are refused, naming the field. */
typedef struct ctl_numeric {
    const char *name;
    const char *value;
} ctl_numeric;

typedef struct ctl_join {
    worker_role role;
    const char *name; /* "prefill-0": from the launch rank, or host and pid */
    const char *host;
    uint32_t pid;
    const char *endpoint;  /* D: the pair channel, "tcp://10.0.0.2:41231"; "" for others */
    const char *transport; /* what the config says: "auto", "shm", ... */
    uint32_t page_count;   /* of the pool */
    uint32_t page_tokens;
    uint32_t max_seqs; /* requests it holds at once */
    uint32_t max_rows; /* token budget of one step */
    uint32_t max_context;
    uint64_t kv_token_bytes;
    uint64_t last_incarnation; /* of the session that this process had before; 0 = none */
    const ctl_numeric *numerics;
    uint32_t numeric_count;
} ctl_join;

typedef struct ctl_welcome {
    uint64_t lease_ns;
    uint64_t heartbeat_ns;
    const char *name; /* the name the worker goes by (made unique by the coordinator) */
} ctl_welcome;

/* A step that has ended. Numbers that do not fit are the largest one. */
typedef struct ctl_step {
    uint32_t age_us; /* from its start until the heartbeat was made */
    uint32_t duration_us;
    latency_step sums;
} ctl_step;

typedef struct ctl_heartbeat {
    uint64_t step;          /* number of steps begun */
    uint64_t step_age_ns;   /* since the running step last made progress; 0 = idle */
    uint64_t step_bound_ns; /* all of it should take no longer, as earlier steps tell; 0 = not known */
    uint32_t step_layers_done, step_layers; /* of the running step */
    uint32_t running;                       /* sequences in the decode batch, or prompts being processed */
    uint32_t waiting;                       /* queued here */
    uint32_t parked;                        /* P: finished prompts that wait for a D */
    uint32_t sends_pending;                 /* P: hand-offs begun and not verified */
    uint64_t decode_rows;                   /* sum of decode batch sizes over steps, since start */
    uint64_t decode_steps;
    uint64_t prefill_rows;              /* prompt tokens processed since start */
    uint64_t xfer_segments, xfer_bytes; /* payload sent (P) or verified (D) since start */
    uint64_t xfer_failures;
    uint64_t stale;                    /* messages dropped as stale */
    uint32_t pages_used;               /* as the pool counts them: the worker's own evidence */
    bool drain;                        /* it was asked to stop and asks to be drained */
    uint64_t busy_ns[BUSY_KIND_COUNT]; /* in steps, since start */
    const ctl_step *steps; /* [step_count] ended since the last heartbeat, oldest first; the newest
                              CTL_STEPS_MAX. Only while the message lives */
    uint32_t step_count;
    uint64_t steps_left_out;            /* ended since then and told by nobody */
    uint64_t cache_queries, cache_hits; /* prefix cache: tokens of prompts that looked in it, and of those
                                           found, since start */
    uint32_t cache_pages;               /* that nothing but the cache holds now */
    uint64_t cache_evictions;           /* pages that the cache gave up, since start */
} ctl_heartbeat;

/* PREFILL and RESERVE carry the whole request, prompt and output ids apart. */
typedef struct ctl_work {
    const int32_t *prompt;
    uint32_t prompt_count;
    const int32_t *output; /* tokens already emitted: a replay goes on at k = output_count */
    uint32_t output_count;
    sampling params;
    bool then_decode;  /* PREFILL to a colocated worker */
    uint64_t p_inc;    /* RESERVE: the prefill worker that will push */
    uint64_t ids_hash; /* RESERVE: kv_ids_hash of prompt ++ output */
    bool cache;        /* the worker's prefix cache may serve it and keep it */
    uint64_t salt[2];  /* it meets requests of the same salt only; both 0: without salt */
} ctl_work;

typedef struct ctl_reserved {
    uint32_t d_have; /* rows that D holds already, from the start of the prompt: DEST's token_begin */
} ctl_reserved;

typedef struct ctl_dest {
    uint64_t d_inc;
    const char *endpoint; /* D's pair channel */
    uint32_t new_attempt; /* the attempt under which to send: differs from the message's attempt when a D was
                             lost before VERIFIED */
    uint32_t token_begin; /* the first row to send: on a page edge */
} ctl_dest;

typedef struct ctl_token {
    uint64_t req;
    uint32_t attempt;
    uint32_t index; /* output index */
    token_out token;
    uint32_t
        cached; /* P and W, with the first token of an attempt: prompt rows that were not computed anew */
} ctl_token;

typedef struct ctl_tokens {
    const ctl_token *tokens; /* one message per worker step, for all its sequences */
    uint32_t count;
} ctl_tokens;

/* Tokens [begin, begin + count) of a prompt. Their ids are the prompt's, and not told. */
typedef struct ctl_prompt {
    uint32_t begin;        /* >= 1 */
    const token_out *rows; /* [count] logprob, rank and the best, equally many of each */
    uint32_t count;        /* at most CTL_PROMPT_MAX */
    bool done;             /* all rows are computed, and no token was asked for */
} ctl_prompt;

typedef struct ctl_failed {
    uint32_t segment;
    const char *why;
} ctl_failed;

typedef struct ctl_verified {
    uint64_t bytes; /* payload of this hand-off */
    uint32_t segments;
    uint64_t exposed_ns; /* D: first-to-last; informative, stage times are the coordinator's stamps */
} ctl_verified;

typedef struct ctl_pair {
    uint64_t d_inc;
    const char *transport; /* "" when it ended before there was one */
    bool open;
    uint64_t latency_ns;  /* of the smallest segment, median; 0: not measured */
    uint64_t bytes_per_s; /* of full segments; 0: not measured */
    const char *why;      /* it ended; "" while it is open */
} ctl_pair;

typedef struct ctl_msg {
    ctl_kind kind;
    uint64_t epoch;       /* coordinator epoch; 0 before WELCOME */
    uint64_t incarnation; /* of the worker; 0 in JOIN and REFUSED */
    uint64_t req;         /* 0 when the message is about no request */
    uint32_t attempt;
    uint32_t free_pages; /* worker > coordinator */
    union {
        ctl_join join;
        ctl_welcome welcome;
        struct {
            const char *field, *why;
        } refused;
        ctl_heartbeat heartbeat;
        ctl_work work; /* PREFILL, RESERVE */
        ctl_reserved reserved;
        ctl_dest dest; /* DEST, PEER, PEER_GONE */
        ctl_tokens tokens;
        ctl_failed failed; /* HANDOFF_FAILED, FAILED, NO_ROOM and LEAVING (why) */
        ctl_verified verified;
        ctl_pair pair;
        ctl_prompt prompt;
    };
    void *owned; /* ctl_unpack's memory */
} ctl_msg;

/* "PREFILL" */
const char *ctl_kind_name(ctl_kind kind);

struct buf;
/* Appends the protobuf bytes of m to out. */
void ctl_pack(const ctl_msg *m, struct buf *out);
/* ST_CORRUPT for bytes that are no message or break a bound (arrays at most 2^20 ids, strings 4 KiB). Caller
 * frees with ctl_done. */
status ctl_unpack(const void *bytes, size_t count, ctl_msg *out, errbuf *eb);
void ctl_done(ctl_msg *m);

#endif
