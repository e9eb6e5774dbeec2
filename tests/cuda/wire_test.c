/* wire_test - by which way a segment's bytes travel between page memory and a wire in the host's memory, in
 * pinned memory, in the GPU's and in another GPU's. */
#include "tests/cuda/rig.h"
#include "tests/cuda_host/emulation.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Copies that begin or end in the wire: the linker puts this in between. */
static const char *watched;
static size_t watched_bytes;
static uint32_t watched_copies, all_copies;
cudaError_t __real_cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                                   cudaStream_t s);
cudaError_t __wrap_cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                                   cudaStream_t s);
cudaError_t __wrap_cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                                   cudaStream_t s) {
    uintptr_t begin = (uintptr_t)watched, a = (uintptr_t)to, b = (uintptr_t)from;
    all_copies++;
    watched_copies += a - begin < watched_bytes || b - begin < watched_bytes;
    return __real_cudaMemcpyAsync(to, from, bytes, kind, s);
}

/* The other GPU, and its memory as it has it and as the one has it. */
static rig other;
static gpu_share *own, *mapped;

static void *peer_new(const rig *r, size_t bytes) {
    const share_ops *ops = r->ops->share;
    unsigned char uuid[SHARE_UUID_BYTES];
    errbuf eb = {0};
    int fd = -1;
    ops->uuid(other.d, uuid);
    if (ops->create(other.d, bytes, &own, &fd, &eb)) fail_msg("create: %s", eb.text);
    if (ops->map(r->d, fd, bytes, uuid, &mapped, &eb)) fail_msg("map: %s", eb.text);
    assert_int_equal(ops->in(mapped), MEMORY_PEER);
    close(fd);
    return ops->at(mapped);
}

/* A wire of each kind. */
static void *wire_new(const rig *r, memory_kind in, size_t bytes) {
    if (in == MEMORY_PEER) return peer_new(r, bytes);
    if (in == MEMORY_DEVICE) return r->ops->mem_alloc(r->d, bytes);
    void *p = xcalloc(1, bytes);
    if (in == MEMORY_PINNED) assert_int_equal(r->ops->host_pin(r->d, p, bytes), MEMORY_PINNED);
    return p;
}

static void wire_free(const rig *r, memory_kind in, void *p, size_t bytes) {
    if (in == MEMORY_PEER) {
        r->ops->share->close(r->d, mapped);
        r->ops->share->close(other.d, own);
        return;
    }
    if (in == MEMORY_DEVICE) {
        r->ops->mem_free(r->d, p, bytes);
        return;
    }
    if (in == MEMORY_PINNED) r->ops->host_unpin(r->d, p);
    free(p);
}

static void wire_write(const rig *r, memory_kind in, void *wire, const void *from, size_t bytes) {
    if (in == MEMORY_DEVICE || in == MEMORY_PEER)
        rig_check(r, r->ops->mem_write(r->d, wire, from, bytes), "mem_write");
    else
        memcpy(wire, from, bytes);
}

static void wire_read(const rig *r, memory_kind in, const void *wire, void *to, size_t bytes) {
    if (in == MEMORY_DEVICE || in == MEMORY_PEER)
        rig_check(r, r->ops->mem_read(r->d, to, wire, bytes), "mem_read");
    else
        memcpy(to, wire, bytes);
}

/* The hook of tests: one byte of the wire differs, and the sum is that of the right ones. */
static void check_damage(const rig *r, const op_kv_copy *whole, memory_kind in, const void *want,
                         size_t bytes) {
    op_kv_copy a = *whole;
    uint64_t sum = 0;
    unsigned char *got = xmalloc(bytes);
    a.checksum = &sum;
    a.damage_at = bytes / 2 + 1;
    rig_check(r, r->ops->kv_gather(r->d, &a), "kv_gather");
    assert_true(sum == kv_checksum(77, want, bytes));
    wire_read(r, in, a.wire, got, bytes);
    assert_int_equal(got[a.damage_at], ((const unsigned char *)want)[a.damage_at] ^ 0x80);
    got[a.damage_at] ^= 0x80;
    assert_memory_equal(got, want, bytes);
    free(got);
}

/* Bytes into the pages and out again: the same ones, with the sums of the definition; `pieces` are as many as
 * the staging makes of it. */
static void check_wire(const rig *r, memory_kind in, const kv_piece *piece, uint32_t pieces) {
    const bool engine = in == MEMORY_PINNED || in == MEMORY_PEER; /* a copy engine sees the wire */
    uint32_t table[RIG_SEQ_PAGES];
    for (uint32_t i = 0; i < RIG_SEQ_PAGES; i++) table[i] = (i * 7 + 3) % RIG_PAGES;
    size_t bytes = kv_piece_bytes(&r->layout, piece);
    uint64_t *want = xmalloc(bytes), *got = xcalloc(1, bytes), sums[2] = {0};
    for (size_t i = 0; i < bytes / 8; i++) want[i] = i * 0x9E3779B97F4A7C15ull;
    op_kv_copy a = {.layout = &r->layout,
                    .kv = r->kv,
                    .pages = table,
                    .piece = *piece,
                    .wire = wire_new(r, in, bytes),
                    .wire_in = in,
                    .seed = 77};
    wire_write(r, in, a.wire, want, bytes);
    watched = a.wire;
    watched_bytes = bytes;
    watched_copies = 0;
    a.checksum = &sums[0];
    rig_check(r, r->ops->kv_scatter(r->d, &a), "kv_scatter");
    assert_int_equal(watched_copies, engine ? pieces : 0);
    wire_write(r, in, a.wire, got, bytes);
    watched_copies = all_copies = 0;
    a.checksum = &sums[1];
    rig_check(r, r->ops->kv_gather(r->d, &a), "kv_gather");
    assert_int_equal(watched_copies, engine ? pieces : 0);
    assert_int_equal(all_copies, 2 + (in == MEMORY_DEVICE ? 0 : pieces)); /* page ids, the sum */
    wire_read(r, in, a.wire, got, bytes);
    assert_memory_equal(got, want, bytes);
    assert_true(sums[0] == kv_checksum(77, want, bytes));
    assert_true(sums[1] == sums[0]);
    watched_bytes = 0;
    if (in == MEMORY_DEVICE || in == MEMORY_PEER) check_damage(r, &a, in, want, bytes);
    wire_free(r, in, a.wire, bytes);
    free(want);
    free(got);
}

static void a_wire_in_any_memory_has_the_same_bytes_and_sums(void **state) {
    (void)state;
    static const memory_kind kinds[] = {MEMORY_HOST, MEMORY_PINNED, MEMORY_DEVICE, MEMORY_PEER};
    const kv_layout layout = {.type = DT_F32, .layers = 8, .kv_heads = 4, .head_dim = 128};
    setenv("BATON_EMU_STREAMS", "lazy", 1);
    setenv("BATON_EMU_GPUS", "2", 1);
    device_options opt = rig_options(DT_F32, false);
    rig r = rig_open("cuda", &opt);
    opt.gpu = 1;
    other = rig_open("cuda", &opt);
    rig_attention(&r, &layout, 4, 128);
    /* Pages of 512 KiB: eight of them fill the staging. */
    const struct {
        kv_piece piece;
        uint32_t pieces;
    } cases[] = {
        {kv_piece_of(&layout, 0, 410, 0, 8), 4},
        {kv_piece_of(&layout, 16, 21, 2, 3), 1},
        {{.token_begin = 32, .token_count = 300, .layer_end = 8, .head_begin = 1, .head_end = 3}, 2}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
            check_wire(&r, kinds[k], &cases[i].piece, cases[i].pieces);
    rig_close(&r);
    rig_close(&other);
    unsetenv("BATON_EMU_GPUS");
    unsetenv("BATON_EMU_STREAMS");
}

static void memory_that_cannot_be_pinned_is_no_fault(void **state) {
    (void)state;
    const device_options opt = rig_options(DT_BF16, true);
    rig r = rig_open("cuda", &opt);
    errbuf eb = {0};
    char host[64];
    assert_int_equal(r.ops->host_pin(r.d, host, sizeof host), MEMORY_PINNED);
    assert_int_equal(r.ops->host_pin(r.d, host + 8, 8), MEMORY_HOST); /* is pinned already */
    r.ops->host_unpin(r.d, host);
    r.ops->host_unpin(r.d, host);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    assert_int_equal(r.ops->sync(r.d, &eb), ST_OK);
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wire_in_any_memory_has_the_same_bytes_and_sums),
        cmocka_unit_test(memory_that_cannot_be_pinned_is_no_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
