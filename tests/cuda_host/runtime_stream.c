/* runtime_stream - streams, events, captures and graphs of the emulated device.
 *
 * Work runs at once, on the thread that puts it into a stream, unless the stream is captured: then it is recorded with a
 * copy of its arguments and runs when the graph is launched. What the real runtime refuses during a capture is refused
 * with the same error and spoils the capture. Forks of a capture into other streams are not emulated. */
#include "runtime.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct CUgraphNode_st {
    emulation_kind kind;
    emulation_call *call;
    size_t bytes;
    alignas(16) char args[];
} graph_node;

typedef struct CUgraph_st {
    graph_node **nodes; /* [count] in the order of recording */
    size_t count, max;
} graph;

typedef struct CUgraphExec_st {
    graph *graph; /* its own copy */
} graph_exec;

typedef struct CUstream_st {
    enum cudaStreamCaptureStatus status;
    enum cudaStreamCaptureMode mode;
    pthread_t thread; /* that began the capture */
    graph *graph;     /* being recorded */
    struct CUstream_st *next;
} stream;

typedef struct CUevent_st {
    bool recorded, captured; /* captured: last recorded in a stream while it was captured */
    bool timed;
    struct timespec at;
} event;

/* The streams that are being captured, under the mutex. */
static struct captures {
    pthread_mutex_t mutex;
    stream *first;
} captures = {.mutex = PTHREAD_MUTEX_INITIALIZER};

cudaError_t runtime_unsafe(cudaError_t error) {
    bool bad = false;
    pthread_mutex_lock(&captures.mutex);
    for (stream *s = captures.first; s; s = s->next) {
        bool own = pthread_equal(s->thread, pthread_self());
        if (s->mode == cudaStreamCaptureModeGlobal || (s->mode == cudaStreamCaptureModeThreadLocal && own)) {
            s->status = cudaStreamCaptureStatusInvalidated;
            bad = true;
        }
    }
    pthread_mutex_unlock(&captures.mutex);
    return runtime_result(bad ? error : cudaSuccess);
}

static enum cudaStreamCaptureStatus status_of(stream *s) {
    if (!s) return cudaStreamCaptureStatusNone;
    pthread_mutex_lock(&captures.mutex);
    enum cudaStreamCaptureStatus status = s->status;
    pthread_mutex_unlock(&captures.mutex);
    return status;
}

/* Spoils the capture of s. */
static cudaError_t invalidate(stream *s, cudaError_t error) {
    pthread_mutex_lock(&captures.mutex);
    s->status = cudaStreamCaptureStatusInvalidated;
    pthread_mutex_unlock(&captures.mutex);
    return runtime_result(error);
}

/* A call on s that a capture of s does not allow. */
static cudaError_t forbid_captured(stream *s) {
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    return status_of(s) == cudaStreamCaptureStatusNone ? cudaSuccess : invalidate(s, cudaErrorStreamCaptureUnsupported);
}

/* --- work --- */

static void graph_add(graph *g, emulation_kind kind, emulation_call *call, const void *args, size_t bytes) {
    graph_node *n = malloc(sizeof *n + bytes);
    if (g->count == g->max) {
        g->max = g->max ? 2 * g->max : 16;
        g->nodes = realloc(g->nodes, g->max * sizeof(graph_node *));
    }
    if (!n || !g->nodes) abort();
    n->kind = kind;
    n->call = call;
    n->bytes = bytes;
    if (bytes > 0) memcpy(n->args, args, bytes);
    g->nodes[g->count++] = n;
}

static void run_work(emulation_kind kind, emulation_call *call, void *args) {
    if (kind == EMULATION_KERNEL ? runtime_kernel_runs() : runtime_fault() == cudaSuccess) call(args);
}

cudaError_t emulation_enqueue(cudaStream_t s, emulation_kind kind, emulation_call *call, const void *args,
                              size_t bytes) {
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    switch (status_of(s)) {
    case cudaStreamCaptureStatusNone: run_work(kind, call, (void *)args); return cudaSuccess;
    case cudaStreamCaptureStatusActive: graph_add(s->graph, kind, call, args, bytes); return cudaSuccess;
    case cudaStreamCaptureStatusInvalidated: return runtime_result(cudaErrorStreamCaptureInvalidated);
    }
    return cudaErrorUnknown;
}

typedef struct copy_args {
    void *to;
    const void *from; /* NULL: fills with value */
    int value;
    size_t bytes;
} copy_args;

static void run_copy(void *args) {
    const copy_args *c = args;
    if (c->from)
        memmove(c->to, c->from, c->bytes);
    else
        memset(c->to, c->value, c->bytes);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t s) {
    if (bytes == 0) return runtime_fault();
    if (!runtime_copy_fits(to, from, bytes, kind)) return runtime_result(cudaErrorInvalidValue);
    copy_args c = {.to = to, .from = from, .bytes = bytes};
    return emulation_enqueue(s, EMULATION_COPY, run_copy, &c, sizeof c);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    cudaError_t e = runtime_unsafe(cudaErrorStreamCaptureImplicit);
    return e == cudaSuccess ? cudaMemcpyAsync(to, from, bytes, kind, NULL) : e;
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t s) {
    if (bytes == 0) return runtime_fault();
    if (!runtime_is_device(p, bytes)) return runtime_result(cudaErrorInvalidValue);
    copy_args c = {.to = p, .value = value, .bytes = bytes};
    return emulation_enqueue(s, EMULATION_COPY, run_copy, &c, sizeof c);
}

cudaError_t cudaMemset(void *p, int value, size_t bytes) {
    cudaError_t e = runtime_unsafe(cudaErrorStreamCaptureImplicit);
    return e == cudaSuccess ? cudaMemsetAsync(p, value, bytes, NULL) : e;
}

typedef struct host_args {
    cudaHostFn_t fn;
    void *data;
} host_args;

static void run_host(void *args) {
    const host_args *h = args;
    h->fn(h->data);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t s, cudaHostFn_t fn, void *data) {
    host_args h = {fn, data};
    return emulation_enqueue(s, EMULATION_HOST, run_host, &h, sizeof h);
}

/* --- streams --- */

cudaError_t cudaStreamCreate(cudaStream_t *out) {
    return cudaStreamCreateWithPriority(out, cudaStreamDefault, 0);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags) {
    return cudaStreamCreateWithPriority(out, flags, 0);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out, unsigned flags, int priority) {
    (void)priority;
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    if (flags > cudaStreamNonBlocking) return runtime_result(cudaErrorInvalidValue);
    stream *s = calloc(1, sizeof *s);
    if (!s) return runtime_result(cudaErrorMemoryAllocation);
    *out = s;
    return cudaSuccess;
}

/* Takes s out of the list of captures; returns what it recorded. */
static graph *capture_stop(stream *s) {
    pthread_mutex_lock(&captures.mutex);
    for (stream **at = &captures.first; *at; at = &(*at)->next)
        if (*at == s) {
            *at = s->next;
            break;
        }
    graph *g = s->graph;
    s->graph = NULL;
    s->status = cudaStreamCaptureStatusNone;
    pthread_mutex_unlock(&captures.mutex);
    return g;
}

cudaError_t cudaStreamDestroy(cudaStream_t s) {
    if (!s) return runtime_result(cudaErrorInvalidResourceHandle);
    cudaGraphDestroy(capture_stop(s));
    free(s);
    return runtime_fault();
}

cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    return forbid_captured(s);
}

cudaError_t cudaStreamQuery(cudaStream_t s) {
    return forbid_captured(s);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t ev, unsigned flags) {
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    if (!ev || flags != 0) return runtime_result(ev ? cudaErrorInvalidValue : cudaErrorInvalidResourceHandle);
    enum cudaStreamCaptureStatus status = status_of(s);
    if (status == cudaStreamCaptureStatusInvalidated) return runtime_result(cudaErrorStreamCaptureInvalidated);
    if (status == cudaStreamCaptureStatusActive && !ev->captured) return invalidate(s, cudaErrorStreamCaptureIsolation);
    if (status == cudaStreamCaptureStatusNone && ev->captured) return runtime_result(cudaErrorNotSupported);
    return cudaSuccess; /* what the event waits for has run, or is recorded before what follows */
}

/* --- events --- */

cudaError_t cudaEventCreate(cudaEvent_t *out) {
    return cudaEventCreateWithFlags(out, cudaEventDefault);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags) {
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    event *ev = calloc(1, sizeof *ev);
    if (!ev) return runtime_result(cudaErrorMemoryAllocation);
    ev->timed = !(flags & cudaEventDisableTiming);
    *out = ev;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t ev, cudaStream_t s) {
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    if (!ev) return runtime_result(cudaErrorInvalidResourceHandle);
    enum cudaStreamCaptureStatus status = status_of(s);
    if (status == cudaStreamCaptureStatusInvalidated) return runtime_result(cudaErrorStreamCaptureInvalidated);
    ev->recorded = true;
    ev->captured = status == cudaStreamCaptureStatusActive;
    if (ev->timed) clock_gettime(CLOCK_MONOTONIC, &ev->at);
    return cudaSuccess;
}

static cudaError_t event_done(cudaEvent_t ev) {
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    if (!ev) return runtime_result(cudaErrorInvalidResourceHandle);
    return runtime_result(ev->captured ? cudaErrorCapturedEvent : cudaSuccess);
}

cudaError_t cudaEventSynchronize(cudaEvent_t ev) {
    return event_done(ev);
}

cudaError_t cudaEventQuery(cudaEvent_t ev) {
    return event_done(ev);
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t begin, cudaEvent_t end) {
    cudaError_t e = event_done(begin);
    if (e == cudaSuccess) e = event_done(end);
    if (e != cudaSuccess) return e;
    if (!begin->recorded || !end->recorded || !begin->timed || !end->timed)
        return runtime_result(cudaErrorInvalidResourceHandle);
    *ms = (float)((double)(end->at.tv_sec - begin->at.tv_sec) * 1e3 +
                  (double)(end->at.tv_nsec - begin->at.tv_nsec) * 1e-6);
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t ev) {
    if (!ev) return runtime_result(cudaErrorInvalidResourceHandle);
    free(ev);
    return runtime_fault();
}

/* --- graphs --- */

cudaError_t cudaStreamBeginCapture(cudaStream_t s, enum cudaStreamCaptureMode mode) {
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    if (!s) return runtime_result(cudaErrorStreamCaptureUnsupported); /* the legacy stream */
    if (status_of(s) != cudaStreamCaptureStatusNone) return runtime_result(cudaErrorInvalidValue);
    graph *g = calloc(1, sizeof *g);
    if (!g) return runtime_result(cudaErrorMemoryAllocation);
    pthread_mutex_lock(&captures.mutex);
    s->status = cudaStreamCaptureStatusActive;
    s->mode = mode;
    s->thread = pthread_self();
    s->graph = g;
    s->next = captures.first;
    captures.first = s;
    pthread_mutex_unlock(&captures.mutex);
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *out) {
    *out = NULL;
    cudaError_t e = runtime_fault();
    enum cudaStreamCaptureStatus status = status_of(s);
    if (status == cudaStreamCaptureStatusNone) return e == cudaSuccess ? runtime_result(cudaErrorInvalidValue) : e;
    if (s->mode != cudaStreamCaptureModeRelaxed && !pthread_equal(s->thread, pthread_self()))
        return invalidate(s, cudaErrorStreamCaptureWrongThread);
    graph *g = capture_stop(s);
    if (e == cudaSuccess && status == cudaStreamCaptureStatusInvalidated) e = cudaErrorStreamCaptureInvalidated;
    if (e != cudaSuccess) {
        cudaGraphDestroy(g);
        return runtime_result(e);
    }
    *out = g;
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t s, enum cudaStreamCaptureStatus *status) {
    cudaError_t e = runtime_fault();
    if (e == cudaSuccess) *status = status_of(s);
    return e;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t g, unsigned long long flags) {
    (void)flags;
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    if (!g) return runtime_result(cudaErrorInvalidValue);
    graph_exec *x = calloc(1, sizeof *x);
    graph *copy = calloc(1, sizeof *copy);
    if (!x || !copy) abort();
    for (size_t i = 0; i < g->count; i++)
        graph_add(copy, g->nodes[i]->kind, g->nodes[i]->call, g->nodes[i]->args, g->nodes[i]->bytes);
    x->graph = copy;
    *out = x;
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t x, cudaStream_t s) {
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    if (!x) return runtime_result(cudaErrorInvalidValue);
    if (status_of(s) != cudaStreamCaptureStatusNone) return invalidate(s, cudaErrorNotSupported);
    for (size_t i = 0; i < x->graph->count; i++)
        run_work(x->graph->nodes[i]->kind, x->graph->nodes[i]->call, x->graph->nodes[i]->args);
    return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t x, cudaStream_t s) {
    cudaError_t e = forbid_captured(s);
    return e == cudaSuccess && !x ? runtime_result(cudaErrorInvalidValue) : e;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t g, cudaGraphNode_t *nodes, size_t *count) {
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    if (!g || !count) return runtime_result(cudaErrorInvalidValue);
    if (nodes) {
        for (size_t i = 0; i < *count; i++) nodes[i] = i < g->count ? g->nodes[i] : NULL;
        if (*count > g->count) *count = g->count;
    } else {
        *count = g->count;
    }
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t g) {
    if (!g) return cudaSuccess;
    for (size_t i = 0; i < g->count; i++) free(g->nodes[i]);
    free(g->nodes);
    free(g);
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t x) {
    if (!x) return cudaSuccess;
    cudaGraphDestroy(x->graph);
    free(x);
    return cudaSuccess;
}
