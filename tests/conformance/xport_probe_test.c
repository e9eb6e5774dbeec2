/* A pair is opened and tried when its receiver is heard of, before there is a hand-off. */
#include "tests/conformance/rig.h"

#include "base/mem.h"

#include <string.h>

static void hear_of(rig_side *p, const rig_side *d) {
    xfer_post(p->x, &(xfer_cmd){.kind = X_PEER, .peer_inc = d->inc, .endpoint = xfer_endpoint(d->x)});
}

static void a_pair_is_tried_when_its_receiver_is_heard_of(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state});
    hear_of(&p, &d);
    xfer_event e = rig_wait_pair(&p);
    assert_true(e.pair.open);
    assert_string_equal(e.pair.transport, *state);
    assert_int_equal(e.id.d_inc, d.inc);
    assert_true(e.pair.latency_ns > 0);
    assert_true(e.pair.bytes_per_s > 0);
    assert_int_equal(xfer_stats_of(p.x).segments, 0); /* nobody's KV */
    assert_int_equal(xfer_stats_of(d.x).segments, 0);
    rig_close_both(&p, &d);
}

static void a_tried_pair_touches_no_page_and_serves_the_first_handoff(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state});
    rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0);
    hear_of(&p, &d);
    assert_true(rig_wait_pair(&p).pair.open);
    assert_true(rig_blank(&d, &w));
    rig_offer(&p, &w);
    rig_expect(&d, &w);
    rig_dest(&p, &w, xfer_endpoint(d.x));
    rig_compute(&p, &w, 32);
    rig_seal(&p, &w);
    rig_wait(&p, X_SENT, 1);
    rig_wait(&d, X_VERIFIED, 1);
    assert_int_equal(rig_wrong(&d, &w), 0);
    assert_int_equal(rig_spilled(&d, &w), 0);
    assert_int_equal(xfer_stats_of(p.x).pairs_opened, 1);
    rig_close_both(&p, &d);
}

/* What is encrypted is longer on the wire than what a slot holds. */
static void full_slots_arrive_with_keys_as_well(void **state) {
    curve_keys k = {0};
    assert_int_equal(zmq_curve_keypair(k.own, k.secret), 0);
    memcpy(k.peer, k.own, sizeof k.peer);
    rig_side p, d;
    const size_t bytes = 16384; /* of two layers of 64 rows */
    rig_open_both(
        &p, &d, (rig_options){.transport = *state, .keys = &k, .slot_bytes = bytes, .segment_bytes = bytes});
    rig_work w = rig_work_of(&p, &d, 1, 1, 128, 0);
    assert_int_equal(kv_segment_bytes(&d.kv.layout, 64, 2), bytes);
    hear_of(&p, &d);
    assert_true(rig_wait_pair(&p).pair.open);
    rig_offer(&p, &w);
    rig_expect(&d, &w);
    rig_dest(&p, &w, xfer_endpoint(d.x));
    rig_compute(&p, &w, 64);
    rig_seal(&p, &w);
    rig_wait(&p, X_SENT, 1);
    rig_wait(&d, X_VERIFIED, 1);
    assert_int_equal(rig_wrong(&d, &w), 0);
    rig_close_both(&p, &d);
}

/* Hand-offs that come while it is tried go on; all arrive. */
static void handoffs_go_on_while_a_pair_is_tried(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state});
    hear_of(&p, &d);
    rig_work w[4];
    for (uint32_t i = 0; i < ARRAY_LEN(w); i++) {
        w[i] = rig_work_of(&p, &d, i + 1, 1, 100, 20 * i);
        rig_offer(&p, &w[i]);
        rig_expect(&d, &w[i]);
        rig_dest(&p, &w[i], xfer_endpoint(d.x));
        rig_compute(&p, &w[i], 32);
        rig_seal(&p, &w[i]);
        rig_wait(&p, X_SENT, i + 1);
        rig_wait(&d, X_VERIFIED, i + 1);
        assert_int_equal(rig_wrong(&d, &w[i]), 0);
    }
    rig_close_both(&p, &d);
}

/* Slots full of probes that nobody credits: the first that comes back is the hand-off's. */
static void handoffs_go_before_probes(void **state) {
    rig_side p;
    rig_open(&p, &(rig_options){.transport = *state, .inc = RIG_P_INC});
    raw_peer d;
    raw_open(&d, &p, *state, 2, 64 * 1024);
    raw_listen(&d);
    xfer_post(p.x, &(xfer_cmd){.kind = X_PEER, .peer_inc = RIG_D_INC, .endpoint = d.endpoint});
    raw_answer(&d, RIG_D_INC, true);
    kv_frame f;
    for (uint32_t i = 0; i < PROBE_ROUNDS; i++) {
        f = raw_read(&d, NULL);
        assert_int_equal(f.kind, KV_PROBE);
        raw_credit(&d, f.slot);
    }
    const uint32_t first = raw_read(&d, NULL).slot;
    assert_int_equal(raw_read(&d, NULL).kind, KV_PROBE);
    rig_work w = {.id = {.epoch = RIG_EPOCH, .p_inc = RIG_P_INC, .d_inc = RIG_D_INC, .req = 1, .attempt = 1},
                  .count = 16,
                  .page_count = 2,
                  .pages = {1, 2}};
    rig_offer(&p, &w);
    rig_dest(&p, &w, d.endpoint);
    rig_compute(&p, &w, 16);
    rig_seal(&p, &w);
    rig_nap(&p);
    raw_credit(&d, first);
    assert_int_equal(raw_read(&d, NULL).kind, KV_SEGMENT);
    raw_close(&d);
    rig_close(&p);
}

static void a_receiver_that_is_not_there_is_told_once(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state});
    char endpoint[CHAN_ENDPOINT_MAX];
    snprintf(endpoint, sizeof endpoint, "%s", xfer_endpoint(d.x));
    rig_close(&d);
    xfer_post(p.x, &(xfer_cmd){.kind = X_PEER, .peer_inc = RIG_D_INC, .endpoint = endpoint});
    xfer_event e = rig_wait_pair(&p);
    assert_false(e.pair.open);
    assert_true(e.why[0] != 0);
    rig_nothing(&p);
    rig_close(&p);
}

/* Another incarnation answers at the address: nothing is tried with it. */
static void a_receiver_of_another_incarnation_refuses(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state});
    xfer_post(p.x, &(xfer_cmd){.kind = X_PEER, .peer_inc = 12345, .endpoint = xfer_endpoint(d.x)});
    xfer_event e = rig_wait_pair(&p);
    assert_false(e.pair.open);
    assert_string_equal(e.why, "the receiver is not the incarnation that was called");
    rig_close_both(&p, &d);
}

static kv_frame probe_of(raw_peer *r, kv_piece piece, uint64_t bytes, uint64_t checksum) {
    kv_frame f = {.kind = KV_PROBE, .id = r->p->id, .piece = piece, .bytes = bytes, .checksum = checksum};
    memset(r->p->xport->stage(r->p->ring, 0).at, 7, r->p->slot_bytes);
    return f;
}

/* A probe that a confused sender makes ends its pair with the reason, and no other. */
static void bad_probes_end_their_pair(void **state) {
    const kv_piece good = rig_piece(0, 16, 0, 1), rows = rig_piece(0, 17, 0, 1),
                   layers = rig_piece(0, 16, 0, 7);
    const size_t one = 16 * 2 * RIG_KV_HEADS * 16 * 2;
    const struct {
        kv_piece piece;
        uint64_t bytes;
        const char *why;
    } bad[] = {
        {good, one, "the pair was tried, and other bytes arrived than were sent"},
        {good, one - 64, "a probe that makes no sense"},
        {rows, one + 128, "a probe that makes no sense"},
        {layers, 7 * one, "a probe that makes no sense"},
        {rig_piece(0, 0, 0, 1), 0, "a probe that makes no sense"},
        {rig_piece(0, 16 * 200, 0, 1), one, "a probe that makes no sense"},
    };
    rig_side like, d;
    rig_open_both(&like, &d, (rig_options){.transport = *state});
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        raw_peer r;
        char why[CHAN_TEXT_MAX];
        raw_open(&r, &like, *state, 4, 64 * 1024);
        kv_identity id = {.epoch = RIG_EPOCH, .p_inc = 100 + i, .d_inc = RIG_D_INC};
        raw_call(&r, xfer_endpoint(d.x), &id);
        kv_frame f = probe_of(&r, bad[i].piece, bad[i].bytes, 1);
        raw_send_segment(&r, &f);
        assert_int_equal(raw_read(&r, why).kind, KV_REFUSED);
        assert_string_equal(why, bad[i].why);
        raw_close(&r);
    }
    rig_work w = rig_work_of(&like, &d, 1, 1, 16, 0);
    assert_true(rig_blank(&d, &w));
    hear_of(&like, &d);
    assert_true(rig_wait_pair(&like).pair.open);
    rig_close_both(&like, &d);
}

/* A receiver on another host; what its pair was by. The connection ends while the pair is tried. */
static void meet_and_part(rig_side *p, bool refuse) {
    raw_peer d;
    raw_open(&d, p, "auto", 4, 64 * 1024);
    d.setup.menu.own.host++;
    raw_listen(&d);
    xfer_post(p->x, &(xfer_cmd){.kind = X_PEER, .peer_inc = RIG_D_INC, .endpoint = d.endpoint});
    raw_answer(&d, RIG_D_INC, true);
    assert_string_equal(d.p->xport->name, "zmq");
    assert_int_equal(raw_read(&d, NULL).kind, KV_PROBE);
    if (refuse) assert_int_equal(pair_send_text(d.p, KV_REFUSED, &d.p->id, "no"), ST_OK);
    if (refuse) assert_false(rig_wait_pair(p).pair.open);
    raw_close(&d);
    if (!refuse) assert_false(rig_wait_pair(p).pair.open);
}

/* A link that is cut is no fault of the transport, and the network is always the last way. */
static void the_network_is_offered_again_after_a_cut(void **state) {
    (void)state;
    rig_side p;
    rig_open(&p, &(rig_options){.transport = "auto", .inc = RIG_P_INC});
    for (uint32_t i = 0; i < 2; i++) {
        meet_and_part(&p, false);
        meet_and_part(&p, true);
        xfer_post(p.x, &(xfer_cmd){.kind = X_PEER_GONE, .peer_inc = i ? RIG_D_INC : 1});
    }
    rig_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        EACH(a_pair_is_tried_when_its_receiver_is_heard_of),
        EACH(a_tried_pair_touches_no_page_and_serves_the_first_handoff),
        EACH(full_slots_arrive_with_keys_as_well),
        EACH(handoffs_go_on_while_a_pair_is_tried),
        EACH(handoffs_go_before_probes),
        EACH(a_receiver_that_is_not_there_is_told_once),
        EACH(a_receiver_of_another_incarnation_refuses),
        EACH(bad_probes_end_their_pair),
        cmocka_unit_test(the_network_is_offered_again_after_a_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
