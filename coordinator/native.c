#include "coordinator/native.h"

#include "base/clock.h"
#include "base/log.h"
#include "coordinator/native_look.h"
#include "coordinator/native_wire.h"
#include "net/bus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

#define NATIVE_SILENCE_NS   (10 * NS_PER_S)
#define NATIVE_KEEPALIVE_NS NS_PER_S
#define NATIVE_SCAN_NS      (250 * NS_PER_MS)
#define NATIVE_OUT_KEPT     ((size_t)16 << 10) /* a connection's buffer that grew beyond that is not kept */

typedef struct peer peer;

typedef struct ask { /* one request of a peer */
    peer *peer;
    uint64_t id; /* the client's */
    bool send_ids, send_text;
    text_job *job; /* away, or NULL */
    stream *stream;
    bool dirty, large;
    uint64_t sent_ns; /* when something was last sent for it */
    struct ask *dirty_prev, *dirty_next;
    UT_hash_handle hh; /* by id */
} ask;

struct peer {
    native *native;
    uint64_t conn;
    uint64_t heard_ns;
    ask *asks;
    uint32_t large;                   /* jobs away at the text thread: later ones must not overtake them */
    buf out;                          /* the message that this turn makes; empty: none yet */
    uint32_t events;                  /* in it */
    struct peer *out_prev, *out_next; /* of those that have one */
    UT_hash_handle hh;                /* by conn */
};

struct native {
    native_options opt;
    bus *bus;
    peer *peers;
    ask *dirty;
    peer *speaking; /* those that have a message to send */
    bool stopping;
    char why[96]; /* stopping */
    uint64_t scan_ns;
};

/* NOLINTBEGIN(readability-function-size, clang-analyzer-core.NullDereference): uthash is macros, and large
 * ones. */
static ask *find_ask(const peer *p, uint64_t id) {
    ask *a = NULL;
    HASH_FIND(hh, p->asks, &id, sizeof id, a);
    return a;
}

static void add_ask(peer *p, ask *a) {
    HASH_ADD(hh, p->asks, id, sizeof a->id, a);
}

static void drop_ask(ask *a) {
    HASH_DEL(a->peer->asks, a);
}

static peer *find_peer(const native *n, uint64_t conn) {
    peer *p = NULL;
    HASH_FIND(hh, n->peers, &conn, sizeof conn, p);
    return p;
}

static peer *add_peer(native *n, uint64_t conn) {
    peer *p = xcalloc(1, sizeof *p);
    p->native = n;
    p->conn = conn;
    HASH_ADD(hh, n->peers, conn, sizeof p->conn, p);
    return p;
}

static void drop_peer(peer *p) {
    HASH_DEL(p->native->peers, p);
}
/* NOLINTEND(readability-function-size, clang-analyzer-core.NullDereference) */

/* ---- the message of a turn ---- */

static void send_message(peer *p) {
    (void)bus_send(p->native->bus, p->conn, p->out.data, p->out.len); /* ST_PEER: on_lost comes */
    if (p->out.capacity > NATIVE_OUT_KEPT) buf_done(&p->out);
    buf_reset(&p->out);
    p->events = 0;
    DL_DELETE2(p->native->speaking, p, out_prev, out_next);
}

/* Where the next event goes. */
static buf *next_event(peer *p) {
    if (p->events >= NATIVE_EVENTS_MAX || p->out.len >= NATIVE_BYTES_ENOUGH) send_message(p);
    if (p->events++ == 0) DL_APPEND2(p->native->speaking, p, out_prev, out_next);
    return &p->out;
}

static void send_error(peer *p, const uint64_t *id, const api_error *e) {
    native_wire_error(next_event(p), id, e);
}

static void ask_free(ask *a, uint64_t now_ns) {
    native *n = a->peer->native;
    if (a->job) {
        a->job->owner = NULL;
        if (a->large) a->peer->large--;
    }
    stream_close(a->stream, now_ns);
    if (a->dirty) DL_DELETE2(n->dirty, a, dirty_prev, dirty_next);
    drop_ask(a);
    free(a);
}

/* cause: as for event_log_left. */
static void peer_free(peer *p, const char *cause, const char *why, uint64_t now_ns) {
    ask *a, *next;
    HASH_ITER(hh, p->asks, a, next) {
        event_log_left(p->native->opt.events, a->stream, cause, why, now_ns);
        ask_free(a, now_ns);
    }
    if (p->events) DL_DELETE2(p->native->speaking, p, out_prev, out_next);
    buf_done(&p->out);
    drop_peer(p);
    free(p);
}

/* ---- requests ---- */

static void on_wake(void *ctx) {
    ask *a = ctx;
    if (a->dirty) return;
    a->dirty = true;
    DL_APPEND2(a->peer->native->dirty, a, dirty_prev, dirty_next);
}

static void on_job_done(void *owner, text_job *job) {
    ask *a = owner;
    peer *p = a->peer;
    native *n = p->native;
    uint64_t now_ns = clock_now_ns();
    api_error e = job->err;
    a->job = NULL;
    if (a->large) p->large--;
    a->large = false;
    uint64_t seed = job->request.params.seed;
    stream_listener l = {.ctx = a, .wake = on_wake};
    if (e.http || stream_open(&a->stream, n->opt.streams, &job->request, &l, now_ns, &e) != ST_OK) {
        send_error(p, &a->id, &e);
        ask_free(a, now_ns);
    } else {
        native_wire_accepted(next_event(p), a->id, seed, stream_prompt_tokens(a->stream));
        a->sent_ns = now_ns;
    }
    text_job_free(job);
}

static void take_request(peer *p, const Baton__ClientRequest *m) {
    native *n = p->native;
    api_error e = {0};
    uint64_t id = m->id;
    ask *a = find_ask(p, id);
    if (a) {
        api_fail(&e, 400, "id", "id: a request with this id is alive");
    } else if (n->stopping) {
        api_fail(&e, 503, NULL, "%s", n->why);
    } else if (HASH_COUNT(p->asks) >= NATIVE_REQUESTS_MAX) {
        api_fail(&e, 429, NULL, "%u requests of this connection are alive: wait for one",
                 NATIVE_REQUESTS_MAX);
    }
    if (e.http) {
        send_error(p, &id, &e);
        return;
    }
    a = xcalloc(1, sizeof *a);
    *a = (ask){
        .peer = p, .id = id, .send_ids = m->send_ids, .send_text = m->send_text, .sent_ns = clock_now_ns()};
    add_ask(p, a);
    text_job *job = text_job_new(API_COMPLETION, a, on_job_done);
    if (native_wire_request(m, n->opt.env->model.name, clock_now_ns(), &job->request, &e) != ST_OK) {
        send_error(p, &id, &e);
        text_job_free(job);
        ask_free(a, clock_now_ns());
        return;
    }
    snprintf(job->request.id, sizeof job->request.id, "native-%" PRIu64 "-%" PRIu64, p->conn, id);
    a->job = job;
    bool away = false;
    status st = text_run(n->opt.text, job, p->large > 0, &away);
    if (st == ST_OK && away) {
        a->large = true;
        p->large++;
    } else if (st != ST_OK) {
        api_fail(&e, 429, NULL, "too many large requests are being read: try again later");
        send_error(p, &id, &e);
        a->job = NULL;
        text_job_free(job);
        ask_free(a, clock_now_ns());
    }
}

static void cancel_request(peer *p, uint64_t id) {
    ask *a = find_ask(p, id);
    if (!a) return; /* it has ended: the client has its answer already */
    for (uint32_t i = 0; a->stream && i < stream_choice_count(a->stream); i++) {
        if (stream_finish_of(a->stream, i).reason) continue;
        native_wire_end(next_event(p), id, a->stream, i, true, NULL, 0);
    }
    if (!a->stream) {
        api_error e = {0};
        api_fail(&e, 503, NULL, "canceled before it was accepted");
        send_error(p, &id, &e);
    }
    uint64_t now_ns = clock_now_ns();
    event_log_left(p->native->opt.events, a->stream, "canceled", "the client canceled it", now_ns);
    ask_free(a, now_ns);
}

static native_look look_at(const native *n) {
    return (native_look){
        .core = n->opt.core, .facts = n->opt.facts, .events = n->opt.events, .stopping = n->stopping};
}

static void list_workers(peer *p, uint64_t id) {
    native_look at = look_at(p->native);
    native_look_workers(next_event(p), id, &at, NATIVE_ALL_WORKERS, clock_now_ns());
}

static void drain_worker(peer *p, const Baton__ClientDrain *m) {
    native *n = p->native;
    api_error e = {0};
    uint64_t id = m->id, now_ns = clock_now_ns();
    uint32_t index = 0;
    status st = core_worker_called(n->opt.core, m->worker, &index, &e.text);
    if (st == ST_OK && m->undo) st = core_undrain(n->opt.core, index, now_ns, &e.text);
    if (st == ST_OK && !m->undo) core_drain(n->opt.core, index, now_ns);
    if (st != ST_OK) {
        e.http = api_http_of(st);
        send_error(p, &id, &e);
        return;
    }
    native_look at = look_at(n);
    native_look_workers(next_event(p), id, &at, index, now_ns);
}

static void tell_status(peer *p, uint64_t id) {
    native_look at = look_at(p->native);
    native_look_status(next_event(p), id, &at, clock_now_ns());
}

/* Any client's request: whoever reaches this socket looks after the cluster. */
static void abort_request(peer *p, const Baton__ClientAbort *m) {
    native *n = p->native;
    uint64_t id = m->id, now_ns = clock_now_ns();
    uint32_t choices = streams_cancel(n->opt.streams, m->request, now_ns);
    if (!choices) {
        api_error e = {0};
        api_fail(&e, 404, "request",
                 "no request that runs is called %.128s: want its x-request-id, the id of its answer, or "
                 "req=N as the log has it",
                 m->request);
        send_error(p, &id, &e);
        return;
    }
    log_info("native", "request is canceled by hand", "id=%.128s choices=%u peer=%" PRIu64, m->request,
             choices, p->conn);
    core_event e = {.kind = EVENT_CANCELED,
                    .reason = "baton-ctl cancel, or another client of cluster.client"};
    event_log_add(n->opt.events, &e, m->request, now_ns);
    native_look_aborted(next_event(p), id, choices);
}

static void on_message(void *ctx, uint64_t conn, const void *bytes, size_t count) {
    native *n = ctx;
    peer *p = find_peer(n, conn);
    if (!p) p = add_peer(n, conn);
    p->heard_ns = clock_now_ns();
    api_error e = {0};
    if (count > n->opt.body_max) {
        api_fail(&e, 413, NULL, "the message has %zu bytes, want at most %zu (limits.max_body_kb)", count,
                 n->opt.body_max);
        send_error(p, NULL, &e);
        return;
    }
    Baton__ClientMessage *m = baton__client_message__unpack(NULL, count, bytes);
    switch (m ? m->body_case : BATON__CLIENT_MESSAGE__BODY__NOT_SET) {
    case BATON__CLIENT_MESSAGE__BODY_REQUEST:
        take_request(p, m->request);
        break;
    case BATON__CLIENT_MESSAGE__BODY_CANCEL:
        cancel_request(p, m->cancel->id);
        break;
    case BATON__CLIENT_MESSAGE__BODY_PING:
        native_wire_pong(next_event(p), m->ping->has_id ? &m->ping->id : NULL);
        break;
    case BATON__CLIENT_MESSAGE__BODY_WORKERS:
        list_workers(p, m->workers->id);
        break;
    case BATON__CLIENT_MESSAGE__BODY_DRAIN:
        drain_worker(p, m->drain);
        break;
    case BATON__CLIENT_MESSAGE__BODY_STATUS:
        tell_status(p, m->status->id);
        break;
    case BATON__CLIENT_MESSAGE__BODY_ABORT:
        abort_request(p, m->abort);
        break;
    case BATON__CLIENT_MESSAGE__BODY__NOT_SET:
    case _BATON__CLIENT_MESSAGE__BODY__CASE_IS_INT_SIZE:
        api_fail(&e, 400, NULL, "these bytes are no ClientMessage of client.proto");
        send_error(p, NULL, &e);
        break;
    }
    if (m) baton__client_message__free_unpacked(m, NULL);
}

static void on_lost(void *ctx, uint64_t conn, const char *why) {
    native *n = ctx;
    peer *p = find_peer(n, conn);
    if (!p) return;
    log_debug("native", "client gone", "peer=%" PRIu64 " requests=%u why=%s", conn, HASH_COUNT(p->asks), why);
    peer_free(p, "closed", why, clock_now_ns());
}

/* ---- answers ---- */

/* Tokens of a part: each one event; the text goes with the last, since it is the one that made it certain. */
static void send_part(ask *a, const stream_step *step) {
    const choice *c = stream_choice(a->stream, step->choice);
    const choice_part *part = &step->part;
    bool has_text = step->kind == STEP_PART && a->send_text;
    for (uint32_t t = part->token_begin; t < part->token_end; t++) {
        bool last = has_text && t + 1 == part->token_end;
        native_wire_token(next_event(a->peer), a->id, a->stream, step->choice, t, a->send_ids,
                          last ? c->text.data + part->text_begin : NULL, part->text_end - part->text_begin);
    }
}

static void send_end(ask *a, const stream_step *step) {
    const choice *c = stream_choice(a->stream, step->choice);
    const choice_part *part = &step->part;
    bool has_text = a->send_text && part->text_end > part->text_begin;
    native_wire_end(next_event(a->peer), a->id, a->stream, step->choice, false,
                    has_text ? c->text.data + part->text_begin : NULL, part->text_end - part->text_begin);
}

static void render(ask *a, uint64_t now_ns) {
    native *n = a->peer->native;
    a->dirty = false;
    DL_DELETE2(n->dirty, a, dirty_prev, dirty_next);
    stream_step step;
    while (stream_next(a->stream, false, &step)) {
        a->sent_ns = now_ns;
        send_part(a, &step);
        if (step.kind == STEP_END) send_end(a, &step);
    }
    stream_answered(a->stream);
    const api_error *failed = stream_error(a->stream);
    if (failed) send_error(a->peer, &a->id, failed);
    if (failed || stream_ended(a->stream)) ask_free(a, now_ns);
}

/* Why a client is to be hung up on; NULL: it is not. */
static const char *fault_of(const peer *p, uint64_t now_ns) {
    const native *n = p->native;
    if (now_ns > p->heard_ns + NATIVE_SILENCE_NS) return "it is silent";
    uint64_t stuck_ns = bus_stuck_since(n->bus, p->conn);
    if (stuck_ns && now_ns > stuck_ns + n->opt.slow_client_ns) return "it does not read";
    return NULL;
}

static void keep_alive(peer *p, uint64_t now_ns) {
    ask *a, *next;
    HASH_ITER(hh, p->asks, a, next) {
        if (now_ns < a->sent_ns + NATIVE_KEEPALIVE_NS) continue;
        native_wire_keepalive(next_event(p), a->id);
        a->sent_ns = now_ns;
    }
}

static void scan(native *n, uint64_t now_ns) {
    peer *p, *next;
    HASH_ITER(hh, n->peers, p, next) {
        const char *fault = fault_of(p, now_ns);
        if (!fault) {
            keep_alive(p, now_ns);
            continue;
        }
        log_debug("native", "hanging up on a client", "peer=%" PRIu64 " requests=%u why=%s", p->conn,
                  HASH_COUNT(p->asks), fault);
        bus_drop(n->bus, p->conn);
        peer_free(p, "slow", fault, now_ns);
    }
}

void native_turn(native *n, uint64_t now_ns) {
    PRE(n);
    while (n->dirty) render(n->dirty, now_ns);
    if (now_ns >= n->scan_ns) {
        n->scan_ns = now_ns + NATIVE_SCAN_NS;
        scan(n, now_ns);
    }
    while (n->speaking) send_message(n->speaking);
}

status native_open(native **out, const char *endpoint, const native_options *opt, errbuf *eb) {
    PRE(out);
    PRE(endpoint);
    PRE(opt);
    PRE(opt->loop);
    PRE(opt->core);
    PRE(opt->streams);
    PRE(opt->text);
    PRE(opt->env);
    PRE(opt->facts);
    PRE(opt->body_max > 0);
    PRE(opt->slow_client_ns > 0);
    native *n = xcalloc(1, sizeof *n);
    n->opt = *opt;
    n->opt.keys = NULL;
    bus_handler h = {.ctx = n, .message = on_message, .lost = on_lost};
    status st = bus_listen(&n->bus, opt->loop, endpoint, opt->keys, &opt->limits, &h, eb);
    if (st != ST_OK) {
        native_free(n);
        return err_prefix(eb, st, "cluster.client");
    }
    *out = n;
    return ST_OK;
}

void native_free(native *n) {
    if (!n) return;
    peer *p, *next;
    HASH_ITER(hh, n->peers, p, next) peer_free(p, "closed", "the coordinator ends", clock_now_ns());
    bus_free(n->bus);
    free(n);
}

const char *native_endpoint(const native *n) {
    return bus_endpoint(n->bus);
}

uint32_t native_asked(const native *n) {
    PRE(n);
    uint32_t asked = 0;
    for (const peer *p = n->peers; p; p = p->hh.next) asked += HASH_COUNT(p->asks);
    return asked;
}

void native_drain(native *n, const char *why) {
    PRE(n);
    PRE(why);
    n->stopping = true;
    snprintf(n->why, sizeof n->why, "%s", why);
}

void native_stop(native *n, const char *why) {
    native_drain(n, why);
    api_error e = {0};
    api_fail(&e, 503, NULL, "%s", why);
    peer *p, *next_peer;
    HASH_ITER(hh, n->peers, p, next_peer) {
        ask *a, *next;
        HASH_ITER(hh, p->asks, a, next) {
            if (a->stream) {
                stream_fail(a->stream, 503, why);
                continue;
            }
            send_error(p, &a->id, &e);
            ask_free(a, clock_now_ns());
        }
    }
}
