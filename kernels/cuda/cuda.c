/* cuda - opening a GPU, its memory and its faults, and the backend's table.
 *
 * Memory: allocations of the device go through cuda_take, which counts, so that two roles that share a GPU
 * each keep to their fraction and find out at start; the workspace of the matrix library, of a fixed size, is
 * in the reserve that a worker's plan leaves. Nothing is allocated while steps run. */
#include "kernels/cuda/cuda.h"

#include "base/mem.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/wait.h"

#include <stdio.h>
#include <stdlib.h>

/* --- faults --- */

status cuda_fault(device *d, const char *text) {
    (void)cudaGetLastError(); /* the next device of this thread must not find it */
    pthread_mutex_lock(&d->fault.lock);
    if (!atomic_load_explicit(&d->fault.raised, memory_order_relaxed)) {
        errf(&d->fault.text, ST_DEVICE, "cuda: GPU %d: %s", d->gpu, text);
        atomic_store_explicit(&d->fault.raised, true, memory_order_release);
    }
    pthread_mutex_unlock(&d->fault.lock);
    return ST_DEVICE;
}

bool cuda_ok(device *d, cudaError_t e, const char *op) {
    if (e == cudaSuccess) return true;
    errbuf text = {0};
    errf(&text, ST_DEVICE, "%s: %s: %s", op, cudaGetErrorName(e), cudaGetErrorString(e));
    cuda_fault(d, text.text);
    return false;
}

status cuda_fault_text(const device *d, errbuf *eb) {
    if (cuda_faulted(d)) return errf(eb, ST_DEVICE, "%s", d->fault.text.text);
    return errf(eb, ST_DEVICE, "cuda: GPU %d: no error was kept", d->gpu);
}

static void cuda_device_error(const device *d, errbuf *eb) {
    PRE(d);
    cuda_fault_text(d, eb);
}

status cuda_op_end(device *d, cudaError_t e, const char *op) {
    if (!cuda_ok(d, e, op)) return ST_DEVICE;
    if (!d->opt.check_ops || step_of(d)->recording) return ST_OK;
    return cuda_wait(d, d->stream, d->done, op);
}

status cuda_hung(device *d, const char *text) {
    atomic_store(&d->fault.hung, true);
    return cuda_fault(d, text);
}

status cuda_wait_event(device *d, cudaEvent_t event, const char *op) {
    cudaError_t e = cudaSuccess;
    status st = wait_event(event, &e);
    if (st == ST_OK) return ST_OK;
    if (st == ST_TIMEOUT) {
        errbuf text = {0};
        errf(&text, ST_DEVICE, "%s did not end within %u s", op, WAIT_MAX_S);
        return cuda_hung(d, text.text);
    }
    cuda_ok(d, e, op);
    return ST_DEVICE;
}

status cuda_wait(device *d, cudaStream_t stream, cudaEvent_t event, const char *op) {
    if (!cuda_ok(d, cudaEventRecord(event, stream), op)) return ST_DEVICE;
    return cuda_wait_event(d, event, op);
}

/* --- memory --- */

size_t num_bytes(num_type type) {
    return type == NUM_F32 ? 4 : 2;
}

/* To free memory waits for everything that was put into any stream, without a deadline: so that is waited for
 * before, with one. False when the GPU hangs. */
static bool may_free(device *d) {
    if (!d->done) return true; /* nothing was ever put anywhere */
    if (!atomic_load(&d->fault.hung)) (void)cuda_wait(d, d->stream, d->done, "work before freeing memory");
    if (!atomic_load(&d->fault.hung)) (void)cuda_wait(d, d->handoff, d->done, "work before freeing memory");
    return !atomic_load(&d->fault.hung);
}

void *cuda_take(device *d, size_t bytes) {
    if (cuda_faulted(d)) return NULL;
    if (d->opt.memory_fraction > 0) {
        double bound = d->opt.memory_fraction * (double)d->total;
        if ((double)d->used + (double)bytes > bound) return NULL;
    }
    void *p = NULL;
    cudaError_t e = cudaMalloc(&p, bytes ? bytes : 1);
    if (e == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError(); /* it is the caller's to report, and later launches must not find it */
        return NULL;
    }
    if (!cuda_ok(d, e, "cudaMalloc")) return NULL;
    if (!cuda_ok(d, cudaMemsetAsync(p, 0, bytes, d->stream), "clearing memory") ||
        cuda_wait(d, d->stream, d->done, "clearing memory") != ST_OK) {
        if (may_free(d)) (void)cudaFree(p);
        return NULL;
    }
    d->used += bytes;
    return p;
}

void cuda_give(device *d, void *p, size_t bytes) {
    if (!p) return;
    CHECK(d->used >= bytes);
    d->used -= bytes;
    if (may_free(d))
        (void)cudaFree(p); /* after a fault it may fail, and there is nothing to be done about it */
}

void *cuda_pinned_take(size_t bytes) {
    void *p = NULL;
    if (cudaMallocHost(&p, bytes) == cudaSuccess) return p;
    (void)cudaGetLastError(); /* it is the caller's to report, and later launches must not find it */
    return NULL;
}

void cuda_pinned_give(device *d, void *p) {
    if (p && may_free(d)) (void)cudaFreeHost(p);
}

static void *cuda_mem_alloc(device *d, size_t bytes) {
    PRE(d);
    return cuda_take(d, bytes);
}

static void cuda_mem_free(device *d, void *p, size_t bytes) {
    PRE(d);
    cuda_give(d, p, bytes);
}

/* To and from memory that is not pinned. Such a copy may wait by itself for what is in the stream: that is
 * waited for before, with a deadline. */
static status copy_and_wait(device *d, void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            const char *op) {
    if (cuda_faulted(d) || cuda_wait(d, d->stream, d->done, op) != ST_OK) return ST_DEVICE;
    if (!cuda_ok(d, cudaMemcpyAsync(to, from, bytes, kind, d->stream), op)) return ST_DEVICE;
    return cuda_wait(d, d->stream, d->done, op);
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
    return MEMORY_HOST;
}

static void cuda_host_unpin(device *d, void *memory) {
    PRE(d);
    PRE(memory);
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
    case DT_Q4_0:
    case DT_Q4_1:
    case DT_Q8_0:
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

/* What the numerics are: the kernels of the architecture, the number type, and how sums are cut. */
static void name_path(device *d, int major, int minor) {
    char mode[32] = "fast";
    uint32_t max_context = d->opt.max_seq_pages * KV_PAGE_TOKENS;
    if (d->opt.deterministic)
        snprintf(mode, sizeof mode, "deterministic/split%u",
                 decode_plan_make(true, max_context, 1, 1).split_tokens);
    snprintf(d->path, sizeof d->path, "cuda/sm_%d%d/%s/%s", major, minor, dtype_name(d->opt.act_type), mode);
}

static status read_properties(device *d, errbuf *eb) {
    int major = 0, minor = 0, sm_count = 0;
    size_t free_bytes = 0, total = 0;
    if (!cuda_ok(d, cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, d->gpu), "open") ||
        !cuda_ok(d, cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, d->gpu), "open") ||
        !cuda_ok(d, cudaDeviceGetAttribute(&sm_count, cudaDevAttrMultiProcessorCount, d->gpu), "open") ||
        !cuda_ok(d, cudaMemGetInfo(&free_bytes, &total), "open"))
        return cuda_fault_text(d, eb);
    if (major < 8)
        return errf(
            eb, ST_UNSUPPORTED,
            "cuda backend: GPU %d has compute capability %d.%d, want 8.0 (Ampere) or newer: use backend: cpu",
            d->gpu, major, minor);
    d->sm_count = (uint32_t)sm_count;
    d->total = total;
    name_path(d, major, minor);
    return ST_OK;
}

static status open_streams(device *d, errbuf *eb) {
    int least = 0, most = 0;
    if (!cuda_ok(d, cudaDeviceGetStreamPriorityRange(&least, &most), "open") ||
        !cuda_ok(d, cudaStreamCreateWithPriority(&d->stream, cudaStreamNonBlocking, least), "open") ||
        !cuda_ok(d, cudaStreamCreateWithPriority(&d->handoff, cudaStreamNonBlocking, most), "open") ||
        !cuda_ok(d, cudaEventCreateWithFlags(&d->done, cudaEventDisableTiming), "open"))
        return cuda_fault_text(d, eb);
    return ST_OK;
}

static void cuda_close(device *d) {
    if (!d || !may_free(d)) return; /* a hung GPU: the process is about to leave, and must get that far */
    cuda_attend_done(d);
    samples_free(d);
    weight_stage_free(d);
    gemm_lt_free(d->gemm);
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
    d->type = type;
    d->opt = *opt;
    d->opt.cpus = NULL; /* borrowed for the call */
    d->opt.isa = NULL;
    uint32_t *sizes[] = {&d->opt.max_rows, &d->opt.max_seqs, &d->opt.max_seq_pages, &d->opt.max_head,
                         &d->opt.page_count};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) *sizes[i] = MAX(*sizes[i], 1u);
    st = read_properties(d, eb);
    if (st == ST_OK) st = open_streams(d, eb);
    if (st == ST_OK && !opt->deterministic && type != NUM_F32) {
        st = gemm_lt_new(&d->gemm, d->stream, eb);
        d->used += GEMM_LT_WORKSPACE_BYTES; /* the library's, but of our share */
    }
    if (st != ST_OK) {
        cuda_close(d);
        return st;
    }
    *out = d;
    return ST_OK;
}

static status cuda_sync(device *d, errbuf *eb) {
    PRE(d);
    if (cuda_faulted(d) || cuda_wait(d, d->stream, d->done, "sync") != ST_OK) return cuda_fault_text(d, eb);
    return ST_OK;
}

const backend_ops cuda_backend = {
    .name = "cuda",
    .features = 0,
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
};
