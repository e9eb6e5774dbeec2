/* The HTTP front as strangers reach it: connections from many addresses, to a port of plain HTTP and to one
 * of TLS, which send what they like in pieces, read or do not, and leave; tokens, ends and time between them.
 * Bytes of the input are sent as they are, but for the small ones (enum act), which say what happens. There
 * is no listener: the linker puts the functions below in place of libevent's, and each connection is one end
 * of a pair of sockets. Whatever comes, the bounds of http_limits hold, and nothing is left at the end. */
#include "coordinator/http.h"

#include "coordinator/http_client.h"
#include "front.h"
#include "fuzz.h"
#include "tests/unit/tls_files.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SLOTS = 6, PIECE_MOST = 4096, PUMPS = 4 };
enum { HEAD_MOST = 1024, BODY_MOST = 2048, HELD_MOST = 4096, CONNS_MOST = 3, CONNS_OF_ONE = 2 };
enum { PLAIN, TLS, PORTS };
enum act { DIAL, FLUSH, SHUT, CLOSE, TOKEN, LATER, DOOR, READ, ESCAPE, ACTS };

typedef struct slot {
    int fd;   /* the client's end; -1: none */
    SSL *ssl; /* NULL: it speaks plain HTTP, or what it likes */
    bool plain, heard;
} slot;

static struct {
    http *ports[PORTS];
    evconnlistener_cb accept[PORTS];
    void *accept_ctx[PORTS];
    uint32_t listeners;
    slot slots[SLOTS];
    slot *at;
    char piece[PIECE_MOST];
    size_t piece_bytes;
} play;

static struct { /* made once */
    http_tls *tls;
    SSL_CTX *client;
    http_keys *keys;
} door;

/* ---- in place of libevent's listener ---- */

typeof(evconnlistener_new_bind) __wrap_evconnlistener_new_bind;
struct evconnlistener *__wrap_evconnlistener_new_bind(struct event_base *base, evconnlistener_cb cb,
                                                      void *ctx, unsigned flags, int backlog,
                                                      const struct sockaddr *at, int len) {
    (void)base, (void)flags, (void)backlog, (void)at, (void)len;
    play.accept[play.listeners] = cb;
    play.accept_ctx[play.listeners++] = ctx;
    return (struct evconnlistener *)&play;
}

typeof(evconnlistener_free) __wrap_evconnlistener_free;
void __wrap_evconnlistener_free(struct evconnlistener *l) {
    (void)l;
}

typeof(evconnlistener_get_fd) __wrap_evconnlistener_get_fd;
evutil_socket_t __wrap_evconnlistener_get_fd(struct evconnlistener *l) {
    (void)l;
    return -1;
}

typeof(evconnlistener_set_error_cb) __wrap_evconnlistener_set_error_cb;
void __wrap_evconnlistener_set_error_cb(struct evconnlistener *l, evconnlistener_errorcb cb) {
    (void)l, (void)cb;
}

typeof(evconnlistener_enable) __wrap_evconnlistener_enable;
int __wrap_evconnlistener_enable(struct evconnlistener *l) {
    (void)l;
    return 0;
}

/* ---- clients ---- */

static void make_door(void) {
    tls_files files;
    errbuf eb = {0};
    signal(SIGPIPE, SIG_IGN);
    tls_files_name(&files);
    tls_files_write(&files, "localhost", 86400, NULL);
    CHECK(http_tls_new(&door.tls, files.cert, files.key, &eb) == ST_OK);
    tls_files_remove(&files);
    door.client = SSL_CTX_new(TLS_client_method());
    CHECK(door.client);
    door.keys = http_keys_new();
    CHECK(http_keys_add(door.keys, "batch", "sk-1", &eb) == ST_OK);
    CHECK(http_keys_add(door.keys, NULL, "sk-2", &eb) == ST_OK);
}

static void hang_up(slot *s) {
    if (s->fd < 0) return;
    SSL_free(s->ssl);
    close(s->fd);
    *s = (slot){.fd = -1};
}

/* Of four hosts: two of IPv4, one of them as IPv6 has it, and two of one /64. */
static void address_of(uint32_t n, struct sockaddr_in6 *out) {
    static const char *const hosts[] = {"::ffff:10.0.0.1", "2001:db8::1", "2001:db8::2"};
    struct sockaddr_in *v4 = (void *)out;
    memset(out, 0, sizeof *out);
    if (n % 4u == 3) {
        v4->sin_family = AF_INET;
        v4->sin_addr.s_addr = htonl(0x0a000001);
    } else {
        out->sin6_family = AF_INET6;
        CHECK(inet_pton(AF_INET6, hosts[n % 4u], &out->sin6_addr) == 1);
    }
}

static void dial(slot *s, uint32_t how) {
    int fds[2];
    struct sockaddr_in6 from;
    uint32_t port = how / 4u % PORTS;
    if (port >= play.listeners || play.ports[port]->stopping) return;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    *s = (slot){.fd = fds[0], .plain = port == PLAIN};
    if (port == TLS && how & 8u) {
        s->ssl = SSL_new(door.client);
        CHECK(s->ssl);
        SSL_set_fd(s->ssl, s->fd);
        SSL_set_connect_state(s->ssl);
    }
    address_of(how, &from);
    play.accept[port](NULL, fds[1], (struct sockaddr *)&from, sizeof from, play.accept_ctx[port]);
}

static void hear(slot *s) {
    char bytes[8192];
    ssize_t n = s->ssl ? SSL_read(s->ssl, bytes, sizeof bytes) : recv(s->fd, bytes, sizeof bytes, 0);
    ERR_clear_error();
    if (n < 9 || s->heard) return;
    if (s->plain || s->ssl) CHECK(memcmp(bytes, "HTTP/1.1 ", 9) == 0);
    s->heard = true;
}

/* What the other end has no room for is lost. */
static void say(slot *s) {
    size_t count = play.piece_bytes;
    play.piece_bytes = 0;
    if (s->fd < 0 || !count) return;
    if (s->ssl)
        (void)SSL_write(s->ssl, play.piece, (int)count);
    else
        (void)!send(s->fd, play.piece, count, MSG_NOSIGNAL);
    ERR_clear_error();
}

/* ---- what happens ---- */

static void check_bounds(void) {
    for (uint32_t i = 0; i < PORTS; i++) {
        uint32_t connections;
        size_t held;
        http_server_crowd(play.ports[i]->server, &connections, &held);
        CHECK(connections <= CONNS_MOST);
        CHECK(held <= HELD_MOST);
    }
}

static void pump(void) {
    for (uint32_t i = 0; i < PUMPS; i++) {
        event_base_loop(loop_base(front.loop), EVLOOP_ONCE | EVLOOP_NONBLOCK);
        (void)streams_turn(front.streams, front.now_ns);
        for (uint32_t p = 0; p < PORTS; p++) http_turn(play.ports[p], front.now_ns);
        (void)streams_turn(front.streams, front.now_ns);
    }
    check_bounds();
}

static void shake_hands(slot *s) {
    for (uint32_t i = 0; s->ssl && i < PUMPS && !SSL_is_init_finished(s->ssl); i++) {
        (void)SSL_do_handshake(s->ssl);
        ERR_clear_error(); /* the server's end is in this thread, too */
        pump();
    }
}

static void turn_door(uint32_t what) {
    http *h = play.ports[what % PORTS];
    switch (what / PORTS % 6u) {
    case 0:
        http_set_keys(h, door.keys);
        break;
    case 1:
        http_set_keys(h, NULL);
        break;
    case 2:
        http_drain(h);
        break;
    case 3:
        http_stop(h, "the coordinator stops");
        break;
    case 4:
        front.core.ready = !front.core.ready;
        break;
    default:
        front.core.standing_ns = front.core.standing_ns ? 0 : 100 * NS_PER_S;
    }
}

static void happen(script *in) {
    uint32_t what = take_byte(in);
    if (what >= ACTS || what == ESCAPE) {
        if (what == ESCAPE) what = take_byte(in);
        if (play.piece_bytes < sizeof play.piece) play.piece[play.piece_bytes++] = (char)what;
        return;
    }
    say(play.at);
    if (what == DIAL) {
        uint32_t how = take_byte(in);
        play.at = &play.slots[how % SLOTS];
        if (play.at->fd < 0) dial(play.at, how / SLOTS);
        shake_hands(play.at);
    } else if (what == SHUT && play.at->fd >= 0) {
        if (play.at->ssl) (void)SSL_shutdown(play.at->ssl);
        (void)shutdown(play.at->fd, SHUT_WR);
    } else if (what == CLOSE) {
        hang_up(play.at);
    } else if (what == TOKEN) {
        front_token(in);
    } else if (what == LATER) {
        front_later(in);
    } else if (what == DOOR) {
        turn_door(take_byte(in));
    } else if (what == READ && play.at->fd >= 0) {
        hear(play.at);
    }
    pump();
}

static void open_ports(void) {
    errbuf eb = {0};
    http_options opt = {.loop = front.loop,
                        .core = &front.core,
                        .streams = front.streams,
                        .text = front.text,
                        .env = &fake_env,
                        .meter = front.meter,
                        .trace = front.trace,
                        .facts = {.model = "tiny",
                                  .model_root = "tiny.gguf",
                                  .backend = "cpu",
                                  .max_context = FAKE_CONTEXT,
                                  .stuck_ns = 30 * NS_PER_S},
                        .access = {.origins = "https://a.example"},
                        .limits = {.head_max = HEAD_MOST,
                                   .body_max = BODY_MOST,
                                   .held_max = HELD_MOST,
                                   .conns_max = CONNS_MOST,
                                   .conns_per_client_max = CONNS_OF_ONE,
                                   .idle_ns = 20 * NS_PER_S,
                                   .head_ns = 2 * NS_PER_S,
                                   .body_ns = 2 * NS_PER_S,
                                   .body_rate = 512,
                                   .slow_client_ns = 5 * NS_PER_S}};
    CHECK(http_open(&play.ports[PLAIN], "127.0.0.1:0", &opt, &eb) == ST_OK);
    opt.tls = door.tls;
    CHECK(http_open(&play.ports[TLS], "127.0.0.1:0", &opt, &eb) == ST_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    script in = {data, data + size};
    if (!door.tls) make_door();
    front_begin();
    memset(&play, 0, sizeof play);
    for (uint32_t i = 0; i < SLOTS; i++) play.slots[i].fd = -1;
    play.at = play.slots;
    open_ports();
    while (!script_over(&in)) happen(&in);
    say(play.at);
    pump();
    for (uint32_t i = 0; i < SLOTS; i++) hang_up(&play.slots[i]);
    pump();
    front.now_ns += 60 * NS_PER_S; /* those that hung up while an answer lingers */
    pump();
    for (uint32_t i = 0; i < PORTS; i++) {
        CHECK(http_client_count(play.ports[i]) == 0);
        http_free(play.ports[i]);
    }
    front_end();
    return 0;
}
