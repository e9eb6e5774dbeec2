/* Rings in host memory are made known to the device: once, before the first copy, and until after the last.
 */
#include "tests/conformance/rig.h"

#include "base/log.h"
#include "kernels/backends.h"

#include <pthread.h>
#include <string.h>

/* What the pinning device was told. Both sides' threads call it. */
enum { REGIONS = 16 };
static struct {
    pthread_mutex_t lock;
    const unsigned char *at[REGIONS]; /* NULL: free */
    size_t bytes[REGIONS];
    uint32_t pins, unpins, gathers, scatters;
    uint32_t outside; /* copies from or to a PINNED place that is in no region */
    uint32_t unpinned_gathers, unpinned_scatters;
    bool gains;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

static memory_kind pin(device *d, void *memory, size_t bytes) {
    assert_non_null(d);
    pthread_mutex_lock(&seen.lock);
    seen.pins++;
    uint32_t i = 0;
    while (i < REGIONS && seen.at[i]) i++;
    assert_true(i < REGIONS);
    if (seen.gains) {
        seen.at[i] = memory;
        seen.bytes[i] = bytes;
    }
    pthread_mutex_unlock(&seen.lock);
    return seen.gains ? MEMORY_PINNED : MEMORY_HOST;
}

static void unpin(device *d, void *memory) {
    assert_non_null(d);
    pthread_mutex_lock(&seen.lock);
    seen.unpins++;
    uint32_t i = 0;
    while (i < REGIONS && seen.at[i] != memory) i++;
    assert_true(i < REGIONS);
    /* Still mapped: it can be written from end to end. */
    volatile unsigned char *last = (unsigned char *)memory + seen.bytes[i] - 1;
    *last = 0;
    seen.at[i] = NULL;
    pthread_mutex_unlock(&seen.lock);
}

static bool pinned(const op_kv_copy *a) {
    const unsigned char *wire = a->wire;
    size_t bytes = kv_piece_bytes(a->layout, &a->piece);
    if (a->wire_in != MEMORY_PINNED) return false;
    for (uint32_t i = 0; i < REGIONS; i++)
        if (seen.at[i] && wire >= seen.at[i] && wire + bytes <= seen.at[i] + seen.bytes[i]) return true;
    seen.outside++;
    return false;
}

static status gather(device *d, const op_kv_copy *a) {
    pthread_mutex_lock(&seen.lock);
    seen.gathers++;
    seen.unpinned_gathers += !pinned(a);
    pthread_mutex_unlock(&seen.lock);
    return backend_find("ref")->kv_gather(d, a);
}

static status scatter(device *d, const op_kv_copy *a) {
    pthread_mutex_lock(&seen.lock);
    seen.scatters++;
    seen.unpinned_scatters += !pinned(a);
    pthread_mutex_unlock(&seen.lock);
    return backend_find("ref")->kv_scatter(d, a);
}

/* Two senders and a receiver, each with a hand-off. */
static void hand_over_with(const char *transport, bool gains) {
    backend_ops ops = *backend_find("ref");
    ops.host_pin = pin;
    ops.host_unpin = unpin;
    ops.kv_gather = gather;
    ops.kv_scatter = scatter;
    seen.pins = seen.unpins = seen.gathers = seen.scatters = seen.outside = 0;
    seen.unpinned_gathers = seen.unpinned_scatters = 0;
    seen.gains = gains;
    rig_side p[2], d;
    rig_open(&d, &(rig_options){.transport = transport, .inc = RIG_D_INC, .receiver = true, .ops = &ops});
    for (uint32_t i = 0; i < 2; i++) {
        rig_open(&p[i], &(rig_options){.transport = transport, .inc = RIG_P_INC + i, .ops = &ops});
        rig_work w = rig_work_of(&p[i], &d, i + 1, 1, 300, 100 * i);
        rig_offer(&p[i], &w);
        rig_expect(&d, &w);
        rig_dest(&p[i], &w, xfer_endpoint(d.x));
        rig_compute(&p[i], &w, 64);
        rig_seal(&p[i], &w);
        rig_wait(&p[i], X_SENT, w.id.req);
        rig_wait(&d, X_VERIFIED, w.id.req);
        assert_int_equal(rig_wrong(&d, &w), 0);
    }
    rig_close(&p[0]);
    rig_close(&p[1]);
    rig_close(&d);
    assert_int_equal(seen.outside, 0);
    assert_true(seen.gathers > 0);
    assert_int_equal(seen.gathers, seen.scatters);
}

static void both_ends_of_a_shared_ring_are_pinned_while_it_is_used(void **state) {
    (void)state;
    hand_over_with("shm", true);
    assert_int_equal(seen.pins, 4); /* two rings, two sides */
    assert_int_equal(seen.unpins, 4);
    assert_int_equal(seen.unpinned_gathers, 0);
    assert_int_equal(seen.unpinned_scatters, 0);
}

static void staging_is_pinned_and_a_message_that_came_is_not(void **state) {
    (void)state;
    hand_over_with("zmq", true);
    assert_int_equal(seen.pins, 2);
    assert_int_equal(seen.unpins, 2);
    assert_int_equal(seen.unpinned_gathers, 0);
    assert_int_equal(seen.unpinned_scatters, seen.scatters);
}

static void what_was_not_pinned_is_not_unpinned(void **state) {
    (void)state;
    hand_over_with("shm", false);
    assert_int_equal(seen.pins, 4);
    assert_int_equal(seen.unpins, 0);
    assert_int_equal(seen.unpinned_gathers, seen.gathers);
    assert_int_equal(seen.unpinned_scatters, seen.scatters);
}

int main(void) {
    log_setup(LOG_ERROR, "test");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ends_of_a_shared_ring_are_pinned_while_it_is_used),
        cmocka_unit_test(staging_is_pinned_and_a_message_that_came_is_not),
        cmocka_unit_test(what_was_not_pinned_is_not_unpinned),
    };
    return cmocka_run_group_tests_name("pinned rings", tests, NULL, NULL);
}
