/* cuda - what the C files of this folder share: the opened GPU, its memory, its faults. Internal.
 *
 * Two streams: `stream` carries the steps and belongs to the device thread; `handoff`, of higher priority,
 * carries gathers and scatters and belongs to the transfer thread. What the two threads share: the layer
 * events (recorded by one, waited for by the other, which CUDA allows), the fault (under its lock), and
 * constants.
 *
 * Faults: the first error of any CUDA call or library is kept with the name of the operation. From then on
 * every call answers ST_DEVICE at once, since most errors leave the context unusable; the worker reports the
 * text and leaves. */
#ifndef BATON_KERNELS_CUDA_CUDA_H
#define BATON_KERNELS_CUDA_CUDA_H

#include "kernels/backend.h"
#include "kernels/cuda/decode_plan.h"
#include "kernels/cuda/gemm_lt.h"
#include "kernels/cuda/launch.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct step step;                 /* step.c: the running step's tables, recorded steps */
typedef struct samples samples;           /* samples.c: what tokens are chosen with */
typedef struct weight_stage weight_stage; /* weights.c: staging of the load */
typedef struct kv_stage kv_stage;         /* kv_stage.c: staging of the transfer thread */

struct weight {
    weight_form form;
    num_type type;       /* NUM_F32 for vectors, else the device's */
    uint32_t rows, cols; /* of all parts together */
    void *data;          /* [rows, cols]; WEIGHT_GATE_UP in groups (launch.h) */
    size_t bytes;
};

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
    num_type type;
    char path[64];
    cudaStream_t stream, handoff;
    cudaEvent_t done; /* of the device thread, for waiting */
    gemm_lt *gemm;    /* NULL when every product is our own: deterministic, or f32 */
    uint64_t total;   /* bytes of the GPU */

    /* Constant after attend_setup. */
    attend_setup attention; /* rope_factors is not kept */
    decode_plan plan;
    float *rope; /* [max context, rope_dim / 2, 2] */
    size_t rope_bytes;
    float *partials;    /* [partial_items, heads, head_dim + 2] */
    uint32_t *counters; /* [partial_items, kv_heads], zero between launches */
    uint32_t partial_items;
    cudaEvent_t *layer_done; /* [layers] */
    kv_stage *stage;

    /* Of the device thread. */
    uint64_t used; /* bytes of GPU memory that were taken */
    step *step;
    samples *samples;
    weight_stage *weights; /* NULL until the first load */
    fault fault;
};

/* --- faults --- */

/* False when the call failed, which becomes the device's fault if it is the first: "attend: cudaErrorX: ...".
 */
bool cuda_ok(device *d, cudaError_t e, const char *op);
/* Makes `text` the device's fault if it is the first. Returns ST_DEVICE. */
status cuda_fault(device *d, const char *text);
/* The same when a wait has reached its deadline. */
status cuda_hung(device *d, const char *text);
/* Copies the fault's text. Returns ST_DEVICE. */
status cuda_fault_text(const device *d, errbuf *eb);
static inline bool cuda_faulted(const device *d) {
    return atomic_load_explicit(&d->fault.raised, memory_order_acquire);
}
/* The end of an op: its launch's error, or with check_ops (and no recording under way) the error of what it
 * did. */
status cuda_op_end(device *d, cudaError_t e, const char *op);

/* Waits until what was put into `stream` so far is done, `event` being the caller's, for at most a minute. */
status cuda_wait(device *d, cudaStream_t stream, cudaEvent_t event, const char *op);
/* Waits for an event that was recorded. */
status cuda_wait_event(device *d, cudaEvent_t event, const char *op);

/* --- memory; device thread --- */

/* Zeroed GPU memory within the bound of memory_fraction; NULL when there is none, which is no fault. */
void *cuda_take(device *d, size_t bytes);
/* Waits until the GPU is idle; nothing is freed when it hangs */
void cuda_give(device *d, void *p, size_t bytes);
/* Pinned host memory; NULL when there is none, which is no fault. */
void *cuda_pinned_take(size_t bytes);
/* Likewise */
void cuda_pinned_give(device *d, void *p);
size_t num_bytes(num_type type);

/* --- the other files --- */

status cuda_weight_load(device *d, const weight_parts *from, weight **out, errbuf *eb);
uint64_t cuda_weight_bytes(dtype act_type, const weight_parts *from);
void cuda_weight_free(device *d, weight *w);
void weight_stage_free(device *d);

status cuda_attend_setup(device *d, const attend_setup *s, errbuf *eb);
void cuda_attend_done(device *d);
status cuda_embed(device *d, const op_embed *a);
status cuda_norm(device *d, const op_norm *a);
status cuda_linear(device *d, const op_linear *a);
status cuda_attend(device *d, const op_attend *a);
status cuda_gate_up(device *d, const op_gate_up *a);
status cuda_layer_mark(device *d, uint32_t layer);
status cuda_head_norm(device *d, const op_head_norm *a);

/* step.c. Made by attend_setup, since attention decides on the sizes; ST_NOMEM names the bytes. */
status step_new(device *d, errbuf *eb);
void step_free(device *d);
bool cuda_warm(const device *d, uint32_t i, warm_step *out);
status cuda_step_begin(device *d, const op_step *s, step_pass *out, errbuf *eb);
status cuda_step_end(device *d, errbuf *eb);
/* Nodes of the recorded step that serves `rows` rows; 0 while none was recorded. */
size_t step_nodes(const device *d, uint32_t rows);
/* What the ops of the running step read. */
typedef struct step_view {
    const op_step *s;          /* NULL between steps */
    step_tables tables;        /* device memory */
    const decode_item *items;  /* host: [item_count] */
    sample_token *tokens_host; /* pinned twin of tables.tokens */
    uint32_t tile_count, item_count;
    bool fused;     /* only generated rows, of different sequences: one launch does all of attention */
    bool recording; /* launches are recorded: what varies from step to step comes from the tables */
    uint32_t grid;  /* when recording: blocks per KV head of decode attention */
} step_view;
const step_view *step_of(const device *d);

/* samples.c */
void samples_new(device *d);
void samples_free(device *d);
/* Room for `rows` rows of `vocab` logits, once the output matrix is known. ST_NOMEM without text. */
status samples_reserve(device *d, uint32_t vocab);
/* Room for the lists of any step of the device's options. */
status samples_lists_new(device *d, errbuf *eb);
/* Fills rows [count] (host; `bucket` entries are written) from the step's samples and uploads the lists they
 * point to.
 */
status samples_begin(device *d, const op_step *s, uint32_t bucket, sample_row *rows);
status cuda_sample(device *d, const op_sample *a);
/* Turns what the device chose into the step's results. */
void samples_end(device *d, const op_step *s, const sample_token *tokens);

/* kv_stage.c; kv_gather and kv_scatter belong to the transfer thread. */
status kv_stage_new(device *d, kv_stage **out, errbuf *eb);
void kv_stage_free(device *d, kv_stage *s);
/* Runs both kernels once, before there is a transfer thread: CUDA loads a kernel when it is first launched,
 * for which it may stop everything else on the GPU, and takes memory. */
status kv_stage_warm(device *d, errbuf *eb);
status cuda_kv_gather(device *d, const op_kv_copy *a);
status cuda_kv_scatter(device *d, const op_kv_copy *a);

#endif
