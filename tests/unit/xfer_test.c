/* The parts of the transfer thread that need no peer: options, rings of both transports, numbering and slots
 * of a pair, the event queue. */
#include "tests/test.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "transfer/pair.h"
#include "transfer/xfer.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

static status gather_nothing(device *d, const op_kv_copy *a) {
    (void)d;
    *a->checksum = a->seed;
    return ST_OK;
}

static memory_kind pin_nothing(device *d, void *memory, size_t bytes) {
    (void)d, (void)memory, (void)bytes;
    return MEMORY_HOST;
}

static const backend_ops ops = {
    .name = "none", .host_pin = pin_nothing, .kv_gather = gather_nothing, .kv_scatter = gather_nothing};
static unsigned char pages[4096];

static xfer_options good_options(void) {
    return (xfer_options){
        .kv = {.ops = &ops,
               .layout = {.type = DT_F16, .layers = 2, .kv_heads = 1, .head_dim = 8},
               .base = pages,
               .page_count = 4},
        .receiver = true,
        .transport = "shm",
        .bind_host = "127.0.0.1",
        .slots = 4,
        .slot_bytes = 4096,
        .segment_bytes = 4096,
        .layers_ring = 16,
        .pair_timeout_ns = NS_PER_S,
        .overlap = true,
        .checksums = true,
        .test_flip_segment = -1,
    };
}

static void refused(xfer_options o, status want, const char *why) {
    xfer *x = NULL;
    errbuf eb = {0};
    assert_int_equal(xfer_new(&x, &o, &eb), want);
    assert_null(x);
    assert_memory_equal(eb.text, why, strlen(why));
}

static void options_out_of_range_are_named(void **state) {
    (void)state;
    xfer_options o = good_options();
    o.transport = "pigeon";
    refused(o, ST_INVALID, "transport 'pigeon': want auto, shm, zmq, ipc or nccl");
    o = good_options();
    o.slots = 0;
    refused(o, ST_INVALID, "ring of 0 slots: want 1..4096");
    o.slots = 4097;
    refused(o, ST_INVALID, "ring of 4097 slots: want 1..4096");
    o = good_options();
    o.slot_bytes = 500; /* 16 rows * 2 * 8 * 2 bytes = 512 */
    refused(o, ST_INVALID, "ring slots of 500 bytes: want 512 (one page's rows of one layer) to 1073741824");
    o = good_options();
    o.bind_host = "203.0.113.1"; /* TEST-NET: no address of this host */
    refused(o, ST_IO, "pair channel: cannot bind tcp://203.0.113.1:*");
    xfer_free(NULL);
}

static void a_receiver_announces_its_real_port(void **state) {
    (void)state;
    xfer *a = NULL, *b = NULL;
    xfer_options o = good_options();
    assert_int_equal(xfer_new(&a, &o, NULL), ST_OK);
    assert_int_equal(xfer_new(&b, &o, NULL), ST_OK);
    assert_memory_equal(xfer_endpoint(a), "tcp://127.0.0.1:", 16);
    assert_string_not_equal(xfer_endpoint(a), xfer_endpoint(b));
    xfer_stats st = xfer_stats_of(a);
    assert_int_equal(st.segments + st.bytes + st.failures + st.pairs_opened + st.crc_errors + st.strays, 0);
    xfer_free(a);
    xfer_free(b);
}

/* A loop that only posts and never reads: no command and no answer is lost, and nobody waits for the other
 * for ever. */
static void more_answers_than_the_ring_holds_wait_in_order(void **state) {
    (void)state;
    enum { DROPS = 5000 };
    xfer *x = NULL;
    xfer_options o = good_options();
    assert_int_equal(xfer_new(&x, &o, NULL), ST_OK);
    for (uint64_t i = 1; i <= DROPS; i++) xfer_post(x, &(xfer_cmd){.kind = X_DROP, .id = {.req = i}});
    uint64_t deadline_ns = clock_now_ns() + 60 * NS_PER_S;
    for (uint64_t want = 1; want <= DROPS;) {
        xfer_event e;
        if (xfer_next(x, &e) == ST_OK) {
            assert_int_equal(e.kind, X_DROPPED);
            assert_int_equal(e.id.req, want++);
            continue;
        }
        assert_true(clock_now_ns() < deadline_ns);
        struct pollfd p = {.fd = xfer_fd(x), .events = POLLIN};
        poll(&p, 1, 1000);
    }
    xfer_free(x);
}

static void commands_left_at_the_end_are_freed(void **state) {
    (void)state;
    const int32_t ids[20] = {1};
    const uint32_t table[2] = {0, 1};
    xfer *x = NULL;
    xfer_options o = good_options();
    assert_int_equal(xfer_new(&x, &o, NULL), ST_OK);
    for (uint64_t i = 1; i <= 100; i++)
        xfer_post(x, &(xfer_cmd){.kind = X_EXPECT,
                                 .id = {.req = i},
                                 .ids = ids,
                                 .id_count = 20,
                                 .pages = table,
                                 .page_count = 2});
    xfer_free(x); /* the leak checker of the sanitizer build is the assertion */
}

static void each_transport_is_found_by_name(void **state) {
    (void)state;
    assert_ptr_equal(xport_find("shm"), &xport_shm);
    assert_ptr_equal(xport_find("zmq"), &xport_zmq);
    assert_null(xport_find("auto"));
    assert_null(xport_find(""));
}

static xport_setup setup_of(uint32_t slots, size_t slot_bytes) {
    return (xport_setup){.ops = &ops, .slots = slots, .slot_bytes = slot_bytes};
}

/* What lies in the shm address. */
typedef struct shm_parts {
    uint64_t nonce;
    uint32_t pid;
    int32_t fd;
} shm_parts;

static void a_shared_ring_shows_the_writes_of_the_other_side(void **state) {
    (void)state;
    xport_ring *d = NULL, *p = NULL;
    xport_address address = {0};
    xport_setup s = setup_of(3, 4096);
    assert_int_equal(xport_shm.create(&d, &s, &address, NULL), ST_OK);
    assert_int_equal(address.count, sizeof(shm_parts));
    assert_int_equal(((shm_parts *)address.bytes)->pid, getpid());
    assert_int_equal(xport_shm.open(&p, &s, &address, NULL), ST_OK);
    assert_int_equal(xport_shm.ready(d, NULL), ST_OK);
    assert_int_equal(xport_shm.ready(p, NULL), ST_OK);
    for (uint32_t slot = 0; slot < 3; slot++) {
        xport_place stage = xport_shm.stage(p, slot);
        assert_int_equal(stage.in, MEMORY_HOST);
        assert_int_equal((uintptr_t)stage.at % 64, 0);
        memset(stage.at, 10 + (int)slot, 4096);
        assert_int_equal(xport_shm.push(p, slot, 4096, NULL), ST_OK);
        assert_false(xport_shm.part(p, slot, 4096, NULL));
    }
    for (uint32_t slot = 0; slot < 3; slot++) {
        assert_int_equal(xport_shm.pull(d, slot, 4096, NULL), ST_OK);
        xport_place got = xport_shm.payload(d, slot, 4096, NULL, 0);
        assert_int_equal(got.in, MEMORY_HOST);
        assert_non_null(got.at);
        assert_int_equal(((unsigned char *)got.at)[0], 10 + slot);
        assert_int_equal(((unsigned char *)got.at)[4095], 10 + slot);
    }
    assert_null(xport_shm.payload(d, 3, 8, NULL, 0).at);
    assert_null(xport_shm.payload(d, 0, 4097, NULL, 0).at);
    assert_null(xport_shm.payload(d, 0, 8, pages, 8).at); /* a payload where none belongs */
    xport_shm.close(d);
    memset(xport_shm.stage(p, 0).at, 1, 4096); /* the writer's mapping outlives the owner's */
    xport_shm.close(p);
    xport_shm.close(NULL);
}

static void a_ring_that_is_another_is_refused_with_the_remedy(void **state) {
    (void)state;
    xport_ring *a = NULL, *b = NULL, *p = NULL;
    xport_address at_a = {0}, at_b = {0};
    xport_setup s = setup_of(2, 4096), smaller = setup_of(1, 4096);
    errbuf eb = {0};
    assert_int_equal(xport_shm.create(&a, &s, &at_a, NULL), ST_OK);
    assert_int_equal(xport_shm.create(&b, &s, &at_b, NULL), ST_OK);
    xport_address at = at_a;
    shm_parts *parts = (shm_parts *)at.bytes;
    parts->fd = ((shm_parts *)at_b.bytes)->fd; /* the same size, but not that ring */
    assert_int_equal(xport_shm.open(&p, &s, &at, &eb), ST_PEER);
    assert_non_null(strstr(eb.text, "is another ring"));
    at = at_a;
    assert_int_equal(xport_shm.open(&p, &smaller, &at, &eb), ST_PEER);
    assert_non_null(strstr(eb.text, "is another file"));
    int other[2];
    assert_int_equal(pipe(other), 0);
    parts->fd = other[0];
    assert_int_equal(xport_shm.open(&p, &s, &at, &eb), ST_PEER);
    close(other[0]);
    close(other[1]);
    at = at_a;
    parts->pid = 4194304 - 1; /* nobody */
    assert_int_equal(xport_shm.open(&p, &s, &at, &eb), ST_PEER);
    assert_non_null(strstr(eb.text, "No such file or directory"));
    assert_non_null(strstr(eb.text, "or use transport zmq"));
    assert_null(p);
    xport_shm.close(a);
    xport_shm.close(b);
}

static void an_address_of_another_size_is_corrupt(void **state) {
    (void)state;
    xport_ring *d = NULL, *p = NULL;
    xport_address at = {0};
    xport_setup s = setup_of(2, 4096);
    errbuf eb = {0};
    assert_int_equal(xport_shm.create(&d, &s, &at, NULL), ST_OK);
    const size_t wrong[] = {0, 15, 17, XPORT_ADDRESS_MAX};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        at.count = wrong[i];
        assert_int_equal(xport_shm.open(&p, &s, &at, &eb), ST_CORRUPT);
    }
    assert_string_equal(eb.text, "shm ring: an address of 256 bytes, want 16");
    at.count = 1;
    assert_int_equal(xport_zmq.open(&p, &s, &at, &eb), ST_CORRUPT);
    assert_string_equal(eb.text, "zmq ring: an address of 1 bytes, want none");
    assert_null(p);
    xport_shm.close(d);
}

static void an_inline_payload_must_have_its_size_and_is_aligned(void **state) {
    (void)state;
    _Alignas(8) unsigned char bytes[32];
    for (int i = 0; i < 32; i++) bytes[i] = (unsigned char)i;
    xport_ring *d = NULL;
    xport_address at = {.count = 1};
    xport_setup s = setup_of(2, 64);
    assert_int_equal(xport_zmq.create(&d, &s, &at, NULL), ST_OK);
    assert_int_equal(at.count, 0);
    assert_null(xport_zmq.payload(d, 0, 16, NULL, 0).at);
    assert_null(xport_zmq.payload(d, 0, 16, bytes, 8).at);
    assert_null(xport_zmq.payload(d, 2, 16, bytes, 16).at);
    assert_ptr_equal(xport_zmq.payload(d, 0, 16, bytes, 16).at, bytes);
    xport_place odd = xport_zmq.payload(d, 0, 16, bytes + 1, 16);
    assert_int_equal((uintptr_t)odd.at % 8, 0);
    assert_int_equal(odd.in, MEMORY_HOST);
    assert_memory_equal(odd.at, bytes + 1, 16);
    xport_zmq.close(d);
    xport_zmq.close(NULL);
}

static void staged_bytes_outlive_the_ring_while_a_message_refers_to_them(void **state) {
    (void)state;
    xport_ring *p = NULL;
    xport_address none = {0};
    xport_setup s = setup_of(2, 64);
    xport_part part = {0};
    assert_int_equal(xport_zmq.open(&p, &s, &none, NULL), ST_OK);
    memset(xport_zmq.stage(p, 1).at, 7, 64);
    assert_true(xport_zmq.part(p, 1, 64, &part));
    assert_int_equal(part.count, 64);
    xport_zmq.close(p);
    assert_int_equal(((unsigned char *)part.bytes)[63], 7);
    part.release(part.bytes, part.hint); /* frees them */
}

/* A pair at a sender whose receiver is this test: nothing is read from its socket. */
static pair *lone_pair(void *zmq, pair_setup *setup) {
    pair *p = NULL;
    *setup = (pair_setup){.zmq = zmq, .slot_bytes_min = 64, .dead_ms = 1000};
    assert_int_equal(menu_make(&setup->menu, "zmq", &ops, NULL, NULL, NULL), ST_OK);
    kv_identity id = {.epoch = 1, .p_inc = 2, .d_inc = 3};
    assert_int_equal(pair_connect(&p, setup, "tcp://127.0.0.1:9", &id, setup->menu.own.can, 1000, NULL),
                     ST_OK);
    return p;
}

static void frames_are_counted_and_a_gap_is_corrupt(void **state) {
    (void)state;
    void *zmq = zmq_ctx_new();
    pair_setup setup;
    errbuf eb = {0};
    pair *p = lone_pair(zmq, &setup);
    kv_frame f = {.seq = 1};
    assert_int_equal(pair_count(p, &f, &eb), ST_OK);
    assert_int_equal(pair_count(p, &f, &eb), ST_CORRUPT); /* again */
    assert_string_equal(eb.text, "frame 1 where 2 is the next: frames were lost");
    f.seq = 3;
    assert_int_equal(pair_count(p, &f, &eb), ST_CORRUPT);
    f.seq = 2;
    assert_int_equal(pair_count(p, &f, &eb), ST_OK);
    pair_free(p);
    pair_free(NULL);
    zmq_ctx_term(zmq);
}

static status ring_came(pair *p, uint32_t slots, uint64_t slot_bytes, size_t address_bytes, errbuf *eb) {
    chan_msg m = {.frame = {.kind = KV_RING, .slot = slots, .bytes = slot_bytes, .transport = "zmq"}};
    assert_int_equal(zmq_msg_init_size(&m.part, address_bytes), 0);
    memset(zmq_msg_data(&m.part), 0, address_bytes);
    status st = pair_ring(p, &m, eb);
    chan_msg_done(&m);
    return st;
}

static void slots_are_the_only_credit(void **state) {
    (void)state;
    void *zmq = zmq_ctx_new();
    pair_setup setup;
    errbuf eb = {0};
    uint32_t a, b, c;
    pair *p = lone_pair(zmq, &setup);
    assert_true(pair_waits(p));
    assert_false(pair_polls(p));
    assert_int_equal(pair_open(p, &eb), ST_AGAIN);
    assert_int_equal(pair_judge(p, 500, 1499, &eb), ST_OK);
    assert_int_equal(pair_judge(p, 500, 1500, &eb), ST_TIMEOUT);
    assert_string_equal(eb.text, "no ring from the receiver for 0 ms");
    assert_int_equal(ring_came(p, 2, 0, 0, &eb), ST_CORRUPT);
    assert_int_equal(ring_came(p, 0, 64, 0, &eb), ST_CORRUPT);
    assert_int_equal(ring_came(p, 2, 64, XPORT_ADDRESS_MAX + 1, &eb), ST_CORRUPT);
    assert_string_equal(eb.text, "a ring whose address has 257 bytes, want at most 256");
    assert_int_equal(ring_came(p, 2, 64, XPORT_ADDRESS_MAX, &eb), ST_CORRUPT); /* not zmq's */
    assert_int_equal(ring_came(p, 2, 64, 0, &eb), ST_OK);
    assert_int_equal(ring_came(p, 2, 64, 0, &eb), ST_CORRUPT);
    assert_true(pair_polls(p));
    assert_int_equal(pair_judge(p, 500, 1500, &eb), ST_TIMEOUT);
    assert_string_equal(eb.text, "the ring is not ready for 0 ms");
    assert_int_equal(pair_open(p, &eb), ST_OK);
    assert_false(pair_polls(p));
    assert_false(pair_waits(p));
    assert_int_equal(pair_credit(p, 0, &eb), ST_CORRUPT); /* not out */
    assert_int_equal(pair_credit(p, 2, &eb), ST_CORRUPT); /* not there */
    assert_int_equal(pair_take_slot(p, &a, 2000), ST_OK);
    assert_int_equal(pair_take_slot(p, &b, 3000), ST_OK);
    assert_int_equal(pair_take_slot(p, &c, 3000), ST_AGAIN);
    assert_true(a != b && a < 2 && b < 2);
    assert_int_equal(pair_judge(p, 1500, 3400, &eb), ST_OK);
    assert_int_equal(pair_judge(p, 1500, 3500, &eb), ST_TIMEOUT); /* the oldest counts */
    assert_int_equal(pair_credit(p, a, &eb), ST_OK);
    assert_int_equal(pair_credit(p, a, &eb), ST_CORRUPT);
    assert_int_equal(pair_judge(p, 1500, 3500, &eb), ST_OK);
    assert_int_equal(pair_take_slot(p, &c, 4000), ST_OK);
    assert_int_equal(c, a);
    pair_free(p);
    zmq_ctx_term(zmq);
}

int main(void) {
    log_setup(LOG_ERROR, "test");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_out_of_range_are_named),
        cmocka_unit_test(a_receiver_announces_its_real_port),
        cmocka_unit_test(more_answers_than_the_ring_holds_wait_in_order),
        cmocka_unit_test(commands_left_at_the_end_are_freed),
        cmocka_unit_test(each_transport_is_found_by_name),
        cmocka_unit_test(a_shared_ring_shows_the_writes_of_the_other_side),
        cmocka_unit_test(a_ring_that_is_another_is_refused_with_the_remedy),
        cmocka_unit_test(an_address_of_another_size_is_corrupt),
        cmocka_unit_test(an_inline_payload_must_have_its_size_and_is_aligned),
        cmocka_unit_test(staged_bytes_outlive_the_ring_while_a_message_refers_to_them),
        cmocka_unit_test(frames_are_counted_and_a_gap_is_corrupt),
        cmocka_unit_test(slots_are_the_only_credit),
    };
    return cmocka_run_group_tests_name("xfer", tests, NULL, NULL);
}
