/* The native front against a core that does what the test says: both ends in one loop, over a real socket. */
#include "coordinator/native.h"

#include "front_fakes.h"
#include "net/bus.h"
#include "proto/client.pb-c.h"
#include "tests/test.h"

#include <event2/event.h>
#include <stdio.h>
#include <xxhash.h>
#include <zmq.h>

enum { BODY_MAX = 256 * 1024 };
#define GIVE_UP_NS (60 * NS_PER_S)
#define SLOW_NS    (8 * NS_PER_S)

typedef struct world {
    core core;
    meter *meter;
    streams *streams;
    loop *loop;
    text_thread *text;
    native *native;
    bus *client;
    struct event *alarm;
    uint64_t skip_ns;                /* added to the clock that native_turn sees */
    uint64_t stands_ns;              /* that clock stands at this; 0: it runs */
    char story[4096];                /* what the client heard, one word per event */
    uint32_t messages, events, most; /* most: events in one message */
    bool lost;
} world;

static uint64_t no_turn(void *ctx, uint64_t now_ns) {
    (void)ctx, (void)now_ns;
    return UINT64_MAX;
}

static void on_alarm(evutil_socket_t fd, short what, void *ctx) {
    (void)fd, (void)what, (void)ctx;
}

static void tell(world *w, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    size_t at = strlen(w->story);
    vsnprintf(w->story + at, sizeof w->story - at, fmt, ap);
    va_end(ap);
}

static void tell_status(world *w, unsigned id, const Baton__ServerStatus *s) {
    tell(w, "status(%u,%s,%s,%s,%u/%u/%u/%u,parked %u %u %.1f,%u+%u-%u,replays %u", id, s->status, s->version,
         s->model, s->queued, s->prefill, s->wait_kv, s->decode, s->parked, (unsigned)s->parked_bytes,
         s->parked_oldest_ms, (unsigned)s->workers_joined, (unsigned)s->workers_left,
         (unsigned)s->workers_lost, (unsigned)s->replays);
    if (s->last_lost) tell(w, ",%s %.1f %s", s->last_lost->worker, s->last_lost->age_ms, s->last_lost->why);
    for (size_t i = 0; i < s->n_workers; i++) {
        const Baton__ServerWorker *at = s->workers[i];
        tell(w, ";%s standing %.1f %d token %.1f holds %u/%u/%u/%u/%u/%u pages %u/%u/%u", at->name,
             at->standing_ms, at->stuck, at->has_last_token_ms ? at->last_token_ms : -1, at->computing,
             at->parked, at->sending, at->reserved, at->decoding, at->closing, at->pages_cached,
             at->pages_pinned, at->pages_reserved);
    }
    tell(w, ") ");
}

static void take_event(world *w, const Baton__ServerEvent *e) {
    unsigned id = (unsigned)e->id;
    switch (e->body_case) {
    case BATON__SERVER_EVENT__BODY_ACCEPTED:
        tell(w, "accepted(%u,%u) ", id, e->accepted->prompt_tokens);
        break;
    case BATON__SERVER_EVENT__BODY_TOKEN:
        tell(w, "token(%u,%u,%u,%d,%.*s", id, e->choice, e->token->index, e->token->token_id,
             (int)e->token->text.len, e->token->text.data);
        if (e->token->has_logprob) tell(w, ",%.1f/%zu", (double)e->token->logprob, e->token->n_top);
        tell(w, ") ");
        break;
    case BATON__SERVER_EVENT__BODY_END:
        tell(w, "end(%u,%u,%d,%u,%.*s) ", id, e->choice, e->end->reason, e->end->completion_tokens,
             (int)e->end->text.len, e->end->text.data);
        if (e->end->cached_tokens) tell(w, "cached(%u) ", e->end->cached_tokens);
        break;
    case BATON__SERVER_EVENT__BODY_ERROR:
        tell(w, "error(%u,%u,%s) ", id, e->error->http, e->error->message);
        break;
    case BATON__SERVER_EVENT__BODY_PONG:
        tell(w, "pong(%u) ", (unsigned)e->pong->id);
        break;
    case BATON__SERVER_EVENT__BODY_KEEPALIVE:
        tell(w, "keepalive(%u) ", id);
        break;
    case BATON__SERVER_EVENT__BODY_WORKERS:
        tell(w, "workers(%u", id);
        for (size_t i = 0; i < e->workers->n_workers; i++) {
            const Baton__ServerWorker *at = e->workers->workers[i];
            tell(w, ";%s,%s,%s,%s,%s,%u,%u/%u", at->id, at->name, at->role, at->state, at->host, at->requests,
                 at->pages_used, at->pages_total);
        }
        tell(w, ") ");
        break;
    case BATON__SERVER_EVENT__BODY_STATUS:
        tell_status(w, id, e->status);
        break;
    case BATON__SERVER_EVENT__BODY_ABORTED:
        tell(w, "aborted(%u,%u) ", id, e->aborted->choices);
        break;
    case BATON__SERVER_EVENT__BODY__NOT_SET:
    case _BATON__SERVER_EVENT__BODY__CASE_IS_INT_SIZE:
        fail();
    }
    w->events++;
}

static void on_message(void *ctx, uint64_t conn, const void *bytes, size_t count) {
    (void)conn;
    world *w = ctx;
    Baton__ServerEvent *e = baton__server_event__unpack(NULL, count, bytes);
    assert_non_null(e);
    /* Written by hand as by protobuf-c, which puts `more` before the answers with higher numbers, though. */
    bool late =
        e->body_case == BATON__SERVER_EVENT__BODY_STATUS || e->body_case == BATON__SERVER_EVENT__BODY_ABORTED;
    uint8_t *again = xmalloc(count);
    assert_int_equal(baton__server_event__get_packed_size(e), count);
    baton__server_event__pack(e, again);
    if (!late || !e->n_more) assert_memory_equal(again, bytes, count);
    free(again);
    take_event(w, e);
    for (size_t i = 0; i < e->n_more; i++) {
        assert_int_equal(e->more[i]->n_more, 0);
        take_event(w, e->more[i]);
    }
    w->messages++;
    w->most = MAX(w->most, 1 + (uint32_t)e->n_more);
    baton__server_event__free_unpacked(e, NULL);
}

static void on_lost(void *ctx, uint64_t conn, const char *why) {
    (void)conn, (void)why;
    ((world *)ctx)->lost = true;
}

static const health_facts fake_facts = {
    .model = "tiny", .backend = "cpu", .max_context = FAKE_CONTEXT, .stuck_ns = 3 * NS_PER_S};

static int setup(void **state) {
    world *w = xcalloc(1, sizeof *w);
    errbuf eb = {0};
    w->meter = meter_new("tiny");
    w->streams = w->core.streams = streams_new(&w->core, &fake_tokenizer, w->meter);
    assert_int_equal(loop_new(&w->loop, no_turn, w, &eb), ST_OK);
    assert_int_equal(text_new(&w->text, w->loop, &fake_env, &eb), ST_OK);
    native_options opt = {.loop = w->loop,
                          .core = &w->core,
                          .streams = w->streams,
                          .text = w->text,
                          .env = &fake_env,
                          .facts = &fake_facts,
                          .body_max = BODY_MAX,
                          .limits = {2 * BODY_MAX, 2 * BODY_MAX + BUS_KERNEL_BYTES, 64, 0, NS_PER_S},
                          .slow_client_ns = SLOW_NS};
    assert_int_equal(native_open(&w->native, "tcp://127.0.0.1:*", &opt, &eb), ST_OK);
    bus_handler h = {.ctx = w, .message = on_message, .lost = on_lost};
    assert_int_equal(bus_connect(&w->client, w->loop, native_endpoint(w->native), NULL, &h, &eb), ST_OK);
    w->alarm = evtimer_new(loop_base(w->loop), on_alarm, NULL);
    *state = w;
    return 0;
}

static int teardown(void **state) {
    world *w = *state;
    bus_free(w->client);
    native_free(w->native);
    text_free(w->text);
    (void)streams_turn(w->streams, 1);
    assert_int_equal(streams_alive(w->streams), 0);
    streams_free(w->streams);
    meter_free(w->meter);
    event_free(w->alarm);
    loop_free(w->loop);
    free(w);
    return 0;
}

static void pump(world *w) {
    struct timeval tv = {.tv_usec = 1000};
    evtimer_add(w->alarm, &tv);
    loop_batch(w->loop);
    (void)streams_turn(w->streams, clock_now_ns());
    native_turn(w->native, w->stands_ns ? w->stands_ns : clock_now_ns() + w->skip_ns);
    (void)streams_turn(w->streams, clock_now_ns());
}

#define PUMP_UNTIL(w, fact)                                                                                  \
    do {                                                                                                     \
        uint64_t give_up_ = clock_now_ns() + GIVE_UP_NS;                                                     \
        while (!(fact)) {                                                                                    \
            if (clock_now_ns() > give_up_) fail_msg("waited for: %s; heard: %s", #fact, (w)->story);         \
            pump(w);                                                                                         \
        }                                                                                                    \
    } while (0)

static void send_message(world *w, const Baton__ClientMessage *m) {
    size_t bytes = baton__client_message__get_packed_size(m);
    uint8_t *p = xmalloc(bytes + 1);
    baton__client_message__pack(m, p);
    assert_int_equal(bus_send(w->client, 1, p, bytes), ST_OK);
    free(p);
}

static void ask(world *w, Baton__ClientRequest *r, uint64_t id, const char *prompt) {
    r->id = id;
    r->prompt_case = BATON__CLIENT_REQUEST__PROMPT_TEXT;
    r->text = (ProtobufCBinaryData){strlen(prompt), (uint8_t *)prompt};
    Baton__ClientMessage m = BATON__CLIENT_MESSAGE__INIT;
    m.body_case = BATON__CLIENT_MESSAGE__BODY_REQUEST;
    m.request = r;
    send_message(w, &m);
}

static void ask_plain(world *w, uint64_t id, const char *prompt) {
    Baton__ClientRequest r;
    baton__client_request__init(&r);
    ask(w, &r, id, prompt);
}

static bool heard(const world *w, const char *text) {
    return strstr(w->story, text) != NULL;
}

static void tokens_come_one_by_one_and_then_the_end(void **state) {
    world *w = *state;
    Baton__ClientRequest r;
    baton__client_request__init(&r);
    r.has_n = true;
    r.n = 2;
    r.has_logprobs = true;
    r.logprobs = 1;
    ask(w, &r, 9, "abc");
    PUMP_UNTIL(w, heard(w, "accepted(9,3) "));
    assert_int_equal(w->core.last, 2);
    fake_token(&w->core, 1,
               (token_out){.id = FAKE_HELLO, .logprob = -0.5f, .top_count = 1, .top = {{'a', -0.5f}}});
    fake_token(&w->core, 2, (token_out){.id = 'x', .logprob = -1, .fin = FINISH_LENGTH});
    fake_token(&w->core, 1, (token_out){.id = FAKE_END, .logprob = -2, .fin = FINISH_EOS});
    PUMP_UNTIL(w, heard(w, "end(9,0"));
    assert_string_equal(w->story,
                        "accepted(9,3) token(9,0,0,258,hello,-0.5/1) token(9,1,0,120,x,-1.0/0) end(9,1,3,1,) "
                        "token(9,0,1,257,,-2.0/0) end(9,0,1,2,) ");
}

static void a_cache_salt_is_passed_on_and_cached_tokens_come_with_the_end(void **state) {
    world *w = *state;
    Baton__ClientRequest r;
    baton__client_request__init(&r);
    r.has_cache_salt = true;
    ask(w, &r, 1, "abc");
    PUMP_UNTIL(w, heard(w, "error(1,400,cache_salt: 0 bytes"));
    r.cache_salt = (ProtobufCBinaryData){4, (uint8_t *)"mine"};
    ask(w, &r, 2, "abc");
    PUMP_UNTIL(w, heard(w, "accepted(2,3) "));
    XXH128_hash_t salt = XXH3_128bits("mine", 4);
    assert_true(w->core.requests[1].salt[0] == salt.low64 && w->core.requests[1].salt[1] == salt.high64);
    w->core.cached = 2;
    fake_token(&w->core, 1, (token_out){.id = FAKE_END, .fin = FINISH_EOS});
    PUMP_UNTIL(w, heard(w, "end(2,0,1,1,) cached(2) "));
}

static void held_text_comes_with_a_later_token_or_with_the_end(void **state) {
    world *w = *state;
    Baton__ClientRequest r;
    baton__client_request__init(&r);
    ProtobufCBinaryData stop = {3, (uint8_t *)"abc"};
    r.n_stop = 1;
    r.stop = &stop;
    ask(w, &r, 1, "p");
    PUMP_UNTIL(w, w->core.last == 1);
    fake_text(&w->core, 1, "abxa");
    fake_token(&w->core, 1, (token_out){.id = 'b', .fin = FINISH_LENGTH});
    PUMP_UNTIL(w, heard(w, "end("));
    assert_string_equal(w->story, "accepted(1,1) token(1,0,0,97,) token(1,0,1,98,) token(1,0,2,120,abx) "
                                  "token(1,0,3,97,) token(1,0,4,98,) end(1,0,3,5,ab) ");
}

static void what_a_turn_says_to_a_client_is_one_message(void **state) {
    world *w = *state;
    ask_plain(w, 1, "p");
    ask_plain(w, 2, "q");
    PUMP_UNTIL(w, w->events == 2);
    w->story[0] = 0;
    w->messages = 0;
    fake_text(&w->core, 2, "ab");
    fake_token(&w->core, 1, (token_out){.id = 'c', .fin = FINISH_LENGTH});
    fake_token(&w->core, 2, (token_out){.id = 'd', .fin = FINISH_LENGTH});
    PUMP_UNTIL(w, w->events == 8);
    assert_int_equal(w->messages, 1);
    assert_string_equal(w->story, "token(2,0,0,97,a) token(2,0,1,98,b) token(2,0,2,100,d) end(2,0,3,3,) "
                                  "token(1,0,0,99,c) end(1,0,3,1,) ");
}

static void a_message_has_at_most_256_events(void **state) {
    world *w = *state;
    ask_plain(w, 1, "p");
    PUMP_UNTIL(w, w->events == 1);
    w->messages = 0;
    for (uint32_t i = 0; i < 600; i++) fake_token(&w->core, 1, (token_out){.id = 'a'});
    PUMP_UNTIL(w, w->events == 601);
    assert_int_equal(w->messages, 3);
    assert_int_equal(w->most, 256);
    assert_false(w->lost);
}

static void list_workers(Baton__ClientMessage *m, Baton__ClientWorkers *workers) {
    baton__client_workers__init(workers);
    baton__client_message__init(m);
    workers->id = 5;
    m->body_case = BATON__CLIENT_MESSAGE__BODY_WORKERS;
    m->workers = workers;
}

enum { CROWD = 1200 }; /* whose list has more than 64 KiB */

static void a_large_event_has_a_message_of_its_own(void **state) {
    world *w = *state;
    w->core.more_workers = CROWD;
    Baton__ClientMessage m;
    Baton__ClientWorkers workers;
    list_workers(&m, &workers);
    for (int i = 0; i < 3; i++) send_message(w, &m);
    PUMP_UNTIL(w, w->events == 3);
    assert_int_equal(w->messages, 3);
}

static void errors_have_the_status_of_the_other_front(void **state) {
    world *w = *state;
    Baton__ClientRequest r;
    baton__client_request__init(&r);
    char other[] = "other";
    r.model = other;
    ask(w, &r, 1, "x");
    PUMP_UNTIL(w, heard(w, "error(1,404,the model 'other' does not exist"));
    r.model = NULL;
    r.has_top_p = true;
    r.top_p = 7;
    ask(w, &r, 2, "x");
    PUMP_UNTIL(w, heard(w, "error(2,400,top_p: 7 is out of range"));
    ask_plain(w, 3, "");
    PUMP_UNTIL(w, heard(w, "error(3,400,prompt: number 0 is empty"));
    ask_plain(w, 4, "x");
    ask_plain(w, 4, "x");
    PUMP_UNTIL(w, heard(w, "error(4,400,id: a request with this id is alive"));
    fake_end(&w->core, 1, (core_end){.state = REQ_FAILED, .st = ST_TIMEOUT, .why = "too slow"});
    PUMP_UNTIL(w, heard(w, "error(4,504,too slow)"));
    assert_int_equal(bus_send(w->client, 1, "\xff\xff\xff", 3), ST_OK);
    PUMP_UNTIL(w, heard(w, "error(0,400,these bytes are no ClientMessage"));
    static const char large[BODY_MAX + 1];
    assert_int_equal(bus_send(w->client, 1, large, sizeof large), ST_OK);
    PUMP_UNTIL(w, heard(w, "error(0,413,") && heard(w, "(limits.max_body_kb)"));
}

static void a_cancel_ends_what_had_not_ended(void **state) {
    world *w = *state;
    Baton__ClientRequest r;
    baton__client_request__init(&r);
    r.has_n = true;
    r.n = 2;
    ask(w, &r, 5, "x");
    PUMP_UNTIL(w, w->core.last == 2);
    fake_token(&w->core, 1, (token_out){.id = 'q', .fin = FINISH_LENGTH});
    PUMP_UNTIL(w, heard(w, "end(5,0,3"));
    Baton__ClientCancel cancel = BATON__CLIENT_CANCEL__INIT;
    cancel.id = 5;
    Baton__ClientMessage m = BATON__CLIENT_MESSAGE__INIT;
    m.body_case = BATON__CLIENT_MESSAGE__BODY_CANCEL;
    m.cancel = &cancel;
    send_message(w, &m);
    send_message(w, &m); /* idempotent */
    PUMP_UNTIL(w, heard(w, "end(5,1,5,0,) "));
    PUMP_UNTIL(w, w->core.requests[2].canceled);
}

static void a_client_that_is_gone_or_silent_loses_its_requests(void **state) {
    world *w = *state;
    ask_plain(w, 1, "x");
    PUMP_UNTIL(w, w->core.last == 1);
    w->skip_ns = 2 * NS_PER_S;
    PUMP_UNTIL(w, heard(w, "keepalive(1) "));
    assert_false(w->core.requests[1].canceled);
    w->skip_ns = 11 * NS_PER_S;
    PUMP_UNTIL(w, w->core.requests[1].canceled && w->lost);
    w->skip_ns = 0;
    errbuf eb = {0};
    assert_int_equal(bus_reconnect(w->client, &eb), ST_OK);
    ask_plain(w, 1, "y");
    PUMP_UNTIL(w, w->core.last == 2);
    bus_free(w->client);
    w->client = NULL;
    PUMP_UNTIL(w, w->core.requests[2].canceled);
}

/* A client played by hand, which never reads. */
typedef struct mute {
    void *ctx, *socket;
    uint64_t number;
} mute;

static void mute_send(mute *c, const Baton__ClientMessage *m) {
    uint8_t bytes[256];
    size_t count = baton__client_message__get_packed_size(m);
    assert_true(count <= sizeof bytes);
    baton__client_message__pack(m, bytes);
    uint64_t head[2] = {77, ++c->number};
    assert_int_equal(zmq_send(c->socket, head, sizeof head, ZMQ_SNDMORE), sizeof head);
    assert_int_equal(zmq_send(c->socket, bytes, count, 0), count);
}

static void mute_ask(mute *c, uint64_t id) {
    Baton__ClientRequest r;
    baton__client_request__init(&r);
    r.id = id;
    r.prompt_case = BATON__CLIENT_REQUEST__PROMPT_TEXT;
    r.text = (ProtobufCBinaryData){1, (uint8_t *)"x"};
    Baton__ClientMessage m = BATON__CLIENT_MESSAGE__INIT;
    m.body_case = BATON__CLIENT_MESSAGE__BODY_REQUEST;
    m.request = &r;
    mute_send(c, &m);
}

static bool mute_ping(mute *c) {
    Baton__ClientPing ping = BATON__CLIENT_PING__INIT;
    Baton__ClientMessage m = BATON__CLIENT_MESSAGE__INIT;
    m.body_case = BATON__CLIENT_MESSAGE__BODY_PING;
    m.ping = &ping;
    mute_send(c, &m);
    return true;
}

/* It pings all the time, so silence is not what ends it, and its queue is far from full. */
static void a_client_that_pings_but_does_not_read_loses_its_requests(void **state) {
    world *w = *state;
    w->core.more_workers = CROWD;
    mute c = {.ctx = zmq_ctx_new()};
    c.socket = zmq_socket(c.ctx, ZMQ_DEALER);
    int none = 0, one = 1;
    zmq_setsockopt(c.socket, ZMQ_LINGER, &none, sizeof none);
    zmq_setsockopt(c.socket, ZMQ_RCVHWM, &one, sizeof one);
    assert_int_equal(zmq_connect(c.socket, native_endpoint(w->native)), 0);
    Baton__ClientMessage m;
    Baton__ClientWorkers workers;
    list_workers(&m, &workers);
    w->stands_ns = clock_now_ns(); /* so many answers may take longer than a client may be slow */
    mute_ask(&c, 1);
    for (int i = 0; i < 600; i++) mute_send(&c, &m); /* answers: 42 MB, more than ZeroMQ and TCP take */
    mute_ask(&c, 2);
    PUMP_UNTIL(w, w->core.last == 2);
    assert_false(w->core.requests[1].canceled);
    w->stands_ns = 0;
    w->skip_ns = SLOW_NS + NS_PER_S;
    PUMP_UNTIL(w, mute_ping(&c) && w->core.requests[1].canceled && w->core.requests[2].canceled);
    zmq_close(c.socket);
    zmq_ctx_term(c.ctx);
}

static void small_requests_do_not_overtake_a_large_one(void **state) {
    world *w = *state;
    char *large = xmalloc(100 * 1024 + 1);
    memset(large, 'x', 100 * 1024);
    large[100 * 1024] = 0;
    ask_plain(w, 1, large);
    ask_plain(w, 2, "b");
    PUMP_UNTIL(w, heard(w, "accepted(2,1) ") && heard(w, "error(1,400"));
    assert_true(strstr(w->story, "error(1,400") < strstr(w->story, "accepted(2,1)"));
    free(large);
}

static void pings_are_answered_and_a_stop_ends_all(void **state) {
    world *w = *state;
    Baton__ClientPing ping = BATON__CLIENT_PING__INIT;
    ping.has_id = true;
    ping.id = 77;
    Baton__ClientMessage m = BATON__CLIENT_MESSAGE__INIT;
    m.body_case = BATON__CLIENT_MESSAGE__BODY_PING;
    m.ping = &ping;
    send_message(w, &m);
    ask_plain(w, 1, "x");
    PUMP_UNTIL(w, heard(w, "pong(77) ") && w->core.last == 1);
    native_stop(w->native, "stopping");
    PUMP_UNTIL(w, heard(w, "error(1,503,stopping) "));
    ask_plain(w, 2, "x");
    PUMP_UNTIL(w, heard(w, "error(2,503,stopping) "));
    assert_true(w->core.requests[1].canceled);
}

static void send_drain(world *w, uint64_t id, const char *worker, bool undo) {
    char name[32];
    snprintf(name, sizeof name, "%s", worker);
    Baton__ClientDrain drain = BATON__CLIENT_DRAIN__INIT;
    drain.id = id;
    drain.worker = name;
    drain.has_undo = drain.undo = undo;
    Baton__ClientMessage m = BATON__CLIENT_MESSAGE__INIT;
    m.body_case = BATON__CLIENT_MESSAGE__BODY_DRAIN;
    m.drain = &drain;
    send_message(w, &m);
}

static void workers_are_listed_and_one_is_drained_and_kept(void **state) {
    world *w = *state;
    w->core.ready = true;
    Baton__ClientMessage m;
    Baton__ClientWorkers workers;
    list_workers(&m, &workers);
    send_message(w, &m);
    send_drain(w, 6, "decode-0", false);
    send_drain(w, 7, "decode-0", true);
    send_drain(w, 8, "decode-0", true);
    send_drain(w, 9, "decode-9", false);
    PUMP_UNTIL(w, heard(w, "error(9,"));
    assert_string_equal(w->story,
                        "workers(5;000000000000abc0,prefill-0,prefill,ready,here,0,3/10;"
                        "000000000000abc1,decode-0,decode,ready,here,0,5/20) "
                        "workers(6;000000000000abc1,decode-0,decode,draining,here,0,5/20) "
                        "workers(7;000000000000abc1,decode-0,decode,ready,here,0,5/20) "
                        "error(8,400,it leaves already) error(9,400,no worker is called decode-9) ");
}

static void send_abort(world *w, uint64_t id, const char *request) {
    Baton__ClientAbort end = BATON__CLIENT_ABORT__INIT;
    end.id = id;
    end.request = (char *)request;
    Baton__ClientMessage m = BATON__CLIENT_MESSAGE__INIT;
    m.body_case = BATON__CLIENT_MESSAGE__BODY_ABORT;
    m.abort = &end;
    send_message(w, &m);
}

static void any_request_that_runs_can_be_ended_by_its_name(void **state) {
    world *w = *state;
    ask_plain(w, 1, "x");
    ask_plain(w, 2, "y");
    PUMP_UNTIL(w, w->core.last == 2);
    w->story[0] = 0;
    send_abort(w, 7, "native-1-1"); /* connection, id */
    PUMP_UNTIL(w, heard(w, "aborted(7,1) ") && heard(w, "error(1,"));
    assert_true(heard(w, "error(1,499,the request was canceled by who looks after the cluster) "));
    assert_true(w->core.requests[1].canceled);
    assert_false(w->core.requests[2].canceled);
    w->story[0] = 0;
    send_abort(w, 8, "2"); /* a bare number may be another client's own name */
    send_abort(w, 9, "req=2");
    PUMP_UNTIL(w, heard(w, "aborted(9,1) ") && heard(w, "error(2,499,"));
    assert_true(heard(w, "error(8,404,no request that runs is called 2: want its x-request-id, the id of its "
                         "answer, or req=N as the log has it) "));
    assert_true(w->core.requests[2].canceled);
}

static void the_status_is_told_on_one_screen(void **state) {
    world *w = *state;
    w->core.ready = true;
    w->core.lost = "silent for 5000 ms";
    w->core.standing_ns = 4 * NS_PER_S;
    w->core.counts = (core_counters){.parked = 2, .parked_bytes = 4096, .replays = 9, .workers_lost = 1};
    Baton__ClientStatus look = BATON__CLIENT_STATUS__INIT;
    look.id = 3;
    Baton__ClientMessage m = BATON__CLIENT_MESSAGE__INIT;
    m.body_case = BATON__CLIENT_MESSAGE__BODY_STATUS;
    m.status = &look;
    send_message(w, &m);
    PUMP_UNTIL(w, heard(w, "status(3,"));
    assert_string_equal(w->story,
                        "status(3,stuck," BATON_VERSION ",tiny,0/0/0/2,parked 2 4096 0.0,3+0-1,replays 9,"
                        "decode-1 1.5 silent for 5000 ms;"
                        "prefill-0 standing 0.0 0 token -1.0 holds 1/2/0/0/0/0 pages 0/2/0;"
                        "decode-0 standing 4000.0 1 token 2.5 holds 0/0/0/1/3/0 pages 4/0/1) ");
}

#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_WORLD(tokens_come_one_by_one_and_then_the_end),
        WITH_WORLD(a_cache_salt_is_passed_on_and_cached_tokens_come_with_the_end),
        WITH_WORLD(held_text_comes_with_a_later_token_or_with_the_end),
        WITH_WORLD(what_a_turn_says_to_a_client_is_one_message),
        WITH_WORLD(a_message_has_at_most_256_events),
        WITH_WORLD(a_large_event_has_a_message_of_its_own),
        WITH_WORLD(errors_have_the_status_of_the_other_front),
        WITH_WORLD(a_cancel_ends_what_had_not_ended),
        WITH_WORLD(a_client_that_is_gone_or_silent_loses_its_requests),
        WITH_WORLD(a_client_that_pings_but_does_not_read_loses_its_requests),
        WITH_WORLD(small_requests_do_not_overtake_a_large_one),
        WITH_WORLD(pings_are_answered_and_a_stop_ends_all),
        WITH_WORLD(workers_are_listed_and_one_is_drained_and_kept),
        WITH_WORLD(any_request_that_runs_can_be_ended_by_its_name),
        WITH_WORLD(the_status_is_told_on_one_screen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
