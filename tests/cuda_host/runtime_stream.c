/* runtime_stream - streams, copies and events of the emulated device (runtime_graph.c: captures and graphs).
 */
#include "runtime_stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HANG_S  90
#define POLL_NS 200000

struct CUevent_st {
    bool captured; /* last recorded in a stream while it was captured */
    bool timed;
    record *last; /* NULL: never recorded */
};

pthread_mutex_t streams_mutex = PTHREAD_MUTEX_INITIALIZER; /* of all that waits, and of the list of streams */
static stream *streams;
static stream legacy = {.blocking = true};

stream *streams_first(void) {
    return streams;
}

/* --- work --- */

work *work_new(work_kind kind, emulation_call *call, const void *args, size_t bytes) {
    work *w = malloc(sizeof *w + bytes);
    if (!w) abort();
    *w = (work){.kind = kind, .call = call, .bytes = bytes};
    if (bytes > 0) memcpy(w->args, args, bytes);
    return w;
}

static void record_put(record *r) { /* holds the mutex */
    if (r && --r->refs == 0) free(r);
}

void work_list_add(work_list *l, work *w) {
    if (!l->first) l->end = &l->first;
    w->next = NULL;
    *l->end = w;
    l->end = &w->next;
}

void work_list_free(work_list *l) {
    while (l->first) {
        work *w = l->first;
        l->first = w->next;
        free(w);
    }
}

static void run_call(work *w) {
    if (w->kind == WORK_KERNEL ? runtime_kernel_runs() : runtime_fault() == cudaSuccess) w->call(w->args);
}

/* Takes the first of s out when it is done: false when it waits for another process. Holds the mutex. What it
 * waits for was put into its stream earlier, so this ends. */
static bool run_first(stream *s) {
    work *w = s->waiting.first;
    switch (w->kind) {
    case WORK_KERNEL:
    case WORK_COPY:
    case WORK_HOST:
        run_call(w);
        break;
    case WORK_POLL:
        if (runtime_fault() == cudaSuccess && !w->poll(w->args)) return false;
        break;
    case WORK_RECORD:
        clock_gettime(CLOCK_MONOTONIC, &w->record->at);
        w->record->done = true;
        break;
    case WORK_WAIT:
        while (!w->record->done)
            if (!run_first(w->record->stream)) return false;
        break;
    }
    record_put(w->record);
    s->waiting.first = w->next;
    free(w);
    return true;
}

/* As far as it goes. Holds the mutex. */
static bool advance(stream *s) {
    while (s->waiting.first)
        if (!run_first(s)) return false;
    return true;
}

static bool advance_blocking(void) { /* holds the mutex */
    bool done = true;
    for (stream *s = streams; s; s = s->next)
        if (s->blocking) done = advance(s) && done;
    return done;
}

static bool advance_all(void) { /* holds the mutex */
    bool done = advance(&legacy);
    for (stream *s = streams; s; s = s->next) done = advance(s) && done;
    return done;
}

/* Lets others in while something waits for another process. Holds the mutex, and gives it away meanwhile. */
static void stand_by(const struct timespec *begin) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec - begin->tv_sec > HANG_S) {
        fprintf(stderr, "emulation: a stream waited for another process for %d s\n", HANG_S);
        abort();
    }
    pthread_mutex_unlock(&streams_mutex);
    nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
    pthread_mutex_lock(&streams_mutex);
}

static void drain(stream *s) { /* holds the mutex */
    struct timespec begin;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    while (!advance(s)) stand_by(&begin);
}

void stream_drain(stream *s) {
    struct timespec begin;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    pthread_mutex_lock(&streams_mutex);
    while (!s && !advance_blocking()) stand_by(&begin);
    drain(s ? s : &legacy);
    pthread_mutex_unlock(&streams_mutex);
}

void stream_drain_all(void) {
    struct timespec begin;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    pthread_mutex_lock(&streams_mutex);
    while (!advance_all()) stand_by(&begin);
    pthread_mutex_unlock(&streams_mutex);
}

/* --- what goes on by itself --- */

static bool engine_runs; /* under the mutex; a forked child has none */
static pthread_once_t engine_once = PTHREAD_ONCE_INIT;

static void engine_gone(void) {
    engine_runs = false;
}

static void engine_prepare(void) {
    pthread_atfork(NULL, NULL, engine_gone);
}

/* Ends when nothing waits that it has to ask. */
static void *engine(void *unused) {
    pthread_mutex_lock(&streams_mutex);
    for (bool any = true; any;) {
        any = false;
        for (stream *s = streams; s; s = s->next)
            if (s->polls) any = !advance(s) || any;
        if (!any) break;
        pthread_mutex_unlock(&streams_mutex);
        nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
        pthread_mutex_lock(&streams_mutex);
    }
    engine_runs = false;
    pthread_mutex_unlock(&streams_mutex);
    return unused;
}

static void engine_start(void) { /* holds the mutex */
    if (engine_runs) return;
    pthread_t thread;
    if (pthread_create(&thread, NULL, engine, NULL) || pthread_detach(thread)) abort();
    engine_runs = true;
}

static bool lazy(void) {
    const char *how = getenv("BATON_EMU_STREAMS");
    return how && strcmp(how, "lazy") == 0;
}

void stream_put(stream *s, work *w) {
    bool waits = lazy();
    pthread_mutex_lock(&streams_mutex);
    if (!s)
        advance_blocking(); /* a blocking stream never has work that waits for another process */
    else if (s->blocking)
        advance(&legacy);
    s = s ? s : &legacy;
    bool at_once = !waits && !s->waiting.first && w->kind <= WORK_HOST;
    if (!at_once) {
        if (w->kind == WORK_POLL) {
            s->polls = true;
            engine_start();
        }
        work_list_add(&s->waiting, w);
        if (!waits) advance(s);
    }
    pthread_mutex_unlock(&streams_mutex);
    if (at_once) { /* without the mutex, so that the kernels of two streams run at the same time */
        run_call(w);
        free(w);
    }
}

cudaError_t emulation_enqueue(cudaStream_t s, emulation_kind kind, emulation_call *call, const void *args,
                              size_t bytes) {
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    enum cudaStreamCaptureStatus status = stream_status(s);
    if (status == cudaStreamCaptureStatusInvalidated)
        return runtime_result(cudaErrorStreamCaptureInvalidated);
    const work_kind kinds[] = {WORK_KERNEL, WORK_COPY, WORK_HOST};
    work *w = work_new(kinds[kind], call, args, bytes);
    if (status == cudaStreamCaptureStatusActive)
        work_list_add(&s->recorded, w);
    else
        stream_put(s, w);
    return cudaSuccess;
}

cudaError_t emulation_enqueue_poll(cudaStream_t s, emulation_poll *poll, const void *args, size_t bytes) {
    cudaError_t e = stream_free_of_capture(s);
    if (e == cudaSuccess && (!s || s->blocking)) e = runtime_result(cudaErrorNotSupported);
    if (e != cudaSuccess) return e;
    pthread_once(&engine_once, engine_prepare);
    work *w = work_new(WORK_POLL, NULL, args, bytes);
    w->poll = poll;
    stream_put(s, w);
    return cudaSuccess;
}

/* --- copies --- */

typedef struct copy_args {
    void *to;
    const void *from; /* NULL: fills with value */
    int value;
    size_t bytes;
} copy_args;

static _Atomic uint64_t to_host; /* bytes */

uint64_t emulation_bytes_to_host(void) {
    return to_host;
}

static void run_copy(void *args) {
    const copy_args *c = args;
    if (c->from && runtime_is_device(c->from, c->bytes) && !runtime_is_device(c->to, c->bytes))
        to_host += c->bytes;
    if (c->from)
        memmove(runtime_alias(c->to), runtime_alias(c->from), c->bytes);
    else
        memset(runtime_alias(c->to), c->value, c->bytes);
}

static void run_staged_copy(void *args) { /* the bytes follow */
    const copy_args *c = args;
    memcpy(runtime_alias(c->to), c + 1, c->bytes);
}

/* From pageable memory: the source is read before the call returns. */
static cudaError_t staged_copy(void *to, const void *from, size_t bytes, stream *s) {
    copy_args *c = malloc(sizeof *c + bytes);
    if (!c) abort();
    *c = (copy_args){.to = to, .bytes = bytes};
    memcpy(c + 1, from, bytes);
    cudaError_t e = emulation_enqueue(s, EMULATION_COPY, run_staged_copy, c, sizeof *c + bytes);
    free(c);
    return e;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t s) {
    cudaError_t e = runtime_fault();
    if (bytes == 0 || e != cudaSuccess) return e;
    if (!runtime_copy_fits(to, from, bytes, kind)) return runtime_result(cudaErrorInvalidValue);
    bool captured = stream_status(s) != cudaStreamCaptureStatusNone;
    if (!captured && lazy() && runtime_is_pageable(from)) return staged_copy(to, from, bytes, s);
    copy_args c = {.to = to, .from = from, .bytes = bytes};
    e = emulation_enqueue(s, EMULATION_COPY, run_copy, &c, sizeof c);
    if (e == cudaSuccess && !captured && runtime_is_pageable(to))
        stream_drain(s); /* returns when the bytes are there */
    return e == cudaSuccess ? runtime_fault() : e;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    cudaError_t e = runtime_fault();
    if (e == cudaSuccess) e = runtime_unsafe(cudaErrorStreamCaptureImplicit);
    if (e == cudaSuccess) e = cudaMemcpyAsync(to, from, bytes, kind, NULL);
    /* A copy from pageable memory returns when that has been read; streams that do not block may not see it
     * yet. */
    if (e == cudaSuccess && bytes > 0 && !runtime_is_pageable(from)) stream_drain(NULL);
    return e == cudaSuccess ? runtime_fault() : e;
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t s) {
    cudaError_t e = runtime_fault();
    if (bytes == 0 || e != cudaSuccess) return e;
    if (!runtime_is_device(p, bytes)) return runtime_result(cudaErrorInvalidValue);
    copy_args c = {.to = p, .value = value, .bytes = bytes};
    return emulation_enqueue(s, EMULATION_COPY, run_copy, &c, sizeof c);
}

cudaError_t cudaMemset(void *p, int value, size_t bytes) {
    cudaError_t e = runtime_fault();
    if (e == cudaSuccess) e = runtime_unsafe(cudaErrorStreamCaptureImplicit);
    return e == cudaSuccess ? cudaMemsetAsync(p, value, bytes, NULL) : e;
}

/* --- streams --- */

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
    s->blocking = flags == cudaStreamDefault;
    pthread_mutex_lock(&streams_mutex);
    s->next = streams;
    streams = s;
    pthread_mutex_unlock(&streams_mutex);
    *out = s;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s) {
    if (!s) return runtime_result(cudaErrorInvalidResourceHandle);
    pthread_mutex_lock(&streams_mutex);
    drain(s);
    for (stream **at = &streams; *at; at = &(*at)->next)
        if (*at == s) {
            *at = s->next;
            break;
        }
    pthread_mutex_unlock(&streams_mutex);
    work_list_free(&s->recorded);
    free(s);
    return runtime_fault();
}

cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    cudaError_t e = stream_free_of_capture(s);
    if (e != cudaSuccess) return e;
    stream_drain(s);
    return runtime_fault();
}

cudaError_t cudaStreamQuery(cudaStream_t s) {
    cudaError_t e = stream_free_of_capture(s);
    if (e != cudaSuccess) return e;
    stream *at = s ? s : &legacy;
    pthread_mutex_lock(&streams_mutex);
    if (at->waiting.first) (void)run_first(at);
    bool done = !at->waiting.first;
    pthread_mutex_unlock(&streams_mutex);
    e = runtime_fault();
    return e == cudaSuccess && !done ? cudaErrorNotReady : e;
}

cudaError_t cudaDeviceSynchronize(void) {
    cudaError_t e = runtime_fault();
    if (e == cudaSuccess) e = runtime_unsafe(cudaErrorStreamCaptureUnsupported);
    if (e != cudaSuccess) return e;
    stream_drain_all();
    return runtime_fault();
}

/* --- events --- */

cudaError_t cudaEventCreate(cudaEvent_t *out) {
    return cudaEventCreateWithFlags(out, cudaEventDefault);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags) {
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    cudaEvent_t ev = calloc(1, sizeof *ev);
    if (!ev) return runtime_result(cudaErrorMemoryAllocation);
    ev->timed = !(flags & cudaEventDisableTiming);
    *out = ev;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t ev, cudaStream_t s) {
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    if (!ev) return runtime_result(cudaErrorInvalidResourceHandle);
    enum cudaStreamCaptureStatus status = stream_status(s);
    if (status == cudaStreamCaptureStatusInvalidated)
        return runtime_result(cudaErrorStreamCaptureInvalidated);
    record *r = NULL;
    if (status == cudaStreamCaptureStatusNone) {
        r = calloc(1, sizeof *r);
        if (!r) abort();
        *r = (record){.refs = 2, .stream = s ? s : &legacy};
    }
    pthread_mutex_lock(&streams_mutex);
    record_put(ev->last);
    ev->last = r;
    ev->captured = !r;
    pthread_mutex_unlock(&streams_mutex);
    if (!r) return cudaSuccess;
    work *w = work_new(WORK_RECORD, NULL, NULL, 0);
    w->record = r;
    stream_put(s, w);
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t ev, unsigned flags) {
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    if (!ev || flags != 0) return runtime_result(ev ? cudaErrorInvalidValue : cudaErrorInvalidResourceHandle);
    enum cudaStreamCaptureStatus status = stream_status(s);
    if (status == cudaStreamCaptureStatusInvalidated)
        return runtime_result(cudaErrorStreamCaptureInvalidated);
    pthread_mutex_lock(&streams_mutex);
    record *r = ev->last;
    bool captured = ev->captured;
    if (r) r->refs++;
    pthread_mutex_unlock(&streams_mutex);
    if (status == cudaStreamCaptureStatusNone && r) {
        work *w = work_new(WORK_WAIT, NULL, NULL, 0);
        w->record = r;
        stream_put(s, w);
        return cudaSuccess;
    }
    pthread_mutex_lock(&streams_mutex);
    record_put(r);
    pthread_mutex_unlock(&streams_mutex);
    /* In a capture what was recorded before comes before; a fork of it into another stream is not emulated.
     */
    if (status == cudaStreamCaptureStatusNone)
        return runtime_result(captured ? cudaErrorNotSupported : cudaSuccess);
    return captured ? cudaSuccess : stream_spoil(s, cudaErrorStreamCaptureIsolation);
}

/* Whether ev is done; first runs what it waits for: all, or at most one item. */
static cudaError_t event_state(cudaEvent_t ev, bool all) {
    cudaError_t e = runtime_fault();
    if (e == cudaSuccess) e = runtime_unsafe(cudaErrorStreamCaptureUnsupported);
    if (e != cudaSuccess) return e;
    if (!ev) return runtime_result(cudaErrorInvalidResourceHandle);
    struct timespec begin;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    pthread_mutex_lock(&streams_mutex);
    bool captured = ev->captured, done = true;
    while (ev->last && !ev->last->done) {
        bool ran = run_first(ev->last->stream);
        done = ev->last->done;
        if (!all && (!ran || lazy())) break;
        if (!ran) stand_by(&begin);
    }
    pthread_mutex_unlock(&streams_mutex);
    e = runtime_result(captured ? cudaErrorCapturedEvent : runtime_fault());
    return e == cudaSuccess && !done ? cudaErrorNotReady : e;
}

cudaError_t cudaEventSynchronize(cudaEvent_t ev) {
    return event_state(ev, true);
}

cudaError_t cudaEventQuery(cudaEvent_t ev) {
    return event_state(ev, false);
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t begin, cudaEvent_t end) {
    cudaError_t e = event_state(begin, false);
    if (e == cudaSuccess) e = event_state(end, false);
    if (e != cudaSuccess) return e;
    if (!begin->last || !end->last || !begin->timed || !end->timed)
        return runtime_result(cudaErrorInvalidResourceHandle);
    const struct timespec *a = &begin->last->at, *b = &end->last->at;
    *ms = (float)((double)(b->tv_sec - a->tv_sec) * 1e3 + (double)(b->tv_nsec - a->tv_nsec) * 1e-6);
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t ev) {
    if (!ev) return runtime_result(cudaErrorInvalidResourceHandle);
    pthread_mutex_lock(&streams_mutex);
    record_put(ev->last);
    pthread_mutex_unlock(&streams_mutex);
    free(ev);
    return runtime_fault();
}
