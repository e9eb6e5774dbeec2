/* The coordinator's core, and workers that say what they like: clients come and go, connections end, time
 * passes. Messages go over the wire's own form, so all that is said could have come from a socket. Whatever
 * it is, the tables agree with each other after every event, a client's tokens are numbered without gap, and
 * each request ends once. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "coordinator/core.h"
#include "fuzz.h"
#include "kv/kv_layout.h"
#include "take.h"

#include <stdio.h>
#include <stdlib.h>

enum { CONNS = 7, WORKERS = 5, RECENT = 16, REQUESTS = 64, EVENTS_MAX = 400, PROMPT_MAX = 600 };

typedef struct seen {
    uint64_t req;
    uint32_t attempt;
} seen;

typedef struct play {
    core *core;
    uint64_t now_ns;
    uint64_t incarnation[CONNS]; /* by connection, from WELCOME */
    seen recent[RECENT];         /* what workers were told of last */
    uint32_t recent_count;
    uint32_t tokens[REQUESTS]; /* told to the client, by request */
    bool alive[REQUESTS];
    uint32_t asked;     /* requests so far */
    uint32_t finish_at; /* a client's token number at which its stop string is found; 0: never */
} play;

static void on_send(void *ctx, uint64_t conn, const ctl_msg *m) {
    play *p = ctx;
    CHECK(conn < CONNS);
    if (m->kind == CTL_WELCOME) p->incarnation[conn] = m->incarnation;
    if (m->req) {
        uint32_t attempt = m->kind == CTL_DEST ? m->dest.new_attempt : m->attempt;
        p->recent[p->recent_count++ % RECENT] = (seen){m->req, attempt};
    }
    buf bytes = {0};
    ctl_msg back;
    ctl_pack(m, &bytes); /* a worker takes for legal what the core says */
    CHECK(ctl_unpack(bytes.data, bytes.len, &back, NULL) == ST_OK);
    ctl_done(&back);
    buf_done(&bytes);
}

static void on_hang_up(void *ctx, uint64_t conn) {
    (void)ctx;
    CHECK(conn < CONNS);
}

static void on_token(void *ctx, uint64_t req, const core_token *t) {
    play *p = ctx;
    CHECK(req < REQUESTS);
    CHECK(p->alive[req]);
    CHECK(t->index == p->tokens[req]);
    p->tokens[req]++;
    if (p->finish_at == p->tokens[req]) core_finish(p->core, req, p->now_ns);
}

static void on_prompt(void *ctx, uint64_t req, const core_prompt *told) {
    play *p = ctx;
    CHECK(req < REQUESTS);
    CHECK(p->alive[req]);
    CHECK(told->count > 0);
}

static void on_end(void *ctx, uint64_t req, const core_end *e, const core_times *t) {
    play *p = ctx;
    (void)t;
    CHECK(req < REQUESTS);
    CHECK(p->alive[req]);
    CHECK(e->state == REQ_DONE || e->state == REQ_FAILED || e->state == REQ_CANCELED);
    CHECK((e->state == REQ_FAILED) == (e->why != NULL));
    p->alive[req] = false;
}

static const ctl_numeric numerics[2][1] = {{{"model", "m1"}}, {{"model", "m2"}}};
static const worker_role roles[WORKERS] = {ROLE_PREFILL, ROLE_DECODE, ROLE_DECODE, ROLE_COLOCATED,
                                           ROLE_PREFILL};

/* As a socket would: what the wire does not let through is dropped there. */
static void say(play *p, uint64_t conn, const ctl_msg *m) {
    buf bytes = {0};
    ctl_msg got;
    ctl_pack(m, &bytes);
    if (ctl_unpack(bytes.data ? bytes.data : "", bytes.len, &got, NULL) == ST_OK) {
        core_message(p->core, conn, &got, p->now_ns);
        ctl_done(&got);
    }
    buf_done(&bytes);
}

static void join(play *p, uint64_t conn, worker_role role, const char *name, uint32_t pages) {
    ctl_msg m = {.kind = CTL_JOIN,
                 .free_pages = pages,
                 .join = {.role = role,
                          .name = name,
                          .host = "here",
                          .pid = 1 + (uint32_t)conn,
                          .endpoint = role == ROLE_DECODE ? "tcp://here:1" : "",
                          .transport = "shm",
                          .page_count = pages,
                          .page_tokens = KV_PAGE_TOKENS,
                          .max_seqs = 4,
                          .max_rows = 64,
                          .max_context = 512,
                          .kv_token_bytes = 64,
                          .numerics = numerics[0],
                          .numeric_count = 1}};
    say(p, conn, &m);
}

static void odd_join(play *p, script *in, uint64_t conn) {
    static const char *const names[] = {"", "prefill-0", "decode-0", "decode-0#2", "#"};
    ctl_msg m = {.kind = CTL_JOIN, .free_pages = take_number(in)};
    m.join = (ctl_join){.role = (worker_role)take_below(in, ROLE_COUNT),
                        .name = names[take_below(in, ARRAY_LEN(names))],
                        .host = take_below(in, 2) ? "here" : "",
                        .pid = take_below(in, 8),
                        .endpoint = "",
                        .transport = "",
                        .page_count = take_number(in),
                        .page_tokens = take_below(in, 8) ? KV_PAGE_TOKENS : take_number(in),
                        .max_seqs = take_number(in),
                        .max_rows = take_number(in),
                        .max_context = take_number(in),
                        .kv_token_bytes = take_number(in),
                        .numerics = numerics[!take_below(in, 4)],
                        .numeric_count = 1};
    say(p, conn, &m);
}

static seen some_request(const play *p, script *in) {
    uint8_t pick = take_byte(in);
    uint32_t known = MIN(p->recent_count, RECENT);
    if (pick >= 0xe0 || !known) return (seen){take_number(in), take_number(in)};
    return p->recent[(p->recent_count - 1 - pick % known) % RECENT];
}

static void fill_tokens(const play *p, script *in, ctl_token *tokens, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        seen s = some_request(p, in);
        uint8_t how = take_byte(in);
        uint32_t next = s.req < REQUESTS ? p->tokens[s.req] : 0;
        uint32_t index = how & 1 ? take_number(in) : how & 2 ? next - 1 : next;
        tokens[i] = (ctl_token){.req = s.req, .attempt = s.attempt, .index = index};
        tokens[i].token.id = how & 4 ? (int32_t)take_number(in) : 100 + (int32_t)(index % 1000);
        tokens[i].token.fin = how & 8 ? (finish)(how >> 4 & 3) : FINISH_NONE;
        tokens[i].token.top_count = how & 64 ? 2 : 0;
        tokens[i].cached = how & 128 ? take_number(in) : 0;
    }
}

static void fill_heartbeat(script *in, ctl_heartbeat *h, ctl_step *steps) {
    uint8_t how = take_byte(in);
    h->steps = steps;
    if (how & 1) h->drain = true;
    if (how & 2) h->step = take_number(in);
    if (how & 4) h->step_age_ns = take_number(in) * NS_PER_S;
    if (how & 8) h->step_bound_ns = take_number(in) * NS_PER_MS;
    if (how & 16) h->pages_used = take_number(in);
    if (how & 32) h->cache_queries = take_number(in), h->cache_hits = take_number(in);
    h->step_count = how >> 6;
    for (uint32_t i = 0; i < h->step_count; i++)
        steps[i] = (ctl_step){take_number(in), take_number(in), {.tokens = take_number(in)}};
}

/* What a worker says; the honest session, or another one. */
static void message(play *p, script *in) {
    static const ctl_kind kinds[] = {CTL_HEARTBEAT, CTL_NO_ROOM,        CTL_RESERVED,  CTL_TOKENS,
                                     CTL_VERIFIED,  CTL_HANDOFF_FAILED, CTL_PREEMPTED, CTL_FAILED,
                                     CTL_CLOSED,    CTL_DRAINED,        CTL_LEAVING,   CTL_PAIR,
                                     CTL_PROMPT,    CTL_TOKENS,         CTL_RESERVED,  CTL_VERIFIED};
    ctl_token tokens[3];
    ctl_step steps[3];
    token_out rows[8] = {0};
    uint8_t head = take_byte(in);
    uint64_t conn = 1 + head % (CONNS - 1);
    ctl_msg m = {.kind = kinds[take_below(in, ARRAY_LEN(kinds))], .epoch = 77};
    if (head >= 0xf8)
        m.kind = (ctl_kind)(1 + take_below(in, CTL_KIND_COUNT - 1)); /* also those of a coordinator */
    m.incarnation = head < 0xf0 ? p->incarnation[conn] : p->incarnation[take_below(in, CONNS)];
    m.free_pages = take_number(in);
    seen s = some_request(p, in);
    m.req = s.req;
    m.attempt = s.attempt;
    switch (m.kind) {
    case CTL_JOIN:
        odd_join(p, in, conn);
        return;
    case CTL_HEARTBEAT:
        fill_heartbeat(in, &m.heartbeat, steps);
        break;
    case CTL_TOKENS:
        m.tokens = (ctl_tokens){tokens, 1 + take_below(in, ARRAY_LEN(tokens))};
        fill_tokens(p, in, tokens, m.tokens.count);
        break;
    case CTL_RESERVED:
        m.reserved.d_have = take_number(in) * (take_below(in, 2) ? KV_PAGE_TOKENS : 1);
        break;
    case CTL_PROMPT:
        m.prompt =
            (ctl_prompt){take_number(in), rows, take_below(in, ARRAY_LEN(rows) + 1), take_below(in, 2)};
        for (uint32_t i = 0; i < m.prompt.count; i++) rows[i].rank = 1;
        break;
    case CTL_PAIR:
        m.pair = (ctl_pair){.d_inc = p->incarnation[take_below(in, CONNS)],
                            .transport = "shm",
                            .open = take_below(in, 2),
                            .latency_ns = take_number(in),
                            .bytes_per_s = take_number(in),
                            .why = ""};
        break;
    case CTL_NO_ROOM:
    case CTL_HANDOFF_FAILED:
    case CTL_FAILED:
    case CTL_LEAVING:
        m.failed = (ctl_failed){.segment = take_number(in), .why = take_below(in, 2) ? "no" : ""};
        break;
    case CTL_VERIFIED:
        m.verified = (ctl_verified){.bytes = take_number(in), .segments = take_number(in)};
        break;
    case CTL_PREFILL:
    case CTL_RESERVE:
        m.work.params = sampling_default();
        break;
    case CTL_WELCOME:
        m.welcome.name = "";
        break;
    case CTL_REFUSED:
        m.refused.field = m.refused.why = "";
        break;
    case CTL_DEST:
    case CTL_PEER:
    case CTL_PEER_GONE:
        m.dest.endpoint = "";
        break;
    default:
        break; /* head only */
    }
    say(p, conn, &m);
}

static void submit(play *p, script *in) {
    static int32_t ids[PROMPT_MAX];
    uint8_t how = take_byte(in);
    if (p->asked == REQUESTS - 1) return;
    ids[0] = how & 1; /* two that begin unlike */
    core_request r = {.prompt = ids,
                      .prompt_count = 1 + take_number(in) % PROMPT_MAX,
                      .params = sampling_default(),
                      .max_tokens_given = !(how & 2)};
    if (how & 4) r.params.max_tokens = take_number(in);
    if (how & 8) r.params.prompt_logprobs = 0;
    if (how & 16) r.params.logprobs = 2;
    if (how & 32) r.priority = (int32_t)take_below(in, 3) - 1;
    if (how & 64) r.salt[0] = take_below(in, 2);
    uint64_t req = 0;
    errbuf eb = {0};
    if (core_submit(p->core, &r, p->now_ns, &req, &eb) != ST_OK) {
        CHECK(eb.text[0]);
        return;
    }
    CHECK(req < REQUESTS);
    CHECK(!p->alive[req]);
    p->alive[req] = true;
    p->asked++;
}

/* Who looks on gets an answer at any time. */
static void look(const play *p) {
    core_handoff handoffs[4];
    core_record records[4];
    core_counters counts;
    core_worker_info worker;
    core_pair_info pair;
    core_lost lost;
    errbuf eb = {0};
    uint32_t index;
    core_handoffs(p->core, p->now_ns, handoffs, ARRAY_LEN(handoffs));
    core_alive(p->core, p->now_ns, records, ARRAY_LEN(records));
    core_counters_of(p->core, &counts);
    for (uint32_t i = 0; core_worker(p->core, i, p->now_ns, &worker); i++) {
        char id[CORE_WORKER_ID_MAX];
        core_worker_id(worker.incarnation, id);
        if (core_worker_called(p->core, id, &index, &eb) == ST_OK) /* not one that was just lost */
            CHECK(index == i);
    }
    for (uint32_t i = 0; core_pair(p->core, i, &pair); i++) continue;
    core_last_lost(p->core, &lost, p->now_ns);
    core_ready(p->core);
}

static void pass_time(play *p, script *in) {
    static const uint64_t units[] = {NS_PER_MS, 100 * NS_PER_MS, NS_PER_S, 20 * NS_PER_S};
    p->now_ns += (1 + take_below(in, 16)) * units[take_below(in, ARRAY_LEN(units))];
}

static void one_event(play *p, script *in) {
    core_worker_info info;
    uint32_t index;
    uint8_t what = take_below(in, 32);
    if (what < 16) {
        message(p, in);
    } else if (what < 20) {
        submit(p, in);
    } else if (what < 24) {
        core_turn(p->core, p->now_ns);
    } else if (what < 26) {
        pass_time(p, in);
        if (what == 24) core_turn(p->core, p->now_ns);
    } else if (what == 26) {
        core_cancel(p->core, take_below(in, REQUESTS), p->now_ns);
    } else if (what == 27) {
        core_finish(p->core, take_below(in, REQUESTS), p->now_ns);
    } else if (what == 28) {
        core_conn_lost(p->core, 1 + take_below(in, CONNS - 1), "cut", p->now_ns);
    } else if (what == 29) {
        uint32_t w = take_below(in, WORKERS);
        join(p, 1 + w, roles[w], "back", 20 + take_below(in, 40));
    } else if (what == 30) {
        index = take_below(in, 8);
        if (!core_worker(p->core, index, p->now_ns, &info)) return;
        if (take_below(in, 2))
            core_drain(p->core, index, p->now_ns);
        else
            (void)core_undrain(p->core, index, p->now_ns, NULL);
    } else {
        look(p);
    }
}

static core_options options(uint8_t how) {
    return (core_options){.epoch = 77,
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
                          .max_context = 512,
                          .prefix_cache = how & 1,
                          .try_pairs = how & 2,
                          .mixed_numerics = how & 4,
                          .role_wanted = {1, 1, 0}};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    log_setup(LOG_ERROR, "fuzz");
    script in = {data, data + size};
    uint8_t how = take_byte(&in);
    play *p = xcalloc(1, sizeof *p);
    p->now_ns = NS_PER_S;
    p->finish_at = how >> 3 & 7;
    core_options o = options(how);
    core_sink sink = {.ctx = p,
                      .send = on_send,
                      .hang_up = on_hang_up,
                      .token = on_token,
                      .end = on_end,
                      .prompt = on_prompt};
    p->core = core_new(&o, &sink, p->now_ns);
    for (uint64_t w = 0; w < (how & 64 ? WORKERS : 2u); w++) {
        char name[16];
        snprintf(name, sizeof name, "worker-%u", (unsigned)w);
        join(p, 1 + w, roles[w], name, 40);
        ctl_msg beat = {.kind = CTL_HEARTBEAT, .epoch = 77, .incarnation = p->incarnation[1 + w]};
        beat.free_pages = 40;
        say(p, 1 + w, &beat);
    }
    for (uint32_t n = 0; n < EVENTS_MAX && !script_over(&in); n++) {
        one_event(p, &in);
        CHECK(core_check(p->core));
    }
    core_exit_all(p->core, p->now_ns);
    core_turn(p->core, p->now_ns + 4000 * NS_PER_S);
    CHECK(core_check(p->core));
    core_free(p->core);
    free(p);
    return 0;
}
