/* The coordinator core with scripted workers: what it says in answer to each message, and what it refuses. */
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
    uint32_t attempt, new_attempt, prompt_count, output_count;
    uint64_t ids_hash, d_inc;
    bool then_decode;
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
    uint64_t finish_at; /* output index + 1 at which the sink calls core_finish; 0 = never */
} world;

static void on_send(void *ctx, uint64_t conn, const ctl_msg *m) {
    world *w = ctx;
    assert_true(w->sent_count < SENT_MAX);
    sent *s = &w->sent[w->sent_count++];
    *s = (sent){.conn = conn, .req = m->req, .kind = m->kind, .attempt = m->attempt, .incarnation = m->incarnation};
    assert_int_equal(m->epoch, EPOCH);
    if (m->kind == CTL_PREFILL || m->kind == CTL_RESERVE) {
        s->prompt_count = m->work.prompt_count;
        s->output_count = m->work.output_count;
        s->ids_hash = m->work.ids_hash;
        s->then_decode = m->work.then_decode;
    }
    if (m->kind == CTL_DEST) {
        s->new_attempt = m->dest.new_attempt;
        s->d_inc = m->dest.d_inc;
    }
    if (m->kind == CTL_WELCOME) {
        w->incarnation[conn] = m->incarnation;
        snprintf(s->text, sizeof s->text, "%s", m->welcome.name);
    }
    if (m->kind == CTL_REFUSED) snprintf(s->text, sizeof s->text, "%s|%s", m->refused.field, m->refused.why);
}

static void on_hang_up(void *ctx, uint64_t conn) {
    ((world *)ctx)->hung_up = conn;
}

static void on_token(void *ctx, uint64_t req, const core_token *t) {
    world *w = ctx;
    assert_int_equal(t->index, w->emitted[req]++);
    w->tokens[w->token_count++] = t->token.id;
    if (w->finish_at == w->token_count) core_finish(w->core, req, w->now_ns);
}

static void on_end(void *ctx, uint64_t req, const core_end *e, const core_times *t) {
    world *w = ctx;
    (void)req;
    (void)t;
    w->end = *e;
    w->ends++;
    snprintf(w->why, sizeof w->why, "%s", e->why ? e->why : "");
}

static core_options options(void) {
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

static world *world_new(core_options o) {
    world *w = xcalloc(1, sizeof *w);
    w->now_ns = NS_PER_S;
    core_sink sink = {.ctx = w, .send = on_send, .hang_up = on_hang_up, .token = on_token, .end = on_end};
    w->core = core_new(&o, &sink, w->now_ns);
    return w;
}

static void world_free(world *w) {
    assert_true(core_check(w->core));
    core_free(w->core);
    free(w);
}

static void turn(world *w) {
    core_turn(w->core, w->now_ns);
    assert_true(core_check(w->core));
}

/* The next message, which must be of this kind and to this connection. */
static const sent *expect(world *w, uint64_t conn, ctl_kind kind) {
    if (w->read == w->sent_count) fail_msg("nothing was sent, want %s", ctl_kind_name(kind));
    const sent *s = &w->sent[w->read++];
    if (s->kind != kind || s->conn != conn)
        fail_msg("%s to %llu was sent, want %s to %llu", ctl_kind_name(s->kind), (unsigned long long)s->conn,
                 ctl_kind_name(kind), (unsigned long long)conn);
    return s;
}

static void expect_nothing(const world *w) {
    if (w->read < w->sent_count) fail_msg("%s was sent, want nothing", ctl_kind_name(w->sent[w->read].kind));
}

static const ctl_numeric f16[] = {{"model", "m1"}, {"kv_dtype", "f16"}};
static const ctl_numeric f32[] = {{"model", "m1"}, {"kv_dtype", "f32"}};

static ctl_join join_of(worker_role role, const char *name, uint32_t pid) {
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

static void say(world *w, uint64_t conn, ctl_msg m) {
    m.epoch = EPOCH;
    m.incarnation = w->incarnation[conn];
    core_message(w->core, conn, &m, w->now_ns);
}

static void beat(world *w, uint64_t conn, uint32_t free_pages) {
    say(w, conn, (ctl_msg){.kind = CTL_HEARTBEAT, .free_pages = free_pages});
    expect(w, conn, CTL_ACK);
}

static void join(world *w, uint64_t conn, ctl_join j) {
    core_message(w->core, conn, &(ctl_msg){.kind = CTL_JOIN, .free_pages = j.page_count, .join = j}, w->now_ns);
    expect(w, conn, CTL_WELCOME);
    beat(w, conn, j.page_count);
}

/* P, D and, when asked for, a second D are READY. */
static world *cluster(core_options o, bool second) {
    world *w = world_new(o);
    join(w, P, join_of(ROLE_PREFILL, "prefill-0", 10));
    join(w, D, join_of(ROLE_DECODE, "decode-0", 11));
    if (second) join(w, D2, join_of(ROLE_DECODE, "decode-1", 12));
    turn(w);
    expect_nothing(w);
    return w;
}

static int32_t prompt[2048];

static status try_submit(world *w, uint32_t prompt_count, uint32_t max_tokens, bool given, uint64_t *req, errbuf *eb) {
    core_request r = {.prompt = prompt, .prompt_count = prompt_count, .max_tokens_given = given};
    r.params = sampling_default();
    r.params.max_tokens = max_tokens;
    return core_submit(w->core, &r, w->now_ns, req, eb);
}

static uint64_t submit(world *w, uint32_t prompt_count, uint32_t max_tokens) {
    uint64_t req = 0;
    assert_int_equal(try_submit(w, prompt_count, max_tokens, true, &req, NULL), ST_OK);
    return req;
}

static void token(world *w, uint64_t conn, uint64_t req, uint32_t attempt, uint32_t index, int32_t id, finish fin) {
    ctl_token t = {.req = req, .attempt = attempt, .index = index, .token = {.id = id, .fin = fin}};
    say(w, conn, (ctl_msg){.kind = CTL_TOKENS, .free_pages = 50, .tokens = {.tokens = &t, .count = 1}});
}

static void answer(world *w, uint64_t conn, ctl_kind kind, uint64_t req, uint32_t attempt) {
    say(w, conn, (ctl_msg){.kind = kind, .req = req, .attempt = attempt, .free_pages = 50});
}

/* A request brought to DECODE on D under attempt 1. */
static uint64_t decoding(world *w) {
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

/* ---- joining ---- */

static void a_worker_takes_work_after_its_first_heartbeat(void **state) {
    (void)state;
    world *w = world_new(options());
    ctl_join j = join_of(ROLE_PREFILL, "prefill-0", 10);
    core_message(w->core, P, &(ctl_msg){.kind = CTL_JOIN, .join = j}, w->now_ns);
    assert_string_equal(expect(w, P, CTL_WELCOME)->text, "prefill-0");
    join(w, D, join_of(ROLE_DECODE, "decode-0", 11));
    submit(w, 20, 4);
    turn(w);
    expect_nothing(w);
    assert_false(core_ready(w->core));
    beat(w, P, 50);
    assert_true(core_ready(w->core));
    turn(w);
    expect(w, P, CTL_PREFILL);
    world_free(w);
}

static void a_retried_join_gets_the_same_incarnation_and_another_name_is_made_unique(void **state) {
    (void)state;
    world *w = world_new(options());
    ctl_msg m = {.kind = CTL_JOIN, .join = join_of(ROLE_DECODE, "decode-0", 10)};
    core_message(w->core, 1, &m, w->now_ns);
    core_message(w->core, 1, &m, w->now_ns);
    uint64_t first = expect(w, 1, CTL_WELCOME)->incarnation;
    assert_int_equal(expect(w, 1, CTL_WELCOME)->incarnation, first);
    m.join.pid = 11;
    core_message(w->core, 2, &m, w->now_ns);
    const sent *s = expect(w, 2, CTL_WELCOME);
    assert_string_equal(s->text, "decode-0#2");
    assert_true(s->incarnation != first && s->incarnation != 0);
    m.join.pid = 10; /* the first process again: its earlier session is over */
    core_message(w->core, 3, &m, w->now_ns);
    assert_string_equal(expect(w, 3, CTL_WELCOME)->text, "decode-0");
    assert_int_equal(w->hung_up, 1);
    core_worker_info info[4];
    assert_int_equal(core_workers(w->core, info, 4, w->now_ns), 2);
    world_free(w);
}

static void unlike_numerics_are_refused_naming_the_field(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    ctl_join j = join_of(ROLE_DECODE, "decode-1", 12);
    j.numerics = f32;
    core_message(w->core, 5, &(ctl_msg){.kind = CTL_JOIN, .join = j}, w->now_ns);
    assert_string_equal(expect(w, 5, CTL_REFUSED)->text,
                        "kv_dtype|kv_dtype is f32 here and f16 on prefill-0: start it with the same, or set "
                        "cluster.mixed_numerics");
    assert_int_equal(w->hung_up, 5);
    j.numerics = f16;
    j.page_tokens = 32;
    core_message(w->core, 6, &(ctl_msg){.kind = CTL_JOIN, .join = j}, w->now_ns);
    assert_string_equal(expect(w, 6, CTL_REFUSED)->text,
                        "page_tokens|pages of 32 tokens, want 16: start the same version");
    world_free(w);

    core_options o = options();
    o.mixed_numerics = true;
    w = cluster(o, false);
    j = join_of(ROLE_COLOCATED, "colocated-0", 12);
    j.numerics = f32;
    join(w, 5, j);
    world_free(w);
}

/* ---- admission ---- */

static void what_can_never_fit_is_400_and_names_the_numbers(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req;
    errbuf eb = {0};
    /* D: 50 pages less one of headroom; 49 x 16 = 784 tokens. */
    assert_int_equal(try_submit(w, 700, 85, true, &req, &eb), ST_INVALID);
    assert_string_equal(eb.text,
                        "the prompt of 700 tokens with max_tokens 85 exceeds the 784 tokens that the KV pool of "
                        "decode-0 can hold: shorten it or lower max_tokens");
    assert_int_equal(try_submit(w, 700, 84, true, &req, &eb), ST_OK);
    assert_int_equal(try_submit(w, 784, 500, false, &req, &eb), ST_INVALID);
    assert_int_equal(try_submit(w, 10, 0, true, &req, &eb), ST_INVALID);
    core_counters k;
    core_counters_of(w->core, &k);
    assert_int_equal(k.rejected_invalid, 3);
    world_free(w);

    w = world_new(options());
    assert_int_equal(try_submit(w, 1000, 25, true, &req, &eb), ST_INVALID);
    assert_string_equal(eb.text,
                        "the prompt of 1000 tokens with max_tokens 25 exceeds the context of 1024 tokens: shorten "
                        "it or lower max_tokens");
    world_free(w);
}

static void absent_max_tokens_are_clipped_to_the_pool(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req;
    assert_int_equal(try_submit(w, 780, 1000, false, &req, NULL), ST_OK);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    for (uint32_t i = 0; i < 4; i++) token(w, P, req, 1, i, 5, FINISH_NONE); /* more than a P would send */
    assert_int_equal(w->ends, 1); /* 784 - 780 tokens: the end by length, even if the worker did not say so */
    assert_int_equal(w->end.fin, FINISH_LENGTH);
    world_free(w);
}

static void a_full_queue_is_429_and_a_role_nobody_wants_is_503(void **state) {
    (void)state;
    core_options o = options();
    o.max_queue = 2;
    world *w = world_new(o);
    submit(w, 20, 4);
    uint64_t last = submit(w, 20, 4), req;
    assert_int_equal(core_request_position(w->core, last), 2);
    errbuf eb = {0};
    assert_int_equal(try_submit(w, 20, 4, true, &req, &eb), ST_AGAIN);
    assert_string_equal(eb.text, "the queue is full: 2 requests wait, 2 are alive; try again later");
    world_free(w);

    o.role_wanted[ROLE_DECODE] = 0;
    w = world_new(o);
    assert_int_equal(try_submit(w, 20, 4, true, &req, &eb), ST_PEER);
    assert_string_equal(eb.text, "no decode worker has joined, and the config wants none: start one");
    world_free(w);
}

/* ---- routing ---- */

static void prefill_and_reserve_go_out_in_one_turn_and_dest_follows_reserved(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = submit(w, 20, 30);
    turn(w);
    const sent *s = expect(w, P, CTL_PREFILL);
    assert_int_equal(s->attempt, 1);
    assert_int_equal(s->prompt_count, 20);
    assert_false(s->then_decode);
    s = expect(w, D, CTL_RESERVE);
    assert_true(s->ids_hash == kv_ids_hash(KV_IDS_HASH_START, prompt, 20));
    answer(w, D, CTL_RESERVED, req, 1);
    s = expect(w, P, CTL_DEST);
    assert_int_equal(s->new_attempt, 1);
    assert_true(s->d_inc == w->incarnation[D]);
    expect_nothing(w);
    world_free(w);
}

static void a_prefill_worker_has_two_batches_of_prompt_tokens_at_most(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t a = submit(w, 100, 4);
    submit(w, 28, 4);
    uint64_t c = submit(w, 1, 4);
    turn(w);
    for (int i = 0; i < 2; i++) {
        expect(w, P, CTL_PREFILL);
        expect(w, D, CTL_RESERVE);
    }
    expect_nothing(w);
    assert_int_equal(core_request_position(w->core, c), 1);
    token(w, P, a, 1, 0, 7, FINISH_NONE); /* 100 rows are computed */
    turn(w);
    assert_int_equal(expect(w, P, CTL_PREFILL)->req, c);
    world_free(w);
}

static void without_room_at_d_the_kv_is_parked_and_gets_the_first_pages_that_are_free(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    beat(w, D, 4); /* the headroom is one page */
    uint64_t old = submit(w, 60, 4), young = submit(w, 10, 4);
    turn(w);
    assert_int_equal(expect(w, P, CTL_PREFILL)->req, old); /* 60 + 1 rows: 4 pages and 1 of headroom; 4 are free */
    assert_int_equal(expect(w, P, CTL_PREFILL)->req, young);
    expect_nothing(w); /* and the young one may not take the pages that the old one waits for */
    token(w, P, old, 1, 0, 7, FINISH_NONE);
    token(w, P, young, 1, 0, 7, FINISH_NONE);
    turn(w);
    expect_nothing(w);
    beat(w, D, 7);
    turn(w);
    const sent *s = expect(w, D, CTL_RESERVE);
    assert_int_equal(s->req, old);
    assert_int_equal(s->output_count, 0); /* k as P ran it, although token 0 is emitted */
    s = expect(w, D, CTL_RESERVE);        /* 4 promised, 1 wanted, 1 held: 1 page + headroom of 1 */
    assert_int_equal(s->req, young);
    world_free(w);
}

static void no_room_at_p_drops_the_reservation_and_keeps_the_place_in_the_queue(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = submit(w, 20, 4);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    answer(w, P, CTL_NO_ROOM, req, 1);
    const sent *s = expect(w, D, CTL_DROP);
    assert_int_equal(s->attempt, 1);
    assert_int_equal(core_request_position(w->core, req), 1);
    turn(w);
    expect_nothing(w); /* not again before P's next heartbeat */
    beat(w, P, 50);
    turn(w);
    assert_int_equal(expect(w, P, CTL_PREFILL)->attempt, 2);
    core_times t;
    assert_true(core_request_times(w->core, req, w->now_ns, &t));
    assert_int_equal(t.attempts, 1);
    assert_int_equal(t.replays, 0);
    world_free(w);
}

static void no_room_at_d_is_offered_again_under_the_same_attempt(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = submit(w, 20, 4);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    answer(w, D, CTL_NO_ROOM, req, 1);
    turn(w);
    expect_nothing(w);
    beat(w, D, 50);
    turn(w);
    assert_int_equal(expect(w, D, CTL_RESERVE)->attempt, 1);
    world_free(w);
}

/* ---- tokens ---- */

static void tokens_reach_the_client_once_and_in_order(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = decoding(w);
    token(w, D, req, 1, 3, 103, FINISH_NONE); /* a gap is held back */
    assert_int_equal(w->token_count, 1);
    token(w, D, req, 1, 1, 101, FINISH_NONE);
    assert_int_equal(w->token_count, 2);
    token(w, D, req, 1, 1, 101, FINISH_NONE); /* the same again is nothing new */
    token(w, D, req, 1, 2, 102, FINISH_NONE);
    assert_int_equal(w->token_count, 4);
    token(w, D, req, 1, 4, 104, FINISH_EOS);
    const int32_t want[] = {100, 101, 102, 103, 104};
    assert_memory_equal(w->tokens, want, sizeof want);
    assert_int_equal(w->end.state, REQ_DONE);
    assert_int_equal(w->end.fin, FINISH_EOS);
    expect_nothing(w); /* D has freed by itself */
    core_counters k;
    core_counters_of(w->core, &k);
    assert_int_equal(k.duplicate_tokens, 2); /* D's repetition of token 0, too */
    assert_int_equal(k.output_tokens, 5);
    world_free(w);
}

static void a_differing_duplicate_fails_the_request_loudly(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = decoding(w);
    token(w, D, req, 1, 0, 999, FINISH_NONE);
    assert_int_equal(w->end.state, REQ_FAILED);
    assert_int_equal(w->end.http, 500);
    assert_string_equal(w->why, "decode-0 computed 999 as output token 0, but another token was computed there before");
    expect(w, D, CTL_RELEASE);
    world_free(w);
}

static void stale_messages_are_answered_with_drop_and_move_nothing(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = decoding(w);
    token(w, D, req, 9, 1, 101, FINISH_NONE); /* an attempt that never was */
    const sent *s = expect(w, D, CTL_DROP);
    assert_int_equal(s->attempt, 9);
    token(w, D, 555, 1, 0, 101, FINISH_NONE);
    assert_int_equal(expect(w, D, CTL_DROP)->req, 555);
    answer(w, P, CTL_RESERVED, 555, 1);
    expect(w, P, CTL_DROP);
    uint64_t good = w->incarnation[D];
    w->incarnation[D] = good + 1; /* another session */
    answer(w, D, CTL_VERIFIED, req, 1);
    expect(w, D, CTL_DROP);
    say(w, D, (ctl_msg){.kind = CTL_HEARTBEAT}); /* these three are never answered with DROP */
    answer(w, D, CTL_CLOSED, req, 1);
    say(w, D, (ctl_msg){.kind = CTL_DRAINED});
    w->incarnation[D] = good;
    expect_nothing(w);
    assert_int_equal(w->token_count, 1);
    core_counters k;
    core_counters_of(w->core, &k);
    assert_int_equal(k.stale_messages, 7);
    core_message(w->core, 9, &(ctl_msg){.kind = CTL_HEARTBEAT, .epoch = EPOCH}, w->now_ns); /* nobody */
    expect(w, 9, CTL_REFUSED);
    world_free(w);
}

static void tokens_before_verified_are_never_emitted(void **state) {
    (void)state;
    world *w = cluster(options(), true);
    uint64_t req = submit(w, 20, 30);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    answer(w, D, CTL_RESERVED, req, 1);
    expect(w, P, CTL_DEST);
    token(w, D, req, 1, 0, 100, FINISH_NONE);
    assert_int_equal(w->token_count, 0);
    assert_int_equal(expect(w, D, CTL_DROP)->attempt, 1);
    turn(w);
    assert_int_equal(expect(w, D2, CTL_RESERVE)->attempt, 2);
    world_free(w);
}

static void a_stop_string_found_inside_the_sink_releases_at_once(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    w->finish_at = 2;
    uint64_t req = decoding(w);
    ctl_token t[] = {{.req = req, .attempt = 1, .index = 1, .token.id = 101},
                     {.req = req, .attempt = 1, .index = 2, .token.id = 102}};
    say(w, D, (ctl_msg){.kind = CTL_TOKENS, .free_pages = 40, .tokens = {.tokens = t, .count = 2}});
    assert_int_equal(w->token_count, 2);
    assert_int_equal(w->end.state, REQ_DONE);
    assert_int_equal(w->end.fin, FINISH_NONE);
    expect(w, D, CTL_RELEASE);
    token(w, D, req, 1, 3, 103, FINISH_NONE); /* crossed RELEASE */
    expect_nothing(w);
    answer(w, D, CTL_CLOSED, req, 1);
    core_worker_info info[2];
    core_workers(w->core, info, 2, w->now_ns);
    assert_int_equal(info[1].assigned, 0);
    world_free(w);
}

/* ---- recovery ---- */

static void d_lost_before_verified_gets_a_new_d_under_attempt_two_from_the_same_pages(void **state) {
    (void)state;
    world *w = cluster(options(), true);
    uint64_t req = submit(w, 20, 30);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    answer(w, D, CTL_RESERVED, req, 1);
    expect(w, P, CTL_DEST);
    token(w, P, req, 1, 0, 100, FINISH_NONE);
    core_conn_lost(w->core, D, "killed", w->now_ns);
    turn(w);
    const sent *s = expect(w, D2, CTL_RESERVE);
    assert_int_equal(s->attempt, 2);
    answer(w, D2, CTL_RESERVED, req, 2);
    s = expect(w, P, CTL_DEST);
    assert_int_equal(s->attempt, 1);
    assert_int_equal(s->new_attempt, 2);
    answer(w, P, CTL_HANDOFF_FAILED, req, 1); /* about the D that is gone already */
    expect_nothing(w);
    answer(w, D2, CTL_VERIFIED, req, 2);
    assert_int_equal(expect(w, P, CTL_RELEASE)->attempt, 2);
    world_free(w);
}

static void a_replay_carries_prompt_and_output_apart_and_goes_before_new_requests(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = decoding(w);
    token(w, D, req, 1, 1, 101, FINISH_NONE);
    beat(w, P, 0); /* nothing can be routed now */
    uint64_t big = submit(w, 128, 4);
    turn(w);
    expect(w, P, CTL_PREFILL); /* P's own holds say that it is free, whatever it told */
    expect(w, D, CTL_RESERVE);
    uint64_t next = submit(w, 20, 4);
    answer(w, D, CTL_PREEMPTED, req, 1);
    assert_int_equal(core_request_position(w->core, req), 1);
    assert_int_equal(core_request_position(w->core, next), 2);
    token(w, P, big, 1, 0, 7, FINISH_NONE);
    turn(w);
    const sent *s = expect(w, P, CTL_PREFILL);
    assert_int_equal(s->req, req);
    assert_int_equal(s->attempt, 2);
    assert_int_equal(s->prompt_count, 20);
    assert_int_equal(s->output_count, 2);
    s = expect(w, D, CTL_RESERVE);
    const int32_t out[] = {100, 101};
    assert_true(s->ids_hash == kv_ids_hash(kv_ids_hash(KV_IDS_HASH_START, prompt, 20), out, 2));
    token(w, P, req, 2, 2, 102, FINISH_NONE); /* it goes on at k = 2 */
    assert_int_equal(w->tokens[w->token_count - 1], 102);
    core_times t;
    assert_true(core_request_times(w->core, req, w->now_ns, &t));
    assert_int_equal(t.preemptions, 1);
    assert_int_equal(t.attempts, 1);
    world_free(w);
}

static void no_room_that_crosses_dest_frees_the_renumbered_hold(void **state) {
    (void)state;
    world *w = cluster(options(), true);
    uint64_t req = submit(w, 20, 30);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    core_conn_lost(w->core, D, "killed", w->now_ns);
    turn(w);
    expect(w, D2, CTL_RESERVE);
    answer(w, D2, CTL_RESERVED, req, 2);
    assert_int_equal(expect(w, P, CTL_DEST)->new_attempt, 2);
    answer(w, P, CTL_NO_ROOM, req, 1);
    expect(w, D2, CTL_DROP);
    turn(w);
    core_worker_info info[3];
    core_workers(w->core, info, 3, w->now_ns);
    assert_int_equal(info[0].assigned, 0);
    world_free(w);
}

static void attempts_are_limited_and_the_last_cause_is_told(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = submit(w, 20, 30);
    for (uint32_t attempt = 1; attempt <= 4; attempt++) {
        turn(w);
        if (attempt == 1) expect(w, P, CTL_PREFILL);
        assert_int_equal(expect(w, D, CTL_RESERVE)->attempt, attempt);
        answer(w, D, CTL_RESERVED, req, attempt);
        expect(w, P, CTL_DEST);
        say(w, D,
            (ctl_msg){.kind = CTL_HANDOFF_FAILED,
                      .req = req,
                      .attempt = attempt,
                      .free_pages = 50,
                      .failed = {.segment = 3, .why = "checksum"}});
        expect(w, D, CTL_DROP);
        answer(w, D, CTL_CLOSED, req, attempt);
    }
    assert_int_equal(w->end.http, 500);
    assert_string_equal(
        w->why, "gave up after 4 attempts; the last ended so: the hand-off failed at decode-0, segment 3: checksum");
    expect(w, P, CTL_RELEASE);
    world_free(w);
}

static void silence_makes_suspect_then_gone_but_not_while_the_loop_itself_slept(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t heard_ns = w->now_ns;
    core_worker_info info[2];
    for (; w->now_ns < heard_ns + 1500 * NS_PER_MS; w->now_ns += 250 * NS_PER_MS) turn(w);
    core_workers(w->core, info, 2, w->now_ns);
    assert_int_equal(info[0].state, MEMBER_READY);
    turn(w);
    core_workers(w->core, info, 2, w->now_ns);
    assert_int_equal(info[0].state, MEMBER_SUSPECT);
    submit(w, 20, 4);
    turn(w);
    expect_nothing(w);          /* no new work */
    w->now_ns += 20 * NS_PER_S; /* the coordinator was stopped */
    turn(w);
    assert_int_equal(core_workers(w->core, info, 2, w->now_ns), 2);
    beat(w, P, 50);
    beat(w, D, 50);
    core_workers(w->core, info, 2, w->now_ns);
    assert_int_equal(info[0].state, MEMBER_READY);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    heard_ns = w->now_ns;
    for (; w->now_ns < heard_ns + 5 * NS_PER_S; w->now_ns += 250 * NS_PER_MS) turn(w);
    assert_int_equal(core_workers(w->core, info, 2, w->now_ns), 2);
    turn(w);
    assert_int_equal(core_workers(w->core, info, 2, w->now_ns), 0);
    assert_string_equal(expect(w, P, CTL_REFUSED)->text, "session|silent for 5000 ms");
    world_free(w);
}

int main(void) {
    log_setup(LOG_ERROR, "core_test");
    for (uint32_t i = 0; i < ARRAY_LEN(prompt); i++) prompt[i] = (int32_t)(i * 7 + 3);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_takes_work_after_its_first_heartbeat),
        cmocka_unit_test(a_retried_join_gets_the_same_incarnation_and_another_name_is_made_unique),
        cmocka_unit_test(unlike_numerics_are_refused_naming_the_field),
        cmocka_unit_test(what_can_never_fit_is_400_and_names_the_numbers),
        cmocka_unit_test(absent_max_tokens_are_clipped_to_the_pool),
        cmocka_unit_test(a_full_queue_is_429_and_a_role_nobody_wants_is_503),
        cmocka_unit_test(prefill_and_reserve_go_out_in_one_turn_and_dest_follows_reserved),
        cmocka_unit_test(a_prefill_worker_has_two_batches_of_prompt_tokens_at_most),
        cmocka_unit_test(without_room_at_d_the_kv_is_parked_and_gets_the_first_pages_that_are_free),
        cmocka_unit_test(no_room_at_p_drops_the_reservation_and_keeps_the_place_in_the_queue),
        cmocka_unit_test(no_room_at_d_is_offered_again_under_the_same_attempt),
        cmocka_unit_test(tokens_reach_the_client_once_and_in_order),
        cmocka_unit_test(a_differing_duplicate_fails_the_request_loudly),
        cmocka_unit_test(stale_messages_are_answered_with_drop_and_move_nothing),
        cmocka_unit_test(tokens_before_verified_are_never_emitted),
        cmocka_unit_test(a_stop_string_found_inside_the_sink_releases_at_once),
        cmocka_unit_test(d_lost_before_verified_gets_a_new_d_under_attempt_two_from_the_same_pages),
        cmocka_unit_test(a_replay_carries_prompt_and_output_apart_and_goes_before_new_requests),
        cmocka_unit_test(no_room_that_crosses_dest_frees_the_renumbered_hold),
        cmocka_unit_test(attempts_are_limited_and_the_last_cause_is_told),
        cmocka_unit_test(silence_makes_suspect_then_gone_but_not_while_the_loop_itself_slept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
