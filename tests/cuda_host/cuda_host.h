/* cuda_host - the host side of kernels/cuda/device.cuh: the same functions, with the same results, on the
 * CPU.
 *
 * Each thread of a block is a fiber (block.cpp); the blocks of a launch run one after another on the OS
 * thread that launches, those of a cluster together. A warp function deposits its operands and lets the next
 * lane run; when the last lane of the warp came, it is computed for all 32 (warp.cpp). Broken rules of
 * device.cuh end the process with a message that names launch, block, thread and source line: that is why
 * functions that can be misused have the caller's file and line as last parameters.
 *
 * Hostile where the hardware may be: shared memory is 0xff before each block and exactly as large as asked,
 * what copy16_async writes is 0xff until copy_wait, and BATON_EMU_ORDER changes which thread comes first.
 *
 * Linked kernels run as ordinary ones. That the rule is kept is checked as far as it can be: every thread
 * must have called pdl_wait when it returns, and the functions below refuse global memory before it. What a
 * kernel reads through a plain pointer is not seen. */
#ifndef BATON_TESTS_CUDA_HOST_H
#define BATON_TESTS_CUDA_HOST_H

#include "emulation.h"
#include "kernels/half.h"

#include <float.h>
#include <math.h>
#include <string.h>
#include <type_traits>

#define WARP_ALL 0xffffffffu
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define CUDA_HOST_AT const char *file = __builtin_FILE(), int line = __builtin_LINE()

/* --- where a kernel is --- */

struct cuda_host_block {
    uint3 index;
    unsigned rank; /* in its cluster */
    dim3 threads, grid;
    char *shared;
    size_t shared_bytes;
};
struct cuda_host_thread {
    uint3 index;
    unsigned lane;
    cuda_host_block *block;
    bool waited; /* pdl_wait was called, or need not be */
};
extern __thread cuda_host_thread *cuda_host_now; /* the running fiber's */

#define threadIdx (cuda_host_now->index)
#define blockIdx  (cuda_host_now->block->index)
#define blockDim  (cuda_host_now->block->threads)
#define gridDim   (cuda_host_now->block->grid)

/* --- launches --- */

/* A grid, and where in the source it is launched. */
struct cuda_host_grid {
    dim3 grid;
    const char *file;
    int line;
    cuda_host_grid(dim3 g, CUDA_HOST_AT) : grid(g), file(file), line(line) {}
    cuda_host_grid(unsigned x, CUDA_HOST_AT) : grid(x), file(file), line(line) {}
};
struct cuda_host_launch {
    cuda_host_grid grid;
    unsigned threads;
    size_t shared_bytes;
    bool linked;
    unsigned cluster; /* blocks of x that run together */
};
/* What the real launch would say to this shape. */
cudaError_t cuda_host_check(const cuda_host_launch *l);
/* Runs all blocks; every thread calls body(kernel). */
void cuda_host_run(const cuda_host_launch *l, void (*body)(const void *kernel), const void *kernel);

template <class Call> struct cuda_host_record {
    cuda_host_launch launch;
    Call call;
};
template <class Call> static void cuda_host_body(const void *call) {
    (*static_cast<const Call *>(call))();
}
template <class Call> static void cuda_host_replay(void *record) {
    cuda_host_record<Call> *r = static_cast<cuda_host_record<Call> *>(record);
    cuda_host_run(&r->launch, cuda_host_body<Call>, &r->call);
}

template <class Kernel, class... Args>
static inline cudaError_t cuda_host_launch_any(bool linked, unsigned cluster, Kernel kernel,
                                               cuda_host_grid grid, unsigned threads, size_t shared_bytes,
                                               cudaStream_t stream, Args... args) {
    auto call = [=] { kernel(args...); };
    static_assert(std::is_trivially_copyable<decltype(call)>::value,
                  "kernels take plain structs and numbers by value");
    cuda_host_record<decltype(call)> record = {{grid, threads, shared_bytes, linked, cluster}, call};
    cudaError_t e = cuda_host_check(&record.launch);
    if (e != cudaSuccess) return e;
    return emulation_enqueue(stream, EMULATION_KERNEL, cuda_host_replay<decltype(call)>, &record,
                             sizeof record);
}

template <class Kernel, class... Args>
static inline cudaError_t launch_kernel(Kernel kernel, cuda_host_grid grid, unsigned threads,
                                        size_t shared_bytes, cudaStream_t stream, Args... args) {
    return cuda_host_launch_any(false, 1, kernel, grid, threads, shared_bytes, stream, args...);
}
template <class Kernel, class... Args>
static inline cudaError_t launch_linked(Kernel kernel, cuda_host_grid grid, unsigned threads,
                                        size_t shared_bytes, cudaStream_t stream, Args... args) {
    return cuda_host_launch_any(launch_overlaps(), 1, kernel, grid, threads, shared_bytes, stream, args...);
}
template <class Kernel, class... Args>
static inline cudaError_t launch_cluster(Kernel kernel, unsigned cluster, cuda_host_grid grid,
                                         unsigned threads, size_t shared_bytes, cudaStream_t stream,
                                         Args... args) {
    return cuda_host_launch_any(launch_overlaps(), cluster, kernel, grid, threads, shared_bytes, stream,
                                args...);
}
static inline void pdl_trigger() {}
static inline void pdl_wait() {
    cuda_host_now->waited = true;
}

static inline char *shared_memory() {
    return cuda_host_now->block->shared;
}

/* --- barriers and warps --- */

enum cuda_host_kind {
    CUDA_HOST_RETURN,
    CUDA_HOST_BLOCK_SYNC,
    CUDA_HOST_CLUSTER_SYNC,
    CUDA_HOST_WARP_SYNC,
    CUDA_HOST_GET4,
    CUDA_HOST_GET8,
    CUDA_HOST_BALLOT,
    CUDA_HOST_LOAD_MATRIX,
    CUDA_HOST_LOAD_MATRIX_TRANS,
    CUDA_HOST_MATRIX_BF16,
    CUDA_HOST_MATRIX_F16,
};
struct cuda_host_get { /* value becomes that of lane `from` */
    void *value;
    unsigned from;
};
struct cuda_host_ballot {
    bool yes;
    uint32_t all;
};
struct cuda_host_rows {
    uint32_t *r;
    const void *row;
};
struct cuda_host_product {
    float *d;
    const uint32_t *a, *b;
};
/* Returns when all threads that take part have come; operands are one of the structs above. */
void cuda_host_meet(cuda_host_kind kind, void *operands, const char *file, int line);
/* Ends the process: the running thread broke a rule. */
[[noreturn]] void cuda_host_fail(const char *file, int line, const char *what, const void *p);
/* True when all `bytes` lie in the block's shared memory. */
static inline bool cuda_host_shared(const void *p, size_t bytes) {
    const cuda_host_block *b = cuda_host_now->block;
    uintptr_t at = (uintptr_t)p - (uintptr_t)b->shared;
    return at <= b->shared_bytes && b->shared_bytes - at >= bytes;
}

/* p is about to be read or written as memory that an earlier kernel may use. */
static inline void cuda_host_touch(const void *p, const char *file, int line) {
    if (!cuda_host_now->waited && !cuda_host_shared(p, 1))
        cuda_host_fail(file, line, "global memory is used before pdl_wait", p);
}

static inline void block_sync(CUDA_HOST_AT) {
    cuda_host_meet(CUDA_HOST_BLOCK_SYNC, NULL, file, line);
}
static inline void cluster_sync(CUDA_HOST_AT) {
    cuda_host_meet(CUDA_HOST_CLUSTER_SYNC, NULL, file, line);
}
static inline void cluster_leave(CUDA_HOST_AT) {
    cuda_host_meet(CUDA_HOST_CLUSTER_SYNC, NULL, file, line);
}
static inline void warp_sync(CUDA_HOST_AT) {
    cuda_host_meet(CUDA_HOST_WARP_SYNC, NULL, file, line);
}
static inline void grid_fence() {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
template <class T> static inline T cuda_host_get_from(T v, unsigned from, const char *file, int line) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "lanes exchange 4 or 8 bytes");
    cuda_host_get get = {&v, from};
    cuda_host_meet(sizeof(T) == 4 ? CUDA_HOST_GET4 : CUDA_HOST_GET8, &get, file, line);
    return v;
}
template <class T> static inline T warp_get(T v, int lane, CUDA_HOST_AT) {
    return cuda_host_get_from(v, (unsigned)lane & 31, file, line);
}
template <class T> static inline T warp_get_xor(T v, int mask, CUDA_HOST_AT) {
    return cuda_host_get_from(v, (cuda_host_now->lane ^ (unsigned)mask) & 31, file, line);
}
template <class T> static inline T warp_get_up(T v, int delta, CUDA_HOST_AT) {
    unsigned lane = cuda_host_now->lane;
    return cuda_host_get_from(v, lane < (unsigned)delta ? lane : lane - (unsigned)delta, file, line);
}
static inline uint32_t warp_ballot(bool yes, CUDA_HOST_AT) {
    cuda_host_ballot ballot = {yes, 0};
    cuda_host_meet(CUDA_HOST_BALLOT, &ballot, file, line);
    return ballot.all;
}

/* --- atomics: other OS threads may run kernels on the same memory --- */

static inline uint32_t atomic_add(uint32_t *p, uint32_t v, CUDA_HOST_AT) {
    cuda_host_touch(p, file, line);
    return __atomic_fetch_add(p, v, __ATOMIC_RELAXED);
}
static inline unsigned long long atomic_add(unsigned long long *p, unsigned long long v, CUDA_HOST_AT) {
    cuda_host_touch(p, file, line);
    return __atomic_fetch_add(p, v, __ATOMIC_RELAXED);
}
static inline uint32_t atomic_swap(uint32_t *p, uint32_t v, CUDA_HOST_AT) {
    cuda_host_touch(p, file, line);
    return __atomic_exchange_n(p, v, __ATOMIC_RELAXED);
}

/* --- memory --- */

static inline vec16 cuda_host_load16(const void *p, const char *file, int line) {
    if ((uintptr_t)p % 16) cuda_host_fail(file, line, "load16: the address is not 16-byte aligned", p);
    return *static_cast<const vec16 *>(p);
}
static inline vec16 load16(const void *p, CUDA_HOST_AT) {
    cuda_host_touch(p, file, line);
    return cuda_host_load16(p, file, line);
}
static inline void store16(void *p, vec16 v, CUDA_HOST_AT) {
    if ((uintptr_t)p % 16) cuda_host_fail(file, line, "store16: the address is not 16-byte aligned", p);
    cuda_host_touch(p, file, line);
    *static_cast<vec16 *>(p) = v;
}
static inline vec16 load16_once(const void *p, CUDA_HOST_AT) {
    if (cuda_host_shared(p, 1)) cuda_host_fail(file, line, "load16_once: the address is in shared memory", p);
    return load16(p, file, line);
}
static inline vec16 load16_ahead(const void *p, CUDA_HOST_AT) { /* the only one that may come before */
    if (cuda_host_shared(p, 1))
        cuda_host_fail(file, line, "load16_ahead: the address is in shared memory", p);
    return cuda_host_load16(p, file, line);
}
/* The place in the shared memory of block `rank` of the cluster; the process ends when there is no such block
 * any more. */
const void *cuda_host_peer(const void *shared, unsigned rank, const char *file, int line);
static inline vec16 load16_peer(const void *shared, uint32_t rank, CUDA_HOST_AT) {
    if (!cuda_host_shared(shared, 16))
        cuda_host_fail(file, line, "load16_peer: the address is not in shared memory", shared);
    return cuda_host_load16(cuda_host_peer(shared, rank, file, line), file, line);
}
static inline float load_fresh(const float *p, CUDA_HOST_AT) {
    cuda_host_touch(p, file, line);
    float v;
    __atomic_load(p, &v, __ATOMIC_RELAXED);
    return v;
}

void cuda_host_copy16(void *shared, const void *global, bool valid, const char *file, int line);
void cuda_host_copy_commit();
void cuda_host_copy_wait(unsigned left);
static inline void copy16_async(void *shared, const void *global, bool valid, CUDA_HOST_AT) {
    cuda_host_copy16(shared, global, valid, file, line);
}
static inline void copy_commit() {
    cuda_host_copy_commit();
}
template <int left> static inline void copy_wait() {
    cuda_host_copy_wait(left);
}

/* --- matrices --- */

static inline void cuda_host_load_matrix(cuda_host_kind kind, uint32_t r[4], const void *row,
                                         const char *file, int line) {
    if ((uintptr_t)row % 16) cuda_host_fail(file, line, "load_matrix: the row is not 16-byte aligned", row);
    if (!cuda_host_shared(row, 16))
        cuda_host_fail(file, line, "load_matrix: the row is not in shared memory", row);
    cuda_host_rows rows = {r, row};
    cuda_host_meet(kind, &rows, file, line);
}
static inline void load_matrix_x4(uint32_t r[4], const void *row, CUDA_HOST_AT) {
    cuda_host_load_matrix(CUDA_HOST_LOAD_MATRIX, r, row, file, line);
}
static inline void load_matrix_x4_trans(uint32_t r[4], const void *row, CUDA_HOST_AT) {
    cuda_host_load_matrix(CUDA_HOST_LOAD_MATRIX_TRANS, r, row, file, line);
}
static inline void matrix_add(float d[4], const uint32_t a[4], const uint32_t b[2], bf16, CUDA_HOST_AT) {
    cuda_host_product product = {d, a, b};
    cuda_host_meet(CUDA_HOST_MATRIX_BF16, &product, file, line);
}
static inline void matrix_add(float d[4], const uint32_t a[4], const uint32_t b[2], f16, CUDA_HOST_AT) {
    cuda_host_product product = {d, a, b};
    cuda_host_meet(CUDA_HOST_MATRIX_F16, &product, file, line);
}

/* --- numbers --- */

static inline uint32_t bits_of(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
static inline float float_of_bits(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}
static inline uint64_t bits_of(double x) {
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
static inline double double_of_bits(uint64_t u) {
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}
static inline float to_float(bf16 x) {
    return float_of_bits((uint32_t)x.bits << 16);
}
static inline float to_float(f16 x) {
    return f32_of_half(x.bits);
}
static inline float to_float(float x) {
    return x;
}
/* To nearest even; every NaN becomes 0x7fff, as cvt.rn makes it. */
static inline uint32_t cuda_host_bf16(float x) {
    return x != x ? 0x7fff : bf16_of_f32(x);
}
static inline uint32_t cuda_host_f16(float x) {
    return x != x ? 0x7fff : half_of_f32(x);
}
static inline uint32_t pack2(float low, float high, bf16) {
    return cuda_host_bf16(high) << 16 | cuda_host_bf16(low);
}
static inline uint32_t pack2(float low, float high, f16) {
    return cuda_host_f16(high) << 16 | cuda_host_f16(low);
}
static inline float exp2_fast(float x) {
    float y = exp2f(x);
    return y < FLT_MIN ? 0.0f : y; /* subnormal results are flushed */
}
static inline float sqrt_exact(float x) {
    return sqrtf(x);
}
static inline float div_exact(float a, float b) {
    return a / b;
}
static inline double div_exact(double a, double b) {
    return a / b;
}
static inline float add_exact(float a, float b) {
    return a + b;
}
static inline double add_exact(double a, double b) {
    return a + b;
}
static inline float mul_exact(float a, float b) {
    return a * b;
}
static inline double mul_exact(double a, double b) {
    return a * b;
}
static inline float fma_exact(float a, float b, float c) {
    return fmaf(a, b, c);
}
#endif
