/* http_world - the HTTP front against a core that does what the test says: real sockets on loopback, no
 * model, no worker.
 *
 * One thread drives both ends: `pump` runs what is ready in the loop, takes a turn, reads clients' sockets.
 * A program that calls world_main speaks TLS when it is called with "tls". Include once per program. */
#ifndef BATON_TESTS_HTTP_WORLD_H
#define BATON_TESTS_HTTP_WORLD_H

#include "coordinator/http.h"

#include "front_fakes.h"
#include "net/loop.h"
#include "tests/test.h"
#include "tls_files.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS = 4, BODY_MAX = 256 * 1024, HEAD_MAX = 64 * 1024 };
#define SLOW_NS    (30 * NS_PER_S)
#define GIVE_UP_NS (60 * NS_PER_S)

/* Of the worlds to come; a test that sets others sets them back. */
#define WORLD_LIMITS                                                                                         \
    {                                                                                                        \
        .head_max = HEAD_MAX, .body_max = BODY_MAX, .held_max = 16 * BODY_MAX, .conns_max = 64,              \
        .idle_ns = 120 * NS_PER_S, .head_ns = 30 * NS_PER_S, .body_ns = 30 * NS_PER_S,                       \
        .body_rate = 8 * 1024, .slow_client_ns = SLOW_NS                                                     \
    }
static http_limits world_limits = WORLD_LIMITS;
static http_tls *world_tls;       /* NULL: plain HTTP */
static SSL_CTX *world_tls_client; /* verifies nothing */

typedef struct world {
    core core;
    meter *meter;
    trace *trace;
    streams *streams;
    loop *loop;
    text_thread *text;
    http *http;
    struct event *alarm; /* keeps one pump from waiting for ever */
    uint64_t skip_ns;    /* added to the clock that http_turn sees */
    uint64_t stands_ns;  /* that clock stands at this; 0: it runs */
    int fd[CLIENTS];
    SSL *ssl[CLIENTS]; /* NULL: plain */
    buf in[CLIENTS];
    bool closed[CLIENTS];
} world;

static inline uint64_t no_turn(void *ctx, uint64_t now_ns) {
    (void)ctx, (void)now_ns;
    return UINT64_MAX;
}

static inline void on_alarm(evutil_socket_t fd, short what, void *ctx) {
    (void)fd, (void)what, (void)ctx;
}

static inline int setup(void **state) {
    world *w = xcalloc(1, sizeof *w);
    errbuf eb = {0};
    w->core.ready = true;
    w->meter = meter_new("tiny");
    w->trace = trace_new();
    w->streams = w->core.streams = streams_new(&w->core, &fake_tokenizer, w->meter);
    assert_int_equal(loop_new(&w->loop, no_turn, w, &eb), ST_OK);
    assert_int_equal(text_new(&w->text, w->loop, &fake_env, &eb), ST_OK);
    http_options opt = {
        .loop = w->loop,
        .core = &w->core,
        .streams = w->streams,
        .text = w->text,
        .env = &fake_env,
        .meter = w->meter,
        .trace = w->trace,
        .facts = {.model = "tiny", .model_root = "tiny.gguf", .backend = "cpu", .max_context = FAKE_CONTEXT},
        .access = {.origins = "*"},
        .limits = world_limits,
        .tls = world_tls};
    assert_int_equal(http_open(&w->http, "127.0.0.1:0", &opt, &eb), ST_OK);
    w->alarm = evtimer_new(loop_base(w->loop), on_alarm, NULL);
    for (int i = 0; i < CLIENTS; i++) w->fd[i] = -1;
    *state = w;
    return 0;
}

static inline void hang_up(world *w, int i) {
    SSL_free(w->ssl[i]); /* without a word */
    w->ssl[i] = NULL;
    close(w->fd[i]);
    w->fd[i] = -1;
}

static inline int teardown(void **state) {
    world *w = *state;
    for (int i = 0; i < CLIENTS; i++) {
        if (w->fd[i] >= 0) hang_up(w, i);
        buf_done(&w->in[i]);
    }
    http_free(w->http);
    text_free(w->text);
    (void)streams_turn(w->streams, 1);
    assert_int_equal(streams_alive(w->streams), 0);
    streams_free(w->streams);
    meter_free(w->meter);
    trace_free(w->trace);
    event_free(w->alarm);
    loop_free(w->loop);
    free(w);
    return 0;
}

static inline void turn(world *w) {
    (void)streams_turn(w->streams, clock_now_ns());
    http_turn(w->http, w->stands_ns ? w->stands_ns : clock_now_ns() + w->skip_ns);
    (void)streams_turn(w->streams, clock_now_ns());
}

static inline void read_tls(world *w, int i) {
    char bytes[16384];
    int n = 0;
    while (w->fd[i] >= 0 && !w->closed[i] && (n = SSL_read(w->ssl[i], bytes, sizeof bytes)) > 0)
        buf_add(&w->in[i], bytes, (size_t)n);
    if (w->fd[i] >= 0 && !w->closed[i]) w->closed[i] = SSL_get_error(w->ssl[i], n) != SSL_ERROR_WANT_READ;
    ERR_clear_error(); /* the server's end is in this thread, too */
}

static inline void read_client(world *w, int i) {
    if (w->ssl[i]) {
        read_tls(w, i);
        return;
    }
    char bytes[16384];
    ssize_t n;
    while (w->fd[i] >= 0 && !w->closed[i] && (n = recv(w->fd[i], bytes, sizeof bytes, MSG_DONTWAIT)) >= 0) {
        if (n == 0)
            w->closed[i] = true;
        else
            buf_add(&w->in[i], bytes, (size_t)n);
    }
    if (w->fd[i] >= 0 && errno == ECONNRESET) w->closed[i] = true;
}

/* One round; waits at most a millisecond for something to happen. */
static inline void pump(world *w) {
    struct timeval tv = {.tv_usec = 1000};
    evtimer_add(w->alarm, &tv);
    event_base_loop(loop_base(w->loop), EVLOOP_ONCE);
    turn(w);
}

#define PUMP_UNTIL(w, fact)                                                                                  \
    do {                                                                                                     \
        uint64_t give_up_ = clock_now_ns() + GIVE_UP_NS;                                                     \
        while (!(fact)) {                                                                                    \
            if (clock_now_ns() > give_up_) fail_msg("no %s; client 0 has: %s", #fact, (w)->in[0].data);      \
            pump(w);                                                                                         \
            for (int i_ = 0; i_ < CLIENTS; i_++) read_client(w, i_);                                         \
        }                                                                                                    \
    } while (0)

static inline void shake_hands(world *w, int i) {
    assert_int_equal(fcntl(w->fd[i], F_SETFL, O_NONBLOCK), 0);
    w->ssl[i] = SSL_new(world_tls_client);
    assert_non_null(w->ssl[i]);
    SSL_set_fd(w->ssl[i], w->fd[i]);
    int rc;
    uint64_t give_up = clock_now_ns() + GIVE_UP_NS;
    while ((rc = SSL_connect(w->ssl[i])) != 1 && SSL_get_error(w->ssl[i], rc) == SSL_ERROR_WANT_READ) {
        if (clock_now_ns() > give_up) fail_msg("no TLS handshake");
        pump(w);
    }
    w->closed[i] = rc != 1;
    ERR_clear_error();
}

static inline void dial(world *w, int i, int receive_bytes) {
    w->fd[i] = socket(AF_INET, SOCK_STREAM, 0);
    if (receive_bytes) setsockopt(w->fd[i], SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons(http_port(w->http)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(w->fd[i], (struct sockaddr *)&sa, sizeof sa), 0);
    w->closed[i] = false;
    buf_reset(&w->in[i]);
    if (world_tls) shake_hands(w, i);
}

static inline void send_all(world *w, int i, const char *bytes, size_t len) {
    while (len) {
        ssize_t n = w->ssl[i] ? SSL_write(w->ssl[i], bytes, (int)len)
                              : send(w->fd[i], bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n <= 0) {
            if (w->ssl[i])
                assert_int_equal(SSL_get_error(w->ssl[i], (int)n), SSL_ERROR_WANT_WRITE);
            else
                assert_int_equal(errno, EAGAIN);
            ERR_clear_error();
            pump(w);
            continue;
        }
        bytes += n;
        len -= (size_t)n;
    }
}

static inline void post(world *w, int i, const char *path, const char *headers, const char *body) {
    char *head = xasprintf("POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n", path, headers,
                           strlen(body));
    send_all(w, i, head, strlen(head));
    send_all(w, i, body, strlen(body));
    free(head);
}

static inline void get(world *w, int i, const char *method, const char *path) {
    char *head = xasprintf("%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", method, path);
    send_all(w, i, head, strlen(head));
    free(head);
}

static inline bool has(const world *w, int i, const char *text) {
    return w->in[i].data && strstr(w->in[i].data, text);
}

static inline uint32_t count_of(const world *w, int i, const char *text) {
    uint32_t n = 0;
    for (const char *p = w->in[i].data; p && (p = strstr(p, text)); p++) n++;
    return n;
}

static inline void world_main(int argc, char **argv) {
    if (argc < 2 || strcmp(argv[1], "tls") != 0) return;
    signal(SIGPIPE, SIG_IGN);
    tls_files files;
    errbuf eb = {0};
    tls_files_name(&files);
    tls_files_write(&files, "localhost", 86400, NULL);
    if (http_tls_new(&world_tls, files.cert, files.key, &eb) != ST_OK) {
        fprintf(stderr, "%s\n", eb.text);
        exit(1);
    }
    tls_files_remove(&files);
    world_tls_client = SSL_CTX_new(TLS_client_method());
    CHECK(world_tls_client);
    (void)SSL_CTX_set_mode(world_tls_client,
                           SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

/* What cmocka came to, after cleaning up. */
static inline int world_end(int failed) {
    http_tls_free(world_tls);
    SSL_CTX_free(world_tls_client);
    return failed;
}

#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif
