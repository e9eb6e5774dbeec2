/* device - all that the kernels of this folder may use of the hardware: launches, shared memory, barriers,
 * warp exchanges, asynchronous copies, matrix instructions, 16-bit numbers.
 *
 * nvcc compiles these to single instructions. Where there is no GPU, an ordinary C++ compiler finds
 * cuda_host.h instead (tests/cuda_host), which gives the same names the same meaning on fibers, so that
 * every kernel also runs in the ordinary tests. What is not wrapped here is not used in a kernel. Rules that
 * keep the two alike:
 *
 * - shared memory is dynamic only: shared_memory() is the start of the launch's shared_bytes (16-byte
 *   aligned);
 * - warp functions are called by all 32 lanes of a warp together, and the number of threads is a multiple of
 *   32;
 * - what copy16_async writes may be read only after copy_wait and a block_sync;
 * - blocks of a cluster read each other's shared memory through load16_peer only; where HAS_CLUSTERS is
 *   false a kernel that does has no more in it than a cluster_sync, which is an error there;
 * - kernels take structs by value, hold no static data, and call no library;
 * - a kernel of a step is launched by launch_linked and obeys the rule of the links:
 *
 * Links (programmatic dependent launch, from sm_90 on; elsewhere pdl_trigger and pdl_wait are nothing). A
 * linked kernel may begin as soon as every block of the kernel before it in the stream has called pdl_trigger
 * or ended, so that a small kernel's start and the tail of a large one cost nothing; its pdl_wait returns
 * when that kernel has ended and all it wrote is seen. The rule: every thread calls pdl_wait, and before it
 * neither reads nor overwrites anything that changes while steps run. What is left to do before it: index
 * arithmetic, shared memory, and reading weights, which were complete before the step's tables were copied.
 *
 * Why that is enough, also for what is further back: kernel n goes on when n - 1 has ended. n - 1 could not
 * end before its own wait returned, that is before n - 2 had ended (and if it was not linked it did not begin
 * before that), and so on. After the wait all earlier kernels are done with their reads and writes, exactly
 * as with ordinary launches, however early anybody triggered. So a kernel triggers first thing: all its
 * blocks run by the time the next kernel gets room, so none of them is kept waiting by it. And whatever is
 * not a linked kernel waits for all of the one before it and is waited for: copies, memsets, the library's
 * kernels, an event and so the other stream that waits for it. Kernels of the hand-off stream are not linked.
 * A recording keeps all this as kinds of edges. */
#ifndef BATON_KERNELS_CUDA_DEVICE_CUH
#define BATON_KERNELS_CUDA_DEVICE_CUH

#include "kernels/cuda/launch.h"

#include <stddef.h>
#include <stdint.h>

/* 16-bit numbers: bits only; arithmetic is done in fp32. */
struct bf16 {
    uint16_t bits;
};
struct f16 {
    uint16_t bits;
};
struct alignas(16) vec16 { /* 16 bytes: the unit of memory traffic */
    uint32_t w[4];
};

#define CLUSTER_BLOCKS 8u /* that every device with clusters can run together */

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#define HAS_CLUSTERS false /* what is compiled for this device must not use them */
#else
#define HAS_CLUSTERS true
#endif

/* Whether a device of compute capability `major` has clusters, and code that uses them. */
static inline bool device_has_clusters(int major) {
    if (major < 9) return false;
#ifdef __CUDA_ARCH_LIST__
    const int compiled_for[] = {__CUDA_ARCH_LIST__};
    for (int arch : compiled_for)
        if (arch >= 900) return true;
    return false; /* it runs what is compiled for an older device */
#else
    return true;
#endif
}

#ifndef __CUDACC__
#include "cuda_host.h"
#else

#define WARP_ALL 0xffffffffu

/* Behind the functions below: `linked` as for launch_linked, `cluster` as for launch_cluster or 0. Raises the
 * kernel's limit of shared memory when that is needed. */
template <class Kernel, class... Args>
static inline cudaError_t launch_any(bool linked, unsigned cluster, Kernel kernel, dim3 grid,
                                     unsigned threads, size_t shared_bytes, cudaStream_t stream,
                                     Args... args) {
    if (shared_bytes > 48 * 1024) {
        cudaError_t e = cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel),
                                             cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes);
        if (e != cudaSuccess) return e;
    }
    cudaLaunchAttribute attributes[2] = {};
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = dim3(threads);
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    config.attrs = attributes;
    if (linked && launch_overlaps()) {
        cudaLaunchAttribute *a = &attributes[config.numAttrs++];
        a->id = cudaLaunchAttributeProgrammaticStreamSerialization;
        a->val.programmaticStreamSerializationAllowed = 1;
    }
    if (cluster > 0) {
        cudaLaunchAttribute *a = &attributes[config.numAttrs++];
        a->id = cudaLaunchAttributeClusterDimension;
        a->val.clusterDim = {cluster, 1, 1};
    }
    (void)cudaLaunchKernelEx(&config, kernel, args...);
    return cudaGetLastError();
}

/* All return the error of the launch. An ordinary one begins when all before it in the stream is done. */
template <class Kernel, class... Args>
static inline cudaError_t launch_kernel(Kernel kernel, dim3 grid, unsigned threads, size_t shared_bytes,
                                        cudaStream_t stream, Args... args) {
    return launch_any(false, 0, kernel, grid, threads, shared_bytes, stream, args...);
}
/* A kernel of a step: it may begin before the kernel before it has ended, and calls pdl_wait (above). */
template <class Kernel, class... Args>
static inline cudaError_t launch_linked(Kernel kernel, dim3 grid, unsigned threads, size_t shared_bytes,
                                        cudaStream_t stream, Args... args) {
    return launch_any(true, 0, kernel, grid, threads, shared_bytes, stream, args...);
}

/* A linked kernel with a grid of x alone, `cluster` consecutive blocks of which run together and may read
 * each other's shared memory (load16_peer). cluster: at most CLUSTER_BLOCKS; blocks: a multiple of it. */
template <class Kernel, class... Args>
static inline cudaError_t launch_cluster(Kernel kernel, unsigned cluster, unsigned blocks, unsigned threads,
                                         size_t shared_bytes, cudaStream_t stream, Args... args) {
    return launch_any(true, cluster, kernel, dim3(blocks), threads, shared_bytes, stream, args...);
}

__device__ __forceinline__ void pdl_trigger() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}
__device__ __forceinline__ void pdl_wait() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ __forceinline__ char *shared_memory() {
    extern __shared__ __align__(128) char shared_bytes_[];
    return shared_bytes_;
}

/* --- barriers and warps --- */

__device__ __forceinline__ void block_sync() {
    __syncthreads();
}
__device__ __forceinline__ void warp_sync() {
    __syncwarp();
}
/* All threads of the cluster; what they wrote to shared memory before it is seen by all after it. */
__device__ __forceinline__ void cluster_sync() {
#if HAS_CLUSTERS
    asm volatile("barrier.cluster.arrive.release.aligned;\n\tbarrier.cluster.wait.acquire.aligned;" ::
                     : "memory");
#else
    __trap();
#endif
}
/* The last one of a kernel, after which a block may end: all have used what they read of others. Without
 * cluster_sync's fence, which would wait for writes to global memory too. */
__device__ __forceinline__ void cluster_leave() {
#if HAS_CLUSTERS
    asm volatile("barrier.cluster.arrive.relaxed.aligned;\n\tbarrier.cluster.wait.aligned;" ::: "memory");
#endif
}
/* This thread's writes to global memory are seen by other blocks before what it writes next. */
__device__ __forceinline__ void grid_fence() {
    __threadfence();
}
template <class T> __device__ __forceinline__ T warp_get(T v, int lane) {
    return __shfl_sync(WARP_ALL, v, lane);
}
template <class T> __device__ __forceinline__ T warp_get_xor(T v, int mask) {
    return __shfl_xor_sync(WARP_ALL, v, mask);
}
template <class T> __device__ __forceinline__ T warp_get_up(T v, int delta) { /* lanes below delta keep v */
    return __shfl_up_sync(WARP_ALL, v, delta);
}
__device__ __forceinline__ uint32_t warp_ballot(bool yes) {
    return __ballot_sync(WARP_ALL, yes);
}

/* --- atomics: on global or shared memory; return the old value --- */

__device__ __forceinline__ uint32_t atomic_add(uint32_t *p, uint32_t v) {
    return atomicAdd(p, v);
}
__device__ __forceinline__ unsigned long long atomic_add(unsigned long long *p, unsigned long long v) {
    return atomicAdd(p, v);
}
__device__ __forceinline__ uint32_t atomic_swap(uint32_t *p, uint32_t v) {
    return atomicExch(p, v);
}

/* --- memory --- */

/* Global memory that is read once: past L1, evicted first. */
__device__ __forceinline__ vec16 load16_once(const void *p) {
    vec16 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.w[0]), "=r"(v.w[1]), "=r"(v.w[2]), "=r"(v.w[3])
                 : "l"(p));
    return v;
}
/* The same for weights before pdl_wait: the compiler is free to move a load of the kind above behind it, and
 * does. */
__device__ __forceinline__ vec16 load16_ahead(const void *p) {
    vec16 v;
    asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.w[0]), "=r"(v.w[1]), "=r"(v.w[2]), "=r"(v.w[3])
                 : "l"(p)
                 : "memory");
    return v;
}
/* Global or shared memory, 16-byte aligned. */
__device__ __forceinline__ vec16 load16(const void *p) {
    return *reinterpret_cast<const vec16 *>(p);
}
__device__ __forceinline__ void store16(void *p, vec16 v) {
    *reinterpret_cast<vec16 *>(p) = v;
}
/* What stands at the place `shared`, of this block, in the shared memory of block `rank` of the cluster (its
 * index in the cluster); 16-byte aligned. That block has written it before a cluster_sync, and ends
 * after a cluster_leave that comes later than this. */
__device__ __forceinline__ vec16 load16_peer(const void *shared, uint32_t rank) {
    vec16 v = {};
#if HAS_CLUSTERS
    uint32_t at;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
                 : "=r"(at)
                 : "r"((uint32_t)__cvta_generic_to_shared(shared)), "r"(rank));
    asm volatile("ld.shared::cluster.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.w[0]), "=r"(v.w[1]), "=r"(v.w[2]), "=r"(v.w[3])
                 : "r"(at)
                 : "memory");
#endif
    return v;
}
/* Global memory that another block wrote before it passed a grid_fence and an atomic that this one saw. */
__device__ __forceinline__ float load_fresh(const float *p) {
    return __ldcg(p);
}

/* 16 bytes, global -> shared, in the background; with valid = false zeros are written and global is not read.
 */
__device__ __forceinline__ void copy16_async(void *shared, const void *global, bool valid) {
    uint32_t to = (uint32_t)__cvta_generic_to_shared(shared);
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(bytes)
                 : "memory");
}
__device__ __forceinline__ void copy_commit() { /* what this thread started since the last commit is one group
                                                 */
    asm volatile("cp.async.commit_group;" ::: "memory");
}
/* Waits until at most `left` of this thread's groups are under way. */
template <int left> __device__ __forceinline__ void copy_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
}

/* --- matrices --- */

/* ldmatrix: four 8x8 matrices of 16-bit numbers; lane l gives the address of row l % 8 of matrix l / 8 (16
 * bytes). r[j] of lane l holds elements (l / 4, 2 * (l % 4)) and the next of matrix j; with `trans` of its
 * transpose. The rows of a matrix lie in different banks (addresses / 16 differ mod 8), so that each matrix
 * is one read. */
__device__ __forceinline__ void load_matrix_x4(uint32_t r[4], const void *row) {
    uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}
__device__ __forceinline__ void load_matrix_x4_trans(uint32_t r[4], const void *row) {
    uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}
/* d += a b: a is 16x16 (rows m, columns k), b is 16x8 (k, n), d is 16x8 in fp32. With g = lane / 4, t = lane
 * % 4: a[0], a[2]: row g, k = 2t and 2t + 8 (each with the next); a[1], a[3]: row g + 8; b[0], b[1]: column
 * g, k = 2t and 2t
 * + 8; d[0], d[1]: row g, columns 2t and 2t + 1; d[2], d[3]: row g + 8. */
__device__ __forceinline__ void matrix_add(float d[4], const uint32_t a[4], const uint32_t b[2], bf16) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
                 "{%8, %9}, {%0, "
                 "%1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void matrix_add(float d[4], const uint32_t a[4], const uint32_t b[2], f16) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, "
                 "%9}, {%0, "
                 "%1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* --- numbers --- */

__device__ __forceinline__ uint32_t bits_of(float x) {
    return __float_as_uint(x);
}
__device__ __forceinline__ float float_of_bits(uint32_t u) {
    return __uint_as_float(u);
}
__device__ __forceinline__ uint64_t bits_of(double x) {
    return (uint64_t)__double_as_longlong(x);
}
__device__ __forceinline__ double double_of_bits(uint64_t u) {
    return __longlong_as_double((long long)u);
}
__device__ __forceinline__ float to_float(bf16 x) {
    return __uint_as_float((uint32_t)x.bits << 16);
}
__device__ __forceinline__ float to_float(f16 x) {
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(x.bits));
    return f;
}
__device__ __forceinline__ float to_float(float x) {
    return x;
}
/* Round to nearest even; two at a time: `low` goes into the low half. */
__device__ __forceinline__ uint32_t pack2(float low, float high, bf16) {
    uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
__device__ __forceinline__ uint32_t pack2(float low, float high, f16) {
    uint32_t r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
__device__ __forceinline__ float exp2_fast(float x) { /* 2^x, about 2 ulp; 0 for -infinity */
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
__device__ __forceinline__ float sqrt_exact(float x) {
    return __fsqrt_rn(x);
}
__device__ __forceinline__ float div_exact(float a, float b) {
    return __fdiv_rn(a, b);
}
__device__ __forceinline__ double div_exact(double a, double b) {
    return __ddiv_rn(a, b);
}
/* One rounding each: never contracted into a multiply-add. */
__device__ __forceinline__ float add_exact(float a, float b) {
    return __fadd_rn(a, b);
}
__device__ __forceinline__ double add_exact(double a, double b) {
    return __dadd_rn(a, b);
}
__device__ __forceinline__ float mul_exact(float a, float b) {
    return __fmul_rn(a, b);
}
__device__ __forceinline__ double mul_exact(double a, double b) {
    return __dmul_rn(a, b);
}
/* a * b + c in one rounding. */
__device__ __forceinline__ float fma_exact(float a, float b, float c) {
    return __fmaf_rn(a, b, c);
}
#endif

/* --- what is the same everywhere --- */

/* Where a linked kernel has nothing to do before its pdl_wait: its first line. */
__device__ __forceinline__ void pdl_begin() {
    pdl_trigger();
    pdl_wait();
}

template <class T> __device__ __forceinline__ T from_float(float x) {
    T r;
    r.bits = (uint16_t)pack2(x, 0.0f, T());
    return r;
}
template <> __device__ __forceinline__ float from_float<float>(float x) {
    return x;
}
/* The halves of a packed pair. */
template <class T> __device__ __forceinline__ float low_of(uint32_t pair) {
    T x;
    x.bits = (uint16_t)pair;
    return to_float(x);
}
template <class T> __device__ __forceinline__ float high_of(uint32_t pair) {
    T x;
    x.bits = (uint16_t)(pair >> 16);
    return to_float(x);
}
/* Over the 32 lanes, every lane gets the result; a fixed tree, so the same bits each time. */
__device__ __forceinline__ float warp_sum(float v) {
    for (int m = 16; m > 0; m >>= 1) v += warp_get_xor(v, m);
    return v;
}
__device__ __forceinline__ float warp_max(float v) {
    for (int m = 16; m > 0; m >>= 1) {
        float o = warp_get_xor(v, m);
        v = o > v ? o : v;
    }
    return v;
}

#endif
