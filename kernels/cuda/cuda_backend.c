/* cuda_backend - opening a GPU, and the backend's table of slots. */
#include "kernels/cuda/cuda_backend.h"

#include "base/log.h"
#include "base/mem.h"
#include "kernels/cuda/kv_stage.h"
#include "kernels/cuda/link.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/samples.h"
#include "kernels/cuda/share.h"
#include "kernels/cuda/step.h"
#include "kernels/cuda/weights.h"

#include <stdio.h>
#include <stdlib.h>

static void cuda_device_error(const device *d, errbuf *eb) {
    PRE(d);
    gpu_fault_text(d, eb);
}

/* --- memory --- */

static void *cuda_mem_alloc(device *d, size_t bytes) {
    PRE(d);
    return gpu_take(d, bytes);
}

static void cuda_mem_free(device *d, void *p, size_t bytes) {
    PRE(d);
    gpu_give(d, p, bytes);
}

/* To and from memory that is not pinned. Such a copy may wait by itself for what is in the stream: that is
 * waited for before, with a deadline. */
static status copy_and_wait(device *d, void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            const char *op) {
    if (gpu_faulted(d) || gpu_wait(d, d->stream, d->done, op) != ST_OK) return ST_DEVICE;
    if (!gpu_ok(d, cudaMemcpyAsync(to, from, bytes, kind, d->stream), op)) return ST_DEVICE;
    return gpu_wait(d, d->stream, d->done, op);
}

static status cuda_mem_read(device *d, void *host, const void *mem, size_t bytes) {
    PRE(d);
    return copy_and_wait(d, host, mem, bytes, cudaMemcpyDeviceToHost, "reading memory");
}

static status cuda_mem_write(device *d, void *mem, const void *host, size_t bytes) {
    PRE(d);
    return copy_and_wait(d, mem, host, bytes, cudaMemcpyHostToDevice, "writing memory");
}

static memory_kind cuda_host_pin(device *d, void *memory, size_t bytes) {
    PRE(d);
    PRE(memory);
    PRE(bytes > 0);
    if (gpu_faulted(d)) return MEMORY_HOST;
    cudaError_t e = cudaSetDevice(d->gpu); /* of this thread */
    if (e == cudaSuccess) e = cudaHostRegister(memory, bytes, cudaHostRegisterDefault);
    if (e == cudaSuccess) return MEMORY_PINNED;
    (void)cudaGetLastError(); /* no fault: hand-offs are staged */
    log_warn("cuda", "host memory is not pinned: hand-offs copy it twice more", "bytes=%zu cause=%s", bytes,
             cudaGetErrorName(e));
    return MEMORY_HOST;
}

static void cuda_host_unpin(device *d, void *memory) {
    PRE(d);
    PRE(memory);
    if (atomic_load(&d->fault.hung)) return; /* it may wait for what the GPU does */
    cudaError_t e = cudaSetDevice(d->gpu);   /* of this thread */
    if (e == cudaSuccess) e = cudaHostUnregister(memory);
    if (e == cudaSuccess) return;
    (void)cudaGetLastError();
    if (!gpu_faulted(d)) log_warn("cuda", "host memory stays pinned", "cause=%s", cudaGetErrorName(e));
}

/* --- which GPU --- */

/* Makes GPU number `wanted` among the *count visible ones, modulo their number, this thread's. */
static status choose_gpu(uint32_t wanted, int *gpu, int *count, errbuf *eb) {
    *count = 0;
    cudaError_t e = cudaGetDeviceCount(count);
    if (e == cudaSuccess && *count == 0) e = cudaErrorNoDevice;
    if (e == cudaSuccess) {
        *gpu = (int)(wanted % (uint32_t)*count);
        e = cudaSetDevice(*gpu);
        if (e == cudaSuccess) return ST_OK;
        (void)cudaGetLastError();
        return errf(eb, ST_UNSUPPORTED, "cuda backend: GPU %d cannot be used: %s", *gpu,
                    cudaGetErrorString(e));
    }
    (void)cudaGetLastError();
    return errf(eb, ST_UNSUPPORTED,
                "cuda backend: no CUDA device was found: %s. Check the NVIDIA driver and "
                "CUDA_VISIBLE_DEVICES, or use "
                "backend: cpu",
                cudaGetErrorString(e));
}

static status cuda_memory(uint32_t gpu, device_memory *out, errbuf *eb) {
    PRE(out);
    int number, count;
    status st = choose_gpu(gpu, &number, &count, eb);
    if (st != ST_OK) return st;
    size_t free_bytes = 0, total = 0;
    cudaError_t e = cudaMemGetInfo(&free_bytes, &total);
    if (e != cudaSuccess) {
        (void)cudaGetLastError();
        return errf(eb, ST_UNSUPPORTED, "cuda backend: GPU %d does not tell its memory: %s", number,
                    cudaGetErrorString(e));
    }
    *out =
        (device_memory){.total = total, .free = free_bytes, .gpu = (uint32_t)number, .gpus = (uint32_t)count};
    return ST_OK;
}

/* --- life --- */

static status num_type_of(dtype type, num_type *out, errbuf *eb) {
    switch (type) {
    case DT_BF16:
        *out = NUM_BF16;
        return ST_OK;
    case DT_F16:
        *out = NUM_F16;
        return ST_OK;
    case DT_F32:
        *out = NUM_F32;
        return ST_OK;
    default:
        break;
    }
    return errf(eb, ST_UNSUPPORTED, "cuda backend: activations of type %s: want bf16, f16 or f32",
                dtype_name(type));
}

static dtype cuda_act_type(const device *d) {
    PRE(d);
    return d->opt.act_type;
}

static const char *cuda_path(const device *d) {
    PRE(d);
    return d->path;
}

static dtype cuda_kv_default(dtype act_type) {
    return act_type;
}

static status read_properties(device *d, errbuf *eb) {
    int major = 0, minor = 0, sm_count = 0;
    size_t free_bytes = 0, total = 0;
    if (!gpu_ok(d, cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, d->gpu), "open") ||
        !gpu_ok(d, cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, d->gpu), "open") ||
        !gpu_ok(d, cudaDeviceGetAttribute(&sm_count, cudaDevAttrMultiProcessorCount, d->gpu), "open") ||
        !gpu_ok(d, cudaMemGetInfo(&free_bytes, &total), "open"))
        return gpu_fault_text(d, eb);
    if (major < 8)
        return errf(
            eb, ST_UNSUPPORTED,
            "cuda backend: GPU %d has compute capability %d.%d, want 8.0 (Ampere) or newer: use backend: cpu",
            d->gpu, major, minor);
    d->sm_count = (uint32_t)sm_count;
    d->capability = (uint32_t)(10 * major + minor);
    d->total = total;
    return ST_OK;
}

static status open_streams(device *d, errbuf *eb) {
    int least = 0, most = 0;
    if (!gpu_ok(d, cudaDeviceGetStreamPriorityRange(&least, &most), "open") ||
        !gpu_ok(d, cudaStreamCreateWithPriority(&d->stream, cudaStreamNonBlocking, least), "open") ||
        !gpu_ok(d, cudaStreamCreateWithPriority(&d->handoff, cudaStreamNonBlocking, most), "open") ||
        !gpu_ok(d, cudaEventCreateWithFlags(&d->done, cudaEventDisableTiming), "open"))
        return gpu_fault_text(d, eb);
    return ST_OK;
}

/* Deterministic mode can do without, and says so in its path. */
static status open_library(device *d, errbuf *eb) {
    errbuf why = {0};
    const gemm_lt_way way = d->opt.deterministic ? GEMM_LT_FIXED : GEMM_LT_TIMED;
    status st = gemm_lt_new(&d->gemm, way, d->stream, &why);
    if (st == ST_OK) {
        d->used += GEMM_LT_WORKSPACE_BYTES; /* the library's, but of our share */
        return ST_OK;
    }
    if (st == ST_NOMEM) return errf(eb, st, "%s", why.text);
    if (!d->opt.deterministic) return errf(eb, st, "%s (model.deterministic: true does without)", why.text);
    log_warn("cuda", "rows of prompts go through our own kernels, which are slower than cuBLASLt", "cause=%s",
             why.text);
    return ST_OK;
}

static void cuda_close(device *d) {
    /* A hung GPU: the process is about to leave, and must get that far. */
    if (!d || !links_free(d) || !gpu_may_free(d)) return;
    cuda_attend_done(d);
    samples_free(d);
    weight_stage_free(d);
    gemm_lt_free(d->gemm);
    shares_free(d);
    if (d->done) (void)cudaEventDestroy(d->done);
    if (d->handoff) (void)cudaStreamDestroy(d->handoff);
    if (d->stream) (void)cudaStreamDestroy(d->stream);
    pthread_mutex_destroy(&d->fault.lock);
    free(d);
}

static status cuda_open(device **out, const device_options *opt, errbuf *eb) {
    PRE(out);
    PRE(opt);
    num_type type = NUM_BF16;
    status st = num_type_of(opt->act_type, &type, eb);
    if (st != ST_OK) return st;
    int gpu, count;
    st = choose_gpu(opt->gpu, &gpu, &count, eb);
    if (st != ST_OK) return st;

    device *d = xcalloc(1, sizeof *d);
    pthread_mutex_init(&d->fault.lock, NULL);
    d->gpu = gpu;
    samples_new(d);
    links_new(d);
    shares_new(d);
    d->type = type;
    d->opt = *opt;
    d->opt.cpus = NULL; /* borrowed for the call */
    d->opt.isa = NULL;
    uint32_t *sizes[] = {&d->opt.max_rows, &d->opt.max_seqs, &d->opt.max_seq_pages, &d->opt.max_head,
                         &d->opt.page_count};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) *sizes[i] = MAX(*sizes[i], 1u);
    st = read_properties(d, eb);
    if (st == ST_OK) st = open_streams(d, eb);
    const bool library = type != NUM_F32 && !(opt->deterministic && opt->own_products);
    if (st == ST_OK && library) st = open_library(d, eb);
    if (st != ST_OK) {
        cuda_close(d);
        return st;
    }
    gpu_name_path(d);
    *out = d;
    return ST_OK;
}

static status cuda_sync(device *d, errbuf *eb) {
    PRE(d);
    if (gpu_faulted(d) || gpu_wait(d, d->stream, d->done, "sync") != ST_OK) return gpu_fault_text(d, eb);
    return ST_OK;
}

const backend_ops cuda_backend = {
    .name = "cuda",
    .features = FEATURE_ALL,
    .open = cuda_open,
    .close = cuda_close,
    .path = cuda_path,
    .kv_default = cuda_kv_default,
    .act_type = cuda_act_type,
    .memory = cuda_memory,
    .mem_alloc = cuda_mem_alloc,
    .mem_free = cuda_mem_free,
    .mem_read = cuda_mem_read,
    .mem_write = cuda_mem_write,
    .host_pin = cuda_host_pin,
    .host_unpin = cuda_host_unpin,
    .weight_load = cuda_weight_load,
    .weight_free = cuda_weight_free,
    .weight_bytes = cuda_weight_bytes,
    .weights_ready = cuda_weights_ready,
    .attend_setup = cuda_attend_setup,
    .warm = cuda_warm,
    .step_begin = cuda_step_begin,
    .embed = cuda_embed,
    .norm = cuda_norm,
    .linear = cuda_linear,
    .attend = cuda_attend,
    .gate_up = cuda_gate_up,
    .layer_mark = cuda_layer_mark,
    .head_norm = cuda_head_norm,
    .sample = cuda_sample,
    .step_end = cuda_step_end,
    .sync = cuda_sync,
    .device_error = cuda_device_error,
    .kv_gather = cuda_kv_gather,
    .kv_scatter = cuda_kv_scatter,
    .share = &cuda_share,
    .link = &cuda_link,
};
