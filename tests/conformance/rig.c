#include "tests/conformance/rig.h"

#include "base/clock.h"
#include "base/mem.h"
#include "kernels/backends.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define DEADLINE_NS (60 * NS_PER_S)
#define NAP_REQ     0xffffffffffull

kv_layout rig_layout(dtype type) {
    return (kv_layout){.type = type, .layers = 6, .kv_heads = RIG_KV_HEADS, .head_dim = 16};
}

const xport_ops *rig_test_xport(const char *name) {
    return strcmp(name, xport_slow.name) ? NULL : &xport_slow;
}

static bool between_gpus(const char *transport) {
    return !strcmp(transport, "nccl") || !strcmp(transport, "ipc");
}

const backend_ops *rig_backend(const char *transport) {
    return backend_find(between_gpus(transport) ? "cuda" : "ref");
}

/* Gathers and scatters of a GPU want their tables. Its own layout is a stand-in: it takes heads of 16 numbers
 * as f32 only, and copies go by the piece's. */
static void attend(rig_side *s) {
    errbuf eb = {0};
    attend_setup a = {.layout = s->kv.layout,
                      .kv = s->kv.base,
                      .heads = RIG_KV_HEADS,
                      .scale = 1,
                      .rope_dim = 2,
                      .rope_base = 10000};
    a.layout.type = DT_F32;
    if (s->kv.ops->attend_setup(s->kv.dev, &a, &eb)) fail_msg("attend_setup: %s", eb.text);
}

void rig_open(rig_side *s, const rig_options *o) {
    errbuf eb = {0};
    s->inc = o->inc;
    s->kv.ops = o->ops ? o->ops : rig_backend(o->transport);
    assert_non_null(s->kv.ops);
    s->slow_turns = !strcmp(o->transport, xport_slow.name) ? RIG_SLOW_TURNS
                    : !strcmp(s->kv.ops->name, "cuda")     ? RIG_GPU_TURNS
                                                           : 0;
    s->kv.layout = o->layout.layers ? o->layout : rig_layout(DT_F16);
    s->kv.page_count = o->page_count ? o->page_count : 256;
    s->kv.spare_page = s->kv.page_count;
    s->kv.seq_pages_max = RIG_TOKENS_MAX / KV_PAGE_TOKENS + 1;
    device_options opened = {.threads = 1,
                             .gpu = o->gpu,
                             .act_type = DT_F32,
                             .deterministic = true,
                             .max_seq_pages = s->kv.seq_pages_max,
                             .page_count = s->kv.page_count + 1};
    if (s->kv.ops->open(&s->kv.dev, &opened, &eb)) fail_msg("open: %s", eb.text);
    size_t bytes = (s->kv.page_count + 1) * kv_page_bytes(&s->kv.layout);
    s->kv.base = s->kv.ops->mem_alloc(s->kv.dev, bytes);
    assert_non_null(s->kv.base);
    if (!strcmp(s->kv.ops->name, "cuda")) attend(s);
    memset(s->kv.base, RIG_BLANK, bytes); /* the emulated GPU's memory is the host's */
    xfer_options xo = {
        .kv = s->kv,
        .receiver = o->receiver,
        .transport = o->transport,
        .test_xport = rig_test_xport(o->transport),
        .bind_host = "127.0.0.1",
        .slots = o->slots ? o->slots : 8,
        .slot_bytes = o->slot_bytes ? o->slot_bytes : 64 * 1024,
        .segment_bytes = o->segment_bytes ? o->segment_bytes : 4096,
        .layers_ring = 256,
        .pair_timeout_ns = o->pair_timeout_ns ? o->pair_timeout_ns : 20 * NS_PER_S,
        .overlap = !o->hold,
        .checksums = !o->trusting,
        .test_flip_segment = o->flip - 1,
        .keys = o->keys,
    };
    if (xfer_new(&s->x, &xo, &eb)) fail_msg("xfer_new: %s", eb.text);
    xfer_cmd epoch = {.kind = X_EPOCH, .id = {.epoch = RIG_EPOCH}};
    *(o->receiver ? &epoch.id.d_inc : &epoch.id.p_inc) = o->inc;
    xfer_post(s->x, &epoch);
}

void rig_close(rig_side *s) {
    xfer_free(s->x);
    s->kv.ops->mem_free(s->kv.dev, s->kv.base, (s->kv.page_count + 1) * kv_page_bytes(&s->kv.layout));
    s->kv.ops->close(s->kv.dev);
    *s = (rig_side){0};
}

void rig_open_both(rig_side *p, rig_side *d, rig_options o) {
    o.inc = RIG_P_INC;
    o.receiver = false;
    rig_open(p, &o);
    o.inc = RIG_D_INC;
    o.receiver = true;
    rig_open(d, &o);
}

void rig_close_both(rig_side *p, rig_side *d) {
    rig_close(p);
    rig_close(d);
}

rig_work rig_work_of(const rig_side *p, const rig_side *d, uint64_t req, uint32_t attempt, uint32_t count,
                     uint32_t first_page) {
    rig_work w = {.count = count, .page_count = kv_pages_for(count + 1)};
    assert_true(count <= RIG_TOKENS_MAX);
    w.id =
        (kv_identity){.epoch = RIG_EPOCH, .p_inc = p->inc, .d_inc = d->inc, .req = req, .attempt = attempt};
    for (uint32_t i = 0; i < count; i++) w.ids[i] = (int32_t)((req * 31 + i * 7) % 1000);
    /* Descending and with holes, so that nothing works by pages being neighbours. */
    for (uint32_t i = 0; i < w.page_count; i++) w.pages[i] = first_page + 2 * (w.page_count - 1 - i);
    assert_true(w.pages[0] < p->kv.page_count && w.pages[0] < d->kv.page_count);
    return w;
}

static uint32_t content(uint64_t salt, uint32_t layer, uint32_t is_v, uint32_t head, uint32_t pos,
                        uint32_t dim) {
    return (uint32_t)(kv_mix(salt ^ kv_mix(((uint64_t)layer << 40) ^ ((uint64_t)is_v << 39) ^
                                           ((uint64_t)head << 32) ^ ((uint64_t)pos << 12) ^ dim)) >>
                      16);
}

/* Calls f for each element of rows [begin, end) and layers [first, last): its address and content. */
typedef void element_fn(void *ctx, unsigned char *at, const void *want, size_t bytes);
static void each_element(const rig_side *s, const rig_work *w, uint32_t begin, uint32_t end, uint32_t first,
                         uint32_t last, element_fn *f, void *ctx) {
    const kv_layout *l = &s->kv.layout;
    uint32_t per_row = 2 * l->kv_heads * l->head_dim;
    size_t size = kv_elem_bytes(l);
    for (uint32_t layer = first; layer < last; layer++)
        for (uint32_t pos = begin; pos < end; pos++)
            for (uint32_t i = 0; i < per_row; i++) {
                uint32_t is_v = i / (l->kv_heads * l->head_dim), head = i / l->head_dim % l->kv_heads;
                uint32_t dim = i % l->head_dim;
                size_t at = kv_tile_offset(l, w->pages[pos / KV_PAGE_TOKENS], layer, is_v, head) +
                            ((size_t)(pos % KV_PAGE_TOKENS) * l->head_dim + dim) * size;
                uint32_t want = content(w->id.req, layer, is_v, head, pos, dim);
                f(ctx, (unsigned char *)s->kv.base + at, &want, size);
            }
}

static void put_element(void *ctx, unsigned char *at, const void *want, size_t bytes) {
    (void)ctx;
    memcpy(at, want, bytes);
}

static void compare_element(void *ctx, unsigned char *at, const void *want, size_t bytes) {
    *(uint32_t *)ctx += memcmp(at, want, bytes) != 0;
}

/* Elements become blank as they are counted, so that what is left over was never a row. */
static void blank_element(void *ctx, unsigned char *at, const void *want, size_t bytes) {
    (void)ctx;
    (void)want;
    memset(at, RIG_BLANK, bytes);
}

uint32_t rig_wrong(const rig_side *s, const rig_work *w) {
    uint32_t wrong = 0;
    each_element(s, w, w->begin, w->count, 0, s->kv.layout.layers, compare_element, &wrong);
    return wrong;
}

uint32_t rig_spilled(const rig_side *s, const rig_work *w) {
    uint32_t spilled = 0;
    size_t bytes = kv_page_bytes(&s->kv.layout);
    each_element(s, w, w->begin, w->count, 0, s->kv.layout.layers, blank_element, NULL);
    for (uint32_t i = 0; i < w->page_count; i++)
        for (size_t k = 0; k < bytes; k++)
            spilled += ((const unsigned char *)s->kv.base + w->pages[i] * bytes)[k] != RIG_BLANK;
    return spilled;
}

void rig_paint(rig_side *s, const rig_work *w, int byte) {
    size_t bytes = kv_page_bytes(&s->kv.layout);
    for (uint32_t i = 0; i < w->page_count; i++)
        memset((unsigned char *)s->kv.base + w->pages[i] * bytes, byte, bytes);
}

bool rig_painted(const rig_side *s, const rig_work *w, int byte) {
    size_t bytes = kv_page_bytes(&s->kv.layout);
    for (uint32_t i = 0; i < w->page_count; i++)
        for (size_t k = 0; k < bytes; k++)
            if (((const unsigned char *)s->kv.base + w->pages[i] * bytes)[k] != byte) return false;
    return true;
}

bool rig_blank(const rig_side *s, const rig_work *w) {
    return rig_painted(s, w, RIG_BLANK);
}

void rig_offer(rig_side *p, const rig_work *w) {
    each_element(p, w, 0, w->here, 0, p->kv.layout.layers, put_element, NULL);
    xfer_post(p->x, &(xfer_cmd){.kind = X_OFFER,
                                .id = w->id,
                                .ids = w->ids,
                                .id_count = w->count,
                                .pages = w->pages,
                                .page_count = kv_pages_for(w->count),
                                .rows_here = w->here});
}

void rig_expect(rig_side *d, const rig_work *w) {
    xfer_post(d->x, &(xfer_cmd){.kind = X_EXPECT,
                                .id = w->id,
                                .token_begin = w->begin,
                                .ids = w->ids,
                                .id_count = w->count,
                                .pages = w->pages,
                                .page_count = w->page_count});
}

void rig_dest(rig_side *p, const rig_work *w, const char *endpoint) {
    xfer_post(p->x, &(xfer_cmd){.kind = X_DEST, .id = w->id, .token_begin = w->begin, .endpoint = endpoint});
}

token_out rig_first(const rig_work *w) {
    token_out t = {.id = (int32_t)w->id.req + 5, .logprob = -0.25f, .top_count = 2};
    t.top[0] = (token_logprob){.id = t.id, .logprob = -0.25f};
    t.top[1] = (token_logprob){.id = 3, .logprob = -1.5f};
    return t;
}

void rig_seal(rig_side *p, const rig_work *w) {
    xfer_post(p->x,
              &(xfer_cmd){.kind = X_SEAL, .id = w->id, .first = rig_first(w), .finished = w->count == 1});
}

void rig_layer(rig_side *p, const rig_work *w, uint32_t begin, uint32_t count, uint32_t layer) {
    each_element(p, w, begin, begin + count, layer, layer + 1, put_element, NULL);
    xfer_layer_done(p->x, 0, &(layer_rows){w->id.req, begin, count, layer});
}

void rig_compute(rig_side *p, const rig_work *w, uint32_t chunk) {
    for (uint32_t begin = w->here; begin < w->count; begin += chunk)
        for (uint32_t layer = 0; layer < p->kv.layout.layers; layer++)
            rig_layer(p, w, begin, MIN(chunk, w->count - begin), layer);
}

/* What becomes of pairs is told beside hand-offs; most tests are about those. */
static xfer_event next_event(rig_side *s, bool of_pairs) {
    uint64_t deadline_ns = clock_now_ns() + DEADLINE_NS;
    xfer_event e;
    while (xfer_next(s->x, &e) || (e.kind == X_PAIR) != of_pairs) {
        uint64_t now_ns = clock_now_ns();
        if (now_ns >= deadline_ns) fail_msg("no event before the deadline");
        struct pollfd p = {.fd = xfer_fd(s->x), .events = POLLIN};
        poll(&p, 1, (int)((deadline_ns - now_ns) / NS_PER_MS) + 1);
    }
    return e;
}

xfer_event rig_wait(rig_side *s, xfer_event_kind kind, uint64_t req) {
    xfer_event e = next_event(s, false);
    if (e.kind != kind || e.id.req != req)
        fail_msg("event %d of request %llu (%s), want %d of %llu", e.kind, (unsigned long long)e.id.req,
                 e.kind == X_FAILED ? e.why : "", kind, (unsigned long long)req);
    return e;
}

xfer_event rig_wait_pair(rig_side *s) {
    return next_event(s, true);
}

void rig_nothing(rig_side *s) {
    rig_nap(s);
    xfer_event e;
    while (xfer_next(s->x, &e) == ST_OK) assert_int_equal(e.kind, X_PAIR);
}

void rig_nap(rig_side *s) {
    /* Two, because the first may be answered in the middle of a turn whose sending part is still to come; and
     * one for each time that a slow transport is asked in vain, on the way there and back. */
    for (uint32_t i = 0; i < 2 + s->slow_turns; i++) {
        xfer_post(s->x, &(xfer_cmd){.kind = X_DROP, .id = {.req = NAP_REQ}});
        rig_wait(s, X_DROPPED, NAP_REQ);
    }
}

void rig_drop(rig_side *s, uint64_t req) {
    xfer_post(s->x, &(xfer_cmd){.kind = X_DROP, .id = {.req = req}});
    while (next_event(s, false).kind != X_DROPPED) continue;
}

void raw_open(raw_peer *r, const rig_side *like, const char *transport, uint32_t slots, size_t slot_bytes) {
    *r = (raw_peer){.kv = like->kv};
    const kv_layout *l = &like->kv.layout;
    const int32_t words[] = {(int32_t)l->type, (int32_t)l->layers, (int32_t)l->kv_heads, (int32_t)l->head_dim,
                             (int32_t)KV_PAGE_TOKENS};
    r->zmq = zmq_ctx_new();
    r->setup = (pair_setup){
        .zmq = r->zmq, .router = &r->router, .slots = slots, .slot_bytes = slot_bytes, .dead_ms = 20000};
    assert_int_equal(
        menu_make(&r->setup.menu, transport, like->kv.ops, like->kv.dev, rig_test_xport(transport), NULL),
        ST_OK);
    r->setup.slot_bytes_min = kv_segment_bytes(l, KV_PAGE_TOKENS, 1);
    r->setup.layout_hash = kv_ids_hash(KV_IDS_HASH_START, words, ARRAY_LEN(words));
}

void raw_close(raw_peer *r) {
    pair_free(r->p);
    chan_close(&r->router);
    zmq_ctx_term(r->zmq);
    *r = (raw_peer){0};
}

static chan *raw_chan(raw_peer *r) {
    return r->p ? r->p->link : &r->router;
}

static void raw_next(raw_peer *r, chan_msg *m) {
    uint64_t deadline_ns = clock_now_ns() + DEADLINE_NS;
    while (chan_recv(raw_chan(r), m)) {
        if (clock_now_ns() >= deadline_ns) fail_msg("no frame before the deadline");
        zmq_pollitem_t item = {.socket = raw_chan(r)->socket, .events = ZMQ_POLLIN};
        zmq_poll(&item, 1, 1000);
    }
}

static void raw_wait_open(raw_peer *r) {
    errbuf eb = {0};
    status st;
    while ((st = pair_open(r->p, &eb)) == ST_AGAIN) continue;
    if (st) fail_msg("ring: %s", eb.text);
}

kv_frame raw_read(raw_peer *r, char text[CHAN_TEXT_MAX]) {
    chan_msg m;
    raw_next(r, &m);
    assert_int_equal(pair_count(r->p, &m.frame, NULL), ST_OK);
    if (text) chan_msg_text(&m, text);
    chan_msg_done(&m);
    return m.frame;
}

bool raw_reads_nothing(raw_peer *r) {
    chan_msg m;
    if (chan_recv(raw_chan(r), &m) == ST_AGAIN) return true;
    chan_msg_done(&m);
    return false;
}

void raw_call(raw_peer *r, const char *endpoint, const kv_identity *id) {
    errbuf eb = {0};
    assert_int_equal(pair_connect(&r->p, &r->setup, endpoint, id, r->setup.menu.own.can, 1, &eb), ST_OK);
    chan_msg m;
    raw_next(r, &m);
    assert_int_equal(pair_count(r->p, &m.frame, NULL), ST_OK);
    chan_msg_text(&m, eb.text);
    if (m.frame.kind != KV_RING) fail_msg("refused: %s", eb.text);
    if (pair_ring(r->p, &m, &eb)) fail_msg("ring: %s", eb.text);
    chan_msg_done(&m);
    raw_wait_open(r);
}

kv_frame raw_segment(raw_peer *r, const rig_work *w, uint32_t segment, kv_piece piece, uint32_t slot) {
    const kv_layout *l = &r->kv.layout;
    kv_frame f = {.kind = KV_SEGMENT, .id = w->id, .segment = segment, .slot = slot};
    f.piece = piece;
    f.bytes = kv_piece_bytes(l, &piece);
    f.ids_hash = kv_ids_hash(KV_IDS_HASH_START, w->ids, piece.token_begin + piece.token_count);
    xport_place stage = r->p->xport->stage(r->p->ring, slot);
    op_kv_copy copy = {.layout = l, .kv = r->kv.base, .pages = w->pages, .wire = stage.at};
    copy.wire_in = MEMORY_HOST;
    copy.piece = piece;
    copy.seed = kv_segment_seed(&f.id, segment, &piece, f.ids_hash);
    copy.checksum = &f.checksum;
    /* By `ref`, since the device's own gathers are its transfer thread's. */
    assert_int_equal(backend_find("ref")->kv_gather(r->kv.dev, &copy), ST_OK);
    return f;
}

bool raw_push(raw_peer *r, const kv_frame *f) {
    const xport_ops *xport = r->p->xport;
    status st = xport->push(r->p->ring, f->slot, f->bytes, NULL);
    while (st == ST_AGAIN) st = xport->pushed(r->p->ring, f->slot, NULL);
    return st == ST_OK;
}

void raw_announce(raw_peer *r, kv_frame *f) {
    const xport_ops *xport = r->p->xport;
    xport_part x;
    zmq_msg_t part;
    bool inlined = xport->part(r->p->ring, f->slot, f->bytes, &x);
    if (inlined) assert_int_equal(zmq_msg_init_data(&part, x.bytes, x.count, x.release, x.hint), 0);
    assert_int_equal(pair_send(r->p, f, inlined ? &part : NULL), ST_OK);
}

void raw_send_segment(raw_peer *r, kv_frame *f) {
    assert_true(raw_push(r, f));
    raw_announce(r, f);
}

void raw_listen(raw_peer *r) {
    errbuf eb = {0};
    if (chan_listen(&r->router, r->zmq, "127.0.0.1", NULL, 1 << 20, r->setup.dead_ms, &eb))
        fail_msg("%s", eb.text);
    memcpy(r->endpoint, r->router.at, sizeof r->endpoint);
}

kv_frame raw_answer(raw_peer *r, uint64_t d_inc, bool with_ring) {
    errbuf eb = {0};
    chan_msg m;
    raw_next(r, &m);
    assert_int_equal(m.frame.kind, KV_HELLO);
    kv_identity own = {.epoch = RIG_EPOCH, .d_inc = d_inc};
    if (with_ring && pair_accept(&r->p, &r->setup, &m, &own, 1, &eb)) fail_msg("%s", eb.text);
    chan_msg_done(&m);
    if (with_ring) raw_wait_open(r);
    return m.frame;
}

void raw_credit(raw_peer *r, uint32_t slot) {
    kv_frame f = {.kind = KV_CREDIT, .slot = slot};
    assert_int_equal(pair_send(r->p, &f, NULL), ST_OK);
}
