/* What a transport has to do when something breaks: fail closed, say why on both sides, and never touch a
 * page afterwards. */
#include "tests/conformance/rig.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "kernels/backends.h"

#include <string.h>

static void start(rig_side *p, rig_side *d, const rig_work *w) {
    rig_offer(p, w);
    rig_expect(d, w);
    rig_dest(p, w, xfer_endpoint(d->x));
}

/* A raw sender that has called d, with memory of its own full of w's content. */
typedef struct raw_sender {
    rig_side like; /* its page memory; the thread in it stays idle */
    raw_peer raw;
} raw_sender;

static void raw_sender_open(raw_sender *s, const char *transport, rig_side *d, rig_work *w, uint32_t count) {
    rig_open(&s->like, &(rig_options){.transport = transport, .inc = RIG_P_INC, .layout = d->kv.layout});
    raw_open(&s->raw, &s->like, transport, 0, 0);
    *w = rig_work_of(&s->like, d, 1, 1, count, 0);
    rig_compute(&s->like, w, count); /* of no offer: only fills the pages */
    rig_expect(d, w);
    raw_call(&s->raw, xfer_endpoint(d->x), &w->id);
}

static void raw_sender_close(raw_sender *s) {
    raw_close(&s->raw);
    rig_close(&s->like);
}

static void expect_failed(rig_side *s, const rig_work *w, const char *why) {
    xfer_event e = rig_wait(s, X_FAILED, w->id.req);
    assert_memory_equal(&e.id, &w->id, sizeof w->id);
    assert_string_equal(e.why, why);
}

static void expect_credit_and_abort(raw_peer *r, const kv_frame *about, const char *why) {
    char text[CHAN_TEXT_MAX];
    kv_frame f = raw_read(r, text);
    assert_int_equal(f.kind, KV_ABORT);
    assert_memory_equal(&f.id, &about->id, sizeof f.id);
    assert_string_equal(text, why);
    f = raw_read(r, NULL);
    assert_int_equal(f.kind, KV_CREDIT);
    assert_int_equal(f.slot, about->slot);
}

static void a_flipped_byte_fails_the_handoff_on_both_sides(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state, .flip = 2 + 1, .segment_bytes = 1});
    rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0);
    start(&p, &d, &w);
    rig_compute(&p, &w, 112);
    expect_failed(&d, &w, "segment 2: checksum mismatch");
    expect_failed(&p, &w, "segment 2: checksum mismatch");
    rig_close_both(&p, &d);
}

static void a_sender_that_heard_of_a_failure_sends_no_more(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state, .flip = 0 + 1, .segment_bytes = 1});
    rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0);
    start(&p, &d, &w);
    rig_layer(&p, &w, 0, 100, 0);
    expect_failed(&d, &w, "segment 0: checksum mismatch");
    expect_failed(&p, &w, "segment 0: checksum mismatch");
    assert_int_equal(xfer_stats_of(d.x).crc_errors, 1);
    assert_int_equal(xfer_stats_of(d.x).failures, 1);
    for (uint32_t layer = 1; layer < 6; layer++) rig_layer(&p, &w, 0, 100, layer);
    rig_seal(&p, &w);
    rig_nothing(&p); /* it sends no more of it */
    rig_nothing(&d);
    rig_close_both(&p, &d);
}

static void without_checksums_the_flipped_byte_gets_through(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d,
                  (rig_options){.transport = *state, .flip = 2 + 1, .segment_bytes = 1, .trusting = true});
    rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0);
    start(&p, &d, &w);
    rig_compute(&p, &w, 112);
    rig_seal(&p, &w);
    rig_wait(&d, X_VERIFIED, 1);
    assert_int_equal(rig_wrong(&d, &w), 1);
    rig_close_both(&p, &d);
}

static void another_incarnation_is_refused(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state});
    rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0);
    rig_expect(&d, &w);
    rig_work v = w;
    v.id.d_inc++;
    rig_offer(&p, &v);
    rig_dest(&p, &v, xfer_endpoint(d.x));
    rig_compute(&p, &v, 112);
    expect_failed(&p, &v, "the receiver is not the incarnation that was called");
    v = w;
    v.id.epoch++;
    rig_dest(&p, &v, xfer_endpoint(d.x));
    expect_failed(&p, &v, "the destination names another epoch or sender");
    v = w;
    v.id.p_inc++;
    rig_dest(&p, &v, xfer_endpoint(d.x));
    expect_failed(&p, &v, "the destination names another epoch or sender");
    assert_true(rig_blank(&d, &w));
    rig_nap(&d); /* the look above is over before the thread writes */
    rig_seal(&p, &w);
    rig_dest(&p, &w, xfer_endpoint(d.x)); /* the right one still works */
    rig_wait(&p, X_SENT, 1);
    rig_wait(&d, X_VERIFIED, 1);
    assert_int_equal(rig_wrong(&d, &w), 0);
    rig_close_both(&p, &d);
}

static void another_attempt_is_aborted_and_touches_nothing(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state});
    rig_work w = rig_work_of(&p, &d, 1, 2, 100, 0);
    rig_expect(&d, &w);
    rig_work late = w;
    late.id.attempt = 1;
    rig_offer(&p, &late);
    rig_dest(&p, &late, xfer_endpoint(d.x));
    rig_layer(&p, &late, 0, 100, 0);
    expect_failed(&p, &late, "the receiver does not expect this request and attempt");
    rig_nothing(&d);
    assert_true(rig_blank(&d, &w));
    rig_nap(&d); /* the look above is over before the thread writes */
    assert_true(xfer_stats_of(d.x).strays >= 1);
    for (uint32_t layer = 1; layer < 6; layer++) rig_layer(&p, &w, 0, 100, layer);
    rig_dest(&p, &w, xfer_endpoint(d.x));
    rig_seal(&p, &w);
    rig_wait(&p, X_SENT, 1);
    rig_wait(&d, X_VERIFIED, 1);
    assert_int_equal(rig_wrong(&d, &w), 0);
    rig_close_both(&p, &d);
}

static void an_unexpected_request_is_aborted(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state});
    rig_work w = rig_work_of(&p, &d, 1, 1, 16, 0);
    rig_offer(&p, &w);
    rig_nap(&d);
    rig_dest(&p, &w, xfer_endpoint(d.x));
    rig_layer(&p, &w, 0, 16, 2);
    expect_failed(&p, &w, "the receiver does not expect this request and attempt");
    rig_dest(&p, &w, xfer_endpoint(d.x)); /* the same attempt again: it is over */
    expect_failed(&p, &w, "this attempt failed already");
    rig_nothing(&d);
    rig_close_both(&p, &d);
}

static void other_token_ids_fail_the_handoff(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state});
    rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0);
    rig_work other = w;
    other.ids[70]++;
    rig_offer(&p, &other);
    rig_expect(&d, &w);
    rig_dest(&p, &w, xfer_endpoint(d.x));
    rig_layer(&p, &w, 0, 64, 5); /* the ids up to here are the same */
    rig_layer(&p, &w, 64, 36, 5);
    expect_failed(&d, &w, "it is of other token ids");
    expect_failed(&p, &w, "it is of other token ids");
    rig_close_both(&p, &d);
}

static void rows_that_were_not_asked_for_fail_closed(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state});
    rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0), all = w;
    w.begin = 32;
    rig_offer(&p, &w);
    rig_compute(&p, &w, 112);
    rig_expect(&d, &w);
    rig_dest(&p, &all, xfer_endpoint(d.x));
    xfer_event e = rig_wait(&d, X_FAILED, 1);
    assert_int_equal(e.segments, 0);
    assert_string_equal(rig_wait(&p, X_FAILED, 1).why, e.why);
    assert_true(rig_blank(&d, &w));
    w.id.attempt = 2;
    w.begin = 8; /* in the middle of a page */
    rig_dest(&p, &w, xfer_endpoint(d.x));
    expect_failed(&p, &w, "the receiver wants it from a row where no hand-off can start");
    rig_close_both(&p, &d);
}

static void what_breaks_the_coverage_fails_closed(void **state) {
    static const struct {
        kv_piece second;
        uint32_t number;
        const char *why;
    } cases[] = {
        {{0, 16, 1, 2, 0, RIG_KV_HEADS}, 1, "rows from 0, layers 1..2 came twice"},
        {{16, 16, 0, 2, 0, RIG_KV_HEADS}, 2, "segment 2 where 1 is the next"},
        {{16, 16, 0, 2, 0, RIG_KV_HEADS}, 0, "segment 0 where 1 is the next"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        rig_side d;
        rig_work w;
        raw_sender s;
        rig_open(&d, &(rig_options){.transport = *state, .receiver = true, .inc = RIG_D_INC});
        raw_sender_open(&s, *state, &d, &w, 40);
        kv_frame f = raw_segment(&s.raw, &w, 0, rig_piece(0, 16, 0, 2), 0);
        raw_send_segment(&s.raw, &f);
        assert_int_equal(raw_read(&s.raw, NULL).kind, KV_CREDIT);
        f = raw_segment(&s.raw, &w, cases[i].number, cases[i].second, 3);
        raw_send_segment(&s.raw, &f);
        expect_failed(&d, &w, cases[i].why);
        expect_credit_and_abort(&s.raw, &f, cases[i].why);
        f = raw_segment(&s.raw, &w, 1, rig_piece(16, 16, 0, 2), 1); /* late: only credited */
        raw_send_segment(&s.raw, &f);
        assert_int_equal(raw_read(&s.raw, NULL).kind, KV_CREDIT);
        rig_nothing(&d);
        raw_sender_close(&s);
        rig_close(&d);
    }
}

/* Frames that lie about their shape: none may make the receiver read or write outside the slot and the pages.
 */
static void lies_about_the_shape_fail_closed(void **state) {
    for (int lie = 0; lie < 6; lie++) {
        rig_side d;
        rig_work w;
        raw_sender s;
        char text[CHAN_TEXT_MAX];
        rig_open(&d, &(rig_options){.transport = *state, .receiver = true, .inc = RIG_D_INC});
        raw_sender_open(&s, *state, &d, &w, 40);
        kv_frame f = raw_segment(&s.raw, &w, 0, rig_piece(16, 16, 0, 2), 0);
        if (lie == 0) f.piece.token_count = 1 << 30;
        if (lie == 1) f.piece.token_begin = 1 << 30;
        if (lie == 2) f.piece.layer_end = 1000;
        if (lie == 3) f.piece.layer_end = 3; /* more rows than the payload has */
        if (lie == 4) f.bytes -= 8;
        if (lie == 5) f.piece.layer_begin = 2;
        raw_send_segment(&s.raw, &f);
        assert_int_equal(rig_wait(&d, X_FAILED, 1).segment, 0);
        assert_int_equal(raw_read(&s.raw, text).kind, KV_ABORT);
        assert_int_equal(raw_read(&s.raw, NULL).kind, KV_CREDIT);
        assert_true(rig_blank(&d, &w));
        f = raw_segment(&s.raw, &w, 0, rig_piece(16, 16, 0, 2), 1);
        kv_frame beyond = f;
        if (lie % 2)
            beyond.slot = 4000;
        else
            beyond.bytes = s.raw.p->slot_bytes + 8;
        assert_int_equal(pair_send(s.raw.p, &beyond, NULL), ST_OK);
        assert_int_equal(raw_read(&s.raw, text).kind, KV_REFUSED);
        assert_string_equal(text, lie % 2 ? "a segment in a slot that the ring does not have"
                                          : "a segment that is larger than its slot");
        raw_sender_close(&s);
        rig_close(&d);
    }
}

static void a_seal_before_the_last_segment_fails_closed(void **state) {
    rig_side d;
    rig_work w;
    raw_sender s;
    char text[CHAN_TEXT_MAX];
    rig_open(&d, &(rig_options){.transport = *state, .receiver = true, .inc = RIG_D_INC});
    raw_sender_open(&s, *state, &d, &w, 40);
    kv_frame f = raw_segment(&s.raw, &w, 0, rig_piece(0, 32, 0, 6), 0);
    raw_send_segment(&s.raw, &f);
    assert_int_equal(raw_read(&s.raw, NULL).kind, KV_CREDIT);
    kv_frame seal = {.kind = KV_SEAL, .id = w.id, .segment = 1, .piece = {.token_count = 40}};
    assert_int_equal(pair_send(s.raw.p, &seal, NULL), ST_OK);
    expect_failed(&d, &w, "rows from 32, layer 0 are missing");
    assert_int_equal(raw_read(&s.raw, text).kind, KV_ABORT);
    assert_string_equal(text, "rows from 32, layer 0 are missing");
    raw_sender_close(&s);
    rig_close(&d);
}

static void a_gap_in_the_numbers_ends_the_pair(void **state) {
    rig_side d;
    rig_work w;
    raw_sender s;
    char text[CHAN_TEXT_MAX];
    rig_open(&d, &(rig_options){.transport = *state, .receiver = true, .inc = RIG_D_INC});
    raw_sender_open(&s, *state, &d, &w, 40);
    kv_frame f = raw_segment(&s.raw, &w, 0, rig_piece(0, 16, 0, 2), 0);
    raw_send_segment(&s.raw, &f);
    assert_int_equal(raw_read(&s.raw, NULL).kind, KV_CREDIT);
    s.raw.p->seq_out++; /* a frame that was lost */
    f = raw_segment(&s.raw, &w, 1, rig_piece(16, 16, 0, 2), 1);
    raw_send_segment(&s.raw, &f);
    expect_failed(&d, &w, "frame 4 where 3 is the next: frames were lost");
    assert_int_equal(raw_read(&s.raw, text).kind, KV_REFUSED);
    assert_string_equal(text, "frame 4 where 3 is the next: frames were lost");
    raw_sender_close(&s);
    rig_close(&d);
}

/* The page goes to another request while a writer of the first is still under way: in its ring, and on the
 * wire. */
static void a_delayed_writer_never_touches_a_page_that_was_reused(void **state) {
    rig_side d;
    rig_work w;
    raw_sender s;
    char text[CHAN_TEXT_MAX];
    rig_open(&d, &(rig_options){.transport = *state, .receiver = true, .inc = RIG_D_INC});
    raw_sender_open(&s, *state, &d, &w, 100);
    kv_frame f = raw_segment(&s.raw, &w, 0, rig_piece(0, 100, 0, 1), 0);
    raw_send_segment(&s.raw, &f);
    assert_int_equal(raw_read(&s.raw, NULL).kind, KV_CREDIT);

    rig_drop(&d, 1);         /* answered: not touched any more */
    rig_paint(&d, &w, 0x5a); /* the new owner writes */
    rig_work owner = w;
    owner.id.req = 2;
    rig_expect(&d, &owner); /* and even expects a hand-off in the same pages */
    assert_int_equal(raw_read(&s.raw, text).kind, KV_ABORT);
    assert_string_equal(text, "the receiver dropped it");

    for (uint32_t segment = 1; segment < 6; segment++) { /* the delayed writer */
        f = raw_segment(&s.raw, &w, segment, rig_piece(0, 100, segment, segment + 1), segment);
        raw_send_segment(&s.raw, &f);
        expect_credit_and_abort(&s.raw, &f, "the receiver does not expect this request and attempt");
    }
    assert_true(rig_painted(&d, &w, 0x5a));
    rig_nothing(&d);
    assert_int_equal(xfer_stats_of(d.x).strays, 5);
    raw_sender_close(&s);
    rig_close(&d);
}

/* A sender that was frozen while its pair ended still holds the old ring. */
static void a_writer_of_an_ended_pair_writes_into_nothing(void **state) {
    rig_side d;
    rig_work w;
    raw_sender s;
    rig_open(&d, &(rig_options){.transport = *state, .receiver = true, .inc = RIG_D_INC});
    raw_sender_open(&s, *state, &d, &w, 100);
    kv_frame f = raw_segment(&s.raw, &w, 0, rig_piece(0, 100, 0, 1), 0);
    raw_send_segment(&s.raw, &f);
    assert_int_equal(raw_read(&s.raw, NULL).kind, KV_CREDIT);
    xfer_post(d.x, &(xfer_cmd){.kind = X_PEER_GONE, .peer_inc = RIG_P_INC});
    xfer_event e = rig_wait(&d, X_FAILED, 1);
    assert_string_equal(e.why, "the peer left the cluster");
    rig_drop(&d, 1);
    rig_paint(&d, &w, 0x5a);
    rig_work owner = w;
    owner.id.attempt = 2;
    rig_expect(&d, &owner);
    for (uint32_t slot = 0; slot < s.raw.p->slots; slot++)
        memset(s.raw.p->xport->stage(s.raw.p->ring, slot).at, 0xff, s.raw.p->slot_bytes);
    f = raw_segment(&s.raw, &w, 1, rig_piece(0, 100, 1, 2), 1);
    (void)raw_push(&s.raw, &f);
    raw_announce(&s.raw, &f);
    char text[CHAN_TEXT_MAX];
    assert_int_equal(raw_read(&s.raw, text).kind, KV_REFUSED);
    rig_nothing(&d);
    assert_true(rig_painted(&d, &w, 0x5a));
    raw_sender_close(&s);
    rig_close(&d);
}

static void a_dropped_send_is_not_read_any_more(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state, .segment_bytes = 1, .slots = 2});
    rig_work w = rig_work_of(&p, &d, 1, 1, 257, 0);
    start(&p, &d, &w);
    for (uint32_t layer = 0; layer < 4; layer++) rig_layer(&p, &w, 0, 256, layer);
    rig_drop(&p, 1);
    rig_paint(&p, &w, 0x77); /* its new owner writes at once */
    xfer_event e = rig_wait(&d, X_FAILED, 1);
    assert_string_equal(e.why, "the sender dropped it");
    rig_layer(&p, &w, 0, 256, 4); /* reports of the step that was running: ignored */
    rig_nothing(&p);
    rig_nothing(&d);
    assert_int_equal(xfer_stats_of(d.x).crc_errors, 0); /* what left was whole */
    rig_close_both(&p, &d);
}

static void a_drop_is_answered_known_or_not(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state});
    kv_identity id = {.epoch = RIG_EPOCH, .p_inc = RIG_P_INC, .d_inc = RIG_D_INC, .req = 4711, .attempt = 3};
    xfer_post(p.x, &(xfer_cmd){.kind = X_DROP, .id = id});
    xfer_post(d.x, &(xfer_cmd){.kind = X_DROP, .id = id});
    xfer_event e = rig_wait(&p, X_DROPPED, 4711);
    assert_memory_equal(&e.id, &id, sizeof id);
    rig_wait(&d, X_DROPPED, 4711);
    rig_work w = rig_work_of(&p, &d, 1, 1, 16, 0);
    rig_offer(&p, &w);
    rig_expect(&d, &w);
    for (int i = 0; i < 2; i++) { /* and again */
        xfer_post(p.x, &(xfer_cmd){.kind = X_DROP, .id = w.id});
        rig_wait(&p, X_DROPPED, 1);
        xfer_post(d.x, &(xfer_cmd){.kind = X_DROP, .id = w.id});
        rig_wait(&d, X_DROPPED, 1);
    }
    rig_close_both(&p, &d);
}

static void no_credit_within(const char *transport, uint64_t pair_timeout_ns, errbuf *why) {
    rig_side p;
    raw_peer d;
    rig_open(&p,
             &(rig_options){.transport = transport, .inc = RIG_P_INC, .pair_timeout_ns = pair_timeout_ns});
    raw_open(&d, &p, transport, 2, 4096);
    raw_listen(&d);
    rig_side like = {.inc = RIG_D_INC, .kv = p.kv};
    rig_work w = rig_work_of(&p, &like, 1, 1, 16, 0);
    rig_offer(&p, &w);
    rig_dest(&p, &w, d.endpoint);
    raw_answer(&d, RIG_D_INC, true);
    rig_compute(&p, &w, 16);
    xfer_event e = rig_wait(&p, X_FAILED, 1);
    errf(why, ST_TIMEOUT, "%s", e.why);
    raw_close(&d);
    rig_close(&p);
}

static void no_credit_in_time_ends_the_pair(void **state) {
    errbuf why = {0};
    /* Where this thread itself does not get to answer in so short a time, it is the ring that was missed. */
    for (uint64_t ms = 300; ms <= 30000; ms *= 10) {
        no_credit_within(*state, ms * NS_PER_MS, &why);
        if (!strstr(why.text, "no ring from the receiver for ")) break;
    }
    assert_non_null(strstr(why.text, "no credit from the receiver for "));
}

static void no_ring_in_time_ends_the_pair(void **state) {
    rig_side p;
    raw_peer d;
    rig_open(&p, &(rig_options){.transport = *state, .inc = RIG_P_INC, .pair_timeout_ns = 300 * NS_PER_MS});
    raw_open(&d, &p, *state, 2, 4096);
    raw_listen(&d);
    rig_side like = {.inc = RIG_D_INC, .kv = p.kv};
    rig_work w = rig_work_of(&p, &like, 1, 1, 16, 0);
    rig_offer(&p, &w);
    rig_dest(&p, &w, d.endpoint);
    raw_answer(&d, RIG_D_INC, false);
    xfer_event e = rig_wait(&p, X_FAILED, 1);
    assert_memory_equal(e.why, "no ring from the receiver for ", 30);
    raw_close(&d);
    rig_close(&p);
}

static void nobody_at_the_endpoint_fails_at_once(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state});
    char endpoint[CHAN_ENDPOINT_MAX];
    snprintf(endpoint, sizeof endpoint, "%s", xfer_endpoint(d.x));
    rig_work w = rig_work_of(&p, &d, 1, 1, 16, 0);
    rig_close(&d);
    rig_offer(&p, &w);
    rig_dest(&p, &w, endpoint);
    expect_failed(&p, &w, "the connection to the receiver is lost");
    rig_work v = w;
    v.id.attempt = 2;
    rig_dest(&p, &v, "not an endpoint");
    xfer_event e = rig_wait(&p, X_FAILED, 1);
    assert_memory_equal(e.why, "pair channel: cannot connect to not an endpoint", 47);
    rig_close(&p);
}

static void unlike_layouts_and_transports_are_refused_by_name(void **state) {
    rig_side p, d;
    const char *other = !strcmp(*state, "shm") ? "zmq" : "shm";
    char why[96];
    rig_open(&p, &(rig_options){.transport = *state, .inc = RIG_P_INC});
    rig_open(&d, &(rig_options){.transport = other, .inc = RIG_D_INC, .receiver = true});
    rig_work w = rig_work_of(&p, &d, 1, 1, 16, 0);
    start(&p, &d, &w);
    snprintf(why, sizeof why, "the receiver's transport is %s, not %s", other, (const char *)*state);
    expect_failed(&p, &w, why);
    rig_close(&d);
    rig_open(&d, &(rig_options){
                     .transport = *state, .inc = RIG_D_INC, .receiver = true, .layout = rig_layout(DT_F32)});
    w.id.attempt = 2;
    rig_expect(&d, &w);
    rig_dest(&p, &w, xfer_endpoint(d.x));
    expect_failed(&p, &w, "the receiver's KV layout (dtype, layers, heads, page size) differs");
    rig_close_both(&p, &d);
}

static void a_peer_that_left_fails_its_handoffs(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state});
    rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0), waiting = rig_work_of(&p, &d, 2, 1, 100, 100);
    start(&p, &d, &w);
    rig_compute(&p, &w, 64);
    rig_seal(&p, &w);
    rig_wait(&p, X_SENT, 1);
    rig_wait(&d, X_VERIFIED, 1);
    start(&p, &d, &waiting);
    rig_nap(&p);
    xfer_post(p.x, &(xfer_cmd){.kind = X_PEER_GONE, .peer_inc = RIG_D_INC});
    xfer_event a =
        rig_wait(&p, X_FAILED, 1); /* sent, but not released: whether it arrived is not known here */
    xfer_event b = rig_wait(&p, X_FAILED, 2);
    assert_string_equal(a.why, "the peer left the cluster");
    assert_string_equal(b.why, "the peer left the cluster");
    xfer_post(d.x, &(xfer_cmd){.kind = X_PEER_GONE, .peer_inc = RIG_P_INC});
    expect_failed(&d, &waiting, "the sender left the cluster");
    rig_close_both(&p, &d);
}

static void a_sender_that_ends_fails_what_it_had_begun(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state, .segment_bytes = 1});
    rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0), done = rig_work_of(&p, &d, 2, 1, 17, 100);
    start(&p, &d, &w);
    rig_layer(&p, &w, 0, 64, 0);
    start(&p, &d, &done);
    rig_compute(&p, &done, 32);
    rig_seal(&p, &done);
    rig_wait(&p, X_SENT, 2);
    rig_wait(&d, X_VERIFIED, 2);
    rig_close(&p);
    expect_failed(&d, &w, "the connection to the sender is lost");
    rig_drop(&d, 1);
    rig_close(&d);
}

static status no_device(device *d, const op_kv_copy *a) {
    (void)d, (void)a;
    return ST_DEVICE;
}

static void no_device_text(const device *d, errbuf *eb) {
    (void)d;
    errf(eb, ST_DEVICE, "kv_copy: unspecified launch failure");
}

static void a_device_that_fails_is_told_by_its_own_side_only(void **state) {
    backend_ops broken = *rig_backend(*state);
    broken.kv_gather = broken.kv_scatter = no_device;
    broken.device_error = no_device_text;
    for (int at_sender = 0; at_sender < 2; at_sender++) {
        rig_side p, d;
        rig_open(&p,
                 &(rig_options){.transport = *state, .inc = RIG_P_INC, .ops = at_sender ? &broken : NULL});
        rig_open(&d, &(rig_options){.transport = *state,
                                    .receiver = true,
                                    .inc = RIG_D_INC,
                                    .ops = at_sender ? NULL : &broken});
        rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0);
        start(&p, &d, &w);
        rig_compute(&p, &w, 112);
        xfer_event e = rig_wait(at_sender ? &p : &d, X_FAILED, 1),
                   other = rig_wait(at_sender ? &d : &p, X_FAILED, 1);
        assert_true(e.device);
        assert_string_equal(e.why, "copying KV: kv_copy: unspecified launch failure");
        assert_false(other.device);
        assert_string_equal(other.why, at_sender ? "the sender's device failed" : e.why);
        assert_true(rig_blank(&d, &w));
        rig_close_both(&p, &d);
    }
}

int main(void) {
    log_setup(LOG_ERROR, "test");
    const struct CMUnitTest tests[] = {
        EACH(a_flipped_byte_fails_the_handoff_on_both_sides),
        EACH(a_sender_that_heard_of_a_failure_sends_no_more),
        EACH(without_checksums_the_flipped_byte_gets_through),
        EACH(another_incarnation_is_refused),
        EACH(another_attempt_is_aborted_and_touches_nothing),
        EACH(an_unexpected_request_is_aborted),
        EACH(other_token_ids_fail_the_handoff),
        EACH(rows_that_were_not_asked_for_fail_closed),
        EACH(what_breaks_the_coverage_fails_closed),
        EACH(lies_about_the_shape_fail_closed),
        EACH(a_seal_before_the_last_segment_fails_closed),
        EACH(a_gap_in_the_numbers_ends_the_pair),
        EACH(a_delayed_writer_never_touches_a_page_that_was_reused),
        EACH(a_writer_of_an_ended_pair_writes_into_nothing),
        EACH(a_dropped_send_is_not_read_any_more),
        EACH(a_drop_is_answered_known_or_not),
        EACH(no_credit_in_time_ends_the_pair),
        EACH(no_ring_in_time_ends_the_pair),
        EACH(nobody_at_the_endpoint_fails_at_once),
        EACH(unlike_layouts_and_transports_are_refused_by_name),
        EACH(a_peer_that_left_fails_its_handoffs),
        EACH(a_sender_that_ends_fails_what_it_had_begun),
        EACH(a_device_that_fails_is_told_by_its_own_side_only),
    };
    return cmocka_run_group_tests_name("transport faults", tests, NULL, NULL);
}
