/* gpu - the opened GPU, its memory, its faults, and waiting for it: what every C file of this folder stands
 * on. Internal.
 *
 * Two streams: `stream` carries the steps and belongs to the device thread; `handoff`, of higher priority,
 * carries gathers and scatters and belongs to the transfer thread. What the two threads share: the layer
 * events (recorded by one, waited for by the other, which CUDA allows), the number of the step that ended
 * last, the fault (under its lock), and constants.
 *
 * Faults: the first error of any CUDA call or library is kept with the name of the operation. From then on
 * every call answers ST_DEVICE at once, since most errors leave the context unusable; the worker reports the
 * text and leaves.
 *
 * Memory: allocations of the device go through gpu_take, which counts, so that two roles that share a GPU
 * each keep to their fraction and find out at start; the workspace of the matrix library, of a fixed size, is
 * in the reserve that a worker's plan leaves. Nothing is allocated while steps run. */
#ifndef BATON_KERNELS_CUDA_GPU_H
#define BATON_KERNELS_CUDA_GPU_H

#include "kernels/backend.h"
#include "kernels/cuda/decode_plan.h"
#include "kernels/cuda/gemm_lt.h"
#include "kernels/cuda/step_view.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct step step;                 /* step.c: the running step's tables, recorded steps */
typedef struct samples samples;           /* samples.c: what tokens are chosen with */
typedef struct weight_stage weight_stage; /* weights.c: staging of the load */
typedef struct kv_stage kv_stage;         /* kv_stage.c: staging of the transfer thread */
typedef struct links links;               /* link.c: channels to other GPUs */
typedef struct shares shares;             /* share.c: memory that other processes map */

typedef struct fault {
    pthread_mutex_t lock;
    atomic_bool raised; /* read without the lock: text is complete when it is true */
    errbuf text;        /* written once, under the lock */
    atomic_bool hung;   /* a wait reached its deadline: to free memory would wait for ever */
} fault;

struct device {
    /* Constant after open. */
    device_options opt; /* sizes are at least 1 */
    int gpu;
    uint32_t sm_count;
    uint32_t capability; /* 90: compute capability 9.0 */
    num_type type;
    cudaStream_t stream, handoff;
    cudaEvent_t done; /* of the device thread, for waiting */
    gemm_lt *gemm;    /* NULL when every product is our own: f32, or deterministic without the library */
    uint64_t total;   /* bytes of the GPU */
    links *links;
    shares *shares;

    /* Constant after attend_setup. */
    attend_setup attention; /* rope_factors is not kept */
    decode_plan plan;
    float *rope[2];     /* [max context, rope_dim / 2, 2]; the second of layers with rope_local, else NULL */
    size_t rope_bytes;  /* of each */
    float *partials;    /* [partial_items, heads, head_dim + 2] */
    uint32_t *counters; /* [partial_items, kv_heads], zero between launches */
    uint32_t partial_items;
    /* [2][layers], by the parity of the step's number: a step's marks stay while the next one makes its own,
     * so a gather that comes late does not wait for the next step's layer. */
    cudaEvent_t *layer_done;
    kv_stage *stage;

    _Atomic uint64_t used; /* bytes of GPU memory that were taken, by any thread */

    /* Of the device thread. */
    char path[128]; /* backend_ops.path; deterministic mode adds what the library's algorithms are */
    step *step;
    const step_view *view;       /* the running step's; NULL between steps */
    uint64_t step_number;        /* of the running step, or the last; from 1 */
    _Atomic uint64_t step_ended; /* the last step that ended; the transfer thread reads it */
    samples *samples;
    weight_stage *weights; /* NULL until the first load */
    fault fault;
};

/* --- faults --- */

/* False when the call failed, which becomes the device's fault if it is the first: "attend: cudaErrorX: ...".
 */
bool gpu_ok(device *d, cudaError_t e, const char *op);
/* Makes `text` the device's fault if it is the first. Returns ST_DEVICE. */
status gpu_fault(device *d, const char *text);
/* The same when a wait has reached its deadline. */
status gpu_hung(device *d, const char *text);
/* Copies the fault's text. Returns ST_DEVICE. */
status gpu_fault_text(const device *d, errbuf *eb);
static inline bool gpu_faulted(const device *d) {
    return atomic_load_explicit(&d->fault.raised, memory_order_acquire);
}

/* Writes d->path: what the numerics are: the kernels of the architecture, the number type, what multiplies
 * the rows of prompts, and how sums are cut. */
void gpu_name_path(device *d);

/* --- waiting --- */

/* Waits until what was put into `stream` so far is done, `event` being the caller's, for at most a minute. */
status gpu_wait(device *d, cudaStream_t stream, cudaEvent_t event, const char *op);
/* Waits for an event that was recorded. */
status gpu_wait_event(device *d, cudaEvent_t event, const char *op);
/* The end of an op: its launch's error, or with check_ops (and no recording under way) the error of what it
 * did. */
status gpu_op_end(device *d, cudaError_t e, const char *op);
/* Of layer `layer` of the step with this number. */
cudaEvent_t gpu_layer_event(const device *d, uint64_t number, uint32_t layer);
/* Of the running step. */
const step_view *gpu_step(const device *d);

/* --- memory; device thread --- */

/* Zeroed GPU memory within the bound of memory_fraction; NULL when there is none, which is no fault. */
void *gpu_take(device *d, size_t bytes);
/* The same by any thread: cleared in its own stream, waited for by its own event. */
void *gpu_take_by(device *d, size_t bytes, cudaStream_t stream, cudaEvent_t done);
/* Waits until the GPU is idle; nothing is freed when it hangs. NULL is no memory. */
void gpu_give(device *d, void *p, size_t bytes);
/* Of our share of the GPU, by any thread: false when it is not enough. */
bool gpu_count_in(device *d, size_t bytes);
void gpu_count_out(device *d, size_t bytes);
/* By any thread: memory that nothing uses any more. */
void gpu_give_idle(device *d, void *p, size_t bytes);
/* Pinned host memory; NULL when there is none, which is no fault. */
void *gpu_pinned_take(size_t bytes);
/* Likewise. */
void gpu_pinned_give(device *d, void *p);
/* To free memory waits for everything that was put into any stream, without a deadline: so that is waited for
 * before, with one. False when the GPU hangs. */
bool gpu_may_free(device *d);
size_t num_bytes(num_type type);

#endif
