/* runtime_stream - a stream of the emulation: the work that waits in it, and what a capture of it recorded.
 *
 * BATON_EMU_STREAMS=lazy: work waits in its stream until the host waits for it, in the way that makes least
 * progress: only what a synchronisation needs is run, a query runs one item, and a copy from pinned memory
 * reads it then. A buffer that is reused too early, or a missing event between two streams, then shows.
 * Otherwise work runs when it is put there.
 *
 * Work that waits for another process (WORK_POLL) stays the first of its stream, and what is behind it waits,
 * until it says that it is done; a thread of the emulation asks it, as the hardware goes on by itself. Who
 * synchronises with it waits without the mutex, and ends the process when that takes as long as no test does.
 */
#ifndef BATON_TESTS_CUDA_HOST_RUNTIME_STREAM_H
#define BATON_TESTS_CUDA_HOST_RUNTIME_STREAM_H

#include "runtime.h"

#include <pthread.h>
#include <stdalign.h>
#include <time.h>

typedef struct CUstream_st stream;

/* One cudaEventRecord. */
typedef struct record {
    unsigned refs; /* of the event and of the work that records or waits */
    bool done;
    stream *stream; /* that it waits in, until it is done */
    struct timespec at;
} record;

typedef enum work_kind { WORK_KERNEL, WORK_COPY, WORK_HOST, WORK_POLL, WORK_RECORD, WORK_WAIT } work_kind;
typedef struct CUgraphNode_st {
    struct CUgraphNode_st *next; /* in its stream or graph */
    work_kind kind;
    emulation_call *call;
    emulation_poll *poll; /* of WORK_POLL */
    record *record;       /* of WORK_RECORD and WORK_WAIT */
    size_t bytes;
    alignas(16) char args[];
} work;

typedef struct work_list {
    work *first, **end; /* end: &first, or the last one's next; NULL: empty */
} work_list;

struct CUstream_st {
    bool blocking; /* with regard to the legacy stream */
    work_list waiting;
    bool polls;   /* WORK_POLL was put here */
    stream *next; /* of all streams */
    /* A capture. */
    enum cudaStreamCaptureStatus status;
    enum cudaStreamCaptureMode mode;
    pthread_t thread; /* that began it */
    work_list recorded;
};

work *work_new(work_kind kind, emulation_call *call, const void *args, size_t bytes);
void work_list_add(work_list *l, work *w);
void work_list_free(work_list *l);

/* Runs w, or lets it wait in s (NULL: the legacy stream). Takes ownership. */
void stream_put(stream *s, work *w);
/* Runs all that waits in s, and what that waits for. */
void stream_drain(stream *s);
void stream_drain_all(void);
/* All streams but the legacy one, under this mutex. */
extern pthread_mutex_t streams_mutex;
stream *streams_first(void);

enum cudaStreamCaptureStatus stream_status(stream *s);
/* Spoils the capture of s; returns error. */
cudaError_t stream_spoil(stream *s, cudaError_t error);
/* The fault, or the error of a call that a capture of s does not allow. */
cudaError_t stream_free_of_capture(stream *s);
#endif
