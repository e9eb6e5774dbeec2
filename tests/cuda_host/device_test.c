/* What kernels see under the emulation: fragments, warps, shared memory, copies, orders, and the messages for
 * rules broken. */
#include "probe.h"

#include "emulation.h"
#include "kernels/cuda/launch.h"
#include "kernels/half.h"
#include "tests/test.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define POISON 0xffffffffu

static void *device(size_t bytes) {
    void *p = NULL;
    assert_int_equal(cudaMalloc(&p, bytes), cudaSuccess);
    return p;
}

static void release(void *p) {
    assert_int_equal(cudaFree(p), cudaSuccess);
}

static void order(const char *how) {
    assert_int_equal(setenv("BATON_EMU_ORDER", how, 1), 0);
}

static int small(unsigned *seed) { /* -8..8: products and sums of them are exact in every type */
    *seed = *seed * 1664525u + 1013904223u;
    return (int)(*seed >> 16) % 17 - 8;
}

static void check_matrix(bool half) {
    uint16_t *a = device(256 * 2), *b = device(128 * 2);
    float *d = device(128 * 4);
    int ia[256], ib[128], id[128];
    unsigned seed = 7;
    for (int i = 0; i < 256; i++) {
        ia[i] = small(&seed);
        a[i] = half ? half_of_f32((float)ia[i]) : (uint16_t)(f32_bits((float)ia[i]) >> 16);
    }
    for (int i = 0; i < 128; i++) {
        ib[i] = small(&seed);
        b[i] = half ? half_of_f32((float)ib[i]) : (uint16_t)(f32_bits((float)ib[i]) >> 16);
        d[i] = (float)(id[i] = small(&seed));
    }
    assert_int_equal(probe_matrix(a, b, d, half), cudaSuccess);
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 8; n++) {
            int sum = id[m * 8 + n];
            for (int k = 0; k < 16; k++) sum += ia[m * 16 + k] * ib[k * 8 + n];
            assert_true(d[m * 8 + n] == (float)sum);
        }
    release(a);
    release(b);
    release(d);
}

static void matrix_fragments_lie_where_the_ptx_isa_says(void **state) {
    (void)state;
    check_matrix(false);
    check_matrix(true);
}

static void load_matrix_gives_lane_l_two_elements_of_row_l_over_4(void **state) {
    (void)state;
    uint16_t *m = device(512);
    uint32_t *r = device(512);
    for (unsigned i = 0; i < 256; i++) m[i] = (uint16_t)(1000 + i);
    for (int trans = 0; trans < 2; trans++) {
        assert_int_equal(probe_load_matrix(m, r, trans), cudaSuccess);
        for (unsigned l = 0; l < 32; l++)
            for (unsigned j = 0; j < 4; j++) {
                unsigned row = l / 4, col = l % 4 * 2, base = 1000 + 64 * j;
                uint32_t low = base + (trans ? col * 8 + row : row * 8 + col);
                uint32_t high = base + (trans ? (col + 1) * 8 + row : row * 8 + col + 1);
                assert_int_equal(r[4 * l + j], high << 16 | low);
            }
    }
    release(m);
    release(r);
}

static void lanes_exchange_what_the_shuffles_say(void **state) {
    (void)state;
    uint32_t *out = device(128 * 4);
    uint64_t *wide = device(32 * 8);
    assert_int_equal(probe_warp(out), cudaSuccess);
    assert_int_equal(probe_warp_wide(wide), cudaSuccess);
    for (uint32_t l = 0; l < 32; l++) {
        assert_int_equal(out[l], 131 - l);
        assert_int_equal(out[32 + l], 100 + (l ^ 5));
        assert_int_equal(out[64 + l], l < 3 ? 100 + l : 97 + l);
        assert_int_equal(out[96 + l], 0x49249249);
        assert_true(wide[l] == ((uint64_t)((l + 1) % 32) << 40 | (l + 1) % 32));
    }
    release(out);
    release(wide);
}

static void shared_memory_is_poison_in_every_block(void **state) {
    (void)state;
    uint32_t *out = device(128);
    assert_int_equal(probe_shared(out), cudaSuccess);
    for (int i = 0; i < 32; i++) assert_int_equal(out[i], POISON);
    release(out);
}

static void a_copy_is_poison_until_its_group_is_waited_for(void **state) {
    (void)state;
    uint32_t *from = device(1024), *out = device(1024);
    for (uint32_t i = 0; i < 256; i++) from[i] = i;
    for (probe_copy how = COPY_WAITED; how <= COPY_ZEROS; how++) {
        assert_int_equal(probe_copies(from, out, how), cudaSuccess);
        for (uint32_t i = 0; i < 256; i++) {
            bool first = i % 8 < 4;
            uint32_t want = POISON;
            if (how == COPY_ZEROS) want = 0;
            if (how == COPY_WAITED || (how == COPY_NEWEST_NOT_WAITED && first)) want = i;
            assert_int_equal(out[i], want);
        }
    }
    release(from);
    release(out);
}

/* Whether every thread read what the other wrote. */
static bool ordered(float *out, const char *how, bool lanes, bool barrier) {
    order(how);
    assert_int_equal(probe_order(out, lanes, barrier), cudaSuccess);
    order("forward");
    uint32_t back = lanes ? 1 : 32;
    for (uint32_t t = 0; t < 64; t++)
        if (out[t] != (float)(1 + (t < back ? t : t - back))) return false;
    return true;
}

static void a_missing_barrier_shows_in_another_order(void **state) {
    (void)state;
    float *out = device(256);
    for (int lanes = 0; lanes < 2; lanes++) {
        assert_true(ordered(out, "forward", lanes, false)); /* by luck */
        assert_false(ordered(out, "reverse", lanes, false));
        assert_true(ordered(out, "forward", lanes, true));
        assert_true(ordered(out, "reverse", lanes, true));
        assert_true(ordered(out, "random:5", lanes, true));
    }
    assert_false(ordered(out, "random:1", true, false));
    release(out);
}

static void threads_that_returned_count_as_arrived(void **state) {
    (void)state;
    uint32_t *out = device(512);
    assert_int_equal(probe_early_return(out), cudaSuccess);
    for (uint32_t t = 0; t < 128; t++) assert_int_equal(out[t], t / 32 % 2 ? 0 : 127);
    release(out);
}

static void blocks_of_a_cluster_read_each_others_shared_memory(void **state) {
    (void)state;
    enum { BLOCKS = 15 };
    const char *orders[] = {"forward", "reverse", "random:1", "random:2", "random:3"};
    const unsigned clusters[] = {1, 3, 5};
    uint32_t *out = device(BLOCKS * 32 * 4);
    for (size_t o = 0; o < sizeof orders / sizeof orders[0]; o++)
        for (size_t i = 0; i < sizeof clusters / sizeof clusters[0]; i++) {
            const unsigned cluster = clusters[i];
            order(orders[o]);
            assert_int_equal(cudaMemset(out, 0, BLOCKS * 32 * 4), cudaSuccess);
            assert_int_equal(probe_cluster(out, cluster, BLOCKS, true), cudaSuccess);
            for (unsigned b = 0; b < BLOCKS; b++) {
                unsigned want = 0;
                for (unsigned j = 0; j < cluster; j++) want += 1 + b / cluster * cluster + j;
                for (unsigned t = 0; t < 32; t++) assert_int_equal(out[b * 32 + t], want);
            }
        }
    order("forward");
    release(out);
}

/* A block runs as far as it may before the next begins, so it reads what that has not written. */
static void a_missing_cluster_sync_shows_in_every_order(void **state) {
    (void)state;
    const char *orders[] = {"forward", "reverse", "random:1"};
    uint32_t *out = device(2 * 32 * 4);
    for (size_t o = 0; o < sizeof orders / sizeof orders[0]; o++) {
        order(orders[o]);
        assert_int_equal(probe_cluster(out, 2, 2, false), cudaSuccess);
        assert_true(out[0] != 3 || out[32] != 3);
    }
    order("forward");
    release(out);
}

static void clusters_that_no_device_takes_are_refused(void **state) {
    (void)state;
    uint32_t *out = device(16 * 32 * 4);
    assert_int_equal(probe_cluster(out, 8, 16, true), cudaSuccess);
    assert_int_equal(probe_cluster(out, 0, 16, true), cudaErrorInvalidClusterSize);
    assert_int_equal(probe_cluster(out, 16, 16, true), cudaErrorInvalidClusterSize);
    assert_int_equal(probe_cluster(out, 3, 16, true), cudaErrorInvalidClusterSize);
    assert_int_equal(setenv("BATON_EMU_MAJOR", "8", 1), 0);
    assert_int_equal(probe_cluster(out, 8, 16, true), cudaErrorInvalidClusterSize);
    assert_int_equal(unsetenv("BATON_EMU_MAJOR"), 0);
    release(out);
}

static void every_block_runs_once_in_every_order(void **state) {
    (void)state;
    const char *orders[] = {"forward", "reverse", "random:1", "random:2"};
    for (size_t o = 0; o < sizeof orders / sizeof orders[0]; o++) {
        order(orders[o]);
        uint32_t *out = device(5 * 3 * 7 * 4);
        assert_int_equal(cudaMemset(out, 0, 5 * 3 * 7 * 4), cudaSuccess);
        assert_int_equal(probe_grid(out, (dim3){5, 3, 7}, NULL), cudaSuccess);
        for (uint32_t b = 0; b < 5 * 3 * 7; b++) assert_int_equal(out[b], 1 + b);
        release(out);
    }
    order("forward");
}

static void *add_often(void *p) {
    for (int i = 0; i < 200; i++)
        if (probe_add(p, 1, NULL) != cudaSuccess) return p;
    return NULL;
}

static void two_os_threads_launch_at_the_same_time(void **state) {
    (void)state;
    uint32_t *sum = device(4);
    *sum = 0;
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, add_often, sum), 0);
    for (int i = 0; i < 2; i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    assert_int_equal(*sum, 2 * 200 * 64);
    release(sum);
}

static void shapes_that_no_device_takes_are_refused(void **state) {
    (void)state;
    assert_int_equal(probe_shape(1, 1024, 227 << 10), cudaSuccess);
    assert_int_equal(probe_shape(0, 32, 0), cudaErrorInvalidConfiguration);
    assert_int_equal(probe_shape(1, 0, 0), cudaErrorInvalidConfiguration);
    assert_int_equal(probe_shape(1, 1056, 0), cudaErrorInvalidConfiguration);
    assert_int_equal(probe_shape(1, 32, (227 << 10) + 1), cudaErrorInvalidValue);
    assert_int_equal(probe_grid(NULL, (dim3){1, 65536, 1}, NULL), cudaErrorInvalidConfiguration);
    assert_int_equal(probe_grid(NULL, (dim3){1, 1, 65536}, NULL), cudaErrorInvalidConfiguration);
}

static void conversions_round_to_nearest_even(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        float x = probe_from_f16((uint16_t)h);
        bool nan = (h & 0x7fff) > 0x7c00;
        assert_int_equal(nan, isnan(x) != 0);
        if (!nan) assert_true(f32_bits(x) == f32_bits(f32_of_half((uint16_t)h)));
        assert_int_equal(probe_to_f16(x), nan ? 0x7fff : h);
    }
    unsigned seed = 3;
    for (int i = 0; i < 1000000; i++) {
        seed = seed * 1664525u + 1013904223u;
        float x = f32_of_bits(seed);
        if (!isnan(x)) assert_int_equal(probe_to_f16(x), half_of_f32(x));
    }
    assert_int_equal(probe_to_bf16(1.0f + 0x1p-8f), 0x3f80); /* ties to even */
    assert_int_equal(probe_to_bf16(1.0f + 3 * 0x1p-8f), 0x3f82);
    assert_int_equal(probe_to_bf16(f32_of_bits(0x7f7fffff)), 0x7f80);
    assert_int_equal(probe_to_bf16(-INFINITY), 0xff80);
    assert_int_equal(probe_to_bf16(-NAN), 0x7fff);
    assert_int_equal(probe_to_bf16(f32_of_bits(0x00018001)), 0x0002); /* subnormal */
    assert_true(probe_exp2(-INFINITY) == 0);
    assert_true(probe_exp2(-127) == 0); /* subnormal results are flushed */
    assert_true(probe_exp2(-126) == 0x1p-126f);
    assert_true(probe_exp2(10) == 1024);
}

static void without_overlap_a_linked_kernel_is_an_ordinary_one(void **state) {
    (void)state;
    void *memory = device(64);
    assert_true(launch_overlaps());
    launch_overlap(false);
    assert_false(launch_overlaps());
    for (probe_error e = ERROR_NEVER_WAITED; e <= ERROR_EARLY_ATOMIC; e++)
        assert_int_equal(probe_broken(e, memory), cudaSuccess);
    launch_overlap(true);
    release(memory);
}

/* Runs the kernel in a child, which must not live, and reads what it wrote to stderr. */
static void read_last_words(probe_error error, unsigned threads, char *text, size_t bytes) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        void *memory = NULL;
        if (cudaMalloc(&memory, 64) != cudaSuccess) _exit(0);
        if (threads)
            probe_shape(1, threads, 0);
        else
            probe_broken(error, memory);
        _exit(0);
    }
    close(ends[1]);
    size_t length = 0;
    ssize_t n;
    while (length + 1 < bytes && (n = read(ends[0], text + length, bytes - 1 - length)) > 0)
        length += (size_t)n;
    text[length] = 0;
    close(ends[0]);
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_false(WIFEXITED(how) && WEXITSTATUS(how) == 0);
}

static void check_last_words(probe_error error, unsigned threads, const char *want) {
    char text[32768];
    read_last_words(error, threads, text, sizeof text);
    if (!strstr(text, want)) fail_msg("wanted '%s' in: %s", want, text);
    bool placed = error != ERROR_SHARED_OVERRUN && error != ERROR_NEVER_WAITED;
    if (placed && !strstr(text, "probe.cpp:")) fail_msg("no place in: %s", text);
}

static void broken_rules_end_the_process_with_the_place(void **state) {
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* after a fork it counts the fibers as threads and sees no order between them */
#endif
#ifdef __SANITIZE_ADDRESS__
    check_last_words(ERROR_SHARED_OVERRUN, 0, "heap-buffer-overflow");
#else
    check_last_words(ERROR_SHARED_OVERRUN, 0, "wrote byte 1024 of 1024 bytes of shared memory");
#endif
    check_last_words(ERROR_APART, 0, "thread 0 is in warp_get");
    check_last_words(ERROR_APART, 0, "thread 16 in warp_ballot");
    check_last_words(ERROR_EARLY_RETURN, 0, "thread 7 in return");
    check_last_words(ERROR_BARRIER_APART, 0, "thread 16 in warp_sync");
    check_last_words(ERROR_LOAD_UNALIGNED, 0, "load16: the address is not 16-byte aligned");
    check_last_words(ERROR_COPY_UNALIGNED, 0, "copy16_async: the target is not 16-byte aligned");
    check_last_words(ERROR_ROW_UNALIGNED, 0, "load_matrix: the row is not 16-byte aligned");
    check_last_words(ERROR_ROW_GLOBAL, 0, "load_matrix: the row is not in shared memory");
    check_last_words(ERROR_ROW_BANKS, 0, "load_matrix: two rows of a matrix lie in the same banks");
    check_last_words(ERROR_ONCE_SHARED, 0, "load16_once: the address is in shared memory");
    check_last_words(ERROR_PEER_GLOBAL, 0, "load16_peer: the address is not in shared memory");
    check_last_words(ERROR_PEER_MISSING, 0, "load16_peer: the cluster has no such block");
    check_last_words(ERROR_PEER_ENDED, 0, "load16_peer: that block has ended");
    check_last_words(ERROR_BARRIERS_APART, 0, "the warps of a block went apart: thread 0 is in block_sync");
    check_last_words(ERROR_BARRIERS_APART, 0, "thread 32 in cluster_sync");
    check_last_words(ERROR_NEVER_WAITED, 0, "thread 9, at its end:0: a linked kernel ended without pdl_wait");
    for (probe_error e = ERROR_EARLY_LOAD; e <= ERROR_EARLY_ATOMIC; e++)
        check_last_words(e, 0, "global memory is used before pdl_wait");
    check_last_words(ERROR_APART, 33, "33 threads are not a multiple of 32");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrix_fragments_lie_where_the_ptx_isa_says),
        cmocka_unit_test(load_matrix_gives_lane_l_two_elements_of_row_l_over_4),
        cmocka_unit_test(lanes_exchange_what_the_shuffles_say),
        cmocka_unit_test(shared_memory_is_poison_in_every_block),
        cmocka_unit_test(a_copy_is_poison_until_its_group_is_waited_for),
        cmocka_unit_test(a_missing_barrier_shows_in_another_order),
        cmocka_unit_test(threads_that_returned_count_as_arrived),
        cmocka_unit_test(blocks_of_a_cluster_read_each_others_shared_memory),
        cmocka_unit_test(a_missing_cluster_sync_shows_in_every_order),
        cmocka_unit_test(clusters_that_no_device_takes_are_refused),
        cmocka_unit_test(every_block_runs_once_in_every_order),
        cmocka_unit_test(two_os_threads_launch_at_the_same_time),
        cmocka_unit_test(shapes_that_no_device_takes_are_refused),
        cmocka_unit_test(conversions_round_to_nearest_even),
        cmocka_unit_test(without_overlap_a_linked_kernel_is_an_ordinary_one),
        cmocka_unit_test(broken_rules_end_the_process_with_the_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
