#include "bench/load/native_client.h"

#include "base/clock.h"
#include "base/u64_map.h"
#include "net/bus.h"
#include "proto/client.pb-c.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONN       ((uint64_t)1)
#define PING_NS    NS_PER_S
#define SILENCE_NS (10 * NS_PER_S) /* pings are answered at once */

typedef struct call {
    uint64_t number;
    uint64_t session;  /* it was sent in */
    uint32_t tokens;   /* so far */
    struct call *next; /* of those that are free */
} call;

typedef struct native_client {
    client client; /* first: a client * is one of these */
    loop *loop;
    bus *bus;
    const native_options *opt;
    client_handler handler;
    u64_map calls;
    call *spare;
    uint64_t heard_ns, pinged_ns;
    bool heard;
    uint64_t session; /* counts; calls of one that is over are ended by the next turn, whoever turns first */
    uint64_t swept;   /* no call of a session before this one is left */
    bool lost;        /* the session is over; the next request begins another */
    errbuf why;       /* of the loss */
    buf scratch;
} native_client;

static void release(native_client *n, call *k) {
    (void)u64_map_take(&n->calls, k->number);
    k->next = n->spare;
    n->spare = k;
}

/* No answer comes any more. */
static bool is_over(const native_client *n, const call *k) {
    return n->lost || k->session != n->session;
}

static void end_call(native_client *n, call *k, client_end *e) {
    uint64_t number = k->number;
    client_end_check(e);
    if (e->outcome == ROW_OK && k->tokens == 0) {
        e->outcome = ROW_FAILED;
        snprintf(e->error, sizeof e->error, "the answer ended without a token");
    }
    release(n, k);
    n->handler.end(n->handler.ctx, number, e);
}

/* ---- sending ---- */

static void add_message(buf *out, const Baton__ClientMessage *m) {
    size_t bytes = baton__client_message__get_packed_size(m);
    buf_reset(out);
    uint8_t *p = xmalloc(bytes + 1);
    baton__client_message__pack(m, p);
    buf_add(out, p, bytes);
    free(p);
}

static void prepare(client *c, const client_request *r, buf *wire) {
    native_client *n = (native_client *)c;
    PRE(r);
    PRE(r->ids);
    PRE(r->id_count > 0);
    PRE(wire);
    Baton__ClientRequest q;
    baton__client_request__init(&q);
    Baton__ClientTokens tokens = BATON__CLIENT_TOKENS__INIT;
    Baton__ClientMessage m = BATON__CLIENT_MESSAGE__INIT;
    tokens.n_ids = r->id_count;
    tokens.ids = (int32_t *)r->ids;
    q.id = r->number;
    q.prompt_case = BATON__CLIENT_REQUEST__PROMPT_TOKENS;
    q.tokens = &tokens;
    q.has_max_tokens = true;
    q.max_tokens = r->output_tokens;
    q.has_temperature = !isnan(n->opt->temperature);
    q.temperature = q.has_temperature ? (float)n->opt->temperature : 1;
    q.has_ignore_eos = true;
    q.ignore_eos = n->opt->ignore_eos;
    q.has_send_text = true;
    q.send_text = false;
    m.body_case = BATON__CLIENT_MESSAGE__BODY_REQUEST;
    m.request = &q;
    add_message(wire, &m);
}

static void send_small(native_client *n, Baton__ClientMessage *m) {
    add_message(&n->scratch, m);
    (void)bus_send(n->bus, CONN, n->scratch.data, n->scratch.len); /* a lost session is told by on_lost */
}

static void send_cancel(native_client *n, uint64_t number) {
    Baton__ClientCancel w = BATON__CLIENT_CANCEL__INIT;
    Baton__ClientMessage m = BATON__CLIENT_MESSAGE__INIT;
    w.id = number;
    m.body_case = BATON__CLIENT_MESSAGE__BODY_CANCEL;
    m.cancel = &w;
    send_small(n, &m);
}

static void start(client *c, const buf *wire, uint64_t number) {
    native_client *n = (native_client *)c;
    PRE(wire);
    PRE(number > 0);
    call *k = n->spare;
    if (k)
        n->spare = k->next;
    else
        k = xcalloc(1, sizeof *k);
    k->number = number;
    k->tokens = 0;
    u64_map_put(&n->calls, number, k);
    if (n->lost && bus_reconnect(n->bus, &n->why) == ST_OK) {
        n->lost = false;
        n->session++;
        n->heard_ns = clock_now_ns();
    }
    k->session = n->session;
    if (n->lost)
        loop_wake(n->loop); /* the turn ends it */
    else
        (void)bus_send(n->bus, CONN, wire->data, wire->len);
}

static void cancel(client *c, uint64_t number) {
    native_client *n = (native_client *)c;
    call *k = u64_map_get(&n->calls, number);
    if (!k) return;
    bool over = is_over(n, k);
    release(n, k);
    if (!over) send_cancel(n, number); /* else nobody there knows it */
}

/* ---- receiving ---- */

static const char *finish_name(Baton__EndReason reason) {
    switch (reason) {
    case BATON__END_REASON__END_LENGTH:
        return "length";
    case BATON__END_REASON__END_CANCELED:
        return "canceled";
    case BATON__END_REASON__END_EOS:
    case BATON__END_REASON__END_STOP_ID:
    case BATON__END_REASON__END_STOP_STRING:
    case _BATON__END_REASON_IS_INT_SIZE:
        break;
    }
    return "stop";
}

static double ms_of(protobuf_c_boolean has, double value) {
    return has ? value : NAN;
}

static void take_end(native_client *n, call *k, const Baton__ServerEnd *e, uint64_t now) {
    client_end end = client_end_empty();
    const Baton__ServerTimings *t = e->timings;
    end.at_ns = now;
    end.outcome = e->reason == BATON__END_REASON__END_CANCELED ? ROW_FAILED : ROW_OK;
    snprintf(end.finish, sizeof end.finish, "%s", finish_name(e->reason));
    if (end.outcome != ROW_OK) snprintf(end.error, sizeof end.error, "the server canceled the request");
    end.prompt_tokens = e->prompt_tokens;
    end.output_tokens = e->completion_tokens;
    if (t)
        end.stages = (row_stages){.queue_ms = ms_of(t->has_queue_ms, t->queue_ms),
                                  .prefill_ms = ms_of(t->has_prefill_ms, t->prefill_ms),
                                  .handoff_ms = ms_of(t->has_handoff_ms, t->handoff_ms),
                                  .decode_wait_ms = ms_of(t->has_decode_wait_ms, t->decode_wait_ms),
                                  .decode_ms = ms_of(t->has_decode_ms, t->decode_ms),
                                  .first_token_ms = ms_of(t->has_first_token_ms, t->first_token_ms),
                                  .total_ms = ms_of(t->has_total_ms, t->total_ms),
                                  .attempts = t->attempts,
                                  .replays = t->replays,
                                  .preemptions = t->preemptions};
    end_call(n, k, &end);
}

static void take_error(native_client *n, call *k, const Baton__ServerError *e, uint64_t now) {
    client_end end = client_end_empty();
    end.at_ns = now;
    end.outcome = e->http == 429 || e->http == 503 ? ROW_REFUSED : ROW_FAILED;
    end.http = (int)e->http;
    snprintf(end.error, sizeof end.error, "%u: %s", e->http, e->message);
    end_call(n, k, &end);
}

static void take_token(native_client *n, call *k, uint64_t now) {
    if (k->tokens < ROW_MOST_TOKENS) {
        k->tokens++;
        n->handler.event(n->handler.ctx, k->number, now, 1);
        return;
    }
    client_end end = client_end_empty();
    end.at_ns = now;
    end.outcome = ROW_FAILED;
    snprintf(end.error, sizeof end.error, "the answer has more tokens than any can have");
    send_cancel(n, k->number);
    end_call(n, k, &end);
}

static void take_event(native_client *n, const Baton__ServerEvent *ev, uint64_t now) {
    call *k = ev->has_id ? u64_map_get(&n->calls, ev->id) : NULL;
    if (k && ev->body_case == BATON__SERVER_EVENT__BODY_TOKEN) {
        take_token(n, k, now);
    } else if (k && ev->body_case == BATON__SERVER_EVENT__BODY_END) {
        take_end(n, k, ev->end, now);
    } else if (k && ev->body_case == BATON__SERVER_EVENT__BODY_ERROR) {
        take_error(n, k, ev->error, now);
    }
}

static void on_message(void *ctx, uint64_t conn, const void *bytes, size_t count) {
    (void)conn;
    native_client *n = ctx;
    uint64_t now = clock_now_ns();
    n->heard_ns = now;
    n->heard = true;
    Baton__ServerEvent *ev = baton__server_event__unpack(NULL, count, bytes);
    if (!ev) return;
    take_event(n, ev, now);
    for (size_t i = 0; i < ev->n_more; i++) take_event(n, ev->more[i], now);
    baton__server_event__free_unpacked(ev, NULL);
}

/* Ends the calls of sessions that are over. An end may start or cancel others: each is looked up anew. */
static void fail_lost(native_client *n, uint64_t now) {
    uint32_t count = 0;
    uint64_t *numbers = xcalloc((size_t)n->calls.count + 1, sizeof *numbers);
    for (uint32_t i = 0; i < n->calls.slot_count; i++) {
        const call *k = n->calls.slots[i].value;
        if (k && is_over(n, k)) numbers[count++] = k->number;
    }
    for (uint32_t i = 0; i < count; i++) {
        call *k = u64_map_get(&n->calls, numbers[i]);
        if (!k || !is_over(n, k)) continue;
        client_end end = client_end_empty();
        end.at_ns = now;
        end.outcome = ROW_FAILED;
        snprintf(end.error, sizeof end.error, "the connection to %s is lost: %s", n->opt->endpoint,
                 n->why.text);
        end_call(n, k, &end);
    }
    free(numbers);
}

static void on_lost(void *ctx, uint64_t conn, const char *why) {
    (void)conn;
    native_client *n = ctx;
    n->lost = true;
    errf(&n->why, ST_PEER, "%s", why);
    loop_wake(n->loop);
}

uint64_t native_client_turn(client *c, uint64_t now_ns) {
    native_client *n = (native_client *)c;
    PRE(n);
    if (!n->lost && now_ns > n->heard_ns + SILENCE_NS) {
        bus_drain(n->bus); /* what waits here is no silence */
        if (now_ns > n->heard_ns + SILENCE_NS) {
            bus_drop(n->bus, CONN);
            n->lost = true;
            errf(&n->why, ST_TIMEOUT, "nothing was heard for %d s", (int)(SILENCE_NS / NS_PER_S));
        }
    }
    if (n->lost || n->swept != n->session) {
        n->swept = n->session;
        fail_lost(n, now_ns);
    }
    if (n->lost) return now_ns + PING_NS;
    if (now_ns >= n->pinged_ns + PING_NS) {
        n->pinged_ns = now_ns;
        Baton__ClientPing ping = BATON__CLIENT_PING__INIT;
        Baton__ClientMessage m = BATON__CLIENT_MESSAGE__INIT;
        m.body_case = BATON__CLIENT_MESSAGE__BODY_PING;
        m.ping = &ping;
        send_small(n, &m);
    }
    return n->pinged_ns + PING_NS;
}

bool native_client_heard(const client *c) {
    PRE(c);
    return ((const native_client *)c)->heard;
}

static void free_client(client *c) {
    native_client *n = (native_client *)c;
    bus_free(n->bus);
    for (uint32_t i = 0; i < n->calls.slot_count; i++) free(n->calls.slots[i].value);
    while (n->spare) {
        call *k = n->spare;
        n->spare = k->next;
        free(k);
    }
    u64_map_done(&n->calls);
    buf_done(&n->scratch);
    free(n);
}

static const client_ops ops = {.prepare = prepare, .start = start, .cancel = cancel, .free = free_client};

status native_client_new(client **out, loop *l, const native_options *opt, const client_handler *h,
                         errbuf *eb) {
    PRE(out);
    PRE(l);
    PRE(opt);
    PRE(h);
    native_client *n = xcalloc(1, sizeof *n);
    n->client.ops = &ops;
    n->loop = l;
    n->opt = opt;
    n->handler = *h;
    n->heard_ns = clock_now_ns();
    u64_map_init(&n->calls, 256);
    bus_handler b = {.ctx = n, .message = on_message, .lost = on_lost};
    curve_keys keys;
    status st = opt->key_file ? curve_read_client(&keys, opt->key_file, eb) : ST_OK;
    if (st == ST_OK) st = bus_connect(&n->bus, l, opt->endpoint, opt->key_file ? &keys : NULL, &b, eb);
    if (st != ST_OK) {
        free_client(&n->client);
        return st;
    }
    *out = &n->client;
    return ST_OK;
}
