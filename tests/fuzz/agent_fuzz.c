/* A worker of any role, and a coordinator that says what it likes; its device and its transfer thread are
 * honest, and slow. What the worker asks of them is what they take, what it says is legal, and its pages are
 * accounted for after every event. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "fuzz.h"
#include "kv/handoff.h"
#include "take.h"
#include "worker_core/agent.h"

#include <stdio.h>
#include <stdlib.h>

enum { PAGES = 40, SEQS = 4, ROWS = 64, CONTEXT = 200, KNOWN_MAX = 512, EVENTS_MAX = 500, IDS_MAX = 256 };

/* What the device has under a slot. */
typedef struct opened {
    bool open;
    uint32_t rows, pages;
    int32_t prompt_logprobs;
    uint32_t prompt_count;
} opened;

typedef struct play {
    agent *agent;
    worker_role role;
    uint64_t now_ns, epoch, incarnation;
    const dev_job *job;
    opened slots[SEQS];
    kv_identity known[KNOWN_MAX]; /* of the transfer thread: X_OFFER or X_EXPECT, and no X_DROP since */
    bool has_dest[KNOWN_MAX];
    uint32_t known_count;
    xfer_event dropped[KNOWN_MAX]; /* X_DROPPED that were not delivered, oldest first */
    uint32_t dropped_count;
    bool quit;
} play;

static void on_send(void *ctx, const ctl_msg *m) {
    (void)ctx;
    buf bytes = {0};
    ctl_msg back;
    errbuf eb = {0};
    ctl_pack(m, &bytes);
    if (ctl_unpack(bytes.data, bytes.len, &back, &eb) != ST_OK) {
        fprintf(stderr, "%s\n", eb.text);
        CHECK(!"a legal message");
    }
    ctl_done(&back);
    buf_done(&bytes);
}

/* ---- the transfer thread ---- */

static uint32_t find(const play *p, uint64_t req) {
    uint32_t i = 0;
    while (i < p->known_count && p->known[i].req != req) i++;
    return i;
}

static void forget(play *p, uint64_t req) {
    uint32_t i = find(p, req);
    if (i == p->known_count) return;
    p->known[i] = p->known[--p->known_count];
    p->has_dest[i] = p->has_dest[p->known_count];
}

static void know(play *p, const xfer_cmd *c) {
    uint32_t begin = c->kind == X_OFFER ? c->rows_here : c->token_begin;
    CHECK(c->id_count > 0);
    CHECK(handoff_may_start(begin, c->id_count));
    CHECK(c->page_count >= kv_pages_for(c->id_count));
    for (uint32_t i = 0; i < c->page_count; i++) CHECK(c->pages[i] < PAGES);
    forget(p, c->id.req);
    CHECK(p->known_count < KNOWN_MAX);
    p->has_dest[p->known_count] = false;
    p->known[p->known_count++] = c->id;
}

static void on_xfer(void *ctx, const xfer_cmd *c) {
    play *p = ctx;
    CHECK(p->role != ROLE_COLOCATED);
    uint32_t at = find(p, c->id.req);
    switch (c->kind) {
    case X_EPOCH:
        p->known_count = 0;
        break;
    case X_OFFER:
        CHECK(p->role == ROLE_PREFILL);
        know(p, c);
        break;
    case X_EXPECT:
        CHECK(p->role == ROLE_DECODE);
        know(p, c);
        break;
    case X_DEST:
        CHECK(p->role == ROLE_PREFILL);
        CHECK(c->endpoint);
        if (at == p->known_count) break;
        p->known[at] = c->id;
        p->has_dest[at] = true;
        break;
    case X_SEAL:
        CHECK(p->role == ROLE_PREFILL);
        break;
    case X_DROP:
        forget(p, c->id.req);
        CHECK(p->dropped_count < KNOWN_MAX);
        p->dropped[p->dropped_count++] = (xfer_event){.kind = X_DROPPED, .id = c->id};
        break;
    case X_PEER:
        CHECK(p->role == ROLE_PREFILL);
        CHECK(c->endpoint);
        break;
    case X_PEER_GONE:
        break;
    case X_CMD_COUNT:
        CHECK(!"a command");
    }
}

static void next_dropped(play *p) {
    if (!p->dropped_count) return;
    xfer_event e = p->dropped[0];
    p->dropped_count--;
    for (uint32_t i = 0; i < p->dropped_count; i++) p->dropped[i] = p->dropped[i + 1];
    agent_xfer(p->agent, &e, p->now_ns);
}

static void some_xfer_event(play *p, script *in) {
    uint8_t how = take_byte(in);
    if (p->role == ROLE_COLOCATED) return;
    if (how < 64 || !p->known_count) {
        next_dropped(p);
        return;
    }
    uint32_t at = how % p->known_count;
    xfer_event e = {.kind = X_FAILED, .id = p->known[at], .why = "cut"};
    if (how >= 128) e.kind = p->role == ROLE_PREFILL ? X_SENT : X_VERIFIED;
    if (how >= 250 && p->role == ROLE_PREFILL) {
        e.kind = X_PAIR;
        e.pair = (xfer_pair){.transport = "", .open = how & 1};
    } else if (p->role == ROLE_PREFILL && !p->has_dest[at]) {
        return; /* nobody has asked for it yet */
    }
    if (e.kind == X_VERIFIED) {
        e.first.id = (int32_t)take_number(in) & INT32_MAX;
        e.finished = how & 32;
        e.first.fin = e.finished ? FINISH_LENGTH : FINISH_NONE;
        forget(p, e.id.req);
    }
    agent_xfer(p->agent, &e, p->now_ns);
}

/* ---- the device ---- */

static void close_slot(play *p, uint32_t slot) {
    CHECK(slot < SEQS);
    CHECK(p->slots[slot].open);
    p->slots[slot].open = false;
}

static void open_slot(play *p, const dev_open *o) {
    CHECK(o->slot < SEQS);
    CHECK(!p->slots[o->slot].open);
    CHECK(o->init.prompt_count > 0);
    for (uint32_t i = 0; i < o->init.page_count; i++) CHECK(o->init.pages[i] < PAGES);
    p->slots[o->slot] = (opened){.open = true,
                                 .rows = o->init.prompt_count + o->init.output_count,
                                 .pages = o->init.page_count,
                                 .prompt_logprobs = o->init.params->prompt_logprobs,
                                 .prompt_count = o->init.prompt_count};
}

static void check_item(play *p, const step_item *it) {
    CHECK(it->slot < SEQS);
    opened *s = &p->slots[it->slot];
    CHECK(s->open);
    CHECK(it->count > 0);
    CHECK(it->begin <= s->rows);
    CHECK(it->count <= s->rows - it->begin);
    CHECK(it->new_page_count <= ARRAY_LEN(it->new_pages));
    for (uint32_t i = 0; i < it->new_page_count; i++) CHECK(it->new_pages[i] < PAGES);
    s->pages += it->new_page_count;
    CHECK(it->begin + it->count <= CONTEXT);
    CHECK(s->pages >= kv_pages_for(it->begin + it->count));
    CHECK(!it->sample || it->begin + it->count == s->rows);
}

static void on_step(void *ctx, const dev_job *j) {
    play *p = ctx;
    uint32_t rows = 0;
    CHECK(!p->job);
    CHECK(j->item_count > 0);
    CHECK(j->item_count <= SEQS);
    for (uint32_t i = 0; i < j->close_count; i++) close_slot(p, j->closes[i]);
    for (uint32_t i = 0; i < j->open_count; i++) open_slot(p, &j->opens[i]);
    for (uint32_t i = 0; i < j->item_count; i++) {
        check_item(p, &j->items[i]);
        rows += j->items[i].count;
    }
    CHECK(rows <= ROWS);
    p->job = j;
}

static void end_step(play *p, script *in) {
    token_out prompt[ROWS] = {0};
    step_result results[SEQS] = {0};
    if (!p->job) return;
    uint32_t count = p->job->item_count;
    for (uint32_t i = 0; i < count; i++) {
        const step_item *it = &p->job->items[i];
        opened *s = &p->slots[it->slot];
        uint8_t how = take_byte(in);
        results[i] = (step_result){.tag = it->tag, .sampled = it->sample, .token = {.id = how & 15}};
        if (how >= 0xf0) {
            results[i].broken = true;
            results[i].sampled = false;
        }
        if (results[i].sampled) s->rows++;
        if (s->prompt_logprobs < 0 || it->begin + 1 >= s->prompt_count) continue;
        results[i].prompt = prompt;
        results[i].prompt_count = MIN(it->count, s->prompt_count - it->begin - 1);
    }
    step_span span = {p->now_ns, 1000};
    p->job = NULL;
    agent_stepped(p->agent, results, count, &span, p->now_ns);
}

/* ---- the coordinator ---- */

static void on_reconnect(void *ctx) {
    (void)ctx; /* agent_connected is an event of its own */
}

static void on_quit(void *ctx, const char *why, bool orderly) {
    (void)orderly;
    CHECK(why[0]);
    ((play *)ctx)->quit = true;
}

static void fill_work(const play *p, script *in, ctl_work *w) {
    static int32_t ids[IDS_MAX];
    uint8_t how = take_byte(in);
    for (uint32_t i = 0; i < IDS_MAX; i++) ids[i] = (int32_t)(i % 50 + (how & 1u));
    *w = (ctl_work){.prompt = ids,
                    .prompt_count = take_number(in) % IDS_MAX,
                    .params = sampling_default(),
                    .then_decode = p->role == ROLE_COLOCATED,
                    .p_inc = 5,
                    .cache = how & 2};
    w->output = ids;
    if (how & 4) w->output_count = take_number(in) % IDS_MAX;
    if (how & 8) w->params.max_tokens = take_number(in);
    if (how & 16) w->params.prompt_logprobs = 0;
    if (how & 32) w->then_decode = !w->then_decode;
    if (how & 64) w->salt[0] = take_number(in);
    w->ids_hash = kv_ids_hash(KV_IDS_HASH_START, w->prompt, w->prompt_count);
    if (w->output_count) w->ids_hash = kv_ids_hash(w->ids_hash, w->output, w->output_count);
    if (how & 128) w->ids_hash += take_byte(in);
}

static void fill_dest(script *in, ctl_dest *d) {
    static const char *const endpoints[] = {"tcp://a:1", "", "tcp://b:2"};
    *d = (ctl_dest){.d_inc = take_number(in),
                    .endpoint = endpoints[take_below(in, ARRAY_LEN(endpoints))],
                    .new_attempt = take_number(in),
                    .token_begin = take_number(in)};
}

/* By the wire's own form: what it does not let through is dropped there. */
static void say(play *p, const ctl_msg *m) {
    buf bytes = {0};
    ctl_msg got;
    ctl_pack(m, &bytes);
    if (ctl_unpack(bytes.data ? bytes.data : "", bytes.len, &got, NULL) == ST_OK) {
        agent_ctl(p->agent, &got, p->now_ns);
        ctl_done(&got);
    }
    buf_done(&bytes);
}

static void welcome(play *p, script *in) {
    uint8_t how = take_byte(in);
    ctl_msg m = {
        .kind = CTL_WELCOME, .epoch = how & 2 ? take_number(in) : 7, .incarnation = 1 + take_byte(in)};
    m.welcome = (ctl_welcome){.lease_ns = how & 4 ? take_number(in) : 10 * NS_PER_S,
                              .heartbeat_ns = how & 8 ? take_number(in) : 250 * NS_PER_MS,
                              .name = "w"};
    if (how & 16) m.incarnation = 0;
    say(p, &m);
    if (agent_incarnation(p->agent) != m.incarnation) return;
    p->epoch = m.epoch;
    p->incarnation = m.incarnation;
}

static void message(play *p, script *in) {
    static const ctl_kind kinds[] = {
        CTL_PREFILL, CTL_RESERVE,   CTL_DEST, CTL_RELEASE, CTL_CANCEL,  CTL_DROP,    CTL_DRAIN,   CTL_ACK,
        CTL_PEER,    CTL_PEER_GONE, CTL_EXIT, CTL_REFUSED, CTL_WELCOME, CTL_PREFILL, CTL_RESERVE, CTL_DEST};
    ctl_token token = {.req = 1, .attempt = 1};
    ctl_msg m = {.kind = kinds[take_below(in, ARRAY_LEN(kinds))], .epoch = p->epoch};
    uint8_t head = take_byte(in);
    m.incarnation = p->incarnation + (head >= 0xf8);
    m.req = head < 0xf0 ? 1 + head % 8u : take_number(in);
    m.attempt = take_number(in);
    if (head == 0xff) m.kind = (ctl_kind)(1 + take_below(in, CTL_KIND_COUNT - 1)); /* of a worker, too */
    switch (m.kind) {
    case CTL_WELCOME:
        welcome(p, in);
        return;
    case CTL_PREFILL:
    case CTL_RESERVE:
        fill_work(p, in, &m.work);
        break;
    case CTL_DEST:
    case CTL_PEER:
    case CTL_PEER_GONE:
        fill_dest(in, &m.dest);
        break;
    case CTL_REFUSED:
        m.refused.field = take_below(in, 2) ? "session" : "model";
        m.refused.why = "no";
        break;
    case CTL_TOKENS:
        m.tokens = (ctl_tokens){&token, 1};
        break;
    case CTL_PROMPT:
        m.prompt.begin = 1;
        break;
    default:
        break;
    }
    if (m.kind != CTL_JOIN && m.kind != CTL_PAIR) say(p, &m);
}

static void one_event(play *p, script *in) {
    static const uint64_t units[] = {NS_PER_MS, 100 * NS_PER_MS, NS_PER_S, 20 * NS_PER_S};
    agent_progress progress = {0};
    uint8_t what = take_below(in, 32);
    if (what < 14) {
        message(p, in);
    } else if (what < 20) {
        agent_turn(p->agent, &progress, p->now_ns);
    } else if (what < 24) {
        end_step(p, in);
    } else if (what < 28) {
        some_xfer_event(p, in);
    } else if (what == 28) {
        p->now_ns += (1 + take_below(in, 16)) * units[take_below(in, ARRAY_LEN(units))];
    } else if (what == 29) {
        agent_connected(p->agent, p->now_ns);
        welcome(p, in);
    } else if (what == 30) {
        agent_lost(p->agent, p->now_ns);
    } else {
        uint8_t how = take_byte(in);
        if (how < 8) agent_leave(p->agent, "broken", p->now_ns);
        if (how >= 248) agent_drain(p->agent, NS_PER_S * how, p->now_ns);
    }
}

static agent_options options(worker_role role, uint8_t how) {
    static const wcore_ops *const roles[] = {&prefill_core_ops, &decode_core_ops, &colocated_core_ops};
    static const int32_t eog[] = {2};
    return (agent_options){.role = roles[role],
                           .core = {.page_count = PAGES,
                                    .max_seqs = SEQS,
                                    .max_rows = ROWS,
                                    .chunk_tokens = 32,
                                    .max_context = CONTEXT,
                                    .policy = how & 1 ? "chunked" : "prefill_first",
                                    .prefix_cache = how & 2,
                                    .cache_outputs = how & 4,
                                    .eog = eog,
                                    .eog_count = 1},
                           .join = {.role = role,
                                    .name = "w",
                                    .host = "here",
                                    .endpoint = "",
                                    .transport = "shm",
                                    .page_count = PAGES,
                                    .page_tokens = KV_PAGE_TOKENS,
                                    .max_seqs = SEQS,
                                    .max_rows = ROWS,
                                    .max_context = CONTEXT},
                           .join_retry_ns = NS_PER_S,
                           .rejoin_ns = 60 * NS_PER_S};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    log_setup(LOG_ERROR, "fuzz");
    script in = {data, data + size};
    uint8_t how = take_byte(&in);
    play *p = xcalloc(1, sizeof *p);
    p->role = (worker_role)(how % ROLE_COUNT);
    p->now_ns = NS_PER_S;
    agent_options o = options(p->role, how >> 2);
    agent_sink sink = {.ctx = p,
                       .send = on_send,
                       .xfer = on_xfer,
                       .step = on_step,
                       .reconnect = on_reconnect,
                       .quit = on_quit};
    script first = {0};
    p->agent = agent_new(&o, &sink, p->now_ns);
    agent_connected(p->agent, p->now_ns);
    welcome(p, &first);
    for (uint32_t n = 0; n < EVENTS_MAX && !script_over(&in) && !p->quit; n++) {
        one_event(p, &in);
        CHECK(agent_check(p->agent));
    }
    /* When all is let go of, all is free. */
    agent_lost(p->agent, p->now_ns);
    end_step(p, &first);
    while (p->dropped_count) next_dropped(p);
    CHECK(agent_check(p->agent));
    CHECK(agent_idle(p->agent));
    CHECK(agent_stats(p->agent).pages_used == 0);
    agent_free(p->agent);
    free(p);
    return 0;
}
