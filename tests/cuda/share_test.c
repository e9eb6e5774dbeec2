/* share_test - memory of a GPU that is mapped twice, as by two processes: both see the same bytes, and it
 * lives until the last one has closed it. */
#include "tests/cuda/rig.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BYTES ((size_t)3 << 20) /* no multiple of what memory comes in */

typedef struct ends {
    rig owner, peer;
    const share_ops *ops;
    unsigned char uuid[SHARE_UUID_BYTES];
    gpu_share *own, *mapped;
} ends;

static ends ends_open(void) {
    const device_options opt = rig_options(DT_BF16, true);
    ends e = {.owner = rig_open("cuda", &opt), .peer = rig_open("cuda", &opt)};
    e.ops = e.owner.ops->share;
    assert_non_null(e.ops);
    errbuf eb = {0};
    if (e.ops->check(e.owner.d, &eb)) fail_msg("check: %s", eb.text);
    e.ops->uuid(e.owner.d, e.uuid);
    return e;
}

static void ends_close(ends *e) {
    e->ops->close(e->peer.d, e->mapped);
    e->ops->close(e->owner.d, e->own);
    rig_close(&e->peer);
    rig_close(&e->owner);
}

static void share(ends *e) {
    errbuf eb = {0};
    int fd = -1;
    if (e->ops->create(e->owner.d, BYTES, &e->own, &fd, &eb)) fail_msg("create: %s", eb.text);
    if (e->ops->map(e->peer.d, fd, BYTES, e->uuid, &e->mapped, &eb)) fail_msg("map: %s", eb.text);
    close(fd);
}

static void check_all(const rig *r, const gpu_share *s, const ends *e, int byte) {
    unsigned char *got = xmalloc(BYTES);
    rig_check(r, r->ops->mem_read(r->d, got, e->ops->at(s), BYTES), "mem_read");
    for (size_t i = 0; i < BYTES; i++)
        if (got[i] != byte) fail_msg("byte %zu is %u, want %d", i, got[i], byte);
    free(got);
}

static void write_all(const rig *r, const gpu_share *s, const ends *e, int byte) {
    unsigned char *from = xmalloc(BYTES);
    memset(from, byte, BYTES);
    rig_check(r, r->ops->mem_write(r->d, e->ops->at(s), from, BYTES), "mem_write");
    free(from);
}

static void a_device_knows_itself_by_its_uuid(void **state) {
    (void)state;
    ends e = ends_open();
    unsigned char other[SHARE_UUID_BYTES], zero[SHARE_UUID_BYTES] = {0};
    e.ops->uuid(e.peer.d, other);
    assert_memory_equal(e.uuid, other, sizeof other);
    assert_memory_not_equal(e.uuid, zero, sizeof zero);
    assert_int_equal(e.ops->reach(e.peer.d, e.uuid, NULL), ST_OK);
    errbuf eb = {0};
    assert_int_equal(e.ops->reach(e.peer.d, zero, &eb), ST_UNSUPPORTED);
    assert_string_equal(eb.text,
                        "the other GPU is not visible to this process: name both in CUDA_VISIBLE_DEVICES");
    ends_close(&e);
}

static void both_sides_see_the_same_bytes_zero_at_first(void **state) {
    (void)state;
    ends e = ends_open();
    share(&e);
    assert_int_equal(e.ops->in(e.own), MEMORY_DEVICE);
    assert_int_equal(e.ops->in(e.mapped), MEMORY_DEVICE);
    assert_int_equal((uintptr_t)e.ops->at(e.own) % 512, 0);
    assert_int_equal((uintptr_t)e.ops->at(e.mapped) % 512, 0);
    assert_ptr_not_equal(e.ops->at(e.own), e.ops->at(e.mapped));
    check_all(&e.peer, e.mapped, &e, 0);
    write_all(&e.peer, e.mapped, &e, 0x5a);
    check_all(&e.owner, e.own, &e, 0x5a);
    write_all(&e.owner, e.own, &e, 0xa5);
    check_all(&e.peer, e.mapped, &e, 0xa5);
    ends_close(&e);
}

static void memory_lives_until_the_last_has_closed_it(void **state) {
    (void)state;
    ends e = ends_open();
    share(&e);
    write_all(&e.owner, e.own, &e, 0x11);
    e.ops->close(e.owner.d, e.own);
    e.own = NULL;
    check_all(&e.peer, e.mapped, &e, 0x11); /* late, and into nobody else's memory */
    write_all(&e.peer, e.mapped, &e, 0x22);
    gpu_share *late = e.mapped;
    e.mapped = NULL;
    share(&e);
    check_all(&e.owner, e.own, &e, 0);
    write_all(&e.peer, late, &e, 0x33);
    check_all(&e.owner, e.own, &e, 0);
    e.ops->close(e.peer.d, late);
    ends_close(&e);
}

static void a_descriptor_of_something_else_is_refused(void **state) {
    (void)state;
    ends e = ends_open();
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    errbuf eb = {0};
    assert_int_equal(e.ops->map(e.peer.d, fd, BYTES, e.uuid, &e.mapped, &eb), ST_PEER);
    assert_non_null(strstr(eb.text, "a peer's GPU memory of 4194304 bytes: importing: CUDA_ERROR_"));
    close(fd);
    assert_int_equal(e.peer.ops->sync(e.peer.d, NULL), ST_OK); /* no fault of the device */
    ends_close(&e);
}

static void memory_beyond_our_share_of_the_gpu_is_refused(void **state) {
    (void)state;
    device_memory has;
    device_options opt = rig_options(DT_BF16, true);
    errbuf eb = {0};
    rig all = rig_open("cuda", &opt);
    assert_int_equal(all.ops->memory(0, &has, &eb), ST_OK);
    rig_close(&all);
    opt.memory_fraction = (double)(128u << 20) / (double)has.total;
    rig r = rig_open("cuda", &opt);
    gpu_share *s = NULL, *again = NULL;
    int fd = -1;
    assert_int_equal(r.ops->share->create(r.d, 256u << 20, &s, &fd, &eb), ST_NOMEM);
    assert_string_equal(eb.text, "268435456 bytes of GPU memory are more than memory_fraction leaves");
    assert_int_equal(fd, -1);
    for (int i = 0; i < 100; i++) { /* what was closed counts no more */
        assert_int_equal(r.ops->share->create(r.d, 32u << 20, &again, &fd, &eb), ST_OK);
        close(fd);
        r.ops->share->close(r.d, again);
    }
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_device_knows_itself_by_its_uuid),
        cmocka_unit_test(both_sides_see_the_same_bytes_zero_at_first),
        cmocka_unit_test(memory_lives_until_the_last_has_closed_it),
        cmocka_unit_test(a_descriptor_of_something_else_is_refused),
        cmocka_unit_test(memory_beyond_our_share_of_the_gpu_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
