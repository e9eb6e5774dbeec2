/* runtime_graph - captures and graphs of the emulated device.
 *
 * A stream that is captured records work with a copy of its arguments; nothing runs until the graph is
 * launched, and then in the order of recording. What the real runtime refuses during a capture is refused
 * with the same error and spoils the capture. Forks of a capture into other streams are not emulated. */
#include "runtime_stream.h"

#include <stdlib.h>

struct CUgraph_st {
    work_list nodes;
};
struct CUgraphExec_st {
    work_list nodes; /* its own copy */
};

cudaError_t runtime_unsafe(cudaError_t error) {
    bool bad = false;
    pthread_mutex_lock(&streams_mutex);
    for (stream *s = streams_first(); s; s = s->next) {
        if (s->status == cudaStreamCaptureStatusNone) continue;
        bool own = pthread_equal(s->thread, pthread_self());
        if (s->mode == cudaStreamCaptureModeGlobal || (s->mode == cudaStreamCaptureModeThreadLocal && own)) {
            s->status = cudaStreamCaptureStatusInvalidated;
            bad = true;
        }
    }
    pthread_mutex_unlock(&streams_mutex);
    return runtime_result(bad ? error : cudaSuccess);
}

enum cudaStreamCaptureStatus stream_status(stream *s) {
    if (!s) return cudaStreamCaptureStatusNone;
    pthread_mutex_lock(&streams_mutex);
    enum cudaStreamCaptureStatus status = s->status;
    pthread_mutex_unlock(&streams_mutex);
    return status;
}

cudaError_t stream_spoil(stream *s, cudaError_t error) {
    pthread_mutex_lock(&streams_mutex);
    s->status = cudaStreamCaptureStatusInvalidated;
    pthread_mutex_unlock(&streams_mutex);
    return runtime_result(error);
}

cudaError_t stream_free_of_capture(stream *s) {
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    if (stream_status(s) == cudaStreamCaptureStatusNone) return cudaSuccess;
    return stream_spoil(s, cudaErrorStreamCaptureUnsupported);
}

/* --- captures --- */

cudaError_t cudaStreamBeginCapture(cudaStream_t s, enum cudaStreamCaptureMode mode) {
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    if (!s) return runtime_result(cudaErrorStreamCaptureUnsupported); /* the legacy stream */
    if (stream_status(s) != cudaStreamCaptureStatusNone) return runtime_result(cudaErrorInvalidValue);
    pthread_mutex_lock(&streams_mutex);
    s->mode = mode;
    s->thread = pthread_self();
    s->recorded = (work_list){0};
    s->status = cudaStreamCaptureStatusActive;
    pthread_mutex_unlock(&streams_mutex);
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *out) {
    *out = NULL;
    cudaError_t e = runtime_fault();
    enum cudaStreamCaptureStatus status = stream_status(s);
    if (status == cudaStreamCaptureStatusNone)
        return e == cudaSuccess ? runtime_result(cudaErrorInvalidValue) : e;
    if (s->mode != cudaStreamCaptureModeRelaxed && !pthread_equal(s->thread, pthread_self()))
        return stream_spoil(s, cudaErrorStreamCaptureWrongThread);
    pthread_mutex_lock(&streams_mutex);
    work_list nodes = s->recorded;
    s->recorded = (work_list){0};
    s->status = cudaStreamCaptureStatusNone;
    pthread_mutex_unlock(&streams_mutex);
    if (e == cudaSuccess && status == cudaStreamCaptureStatusInvalidated)
        e = cudaErrorStreamCaptureInvalidated;
    cudaGraph_t g = e == cudaSuccess ? calloc(1, sizeof *g) : NULL;
    if (!g) {
        work_list_free(&nodes);
        return runtime_result(e == cudaSuccess ? cudaErrorMemoryAllocation : e);
    }
    g->nodes.first = nodes.first; /* nothing is added any more */
    *out = g;
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t s, enum cudaStreamCaptureStatus *status) {
    cudaError_t e = runtime_fault();
    if (e == cudaSuccess) *status = stream_status(s);
    return e;
}

/* --- graphs --- */

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t g, unsigned long long flags) {
    (void)flags;
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    if (!g) return runtime_result(cudaErrorInvalidValue);
    cudaGraphExec_t x = calloc(1, sizeof *x);
    if (!x) return runtime_result(cudaErrorMemoryAllocation);
    for (const work *w = g->nodes.first; w; w = w->next)
        work_list_add(&x->nodes, work_new(w->kind, w->call, w->args, w->bytes));
    *out = x;
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t x, cudaStream_t s) {
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    if (!x) return runtime_result(cudaErrorInvalidValue);
    if (stream_status(s) != cudaStreamCaptureStatusNone) return stream_spoil(s, cudaErrorNotSupported);
    for (const work *w = x->nodes.first; w; w = w->next)
        stream_put(s, work_new(w->kind, w->call, w->args, w->bytes));
    return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t g, cudaGraphNode_t *nodes, size_t *count) {
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    if (!g || !count) return runtime_result(cudaErrorInvalidValue);
    size_t n = 0;
    for (work *w = g->nodes.first; w && (!nodes || n < *count); w = w->next, n++)
        if (nodes) nodes[n] = w;
    for (size_t i = n; nodes && i < *count; i++) nodes[i] = NULL;
    *count = n;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t g) {
    if (!g) return runtime_result(cudaErrorInvalidValue);
    work_list_free(&g->nodes);
    free(g);
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t x) {
    if (!x) return runtime_result(cudaErrorInvalidValue);
    work_list_free(&x->nodes);
    free(x);
    return cudaSuccess;
}
