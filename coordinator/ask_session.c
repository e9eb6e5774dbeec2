/* ask_session - one question over the native socket, from the request to its end. */
#include "coordinator/ask_session.h"

#include "base/clock.h"
#include "net/bus.h"

#include <stdlib.h>
#include <string.h>

enum { ASK_ID = 1, CONN = 1 };

typedef struct session {
    const ask_options *options;
    const ask_sink *sink;
    errbuf *eb;
    loop *loop;
    bus *bus;
    uint64_t heard_ns, pinged_ns;
    uint64_t deadline_ns; /* UINT64_MAX = none */
    uint32_t ended;
    bool canceled, late;
    ask_result result;
} session;

static void send_message(session *s, const Baton__ClientMessage *m) {
    size_t bytes = baton__client_message__get_packed_size(m);
    uint8_t *p = xmalloc(bytes + 1);
    baton__client_message__pack(m, p);
    (void)bus_send(s->bus, CONN, p, bytes); /* a lost session is told by on_lost */
    free(p);
}

/* The request is sent with the conversation, or the question as it is. */
static void send_request(session *s, const ask_talk *t) {
    const ask_options *o = s->options;
    Baton__ClientRequest r = o->request;
    r.id = ASK_ID;
    Baton__ClientTokens tokens = BATON__CLIENT_TOKENS__INIT;
    Baton__ClientChat chat = BATON__CLIENT_CHAT__INIT;
    Baton__ClientChatTurn *turns = xcalloc(t->count + 1, sizeof *turns);
    chat.turns = xcalloc(t->count + 1, sizeof *chat.turns);
    if (o->id_count) {
        tokens.n_ids = o->id_count;
        tokens.ids = o->ids;
        r.prompt_case = BATON__CLIENT_REQUEST__PROMPT_TOKENS;
        r.tokens = &tokens;
    } else if (o->raw) {
        r.prompt_case = BATON__CLIENT_REQUEST__PROMPT_TEXT;
        r.text = (ProtobufCBinaryData){o->question.len, (uint8_t *)o->question.data};
    } else {
        for (size_t i = 0; i < t->count; i++) {
            baton__client_chat_turn__init(&turns[i]);
            turns[i].role = (char *)t->turns[i].role;
            turns[i].content =
                (ProtobufCBinaryData){t->turns[i].content.len, (uint8_t *)t->turns[i].content.data};
            chat.turns[chat.n_turns++] = &turns[i];
        }
        r.prompt_case = BATON__CLIENT_REQUEST__PROMPT_CHAT;
        r.chat = &chat;
    }
    Baton__ClientMessage m = BATON__CLIENT_MESSAGE__INIT;
    m.body_case = BATON__CLIENT_MESSAGE__BODY_REQUEST;
    m.request = &r;
    send_message(s, &m);
    free(chat.turns);
    free(turns);
}

static void send_ping(session *s) {
    Baton__ClientPing ping = BATON__CLIENT_PING__INIT;
    Baton__ClientMessage m = BATON__CLIENT_MESSAGE__INIT;
    m.body_case = BATON__CLIENT_MESSAGE__BODY_PING;
    m.ping = &ping;
    send_message(s, &m);
}

static void send_cancel(session *s) {
    Baton__ClientCancel cancel = BATON__CLIENT_CANCEL__INIT;
    cancel.id = ASK_ID;
    Baton__ClientMessage m = BATON__CLIENT_MESSAGE__INIT;
    m.body_case = BATON__CLIENT_MESSAGE__BODY_CANCEL;
    m.cancel = &cancel;
    send_message(s, &m);
}

/* The first word counts: what else comes in the same turn changes nothing. */
static void finish(session *s, ask_result result) {
    s->result = s->canceled ? ASK_CANCELED : s->late ? ASK_LATE : result;
    loop_stop(s->loop);
}

static void take_end(session *s, uint32_t choice, const Baton__ServerEnd *e) {
    s->sink->end(s->sink->ctx, choice, e);
    if (++s->ended == s->options->request.n) finish(s, ASK_ANSWERED);
}

/* ev: NULL when the bytes were none. */
static void take_event(session *s, const Baton__ServerEvent *ev) {
    switch (ev ? ev->body_case : BATON__SERVER_EVENT__BODY__NOT_SET) {
    case BATON__SERVER_EVENT__BODY_TOKEN:
        s->sink->token(s->sink->ctx, ev->choice, ev->token);
        break;
    case BATON__SERVER_EVENT__BODY_END:
        take_end(s, ev->choice, ev->end);
        break;
    case BATON__SERVER_EVENT__BODY_ERROR:
        if (!s->late) errf(s->eb, ST_PEER, "%u: %s", ev->error->http, ev->error->message);
        finish(s, ASK_REFUSED);
        break;
    case BATON__SERVER_EVENT__BODY_ACCEPTED:
        s->sink->accepted(s->sink->ctx, ev->accepted);
        break;
    case BATON__SERVER_EVENT__BODY_PONG:
    case BATON__SERVER_EVENT__BODY_KEEPALIVE:
    case BATON__SERVER_EVENT__BODY_WORKERS: /* nobody asked for these */
    case BATON__SERVER_EVENT__BODY_STATUS:
    case BATON__SERVER_EVENT__BODY_ABORTED:
        break;
    case BATON__SERVER_EVENT__BODY__NOT_SET:
    case _BATON__SERVER_EVENT__BODY__CASE_IS_INT_SIZE:
        errf(s->eb, ST_CORRUPT, "%s answers with bytes that are no ServerEvent of client.proto",
             s->options->endpoint);
        finish(s, ASK_AWAY);
        break;
    }
}

static void on_message(void *ctx, uint64_t conn, const void *bytes, size_t count) {
    (void)conn;
    session *s = ctx;
    s->heard_ns = clock_now_ns();
    Baton__ServerEvent *ev = baton__server_event__unpack(NULL, count, bytes);
    take_event(s, ev);
    for (size_t i = 0; ev && i < ev->n_more; i++) take_event(s, ev->more[i]);
    if (ev) baton__server_event__free_unpacked(ev, NULL);
}

static void on_lost(void *ctx, uint64_t conn, const char *why) {
    (void)conn;
    session *s = ctx;
    errf(s->eb, ST_PEER, "the connection to %s is lost: %s", s->options->endpoint, why);
    finish(s, ASK_AWAY);
}

/* The first Ctrl-C cancels and waits for the coordinator's word; the second leaves. */
static void on_signal(void *ctx, int signo) {
    (void)signo;
    session *s = ctx;
    if (s->canceled) finish(s, ASK_CANCELED);
    s->canceled = true;
    send_cancel(s);
}

static uint64_t turn(void *ctx, uint64_t now_ns) {
    session *s = ctx;
    uint64_t silent_ns = s->heard_ns + (uint64_t)(s->options->timeout_s * 1e9);
    if (now_ns >= silent_ns) {
        errf(s->eb, ST_TIMEOUT,
             "nothing heard from %s for %g s: is the coordinator running? (cluster.client of its config is "
             "its "
             "address; -e sets it here)",
             s->options->endpoint, s->options->timeout_s);
        s->late = false;
        finish(s, ASK_AWAY);
    } else if (now_ns >= s->deadline_ns && !s->late) {
        s->late = true;
        errf(s->eb, ST_TIMEOUT, "no end of the answer within %g s: stopped (--deadline)",
             s->options->deadline_s);
        send_cancel(s);
    }
    if (now_ns >= s->pinged_ns + NS_PER_S) {
        s->pinged_ns = now_ns;
        send_ping(s);
    }
    return MIN(MIN(silent_ns, s->pinged_ns + NS_PER_S), s->late ? UINT64_MAX : s->deadline_ns);
}

ask_result ask_session_run(const ask_options *o, const ask_talk *t, const ask_sink *sink, errbuf *eb) {
    PRE(o);
    PRE(t);
    PRE(sink);
    session s = {.options = o, .sink = sink, .eb = eb, .result = ASK_REFUSED, .deadline_ns = UINT64_MAX};
    bus_handler h = {.ctx = &s, .message = on_message, .lost = on_lost};
    curve_keys keys;
    status st = o->key_file ? curve_read_client(&keys, o->key_file, eb) : ST_OK;
    if (st == ST_OK) st = loop_new(&s.loop, turn, &s, eb);
    if (st == ST_OK) st = bus_connect(&s.bus, s.loop, o->endpoint, o->key_file ? &keys : NULL, &h, eb);
    if (st == ST_OK) {
        loop_signals(s.loop, on_signal, &s);
        s.heard_ns = s.pinged_ns = clock_now_ns();
        if (o->deadline_s > 0) s.deadline_ns = s.heard_ns + (uint64_t)(o->deadline_s * 1e9);
        send_request(&s, t);
        loop_run(s.loop);
    }
    bus_free(s.bus);
    loop_free(s.loop);
    return s.result;
}
