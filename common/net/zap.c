#include "net/zap.h"

#include <errno.h>
#include <string.h>
#include <zmq.h>

#define PART_BYTES 256 /* of a request's part; libzmq writes them, and the peer's identity is the longest */

/* Of a request, in this order. */
enum { VERSION, SEQUENCE, DOMAIN, ADDRESS, IDENTITY, MECHANISM, CREDENTIALS, PARTS };

typedef struct part {
    size_t count;
    char bytes[PART_BYTES];
} part;

status zap_open(zap *z, void *zmq, const curve_keys *k, errbuf *eb) {
    PRE(z);
    PRE(zmq);
    PRE(k);
    *z = (zap){0};
    CHECK(zmq_z85_decode(z->allowed, k->peer));
    z->socket = zmq_socket(zmq, ZMQ_REP);
    int none = 0;
    if (z->socket && zmq_setsockopt(z->socket, ZMQ_LINGER, &none, sizeof none) == 0 &&
        zmq_bind(z->socket, CURVE_DOOR) == 0)
        return ST_OK;
    errf(eb, ST_IO, "zeromq socket: %s: raise the limit of open files (ulimit -n)", zmq_strerror(errno));
    zap_close(z);
    return ST_IO;
}

void zap_close(zap *z) {
    PRE(z);
    if (z->socket) zmq_close(z->socket);
    z->socket = NULL;
}

static bool is(const part *p, const char *text) {
    return p->count == strlen(text) && memcmp(p->bytes, text, p->count) == 0;
}

/* One request; parts beyond the last are read and forgotten. 0: none waits. */
static uint32_t take(void *socket, part parts[PARTS]) {
    uint32_t count = 0;
    int more = 1;
    size_t size = sizeof more;
    while (more) {
        part spare, *p = count < PARTS ? &parts[count] : &spare;
        int n = zmq_recv(socket, p->bytes, sizeof p->bytes, ZMQ_DONTWAIT);
        if (n < 0) return 0;
        p->count = (size_t)n <= sizeof p->bytes ? (size_t)n : 0; /* cut: nothing that is let in */
        count++;
        CHECK(zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size) == 0);
    }
    return count;
}

static void answer(void *socket, const part *sequence, const char *code, const char *text) {
    const char *head[] = {"1.0", NULL, code, text, ""};
    bool good = true;
    for (int i = 0; i < 5 && good; i++) {
        const void *bytes = i == 1 ? sequence->bytes : head[i];
        size_t count = i == 1 ? sequence->count : strlen(head[i]);
        good = zmq_send(socket, bytes, count, ZMQ_DONTWAIT | ZMQ_SNDMORE) >= 0;
    }
    if (good) (void)zmq_send(socket, "", 0, ZMQ_DONTWAIT); /* who asked may be gone */
}

void zap_turn(zap *z, strangers *refused, const char *at) {
    PRE(z);
    PRE(refused);
    part parts[PARTS];
    uint32_t count;
    while (z->socket && (count = take(z->socket, parts)) > 0) {
        const part *key = &parts[CREDENTIALS];
        bool asks = count == PARTS && is(&parts[VERSION], "1.0") && is(&parts[MECHANISM], "CURVE");
        bool good =
            asks && key->count == sizeof z->allowed && curve_same(key->bytes, z->allowed, sizeof z->allowed);
        answer(z->socket, &parts[count > SEQUENCE ? SEQUENCE : 0], good ? "200" : "400",
               good ? "OK" : "not this key");
        if (good) continue;
        char from[64] = "?";
        if (asks && parts[ADDRESS].count < sizeof from) {
            memcpy(from, parts[ADDRESS].bytes, parts[ADDRESS].count);
            from[parts[ADDRESS].count] = 0;
        }
        strangers_note(refused, at, from, "its key is not the one that is let in here");
    }
}
