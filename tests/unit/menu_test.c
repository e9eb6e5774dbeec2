/* Which transport a pair gets: by what both sides can and where they are. */
#include "tests/test.h"

#include "transfer/menu.h"

#include <stdlib.h>
#include <string.h>

/* GPUs whose numbers begin with the same byte reach each other. */
static void uuid(const device *d, unsigned char out[SHARE_UUID_BYTES]) {
    memset(out, 0, SHARE_UUID_BYTES);
    memcpy(out, d, 2);
}

static status reach(device *d, const unsigned char to[SHARE_UUID_BYTES], errbuf *eb) {
    return *(const unsigned char *)d == to[0] ? ST_OK : errf(eb, ST_UNSUPPORTED, "no path");
}

static const share_ops share = {.uuid = uuid, .reach = reach};
static const backend_ops host_ops = {.name = "host"}, gpu_ops = {.name = "gpu", .share = &share};
#define GPU(text) ((device *)(text))

/* A side that can use the transports of the set, as `auto` would find them. */
static xport_menu side(const backend_ops *ops, const char *gpu, uint64_t host, uint32_t can) {
    xport_menu m;
    assert_int_equal(menu_make(&m, "zmq", ops, GPU(gpu), NULL, NULL), ST_OK);
    m.own.host = host;
    m.own.can = can;
    m.own.asked = 0;
    return m;
}

static const char *picked(const xport_menu *d, const xport_menu *p) {
    const xport_ops *x = menu_pick(d, &p->own, NULL);
    return x ? x->name : "none";
}

#define ON_HOST (KV_BY_SHM | KV_BY_ZMQ)

static void cpus_of_one_host_share_memory_and_others_use_the_network(void **state) {
    (void)state;
    xport_menu d = side(&host_ops, "", 1, ON_HOST), near = d, far = side(&host_ops, "", 2, ON_HOST);
    assert_string_equal(picked(&d, &near), "shm");
    assert_string_equal(picked(&d, &far), "zmq");
}

static void one_that_was_asked_for_is_taken_wherever_it_is(void **state) {
    (void)state;
    xport_menu all = side(&host_ops, "", 1, ON_HOST), far_all = side(&host_ops, "", 2, ON_HOST);
    xport_menu zmq = side(&host_ops, "", 1, KV_BY_ZMQ), far_shm = side(&host_ops, "", 2, KV_BY_SHM);
    zmq.own.asked = far_shm.own.asked = 1;
    assert_string_equal(picked(&all, &zmq), "zmq");
    assert_string_equal(picked(&zmq, &all), "zmq");
    assert_string_equal(picked(&far_shm, &all), "shm"); /* which will say that it is another host */
    assert_string_equal(picked(&far_all, &far_shm), "shm");
}

static void what_two_cannot_both_use_is_refused_by_name(void **state) {
    (void)state;
    errbuf eb = {0};
    xport_menu shm = side(&host_ops, "", 1, KV_BY_SHM), zmq = side(&host_ops, "", 1, KV_BY_ZMQ);
    shm.own.asked = zmq.own.asked = 1;
    assert_null(menu_pick(&shm, &zmq.own, &eb));
    assert_string_equal(eb.text, "the receiver's transport is shm, not zmq");
    xport_menu all = side(&host_ops, "", 1, ON_HOST), none = side(&host_ops, "", 1, 0);
    assert_null(menu_pick(&all, &none.own, &eb));
    assert_string_equal(eb.text,
                        "no transport is left that both can use: the sender none, the receiver shm, zmq");
}

#define ON_GPU (ON_HOST | KV_BY_IPC | KV_BY_NCCL)

/* Where the transports between GPUs are built in, the pick is one of them. */
static void gpus_write_each_others_memory_on_one_host_and_send_across_hosts(void **state) {
    (void)state;
    if (!xport_find("ipc") || !xport_find("nccl")) skip();
    xport_menu d = side(&gpu_ops, "a1", 1, ON_GPU), same = d, peer = side(&gpu_ops, "a2", 1, ON_GPU);
    assert_string_equal(picked(&d, &same), "ipc");
    assert_string_equal(picked(&d, &peer), "ipc");
    xport_menu apart = side(&gpu_ops, "b1", 1, ON_GPU), far = side(&gpu_ops, "a2", 2, ON_GPU);
    assert_string_equal(picked(&d, &apart), "shm"); /* through pinned memory */
    assert_string_equal(picked(&d, &far), "nccl");
    xport_menu cpu = side(&host_ops, "", 1, ON_HOST), far_cpu = side(&host_ops, "", 2, ON_HOST);
    assert_string_equal(picked(&d, &cpu), "shm");
    assert_string_equal(picked(&d, &far_cpu), "zmq");
    far.own.can &= ~(uint32_t)KV_BY_NCCL; /* failed, or no library there */
    assert_string_equal(picked(&d, &far), "zmq");
}

static void what_failed_is_not_picked_again(void **state) {
    (void)state;
    xport_menu d = side(&host_ops, "", 1, ON_HOST), p = d;
    p.own.can &= ~(uint32_t)KV_BY_SHM;
    assert_string_equal(picked(&d, &p), "zmq");
    xport_menu far = side(&host_ops, "", 2, KV_BY_SHM); /* one that is left is not one that was asked for */
    assert_string_equal(picked(&d, &far), "none");
}

static void a_name_that_is_none_is_refused(void **state) {
    (void)state;
    xport_menu m;
    errbuf eb = {0};
    assert_int_equal(menu_make(&m, "pigeon", &host_ops, NULL, NULL, &eb), ST_INVALID);
    assert_string_equal(eb.text, "transport 'pigeon': want auto, shm, zmq, ipc or nccl");
}

static void auto_offers_what_the_host_can_and_finds_only_that(void **state) {
    (void)state;
    xport_menu m;
    assert_int_equal(menu_make(&m, "auto", &host_ops, NULL, NULL, NULL), ST_OK);
    assert_int_equal(m.own.can, ON_HOST);
    assert_ptr_equal(menu_find(&m, "shm"), &xport_shm);
    assert_int_equal(menu_make(&m, "zmq", &host_ops, NULL, NULL, NULL), ST_OK);
    assert_null(menu_find(&m, "shm")); /* not offered */
    assert_ptr_equal(menu_find(&m, "zmq"), &xport_zmq);
}

static void hosts_are_told_apart_by_their_id(void **state) {
    (void)state;
    xport_menu a, b, c;
    unsetenv("BATON_HOST_ID");
    assert_int_equal(menu_make(&a, "auto", &host_ops, NULL, NULL, NULL), ST_OK);
    assert_int_equal(menu_make(&b, "auto", &host_ops, NULL, NULL, NULL), ST_OK);
    assert_true(a.own.host == b.own.host);
    setenv("BATON_HOST_ID", "node-7", 1);
    assert_int_equal(menu_make(&c, "auto", &host_ops, NULL, NULL, NULL), ST_OK);
    unsetenv("BATON_HOST_ID");
    assert_true(a.own.host != c.own.host);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpus_of_one_host_share_memory_and_others_use_the_network),
        cmocka_unit_test(one_that_was_asked_for_is_taken_wherever_it_is),
        cmocka_unit_test(what_two_cannot_both_use_is_refused_by_name),
        cmocka_unit_test(gpus_write_each_others_memory_on_one_host_and_send_across_hosts),
        cmocka_unit_test(what_failed_is_not_picked_again),
        cmocka_unit_test(a_name_that_is_none_is_refused),
        cmocka_unit_test(auto_offers_what_the_host_can_and_finds_only_that),
        cmocka_unit_test(hosts_are_told_apart_by_their_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
