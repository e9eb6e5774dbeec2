/* Peers that die by kill -9 in the middle: noticed at once by the other side, and no page is touched
 * afterwards. They are forked, because nothing less can be killed so. */
#include "tests/conformance/rig.h"

#include "base/clock.h"
#include "base/log.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
/* The child of a process with threads starts threads of its own, which ThreadSanitizer refuses unless told
 * otherwise. It is the runtime that calls this, so there is no header with its prototype. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
    return "die_after_fork=0";
}
#endif

static pid_t fork_peer(void) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) alarm(60);
    return child;
}

static void expect_failed(rig_side *s, const rig_work *w, const char *why) {
    xfer_event e = rig_wait(s, X_FAILED, w->id.req);
    assert_memory_equal(&e.id, &w->id, sizeof w->id);
    assert_string_equal(e.why, why);
}

static void a_sender_killed_in_the_middle_is_noticed_at_once(void **state) {
    rig_side d;
    int ready[2];
    rig_open(&d, &(rig_options){.transport = *state, .receiver = true, .inc = RIG_D_INC});
    rig_side like = {.inc = RIG_P_INC, .kv = d.kv};
    rig_work w = rig_work_of(&like, &d, 1, 1, 100, 0);
    rig_expect(&d, &w);
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork_peer();
    if (child == 0) {
        raw_peer raw;
        raw_open(&raw, &d, *state, 0, 0);
        raw_call(&raw, xfer_endpoint(d.x), &w.id);
        kv_frame f = raw_segment(&raw, &w, 0, rig_piece(0, 100, 0, 1), 0);
        raw_send_segment(&raw, &f);
        raw_read(&raw, NULL); /* CREDIT: the first segment was taken */
        f = raw_segment(&raw, &w, 1, rig_piece(0, 100, 1, 2), 1);
        if (write(ready[1], "x", 1) != 1) _exit(1);
        for (;;) { /* the second is being written for ever */
            memset(raw.p->xport->stage(raw.p->ring, 1).at, 0xff, f.bytes);
        }
    }
    char x;
    close(ready[1]);
    assert_int_equal(read(ready[0], &x, 1), 1);
    uint64_t killed_ns = clock_now_ns();
    assert_int_equal(kill(child, SIGKILL), 0);
    expect_failed(&d, &w, "the connection to the sender is lost");
    assert_true(clock_now_ns() - killed_ns < 15 * NS_PER_S); /* the pair's limit is 20 s */
    assert_int_equal(waitpid(child, NULL, 0), child);
    rig_drop(&d, 1);
    rig_paint(&d, &w, 0x5a);
    rig_nothing(&d);
    assert_true(rig_painted(&d, &w, 0x5a));
    close(ready[0]);
    rig_close(&d);
}

static void a_receiver_killed_in_the_middle_is_noticed_at_once(void **state) {
    rig_side p;
    int port[2];
    rig_open(&p, &(rig_options){.transport = *state, .inc = RIG_P_INC});
    raw_peer d;
    assert_int_equal(pipe(port), 0);
    pid_t child = fork_peer();
    if (child == 0) {
        raw_open(&d, &p, *state, 4, 4096);
        raw_listen(&d);
        if (write(port[1], d.endpoint, sizeof d.endpoint) != sizeof d.endpoint) _exit(1);
        raw_answer(&d, RIG_D_INC, true);
        /* No second HELLO comes: the frames wait, uncredited, until the deadline. */
        raw_answer(&d, RIG_D_INC + 1, true);
        _exit(1);
    }
    char endpoint[CHAN_ENDPOINT_MAX];
    close(port[1]);
    assert_int_equal(read(port[0], endpoint, sizeof endpoint), sizeof endpoint);
    rig_side like = {.inc = RIG_D_INC, .kv = p.kv};
    rig_work w = rig_work_of(&p, &like, 1, 1, 256, 0);
    raw_peer writer; /* a second sender, to hold the ring in its hand */
    kv_identity id = {.epoch = RIG_EPOCH, .p_inc = RIG_P_INC + 1, .d_inc = RIG_D_INC};
    raw_open(&writer, &p, *state, 0, 0);
    raw_call(&writer, endpoint, &id);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    /* The ring of a dead receiver can still be written: no SIGBUS. */
    for (uint32_t slot = 0; slot < 4; slot++)
        memset(writer.p->xport->stage(writer.p->ring, slot).at, slot, 4096);
    rig_offer(&p, &w);
    rig_compute(&p, &w, 256);
    rig_dest(&p, &w, endpoint);
    expect_failed(&p, &w, "the connection to the receiver is lost");
    raw_close(&writer);
    close(port[0]);
    rig_close(&p);
}

int main(void) {
    log_setup(LOG_ERROR, "test");
#if defined(__SANITIZE_THREAD__) && BATON_CUDA
/* Nor can a child start a thread when one of the parent's has ended since; xport_nccl_test forks earlier. */
#undef EACH
#define EACH(test) WITH(test, "shm"), WITH(test, "zmq"), WITH(test, "slow")
#endif
    const struct CMUnitTest tests[] = {
        EACH(a_sender_killed_in_the_middle_is_noticed_at_once),
        EACH(a_receiver_killed_in_the_middle_is_noticed_at_once),
    };
    return cmocka_run_group_tests_name("killed peers", tests, NULL, NULL);
}
