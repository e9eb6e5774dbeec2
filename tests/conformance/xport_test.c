/* What a transport has to do when both sides keep the rules: every byte arrives, under any cutting, order and
 * load. */
#include "tests/conformance/rig.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <string.h>

/* The end of a hand-off at both sides; content, token and byte counts are checked. */
static void expect_verified(rig_side *p, rig_side *d, const rig_work *w) {
    xfer_event sent = rig_wait(p, X_SENT, w->id.req);
    xfer_event got = rig_wait(d, X_VERIFIED, w->id.req);
    token_out first = rig_first(w);
    assert_memory_equal(&got.id, &w->id, sizeof w->id);
    assert_memory_equal(&got.first, &first, sizeof first);
    assert_int_equal(got.finished, w->count == 1);
    assert_int_equal(got.bytes, kv_segment_bytes(&d->kv.layout, w->count - w->begin, d->kv.layout.layers));
    assert_int_equal(got.bytes, sent.bytes);
    assert_int_equal(got.segments, sent.segments);
    assert_true(got.segments > 0);
    assert_true(sent.first_ns > 0 && sent.last_ns >= sent.first_ns);
    assert_true(got.first_ns >= sent.first_ns && got.last_ns >= got.first_ns);
    assert_int_equal(rig_wrong(d, w), 0);
    assert_int_equal(rig_spilled(d, w), 0);
}

static void hand_over(rig_side *p, rig_side *d, const rig_work *w, uint32_t chunk) {
    rig_offer(p, w);
    rig_expect(d, w);
    rig_dest(p, w, xfer_endpoint(d->x));
    rig_compute(p, w, chunk);
    rig_seal(p, w);
    expect_verified(p, d, w);
    rig_drop(p, w->id.req);
    rig_drop(d, w->id.req);
}

static void content_is_exact_for_every_length_type_and_cut(void **state) {
    const uint32_t lengths[] = {1, 15, 16, 17, 31, 33, 255, 256, 257, 1000};
    /* segment target, slot, chunk: groups of layers; one layer each; rows of a layer split over slots;
     * everything at once */
    const size_t cuts[][3] = {
        {8192, 64 << 10, 256}, {1, 64 << 10, 64}, {1, 4096, 1024}, {1 << 20, 1 << 20, 512}};
    const dtype types[] = {DT_F16, DT_F32};
    for (size_t t = 0; t < ARRAY_LEN(types); t++)
        for (size_t c = 0; c < ARRAY_LEN(cuts); c++) {
            rig_side p, d;
            rig_open_both(&p, &d,
                          (rig_options){.transport = *state,
                                        .layout = rig_layout(types[t]),
                                        .segment_bytes = cuts[c][0],
                                        .slot_bytes = cuts[c][1],
                                        .slots = 3});
            for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
                rig_work w = rig_work_of(&p, &d, i + 1, 1, lengths[i], 0);
                hand_over(&p, &d, &w, (uint32_t)cuts[c][2]);
            }
            assert_int_equal(xfer_stats_of(p.x).pairs_opened, 1);
            assert_int_equal(xfer_stats_of(d.x).bytes, xfer_stats_of(p.x).bytes);
            assert_int_equal(xfer_stats_of(d.x).strays, 0);
            rig_close_both(&p, &d);
        }
}

static void a_layer_larger_than_a_slot_travels_in_pieces(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d,
                  (rig_options){.transport = *state, .slot_bytes = 2 * 2048, .segment_bytes = 1 << 20});
    rig_work w = rig_work_of(&p, &d, 1, 1, 100, 3);
    rig_offer(&p, &w);
    rig_expect(&d, &w);
    rig_dest(&p, &w, xfer_endpoint(d.x));
    rig_compute(&p, &w, 112);
    rig_seal(&p, &w);
    xfer_event e = rig_wait(&p, X_SENT, 1);
    assert_int_equal(e.segments, 6 * 4); /* 32 rows of one layer fit: 32 + 32 + 32 + 4 */
    rig_wait(&d, X_VERIFIED, 1);
    assert_int_equal(rig_wrong(&d, &w), 0);
    rig_close_both(&p, &d);
}

static void a_receiver_that_holds_a_prefix_gets_the_rest(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state});
    const uint32_t begins[] = {16, 32, 64, 96}; /* in a chunk of 64 rows, at its edge, in the last page */
    for (uint32_t i = 0; i < ARRAY_LEN(begins); i++) {
        rig_work w = rig_work_of(&p, &d, i + 1, 1, 100, 0);
        w.begin = begins[i];
        hand_over(&p, &d, &w, 64);
        rig_paint(&d, &w, RIG_BLANK);
        rig_work parked = rig_work_of(&p, &d, i + 11, 1, 100, 0);
        parked.begin = begins[i];
        rig_offer(&p, &parked);
        rig_compute(&p, &parked, 64);
        rig_seal(&p, &parked);
        rig_nothing(&p);
        rig_expect(&d, &parked);
        rig_dest(&p, &parked, xfer_endpoint(d.x));
        expect_verified(&p, &d, &parked);
        rig_drop(&p, parked.id.req);
        rig_drop(&d, parked.id.req);
        rig_paint(&d, &parked, RIG_BLANK);
    }
    rig_close_both(&p, &d);
}

/* Rows of a prefix cache: less than the receiver lacks, as much, more. */
static void rows_that_a_sender_has_when_it_offers_are_sent_like_those_that_it_computes(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state});
    const uint32_t here[] = {16, 48, 64, 96}, begins[] = {0, 48, 80};
    for (uint32_t i = 0; i < ARRAY_LEN(here) * ARRAY_LEN(begins); i++) {
        rig_work w = rig_work_of(&p, &d, i + 1, 1, 100, 0);
        w.here = here[i % ARRAY_LEN(here)];
        w.begin = begins[i / ARRAY_LEN(here)];
        hand_over(&p, &d, &w, 32);
        rig_paint(&d, &w, RIG_BLANK);
        rig_work parked = rig_work_of(&p, &d, i + 101, 1, 100, 0);
        parked.here = w.here;
        parked.begin = w.begin;
        rig_offer(&p, &parked);
        rig_compute(&p, &parked, 32);
        rig_seal(&p, &parked);
        rig_nothing(&p);
        rig_expect(&d, &parked);
        rig_dest(&p, &parked, xfer_endpoint(d.x));
        expect_verified(&p, &d, &parked);
        rig_drop(&p, parked.id.req);
        rig_drop(&d, parked.id.req);
        rig_paint(&d, &parked, RIG_BLANK);
    }
    rig_close_both(&p, &d);
}

/* Before a row is computed what was here is on its way. */
static void rows_that_were_here_leave_before_the_others_are_computed(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state, .segment_bytes = 1});
    rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0);
    w.here = 64;
    rig_offer(&p, &w);
    rig_expect(&d, &w);
    rig_dest(&p, &w, xfer_endpoint(d.x));
    uint64_t want = kv_segment_bytes(&d.kv.layout, 64, d.kv.layout.layers);
    uint64_t deadline_ns = clock_now_ns() + 60 * NS_PER_S;
    while (xfer_stats_of(d.x).bytes < want) {
        assert_true(clock_now_ns() < deadline_ns);
        rig_nap(&p);
    }
    assert_int_equal(xfer_stats_of(d.x).bytes, want);
    rig_compute(&p, &w, 16);
    rig_seal(&p, &w);
    expect_verified(&p, &d, &w);
    rig_close_both(&p, &d);
}

static void handoffs_interleave_on_one_pair(void **state) {
    enum { WORKS = 5 };
    const uint32_t counts[WORKS] = {100, 256, 17, 300, 64};
    rig_work w[WORKS];
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state, .slots = 2, .segment_bytes = 1});
    for (uint32_t i = 0; i < WORKS; i++) {
        w[i] = rig_work_of(&p, &d, i + 1, 1, counts[i], 45 * i);
        rig_offer(&p, &w[i]);
        rig_expect(&d, &w[i]);
        rig_dest(&p, &w[i], xfer_endpoint(d.x));
    }
    /* One step per 16 rows, of all prompts together. */
    for (uint32_t begin = 0; begin < 300; begin += 16)
        for (uint32_t layer = 0; layer < 6; layer++)
            for (uint32_t i = 0; i < WORKS; i++)
                if (begin < counts[i]) rig_layer(&p, &w[i], begin, MIN(16, counts[i] - begin), layer);
    for (uint32_t i = 0; i < WORKS; i++) {
        rig_seal(&p, &w[i]);
        expect_verified(&p, &d, &w[i]);
    }
    assert_int_equal(xfer_stats_of(d.x).pairs_opened, 1);
    rig_close_both(&p, &d);
}

static void two_senders_share_a_receiver(void **state) {
    rig_side p[2], d;
    rig_work w[2];
    rig_open(&d, &(rig_options){.transport = *state, .receiver = true, .inc = RIG_D_INC});
    for (uint32_t i = 0; i < 2; i++) {
        rig_open(&p[i], &(rig_options){.transport = *state, .inc = RIG_P_INC + i});
        w[i] = rig_work_of(&p[i], &d, i + 1, 1, 200, 100 * i);
        rig_offer(&p[i], &w[i]);
        rig_expect(&d, &w[i]);
        rig_dest(&p[i], &w[i], xfer_endpoint(d.x));
    }
    for (uint32_t layer = 0; layer < 6; layer++)
        for (uint32_t i = 0; i < 2; i++) rig_layer(&p[i], &w[i], 0, 200, layer);
    for (uint32_t i = 0; i < 2; i++) {
        rig_seal(&p[i], &w[i]);
        expect_verified(&p[i], &d, &w[i]);
    }
    assert_int_equal(xfer_stats_of(d.x).pairs_opened, 2);
    rig_close(&p[0]);
    rig_close(&p[1]);
    rig_close(&d);
}

static void one_sender_serves_two_receivers(void **state) {
    rig_side p, d[2];
    rig_work w[2];
    rig_open(&p, &(rig_options){.transport = *state, .inc = RIG_P_INC});
    for (uint32_t i = 0; i < 2; i++) {
        rig_open(&d[i], &(rig_options){.transport = *state, .receiver = true, .inc = RIG_D_INC + i});
        w[i] = rig_work_of(&p, &d[i], i + 1, 1, 200, 100 * i);
        rig_offer(&p, &w[i]);
        rig_expect(&d[i], &w[i]);
        rig_dest(&p, &w[i], xfer_endpoint(d[i].x));
    }
    for (uint32_t layer = 0; layer < 6; layer++)
        for (uint32_t i = 0; i < 2; i++) rig_layer(&p, &w[i], 0, 200, layer);
    for (uint32_t i = 0; i < 2; i++) {
        rig_seal(&p, &w[i]);
        expect_verified(&p, &d[i], &w[i]);
    }
    assert_int_equal(xfer_stats_of(p.x).pairs_opened, 2);
    rig_close(&p);
    rig_close(&d[0]);
    rig_close(&d[1]);
}

/* Connections end and begin without a pause, so the receiver sees the same descriptors again and again. */
static void senders_come_and_go(void **state) {
    rig_side d;
    rig_open(&d, &(rig_options){.transport = *state, .receiver = true, .inc = RIG_D_INC});
    for (uint32_t i = 0; i < 20; i++) {
        rig_side p;
        rig_open(&p, &(rig_options){.transport = *state, .inc = RIG_P_INC + i});
        rig_work w = rig_work_of(&p, &d, i + 1, 1, 40, 0);
        hand_over(&p, &d, &w, 16);
        rig_close(&p);
    }
    assert_int_equal(xfer_stats_of(d.x).pairs_opened, 20);
    assert_int_equal(xfer_stats_of(d.x).failures, 0);
    rig_close(&d);
}

static void a_full_ring_stalls_the_sender_until_a_credit(void **state) {
    rig_side p;
    raw_peer d;
    rig_open(&p, &(rig_options){.transport = *state, .inc = RIG_P_INC, .segment_bytes = 1});
    raw_open(&d, &p, *state, 2, 4096);
    raw_listen(&d);
    rig_side like = {.inc = RIG_D_INC, .kv = p.kv};
    rig_work w = rig_work_of(&p, &like, 1, 1, 16, 0);
    rig_offer(&p, &w);
    rig_dest(&p, &w, d.endpoint);
    rig_compute(&p, &w, 16); /* 6 segments are due */
    rig_seal(&p, &w);
    raw_answer(&d, RIG_D_INC, true);
    kv_frame a = raw_read(&d, NULL), b = raw_read(&d, NULL);
    assert_int_equal(a.kind, KV_SEGMENT);
    assert_int_equal(b.kind, KV_SEGMENT);
    assert_int_not_equal(a.slot, b.slot);
    rig_nap(&p);
    assert_int_equal(xfer_stats_of(p.x).segments, 2);
    assert_true(raw_reads_nothing(&d));
    for (uint32_t sent = 3; sent <= 6; sent++) {
        uint32_t slot = sent % 2 ? b.slot : a.slot;
        raw_credit(&d, slot);
        kv_frame next = raw_read(&d, NULL);
        assert_int_equal(next.kind, KV_SEGMENT);
        assert_int_equal(next.segment, sent - 1);
        assert_int_equal(next.slot, slot); /* only the slot that came back */
        if (sent == 6) break;              /* the seal follows by itself */
        rig_nap(&p);
        assert_int_equal(xfer_stats_of(p.x).segments, sent);
    }
    kv_frame seal = raw_read(&d, NULL); /* needs no slot */
    assert_int_equal(seal.kind, KV_SEAL);
    assert_int_equal(seal.segment, 6);
    rig_wait(&p, X_SENT, 1);
    raw_close(&d);
    rig_close(&p);
}

static void the_oldest_offer_has_the_slots_first(void **state) {
    rig_side p;
    raw_peer d;
    rig_open(&p, &(rig_options){.transport = *state, .inc = RIG_P_INC, .segment_bytes = 1});
    raw_open(&d, &p, *state, 8, 4096);
    raw_listen(&d);
    rig_side like = {.inc = RIG_D_INC, .kv = p.kv};
    rig_work w[3];
    for (uint32_t i = 0; i < 3; i++) {
        w[i] = rig_work_of(&p, &like, 7 - i, 1, 16, 10 * i); /* the oldest has the largest number */
        rig_offer(&p, &w[i]);
    }
    rig_dest(&p, &w[1], d.endpoint);
    rig_dest(&p, &w[2], d.endpoint);
    rig_dest(&p, &w[0], d.endpoint);
    for (uint32_t i = 3; i-- > 0;) { /* 6 segments are due of each */
        rig_compute(&p, &w[i], 16);
        rig_seal(&p, &w[i]);
    }
    raw_answer(&d, RIG_D_INC, true);
    for (uint32_t i = 0; i < 3; i++) {
        for (uint32_t segment = 0; segment < 6; segment++) {
            kv_frame f = raw_read(&d, NULL);
            assert_int_equal(f.kind, KV_SEGMENT);
            assert_int_equal(f.id.req, w[i].id.req);
            assert_int_equal(f.segment, segment);
            raw_credit(&d, f.slot);
        }
        kv_frame seal = raw_read(&d, NULL);
        assert_int_equal(seal.kind, KV_SEAL);
        assert_int_equal(seal.id.req, w[i].id.req);
        rig_wait(&p, X_SENT, w[i].id.req);
    }
    raw_close(&d);
    rig_close(&p);
}

static void the_first_segment_leaves_before_the_last_layer_is_done(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state, .segment_bytes = 3 * 2048});
    rig_work w = rig_work_of(&p, &d, 1, 1, 16, 0);
    rig_offer(&p, &w);
    rig_expect(&d, &w);
    rig_dest(&p, &w, xfer_endpoint(d.x));
    /* A first hand-off opens the pair, so that the second can be counted exactly. */
    rig_compute(&p, &w, 16);
    rig_seal(&p, &w);
    expect_verified(&p, &d, &w);
    uint64_t before = xfer_stats_of(p.x).segments;
    rig_work v = rig_work_of(&p, &d, 2, 1, 32, 10);
    rig_offer(&p, &v);
    rig_expect(&d, &v);
    rig_dest(&p, &v, xfer_endpoint(d.x));
    rig_layer(&p, &v, 0, 16, 0);
    rig_layer(&p, &v, 0, 16, 1);
    rig_nap(&p);
    assert_int_equal(xfer_stats_of(p.x).segments, before); /* two layers are less than the target */
    rig_layer(&p, &v, 0, 16, 2);
    rig_nap(&p);
    assert_int_equal(xfer_stats_of(p.x).segments, before + 1);
    for (uint32_t layer = 3; layer < 6; layer++) rig_layer(&p, &v, 0, 16, layer);
    for (uint32_t layer = 0; layer < 6; layer++) rig_layer(&p, &v, 16, 16, layer);
    rig_seal(&p, &v);
    expect_verified(&p, &d, &v);
    rig_close_both(&p, &d);
}

static void without_overlap_nothing_leaves_before_the_seal(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state, .hold = true});
    for (uint64_t req = 1; req <= 2; req++) { /* the second one finds the pair open */
        uint64_t before = xfer_stats_of(p.x).segments;
        rig_work w = rig_work_of(&p, &d, req, 1, 100, 50 * (uint32_t)req);
        rig_offer(&p, &w);
        rig_expect(&d, &w);
        rig_dest(&p, &w, xfer_endpoint(d.x));
        rig_compute(&p, &w, 64);
        rig_nap(&p);
        assert_int_equal(xfer_stats_of(p.x).segments, before);
        rig_seal(&p, &w);
        expect_verified(&p, &d, &w);
    }
    rig_close_both(&p, &d);
}

static void a_parked_prompt_is_sent_when_a_receiver_is_found(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state});
    rig_work w = rig_work_of(&p, &d, 1, 1, 257, 0);
    rig_offer(&p, &w);
    rig_compute(&p, &w, 64);
    rig_seal(&p, &w);
    rig_nothing(&p);
    rig_expect(&d, &w);
    rig_dest(&p, &w, xfer_endpoint(d.x));
    expect_verified(&p, &d, &w);
    rig_close_both(&p, &d);
}

static void layer_reports_may_skip_layers(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state});
    rig_work w = rig_work_of(&p, &d, 1, 1, 40, 0);
    rig_expect(&d, &w);
    rig_offer(&p, &w);
    rig_compute(&p, &w, 48);
    rig_drop(&p, 1); /* the content is there; now report it again, "layers up to 3", "up to 5" */
    rig_offer(&p, &w);
    rig_dest(&p, &w, xfer_endpoint(d.x));
    xfer_layer_done(p.x, 0, &(layer_rows){1, 0, 40, 3});
    xfer_layer_done(p.x, 0, &(layer_rows){1, 0, 40, 5});
    rig_seal(&p, &w);
    expect_verified(&p, &d, &w);
    rig_close_both(&p, &d);
}

static void a_new_attempt_starts_over_and_verifies(void **state) {
    rig_side p, d[2];
    rig_open(&p, &(rig_options){.transport = *state, .inc = RIG_P_INC, .segment_bytes = 1});
    for (uint32_t i = 0; i < 2; i++)
        rig_open(&d[i], &(rig_options){.transport = *state, .receiver = true, .inc = RIG_D_INC + i});
    rig_work a = rig_work_of(&p, &d[0], 1, 1, 100, 0);
    rig_offer(&p, &a);
    rig_expect(&d[0], &a);
    rig_dest(&p, &a, xfer_endpoint(d[0].x));
    for (uint32_t layer = 0; layer < 6; layer++) rig_layer(&p, &a, 0, 64, layer);
    for (uint32_t layer = 0; layer < 3; layer++) rig_layer(&p, &a, 64, 36, layer);
    rig_nap(&p);

    rig_work b = rig_work_of(&p, &d[1], 1, 2, 100, 0);
    rig_expect(&d[1], &b);
    rig_dest(&p, &b, xfer_endpoint(d[1].x)); /* in the middle: the first receiver is told */
    xfer_event failed = rig_wait(&d[0], X_FAILED, 1);
    assert_string_equal(failed.why, "another receiver was chosen");
    for (uint32_t layer = 3; layer < 6; layer++) rig_layer(&p, &b, 64, 36, layer);
    rig_seal(&p, &b);
    expect_verified(&p, &d[1], &b);

    rig_work c = rig_work_of(&p, &d[0], 1, 3, 100, 100);
    memcpy(c.pages, a.pages, kv_pages_for(100) * sizeof *c.pages);
    rig_drop(&d[0], 1);
    rig_paint(&d[0], &a, RIG_BLANK);
    rig_expect(&d[0], &c);
    rig_dest(&p, &c, xfer_endpoint(d[0].x)); /* and after SENT, back to the first */
    expect_verified(&p, &d[0], &c);
    rig_close(&p);
    rig_close(&d[0]);
    rig_close(&d[1]);
}

static void one_finished_token_is_handed_over(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state});
    rig_work w = rig_work_of(&p, &d, 9, 4, 1, 5);
    rig_offer(&p, &w);
    rig_expect(&d, &w);
    rig_compute(&p, &w, 16);
    rig_seal(&p, &w);
    rig_dest(&p, &w, xfer_endpoint(d.x));
    rig_wait(&p, X_SENT, 9);
    xfer_event e = rig_wait(&d, X_VERIFIED, 9);
    assert_true(e.finished);
    assert_int_equal(e.first.id, 14);
    assert_int_equal(e.first.top_count, 2);
    assert_int_equal(rig_wrong(&d, &w), 0);
    rig_close_both(&p, &d);
}

static void a_new_epoch_forgets_everything_and_works_again(void **state) {
    rig_side p, d;
    rig_open_both(&p, &d, (rig_options){.transport = *state, .segment_bytes = 1});
    rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0);
    rig_offer(&p, &w);
    rig_expect(&d, &w);
    rig_dest(&p, &w, xfer_endpoint(d.x));
    rig_layer(&p, &w, 0, 64, 0);
    rig_nap(&p);
    xfer_cmd epoch = {.kind = X_EPOCH,
                      .id = {.epoch = RIG_EPOCH, .p_inc = RIG_P_INC + 5, .d_inc = RIG_D_INC + 5}};
    xfer_post(d.x, &epoch);
    rig_nap(&d); /* or it might lose the sender first, and say so */
    xfer_post(p.x, &epoch);
    rig_layer(&p, &w, 0, 64, 1); /* of a step that was running: belongs to nothing */
    p.inc = RIG_P_INC + 5;
    d.inc = RIG_D_INC + 5;
    rig_nothing(&d);
    rig_drop(&p, 1);
    rig_drop(&d, 1);
    rig_paint(&d, &w, RIG_BLANK);
    rig_work v = rig_work_of(&p, &d, 1, 1, 100, 0);
    hand_over(&p, &d, &v, 64);
    rig_close_both(&p, &d);
}

int main(void) {
    log_setup(LOG_ERROR, "test");
    const struct CMUnitTest tests[] = {
        EACH(content_is_exact_for_every_length_type_and_cut),
        EACH(a_layer_larger_than_a_slot_travels_in_pieces),
        EACH(a_receiver_that_holds_a_prefix_gets_the_rest),
        EACH(rows_that_a_sender_has_when_it_offers_are_sent_like_those_that_it_computes),
        EACH(rows_that_were_here_leave_before_the_others_are_computed),
        EACH(handoffs_interleave_on_one_pair),
        EACH(two_senders_share_a_receiver),
        EACH(one_sender_serves_two_receivers),
        EACH(senders_come_and_go),
        EACH(a_full_ring_stalls_the_sender_until_a_credit),
        EACH(the_oldest_offer_has_the_slots_first),
        EACH(the_first_segment_leaves_before_the_last_layer_is_done),
        EACH(without_overlap_nothing_leaves_before_the_seal),
        EACH(a_parked_prompt_is_sent_when_a_receiver_is_found),
        EACH(layer_reports_may_skip_layers),
        EACH(a_new_attempt_starts_over_and_verifies),
        EACH(one_finished_token_is_handed_over),
        EACH(a_new_epoch_forgets_everything_and_works_again),
    };
    return cmocka_run_group_tests_name("transports", tests, NULL, NULL);
}
