/* kv_stage - segments of a hand-off between page memory and wire memory.
 *
 * A kernel packs (or unpacks) runs of pages in GPU memory and sums the checksum on its way. How its bytes get
 * to the wire depends on where that lies: a copy engine moves them to memory that CUDA knows; for a message's
 * buffer, which it does not, the transfer thread copies once more; in the memory of the GPU the kernel works
 * on the wire itself. Segments longer than the staging go in pieces of whole pages, and two of them are under
 * way at a time, so the kinds of copies overlap:
 *
 *   MEMORY_HOST    pages -gather-> GPU staging[i % 2] -copy-> pinned[i % 2] -memcpy-> wire
 *   MEMORY_PINNED  pages -gather-> GPU staging[i % 2] -copy-> wire
 *   MEMORY_DEVICE  pages -gather-> wire
 *   MEMORY_PEER    pages -gather-> GPU staging[i % 2] -copy-> wire
 *
 * Thread: the transfer thread; made and freed by the device thread while there is none. */
#include "kernels/cuda/kv_stage.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define PIECE_BYTES_MIN ((size_t)4 << 20)

struct kv_stage {
    size_t piece_bytes; /* a page of all layers, or more */
    void *dev[2], *pinned[2];
    cudaEvent_t moved[2];               /* what was put into the stream for pinned[i] is done */
    uint32_t *pages_dev, *pages_pinned; /* [max_seq_pages] */
    unsigned long long *sum_dev, *sum_pinned;
};

static size_t pages_bytes(const device *d) {
    return d->opt.max_seq_pages * sizeof(uint32_t);
}

status kv_stage_new(device *d, errbuf *eb) {
    PRE(d);
    PRE(!d->stage);
    kv_stage *s = d->stage = xcalloc(1, sizeof *s);
    s->piece_bytes = MAX(kv_page_bytes(&d->attention.layout), PIECE_BYTES_MIN);
    s->pages_dev = gpu_take(d, pages_bytes(d));
    s->sum_dev = gpu_take(d, sizeof *s->sum_dev);
    s->pages_pinned = gpu_pinned_take(pages_bytes(d));
    s->sum_pinned = gpu_pinned_take(sizeof *s->sum_pinned);
    bool ok = s->pages_dev && s->sum_dev && s->pages_pinned && s->sum_pinned;
    for (int i = 0; ok && i < 2; i++) {
        s->dev[i] = gpu_take(d, s->piece_bytes);
        s->pinned[i] = gpu_pinned_take(s->piece_bytes);
        ok = s->dev[i] && s->pinned[i] &&
             gpu_ok(d, cudaEventCreateWithFlags(&s->moved[i], cudaEventDisableTiming), "hand-off staging");
    }
    if (ok) return ST_OK;
    size_t kib = 2 * s->piece_bytes >> 10;
    kv_stage_free(d);
    if (gpu_faulted(d)) return gpu_fault_text(d, eb);
    return errf(eb, ST_NOMEM,
                "cuda: no memory for %zu KiB of hand-off staging, on the GPU and pinned on the host", kib);
}

void kv_stage_free(device *d) {
    PRE(d);
    kv_stage *s = d->stage;
    if (!s) return;
    for (int i = 0; i < 2; i++) {
        gpu_give(d, s->dev[i], s->piece_bytes);
        gpu_pinned_give(d, s->pinned[i]);
        if (s->moved[i]) (void)cudaEventDestroy(s->moved[i]);
    }
    gpu_give(d, s->pages_dev, pages_bytes(d));
    gpu_give(d, s->sum_dev, sizeof *s->sum_dev);
    gpu_pinned_give(d, s->pages_pinned);
    gpu_pinned_give(d, s->sum_pinned);
    free(s);
    d->stage = NULL;
}

/* --- pieces --- */

/* A segment while it is copied. */
typedef struct course {
    const op_kv_copy *a;
    uint32_t piece_tokens; /* a multiple of the page */
    uint32_t piece_count;
} course;

static uint32_t tokens_of(const course *c, uint32_t piece) {
    return MIN(c->a->piece.token_count - piece * c->piece_tokens, c->piece_tokens);
}

/* Rows [begin, begin + count) of the segment. */
static kv_piece part_of(const course *c, uint32_t begin, uint32_t count) {
    kv_piece p = c->a->piece;
    p.token_begin += begin;
    p.token_count = count;
    return p;
}

static size_t bytes_before(const course *c, uint32_t piece) {
    const kv_piece part = part_of(c, 0, piece * c->piece_tokens);
    return kv_piece_bytes(c->a->layout, &part);
}

static size_t bytes_of(const course *c, uint32_t piece) {
    const kv_piece part = part_of(c, 0, tokens_of(c, piece));
    return kv_piece_bytes(c->a->layout, &part);
}

static void *wire_of(const course *c, uint32_t piece) {
    return (char *)c->a->wire + bytes_before(c, piece);
}

/* Memory that a copy engine moves the piece to or from. */
static void *far_end(const kv_stage *s, const course *c, uint32_t piece) {
    CHECK(c->a->wire_in != MEMORY_DEVICE);
    return c->a->wire_in != MEMORY_HOST ? wire_of(c, piece) : s->pinned[piece % 2];
}

static kv_copy_args args_of(const kv_stage *s, const course *c, uint32_t piece) {
    const op_kv_copy *a = c->a;
    return (kv_copy_args){.kv = a->kv,
                          .elem_bytes = kv_elem_bytes(a->layout),
                          .layers = a->layout->layers,
                          .kv_heads = a->layout->kv_heads,
                          .head_dim = a->layout->head_dim,
                          .pages = s->pages_dev,
                          .piece = part_of(c, piece * c->piece_tokens, tokens_of(c, piece)),
                          .wire = a->wire_in == MEMORY_DEVICE ? wire_of(c, piece) : s->dev[piece % 2],
                          .word_begin = bytes_before(c, piece) / 8,
                          .sum = s->sum_dev};
}

/* Page ids and a zero sum go ahead of the pieces. */
static status start(device *d, const op_kv_copy *a, course *c, const char *op) {
    PRE(d);
    PRE(a);
    PRE(a->checksum);
    PRE(d->stage);
    PRE(a->piece.token_count > 0);
    PRE(a->piece.token_begin % KV_PAGE_TOKENS == 0);
    PRE(a->piece.layer_begin < a->piece.layer_end);
    PRE(a->piece.layer_end <= d->attention.layout.layers);
    PRE(a->piece.head_begin < a->piece.head_end);
    PRE(a->piece.head_end <= d->attention.layout.kv_heads);
    if (gpu_faulted(d)) return ST_DEVICE;
    kv_stage *s = d->stage;
    kv_piece page = a->piece;
    page.token_count = KV_PAGE_TOKENS;
    size_t page_bytes = kv_piece_bytes(a->layout, &page);
    uint32_t pages = kv_piece_pages(&a->piece);
    PRE(page_bytes <= s->piece_bytes);
    PRE(pages <= d->opt.max_seq_pages);
    uint32_t piece_tokens = (uint32_t)MIN(s->piece_bytes / page_bytes, pages) * KV_PAGE_TOKENS;
    *c = (course){.a = a,
                  .piece_tokens = piece_tokens,
                  .piece_count = (a->piece.token_count + piece_tokens - 1) / piece_tokens};

    if (!gpu_ok(d, cudaSetDevice(d->gpu), op)) return ST_DEVICE; /* of this thread */
    memcpy(s->pages_pinned, a->pages, pages * sizeof *s->pages_pinned);
    cudaError_t e = cudaMemcpyAsync(s->pages_dev, s->pages_pinned, pages * sizeof *s->pages_dev,
                                    cudaMemcpyHostToDevice, d->handoff);
    if (e == cudaSuccess) e = cudaMemsetAsync(s->sum_dev, 0, sizeof *s->sum_dev, d->handoff);
    return gpu_ok(d, e, op) ? ST_OK : ST_DEVICE;
}

/* The sum comes back behind the pieces, which are done when it is there. moved[0] is free for it: every piece
 * was waited for, or precedes it. */
static status read_sum(device *d, const op_kv_copy *a, const char *op) {
    kv_stage *s = d->stage;
    cudaError_t e =
        cudaMemcpyAsync(s->sum_pinned, s->sum_dev, sizeof *s->sum_pinned, cudaMemcpyDeviceToHost, d->handoff);
    if (!gpu_ok(d, e, op)) return ST_DEVICE;
    status st = gpu_wait(d, d->handoff, s->moved[0], op);
    if (st == ST_OK) *a->checksum = a->seed + *s->sum_pinned;
    return st;
}

/* The test hook of a gather. The sum has been read: its pinned memory carries the byte. */
static status damage(device *d, const op_kv_copy *a) {
    kv_stage *s = d->stage;
    unsigned char *at = (unsigned char *)a->wire + a->damage_at, *byte = (unsigned char *)s->sum_pinned;
    if (!gpu_ok(d, cudaMemcpyAsync(byte, at, 1, cudaMemcpyDeviceToHost, d->handoff), "kv_gather") ||
        gpu_wait(d, d->handoff, s->moved[0], "kv_gather") != ST_OK)
        return ST_DEVICE;
    *byte ^= 0x80;
    if (!gpu_ok(d, cudaMemcpyAsync(at, byte, 1, cudaMemcpyHostToDevice, d->handoff), "kv_gather"))
        return ST_DEVICE;
    return gpu_wait(d, d->handoff, s->moved[0], "kv_gather");
}

/* --- the two ways --- */

static status gather_piece(device *d, const course *c, uint32_t piece) {
    kv_stage *s = d->stage;
    uint32_t side = piece % 2;
    const bool peer = c->a->wire_in == MEMORY_PEER;
    const kv_copy_args args = args_of(s, c, piece);
    cudaError_t e = launch_kv_gather(&args, d->handoff);
    if (e == cudaSuccess && c->a->wire_in != MEMORY_DEVICE)
        e = cudaMemcpyAsync(far_end(s, c, piece), s->dev[side], bytes_of(c, piece),
                            peer ? cudaMemcpyDeviceToDevice : cudaMemcpyDeviceToHost, d->handoff);
    if (e == cudaSuccess) e = cudaEventRecord(s->moved[side], d->handoff);
    return gpu_ok(d, e, "kv_gather") ? ST_OK : ST_DEVICE;
}

/* Of the other kinds the bytes are on the wire when the stream gets to the sum. */
static status deliver_piece(device *d, const course *c, uint32_t piece) {
    if (c->a->wire_in != MEMORY_HOST) return ST_OK;
    kv_stage *s = d->stage;
    status st = gpu_wait_event(d, s->moved[piece % 2], "kv_gather");
    if (st == ST_OK) memcpy(wire_of(c, piece), s->pinned[piece % 2], bytes_of(c, piece));
    return st;
}

/* Puts the step that wrote the rows before what follows in the stream. One that has ended needs no wait, and
 * must have none: the step after the next records the same event again. (It may end, and that one begin,
 * between the look and the call; the gather then waits longer than it must, for rows that are there.) */
static bool await_step(device *d, const op_kv_copy *a) {
    if (a->step <= atomic_load_explicit(&d->step_ended, memory_order_acquire)) return true;
    cudaEvent_t event = gpu_layer_event(d, a->step, a->piece.layer_end - 1);
    return gpu_ok(d, cudaStreamWaitEvent(d->handoff, event, 0), "kv_gather");
}

status cuda_kv_gather(device *d, const op_kv_copy *a) {
    PRE(d);
    PRE(a);
    course c;
    status st = start(d, a, &c, "kv_gather");
    if (st != ST_OK) return st;
    if (!await_step(d, a)) return ST_DEVICE;
    for (uint32_t i = 0; st == ST_OK && i < c.piece_count; i++) {
        st = gather_piece(d, &c, i);
        if (st == ST_OK && i > 0) st = deliver_piece(d, &c, i - 1);
    }
    if (st == ST_OK) st = deliver_piece(d, &c, c.piece_count - 1);
    if (st == ST_OK) st = read_sum(d, a, "kv_gather");
    return st == ST_OK && a->damage_at ? damage(d, a) : st;
}

static status scatter_piece(device *d, const course *c, uint32_t piece) {
    kv_stage *s = d->stage;
    uint32_t side = piece % 2;
    const bool peer = c->a->wire_in == MEMORY_PEER;
    const kv_copy_args args = args_of(s, c, piece);
    cudaError_t e = cudaSuccess;
    if (c->a->wire_in == MEMORY_HOST) memcpy(s->pinned[side], wire_of(c, piece), bytes_of(c, piece));
    if (c->a->wire_in != MEMORY_DEVICE)
        e = cudaMemcpyAsync(s->dev[side], far_end(s, c, piece), bytes_of(c, piece),
                            peer ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice, d->handoff);
    if (e == cudaSuccess) e = launch_kv_scatter(&args, d->handoff);
    if (e == cudaSuccess) e = cudaEventRecord(s->moved[side], d->handoff);
    return gpu_ok(d, e, "kv_scatter") ? ST_OK : ST_DEVICE;
}

status cuda_kv_scatter(device *d, const op_kv_copy *a) {
    PRE(d);
    PRE(a);
    course c;
    status st = start(d, a, &c, "kv_scatter");
    for (uint32_t i = 0; st == ST_OK && i < c.piece_count; i++) {
        if (i >= 2 && a->wire_in == MEMORY_HOST)
            st = gpu_wait_event(d, d->stage->moved[i % 2], "kv_scatter"); /* its pinned half is free again */
        if (st == ST_OK) st = scatter_piece(d, &c, i);
    }
    return st == ST_OK ? read_sum(d, a, "kv_scatter") : st;
}

status kv_stage_warm(device *d, errbuf *eb) {
    PRE(d);
    PRE(d->stage);
    const uint32_t page = 0;
    uint64_t sum;
    op_kv_copy a = {.layout = &d->attention.layout,
                    .kv = d->attention.kv,
                    .pages = &page,
                    .piece = kv_piece_of(&d->attention.layout, 0, 1, 0, 1),
                    .checksum = &sum};
    a.wire = xmalloc(kv_piece_bytes(a.layout, &a.piece));
    status st = cuda_kv_gather(d, &a);
    if (st == ST_OK) st = cuda_kv_scatter(d, &a); /* the bytes that are there */
    free(a.wire);
    return st == ST_OK ? ST_OK : gpu_fault_text(d, eb);
}
