/* Requests to the doorkeeper of CURVE listeners: parts of any number and length, as libzmq would hand them
 * on. It answers each, and lets in exactly who has the key. A part is its length and its bytes; after 0xff
 * comes the next request, and 0xfe stands for the key that is let in. */
#include "base/log.h"
#include "base/mem.h"
#include "fuzz.h"
#include "net/zap.h"
#include "take.h"

#include <string.h>
#include <zmq.h>

enum { PARTS_MOST = 12, KEY = 0xfe, NEXT = 0xff, KEY_BYTES = 32, MECHANISM = 5, CREDENTIALS = 6 };

typedef struct request {
    uint32_t count;
    struct {
        const void *bytes;
        size_t count;
    } parts[PARTS_MOST];
} request;

static struct {
    void *zmq, *asks; /* DEALER: it waits for no answer before it asks again */
    zap zap;
} door;

static void open_door(void) {
    static const char key[] = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"; /* of RFC 32 */
    curve_keys k = {0};
    errbuf eb = {0};
    log_setup(LOG_ERROR, "fuzz");
    memcpy(k.peer, key, sizeof key);
    door.zmq = zmq_ctx_new();
    CHECK(door.zmq);
    CHECK(zap_open(&door.zap, door.zmq, &k, &eb) == ST_OK);
    door.asks = zmq_socket(door.zmq, ZMQ_DEALER);
    CHECK(door.asks);
    CHECK(zmq_connect(door.asks, CURVE_DOOR) == 0);
}

static void close_door(void) {
    zmq_close(door.asks);
    zap_close(&door.zap);
    zmq_ctx_term(door.zmq);
}

static request take_request(script *in) {
    request r = {0};
    while (!script_over(in) && r.count < PARTS_MOST) {
        uint32_t n = take_byte(in);
        if (n == NEXT) break;
        size_t count = n == KEY ? KEY_BYTES : MIN(n, (size_t)(in->end - in->at));
        r.parts[r.count].bytes = n == KEY ? door.zap.allowed : in->at;
        r.parts[r.count++].count = count;
        if (n != KEY) in->at += count;
    }
    return r;
}

static bool is(const request *r, uint32_t part, const void *bytes, size_t count) {
    return r->parts[part].count == count && memcmp(r->parts[part].bytes, bytes, count) == 0;
}

static void ask(const request *r) {
    CHECK(zmq_send(door.asks, "", 0, ZMQ_DONTWAIT | ZMQ_SNDMORE) == 0);
    for (uint32_t i = 0; i < r->count; i++)
        CHECK(zmq_send(door.asks, r->parts[i].bytes, r->parts[i].count,
                       ZMQ_DONTWAIT | (i + 1 < r->count ? ZMQ_SNDMORE : 0)) >= 0);
}

/* "1.0", the request's number, a code, a text, a user, and what belongs to it. */
static void hear(bool good) {
    char bytes[256];
    int more = 1;
    size_t size = sizeof more;
    uint32_t count = 0;
    for (; more; count++) {
        int n = zmq_recv(door.asks, bytes, sizeof bytes, ZMQ_DONTWAIT);
        CHECK(n >= 0);
        if (count == 3) CHECK(n == 3);
        if (count == 3) CHECK(memcmp(bytes, good ? "200" : "400", 3) == 0);
        CHECK(zmq_getsockopt(door.asks, ZMQ_RCVMORE, &more, &size) == 0);
    }
    CHECK(count == 7); /* the empty one in front */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    script in = {data, data + size};
    strangers refused = {.next_ns = UINT64_MAX};
    open_door();
    while (!script_over(&in)) {
        request r = take_request(&in);
        if (!r.count) continue;
        bool good = r.count == CREDENTIALS + 1 && is(&r, 0, "1.0", 3) && is(&r, MECHANISM, "CURVE", 5) &&
                    is(&r, CREDENTIALS, door.zap.allowed, KEY_BYTES);
        uint64_t before = refused.count;
        ask(&r);
        zap_turn(&door.zap, &refused, "tcp://fuzz");
        hear(good);
        CHECK(refused.count == before + !good);
    }
    close_door();
    return 0;
}
