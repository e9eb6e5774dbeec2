/* peer_test - what a GPU may do with another one's memory, and what keeps memory from being shared at all. */
#include "kernels/backends.h"
#include "tests/cuda/rig.h"
#include "tests/cuda_host/emulation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BYTES ((size_t)1 << 20)

static rig gpu(uint32_t number) {
    device_options opt = rig_options(DT_BF16, true);
    opt.gpu = number;
    return rig_open("cuda", &opt);
}

static int two_gpus(void **state) {
    (void)state;
    return setenv("BATON_EMU_GPUS", "2", 1);
}

static int as_it_was(void **state) {
    (void)state;
    unsetenv("BATON_EMU_PEERS");
    unsetenv("BATON_EMU_VMM");
    return unsetenv("BATON_EMU_GPUS");
}

static void a_peers_memory_is_written_by_copies(void **state) {
    (void)state;
    rig owner = gpu(0), peer = gpu(1);
    const share_ops *ops = owner.ops->share;
    unsigned char uuid[SHARE_UUID_BYTES], other[SHARE_UUID_BYTES];
    ops->uuid(owner.d, uuid);
    ops->uuid(peer.d, other);
    assert_memory_not_equal(uuid, other, sizeof uuid);
    assert_int_equal(ops->reach(owner.d, other, NULL), ST_OK);
    gpu_share *own = NULL, *mapped = NULL;
    int fd = -1;
    errbuf eb = {0};
    if (ops->create(owner.d, BYTES, &own, &fd, &eb)) fail_msg("create: %s", eb.text);
    if (ops->map(peer.d, fd, BYTES, uuid, &mapped, &eb)) fail_msg("map: %s", eb.text);
    close(fd);
    assert_int_equal(ops->in(own), MEMORY_DEVICE);
    assert_int_equal(ops->in(mapped), MEMORY_PEER);
    char *from = xmalloc(BYTES), *got = xmalloc(BYTES);
    memset(from, 0x42, BYTES);
    rig_check(&peer, peer.ops->mem_write(peer.d, ops->at(mapped), from, BYTES), "mem_write");
    rig_check(&owner, owner.ops->mem_read(owner.d, got, ops->at(own), BYTES), "mem_read");
    assert_memory_equal(from, got, BYTES);
    free(from);
    free(got);
    ops->close(peer.d, mapped);
    ops->close(owner.d, own);
    rig_close(&owner);
    rig_close(&peer);
    assert_int_equal(emulation_allocations(NULL), 0);
}

static void gpus_without_a_path_do_not_reach_each_other(void **state) {
    (void)state;
    rig owner = gpu(0), peer = gpu(1);
    const share_ops *ops = owner.ops->share;
    unsigned char uuid[SHARE_UUID_BYTES];
    gpu_share *own = NULL, *mapped = NULL;
    int fd = -1;
    errbuf eb = {0};
    setenv("BATON_EMU_PEERS", "none", 1);
    ops->uuid(owner.d, uuid);
    assert_int_equal(ops->reach(peer.d, uuid, &eb), ST_UNSUPPORTED);
    assert_string_equal(eb.text, "there is no peer path between GPU 1 and GPU 0: take transport shm");
    assert_int_equal(ops->create(owner.d, BYTES, &own, &fd, &eb), ST_OK);
    assert_int_equal(ops->map(peer.d, fd, BYTES, uuid, &mapped, &eb), ST_PEER);
    assert_string_equal(eb.text, "there is no peer path between GPU 1 and GPU 0: take transport shm");
    close(fd);
    ops->close(owner.d, own);
    rig_close(&owner);
    rig_close(&peer);
}

static void a_gpu_that_cannot_export_memory_says_so_and_works(void **state) {
    (void)state;
    static const struct {
        const char *how, *why;
    } cases[] = {
        {"absent", "GPU 0, or its driver, cannot export memory to another process: take transport shm"},
        {"old", "the NVIDIA driver has no function cuDeviceGetAttribute: install a newer one"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        setenv("BATON_EMU_VMM", cases[i].how, 1);
        rig r = gpu(0);
        gpu_share *s = NULL;
        int fd = -1;
        errbuf eb = {0};
        assert_int_equal(r.ops->share->check(r.d, &eb), ST_UNSUPPORTED);
        assert_string_equal(eb.text, cases[i].why);
        assert_int_equal(r.ops->share->create(r.d, BYTES, &s, &fd, &eb), ST_UNSUPPORTED);
        assert_int_equal(r.ops->sync(r.d, &eb), ST_OK);
        rig_close(&r);
    }
}

static void a_full_gpu_is_no_fault(void **state) {
    (void)state;
    rig r = gpu(0);
    size_t bytes;
    char mb[32];
    emulation_allocations(&bytes);
    snprintf(mb, sizeof mb, "%zu", (bytes >> 20) + 1);
    setenv("BATON_EMU_MEMORY_MB", mb, 1);
    gpu_share *s = NULL;
    int fd = -1;
    errbuf eb = {0};
    assert_int_equal(r.ops->share->create(r.d, 2 * BYTES, &s, &fd, &eb), ST_NOMEM);
    unsetenv("BATON_EMU_MEMORY_MB");
    assert_string_equal(eb.text,
                        "no 2097152 bytes of GPU memory to share: cuMemCreate: CUDA_ERROR_OUT_OF_MEMORY");
    assert_int_equal(r.ops->sync(r.d, &eb), ST_OK);
    rig_close(&r);
}

int main(void) {
#define TWO(test) cmocka_unit_test_setup_teardown(test, two_gpus, as_it_was)
    const struct CMUnitTest tests[] = {
        TWO(a_peers_memory_is_written_by_copies),
        TWO(gpus_without_a_path_do_not_reach_each_other),
        TWO(a_gpu_that_cannot_export_memory_says_so_and_works),
        TWO(a_full_gpu_is_no_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
