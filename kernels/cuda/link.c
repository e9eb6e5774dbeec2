#include "kernels/cuda/link.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "kernels/cuda/nccl.h"
#include "kernels/cuda/wait.h"

#include <assert.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GREETING_BYTES ((size_t)512) /* behind the memory; what is in it does not matter */
#define GIVE_SPIN_NS   (100 * 1000u) /* NCCL starts a thread that launches a kernel: mostly less */
#define CLOSE_WAIT_S   10u           /* a device waits for links that were given up */
#define ABORT_SLOW_S   5u            /* worth a line in the log */

static_assert(LINK_ID_BYTES == NCCL_ID_BYTES, "an id travels as it is");

struct links {
    pthread_mutex_t lock; /* of the library while it is opened */
    atomic_bool opened;
    nccl lib;               /* constant once it is opened */
    _Atomic uint32_t alive; /* links that are not gone */
};

typedef enum link_state { LINK_OPENING, LINK_GREETING, LINK_READY } link_state;

typedef struct link_op {
    void *at;
    size_t bytes;
} link_op;

struct gpu_link {
    device *d;
    const nccl *lib;
    link_options opt;
    link_state state;
    nccl_comm *comm; /* NULL: it was never there */
    cudaStream_t stream;
    char *memory; /* [opt.bytes + GREETING_BYTES] */
    /* Circles of `most`; numbers count from the first operation on, the greeting. */
    link_op *ops;
    cudaEvent_t *ended;
    uint32_t most;
    uint64_t begun, given, done;
    bool giving;    /* NCCL has not put `given` into the stream yet */
    status failure; /* of the communicator, which stays; ST_OK: none */
    errbuf why;
};

/* --- the library --- */

void links_new(device *d) {
    PRE(d);
    PRE(!d->links);
    d->links = xcalloc(1, sizeof *d->links);
    pthread_mutex_init(&d->links->lock, NULL);
}

bool links_free(device *d) {
    PRE(d);
    if (!d->links) return true;
    const uint64_t begin_ns = clock_now_ns();
    while (atomic_load(&d->links->alive)) {
        if (clock_now_ns() - begin_ns > CLOSE_WAIT_S * NS_PER_S) {
            log_warn("cuda", "NCCL does not give up a pair: the device is not closed", "pairs=%u",
                     atomic_load(&d->links->alive));
            return false;
        }
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    pthread_mutex_destroy(&d->links->lock);
    free(d->links);
    d->links = NULL;
    return true;
}

static status link_check(device *d, errbuf *eb) {
    PRE(d);
    links *all = d->links;
    status st = ST_OK;
    pthread_mutex_lock(&all->lock);
    if (!atomic_load(&all->opened)) {
        st = nccl_open(&all->lib, eb);
        atomic_store(&all->opened, st == ST_OK);
    }
    pthread_mutex_unlock(&all->lock);
    return st;
}

static const char *link_version(const device *d) {
    PRE(d);
    PRE(atomic_load(&d->links->opened));
    return d->links->lib.version;
}

/* "NCCL 2.28.9: ncclSend: unhandled system error: <the last that it wrote>" */
static status explain(const nccl *lib, nccl_comm *comm, nccl_result r, const char *what, errbuf *eb) {
    const char *last = lib->GetLastError(comm);
    bool more = last && *last;
    return errf(eb, ST_PEER, "NCCL %s: %s: %s%s%s", lib->version, what, lib->GetErrorString(r),
                more ? ": " : "", more ? last : "");
}

static status link_draw(device *d, unsigned char id[LINK_ID_BYTES], errbuf *eb) {
    PRE(d);
    PRE(id);
    PRE(atomic_load(&d->links->opened));
    const nccl *lib = &d->links->lib;
    nccl_id drawn;
    nccl_result r = lib->GetUniqueId(&drawn);
    if (r != NCCL_SUCCESS) return explain(lib, NULL, r, "drawing an id", eb);
    memcpy(id, drawn.bytes, LINK_ID_BYTES);
    return ST_OK;
}

/* --- the end --- */

/* Whether the GPU has left the stream, so that its memory may be freed. */
static bool idle(gpu_link *l) {
    if (!l->stream) return true;
    cudaError_t e = cudaEventRecord(l->ended[0], l->stream);
    return e == cudaSuccess && wait_event(l->ended[0], &e) == ST_OK;
}

static void give_back(gpu_link *l) {
    for (uint32_t i = 0; i < l->most; i++)
        if (l->ended[i]) (void)cudaEventDestroy(l->ended[i]);
    if (l->stream) (void)cudaStreamDestroy(l->stream);
    gpu_give_idle(l->d, l->memory, l->opt.bytes + GREETING_BYTES);
    free(l->ended);
    free(l->ops);
    _Atomic uint32_t *alive = &l->d->links->alive;
    free(l);
    atomic_fetch_sub(alive, 1); /* last: from here on the device may go */
}

static void *reap(void *link) {
    gpu_link *l = link;
    const uint64_t begin_ns = clock_now_ns();
    (void)cudaSetDevice(l->d->gpu); /* of this thread */
    if (l->comm) {
        nccl_result r = l->lib->CommAbort(l->comm);
        if (r != NCCL_SUCCESS)
            log_warn("cuda", "NCCL gave up a pair, and was not content", "cause=\"%s\"",
                     l->lib->GetErrorString(r));
    }
    bool free_it = !atomic_load(&l->d->fault.hung) && idle(l);
    (void)cudaGetLastError();
    uint64_t s = (clock_now_ns() - begin_ns) / NS_PER_S;
    if (s >= ABORT_SLOW_S) log_warn("cuda", "NCCL took long to give up a pair", "s=%" PRIu64, s);
    if (free_it || gpu_faulted(l->d)) {
        give_back(l);
        return NULL;
    }
    log_warn("cuda", "a pair's copies do not end: its memory is lost", "mib=%zu", l->opt.bytes >> 20);
    return NULL; /* and the device is never closed */
}

static void link_abort(gpu_link *l) {
    if (!l) return;
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, reap, l);
    if (rc == 0) {
        (void)pthread_detach(thread);
        return;
    }
    log_error("cuda", "no thread to give up a pair: its memory is lost", "cause=\"%s\"", strerror(rc));
}

/* --- the begin --- */

static status link_open(device *d, const link_options *o, gpu_link **out, errbuf *eb) {
    PRE(d);
    PRE(o);
    PRE(o->bytes > 0);
    PRE(o->most > 0);
    PRE(out);
    PRE(atomic_load(&d->links->opened));
    if (gpu_faulted(d)) return gpu_fault_text(d, eb);
    if (!gpu_ok(d, cudaSetDevice(d->gpu), "opening a pair"))
        return gpu_fault_text(d, eb); /* of this thread */
    gpu_link *l = xcalloc(1, sizeof *l);
    atomic_fetch_add(&d->links->alive, 1);
    *l = (gpu_link){.d = d, .lib = &d->links->lib, .opt = *o, .most = o->most + 1};
    l->ops = xcalloc(l->most, sizeof *l->ops);
    l->ended = xcalloc(l->most, sizeof(cudaEvent_t));
    int least = 0, most = 0;
    bool ok =
        gpu_ok(d, cudaDeviceGetStreamPriorityRange(&least, &most), "opening a pair") &&
        gpu_ok(d, cudaStreamCreateWithPriority(&l->stream, cudaStreamNonBlocking, most), "opening a pair");
    for (uint32_t i = 0; ok && i < l->most; i++)
        ok = gpu_ok(d, cudaEventCreateWithFlags(&l->ended[i], cudaEventDisableTiming), "opening a pair");
    status st = ok ? ST_OK : gpu_fault_text(d, eb);
    if (ok) l->memory = gpu_take_by(d, o->bytes + GREETING_BYTES, l->stream, l->ended[0]);
    if (ok && !l->memory)
        st = gpu_faulted(d) ? gpu_fault_text(d, eb)
                            : errf(eb, ST_NOMEM, "no GPU memory for a pair's %zu bytes", o->bytes);
    if (st != ST_OK) goto fail;

    nccl_config config = {.size = sizeof config,
                          .magic = NCCL_CONFIG_MAGIC,
                          .version = NCCL_VERSION_MIN,
                          .cga_cluster_size = NCCL_DEFAULT,
                          .min_ctas = o->ctas ? (int)o->ctas : NCCL_DEFAULT,
                          .max_ctas = o->ctas ? (int)o->ctas : NCCL_DEFAULT,
                          .split_share = NCCL_DEFAULT};
    nccl_id id;
    memcpy(id.bytes, o->id, NCCL_ID_BYTES);
    nccl_result r = l->lib->CommInitRankConfig(&l->comm, 2, id, (int)o->rank, &config);
    if (r != NCCL_SUCCESS && r != NCCL_IN_PROGRESS) {
        st = explain(l->lib, NULL, r, "opening a pair", eb);
        goto fail;
    }
    *out = l;
    return ST_OK;

fail:
    link_abort(l);
    return st;
}

/* --- moving on --- */

static status failed(gpu_link *l, nccl_result r, const char *what) {
    l->failure = explain(l->lib, l->comm, r, what, &l->why);
    /* If it is CUDA that is broken, and not the pair, it is broken for all. */
    cudaError_t e = cudaStreamQuery(l->stream);
    if (e != cudaErrorNotReady && !gpu_ok(l->d, e, what)) l->failure = gpu_fault_text(l->d, &l->why);
    (void)cudaGetLastError();
    return l->failure;
}

/* ST_AGAIN: NCCL is busy with the communicator, which takes no call. */
static status settled(gpu_link *l) {
    if (l->failure) return l->failure;
    nccl_result now = NCCL_SUCCESS;
    nccl_result r = l->lib->CommGetAsyncError(l->comm, &now);
    if (r != NCCL_SUCCESS) return failed(l, r, "asking for errors");
    if (now == NCCL_IN_PROGRESS) return ST_AGAIN;
    if (now == NCCL_SUCCESS) return ST_OK;
    return failed(l, now, l->state == LINK_OPENING ? "opening a pair" : "copying to or from the other end");
}

static status begin(gpu_link *l, size_t offset, size_t bytes) {
    CHECK(l->begun - l->done < l->most);
    l->ops[l->begun++ % l->most] = (link_op){l->memory + offset, bytes};
    return ST_OK;
}

static status give(gpu_link *l) {
    const link_op *op = &l->ops[l->given % l->most];
    bool sends = l->opt.rank == LINK_SENDER;
    nccl_result r = sends ? l->lib->Send(op->at, op->bytes, NCCL_BYTE, LINK_RECEIVER, l->comm, l->stream)
                          : l->lib->Recv(op->at, op->bytes, NCCL_BYTE, LINK_SENDER, l->comm, l->stream);
    if (r != NCCL_SUCCESS && r != NCCL_IN_PROGRESS) return failed(l, r, sends ? "sending" : "receiving");
    l->giving = true;
    return ST_OK;
}

/* As many as NCCL takes at once. */
static status give_all(gpu_link *l) {
    uint64_t since_ns = clock_now_ns();
    for (;;) {
        status st = settled(l);
        if (st == ST_AGAIN && l->giving && clock_now_ns() - since_ns < GIVE_SPIN_NS) {
            sched_yield();
            continue;
        }
        if (st != ST_OK) return st == ST_AGAIN ? ST_OK : st;
        if (l->giving) {
            cudaEvent_t ended = l->ended[l->given % l->most];
            if (!gpu_ok(l->d, cudaEventRecord(ended, l->stream), "copying to a peer")) return ST_DEVICE;
            l->given++;
            l->giving = false;
        }
        if (l->given == l->begun) return ST_OK;
        st = give(l);
        if (st != ST_OK) return st;
        since_ns = clock_now_ns();
    }
}

static status look(gpu_link *l) {
    for (; l->done < l->given; l->done++) {
        cudaError_t e = cudaEventQuery(l->ended[l->done % l->most]);
        if (e == cudaErrorNotReady) {
            (void)cudaGetLastError(); /* a launch must not find that something was not ready */
            return ST_OK;
        }
        if (!gpu_ok(l->d, e, "copying to a peer")) return ST_DEVICE;
    }
    return ST_OK;
}

static status move_on(gpu_link *l, errbuf *eb) {
    if (gpu_faulted(l->d)) return gpu_fault_text(l->d, eb);
    status st = gpu_ok(l->d, cudaSetDevice(l->d->gpu), "copying to a peer") ? give_all(l) : ST_DEVICE;
    if (st == ST_OK) st = look(l);
    if (st == ST_DEVICE) return gpu_fault_text(l->d, eb);
    return st == ST_OK ? ST_OK : errf(eb, st, "%s", l->why.text);
}

static status link_ready(gpu_link *l, errbuf *eb) {
    PRE(l);
    if (l->state == LINK_OPENING) {
        status st = settled(l);
        if (st != ST_OK) return st == ST_AGAIN ? st : errf(eb, st, "%s", l->why.text);
        (void)begin(l, l->opt.bytes, GREETING_BYTES);
        l->state = LINK_GREETING;
    }
    status st = move_on(l, eb);
    if (st != ST_OK) return st;
    if (l->done == 0) return ST_AGAIN;
    l->state = LINK_READY;
    return ST_OK;
}

static void *link_at(const gpu_link *l) {
    PRE(l);
    return l->memory;
}

static status link_copy(gpu_link *l, link_rank rank, size_t offset, size_t bytes, errbuf *eb) {
    PRE(l);
    PRE(l->state == LINK_READY);
    PRE(l->opt.rank == rank);
    PRE(bytes > 0);
    PRE(offset <= l->opt.bytes);
    PRE(bytes <= l->opt.bytes - offset);
    status st = look(l); /* makes room */
    if (st == ST_OK) st = begin(l, offset, bytes);
    return st == ST_OK ? move_on(l, eb) : gpu_fault_text(l->d, eb);
}

static status link_send(gpu_link *l, size_t offset, size_t bytes, errbuf *eb) {
    return link_copy(l, LINK_SENDER, offset, bytes, eb);
}

static status link_recv(gpu_link *l, size_t offset, size_t bytes, errbuf *eb) {
    return link_copy(l, LINK_RECEIVER, offset, bytes, eb);
}

static status link_progress(gpu_link *l, uint64_t *given, uint64_t *done, errbuf *eb) {
    PRE(l);
    PRE(l->state == LINK_READY);
    PRE(given);
    PRE(done);
    status st = move_on(l, eb);
    if (st != ST_OK) return st;
    *given = l->given - 1; /* but for the greeting */
    *done = l->done - 1;
    return ST_OK;
}

const link_ops cuda_link = {
    .check = link_check,
    .version = link_version,
    .draw = link_draw,
    .open = link_open,
    .ready = link_ready,
    .at = link_at,
    .send = link_send,
    .recv = link_recv,
    .progress = link_progress,
    .abort = link_abort,
};
