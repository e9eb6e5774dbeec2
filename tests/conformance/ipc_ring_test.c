/* What is particular to a ring of `ipc`, without pairs around it: who gets its memory, what becomes of memory
 * and descriptors, two GPUs, and owners that lie. */
#include "tests/conformance/rig.h"

#include "kernels/backends.h"
#include "tests/cuda_host/emulation.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOTS      4u
#define SLOT_BYTES ((size_t)4096)

static const backend_ops *cuda;

static device *open_gpu(uint32_t gpu, double memory_fraction) {
    device *d = NULL;
    errbuf eb = {0};
    const device_options o = {.threads = 1,
                              .act_type = DT_F32,
                              .deterministic = true,
                              .gpu = gpu,
                              .memory_fraction = memory_fraction};
    cuda = backend_find("cuda");
    if (cuda->open(&d, &o, &eb)) fail_msg("open: %s", eb.text);
    return d;
}

static xport_setup setup_of(device *d) {
    return (xport_setup){.ops = cuda, .dev = d, .slots = SLOTS, .slot_bytes = SLOT_BYTES};
}

/* At most a minute. */
static status until_ready(xport_ring *r, errbuf *eb) {
    status st = ST_AGAIN;
    for (int i = 0; i < 60000 && (st = xport_ipc.ready(r, eb)) == ST_AGAIN; i++) poll(NULL, 0, 1);
    return st;
}

/* Both ends of a ring, ready. */
static void ring_of(device *owner, device *sender, xport_ring **d, xport_ring **p) {
    errbuf eb = {0};
    xport_setup ds = setup_of(owner), ps = setup_of(sender);
    xport_address a = {0};
    if (xport_ipc.create(d, &ds, &a, &eb)) fail_msg("create: %s", eb.text);
    assert_int_equal(xport_ipc.ready(*d, &eb), ST_AGAIN); /* its sender has not come */
    if (xport_ipc.open(p, &ps, &a, &eb)) fail_msg("open: %s", eb.text);
    assert_int_equal(xport_ipc.ready(*p, &eb), ST_AGAIN);
    assert_int_equal(until_ready(*d, &eb), ST_OK);
    if (until_ready(*p, &eb)) fail_msg("ready: %s", eb.text);
}

static uint32_t open_files(void) {
    uint32_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir)) count++;
    closedir(dir);
    return count;
}

static void rings_leave_no_descriptor_and_no_memory(void **state) {
    (void)state;
    device *d = open_gpu(0, 0);
    size_t before_bytes, after_bytes;
    emulation_allocations(&before_bytes);
    uint32_t before = open_files();
    for (int i = 0; i < 50; i++) {
        xport_ring *at_d, *at_p;
        ring_of(d, d, &at_d, &at_p);
        assert_true(open_files() <= before + 2); /* the emulation's own: the fewer the better on a device */
        xport_ipc.close(i % 2 ? at_d : at_p);
        xport_ipc.close(i % 2 ? at_p : at_d);
        xport_setup s = setup_of(d);
        xport_address a = {0};
        assert_int_equal(xport_ipc.create(&at_d, &s, &a, NULL), ST_OK);
        assert_int_equal(xport_ipc.open(&at_p, &s, &a, NULL), ST_OK);
        xport_ipc.close(i % 2 ? at_d : at_p); /* before anything was handed over */
        xport_ipc.close(i % 2 ? at_p : at_d);
    }
    emulation_allocations(&after_bytes);
    assert_int_equal(open_files(), before);
    assert_int_equal(after_bytes, before_bytes);
    cuda->close(d);
}

static void what_the_sender_writes_is_what_the_receiver_has(void **state) {
    (void)state;
    device *d = open_gpu(0, 0);
    xport_ring *at_d, *at_p;
    unsigned char out[SLOT_BYTES], in[SLOT_BYTES];
    ring_of(d, d, &at_d, &at_p);
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        xport_place to = xport_ipc.stage(at_p, slot),
                    from = xport_ipc.payload(at_d, slot, SLOT_BYTES, NULL, 0);
        assert_int_equal(to.in, MEMORY_DEVICE);
        assert_int_equal(from.in, MEMORY_DEVICE);
        assert_int_equal((uintptr_t)to.at % 64, 0);
        assert_int_equal(cuda->mem_read(d, in, from.at, SLOT_BYTES), ST_OK);
        for (size_t i = 0; i < SLOT_BYTES; i++) assert_int_equal(in[i], 0);
        memset(out, (int)slot + 1, sizeof out);
        assert_int_equal(cuda->mem_write(d, to.at, out, SLOT_BYTES), ST_OK);
        assert_int_equal(cuda->mem_read(d, in, from.at, SLOT_BYTES), ST_OK);
        assert_memory_equal(in, out, SLOT_BYTES);
    }
    assert_null(xport_ipc.payload(at_d, SLOTS, 64, NULL, 0).at);
    assert_null(xport_ipc.payload(at_d, 0, SLOT_BYTES + 1, NULL, 0).at);
    assert_null(xport_ipc.payload(at_d, 0, 64, "x", 1).at);
    xport_ipc.close(at_p);
    xport_ipc.close(at_d);
    cuda->close(d);
}

/* The owner has closed the ring, and made others since: whoever still holds the old one hits none of them. */
static void a_late_sender_hits_memory_that_nobody_reads(void **state) {
    (void)state;
    device *d = open_gpu(0, 0);
    xport_ring *old_d, *old_p, *now_d[8], *now_p[8];
    unsigned char junk[SLOT_BYTES], in[SLOT_BYTES];
    memset(junk, 0xff, sizeof junk);
    ring_of(d, d, &old_d, &old_p);
    xport_ipc.close(old_d);
    for (uint32_t i = 0; i < 8; i++) ring_of(d, d, &now_d[i], &now_p[i]);
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        assert_int_equal(cuda->mem_write(d, xport_ipc.stage(old_p, slot).at, junk, SLOT_BYTES), ST_OK);
    for (uint32_t i = 0; i < 8; i++)
        for (uint32_t slot = 0; slot < SLOTS; slot++) {
            void *at = xport_ipc.payload(now_d[i], slot, SLOT_BYTES, NULL, 0).at;
            assert_int_equal(cuda->mem_read(d, in, at, SLOT_BYTES), ST_OK);
            for (size_t k = 0; k < SLOT_BYTES; k++) assert_int_equal(in[k], 0);
        }
    xport_ipc.close(old_p);
    for (uint32_t i = 0; i < 8; i++) {
        xport_ipc.close(now_d[i]);
        xport_ipc.close(now_p[i]);
    }
    cuda->close(d);
}

static void memory_beyond_the_fraction_is_refused_and_comes_back(void **state) {
    (void)state;
    setenv("BATON_EMU_MEMORY_MB", "64", 1);
    device *d = open_gpu(0, 5.0 / 64); /* 5 MiB: two rings of 2 MiB */
    xport_setup s = setup_of(d);
    for (int round = 0; round < 3; round++) {
        xport_ring *r[3];
        xport_address a;
        errbuf eb = {0};
        for (int i = 0; i < 2; i++) assert_int_equal(xport_ipc.create(&r[i], &s, &a, &eb), ST_OK);
        assert_int_equal(xport_ipc.create(&r[2], &s, &a, &eb), ST_NOMEM);
        assert_non_null(strstr(eb.text, "2097152 bytes"));
        assert_non_null(strstr(eb.text, "lower handoff.ring_slots or slot_kb"));
        for (int i = 0; i < 2; i++) xport_ipc.close(r[i]);
    }
    cuda->close(d);
    unsetenv("BATON_EMU_MEMORY_MB");
}

static void between_two_gpus_the_ring_is_a_peers(void **state) {
    (void)state;
    setenv("BATON_EMU_GPUS", "2", 1);
    device *d = open_gpu(1, 0), *p = open_gpu(0, 0);
    xport_ring *at_d, *at_p;
    unsigned char out[SLOT_BYTES], in[SLOT_BYTES];
    ring_of(d, p, &at_d, &at_p);
    xport_place to = xport_ipc.stage(at_p, 3);
    assert_int_equal(to.in, MEMORY_PEER);
    memset(out, 0x3c, sizeof out);
    assert_int_equal(cuda->mem_write(p, to.at, out, SLOT_BYTES), ST_OK);
    xport_place from = xport_ipc.payload(at_d, 3, SLOT_BYTES, NULL, 0);
    assert_int_equal(from.in, MEMORY_DEVICE);
    assert_int_equal(cuda->mem_read(d, in, from.at, SLOT_BYTES), ST_OK);
    assert_memory_equal(in, out, SLOT_BYTES);
    xport_ipc.close(at_d);
    xport_ipc.close(at_p);
    setenv("BATON_EMU_PEERS", "none", 1);
    xport_setup ds = setup_of(d), ps = setup_of(p);
    xport_address a;
    errbuf eb = {0};
    assert_int_equal(xport_ipc.create(&at_d, &ds, &a, &eb), ST_OK);
    assert_int_equal(xport_ipc.open(&at_p, &ps, &a, &eb), ST_PEER);
    assert_string_equal(eb.text,
                        "ipc ring: there is no peer path between GPU 0 and GPU 1: take transport shm");
    unsetenv("BATON_EMU_PEERS");
    setenv("BATON_EMU_GPUS", "1", 1);
    assert_int_equal(xport_ipc.open(&at_p, &ps, &a, &eb), ST_PEER);
    assert_non_null(strstr(eb.text, "CUDA_VISIBLE_DEVICES"));
    setenv("BATON_EMU_GPUS", "2", 1);
    xport_ipc.close(at_d);
    cuda->close(d);
    cuda->close(p);
    unsetenv("BATON_EMU_GPUS");
}

static void an_address_that_is_none_is_refused(void **state) {
    (void)state;
    device *d = open_gpu(0, 0);
    xport_setup s = setup_of(d);
    xport_ring *at_d, *at_p;
    xport_address a, b;
    errbuf eb = {0};
    assert_int_equal(xport_ipc.create(&at_d, &s, &a, &eb), ST_OK);
    for (size_t count = 0; count < a.count; count++) {
        b = a;
        b.count = count;
        assert_int_equal(xport_ipc.open(&at_p, &s, &b, &eb), ST_CORRUPT);
    }
    uint32_t before = open_files();
    for (size_t i = 0; i < a.count; i++) { /* any byte of it */
        b = a;
        b.bytes[i] ^= 0x40;
        status st = xport_ipc.open(&at_p, &s, &b, &eb);
        assert_true(st == ST_CORRUPT || st == ST_PEER);
    }
    assert_int_equal(open_files(), before);
    xport_setup larger = s;
    larger.slots = SLOTS + 1;
    assert_int_equal(xport_ipc.open(&at_p, &larger, &a, &eb), ST_CORRUPT);
    xport_ipc.close(at_d);
    assert_int_equal(xport_ipc.open(&at_p, &s, &a, &eb), ST_PEER); /* its owner is gone */
    assert_non_null(strstr(eb.text, "the receiver is gone"));
    cuda->close(d);
}

/* ---- owners that lie ---- */

typedef enum lie { SILENT_END, NO_FD, TWO_FDS, OTHER_FILE, SMALLER, OTHER_NONCE, SHORT, LIES } lie;

/* LIES: the truth. */
static void send_lie(int to, lie what, uint64_t nonce, const int *fds) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control = {0};
    size_t count = what == TWO_FDS ? 2 : 1;
    if (what == OTHER_NONCE) nonce++;
    struct iovec data = {.iov_base = &nonce, .iov_len = what == SHORT ? 3 : sizeof nonce};
    struct msghdr m = {.msg_iov = &data, .msg_iovlen = 1};
    if (what != NO_FD) {
        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, count * sizeof(int));
    }
    assert_int_equal(sendmsg(to, &m, 0), (ssize_t)data.iov_len);
}

/* The name of the socket that a ring's address leads to. */
static socklen_t name_of(const xport_address *a, uint64_t *nonce, struct sockaddr_un *name) {
    memcpy(nonce, a->bytes + 8, sizeof *nonce);
    *name = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n = snprintf(name->sun_path + 1, sizeof name->sun_path - 1, "baton-kv-ring-%016llx",
                     (unsigned long long)*nonce);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static void a_sender_that_finds_a_queue_calls_again(void **state) {
    (void)state;
    device *d = open_gpu(0, 0);
    xport_setup s = setup_of(d);
    xport_ring *real, *at_p;
    xport_address a;
    errbuf eb = {0};
    gpu_share *share;
    int fd;
    assert_int_equal(xport_ipc.create(&real, &s, &a, &eb), ST_OK);
    xport_ipc.close(real); /* its name is free, for an owner with a short queue */
    assert_int_equal(cuda->share->create(d, SLOTS * SLOT_BYTES, &share, &fd, &eb), ST_OK);
    struct sockaddr_un name;
    uint64_t nonce;
    socklen_t bytes = name_of(&a, &nonce, &name);
    uint32_t before = open_files();
    int owner = socket(AF_UNIX, SOCK_STREAM, 0), stranger = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(owner, (struct sockaddr *)&name, bytes), 0);
    assert_int_equal(listen(owner, 0), 0);
    assert_int_equal(connect(stranger, (struct sockaddr *)&name, bytes), 0);
    if (xport_ipc.open(&at_p, &s, &a, &eb)) fail_msg("open: %s", eb.text);
    for (int i = 0; i < 3; i++) assert_int_equal(xport_ipc.ready(at_p, &eb), ST_AGAIN);
    close(accept(owner, NULL, NULL));
    assert_int_equal(xport_ipc.ready(at_p, &eb), ST_AGAIN);
    int to = accept(owner, NULL, NULL);
    send_lie(to, LIES, nonce, &fd);
    if (until_ready(at_p, &eb)) fail_msg("ready: %s", eb.text);
    xport_ipc.close(at_p);
    close(to), close(owner), close(stranger);
    assert_int_equal(open_files(), before);
    cuda->share->close(d, share);
    close(fd);
    cuda->close(d);
}

static void whatever_an_owner_hands_over_ends_only_this_ring(void **state) {
    (void)state;
    device *d = open_gpu(0, 0);
    xport_setup s = setup_of(d), big = s;
    big.slots = 1024; /* 4 MiB: more than what is handed over */
    int zeros = open("/dev/zero", O_RDONLY);
    for (int what = 0; what < LIES; what++) {
        xport_ring *real, *at_p;
        xport_address a;
        errbuf eb = {0};
        gpu_share *small = NULL;
        int fd = -1;
        assert_int_equal(xport_ipc.create(&real, &big, &a, &eb), ST_OK);
        xport_ipc.close(real); /* its name is free: the liar takes it */
        struct sockaddr_un name;
        uint64_t nonce;
        socklen_t bytes = name_of(&a, &nonce, &name);
        int liar = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(bind(liar, (struct sockaddr *)&name, bytes), 0);
        assert_int_equal(listen(liar, 1), 0);
        assert_int_equal(cuda->share->create(d, 4096, &small, &fd, &eb), ST_OK);
        uint32_t before = open_files();
        if (xport_ipc.open(&at_p, &big, &a, &eb)) fail_msg("open: %s", eb.text);
        int to = accept(liar, NULL, NULL);
        const int fds[2] = {what == OTHER_FILE ? zeros : fd, zeros};
        if (what != SILENT_END) send_lie(to, (lie)what, nonce, fds);
        close(to);
        status st = until_ready(at_p, &eb);
        if (st != ST_PEER) fail_msg("lie %d: status %d (%s)", what, st, eb.text);
        assert_true(eb.text[0]);
        xport_ipc.close(at_p);
        if (open_files() != before) fail_msg("lie %d leaves a descriptor", what);
        cuda->share->close(d, small);
        close(fd);
        close(liar);
    }
    close(zeros);
    cuda->close(d);
}

/* ---- processes ---- */

/* D freezes between RING and handing over, comes back, and its sender is still there. */
static void a_sender_waits_for_a_receiver_that_freezes_and_not_for_one_that_dies(void **state) {
    (void)state;
    device *d = open_gpu(0, 0);
    xport_setup s = setup_of(d);
    for (int dies = 0; dies < 2; dies++) {
        int out[2], go[2];
        assert_int_equal(pipe(out), 0);
        assert_int_equal(pipe(go), 0);
        pid_t child = fork();
        if (child == 0) {
            alarm(60);
            xport_ring *r;
            xport_address a = {0};
            char x;
            if (xport_ipc.create(&r, &s, &a, NULL)) _exit(1);
            if (write(out[1], &a, sizeof a) != sizeof a || read(go[0], &x, 1) != 1) _exit(2);
            if (until_ready(r, NULL)) _exit(3);
            if (read(go[0], &x, 1) != 1) _exit(4);
            _exit(((unsigned char *)xport_ipc.payload(r, 2, 64, NULL, 0).at)[5] == 0x77 ? 0 : 5);
        }
        xport_address a;
        xport_ring *r;
        errbuf eb = {0};
        assert_int_equal(read(out[0], &a, sizeof a), sizeof a);
        kill(child, SIGSTOP);
        if (xport_ipc.open(&r, &s, &a, &eb)) fail_msg("open: %s", eb.text);
        for (int i = 0; i < 3; i++) assert_int_equal(xport_ipc.ready(r, &eb), ST_AGAIN);
        int how;
        if (dies) {
            kill(child, SIGKILL);
            assert_int_equal(waitpid(child, &how, 0), child);
            assert_int_equal(until_ready(r, &eb), ST_PEER);
        } else {
            kill(child, SIGCONT);
            assert_int_equal(write(go[1], "x", 1), 1);
            if (until_ready(r, &eb)) fail_msg("ready: %s", eb.text);
            unsigned char mark[64];
            memset(mark, 0x77, sizeof mark);
            assert_int_equal(cuda->mem_write(d, xport_ipc.stage(r, 2).at, mark, sizeof mark), ST_OK);
            assert_int_equal(write(go[1], "x", 1), 1);
            assert_int_equal(waitpid(child, &how, 0), child);
            assert_int_equal(how, 0);
            /* The memory outlives its owner. */
            assert_int_equal(cuda->mem_write(d, xport_ipc.stage(r, 3).at, mark, sizeof mark), ST_OK);
        }
        xport_ipc.close(r);
        close(out[0]), close(out[1]), close(go[0]), close(go[1]);
    }
    cuda->close(d);
}

/* A stranger that found the name gets nothing, and the sender is served after it. */
static void another_user_gets_no_ring(void **state) {
    (void)state;
    if (geteuid() != 0) skip();
    /* The owner has to be another user, since root may have everything. */
    int status_of;
    pid_t test = fork();
    if (test == 0) {
        alarm(60);
        if (setuid(65534)) _exit(1);
        device *d = open_gpu(0, 0);
        xport_setup s = setup_of(d);
        xport_ring *r, *p;
        xport_address a;
        if (xport_ipc.create(&r, &s, &a, NULL) || xport_ipc.open(&p, &s, &a, NULL)) _exit(2);
        if (until_ready(r, NULL) || until_ready(p, NULL)) _exit(3);
        _exit(0);
    }
    assert_int_equal(waitpid(test, &status_of, 0), test);
    assert_int_equal(status_of, 0);

    device *d = open_gpu(0, 0); /* root's ring, and a stranger */
    xport_setup s = setup_of(d);
    xport_ring *r, *p;
    xport_address a;
    errbuf eb = {0};
    assert_int_equal(xport_ipc.create(&r, &s, &a, &eb), ST_OK);
    pid_t stranger = fork();

    if (stranger == 0) {
        alarm(60);
        if (setuid(65534)) _exit(1);
        xport_ring *mine;
        if (xport_ipc.open(&mine, &s, &a, NULL)) _exit(2);
        _exit(until_ready(mine, NULL) == ST_PEER ? 0 : 3);
    }
    int how = -1;
    while (waitpid(stranger, &how, WNOHANG) == 0) {
        assert_int_equal(xport_ipc.ready(r, &eb), ST_AGAIN);
        poll(NULL, 0, 1);
    }
    assert_int_equal(how, 0);
    assert_int_equal(xport_ipc.open(&p, &s, &a, &eb), ST_OK);
    assert_int_equal(until_ready(r, &eb), ST_OK);
    assert_int_equal(until_ready(p, &eb), ST_OK);
    xport_ipc.close(p);
    xport_ipc.close(r);
    cuda->close(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rings_leave_no_descriptor_and_no_memory),
        cmocka_unit_test(what_the_sender_writes_is_what_the_receiver_has),
        cmocka_unit_test(a_late_sender_hits_memory_that_nobody_reads),
        cmocka_unit_test(memory_beyond_the_fraction_is_refused_and_comes_back),
        cmocka_unit_test(between_two_gpus_the_ring_is_a_peers),
        cmocka_unit_test(an_address_that_is_none_is_refused),
        cmocka_unit_test(a_sender_that_finds_a_queue_calls_again),
        cmocka_unit_test(whatever_an_owner_hands_over_ends_only_this_ring),
        cmocka_unit_test(a_sender_waits_for_a_receiver_that_freezes_and_not_for_one_that_dies),
        cmocka_unit_test(another_user_gets_no_ring),
    };
    return cmocka_run_group_tests_name("rings of ipc", tests, NULL, NULL);
}
