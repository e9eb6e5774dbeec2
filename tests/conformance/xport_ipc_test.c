/* Pairs over ipc, and rings alone in ipc_ring_test.c: two GPUs, what happens where ipc cannot be had, and
 * peers that freeze and wake up with the ring still in their hands. */
#include "tests/conformance/rig.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "kernels/backends.h"
#include "tests/cuda_host/emulation.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static rig_options side(bool receiver, const char *transport) {
    return (rig_options){.transport = transport,
                         .receiver = receiver,
                         .inc = receiver ? RIG_D_INC : RIG_P_INC,
                         .ops = rig_backend("ipc")};
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

static xfer_pair tried(rig_side *p, rig_side *d) {
    xfer_post(p->x, &(xfer_cmd){.kind = X_PEER, .peer_inc = RIG_D_INC, .endpoint = xfer_endpoint(d->x)});
    return rig_wait_pair(p).pair;
}

static int as_it_was(void **state) {
    (void)state;
    unsetenv("BATON_EMU_GPUS");
    unsetenv("BATON_EMU_PEERS");
    unsetenv("BATON_EMU_PEER_MB_S");
    return unsetenv("BATON_EMU_VMM");
}

static void kv_goes_from_one_gpu_to_another(void **state) {
    (void)state;
    rig_side p, d;
    setenv("BATON_EMU_GPUS", "2", 1);
    rig_options to = side(true, "auto"), from = side(false, "auto");
    from.gpu = 1;
    from.flip = 2;
    rig_open(&d, &to);
    rig_open(&p, &from);
    rig_work w = rig_work_of(&p, &d, 1, 1, 200, 0);
    rig_expect(&d, &w);
    start(&p, &w, xfer_endpoint(d.x));
    assert_string_equal(rig_wait(&d, X_FAILED, 1).why, "segment 1: checksum mismatch");
    rig_close(&p);
    from.flip = 0;
    from.inc++;
    rig_open(&p, &from);
    xfer_pair got = tried(&p, &d);
    assert_true(got.open);
    assert_string_equal(got.transport, "ipc");
    for (uint64_t req = 2; req < 5; req++) {
        w = rig_work_of(&p, &d, req, 1, 200, 0);
        rig_drop(&d, req - 1);
        hand_over(&p, &d, &w);
    }
    rig_close_both(&p, &d);
    assert_int_equal(emulation_allocations(NULL), 0);
}

static void a_pair_tells_how_slow_its_link_is(void **state) {
    (void)state;
    rig_side p, d;
    setenv("BATON_EMU_GPUS", "2", 1);
    setenv("BATON_EMU_PEER_MB_S", "20", 1);
    rig_options to = side(true, "ipc"), from = side(false, "ipc");
    from.gpu = 1;
    rig_open(&d, &to);
    rig_open(&p, &from);
    xfer_pair got = tried(&p, &d);
    assert_true(got.bytes_per_s > 0 && got.bytes_per_s <= 20e6);
    rig_close_both(&p, &d);
}

static void gpus_without_a_path_meet_in_the_hosts_memory(void **state) {
    (void)state;
    rig_side p, d;
    setenv("BATON_EMU_GPUS", "2", 1);
    setenv("BATON_EMU_PEERS", "none", 1);
    rig_options to = side(true, "auto"), from = side(false, "auto");
    from.gpu = 1;
    rig_open(&d, &to);
    rig_open(&p, &from);
    assert_string_equal(tried(&p, &d).transport, "shm");
    rig_close(&p);
    from.transport = "ipc";
    from.inc++;
    rig_open(&p, &from);
    rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0);
    rig_expect(&d, &w);
    start(&p, &w, xfer_endpoint(d.x));
    assert_string_equal(rig_wait(&p, X_FAILED, 1).why,
                        "ipc ring: there is no peer path between GPU 1 and GPU 0: take transport shm");
    rig_close_both(&p, &d);
}

/* The ring cannot be opened: the next pair has another transport by itself. */
static void what_cannot_import_falls_back(void **state) {
    (void)state;
    rig_side p, d;
    rig_options to = side(true, "auto"), from = side(false, "auto");
    rig_open(&d, &to);
    rig_open(&p, &from);
    setenv("BATON_EMU_VMM", "deaf", 1);
    rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0);
    rig_expect(&d, &w);
    start(&p, &w, xfer_endpoint(d.x));
    assert_string_equal(rig_wait(&p, X_FAILED, 1).why,
                        "ipc ring: a peer's GPU memory of 2097152 bytes: importing: "
                        "CUDA_ERROR_NOT_SUPPORTED");
    assert_string_equal(tried(&p, &d).transport, "shm");
    rig_drop(&p, 1);
    rig_drop(&d, 1);
    w.id.attempt++;
    hand_over(&p, &d, &w);
    rig_close_both(&p, &d);
}

static void a_receiver_without_memory_for_a_ring_says_what_to_lower(void **state) {
    (void)state;
    rig_side p, d;
    rig_options to = side(true, "ipc"), from = side(false, "ipc");
    rig_open(&d, &to);
    rig_open(&p, &from);
    size_t bytes;
    char mb[32];
    emulation_allocations(&bytes);
    snprintf(mb, sizeof mb, "%zu", bytes >> 20);
    setenv("BATON_EMU_MEMORY_MB", mb, 1);
    rig_work w = rig_work_of(&p, &d, 1, 1, 100, 0);
    rig_expect(&d, &w);
    start(&p, &w, xfer_endpoint(d.x));
    xfer_event e = rig_wait(&p, X_FAILED, 1);
    unsetenv("BATON_EMU_MEMORY_MB");
    assert_string_equal(e.why, "ipc ring: no GPU memory for 524288 bytes: lower handoff.ring_slots or "
                               "slot_kb (no 2097152 bytes");
    rig_close_both(&p, &d);
}

/* On a GPU that has room for one ring */
static void a_pair_that_is_made_again_has_the_memory_of_the_old_one(void **state) {
    (void)state;
    rig_side p, d;
    rig_options to = side(true, "auto"), from = side(false, "auto");
    to.slots = 64; /* 4 MiB */
    rig_open(&d, &to);
    rig_open(&p, &from);
    assert_string_equal(tried(&p, &d).transport, "ipc");
    size_t bytes;
    char mb[32];
    emulation_allocations(&bytes);
    snprintf(mb, sizeof mb, "%zu", (bytes >> 20) + 2);
    setenv("BATON_EMU_MEMORY_MB", mb, 1);
    for (int i = 0; i < 3; i++) {
        xfer_post(p.x, &(xfer_cmd){.kind = X_PEER_GONE, .peer_inc = RIG_D_INC});
        xfer_post(p.x, &(xfer_cmd){.kind = X_PEER, .peer_inc = RIG_D_INC, .endpoint = xfer_endpoint(d.x)});
        assert_false(rig_wait_pair(&p).pair.open);
        xfer_pair again = rig_wait_pair(&p).pair;
        assert_true(again.open);
        assert_string_equal(again.transport, "ipc");
    }
    unsetenv("BATON_EMU_MEMORY_MB");
    rig_close_both(&p, &d);
    assert_int_equal(emulation_allocations(NULL), 0);
}

static void what_has_no_gpu_or_cannot_share_cannot_be_told_to_use_it(void **state) {
    (void)state;
    const backend_ops *ops = rig_backend("ipc"), *ref = backend_find("ref");
    device *d;
    errbuf eb = {0};
    xport_menu m;
    assert_int_equal(ref->open(&d, &(device_options){.threads = 1}, &eb), ST_OK);
    assert_int_equal(menu_make(&m, "ipc", ref, d, NULL, &eb), ST_UNSUPPORTED);
    assert_string_equal(eb.text, "handoff.transport: transport ipc copies between GPUs, and backend ref has "
                                 "none: take shm on one host, zmq between hosts");
    ref->close(d);
    setenv("BATON_EMU_VMM", "absent", 1);
    assert_int_equal(ops->open(&d, &(device_options){.act_type = DT_F32}, &eb), ST_OK);
    assert_int_equal(menu_make(&m, "ipc", ops, d, NULL, &eb), ST_UNSUPPORTED);
    assert_string_equal(eb.text, "handoff.transport: GPU 0, or its driver, cannot export memory to another "
                                 "process: take transport shm");
    assert_int_equal(menu_make(&m, "auto", ops, d, NULL, &eb), ST_OK);
    assert_int_equal(m.own.can & KV_BY_IPC, 0);
    ops->close(d);
}

/* ---- two processes ---- */

#if defined(__SANITIZE_THREAD__)
/* As in xport_kill_test.c: a child starts threads of its own. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
    return "die_after_fork=0";
}
#endif

/* Forked before this process has threads; it waits for its first order. */
typedef struct other {
    pid_t pid;
    int orders, answers;
} other;
static other receiver, faulty_sender, late_sender;

static void tell(int pipe, char what) {
    if (write(pipe, &what, 1) != 1) _exit(1);
}

static void hear(int pipe, char what) {
    char x = 0;
    assert_int_equal(read(pipe, &x, 1), 1);
    assert_int_equal(x, what);
}

static void tell_endpoint(int pipe, const char *endpoint) {
    char text[CHAN_ENDPOINT_MAX] = {0};
    snprintf(text, sizeof text, "%s", endpoint);
    if (write(pipe, text, sizeof text) != (ssize_t)sizeof text) _exit(1);
}

static void hear_endpoint(int pipe, char endpoint[CHAN_ENDPOINT_MAX]) {
    if (read(pipe, endpoint, CHAN_ENDPOINT_MAX) != CHAN_ENDPOINT_MAX) _exit(1);
}

typedef void other_main(int orders, int answers);
static other other_start(other_main *body) {
    int orders[2], answers[2];
    assert_int_equal(pipe2(orders, O_CLOEXEC), 0);
    assert_int_equal(pipe2(answers, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(600);
        close(orders[1]);
        close(answers[0]);
        body(orders[0], answers[1]);
        _exit(0);
    }
    close(orders[0]);
    close(answers[1]);
    return (other){.pid = pid, .orders = orders[1], .answers = answers[0]};
}

/* Its exit status, or the signal that ended it. */
static int other_end(other *o) {
    int how = 0;
    close(o->orders);
    assert_int_equal(waitpid(o->pid, &how, 0), o->pid);
    close(o->answers);
    return how;
}

/* It writes into slot 1 of its ring for ever, also when it wakes up. */
static void late_sender_main(int orders, int answers) {
    char endpoint[CHAN_ENDPOINT_MAX];
    rig_side p, there = {.inc = RIG_D_INC, .kv.page_count = 256};
    raw_peer raw;
    hear_endpoint(orders, endpoint);
    rig_options o = side(false, "ipc");
    rig_open(&p, &o);
    rig_work w = rig_work_of(&p, &there, 1, 1, 100, 0);
    raw_open(&raw, &p, "ipc", 0, 0);
    raw_call(&raw, endpoint, &w.id);
    kv_frame f = raw_segment(&raw, &w, 0, rig_piece(0, 100, 0, 1), 0);
    raw_send_segment(&raw, &f);
    raw_read(&raw, NULL); /* CREDIT */
    for (uint64_t turns = 0;; turns++) {
        memset(raw.p->xport->stage(raw.p->ring, 1).at, 0xff, f.bytes);
        if (turns % 1000 == 0) tell(answers, 'x');
    }
}

static void a_frozen_sender_that_wakes_up_writes_where_nobody_reads(void **state) {
    (void)state;
    other *o = &late_sender;
    rig_side d, p;
    rig_options to = side(true, "ipc"), from = side(false, "ipc");
    rig_open(&d, &to);
    rig_side like = {.inc = RIG_P_INC, .kv = d.kv};
    rig_work w = rig_work_of(&like, &d, 1, 1, 100, 0);
    size_t before, with;
    emulation_allocations(&before);
    rig_expect(&d, &w);
    tell_endpoint(o->orders, xfer_endpoint(d.x));
    hear(o->answers, 'x');
    assert_int_equal(kill(o->pid, SIGSTOP), 0);
    emulation_allocations(&with);
    assert_int_equal(with, before + (2 << 20));
    xfer_post(d.x, &(xfer_cmd){.kind = X_PEER_GONE, .peer_inc = RIG_P_INC});
    rig_wait(&d, X_FAILED, 1);
    rig_drop(&d, 1);
    rig_nap(&d);
    emulation_allocations(&with);
    assert_int_equal(with, before); /* the ring is gone here, and lives on there */
    from.inc++;
    rig_open(&p, &from);
    assert_int_equal(kill(o->pid, SIGCONT), 0);
    for (uint64_t req = 2; req < 6; req++) {
        rig_work v = rig_work_of(&p, &d, req, 1, 200, 0);
        for (int i = 0; i < 2; i++) hear(o->answers, 'x'); /* it goes on writing */
        hand_over(&p, &d, &v);
    }
    assert_int_equal(kill(o->pid, SIGKILL), 0);
    assert_int_equal(other_end(o), SIGKILL);
    rig_close_both(&p, &d);
    assert_int_equal(emulation_allocations(NULL), 0);
}

/* The third segment does not get across. */
static void faulty_sender_main(int orders, int answers) {
    (void)answers;
    char endpoint[CHAN_ENDPOINT_MAX];
    rig_side p, there = {.inc = RIG_D_INC, .kv.page_count = 256};
    hear_endpoint(orders, endpoint);
    setenv("BATON_EMU_GPUS", "2", 1);
    setenv("BATON_EMU_PEER_FAULT", "3", 1);
    rig_options from = side(false, "ipc");
    from.gpu = 1;
    rig_open(&p, &from);
    rig_work w = rig_work_of(&p, &there, 1, 1, 100, 0);
    start(&p, &w, endpoint);
    xfer_event e = rig_wait(&p, X_FAILED, 1);
    if (e.device && strstr(e.why, "cuda: GPU 1: kv_gather: cudaErrorIllegalAddress"))
        _exit(0); /* as a worker whose device failed */
    fprintf(stderr, "%s\n", e.why);
    _exit(1);
}

static void a_link_that_fails_takes_down_its_sender_and_no_receiver(void **state) {
    (void)state;
    rig_side d, p;
    rig_options to = side(true, "ipc"), from = side(false, "ipc");
    rig_open(&d, &to);
    rig_side there = {.inc = RIG_P_INC, .kv = d.kv};
    rig_work w = rig_work_of(&there, &d, 1, 1, 100, 0);
    rig_expect(&d, &w);
    tell_endpoint(faulty_sender.orders, xfer_endpoint(d.x));
    rig_wait(&d, X_FAILED, 1);
    rig_drop(&d, 1);
    assert_int_equal(other_end(&faulty_sender), 0);
    from.inc++;
    rig_open(&p, &from);
    w = rig_work_of(&p, &d, 1, 2, 100, 0);
    hand_over(&p, &d, &w);
    rig_close_both(&p, &d);
}

/* Of requests from 1 on; each order says what is to become of it; Q: no more. */
static void receiver_main(int orders, int answers) {
    char what;
    rig_side d, p = {.inc = RIG_P_INC, .kv.page_count = 256};
    if (read(orders, &what, 1) != 1) return;
    rig_options o = side(true, "ipc");
    rig_open(&d, &o);
    tell_endpoint(answers, xfer_endpoint(d.x));
    for (uint64_t req = 1; read(orders, &what, 1) == 1 && what != 'Q'; req++) {
        rig_work w = rig_work_of(&p, &d, req, 1, 100, 0);
        rig_expect(&d, &w);
        rig_nap(&d);
        tell(answers, 'E');
        rig_wait(&d, what == 'V' ? X_VERIFIED : X_FAILED, req);
        if (what == 'V' && rig_wrong(&d, &w)) _exit(1);
        tell(answers, what);
        rig_drop(&d, req);
    }
    rig_close(&d);
}

static void a_frozen_receiver_costs_its_pair_and_serves_when_it_wakes_up(void **state) {
    (void)state;
    other *o = &receiver;
    char endpoint[CHAN_ENDPOINT_MAX];
    rig_side p, there = {.inc = RIG_D_INC, .kv.page_count = 256};
    tell(o->orders, 'S');
    hear_endpoint(o->answers, endpoint);
    rig_options from = side(false, "ipc");
    from.pair_timeout_ns = NS_PER_S;
    rig_open(&p, &from);
    for (uint64_t req = 1; req <= 3; req++) {
        char fate = req == 2 ? 'F' : 'V';
        rig_work w = rig_work_of(&p, &there, req, 1, 100, 0);
        tell(o->orders, fate);
        hear(o->answers, 'E');
        if (req == 2) {
            assert_int_equal(kill(o->pid, SIGSTOP), 0);
            rig_offer(&p, &w);
            rig_dest(&p, &w, endpoint);
            rig_compute(&p, &w, 64);
            assert_memory_equal(rig_wait(&p, X_FAILED, 2).why, "no credit from the receiver for ", 32);
            assert_int_equal(kill(o->pid, SIGCONT), 0);
        } else {
            start(&p, &w, endpoint);
            rig_wait(&p, X_SENT, req);
        }
        hear(o->answers, fate);
        rig_drop(&p, req);
    }
    tell(o->orders, 'Q');
    assert_int_equal(other_end(o), 0);
    rig_close(&p);
}

#define IPC(test) cmocka_unit_test_teardown(test, as_it_was)

int main(void) {
    log_setup(LOG_ERROR, "test");
    receiver = other_start(receiver_main);
    faulty_sender = other_start(faulty_sender_main);
    late_sender = other_start(late_sender_main);
    const struct CMUnitTest tests[] = {
        IPC(a_frozen_receiver_costs_its_pair_and_serves_when_it_wakes_up),
        IPC(a_link_that_fails_takes_down_its_sender_and_no_receiver),
        IPC(a_frozen_sender_that_wakes_up_writes_where_nobody_reads),
        IPC(kv_goes_from_one_gpu_to_another),
        IPC(a_pair_tells_how_slow_its_link_is),
        IPC(gpus_without_a_path_meet_in_the_hosts_memory),
        IPC(what_cannot_import_falls_back),
        IPC(a_receiver_without_memory_for_a_ring_says_what_to_lower),
        IPC(a_pair_that_is_made_again_has_the_memory_of_the_old_one),
        IPC(what_has_no_gpu_or_cannot_share_cannot_be_told_to_use_it),
    };
    return cmocka_run_group_tests_name("ipc", tests, NULL, NULL);
}
