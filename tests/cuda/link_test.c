/* link_test - kernels/link.h over the emulated NCCL: both ends in one process, and what goes wrong. */
#include "base/clock.h"
#include "kernels/backends.h"
#include "tests/cuda/rig.h"
#include "tests/cuda_host/emulation.h"
#include "tests/cuda_host/nccl_host.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define BYTES       ((size_t)3 << 20) /* more than a socket holds */
#define SLOTS       4u
#define DEADLINE_NS (60 * NS_PER_S)

typedef struct ends {
    rig r;
    const link_ops *link;
    gpu_link *to, *from; /* receiver, sender */
} ends;

static bool late(uint64_t since_ns) {
    poll(NULL, 0, 1);
    return clock_now_ns() - since_ns > DEADLINE_NS;
}

static ends ends_open(void) {
    device_options o = rig_options(DT_BF16, true);
    ends e = {.r = rig_open("cuda", &o)};
    e.link = e.r.ops->link;
    assert_non_null(e.link);
    return e;
}

static link_options options(const ends *e, link_rank rank) {
    (void)e;
    return (link_options){.rank = rank, .bytes = SLOTS * BYTES, .most = SLOTS};
}

static void begin(ends *e, uint32_t ctas) {
    errbuf eb = {0};
    if (e->link->check(e->r.d, &eb)) fail_msg("check: %s", eb.text);
    link_options to = options(e, LINK_RECEIVER), from = options(e, LINK_SENDER);
    to.ctas = from.ctas = ctas;
    if (e->link->draw(e->r.d, to.id, &eb)) fail_msg("draw: %s", eb.text);
    memcpy(from.id, to.id, sizeof to.id);
    if (e->link->open(e->r.d, &to, &e->to, &eb)) fail_msg("open: %s", eb.text);
    if (e->link->open(e->r.d, &from, &e->from, &eb)) fail_msg("open: %s", eb.text);
}

/* Until one is not ST_AGAIN; *eb says why when it failed. */
static status ready(ends *e, errbuf *eb) {
    uint64_t since_ns = clock_now_ns();
    bool to = false, from = false;
    while (!to || !from) {
        status st = to ? ST_OK : e->link->ready(e->to, eb);
        if (st && st != ST_AGAIN) return st;
        to = st == ST_OK;
        st = from ? ST_OK : e->link->ready(e->from, eb);
        if (st && st != ST_AGAIN) return st;
        from = st == ST_OK;
        if (late(since_ns)) return ST_TIMEOUT;
    }
    return ST_OK;
}

static ends ends_ready(void) {
    ends e = ends_open();
    errbuf eb = {0};
    begin(&e, 4);
    if (ready(&e, &eb)) fail_msg("ready: %s", eb.text);
    return e;
}

static void ends_close(ends *e) {
    e->link->abort(e->to);
    e->link->abort(e->from);
    rig_close(&e->r);
    assert_int_equal(nccl_host_comms(), 0);
}

static void *at(const ends *e, gpu_link *l, uint32_t slot) {
    return (char *)e->link->at(l) + slot * BYTES;
}

static void put(ends *e, uint32_t slot, int seed, size_t bytes) {
    unsigned char *p = malloc(bytes);
    for (size_t i = 0; i < bytes; i++) p[i] = (unsigned char)(seed + (int)(i * 7 + i / 251));
    assert_int_equal(e->r.ops->mem_write(e->r.d, at(e, e->from, slot), p, bytes), ST_OK);
    free(p);
}

static bool same(ends *e, uint32_t from, uint32_t to, size_t bytes) {
    unsigned char *a = malloc(bytes), *b = malloc(bytes);
    assert_int_equal(e->r.ops->mem_read(e->r.d, a, at(e, e->from, from), bytes), ST_OK);
    assert_int_equal(e->r.ops->mem_read(e->r.d, b, at(e, e->to, to), bytes), ST_OK);
    bool is = memcmp(a, b, bytes) == 0;
    free(a);
    free(b);
    return is;
}

static void await(ends *e, gpu_link *l, uint64_t count) {
    uint64_t since_ns = clock_now_ns(), given = 0, done = 0;
    errbuf eb = {0};
    do {
        if (e->link->progress(l, &given, &done, &eb)) fail_msg("progress: %s", eb.text);
        assert_true(done <= given);
        assert_false(late(since_ns));
    } while (done < count);
    assert_int_equal(done, count);
}

/* Both ends are asked in turn: what a slow library has not taken yet is given by the end that asks. */
static void await_both(ends *e, uint64_t count) {
    uint64_t since_ns = clock_now_ns(), given = 0, sent = 0, received = 0;
    errbuf eb = {0};
    while (sent < count || received < count) {
        if (e->link->progress(e->from, &given, &sent, &eb)) fail_msg("progress: %s", eb.text);
        if (e->link->progress(e->to, &given, &received, &eb)) fail_msg("progress: %s", eb.text);
        assert_false(late(since_ns));
    }
    assert_int_equal(sent, count);
    assert_int_equal(received, count);
}

/* Until it is not ST_OK. */
static status await_failure(ends *e, gpu_link *l, errbuf *eb) {
    uint64_t since_ns = clock_now_ns(), given, done;
    for (;;) {
        status st = e->link->progress(l, &given, &done, eb);
        if (st != ST_OK) return st;
        if (late(since_ns)) return ST_TIMEOUT;
    }
}

static int healthy(void **state) {
    (void)state;
    nccl_host_set(NULL);
    return 0;
}

static void bytes_arrive_in_the_order_in_which_they_were_sent(void **state) {
    (void)state;
    ends e = ends_ready();
    const size_t sizes[SLOTS] = {BYTES, 64, 4096 + 8, BYTES - 64};
    for (uint32_t i = 0; i < SLOTS; i++) {
        put(&e, i, (int)i + 1, sizes[i]);
        assert_int_equal(e.link->send(e.from, i * BYTES, sizes[i], NULL), ST_OK);
    }
    for (uint32_t i = 0; i < SLOTS; i++) {
        assert_int_equal(e.link->recv(e.to, (SLOTS - 1 - i) * BYTES, sizes[i], NULL), ST_OK);
        if (i % 2) await(&e, e.to, i + 1);
    }
    await(&e, e.to, SLOTS);
    await(&e, e.from, SLOTS);
    for (uint32_t i = 0; i < SLOTS; i++) assert_true(same(&e, i, SLOTS - 1 - i, sizes[i]));
    ends_close(&e);
}

static void what_is_given_needs_nobody_to_ask(void **state) {
    (void)state;
    ends e = ends_ready();
    uint64_t given = 0, done = 0;
    put(&e, 0, 5, BYTES);
    assert_int_equal(e.link->send(e.from, 0, BYTES, NULL), ST_OK);
    for (uint64_t since_ns = clock_now_ns(); given == 0;) {
        assert_int_equal(e.link->progress(e.from, &given, &done, NULL), ST_OK);
        assert_false(late(since_ns));
    }
    assert_int_equal(done, 0); /* nobody receives */
    assert_int_equal(e.link->recv(e.to, 0, BYTES, NULL), ST_OK);
    await(&e, e.to, 1);
    assert_true(same(&e, 0, 0, BYTES));
    ends_close(&e);
}

static void a_library_that_is_slow_to_answer_is_asked_again(void **state) {
    (void)state;
    nccl_host_set("slow");
    ends e = ends_ready();
    for (uint32_t i = 0; i < 3 * SLOTS; i++) {
        put(&e, 0, (int)i, 4096);
        assert_int_equal(e.link->send(e.from, 0, 4096, NULL), ST_OK);
        assert_int_equal(e.link->recv(e.to, 0, 4096, NULL), ST_OK);
        await_both(&e, i + 1);
        assert_true(same(&e, 0, 0, 4096));
    }
    ends_close(&e);
}

static void the_blocks_that_it_may_take_are_told_to_the_library(void **state) {
    (void)state;
    ends e = ends_open();
    begin(&e, 4);
    assert_int_equal(nccl_host_ctas(), 4);
    e.link->abort(e.to);
    e.link->abort(e.from);
    begin(&e, 0);
    assert_int_equal(nccl_host_ctas(), 0); /* as it likes */
    ends_close(&e);
}

static void memory_is_counted_until_the_link_is_gone(void **state) {
    (void)state;
    device_options o = rig_options(DT_F32, true);
    o.memory_fraction = 2.5 * SLOTS * BYTES / ((double)4096 * 1024 * 1024);
    ends e = {.r = rig_open("cuda", &o)};
    e.link = e.r.ops->link;
    errbuf eb = {0};
    begin(&e, 0);
    gpu_link *third;
    link_options more = options(&e, LINK_RECEIVER);
    assert_int_equal(e.link->draw(e.r.d, more.id, &eb), ST_OK);
    assert_int_equal(e.link->open(e.r.d, &more, &third, &eb), ST_NOMEM);
    assert_string_equal(eb.text, "no GPU memory for a pair's 12582912 bytes");
    e.link->abort(e.to);
    e.to = NULL;
    status st = ST_NOMEM; /* until it is gone */
    for (uint64_t since_ns = clock_now_ns(); st == ST_NOMEM;) {
        assert_false(late(since_ns));
        assert_int_equal(e.link->draw(e.r.d, more.id, &eb), ST_OK);
        st = e.link->open(e.r.d, &more, &e.to, &eb);
    }
    assert_int_equal(st, ST_OK);
    ends_close(&e);
}

static void a_library_that_is_not_there_or_not_new_enough_is_refused_by_name(void **state) {
    (void)state;
    const struct {
        const char *words, *text;
    } cases[] = {
        {"absent", "libnccl.so.2 was found neither by the loader nor in /emulated/lib: install NCCL, set "
                   "LD_LIBRARY_PATH to its folder, or take another handoff.transport"},
        {"old", "libnccl.so.2 is version 2.17.1: want 2.18 or newer; install it, set LD_LIBRARY_PATH to its "
                "folder, or take another handoff.transport"},
        {"missing", "libnccl.so.2 has no function ncclSend: install NCCL 2.18 or newer"}};
    ends e = ends_open();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        errbuf eb = {0};
        nccl_host_set(cases[i].words);
        assert_int_equal(e.link->check(e.r.d, &eb), ST_UNSUPPORTED);
        assert_string_equal(eb.text, cases[i].text);
    }
    nccl_host_set(NULL); /* and found when it is there later */
    assert_int_equal(e.link->check(e.r.d, NULL), ST_OK);
    assert_string_equal(e.link->version(e.r.d), "2.28.9");
    rig_close(&e.r);
}

static void an_id_that_cannot_be_drawn_is_an_error_of_the_peer(void **state) {
    (void)state;
    ends e = ends_open();
    errbuf eb = {0};
    unsigned char id[LINK_ID_BYTES];
    assert_int_equal(e.link->check(e.r.d, &eb), ST_OK);
    nccl_host_set("draw_fails");
    assert_int_equal(e.link->draw(e.r.d, id, &eb), ST_PEER);
    assert_string_equal(eb.text, "NCCL 2.28.9: drawing an id: unhandled system error");
    rig_close(&e.r);
}

static void an_end_that_does_not_open_says_why(void **state) {
    (void)state;
    ends e = ends_open();
    errbuf eb = {0};
    begin(&e, 0);
    nccl_host_set("open_fails");
    assert_int_equal(ready(&e, &eb), ST_PEER);
    assert_string_equal(eb.text, "NCCL 2.28.9: opening a pair: unhandled system error: emulated");
    ends_close(&e);
}

static void an_end_that_never_opens_is_given_up(void **state) {
    (void)state;
    nccl_host_set("open_hangs");
    ends e = ends_open();
    begin(&e, 0);
    for (uint32_t i = 0; i < 50; i++) {
        assert_int_equal(e.link->ready(e.to, NULL), ST_AGAIN);
        assert_int_equal(e.link->ready(e.from, NULL), ST_AGAIN);
    }
    ends_close(&e);
}

static void an_end_whose_other_one_is_gone_before_it_opens_fails(void **state) {
    (void)state;
    ends e = ends_open();
    errbuf eb = {0};
    begin(&e, 0);
    e.link->abort(e.to);
    for (uint64_t since_ns = clock_now_ns(); nccl_host_comms() > 1;) assert_false(late(since_ns));
    e.to = NULL;
    status st = ST_AGAIN;
    for (uint64_t since_ns = clock_now_ns(); st == ST_AGAIN;) {
        st = e.link->ready(e.from, &eb);
        assert_false(late(since_ns));
    }
    assert_int_equal(st, ST_PEER);
    ends_close(&e);
}

static void a_refused_copy_ends_this_link_and_no_other(void **state) {
    (void)state;
    ends e = ends_ready(), other = ends_ready();
    errbuf eb = {0};
    nccl_host_set("fails=1");
    assert_int_equal(e.link->send(e.from, 0, 64, &eb), ST_PEER);
    assert_string_equal(eb.text, "NCCL 2.28.9: sending: invalid argument: emulated");
    nccl_host_set(NULL);
    put(&other, 0, 3, 4096);
    assert_int_equal(other.link->send(other.from, 0, 4096, NULL), ST_OK);
    assert_int_equal(other.link->recv(other.to, 0, 4096, NULL), ST_OK);
    await(&other, other.to, 1);
    assert_true(same(&other, 0, 0, 4096));
    errbuf fault = {0};
    assert_int_equal(e.r.ops->sync(e.r.d, &fault), ST_OK); /* and the device is well */
    e.link->abort(e.to);
    e.link->abort(e.from);
    rig_close(&e.r);
    ends_close(&other);
}

static void an_error_that_comes_later_is_the_peers_and_stays(void **state) {
    (void)state;
    ends e = ends_ready();
    errbuf eb = {0};
    nccl_host_set("breaks=1");
    status st = e.link->send(e.from, 0, 64, &eb);
    if (st == ST_OK) st = await_failure(&e, e.from, &eb);
    assert_int_equal(st, ST_PEER);
    assert_string_equal(eb.text,
                        "NCCL 2.28.9: copying to or from the other end: unhandled system error: emulated");
    errbuf again = {0};
    assert_int_equal(e.link->send(e.from, 0, 64, &again), ST_PEER);
    assert_string_equal(again.text, eb.text);
    ends_close(&e);
}

static void a_peer_that_is_gone_is_noticed(void **state) {
    (void)state;
    ends e = ends_ready();
    errbuf eb = {0};
    e.link->abort(e.from);
    e.from = NULL;
    assert_int_equal(e.link->recv(e.to, 0, 64, NULL), ST_OK);
    assert_int_equal(await_failure(&e, e.to, &eb), ST_PEER);
    assert_string_equal(eb.text, "NCCL 2.28.9: copying to or from the other end: remote process exited or "
                                 "there was a network error: emulated");
    ends_close(&e);
}

static void a_copy_that_never_ends_is_given_up(void **state) {
    (void)state;
    ends e = ends_ready();
    nccl_host_set("hangs=1");
    uint64_t given = 0, done = 0;
    assert_int_equal(e.link->recv(e.to, 0, BYTES, NULL), ST_OK);
    assert_int_equal(e.link->recv(e.to, BYTES, BYTES, NULL), ST_OK);
    for (uint32_t i = 0; i < 50; i++) assert_int_equal(e.link->progress(e.to, &given, &done, NULL), ST_OK);
    assert_int_equal(done, 0);
    ends_close(&e);
}

static void a_library_that_hangs_when_it_gives_up_stops_nobody(void **state) {
    (void)state;
    ends e = ends_ready();
    gpu_link *hung[2] = {e.to, e.from};
    nccl_host_set("abort_hangs");
    e.link->abort(hung[0]);
    e.link->abort(hung[1]);
    begin(&e, 0);
    errbuf eb = {0};
    if (ready(&e, &eb)) fail_msg("ready: %s", eb.text);
    put(&e, 1, 9, 4096);
    assert_int_equal(e.link->send(e.from, BYTES, 4096, NULL), ST_OK);
    assert_int_equal(e.link->recv(e.to, BYTES, 4096, NULL), ST_OK);
    await(&e, e.to, 1);
    assert_true(same(&e, 1, 1, 4096));
    nccl_host_set(NULL);
    ends_close(&e);
}

static void no_kernel(void *args) {
    (void)args;
}

static void a_fault_of_the_gpu_is_the_devices_and_not_the_peers(void **state) {
    (void)state;
    ends e = ends_ready();
    errbuf eb = {0};
    emulation_fault_after(1);
    assert_int_equal(emulation_enqueue(NULL, EMULATION_KERNEL, no_kernel, NULL, 0), cudaSuccess);
    (void)cudaDeviceSynchronize();
    assert_int_equal(e.link->recv(e.to, 0, 64, &eb), ST_DEVICE);
    assert_non_null(strstr(eb.text, "cudaErrorIllegalAddress"));
    assert_int_equal(await_failure(&e, e.from, &eb), ST_DEVICE);
    e.link->abort(e.to);
    e.link->abort(e.from);
    rig_close(&e.r);
    emulation_fault_after(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(bytes_arrive_in_the_order_in_which_they_were_sent, healthy),
        cmocka_unit_test_teardown(what_is_given_needs_nobody_to_ask, healthy),
        cmocka_unit_test_teardown(a_library_that_is_slow_to_answer_is_asked_again, healthy),
        cmocka_unit_test_teardown(the_blocks_that_it_may_take_are_told_to_the_library, healthy),
        cmocka_unit_test_teardown(memory_is_counted_until_the_link_is_gone, healthy),
        cmocka_unit_test_teardown(a_library_that_is_not_there_or_not_new_enough_is_refused_by_name, healthy),
        cmocka_unit_test_teardown(an_id_that_cannot_be_drawn_is_an_error_of_the_peer, healthy),
        cmocka_unit_test_teardown(an_end_that_does_not_open_says_why, healthy),
        cmocka_unit_test_teardown(an_end_that_never_opens_is_given_up, healthy),
        cmocka_unit_test_teardown(an_end_whose_other_one_is_gone_before_it_opens_fails, healthy),
        cmocka_unit_test_teardown(a_refused_copy_ends_this_link_and_no_other, healthy),
        cmocka_unit_test_teardown(an_error_that_comes_later_is_the_peers_and_stays, healthy),
        cmocka_unit_test_teardown(a_peer_that_is_gone_is_noticed, healthy),
        cmocka_unit_test_teardown(a_copy_that_never_ends_is_given_up, healthy),
        cmocka_unit_test_teardown(a_library_that_hangs_when_it_gives_up_stops_nobody, healthy),
        cmocka_unit_test_teardown(a_fault_of_the_gpu_is_the_devices_and_not_the_peers, healthy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
