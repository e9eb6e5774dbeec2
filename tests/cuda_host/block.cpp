/* block - runs the threads of a block, or of the blocks of a cluster, as fibers, warp by warp.
 *
 * The lanes of a warp run one after another, each until it meets the others in a barrier or warp function;
 * the last one to come has warp_compute do the work of all, and the first goes on. A warp runs until all its
 * threads are in a barrier or have returned; then the next one does. When no warp of a block can run,
 * block_sync ends for all of that block, which thus runs on to its next cluster_sync before the blocks after
 * it begin; when no block can run, cluster_sync ends for all. A switch goes straight from thread to thread;
 * the OS thread's own stack comes back only at the end of a cluster.
 *
 * BATON_EMU_ORDER permutes lanes within their warp, warps within their cluster and clusters within their
 * grid;
 * with `random` a warp may also lose its turn at every warp function. What depends on an order that nothing
 * enforces then differs.
 *
 * Everything is of one OS thread (crew), kept for its next launch, and freed when the OS thread ends. */
#include "base/mix.h"
#include "fiber.h"
#include "warp.h"

#include <stdio.h>
#include <stdlib.h>

#define THREADS_MAX  1024u
#define TEAM_MAX     (CLUSTER_BLOCKS * THREADS_MAX)
#define WARPS_MAX    (TEAM_MAX / 32)
#define SHARED_MAX   ((size_t)227 << 10)
#define CANARY_BYTES ((size_t)256) /* behind shared memory, where AddressSanitizer does not watch it */

struct async_copy {
    char *to;
    const char *from; /* NULL: zeros */
    unsigned group;
};

struct worker { /* one thread of a block */
    cuda_host_thread self;
    fiber f;
    unsigned number; /* of the thread in its cluster */
    unsigned place;  /* in the order of its warp */
    cuda_host_kind kind;
    void *operands;
    const char *file;
    int line;
    async_copy *copies; /* that copy_wait has not made */
    unsigned copy_count, copy_max;
    unsigned groups; /* committed */
};

enum warp_state { WARP_RUNS, WARP_IN_BARRIER, WARP_IN_CLUSTER, WARP_RETURNED };
struct warp_members {
    worker *lanes[32];
    uint8_t order[32]; /* lane at each place */
    uint32_t live;     /* bit p: the lane at place p has not returned */
    warp_state state;
};

enum crew_order { ORDER_FORWARD, ORDER_REVERSE, ORDER_RANDOM };
struct crew {
    fiber main;
    worker *workers[TEAM_MAX]; /* as many as were ever needed */
    unsigned worker_count;
    warp_members warps[WARPS_MAX];
    uint8_t order[WARPS_MAX]; /* warp at each place */
    unsigned warp_count, running;
    cuda_host_block blocks[CLUSTER_BLOCKS];
    const cuda_host_launch *launch;
    void (*body)(const void *kernel);
    const void *kernel;
    crew_order how;
    uint64_t random;
    bool ends;
    ~crew();
};

__thread cuda_host_thread *cuda_host_now;
static thread_local crew *crew_now;
static thread_local struct crew_owner {
    crew *c = NULL;
    ~crew_owner() {
        crew_now = c;
        delete c;
        crew_now = NULL;
    }
} owner;

static worker *now() {
    return reinterpret_cast<worker *>(cuda_host_now);
}

static unsigned warps_per_block(const crew *c) {
    return c->launch->threads / 32;
}

/* --- messages --- */

static void explain(const char *file, int line) {
    const crew *c = crew_now;
    const worker *w = now();
    const cuda_host_block *b = w->self.block;
    fprintf(
        stderr,
        "cuda emulation: kernel launched at %s:%d with %u threads, block (%u, %u, %u), thread %u, at %s:%d: ",
        c->launch->grid.file, c->launch->grid.line, b->threads.x, b->index.x, b->index.y, b->index.z,
        w->self.index.x, file, line);
}

void cuda_host_fail(const char *file, int line, const char *what, const void *p) {
    explain(file, line);
    const cuda_host_block *b = now()->self.block;
    fprintf(stderr, "%s (%p; shared memory is %zu bytes at %p)\n", what, p, b->shared_bytes,
            (void *)b->shared);
    abort();
}

/* Threads a and b of one warp, or of one block in different barriers, do not do the same. */
[[noreturn]] static void fail_apart(const worker *a, const worker *b) {
    explain(a->file, a->line);
    fprintf(stderr, "the %s went apart: thread %u is in %s (%s:%d), thread %u in %s (%s:%d)\n",
            a->number / 32 == b->number / 32 ? "lanes of a warp" : "warps of a block", a->self.index.x,
            warp_kind_name(a->kind), a->file, a->line, b->self.index.x, warp_kind_name(b->kind), b->file,
            b->line);
    abort();
}

/* --- orders --- */

static uint64_t draw(crew *c) {
    return mix64(c->random += MIX64_STEP);
}

static void put_in_order(crew *c, uint8_t *order, unsigned count) {
    for (unsigned i = 0; i < count; i++) order[i] = (uint8_t)(c->how == ORDER_REVERSE ? count - 1 - i : i);
    if (c->how != ORDER_RANDOM) return;
    for (unsigned i = count - 1; i > 0; i--) {
        unsigned j = (unsigned)(draw(c) % (i + 1));
        uint8_t x = order[i];
        order[i] = order[j];
        order[j] = x;
    }
}

static void read_order(crew *c) {
    const char *how = getenv("BATON_EMU_ORDER");
    c->how = ORDER_FORWARD;
    if (!how || strcmp(how, "forward") == 0) return;
    if (strcmp(how, "reverse") == 0) {
        c->how = ORDER_REVERSE;
    } else if (strncmp(how, "random:", 7) == 0) {
        c->how = ORDER_RANDOM;
        c->random = strtoull(how + 7, NULL, 10);
    } else {
        fprintf(stderr, "cuda emulation: BATON_EMU_ORDER is '%s': want forward, reverse or random:SEED\n",
                how);
        abort();
    }
}

static uint64_t common_divisor(uint64_t a, uint64_t b) {
    while (b) {
        uint64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

/* --- who runs next --- */

static worker *first_of(const warp_members *w) {
    return w->lanes[w->order[__builtin_ctz(w->live)]];
}

/* Ends block_sync for the block of these warps when all that have not returned are in it. */
static void end_block_sync(warp_members *warps, unsigned count) {
    const warp_members *in_block = NULL, *in_cluster = NULL;
    for (unsigned i = 0; i < count; i++) {
        if (warps[i].state == WARP_RUNS) return;
        if (warps[i].state == WARP_IN_BARRIER) in_block = &warps[i];
        if (warps[i].state == WARP_IN_CLUSTER) in_cluster = &warps[i];
    }
    if (in_block && in_cluster) fail_apart(first_of(in_block), first_of(in_cluster));
    for (unsigned i = 0; in_block && i < count; i++)
        if (warps[i].state == WARP_IN_BARRIER) warps[i].state = WARP_RUNS;
}

/* The warp that runs has nothing to do: the first thread of another, or NULL when the cluster is done. */
static worker *next_warp(crew *c) {
    uint8_t can[WARPS_MAX];
    unsigned count = 0, per_block = warps_per_block(c);
    for (int again = 0; again < 2; again++) {
        for (unsigned i = 0; i < c->warp_count; i += per_block) end_block_sync(c->warps + i, per_block);
        for (unsigned i = 0; i < c->warp_count; i++)
            if (c->warps[c->order[i]].state == WARP_RUNS) can[count++] = c->order[i];
        if (count > 0) {
            c->running = can[c->how == ORDER_RANDOM ? draw(c) % count : 0];
            return first_of(&c->warps[c->running]);
        }
        /* All that have not returned are in cluster_sync. */
        for (unsigned i = 0; i < c->warp_count; i++)
            if (c->warps[i].state == WARP_IN_CLUSTER) c->warps[i].state = WARP_RUNS;
    }
    return NULL;
}

const void *cuda_host_peer(const void *shared, unsigned rank, const char *file, int line) {
    const crew *c = crew_now;
    if (rank >= c->launch->cluster)
        cuda_host_fail(file, line, "load16_peer: the cluster has no such block", shared);
    const warp_members *warps = c->warps + rank * warps_per_block(c);
    bool lives = false;
    for (unsigned i = 0; i < warps_per_block(c); i++) lives = lives || warps[i].state != WARP_RETURNED;
    if (!lives) cuda_host_fail(file, line, "load16_peer: that block has ended", shared);
    return c->blocks[rank].shared + (static_cast<const char *>(shared) - now()->self.block->shared);
}

/* The eight rows of a matrix are read at once, from 32 banks of 4 bytes: two that lie in the same banks would
 * take turns. */
static void check_banks(const worker *first, void *const operands[32]) {
    for (unsigned matrix = 0; matrix < 4; matrix++) {
        uintptr_t rows[8] = {}; /* by the eighth of the banks that they lie in */
        for (unsigned i = 0; i < 8; i++) {
            const void *row = static_cast<const cuda_host_rows *>(operands[8 * matrix + i])->row;
            uintptr_t at = (uintptr_t)row - (uintptr_t)first->self.block->shared + 1,
                      *other = &rows[(at - 1) / 16 % 8];
            if (*other && *other != at)
                cuda_host_fail(first->file, first->line,
                               "load_matrix: two rows of a matrix lie in the same banks", row);
            *other = at;
        }
    }
}

/* Every live lane of w has come to something: does it. */
static worker *complete(crew *c, warp_members *w) {
    if (!w->live) {
        w->state = WARP_RETURNED;
        return next_warp(c);
    }
    void *operands[32];
    worker *first = first_of(w);
    for (unsigned l = 0; l < 32; l++) {
        const worker *m = w->lanes[l];
        operands[l] = m->operands;
        bool same = m->kind == first->kind && m->line == first->line;
        bool barrier = first->kind == CUDA_HOST_BLOCK_SYNC || first->kind == CUDA_HOST_CLUSTER_SYNC;
        if (!same && !(barrier && (m->kind == first->kind || m->kind == CUDA_HOST_RETURN)))
            fail_apart(first, m);
    }
    if (first->kind == CUDA_HOST_BLOCK_SYNC || first->kind == CUDA_HOST_CLUSTER_SYNC) {
        w->state = first->kind == CUDA_HOST_BLOCK_SYNC ? WARP_IN_BARRIER : WARP_IN_CLUSTER;
        return next_warp(c);
    }
    if (first->kind == CUDA_HOST_LOAD_MATRIX || first->kind == CUDA_HOST_LOAD_MATRIX_TRANS)
        check_banks(first, operands);
    warp_compute(first->kind, operands);
    return c->how == ORDER_RANDOM && draw(c) % 8 == 0 ? next_warp(c) : first;
}

void cuda_host_meet(cuda_host_kind kind, void *operands, const char *file, int line) {
    worker *me = now();
    me->kind = kind;
    me->operands = operands;
    me->file = file;
    me->line = line;
    crew *c = crew_now;
    warp_members *w = &c->warps[me->number / 32];
    if (kind == CUDA_HOST_RETURN) w->live &= ~(1u << me->place);
    uint32_t later = w->live & ~((2u << me->place) - 1);
    worker *next = later ? w->lanes[w->order[__builtin_ctz(later)]] : complete(c, w);
    if (next == me) return;
    cuda_host_now = next ? &next->self : NULL;
    fiber_switch(&me->f, next ? &next->f : &c->main);
}

/* A worker's life: one round for each block that it is in. */
static void work() {
    for (;;) {
        crew *c = crew_now;
        worker *me = now();
        if (c->ends) fiber_leave(&me->f, &c->main);
        c->body(c->kernel);
        if (!me->self.waited) cuda_host_fail("its end", 0, "a linked kernel ended without pdl_wait", NULL);
        me->copy_count = 0; /* those that were not waited for: nobody may see them */
        cuda_host_meet(CUDA_HOST_RETURN, NULL, "its end", 0);
    }
}

/* --- asynchronous copies --- */

void cuda_host_copy16(void *shared, const void *global, bool valid, const char *file, int line) {
    worker *w = now();
    if (valid) cuda_host_touch(global, file, line);
    if ((uintptr_t)shared % 16)
        cuda_host_fail(file, line, "copy16_async: the target is not 16-byte aligned", shared);
    if (!cuda_host_shared(shared, 16))
        cuda_host_fail(file, line, "copy16_async: the target is not in shared memory", shared);
    if (valid && (uintptr_t)global % 16)
        cuda_host_fail(file, line, "copy16_async: the source is not 16-byte aligned", global);
    if (valid && cuda_host_shared(global, 1))
        cuda_host_fail(file, line, "copy16_async: the source is in shared memory", global);
    memset(shared, 0xff, 16);
    if (w->copy_count == w->copy_max) {
        w->copy_max = w->copy_max ? 2 * w->copy_max : 32;
        w->copies = static_cast<async_copy *>(realloc(w->copies, w->copy_max * sizeof *w->copies));
        if (!w->copies) abort();
    }
    w->copies[w->copy_count++] = {static_cast<char *>(shared),
                                  valid ? static_cast<const char *>(global) : NULL, w->groups};
}

void cuda_host_copy_commit() {
    now()->groups++;
}

void cuda_host_copy_wait(unsigned left) {
    worker *w = now();
    unsigned end = w->groups > left ? w->groups - left : 0, done = 0;
    for (; done < w->copy_count && w->copies[done].group < end; done++) {
        const async_copy *a = &w->copies[done];
        if (a->from)
            memcpy(a->to, a->from, 16);
        else
            memset(a->to, 0, 16);
    }
    if (done == 0) return;
    memmove(w->copies, w->copies + done, (w->copy_count - done) * sizeof *w->copies);
    w->copy_count -= done;
}

/* --- launches --- */

crew::~crew() {
    ends = true;
    for (unsigned i = 0; i < worker_count; i++) {
        cuda_host_now = &workers[i]->self;
        fiber_switch(&main, &workers[i]->f);
        fiber_done(&workers[i]->f);
        free(workers[i]->copies);
        delete workers[i];
    }
    cuda_host_now = NULL;
}

static void hire(crew *c, unsigned count) {
    for (; c->worker_count < count; c->worker_count++) {
        unsigned n = c->worker_count;
        worker *w = new worker();
        w->self.lane = n % 32;
        w->number = n;
        if (!fiber_new(&w->f, work, n)) {
            fprintf(stderr, "cuda emulation: no memory for the stack of thread %u\n", n);
            abort();
        }
        c->workers[n] = w;
        c->warps[n / 32].lanes[n % 32] = w;
    }
}

static void start_cluster(crew *c) {
    for (unsigned i = 0; i < c->warp_count; i++) {
        warp_members *w = &c->warps[i];
        put_in_order(c, w->order, 32);
        w->live = 0xffffffffu;
        w->state = WARP_RUNS;
        for (unsigned p = 0; p < 32; p++) w->lanes[w->order[p]]->place = p;
    }
    put_in_order(c, c->order, c->warp_count);
    for (unsigned i = 0; i < 32 * c->warp_count; i++) {
        c->workers[i]->groups = 0;
        c->workers[i]->self.waited = !c->launch->linked;
    }
    worker *first = next_warp(c);
    cuda_host_now = &first->self;
    fiber_switch(&c->main, &first->f);
}

static void check_canary(const crew *c, const cuda_host_block *b) {
    const char *end = b->shared + b->shared_bytes;
    for (size_t i = 0; i < CANARY_BYTES; i++)
        if (end[i] != (char)0xa5) {
            fprintf(stderr,
                    "cuda emulation: kernel launched at %s:%d, block (%u, %u, %u): wrote byte %zu of %zu "
                    "bytes of shared "
                    "memory\n",
                    c->launch->grid.file, c->launch->grid.line, b->index.x, b->index.y, b->index.z,
                    b->shared_bytes + i, b->shared_bytes);
            abort();
        }
}

static void run_clusters(crew *c, const cuda_host_launch *l, size_t canary) {
    uint64_t x = l->grid.grid.x / l->cluster, y = l->grid.grid.y; /* clusters */
    uint64_t count = x * y * l->grid.grid.z, stride = 1, begin = 0;
    if (c->how == ORDER_REVERSE) {
        stride = count - 1 ? count - 1 : 1;
        begin = count - 1;
    } else if (c->how == ORDER_RANDOM) {
        begin = draw(c) % count;
        do stride = draw(c) % 0xffffffffu + 1;
        while (common_divisor(stride, count) != 1);
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t b = (begin + i % count * (stride % count)) % count;
        for (unsigned r = 0; r < l->cluster; r++) {
            c->blocks[r].index = {(unsigned)(b % x) * l->cluster + r, (unsigned)(b / x % y),
                                  (unsigned)(b / x / y)};
            memset(c->blocks[r].shared, 0xff, l->shared_bytes);
        }
        start_cluster(c);
        for (unsigned r = 0; canary && r < l->cluster; r++) check_canary(c, &c->blocks[r]);
    }
}

cudaError_t cuda_host_check(const cuda_host_launch *l) {
    dim3 g = l->grid.grid;
    if (g.x == 0 || g.y == 0 || g.z == 0 || l->threads == 0 || l->threads > THREADS_MAX)
        return cudaErrorInvalidConfiguration;
    if (g.x > 0x7fffffffu || g.y > 65535 || g.z > 65535) return cudaErrorInvalidConfiguration;
    if (l->shared_bytes > SHARED_MAX) return cudaErrorInvalidValue;
    if (l->cluster == 0 || l->cluster > CLUSTER_BLOCKS || g.x % l->cluster)
        return cudaErrorInvalidClusterSize;
    int major = 0;
    if (l->cluster > 1 &&
        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0) == cudaSuccess && major < 9)
        return cudaErrorInvalidClusterSize;
    if (l->threads % 32) {
        fprintf(stderr, "cuda emulation: kernel launched at %s:%d: %u threads are not a multiple of 32\n",
                l->grid.file, l->grid.line, l->threads);
        abort();
    }
    return cudaSuccess;
}

/* Block `rank` of the launch's clusters: its shared memory, and its threads. */
static void make_block(crew *c, unsigned rank, size_t canary) {
    const cuda_host_launch *l = c->launch;
    void *shared = NULL;
    if (posix_memalign(&shared, 128, l->shared_bytes + canary) != 0) abort();
    memset(static_cast<char *>(shared) + l->shared_bytes, 0xa5, canary);
    cuda_host_block *b = &c->blocks[rank];
    *b = {{0, 0, 0}, rank, dim3(l->threads), l->grid.grid, static_cast<char *>(shared), l->shared_bytes};
    for (unsigned t = 0; t < l->threads; t++) {
        cuda_host_thread *self = &c->workers[rank * l->threads + t]->self;
        self->index = {t, 0, 0};
        self->block = b;
    }
}

void cuda_host_run(const cuda_host_launch *l, void (*body)(const void *kernel), const void *kernel) {
    if (!owner.c) owner.c = new crew();
    crew *c = crew_now = owner.c;
    fiber_of_thread(&c->main);
    hire(c, l->cluster * l->threads);
    read_order(c);
    c->launch = l;
    c->body = body;
    c->kernel = kernel;
    c->warp_count = l->cluster * l->threads / 32;
#if defined(__SANITIZE_ADDRESS__)
    size_t canary = 0;
#else
    size_t canary = CANARY_BYTES;
#endif
    for (unsigned r = 0; r < l->cluster; r++) make_block(c, r, canary);
    run_clusters(c, l, canary);
    for (unsigned r = 0; r < l->cluster; r++) free(c->blocks[r].shared);
    c->launch = NULL;
}
