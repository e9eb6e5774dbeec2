/* The transfer thread of a receiver or of a sender, and a peer that sends what it likes: frames of every kind
 * in any order, honest in all but a few fields. There is neither socket nor thread: the linker puts the
 * functions below in place of those of chan.c that use a socket, and of the thread's start; everything behind
 * them is the product's. Whatever comes, no page is touched but those of hand-offs that are expected, what is
 * told as verified is legal, and every command is answered. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "fuzz.h"
#include "kernels/backends.h"
#include "kv/handoff.h"
#include "take.h"
#include "transfer/xfer.h"
#include "transfer/xfer_core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PEERS = 3, PAGES = 32, TOKENS_MAX = 100, EVENTS_MAX = 200, REQS = 4, SLOTS = 3, SLOT_BYTES = 2048 };
#define EPOCH    7u
#define OWN_INC  5u
#define PEER_INC 20u /* + peer */
#define ALIEN    0x5au

static const kv_layout layout = {.type = DT_F16, .layers = 3, .kv_heads = 2, .head_dim = 8};

typedef struct play {
    script in;
    xfer *x;
    bool receiver;
    bool deaf[PEERS];    /* what is sent to it does not leave */
    bool cut[PEERS];     /* its connection ended, and the monitor did not tell yet */
    uint64_t seq[PEERS]; /* frames that it sent */
    chan *chans[PEERS];  /* of a sender: the pair's own, in the order of connecting */
    chan_msg msg;        /* the one that chan_recv gives next, to `to` */
    bool waiting;
    uint32_t to;
    uint32_t drops; /* X_DROPPED that are due */
    int32_t ids[TOKENS_MAX];
} play;

static play *now; /* chan.c's functions have no context */
static bool starting;

/* ---- in place of chan.c and of the thread ---- */

typeof(pthread_create) __wrap_pthread_create, __real_pthread_create;
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *ctx) {
    if (!starting) return __real_pthread_create(thread, attr, run, ctx);
    xfer *x = ctx;
    sem_post(&x->started);
    return 0;
}

typeof(chan_listen) __wrap_chan_listen;
status __wrap_chan_listen(chan *c, void *zmq, const char *host, const curve_keys *keys, size_t bytes_max,
                          uint32_t dead_ms, errbuf *eb) {
    (void)zmq, (void)host, (void)keys, (void)bytes_max, (void)dead_ms, (void)eb;
    *c = (chan){0};
    return ST_OK;
}

typeof(chan_connect) __wrap_chan_connect;
status __wrap_chan_connect(chan *c, void *zmq, const char *endpoint, const curve_keys *keys, uint32_t dead_ms,
                           errbuf *eb) {
    (void)zmq, (void)keys, (void)dead_ms;
    uint32_t peer = (uint32_t)(endpoint[0] - 'a');
    *c = (chan){0};
    if (peer >= PEERS || now->chans[peer]) return errf(eb, ST_PEER, "nobody listens there");
    now->chans[peer] = c;
    now->seq[peer] = 0;
    now->cut[peer] = false;
    return ST_OK;
}

typeof(chan_close) __wrap_chan_close;
void __wrap_chan_close(chan *c) {
    for (uint32_t i = 0; i < PEERS; i++)
        if (now->chans[i] == c) now->chans[i] = NULL;
}

typeof(chan_recv) __wrap_chan_recv;
status __wrap_chan_recv(chan *c, chan_msg *out) {
    if (!now->waiting || (!now->receiver && now->chans[now->to] != c)) return ST_AGAIN;
    now->waiting = false;
    chan_msg_move(out, &now->msg);
    chan_msg_done(&now->msg);
    return ST_OK;
}

static uint32_t peer_of(const chan *c, const chan_route *route) {
    if (now->receiver) return route->bytes[0];
    uint32_t peer = 0;
    while (peer < PEERS && now->chans[peer] != c) peer++;
    return peer;
}

typeof(chan_send) __wrap_chan_send;
status __wrap_chan_send(chan *c, const chan_route *route, const kv_frame *frame, zmq_msg_t *part) {
    uint32_t peer = peer_of(c, route);
    CHECK(peer < PEERS);
    CHECK(frame->magic == KV_WIRE_MAGIC);
    CHECK(frame->kind >= KV_HELLO && frame->kind <= KV_PROBE);
    if (part) zmq_msg_close(part);
    return now->deaf[peer] ? ST_PEER : ST_OK;
}

typeof(chan_lost) __wrap_chan_lost;
status __wrap_chan_lost(chan *c, int *fd) {
    for (uint32_t i = 0; i < PEERS; i++)
        if (now->cut[i] && (now->receiver || now->chans[i] == c)) {
            now->cut[i] = false;
            *fd = (int)i;
            return ST_OK;
        }
    return ST_AGAIN;
}

typeof(chan_is_live) __wrap_chan_is_live;
bool __wrap_chan_is_live(const chan *c, int fd) {
    (void)c;
    return !now->cut[fd];
}

/* ---- frames ---- */

static kv_identity identity(uint32_t peer, uint64_t req, uint32_t attempt) {
    kv_identity id = {.epoch = EPOCH, .req = req, .attempt = attempt};
    id.p_inc = now->receiver ? PEER_INC + peer : OWN_INC;
    id.d_inc = now->receiver ? OWN_INC : PEER_INC + peer;
    return id;
}

static void set_part(chan_msg *m, const void *bytes, size_t count) {
    m->has_part = true;
    zmq_msg_close(&m->part);
    CHECK(zmq_msg_init_size(&m->part, count) == 0);
    if (count) memcpy(zmq_msg_data(&m->part), bytes, count);
}

static uint64_t ids_hash(uint32_t end) {
    uint64_t *hashes = xfer_page_hashes(now->ids, MIN(MAX(end, 1u), TOKENS_MAX));
    uint64_t hash = hashes[kv_pages_for(MIN(MAX(end, 1u), TOKENS_MAX))];
    free(hashes);
    return hash;
}

/* The next rows and layers, or other ones. */
static kv_piece some_piece(script *in) {
    kv_piece c = kv_piece_of(&layout, take_below(in, 7) * KV_PAGE_TOKENS, 1 + take_below(in, TOKENS_MAX), 0,
                             layout.layers);
    uint8_t how = take_byte(in);
    if (how & 1) c.token_begin = take_number(in);
    if (how & 2) c.token_count = take_number(in);
    if (how & 4) c.layer_begin = take_below(in, 4);
    if (how & 8) c.layer_end = take_below(in, 5);
    if (how & 16) c.head_begin = take_number(in);
    if (how & 32) c.head_end = take_number(in);
    if (how & 64) c.layer_begin = take_number(in);
    return c;
}

static void fill_segment(script *in, chan_msg *m) {
    static const unsigned char zeros[SLOT_BYTES];
    kv_frame *f = &m->frame;
    f->slot = take_below(in, SLOTS + 1);
    f->segment = take_number(in);
    f->piece = some_piece(in);
    f->bytes = kv_piece_bytes(&layout, &f->piece);
    f->ids_hash = ids_hash(f->piece.token_begin + f->piece.token_count);
    uint8_t how = take_byte(in);
    if (how & 1) f->bytes = take_number(in);
    if (how & 2) f->ids_hash++;
    if (how & 4) f->checksum = take_number(in);
    size_t carried = how & 8 ? take_number(in) : f->bytes;
    if (!(how & 16)) set_part(m, zeros, MIN(carried, SLOT_BYTES));
}

static void fill_seal(script *in, chan_msg *m) {
    kv_frame *f = &m->frame;
    token_out first = {.id = (int32_t)take_number(in)};
    f->first_token = first.id;
    f->segment = take_below(in, 8);
    f->piece = some_piece(in);
    f->ids_hash = ids_hash(f->piece.token_begin + f->piece.token_count);
    uint8_t how = take_byte(in);
    f->finished = how & 3;
    if (how & 4) first.fin = (finish)take_number(in);
    if (how & 8) first.top_count = take_number(in);
    if (how & 16) first.top[0].logprob = (float)strtod("nan", NULL);
    if (how & 32) f->first_token ^= 1;
    set_part(m, &first, how & 64 ? sizeof first - 1 : sizeof first);
}

static void fill_hello(script *in, chan_msg *m) {
    kv_hello hello = now->x->setup.menu.own;
    uint8_t how = take_byte(in);
    if (how & 1) hello.host++;
    if (how & 2) hello.can = take_number(in);
    if (how & 4) hello.asked = 1;
    m->frame.layout_hash = now->x->setup.layout_hash + (how >> 7);
    set_part(m, &hello, how & 8 ? take_byte(in) % sizeof hello : sizeof hello);
}

static void fill_ring(script *in, chan_msg *m) {
    static const char *const names[] = {"zmq", "shm", "nccl", "", "longname"};
    unsigned char address[XPORT_ADDRESS_MAX + 8] = {0};
    kv_frame *f = &m->frame;
    uint8_t how = take_byte(in);
    f->slot = how & 1 ? take_number(in) : SLOTS;
    f->bytes = how & 2 ? take_number(in) : SLOT_BYTES;
    if (f->slot > 64 && f->slot <= XPORT_SLOTS_MAX) f->slot = 64; /* memory that a sender would really take */
    if (f->bytes > SLOT_BYTES && f->bytes <= XPORT_SLOT_BYTES_MAX) f->bytes = SLOT_BYTES;
    const char *name = names[how & 4 ? take_below(in, ARRAY_LEN(names)) : 0];
    memcpy(f->transport, name, MIN(strlen(name), sizeof f->transport));
    size_t count = how & 8 ? take_number(in) % sizeof address : 0;
    for (size_t i = 0; i < MIN(count, 16); i++) address[i] = take_byte(in);
    if (count) set_part(m, address, count);
}

static void some_frame(script *in, play *p) {
    uint8_t head = take_byte(in), how = take_byte(in);
    uint32_t peer = head % PEERS;
    static const kv_frame_kind kinds[2][8] = {
        {KV_RING, KV_CREDIT, KV_CREDIT, KV_CREDIT, KV_ABORT, KV_REFUSED, KV_RING, KV_CREDIT},
        {KV_HELLO, KV_SEGMENT, KV_SEGMENT, KV_SEAL, KV_ABORT, KV_PROBE, KV_SEGMENT, KV_SEAL}};
    chan_msg *m = &p->msg;
    *m = (chan_msg){.fd = (int)peer, .route = {.bytes = {(unsigned char)peer}, .count = 1}};
    CHECK(zmq_msg_init(&m->part) == 0);
    m->frame = (kv_frame){.magic = KV_WIRE_MAGIC, .version = KV_WIRE_VERSION};
    m->frame.kind = (uint16_t)(how & 1 ? take_below(in, 11) : kinds[p->receiver][head / PEERS % 8]);
    if (m->frame.kind == KV_HELLO) p->seq[peer] = 0;
    m->frame.seq = ++p->seq[peer];
    if (how & 2) m->frame.seq = take_number(in);
    m->frame.id = identity(peer, 1 + take_below(in, REQS), 1);
    if (how & 4) m->frame.id.attempt = take_number(in);
    if (how & 8) m->frame.id.epoch = take_number(in);
    if (how & 16) m->frame.id.p_inc = m->frame.id.d_inc = take_number(in);
    if (kv_frame_has_payload(&m->frame))
        fill_segment(in, m);
    else if (m->frame.kind == KV_SEAL)
        fill_seal(in, m);
    else if (m->frame.kind == KV_HELLO)
        fill_hello(in, m);
    else if (m->frame.kind == KV_RING)
        fill_ring(in, m);
    else if (m->frame.kind == KV_CREDIT)
        m->frame.slot = take_number(in);
    else
        set_part(m, p->ids, take_byte(in));
    p->to = peer;
    p->waiting = true;
}

/* ---- what the worker asks ---- */

static void post(play *p, xfer_cmd *c, uint64_t req) {
    uint32_t pages[(TOKENS_MAX + KV_PAGE_TOKENS) / KV_PAGE_TOKENS];
    c->page_count = kv_pages_for(c->id_count);
    for (uint32_t i = 0; i < c->page_count; i++) pages[i] = (uint32_t)(req - 1) * 7 + i;
    c->pages = pages;
    c->ids = p->ids;
    xfer_post(p->x, c);
}

static void some_command(script *in, play *p) {
    static const char *const endpoints[] = {"a", "b", "c", "z"};
    uint64_t req = 1 + take_below(in, REQS);
    uint8_t how = take_byte(in);
    uint32_t peer = how % PEERS, begin = take_below(in, 3) * KV_PAGE_TOKENS;
    uint32_t count = begin + 1 + take_below(in, TOKENS_MAX - begin);
    xfer_cmd c = {.id = identity(peer, req, 1 + (how >> 6)), .peer_inc = PEER_INC + peer};
    uint32_t what = how / PEERS % 8;
    if (what == 0) {
        c.kind = X_DROP;
        p->drops++;
        xfer_post(p->x, &c);
    } else if (what == 1) {
        c.kind = X_PEER_GONE;
        xfer_post(p->x, &c);
    } else if (p->receiver) {
        c.kind = X_EXPECT;
        c.token_begin = begin;
        c.id_count = count;
        post(p, &c, req);
    } else if (what == 2) {
        c.kind = X_OFFER;
        c.rows_here = begin;
        c.id_count = count;
        post(p, &c, req);
    } else if (what < 5) {
        c.kind = what == 3 ? X_DEST : X_PEER;
        c.endpoint = endpoints[how & 32 ? 3 : peer];
        c.token_begin = begin;
        xfer_post(p->x, &c);
    } else if (what == 5) {
        c.kind = X_SEAL;
        xfer_post(p->x, &c);
    } else {
        for (uint32_t l = 0; l < layout.layers; l++)
            xfer_layer_done(p->x, 0, &(layer_rows){req, begin, count - begin, l});
    }
}

static void take_events(play *p) {
    xfer_event e;
    while (xfer_next(p->x, &e) == ST_OK) {
        if (e.kind == X_DROPPED) p->drops--;
        if (e.kind == X_FAILED) CHECK(e.why[0]);
        if (e.kind != X_VERIFIED) continue;
        CHECK(p->receiver);
        CHECK(e.first.id >= 0);
        CHECK(e.first.fin <= FINISH_LENGTH);
        CHECK(e.first.top_count <= SAMPLING_LOGPROBS_MAX);
        for (uint32_t i = 0; i < e.first.top_count; i++)
            CHECK(e.first.top[i].logprob == e.first.top[i].logprob);
    }
}

/* As xfer.c does. */
static void turn(play *p) {
    xfer_drain_commands(p->x);
    p->x->role->turn(p->x);
    xfer_judge_pairs(p->x);
    xfer_reap_pairs(p->x);
    xfer_flush_events(p->x);
    if (p->waiting) chan_msg_done(&p->msg); /* nobody listened */
    p->waiting = false;
    take_events(p);
}

static void one_event(play *p) {
    uint8_t what = take_below(&p->in, 16);
    uint32_t peer = what % PEERS;
    if (what < 11)
        some_frame(&p->in, p);
    else if (what < 14)
        some_command(&p->in, p);
    else if (what == 14)
        p->x->awake_ns += take_below(&p->in, 200) * 100 * NS_PER_MS;
    else if (take_below(&p->in, 2))
        p->cut[take_below(&p->in, PEERS)] = true;
    else
        p->deaf[peer] = !p->deaf[peer];
    turn(p);
}

static engine_kv memory(void) {
    engine_kv kv = {.ops = backend_find("ref"), .layout = layout, .page_count = PAGES, .spare_page = PAGES};
    errbuf eb = {0};
    kv.seq_pages_max = TOKENS_MAX / KV_PAGE_TOKENS + 1;
    device_options o = {.threads = 1,
                        .act_type = DT_F32,
                        .deterministic = true,
                        .max_seq_pages = kv.seq_pages_max,
                        .page_count = PAGES + 1};
    CHECK(kv.ops->open(&kv.dev, &o, &eb) == ST_OK);
    kv.base = kv.ops->mem_alloc(kv.dev, (PAGES + 1) * kv_page_bytes(&layout));
    CHECK(kv.base);
    return kv;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    play p = {.in = {data, data + size}};
    errbuf eb = {0};
    log_setup(LOG_ERROR, "fuzz");
    uint8_t how = take_byte(&p.in);
    p.receiver = how & 1;
    for (uint32_t i = 0; i < TOKENS_MAX; i++) p.ids[i] = (int32_t)i;
    now = &p;
    xfer_options o = {.kv = memory(),
                      .receiver = p.receiver,
                      .transport = how & 2 ? "auto" : "zmq",
                      .bind_host = "127.0.0.1",
                      .slots = SLOTS,
                      .slot_bytes = SLOT_BYTES,
                      .segment_bytes = 1024,
                      .layers_ring = 256,
                      .pair_timeout_ns = 5 * NS_PER_S,
                      .overlap = how & 4,
                      .checksums = how & 8,
                      .test_flip_segment = -1};
    memset(o.kv.base, ALIEN, (PAGES + 1) * kv_page_bytes(&layout));
    starting = true;
    CHECK(xfer_new(&p.x, &o, &eb) == ST_OK);
    starting = false;
    p.x->running = false;
    p.x->awake_ns = 1;
    xfer_post(p.x, &(xfer_cmd){.kind = X_EPOCH,
                               .id = {.epoch = EPOCH,
                                      .p_inc = p.receiver ? 0 : OWN_INC,
                                      .d_inc = p.receiver ? OWN_INC : 0}});
    turn(&p);
    for (uint32_t n = 0; n < EVENTS_MAX && !script_over(&p.in); n++) one_event(&p);
    turn(&p);
    CHECK(p.drops == 0);
    /* Pages 28 and up belong to nobody. */
    for (size_t i = 7 * REQS * kv_page_bytes(&layout); i < PAGES * kv_page_bytes(&layout); i++)
        CHECK(((const unsigned char *)o.kv.base)[i] == ALIEN);
    xfer_free(p.x);
    o.kv.ops->mem_free(o.kv.dev, o.kv.base, (PAGES + 1) * kv_page_bytes(&layout));
    o.kv.ops->close(o.kv.dev);
    return 0;
}
