/* Transports that take their time, for ever, or fail in the end: deadlines, order, and what an abort leaves
 * behind. */
#include "tests/conformance/rig.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <poll.h>
#include <string.h>

#define SHORT_NS (300 * NS_PER_MS)

static void open_both(rig_side *p, rig_side *d, uint64_t p_timeout_ns, uint64_t d_timeout_ns) {
    rig_open(p, &(rig_options){.transport = "slow", .inc = RIG_P_INC, .pair_timeout_ns = p_timeout_ns});
    rig_open(d,
             &(rig_options){
                 .transport = "slow", .inc = RIG_D_INC, .receiver = true, .pair_timeout_ns = d_timeout_ns});
}

static int everything_gets_done(void **state) {
    (void)state;
    xport_slow_set((slow_fates){0});
    return 0;
}

static void close_both(rig_side *p, rig_side *d) {
    rig_close_both(p, d);
    assert_int_equal(xport_slow_rings(), 0);
}

static void start(rig_side *p, rig_side *d, const rig_work *w) {
    rig_offer(p, w);
    rig_expect(d, w);
    rig_dest(p, w, xfer_endpoint(d->x));
    rig_compute(p, w, 64);
    rig_seal(p, w);
}

/* Until the transports of both threads were called so often. */
static void wait_for(uint32_t (*count)(void), uint32_t want) {
    uint64_t deadline_ns = clock_now_ns() + 60 * NS_PER_S;
    while (count() < want) {
        assert_true(clock_now_ns() < deadline_ns);
        poll(NULL, 0, 1);
    }
}

static void expect_verified(rig_side *p, rig_side *d, const rig_work *w) {
    rig_wait(p, X_SENT, w->id.req);
    rig_wait(d, X_VERIFIED, w->id.req);
    assert_int_equal(rig_wrong(d, w), 0);
    assert_int_equal(rig_spilled(d, w), 0);
}

/* "text for 312 ms" */
static void expect_overdue(rig_side *s, const rig_work *w, const char *text) {
    xfer_event e = rig_wait(s, X_FAILED, w->id.req);
    assert_memory_equal(&e.id, &w->id, sizeof w->id);
    assert_false(e.device);
    assert_memory_equal(e.why, text, strlen(text));
    uint32_t ms = 0;
    assert_int_equal(sscanf(e.why + strlen(text), " for %u ms", &ms), 1);
    assert_true(ms >= SHORT_NS / NS_PER_MS);
}

/* After a failure: the next attempt over a transport that works, in a pair of its own. */
static void expect_recovery(rig_side *p, rig_side *d, rig_work w) {
    xport_slow_set((slow_fates){0});
    rig_drop(p, w.id.req);
    rig_drop(d, w.id.req);
    w.id.attempt++;
    start(p, d, &w);
    expect_verified(p, d, &w);
}

static void a_senders_ring_that_never_gets_ready_ends_the_pair_at_its_deadline(void **state) {
    (void)state;
    rig_side p, d;
    xport_slow_set((slow_fates){.open = SLOW_STUCK});
    open_both(&p, &d, SHORT_NS, 0);
    rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0);
    start(&p, &d, &w);
    expect_overdue(&p, &w, "the ring is not ready");
    assert_int_equal(xfer_stats_of(p.x).pairs_opened, 0);
    assert_int_equal(xfer_stats_of(p.x).segments, 0);
    expect_recovery(&p, &d, w);
    close_both(&p, &d);
}

static void a_receivers_ring_that_never_gets_ready_ends_the_pair_at_its_deadline(void **state) {
    (void)state;
    rig_side p, d;
    xport_slow_set((slow_fates){.create = SLOW_STUCK});
    open_both(&p, &d, 0, SHORT_NS);
    rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0);
    rig_offer(&p, &w);
    rig_expect(&d, &w);
    rig_dest(&p, &w, xfer_endpoint(d.x));
    rig_compute(&p, &w, 64);
    expect_overdue(&d, &w, "the ring is not ready"); /* the sender's side is: a segment waits here */
    expect_overdue(&p, &w, "the ring is not ready"); /* it was told */
    assert_true(rig_blank(&d, &w));
    assert_int_equal(xfer_stats_of(d.x).pairs_opened, 0);
    expect_recovery(&p, &d, w);
    close_both(&p, &d);
}

static void a_push_that_never_completes_ends_the_pair_at_its_deadline(void **state) {
    (void)state;
    rig_side p, d;
    xport_slow_set((slow_fates){.push = SLOW_STUCK});
    open_both(&p, &d, SHORT_NS, 0);
    rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0);
    start(&p, &d, &w);
    expect_overdue(&p, &w, "a segment is under way");
    assert_int_equal(xfer_stats_of(p.x).segments, 0); /* none was announced */
    assert_int_equal(xfer_stats_of(p.x).pairs_opened, 1);
    assert_true(rig_blank(&d, &w));
    expect_recovery(&p, &d, w);
    close_both(&p, &d);
}

static void a_pull_that_never_completes_ends_the_pair_at_its_deadline(void **state) {
    (void)state;
    rig_side p, d;
    xport_slow_set((slow_fates){.pull = SLOW_STUCK});
    open_both(&p, &d, 0, SHORT_NS);
    rig_work w = rig_work_of(&p, &d, 1, 1, 40, 0);
    start(&p, &d, &w);
    rig_wait(&p, X_SENT, 1);
    expect_overdue(&d, &w, "a payload is under way");
    expect_overdue(&p, &w, "a payload is under way");
    assert_true(rig_blank(&d, &w));
    expect_recovery(&p, &d, w);
    close_both(&p, &d);
}

static void what_fails_in_the_end_is_named_on_both_sides(void **state) {
    (void)state;
    static const struct {
        slow_fates fates;
        const char *p_why, *d_why; /* NULL: nothing was announced there */
    } cases[] = {
        {{.open = SLOW_FAILS}, "the slow transport's ring failed", NULL},
        {{.push = SLOW_FAILS}, "the slow transport's push failed", NULL},
        {{.pull = SLOW_FAILS}, "the slow transport's pull failed", "the slow transport's pull failed"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        rig_side p, d;
        xport_slow_set(cases[i].fates);
        open_both(&p, &d, 0, 0);
        rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0);
        rig_offer(&p, &w);
        rig_expect(&d, &w);
        rig_dest(&p, &w, xfer_endpoint(d.x));
        rig_compute(&p, &w, 64);
        xfer_event e = rig_wait(&p, X_FAILED, 1);
        assert_string_equal(e.why, cases[i].p_why);
        assert_false(e.device); /* a transport is no device */
        if (cases[i].d_why) assert_string_equal(rig_wait(&d, X_FAILED, 1).why, cases[i].d_why);
        assert_true(rig_blank(&d, &w));
        expect_recovery(&p, &d, w);
        close_both(&p, &d);
    }
}

static void a_failed_push_ends_its_own_pair_only(void **state) {
    (void)state;
    rig_side p, d[2];
    rig_open(&p, &(rig_options){.transport = "slow", .inc = RIG_P_INC});
    for (uint32_t i = 0; i < 2; i++) {
        rig_open(&d[i], &(rig_options){.transport = "slow", .receiver = true, .inc = RIG_D_INC + i});
        rig_work w = rig_work_of(&p, &d[i], i + 1, 1, 40, 20 * i);
        start(&p, &d[i], &w);
        expect_verified(&p, &d[i], &w);
        rig_drop(&p, w.id.req);
    }
    xport_slow_set((slow_fates){.push = SLOW_FAILS});
    rig_work broken = rig_work_of(&p, &d[0], 3, 1, 40, 40);
    start(&p, &d[0], &broken);
    assert_string_equal(rig_wait(&p, X_FAILED, 3).why, "the slow transport's push failed");
    xport_slow_set((slow_fates){0});
    rig_work other = rig_work_of(&p, &d[1], 4, 1, 40, 60);
    start(&p, &d[1], &other);
    expect_verified(&p, &d[1], &other);
    assert_int_equal(xfer_stats_of(p.x).pairs_opened, 2); /* its pair lived on */
    rig_close(&d[1]);
    close_both(&p, &d[0]);
}

/* P drops a hand-off while its pushes are under way; the next one follows in the same pages on both sides. */
static void an_abort_with_pushes_under_way_leaves_nothing_to_a_later_handoff(void **state) {
    (void)state;
    rig_side p, d;
    open_both(&p, &d, 0, 0);
    rig_work first = rig_work_of(&p, &d, 1, 1, 100, 0);
    start(&p, &d, &first);
    expect_verified(&p, &d, &first);
    rig_paint(&d, &first, RIG_BLANK);
    rig_drop(&p, 1);
    rig_nap(&p);

    uint32_t before = xport_slow_pushes();
    uint64_t sent = xfer_stats_of(p.x).segments;
    xport_slow_set((slow_fates){.push = SLOW_STUCK});
    rig_work w = rig_work_of(&p, &d, 2, 1, 100, 0);
    rig_offer(&p, &w);
    rig_expect(&d, &w);
    rig_dest(&p, &w, xfer_endpoint(d.x));
    rig_compute(&p, &w, 64);
    rig_nap(&p);
    assert_int_equal(xfer_stats_of(p.x).segments, sent);
    rig_drop(&p, 2); /* at once, although they are under way: the pages were gathered */
    uint32_t stuck = xport_slow_pushes() - before;
    assert_true(stuck > 1);
    assert_string_equal(rig_wait(&d, X_FAILED, 2).why, "the sender dropped it");
    rig_drop(&d, 2);

    rig_work v = rig_work_of(&p, &d, 3, 1, 100, 0);
    start(&p, &d, &v);
    rig_nap(&p);
    xport_slow_set((slow_fates){0});
    expect_verified(&p, &d, &v);
    assert_int_equal(xfer_stats_of(d.x).strays, stuck); /* announced, brought in, and thrown away */
    assert_int_equal(xfer_stats_of(d.x).crc_errors, 0);
    assert_int_equal(xfer_stats_of(d.x).pairs_opened, 1);
    close_both(&p, &d);
}

/* D drops a hand-off while its pulls are under way. */
static void a_drop_with_pulls_under_way_leaves_nothing_to_a_later_handoff(void **state) {
    (void)state;
    rig_side p, d;
    open_both(&p, &d, 0, 0);
    uint32_t before = xport_slow_pulls();
    xport_slow_set((slow_fates){.pull = SLOW_STUCK});
    rig_work w = rig_work_of(&p, &d, 1, 1, 40, 0);
    start(&p, &d, &w);
    rig_wait(&p, X_SENT, 1);
    wait_for(xport_slow_pulls, before + 6); /* one per layer; behind them, the seal */
    rig_drop(&d, 1); /* answered at once: what is under way goes into the ring, not into pages */
    rig_paint(&d, &w, 0x5a);
    rig_nap(&d);
    assert_true(rig_painted(&d, &w, 0x5a));
    rig_paint(&d, &w, RIG_BLANK);
    rig_drop(&p, 1);
    rig_work v = rig_work_of(&p, &d, 2, 1, 40, 0);
    start(&p, &d, &v);
    xport_slow_set((slow_fates){0});
    expect_verified(&p, &d, &v);
    assert_int_equal(xfer_stats_of(d.x).strays, 6 + 1);
    close_both(&p, &d);
}

/* What a sender had announced is brought in also when it is gone meanwhile. */
static void a_connection_that_is_lost_behind_the_seal_does_no_harm(void **state) {
    (void)state;
    rig_side p, d;
    xport_slow_set((slow_fates){.pull = SLOW_STUCK});
    open_both(&p, &d, 0, 0);
    rig_work w = rig_work_of(&p, &d, 1, 1, 40, 0);
    start(&p, &d, &w);
    rig_wait(&p, X_SENT, 1);
    rig_close(&p);
    rig_nothing(&d);
    xport_slow_set((slow_fates){0});
    rig_wait(&d, X_VERIFIED, 1);
    assert_int_equal(rig_wrong(&d, &w), 0);
    rig_close(&d);
    assert_int_equal(xport_slow_rings(), 0);
}

static void a_slot_is_not_used_twice_without_a_credit(void **state) {
    (void)state;
    rig_side d, like;
    raw_peer raw;
    char text[CHAN_TEXT_MAX];
    rig_open(&d, &(rig_options){.transport = "slow", .receiver = true, .inc = RIG_D_INC});
    rig_open(&like, &(rig_options){.transport = "slow", .inc = RIG_P_INC});
    raw_open(&raw, &like, "slow", 0, 0);
    rig_work w = rig_work_of(&like, &d, 1, 1, 40, 0);
    rig_expect(&d, &w);
    raw_call(&raw, xfer_endpoint(d.x), &w.id);
    xport_slow_set((slow_fates){.pull = SLOW_STUCK});
    kv_frame f = raw_segment(&raw, &w, 0, rig_piece(0, 16, 0, 2), 1);
    raw_send_segment(&raw, &f);
    f.segment = 1;
    raw_send_segment(&raw, &f);
    assert_int_equal(raw_read(&raw, text).kind, KV_REFUSED);
    assert_string_equal(text, "a segment in a slot that is not credited");
    assert_string_equal(rig_wait(&d, X_FAILED, 1).why, text);
    raw_close(&raw);
    close_both(&like, &d);
}

static void frames_behind_a_payload_are_bounded(void **state) {
    (void)state;
    rig_side d, like;
    raw_peer raw;
    char text[CHAN_TEXT_MAX];
    rig_open(&d, &(rig_options){.transport = "slow", .receiver = true, .inc = RIG_D_INC});
    rig_open(&like, &(rig_options){.transport = "slow", .inc = RIG_P_INC});
    raw_open(&raw, &like, "slow", 0, 0);
    rig_work w = rig_work_of(&like, &d, 1, 1, 40, 0);
    rig_expect(&d, &w);
    raw_call(&raw, xfer_endpoint(d.x), &w.id);
    xport_slow_set((slow_fates){.pull = SLOW_STUCK});
    kv_frame f = raw_segment(&raw, &w, 0, rig_piece(0, 16, 0, 2), 1);
    raw_send_segment(&raw, &f);
    for (uint32_t i = 0; i < PAIR_HELD_MAX; i++) {
        kv_frame abort = {.kind = KV_ABORT, .id = w.id};
        while (pair_send(raw.p, &abort, NULL)) { /* ZeroMQ's own queue is full */
            raw.p->seq_out--;
            poll(NULL, 0, 1);
        }
    }
    assert_int_equal(raw_read(&raw, text).kind, KV_REFUSED);
    assert_string_equal(text, "too many frames before a payload");
    assert_string_equal(rig_wait(&d, X_FAILED, 1).why, text);
    raw_close(&raw);
    close_both(&like, &d);
}

static void a_side_that_closes_with_work_under_way_frees_it(void **state) {
    (void)state;
    static const slow_fates cases[] = {
        {.create = SLOW_STUCK}, {.open = SLOW_STUCK}, {.push = SLOW_STUCK}, {.pull = SLOW_STUCK}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        rig_side p, d;
        xport_slow_set(cases[i]);
        open_both(&p, &d, 0, 0);
        rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0);
        uint32_t pushes = xport_slow_pushes(), pulls = xport_slow_pulls();
        rig_offer(&p, &w);
        rig_expect(&d, &w);
        rig_dest(&p, &w, xfer_endpoint(d.x));
        rig_compute(&p, &w, 64);
        wait_for(xport_slow_rings, 2);
        if (cases[i].push) wait_for(xport_slow_pushes, pushes + 6);
        if (cases[i].pull) wait_for(xport_slow_pulls, pulls + 6);
        close_both(&p, &d); /* no ring is left; the leak checker of the sanitizer build looks for the rest */
    }
}

#define TEST(name) cmocka_unit_test_setup(name, everything_gets_done)

int main(void) {
    log_setup(LOG_ERROR, "test");
    const struct CMUnitTest tests[] = {
        TEST(a_senders_ring_that_never_gets_ready_ends_the_pair_at_its_deadline),
        TEST(a_receivers_ring_that_never_gets_ready_ends_the_pair_at_its_deadline),
        TEST(a_push_that_never_completes_ends_the_pair_at_its_deadline),
        TEST(a_pull_that_never_completes_ends_the_pair_at_its_deadline),
        TEST(what_fails_in_the_end_is_named_on_both_sides),
        TEST(a_failed_push_ends_its_own_pair_only),
        TEST(an_abort_with_pushes_under_way_leaves_nothing_to_a_later_handoff),
        TEST(a_drop_with_pulls_under_way_leaves_nothing_to_a_later_handoff),
        TEST(a_connection_that_is_lost_behind_the_seal_does_no_harm),
        TEST(a_slot_is_not_used_twice_without_a_credit),
        TEST(frames_behind_a_payload_are_bounded),
        TEST(a_side_that_closes_with_work_under_way_frees_it),
    };
    return cmocka_run_group_tests_name("slow transport", tests, NULL, NULL);
}
