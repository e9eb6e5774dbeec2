/* member - one worker as the coordinator knows it: what it is, what it holds for us, and whether it still
 * lives.
 *
 *   JOINING -> READY <-> SUSPECT;  READY <-> DRAINING <-> SUSPECT;  each of them -> GONE
 *
 * A member is one session: a worker that joins again is another member with another incarnation. JOINING
 * ends with the first heartbeat, which proves that WELCOME arrived, tells the free pages after whatever the
 * last session left behind, and that no old step is stuck.
 *
 * What it was given and has not given back is in its holds. Because a prefill worker takes all pages of a
 * prompt at once and gives all back at once, its holds alone also tell how many pages it uses at most; so for
 * it the larger of the two lower bounds of free pages is taken.
 *
 * Thread: the coordinator's loop. */
#ifndef BATON_COORDINATOR_MEMBER_H
#define BATON_COORDINATOR_MEMBER_H

#include "base/mem.h"
#include "coordinator/core_types.h"
#include "coordinator/holds.h"
#include "coordinator/prefix_hints.h"
#include "kv/kv_pool.h"

typedef struct member {
    uint64_t conn;        /* 0 once the connection is lost or given up */
    uint64_t incarnation; /* random, of this session */
    uint32_t number;      /* 1, 2, ... in the order of joining: a short name in records. No two members have
                             the same modulo WORKERS_MAX, so that a table of that size has a place for each */
    sm sm;                /* member_sm */
    worker_role role;
    char *name;     /* unique among members; owned */
    char *host;     /* owned */
    char *endpoint; /* D's pair channel; owned */
    uint32_t pid, page_count, max_seqs, max_rows, max_context;
    uint32_t tokens_max; /* rule 10: of a request (prompt and output) that its pool, empty but for it, can
                            hold */
    uint64_t kv_token_bytes;

    uint64_t heard_ns; /* last message, moved forward by the time the coordinator itself slept */
    ctl_heartbeat beat;
    uint64_t steps_left_out; /* in all heartbeats */
    uint64_t moved_ns; /* when its work was last seen to go on: a token, another step, an operation of the
                          running one. Without work: now */
    uint64_t xfer_ns;  /* when a heartbeat last told of more payload moved; 0 = none did */
    uint64_t token_ns; /* its last message with tokens; 0 = none came */
    uint32_t free_pages;
    bool draining; /* DRAIN was asked for */
    bool exiting;  /* EXIT was sent */
    bool full;     /* it refused room: no offer until its free pages grow or the next heartbeat */
    bool given_up; /* its session ended, which proves no death: by rule 14 it is silent or its step stands
                      still, or its process has joined anew */
    char *lost;    /* why the session ended; NULL while it lives; owned */

    holds holds;
    prefix_holder prefixes; /* of which it was given the KV */
} member;

member *member_new(const ctl_join *join, const char *name, uint64_t conn, uint64_t incarnation,
                   uint64_t now_ns);
void member_free(member *m);

static inline member_state member_state_of(const member *m) {
    return (member_state)m->sm.state;
}
/* Any current message: the member lives. beat: its heartbeat, or NULL. True when a silent or joining member
 * came (back) to work. */
bool member_heard(member *m, uint32_t free_pages, const ctl_heartbeat *beat, uint64_t step_age_min_ns,
                  uint64_t now_ns);
/* Rule 14. True: it must be declared GONE; why tells. Otherwise it may have become SUSPECT. */
bool member_judge(member *m, const core_options *opt, uint64_t now_ns, errbuf *why);
/* A step that stands still for longer than rule 14 allows, by its last heartbeat: ten times what the whole
 * step may take by its work, as earlier ones tell, but step_age_min_ns at least, and at most, or where
 * nothing is known, twelve times that. */
bool member_step_too_old(const member *m, uint64_t step_age_min_ns);
/* How long a single operation of its step may take by what earlier ones tell (as member_step_too_old); 0:
 * they tell nothing */
uint64_t member_patience(const member *m, const core_options *opt);
/* When silence would next change something */
uint64_t member_judge_next(const member *m, const core_options *opt);
/* It has something to compute, as its last heartbeat says or as it was told: KV that is parked, on its way or
 * awaited is none. */
bool member_has_work(const member *m);
/* For how long nothing of that was seen to move; 0 without work */
uint64_t member_standing(const member *m, uint64_t now_ns);
/* The session ended; first reason wins */
void member_lose(member *m, const char *why);
bool member_check(const member *m);

/* What the router asks of every member for every request: in line, since there may be a thousand. */

/* READY, not drained, not lost */
static inline bool member_takes_work(const member *m) {
    return member_state_of(m) == MEMBER_READY && !m->draining && !m->exiting && !m->lost;
}

/* May still finish what it has */
static inline bool member_lives(const member *m) {
    return member_state_of(m) != MEMBER_GONE && !m->lost;
}

/* Of max_seqs: on a prefill worker only prompts that are not computed yet */
static inline uint32_t member_slots_used(const member *m) {
    return m->role == ROLE_PREFILL ? m->holds.computing : m->holds.count;
}

/* Pages that are free by our own count */
static inline uint32_t member_available(const member *m) {
    uint32_t told = m->free_pages > m->holds.promised ? m->free_pages - m->holds.promised : 0;
    if (m->role != ROLE_PREFILL) return told;
    uint32_t counted = m->page_count > m->holds.pages ? m->page_count - m->holds.pages : 0;
    return MAX(told, counted);
}

/* Rule 8: pages that must stay free beside a new admission. */
static inline uint32_t member_headroom(const member *m) {
    return m->role == ROLE_PREFILL ? 0 : kv_pool_headroom(m->page_count, m->holds.count);
}

/* Whether a request that may grow to `tokens` could run there at all when it is alone. */
static inline bool member_could_fit(const member *m, uint32_t tokens) {
    return tokens <= m->tokens_max;
}

typedef struct member_list {
    member *const *items; /* [count] in the order of joining */
    uint32_t count;
} member_list;

/* Rule 24: what every member's numerics must equal. */
typedef struct numerics {
    char *from; /* name of the worker that set it; NULL = not set */
    char **names, **values;
    uint32_t count;
} numerics;
void numerics_set(numerics *n, const ctl_join *join, const char *from);
void numerics_done(numerics *n);
/* NULL when there is none. Borrowed from n */
const char *numerics_get(const numerics *n, const char *name);
/* The first field that differs; NULL when all agree or nothing is set. Borrowed from n or join. why gets the
 * text. */
const char *numerics_differ(const numerics *n, const ctl_join *join, errbuf *why);

#endif
