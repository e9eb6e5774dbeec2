/* state - the struct behind core.h and what the core's own files say to each other. Not for users of the
 * core.
 *
 *   admission.c who is let in
 *   inbox.c     messages from workers move the tables
 *   recovery.c  ends, replays, lost workers, deadlines
 *   dispatch.c  parked KV and the queue meet free pages, once per turn
 *   outbox.c    messages to workers, with the bookkeeping that belongs to each
 *   prefixes.c  what workers were given, as the router hears of it
 *   events.c    what happened, for who keeps a log of it
 *   core.c      the public functions
 *
 * The sink may call back into the core (a stop string found in a token finishes the request), so after every
 * call of sink.token and sink.end a request is looked up again by its id. Members vanish only in core_turn
 * and at a JOIN: until then a lost one is marked, gets nothing more, and what it had sent before still
 * counts. */
#ifndef BATON_COORDINATOR_STATE_H
#define BATON_COORDINATOR_STATE_H

#include "coordinator/member.h"
#include "coordinator/pace.h"
#include "coordinator/pairs.h"
#include "coordinator/request_table.h"
#include "coordinator/router.h"

/* The last search: whoever waits asks again every turn, and mostly nothing has changed. */
typedef struct prefix_memo {
    uint64_t req, changes, searches;
    uint32_t pages;
    prefix_found found;
} prefix_memo;

/* What admission asks of all members, kept until one comes, goes or drains. */
typedef struct admission {
    bool known;
    bool route;  /* one can come about */
    bool served; /* by the workers that are here */
    worker_role missing;
    uint32_t prefills;  /* workers that only compute prompts */
    uint32_t tokens;    /* prompt and output: what the smallest pool can hold, or the context */
    const member *pool; /* its worker; NULL when nobody has joined or the context is the limit */
} admission;

struct core {
    core_options opt;
    core_sink sink;
    request_table requests;
    member **members; /* [member_count] of max_workers, in the order of joining; owned */
    uint32_t member_count;
    u64_map by_conn; /* the members that have a connection, those just lost too */
    admission admission;
    bool some_lost;    /* a member is marked lost and not GONE yet */
    uint64_t judge_ns; /* not later than when a member's silence would change something; 0 = look at once */
    /* What dispatch.c looks at anew in the next turn, since something changed by which one that waits may be
     * served: those who wait for a D, or the queue only. */
    bool stirred_decode, stirred_queue;
    uint64_t waits;                   /* the first of the queue, when it found no route; 0: nobody waited */
    uint64_t look_ns;                 /* then it looks at all, whatever changed */
    uint64_t *ids;                    /* [max_requests] scratch; owned */
    pairs pairs;                      /* of prefill and decode workers that live */
    pace handovers;                   /* of those whose first token is out, until their KV is verified */
    pace pace;                        /* of the queue */
    bool named;                       /* a client has said who it is */
    prefix_hints computing, decoding; /* of the workers that compute prompts, and of those that only decode */
    prefix_memo asked_computing, asked_decoding;
    numerics numerics; /* of the first member; every later one must equal it */
    uint64_t last_req;
    uint64_t joins;                 /* JOINs welcomed: the seed of incarnations */
    uint32_t last_number;           /* given to a member */
    uint32_t role_peak[ROLE_COUNT]; /* most workers of a role that were READY at once */
    uint64_t wake_ns; /* when the last turn asked to be called again; later means that the loop slept */
    uint64_t turns;
    char *lost_worker, *lost_why; /* of the worker that was lost last, at lost_ns; NULL = none; owned */
    uint64_t lost_ns;
    const member *acting; /* whose message or end is acted upon now: what events name; NULL = nobody's */
    core_counters counts; /* the running totals; gauges are filled in by core_counters_of */
};

/* Borrowed: until a member joins or goes. */
static inline member_list core_member_list(const core *c) {
    return (member_list){.items = c->members, .count = c->member_count};
}

/* The one whose session this connection carries; NULL when there is none, or it ended. */
static inline member *core_member_of(const core *c, uint64_t conn) {
    member *m = u64_map_get(&c->by_conn, conn);
    return m && !m->lost ? m : NULL;
}

/* Workers came, went, or take work again or no more: what was known of all of them together is not. */
static inline void core_members_changed(core *c) {
    c->admission.known = false;
    c->stirred_decode = c->stirred_queue = true;
}

/* After whatever may have given m room for more */
static inline void core_stir_if_eased(core *c, member *m) {
    if (!m->holds.eased) return;
    m->holds.eased = false;
    c->stirred_queue = true;
    c->stirred_decode = c->stirred_decode || m->role == ROLE_DECODE;
}

/* admission.c */
typedef struct admission_times { /* see request.h */
    uint64_t first_by_ns, leave_by_ns, expected_ns;
} admission_times;
/* As core_submit_all */
status admission_judge(core *c, const core_request *r, uint32_t count, uint64_t now_ns, admission_times *t,
                       uint32_t *retry_s, errbuf *eb);
/* Of one that was let in: those that were asked for, or what fits */
uint32_t admission_max_tokens(const core *c, const core_request *r);
/* Looks at every member. */
admission admission_look(const core *c);
/* Notes what it finds. */
void admission_know(core *c);
/* The workers that are here make a route, whether they have room or not. */
static inline bool admission_served(core *c) {
    if (!c->admission.known) admission_know(c);
    return c->admission.served;
}

/* outbox.c */
/* Fills the head; nothing is sent to a lost member */
void outbox_send(core *c, member *m, ctl_msg *msg);
/* hinted: pages that the worker is thought to hold already. */
void outbox_prefill(core *c, request *r, member *m, uint32_t hinted);
void outbox_reserve(core *c, request *r, member *d, uint32_t hinted, uint64_t now_ns);
/* token_begin: the first row that D lacks. */
void outbox_dest(core *c, request *r, uint32_t token_begin, uint64_t now_ns);
/* RELEASE, CANCEL or DROP of what m holds of r */
void outbox_close(core *c, member *m, request *r, ctl_kind kind);
/* Each prefill worker hears of each decode worker: m came to work. */
void outbox_introduce(core *c, member *m);
/* The workers of the other role hear that it is gone */
void outbox_mourn(core *c, const member *gone);
void outbox_drop_stale(core *c, member *m, uint64_t req, uint32_t attempt);

/* events.c: told to the sink's `event`; reason may be NULL */
void event_of_worker(const core *c, core_event_kind kind, const member *m, const char *reason);
/* r's worker is the one that is acted upon, or the one that has r. cause: one word, or NULL. */
void event_of_request(const core *c, core_event_kind kind, const request *r, const char *cause,
                      const char *reason);
/* A message that is about what is over */
void event_stale(core *c, ctl_kind kind);

/* prefixes.c: nothing is done without a prefix cache */
void prefixes_join(core *c, member *m);
void prefixes_leave(core *c, member *m);
/* Fills in what workers hold of r: those that compute prompts, those that only decode, or both. Valid until
 * the next ask. */
void prefixes_ask(core *c, request *r, bool computing, bool decoding, route_ask *ask);
/* m has the KV of the first `rows` tokens. */
void prefixes_hold(core *c, request *r, member *m, uint32_t rows);
/* D answered how much it holds. */
void prefixes_reserved(core *c, request *r, member *d, uint32_t rows);
/* The worker that computed the prompt says how much of it was in its cache. */
void prefixes_computed(core *c, member *m, const ctl_token *first);
/* The worker that decodes r has told its last token, or is to stop. */
void prefixes_decoded(core *c, request *r);

/* recovery.c */
/* r is freed */
void recovery_end(core *c, request *r, const core_end *end, uint64_t now_ns);
void recovery_fail(core *c, request *r, status st, const char *why, uint64_t now_ns);
/* Whether it counts against the limit of attempts: a preemption or a lack of room does not. */
static inline bool retry_counts(core_retry why) {
    return why != RETRY_PREEMPTED && why != RETRY_NO_ROOM;
}
/* Back to the head of the queue with prompt and emitted ids; everything held anywhere is dropped. r may be
 * freed (limit reached). */
void recovery_replay(core *c, request *r, core_retry why, const char *text, uint64_t now_ns);
/* The hand-off to r->decode failed before VERIFIED: another D under the next attempt, from P's pinned pages.
 * May free r. */
void recovery_lose_decode(core *c, request *r, core_retry why, const char *text, uint64_t now_ns);
/* The session ended: first reason wins, the next turn acts upon it */
void recovery_lose(core *c, member *m, const char *why);
/* The process that had this session joins anew: it lives, so no request of that session counts it as a
 * death. */
void recovery_returned(core *c, uint64_t incarnation);
/* Its connection is another's, or nobody's, from now on */
void recovery_unbind(core *c, member *m);
/* No new work, EXIT when nothing is held there any more; idempotent */
void recovery_drain(core *c, member *m, uint64_t now_ns);
/* Those marked lost become GONE */
void recovery_lost_members(core *c, uint64_t now_ns);
/* Silence and stuck steps */
void recovery_judge_members(core *c, uint64_t now_ns);
/* One in the queue whose first token is late whatever happens now. r is freed */
void recovery_expire_late(core *c, request *r, const char *why, uint64_t now_ns);
void recovery_deadlines(core *c, uint64_t now_ns);
/* Earliest deadline of requests and members, or limit_ns when that is earlier */
uint64_t recovery_next_ns(core *c, uint64_t limit_ns);

/* inbox.c */
void inbox_message(core *c, uint64_t conn, const ctl_msg *msg, uint64_t now_ns);

/* dispatch.c */
void dispatch_turn(core *c, uint64_t now_ns);
/* Nobody waits who could be served while nothing is to be looked at: what the next turn would leave out has
 * nothing in it. Without what prefix caches save. For tests. */
bool dispatch_check(const core *c);

#endif
