/* What is particular to nccl: when copies are begun, and what a library of others' making may do: be absent,
 * be another, fail, fail late, hang, and hang when it is given up. A pair pays for it, no other. */
#include "tests/conformance/rig.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "kernels/backends.h"
#include "tests/cuda_host/emulation.h"
#include "tests/cuda_host/nccl_host.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A pair's deadline, where one is met: what goes on beside it has to be faster. */
#ifdef BATON_SANITIZER
#define DEAD_NS (5 * NS_PER_S)
#else
#define DEAD_NS NS_PER_S
#endif

static void open_p(rig_side *p, uint64_t timeout_ns) {
    rig_open(p, &(rig_options){.transport = "nccl", .inc = RIG_P_INC, .pair_timeout_ns = timeout_ns});
}

static void open_d(rig_side *d, uint64_t inc, uint64_t timeout_ns) {
    rig_open(
        d, &(rig_options){.transport = "nccl", .inc = inc, .receiver = true, .pair_timeout_ns = timeout_ns});
}

static int healthy(void **state) {
    (void)state;
    nccl_host_set(NULL);
    return 0;
}

static void start(rig_side *p, const rig_work *w, const char *endpoint) {
    rig_offer(p, w);
    rig_dest(p, w, endpoint);
    rig_compute(p, w, 64);
    rig_seal(p, w);
}

static void hand_over(rig_side *p, rig_side *d, const rig_work *w) {
    rig_expect(d, w);
    start(p, w, xfer_endpoint(d->x));
    rig_wait(p, X_SENT, w->id.req);
    rig_wait(d, X_VERIFIED, w->id.req);
    assert_int_equal(rig_wrong(d, w), 0);
    assert_int_equal(rig_spilled(d, w), 0);
    rig_drop(p, w->id.req);
    rig_drop(d, w->id.req);
}

static xfer_event await_any(rig_side *s) {
    xfer_event e;
    for (uint64_t since_ns = clock_now_ns(); xfer_next(s->x, &e) != ST_OK;) {
        assert_true(clock_now_ns() - since_ns < 60 * NS_PER_S);
        poll(&(struct pollfd){.fd = xfer_fd(s->x), .events = POLLIN}, 1, 100);
    }
    return e;
}

/* Skips what is before it. */
static void await(rig_side *s, xfer_event_kind kind, uint64_t req) {
    for (xfer_event e = await_any(s); e.kind != kind || e.id.req != req;) e = await_any(s);
}

/* The next attempt, when the library is well again, in a pair of its own. */
static void recover(rig_side *p, rig_side *d, rig_work w) {
    nccl_host_set(NULL);
    rig_drop(p, w.id.req);
    rig_drop(d, w.id.req);
    w.id.attempt++;
    hand_over(p, d, &w);
}

static void no_comm_is_left(void) {
    for (uint64_t since_ns = clock_now_ns(); nccl_host_comms() > 0; poll(NULL, 0, 1))
        assert_true(clock_now_ns() - since_ns < 60 * NS_PER_S);
}

static void a_receive_is_begun_when_its_segment_has_come_and_not_before(void **state) {
    (void)state;
    rig_side d, like;
    raw_peer raw;
    open_d(&d, RIG_D_INC, 0);
    open_p(&like, 0);
    raw_open(&raw, &like, "nccl", 0, 0);
    rig_work w = rig_work_of(&like, &d, 1, 1, 100, 0);
    rig_compute(&like, &w, 100); /* of no offer: only fills the pages */
    rig_expect(&d, &w);
    raw_call(&raw, xfer_endpoint(d.x), &w.id);
    kv_frame f = raw_segment(&raw, &w, 0, rig_piece(0, 100, 0, 1), 0);
    rig_nap(&d);
    uint64_t before = nccl_host_copies();
    assert_true(raw_push(&raw, &f));
    rig_nap(&d);
    assert_int_equal(nccl_host_copies(), before + 1); /* the send */
    raw_announce(&raw, &f);
    assert_int_equal(raw_read(&raw, NULL).kind, KV_CREDIT);
    assert_int_equal(nccl_host_copies(), before + 2);
    raw_close(&raw);
    rig_close_both(&like, &d);
}

static void a_pair_has_its_communicator_from_its_first_handoff_until_its_end(void **state) {
    (void)state;
    rig_side p, d;
    open_p(&p, 0);
    open_d(&d, RIG_D_INC, 0);
    assert_int_equal(nccl_host_comms(), 0);
    for (uint64_t req = 1; req <= 3; req++) {
        rig_work w = rig_work_of(&p, &d, req, 1, 100, 20 * (uint32_t)req);
        hand_over(&p, &d, &w);
        assert_int_equal(nccl_host_comms(), 2);
    }
    rig_close(&d);
    rig_nap(&p);
    no_comm_is_left();
    rig_close(&p);
}

static void an_error_of_the_library_ends_the_pair_and_the_next_one_works(void **state) {
    (void)state;
    const struct {
        const char *words, *why;
    } cases[] = {
        {"fails=1", "NCCL 2.28.9: sending: invalid argument: emulated"},
        {"breaks=1", "NCCL 2.28.9: copying to or from the other end: unhandled system error: emulated"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        rig_side p, d;
        open_p(&p, 0);
        open_d(&d, RIG_D_INC, 0);
        rig_work a = rig_work_of(&p, &d, 1, 1, 100, 0), b = rig_work_of(&p, &d, 2, 1, 100, 40);
        hand_over(&p, &d, &a);
        nccl_host_set(cases[i].words);
        rig_expect(&d, &b);
        start(&p, &b, xfer_endpoint(d.x));
        assert_string_equal(rig_wait(&p, X_FAILED, 2).why, cases[i].why);
        recover(&p, &d, b);
        rig_close_both(&p, &d);
        no_comm_is_left();
    }
}

static void an_error_at_the_receiver_is_told_to_the_sender(void **state) {
    (void)state;
    rig_side d, like;
    raw_peer raw;
    open_d(&d, RIG_D_INC, 0);
    open_p(&like, 0);
    raw_open(&raw, &like, "nccl", 0, 0);
    rig_work w = rig_work_of(&like, &d, 1, 1, 100, 0);
    rig_expect(&d, &w);
    raw_call(&raw, xfer_endpoint(d.x), &w.id);
    kv_frame f = raw_segment(&raw, &w, 0, rig_piece(0, 100, 0, 1), 0);
    assert_true(raw_push(&raw, &f));
    nccl_host_set("fails=1");
    raw_announce(&raw, &f);
    assert_string_equal(rig_wait(&d, X_FAILED, 1).why, "NCCL 2.28.9: receiving: invalid argument: emulated");
    char text[CHAN_TEXT_MAX];
    assert_int_equal(raw_read(&raw, text).kind, KV_REFUSED);
    assert_string_equal(text, "NCCL 2.28.9: receiving: invalid argument: emulated");
    assert_true(rig_blank(&d, &w));
    raw_close(&raw);
    rig_close_both(&like, &d);
}

static void a_receiver_that_credits_what_it_has_not_received_costs_its_own_pair(void **state) {
    (void)state;
    rig_side p, d, there = {.inc = RIG_D_INC + 1, .kv.page_count = 256};
    raw_peer raw;
    open_p(&p, 0);
    open_d(&d, RIG_D_INC, 0);
    raw_open(&raw, &p, "nccl", 4, 64 * 1024);
    raw_listen(&raw);
    rig_work lies = rig_work_of(&p, &there, 1, 1, 400, 0), w = rig_work_of(&p, &d, 2, 1, 100, 60);
    rig_offer(&p, &lies);
    rig_dest(&p, &lies, raw.endpoint);
    (void)raw_answer(&raw, RIG_D_INC + 1, true);
    nccl_host_set("hangs=1");
    rig_compute(&p, &lies, 32);
    /* Of 4 slots: 4 sends, and one whose slot may have come back before it was seen to end */
    for (int i = 0; i < 5; i++) {
        kv_frame f = raw_read(&raw, NULL);
        assert_int_equal(f.kind, KV_SEGMENT);
        if (i < 2) raw_credit(&raw, f.slot);
    }
    assert_string_equal(rig_wait(&p, X_FAILED, 1).why,
                        "the receiver credits a segment that it has not received");
    nccl_host_set(NULL);
    rig_drop(&p, 1);
    hand_over(&p, &d, &w);
    raw_close(&raw);
    rig_close_both(&p, &d);
    no_comm_is_left();
}

static void a_pair_that_does_not_open_ends_with_the_reason(void **state) {
    (void)state;
    const struct {
        const char *words, *why;
    } cases[] = {{"draw_fails", "NCCL 2.28.9: drawing an id: unhandled system error"},
                 {"open_fails", "NCCL 2.28.9: opening a pair: unhandled system error: emulated"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        rig_side p, d;
        open_p(&p, 0);
        open_d(&d, RIG_D_INC, 0);
        nccl_host_set(cases[i].words);
        rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0);
        rig_expect(&d, &w);
        start(&p, &w, xfer_endpoint(d.x));
        assert_non_null(strstr(rig_wait(&p, X_FAILED, 1).why, cases[i].why));
        recover(&p, &d, w);
        rig_close_both(&p, &d);
        no_comm_is_left();
    }
}

/* "text for 312 ms" */
static void expect_overdue(rig_side *s, uint64_t req, const char *text) {
    xfer_event e = rig_wait(s, X_FAILED, req);
    assert_memory_equal(e.why, text, strlen(text));
}

static void a_pair_that_never_opens_ends_at_six_times_its_deadline(void **state) {
    (void)state;
    rig_side p, d;
    const uint64_t timeout_ns = 100 * NS_PER_MS;
    open_p(&p, timeout_ns);
    open_d(&d, RIG_D_INC, 0);
    rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0);
    nccl_host_set("open_hangs");
    rig_expect(&d, &w);
    uint64_t since_ns = clock_now_ns();
    start(&p, &w, xfer_endpoint(d.x));
    expect_overdue(&p, 1, "the ring is not ready for ");
    assert_true(clock_now_ns() - since_ns >= 6 * timeout_ns);
    rig_close(&p);
    open_p(&p, 0);
    recover(&p, &d, w);
    rig_close_both(&p, &d);
    no_comm_is_left();
}

/* One hand-off fails and another, over the other pair, gets through, in whatever order. */
static void sent_and_failed(rig_side *p, uint64_t sent_req, uint64_t failed_req, const char *why) {
    for (bool sent = false, failed = false; !sent || !failed;) {
        xfer_event e = await_any(p);
        sent = sent || (e.kind == X_SENT && e.id.req == sent_req);
        if (e.kind != X_FAILED) continue;
        assert_int_equal(e.id.req, failed_req);
        assert_non_null(strstr(e.why, why));
        failed = true;
    }
    rig_drop(p, sent_req);
}

static void a_copy_that_never_ends_ends_its_pair_at_its_deadline_and_no_other(void **state) {
    (void)state;
    rig_side p, d[2];
    open_p(&p, DEAD_NS);
    open_d(&d[0], RIG_D_INC, 0);
    open_d(&d[1], RIG_D_INC + 1, 0);
    rig_work a = rig_work_of(&p, &d[0], 1, 1, 100, 0), b = rig_work_of(&p, &d[1], 2, 1, 100, 40);
    hand_over(&p, &d[0], &a);
    a = rig_work_of(&p, &d[0], 3, 1, 100, 0);
    nccl_host_set("hangs=1");
    rig_expect(&d[0], &a);
    rig_expect(&d[1], &b);
    start(&p, &a, xfer_endpoint(d[0].x));
    start(&p, &b, xfer_endpoint(d[1].x));
    await(&d[1], X_VERIFIED, 2);
    assert_int_equal(rig_wrong(&d[1], &b), 0);
    sent_and_failed(&p, 2, 3, "no credit from the receiver for ");
    await(&d[0], X_FAILED, 3);
    recover(&p, &d[0], a);
    rig_close(&p);
    rig_close(&d[0]);
    rig_close(&d[1]);
    no_comm_is_left();
}

static void a_library_that_hangs_when_it_gives_up_a_pair_holds_up_nobody(void **state) {
    (void)state;
    rig_side p, d;
    open_p(&p, 0);
    open_d(&d, RIG_D_INC, 0);
    rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0);
    hand_over(&p, &d, &w);
    nccl_host_set("abort_hangs");
    xfer_post(p.x, &(xfer_cmd){.kind = X_PEER_GONE, .peer_inc = RIG_D_INC});
    xfer_post(d.x, &(xfer_cmd){.kind = X_PEER_GONE, .peer_inc = RIG_P_INC});
    w.id.attempt++;
    hand_over(&p, &d, &w);
    assert_int_equal(nccl_host_comms(), 4);
    nccl_host_set(NULL);
    rig_close_both(&p, &d);
    no_comm_is_left();
}

static void libraries_of_unlike_versions_are_refused_by_name(void **state) {
    (void)state;
    rig_side p, d;
    open_d(&d, RIG_D_INC, 0);
    nccl_host_set("newer");
    open_p(&p, 0);
    rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0);
    rig_expect(&d, &w);
    start(&p, &w, xfer_endpoint(d.x));
    assert_string_equal(rig_wait(&p, X_FAILED, 1).why,
                        "the receiver has NCCL 2.28.9, and here is 2.30.1: install the same on both hosts");
    rig_close_both(&p, &d);
}

static void a_receiver_without_memory_for_a_ring_says_what_to_lower(void **state) {
    (void)state;
    rig_side p, d;
    open_p(&p, 0);
    open_d(&d, RIG_D_INC, 0);
    size_t bytes;
    char mb[32];
    emulation_allocations(&bytes);
    snprintf(mb, sizeof mb, "%zu", bytes >> 20);
    assert_int_equal(setenv("BATON_EMU_MEMORY_MB", mb, 1), 0);
    rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0);
    rig_expect(&d, &w);
    start(&p, &w, xfer_endpoint(d.x));
    xfer_event e = rig_wait(&p, X_FAILED, 1);
    assert_int_equal(unsetenv("BATON_EMU_MEMORY_MB"), 0);
    assert_string_equal(e.why,
                        "no GPU memory for a pair's 524288 bytes: lower handoff.ring_slots or slot_kb");
    rig_close_both(&p, &d);
}

static void what_lacks_the_library_or_a_gpu_cannot_be_told_to_use_it(void **state) {
    (void)state;
    const backend_ops *ops = rig_backend("nccl"), *ref = backend_find("ref");
    device *d, *host;
    errbuf eb = {0};
    xport_menu m;
    nccl_host_set("absent");
    assert_int_equal(ops->open(&d, &(device_options){.act_type = DT_F32}, &eb), ST_OK);
    assert_int_equal(menu_make(&m, "nccl", ops, d, NULL, &eb), ST_UNSUPPORTED);
    assert_string_equal(eb.text,
                        "handoff.transport: libnccl.so.2 was found neither by the loader nor in "
                        "/emulated/lib: install NCCL, set LD_LIBRARY_PATH to its folder, or take another "
                        "handoff.transport");
    assert_int_equal(menu_make(&m, "auto", ops, d, NULL, &eb), ST_OK);
    assert_int_equal(m.own.can & KV_BY_NCCL, 0);
    nccl_host_set(NULL);
    assert_int_equal(menu_make(&m, "auto", ops, d, NULL, &eb), ST_OK);
    assert_int_equal(m.own.can & KV_BY_NCCL, KV_BY_NCCL);
    ops->close(d);

    assert_int_equal(ref->open(&host, &(device_options){.threads = 1}, &eb), ST_OK);
    assert_int_equal(menu_make(&m, "nccl", ref, host, NULL, &eb), ST_UNSUPPORTED);
    assert_string_equal(eb.text, "handoff.transport: transport nccl copies between GPUs, and backend ref has "
                                 "none: take shm on one host, zmq between hosts");
    ref->close(host);
}

/* ---- two processes ---- */

/* A decode worker in a process of its own, which does what it is told by one letter: E expects w, Q ends.
 * They are started before this process has threads, or has run a kernel. */
typedef struct other {
    pid_t pid;
    int orders, answers;
    char endpoint[CHAN_ENDPOINT_MAX];
} other;
static other others[4];

static rig_work w_of_others(void) {
    rig_side there = {.inc = RIG_D_INC, .kv.page_count = 256},
             here = {.inc = RIG_P_INC, .kv.page_count = 256};
    return rig_work_of(&here, &there, 1, 1, 100, 0);
}

static void other_main(int answers, int orders) {
    rig_side d;
    char order;
    rig_work w = w_of_others();
    if (read(orders, &order, 1) != 1 || order != 'O') _exit(1);
    alarm(120);
    open_d(&d, RIG_D_INC, 0);
    if (write(answers, xfer_endpoint(d.x), strlen(xfer_endpoint(d.x)) + 1) < 0) _exit(1);
    for (; read(orders, &order, 1) == 1 && order == 'E'; w.id.req++) {
        rig_expect(&d, &w);
        rig_wait(&d, X_VERIFIED, w.id.req);
        if (rig_wrong(&d, &w) || write(answers, "V", 1) != 1) _exit(1);
        rig_drop(&d, w.id.req);
    }
    rig_close(&d);
    _exit(0);
}

static void others_start(void) {
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        int answers[2], orders[2];
        if (pipe(answers) || pipe(orders)) exit(1);
        others[i] = (other){.pid = fork(), .orders = orders[1], .answers = answers[0]};
        if (others[i].pid < 0) exit(1);
        if (others[i].pid == 0) {
            for (size_t k = 0; k < i; k++) close(others[k].orders); /* its end is this process's */
            close(answers[0]);
            close(orders[1]);
            other_main(answers[1], orders[0]);
        }
        close(answers[1]);
        close(orders[0]);
    }
}

static void tell(other *o, char order) {
    assert_int_equal(write(o->orders, &order, 1), 1);
}

static void listens(other *o) {
    tell(o, 'O');
    assert_true(read(o->answers, o->endpoint, sizeof o->endpoint) > 0);
}

/* Its first hand-off. */
static void serves(rig_side *p, other *o, const rig_work *w) {
    char x = 0;
    tell(o, 'E');
    start(p, w, o->endpoint);
    rig_wait(p, X_SENT, w->id.req);
    assert_int_equal(read(o->answers, &x, 1), 1);
    assert_int_equal(x, 'V');
    rig_drop(p, w->id.req);
}

/* Killed or frozen: the pair ends, by its connection, an error of the library, or its deadline; the pair to
 * another receiver goes on; and when there is a receiver again, it has a pair with it. */
static void a_receiver_that_dies_or_freezes_takes_down_its_own_pair(void **state) {
    int sig = *state ? SIGSTOP : SIGKILL;
    other *o = &others[*state ? 2 : 0], *again = o + 1;
    rig_side p, d, there = {.inc = RIG_D_INC, .kv.page_count = 256};
    open_p(&p, DEAD_NS);
    open_d(&d, RIG_D_INC + 1, 0);
    rig_work w = w_of_others(), v = rig_work_of(&p, &d, 10, 1, 100, 40);
    listens(o);
    serves(&p, o, &w);
    hand_over(&p, &d, &v);

    assert_int_equal(kill(o->pid, sig), 0);
    rig_work lost = rig_work_of(&p, &there, 2, 1, 100, 80), u = rig_work_of(&p, &d, 11, 1, 100, 120);
    rig_offer(&p, &lost);
    rig_dest(&p, &lost, o->endpoint);
    rig_compute(&p, &lost, 64);
    rig_expect(&d, &u);
    start(&p, &u, xfer_endpoint(d.x));
    await(&d, X_VERIFIED, 11);
    assert_int_equal(rig_wrong(&d, &u), 0);
    sent_and_failed(&p, 11, 2, sig == SIGKILL ? "" : " for ");
    u = rig_work_of(&p, &d, 12, 1, 100, 160);
    hand_over(&p, &d, &u);

    rig_drop(&p, 2);
    listens(again);
    serves(&p, again, &w);

    (void)kill(o->pid, SIGKILL);
    assert_int_equal(waitpid(o->pid, NULL, 0), o->pid);
    tell(again, 'Q');
    int how;
    assert_int_equal(waitpid(again->pid, &how, 0), again->pid);
    assert_int_equal(how, 0);
    rig_close_both(&p, &d);
    no_comm_is_left();
}

#define NCCL(test) cmocka_unit_test_teardown(test, healthy)

int main(void) {
    log_setup(LOG_ERROR, "test");
    others_start();
    const struct CMUnitTest tests[] = {
        {"a_receiver_that_dies_takes_down_its_own_pair",
         a_receiver_that_dies_or_freezes_takes_down_its_own_pair, NULL, healthy, NULL},
        {"a_receiver_that_freezes_takes_down_its_own_pair",
         a_receiver_that_dies_or_freezes_takes_down_its_own_pair, NULL, healthy, (void *)"freezes"},
        NCCL(a_receive_is_begun_when_its_segment_has_come_and_not_before),
        NCCL(a_pair_has_its_communicator_from_its_first_handoff_until_its_end),
        NCCL(an_error_of_the_library_ends_the_pair_and_the_next_one_works),
        NCCL(an_error_at_the_receiver_is_told_to_the_sender),
        NCCL(a_receiver_that_credits_what_it_has_not_received_costs_its_own_pair),
        NCCL(a_pair_that_does_not_open_ends_with_the_reason),
        NCCL(a_pair_that_never_opens_ends_at_six_times_its_deadline),
        NCCL(a_copy_that_never_ends_ends_its_pair_at_its_deadline_and_no_other),
        NCCL(a_library_that_hangs_when_it_gives_up_a_pair_holds_up_nobody),
        NCCL(libraries_of_unlike_versions_are_refused_by_name),
        NCCL(a_receiver_without_memory_for_a_ring_says_what_to_lower),
        NCCL(what_lacks_the_library_or_a_gpu_cannot_be_told_to_use_it),
    };
    return cmocka_run_group_tests_name("nccl", tests, NULL, NULL);
}
