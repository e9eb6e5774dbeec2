#include "kernels/cuda/gpu.h"

#include "kernels/cuda/wait.h"

#include <stdio.h>

/* --- faults --- */

status gpu_fault(device *d, const char *text) {
    PRE(d);
    PRE(text);
    (void)cudaGetLastError(); /* the next device of this thread must not find it */
    pthread_mutex_lock(&d->fault.lock);
    if (!atomic_load_explicit(&d->fault.raised, memory_order_relaxed)) {
        errf(&d->fault.text, ST_DEVICE, "cuda: GPU %d: %s", d->gpu, text);
        atomic_store_explicit(&d->fault.raised, true, memory_order_release);
    }
    pthread_mutex_unlock(&d->fault.lock);
    return ST_DEVICE;
}

bool gpu_ok(device *d, cudaError_t e, const char *op) {
    PRE(d);
    PRE(op);
    if (e == cudaSuccess) return true;
    errbuf text = {0};
    errf(&text, ST_DEVICE, "%s: %s: %s", op, cudaGetErrorName(e), cudaGetErrorString(e));
    gpu_fault(d, text.text);
    return false;
}

status gpu_hung(device *d, const char *text) {
    PRE(d);
    atomic_store(&d->fault.hung, true);
    return gpu_fault(d, text);
}

status gpu_fault_text(const device *d, errbuf *eb) {
    PRE(d);
    if (gpu_faulted(d)) return errf(eb, ST_DEVICE, "%s", d->fault.text.text);
    return errf(eb, ST_DEVICE, "cuda: GPU %d: no error was kept", d->gpu);
}

/* --- numerics --- */

/* "fast-timed": the library's algorithm for many rows is chosen by timing, so that two starts may differ in
 * their bits. */
void gpu_name_path(device *d) {
    PRE(d);
    char mode[80] = "fast-timed", products[GEMM_LT_NAME_BYTES] = "own";
    if (d->type == NUM_F32) snprintf(mode, sizeof mode, "fast");
    if (d->opt.deterministic) {
        if (d->gemm) gemm_lt_name(d->gemm, products);
        uint32_t max_context = d->opt.max_seq_pages * KV_PAGE_TOKENS;
        snprintf(mode, sizeof mode, "det-%s/split%u", products,
                 decode_plan_make(true, max_context, 1, 1).split_tokens);
    }
    snprintf(d->path, sizeof d->path, "cuda/sm_%u/%s/%s", d->capability, dtype_name(d->opt.act_type), mode);
}

/* --- waiting --- */

status gpu_wait_event(device *d, cudaEvent_t event, const char *op) {
    PRE(d);
    PRE(event);
    cudaError_t e = cudaSuccess;
    status st = wait_event(event, &e);
    if (st == ST_OK) return ST_OK;
    if (st == ST_TIMEOUT) {
        errbuf text = {0};
        errf(&text, ST_DEVICE, "%s did not end within %u s", op, WAIT_MAX_S);
        return gpu_hung(d, text.text);
    }
    gpu_ok(d, e, op);
    return ST_DEVICE;
}

status gpu_wait(device *d, cudaStream_t stream, cudaEvent_t event, const char *op) {
    PRE(d);
    if (!gpu_ok(d, cudaEventRecord(event, stream), op)) return ST_DEVICE;
    return gpu_wait_event(d, event, op);
}

status gpu_op_end(device *d, cudaError_t e, const char *op) {
    PRE(d);
    if (!gpu_ok(d, e, op)) return ST_DEVICE;
    if (!d->opt.check_ops || gpu_step(d)->recording) return ST_OK;
    return gpu_wait(d, d->stream, d->done, op);
}

cudaEvent_t gpu_layer_event(const device *d, uint64_t number, uint32_t layer) {
    PRE(d);
    PRE(d->layer_done);
    PRE(layer < d->attention.layout.layers);
    return d->layer_done[number % 2 * d->attention.layout.layers + layer];
}

const step_view *gpu_step(const device *d) {
    PRE(d);
    PRE(d->view);
    return d->view;
}

/* --- memory --- */

size_t num_bytes(num_type type) {
    return type == NUM_F32 ? 4 : 2;
}

bool gpu_may_free(device *d) {
    PRE(d);
    if (!d->done) return true; /* nothing was ever put anywhere */
    if (!atomic_load(&d->fault.hung)) (void)gpu_wait(d, d->stream, d->done, "work before freeing memory");
    if (!atomic_load(&d->fault.hung)) (void)gpu_wait(d, d->handoff, d->done, "work before freeing memory");
    return !atomic_load(&d->fault.hung);
}

bool gpu_count_in(device *d, size_t bytes) {
    PRE(d);
    uint64_t used = atomic_fetch_add(&d->used, bytes);
    if (d->opt.memory_fraction <= 0) return true;
    if ((double)used + (double)bytes <= d->opt.memory_fraction * (double)d->total) return true;
    atomic_fetch_sub(&d->used, bytes);
    return false;
}

void gpu_count_out(device *d, size_t bytes) {
    PRE(d);
    CHECK(atomic_fetch_sub(&d->used, bytes) >= bytes);
}

void *gpu_take_by(device *d, size_t bytes, cudaStream_t stream, cudaEvent_t done) {
    PRE(d);
    if (gpu_faulted(d) || !gpu_count_in(d, bytes)) return NULL;
    void *p = NULL;
    cudaError_t e = cudaMalloc(&p, bytes ? bytes : 1);
    if (e == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError(); /* it is the caller's to report, and later launches must not find it */
        goto fail;
    }
    if (!gpu_ok(d, e, "cudaMalloc")) goto fail;
    if (gpu_ok(d, cudaMemsetAsync(p, 0, bytes, stream), "clearing memory") &&
        gpu_wait(d, stream, done, "clearing memory") == ST_OK)
        return p;
    if (!atomic_load(&d->fault.hung)) (void)cudaFree(p);
fail:
    gpu_count_out(d, bytes);
    return NULL;
}

void *gpu_take(device *d, size_t bytes) {
    PRE(d);
    return gpu_take_by(d, bytes, d->stream, d->done);
}

void gpu_give_idle(device *d, void *p, size_t bytes) {
    PRE(d);
    if (!p) return;
    gpu_count_out(d, bytes);
    if (!atomic_load(&d->fault.hung))
        (void)cudaFree(p); /* after a fault it may fail, and there is nothing to be done about it */
}

void gpu_give(device *d, void *p, size_t bytes) {
    PRE(d);
    if (!p) return;
    (void)gpu_may_free(d);
    gpu_give_idle(d, p, bytes);
}

void *gpu_pinned_take(size_t bytes) {
    PRE(bytes > 0);
    void *p = NULL;
    if (cudaMallocHost(&p, bytes) == cudaSuccess) return p;
    (void)cudaGetLastError(); /* it is the caller's to report, and later launches must not find it */
    return NULL;
}

void gpu_pinned_give(device *d, void *p) {
    PRE(d);
    if (p && gpu_may_free(d)) (void)cudaFreeHost(p);
}
