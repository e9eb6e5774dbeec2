/* core_world - the coordinator core with scripted workers: a recording sink, and short words for what workers
 * say. */
#ifndef BATON_TESTS_CORE_WORLD_H
#define BATON_TESTS_CORE_WORLD_H

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "coordinator/core.h"
#include "kv/handoff.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EPOCH    77u
#define SENT_MAX 256u
#define P        1u /* connections of the usual workers */
#define D        2u
#define D2       3u

typedef struct sent {
    uint64_t conn, req, incarnation;
    ctl_kind kind;
    uint32_t attempt, new_attempt, token_begin, prompt_count, output_count;
    uint64_t ids_hash, d_inc;
    bool then_decode, cache;
    uint64_t salt;
    char text[160]; /* REFUSED: "field|why"; WELCOME: name */
} sent;

typedef struct world {
    core *core;
    uint64_t now_ns;
    sent sent[SENT_MAX];
    uint32_t sent_count, read;
    uint64_t hung_up;         /* last connection */
    uint64_t incarnation[16]; /* by connection, from WELCOME */
    int32_t tokens[64];
    uint32_t token_count;
    uint32_t emitted[32]; /* by request */
    core_end end;
    char why[256];
    uint32_t ends;
    core_record record; /* the last */
    core_times times;   /* of the last end */
    uint32_t records, steps, steps_of;
    uint64_t steps_left_out;
    uint64_t mourned[16]; /* by connection: the incarnation that it heard is gone */
    char events[2048];    /* one line each: event, worker, request and attempt, cause, reason */
    uint64_t finish_at;   /* output index + 1 at which the sink calls core_finish; 0 = never */
} world;

static inline void on_send(void *ctx, uint64_t conn, const ctl_msg *m) {
    world *w = ctx;
    if (m->kind == CTL_PEER_GONE) { /* goes along with every loss */
        w->mourned[conn] = m->dest.d_inc;
        return;
    }
    assert_true(w->sent_count < SENT_MAX);
    sent *s = &w->sent[w->sent_count++];
    *s = (sent){
        .conn = conn, .req = m->req, .kind = m->kind, .attempt = m->attempt, .incarnation = m->incarnation};
    assert_int_equal(m->epoch, EPOCH);
    if (m->kind == CTL_PREFILL || m->kind == CTL_RESERVE) {
        s->prompt_count = m->work.prompt_count;
        s->output_count = m->work.output_count;
        s->ids_hash = m->work.ids_hash;
        s->then_decode = m->work.then_decode;
        s->cache = m->work.cache;
        s->salt = m->work.salt[0];
    }
    if (m->kind == CTL_DEST) {
        s->new_attempt = m->dest.new_attempt;
        s->d_inc = m->dest.d_inc;
        s->token_begin = m->dest.token_begin;
    }
    if (m->kind == CTL_PEER) s->d_inc = m->dest.d_inc;
    if (m->kind == CTL_WELCOME) {
        w->incarnation[conn] = m->incarnation;
        snprintf(s->text, sizeof s->text, "%s", m->welcome.name);
    }
    if (m->kind == CTL_REFUSED) snprintf(s->text, sizeof s->text, "%s|%s", m->refused.field, m->refused.why);
}

static inline void on_hang_up(void *ctx, uint64_t conn) {
    ((world *)ctx)->hung_up = conn;
}

static inline void on_token(void *ctx, uint64_t req, const core_token *t) {
    world *w = ctx;
    assert_int_equal(t->index, w->emitted[req]++);
    w->tokens[w->token_count++] = t->token.id;
    if (w->finish_at == w->token_count) core_finish(w->core, req, w->now_ns);
}

static inline void on_end(void *ctx, uint64_t req, const core_end *e, const core_times *t) {
    world *w = ctx;
    (void)req;
    w->times = *t;
    w->end = *e;
    w->ends++;
    snprintf(w->why, sizeof w->why, "%s", e->why ? e->why : "");
}

static inline void on_record(void *ctx, const core_record *r) {
    world *w = ctx;
    w->record = *r;
    w->records++;
}

static inline void on_steps(void *ctx, const core_steps *s) {
    world *w = ctx;
    w->steps += s->count;
    w->steps_left_out += s->left_out;
    w->steps_of = s->worker;
}

static inline void on_event(void *ctx, const core_event *e) {
    world *w = ctx;
    char req[48] = "";
    if (e->req) snprintf(req, sizeof req, " req=%llu.%u", (unsigned long long)e->req, e->attempt);
    size_t at = strlen(w->events);
    if (at > sizeof w->events / 2) return; /* who reads them wants fewer */
    snprintf(w->events + at, sizeof w->events - at, "%s %s%s %s: %s\n", core_event_name(e->kind),
             e->worker ? e->worker : "-", req, e->cause ? e->cause : "-", e->reason);
    assert_true(!e->incarnation == (!e->worker || e->kind == EVENT_REFUSED));
}

static inline core_options options(void) {
    return (core_options){.epoch = EPOCH,
                          .max_requests = 16,
                          .max_queue = 8,
                          .max_workers = 6,
                          .heartbeat_ns = 250 * NS_PER_MS,
                          .suspect_ns = 1500 * NS_PER_MS,
                          .gone_ns = 5 * NS_PER_S,
                          .step_age_min_ns = 10 * NS_PER_S,
                          .lease_ns = 10 * NS_PER_S,
                          .wait_prefill_ns = 60 * NS_PER_S,
                          .prefill_ns = 120 * NS_PER_S,
                          .wait_kv_ns = 60 * NS_PER_S,
                          .decode_token_ns = 30 * NS_PER_S,
                          .max_attempts = 4,
                          .max_context = 1024,
                          .role_wanted = {1, 1, 0}};
}

static inline world *world_new(core_options o) {
    world *w = xcalloc(1, sizeof *w);
    w->now_ns = NS_PER_S;
    core_sink sink = {.ctx = w,
                      .send = on_send,
                      .hang_up = on_hang_up,
                      .token = on_token,
                      .end = on_end,
                      .record = on_record,
                      .steps = on_steps,
                      .event = on_event};
    w->core = core_new(&o, &sink, w->now_ns);
    return w;
}

static inline void world_free(world *w) {
    assert_true(core_check(w->core));
    core_free(w->core);
    free(w);
}

static inline void turn(world *w) {
    core_turn(w->core, w->now_ns);
    assert_true(core_check(w->core));
}

/* The first `max` members; how many there are in all */
static inline uint32_t members(const world *w, core_worker_info *out, uint32_t max) {
    core_worker_info info;
    uint32_t n = 0;
    for (; core_worker(w->core, n, w->now_ns, &info); n++)
        if (n < max) out[n] = info;
    return n;
}

/* The next message, which must be of this kind and to this connection. */
static inline const sent *expect(world *w, uint64_t conn, ctl_kind kind) {
    if (w->read == w->sent_count) fail_msg("nothing was sent, want %s", ctl_kind_name(kind));
    const sent *s = &w->sent[w->read++];
    if (s->kind != kind || s->conn != conn)
        fail_msg("%s to %llu was sent, want %s to %llu", ctl_kind_name(s->kind), (unsigned long long)s->conn,
                 ctl_kind_name(kind), (unsigned long long)conn);
    return s;
}

static inline void expect_nothing(const world *w) {
    if (w->read < w->sent_count) fail_msg("%s was sent, want nothing", ctl_kind_name(w->sent[w->read].kind));
}

static const ctl_numeric f16[] = {{"model", "m1"}, {"kv_dtype", "f16"}};
static const ctl_numeric f32[] = {{"model", "m1"}, {"kv_dtype", "f32"}};

static inline ctl_join join_of(worker_role role, const char *name, uint32_t pid) {
    return (ctl_join){.role = role,
                      .name = name,
                      .host = "here",
                      .pid = pid,
                      .endpoint = "tcp://here:1",
                      .transport = "shm",
                      .page_count = 50,
                      .page_tokens = KV_PAGE_TOKENS,
                      .max_seqs = 8,
                      .max_rows = 64,
                      .max_context = 1024,
                      .kv_token_bytes = 64,
                      .numerics = f16,
                      .numeric_count = 2};
}

static inline void say(world *w, uint64_t conn, ctl_msg m) {
    m.epoch = EPOCH;
    m.incarnation = w->incarnation[conn];
    core_message(w->core, conn, &m, w->now_ns);
}

static inline void beat(world *w, uint64_t conn, uint32_t free_pages) {
    say(w, conn, (ctl_msg){.kind = CTL_HEARTBEAT, .free_pages = free_pages});
    expect(w, conn, CTL_ACK);
}

static inline void join(world *w, uint64_t conn, ctl_join j) {
    core_message(w->core, conn, &(ctl_msg){.kind = CTL_JOIN, .free_pages = j.page_count, .join = j},
                 w->now_ns);
    expect(w, conn, CTL_WELCOME);
    beat(w, conn, j.page_count);
}

/* P, D and, when asked for, a second D are READY. */
static inline world *cluster(core_options o, bool second) {
    world *w = world_new(o);
    join(w, P, join_of(ROLE_PREFILL, "prefill-0", 10));
    join(w, D, join_of(ROLE_DECODE, "decode-0", 11));
    if (second) join(w, D2, join_of(ROLE_DECODE, "decode-1", 12));
    turn(w);
    expect_nothing(w);
    return w;
}

#define PROMPT_MAX 2048u
/* The ids of every prompt: a shorter one is a prefix of a longer one. */
static inline const int32_t *prompt_ids(void) {
    static int32_t ids[PROMPT_MAX];
    for (uint32_t i = 0; i < PROMPT_MAX && !ids[PROMPT_MAX - 1]; i++) ids[i] = (int32_t)(i * 7 + 3);
    return ids;
}

static inline status try_submit(world *w, uint32_t prompt_count, uint32_t max_tokens, bool given,
                                uint64_t *req, errbuf *eb) {
    core_request r = {.prompt = prompt_ids(), .prompt_count = prompt_count, .max_tokens_given = given};
    r.params = sampling_default();
    r.params.max_tokens = max_tokens;
    return core_submit(w->core, &r, w->now_ns, req, eb);
}

static inline uint64_t submit(world *w, uint32_t prompt_count, uint32_t max_tokens) {
    uint64_t req = 0;
    assert_int_equal(try_submit(w, prompt_count, max_tokens, true, &req, NULL), ST_OK);
    return req;
}

static inline void token(world *w, uint64_t conn, uint64_t req, uint32_t attempt, uint32_t index, int32_t id,
                         finish fin) {
    ctl_token t = {.req = req, .attempt = attempt, .index = index, .token = {.id = id, .fin = fin}};
    say(w, conn, (ctl_msg){.kind = CTL_TOKENS, .free_pages = 50, .tokens = {.tokens = &t, .count = 1}});
}

static inline void answer(world *w, uint64_t conn, ctl_kind kind, uint64_t req, uint32_t attempt) {
    say(w, conn, (ctl_msg){.kind = kind, .req = req, .attempt = attempt, .free_pages = 50});
}

/* A request brought to DECODE on D under attempt 1. */
static inline uint64_t decoding(world *w) {
    uint64_t req = submit(w, 20, 30);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    answer(w, D, CTL_RESERVED, req, 1);
    expect(w, P, CTL_DEST);
    token(w, P, req, 1, 0, 100, FINISH_NONE);
    answer(w, D, CTL_VERIFIED, req, 1);
    expect(w, P, CTL_RELEASE);
    answer(w, P, CTL_CLOSED, req, 1);
    token(w, D, req, 1, 0, 100, FINISH_NONE);
    expect_nothing(w);
    assert_int_equal(core_request_state(w->core, req), REQ_DECODE);
    return req;
}

#endif
