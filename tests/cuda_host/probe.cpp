#include "probe.h"

#include "kernels/cuda/device.cuh"

/* --- matrices: element i of a fragment lies where the PTX ISA says (Matrix Fragments for mma.m16n8k16) ---
 */

struct matrix_args {
    const uint16_t *a, *b;
    float *d;
};
template <class T> static __global__ void matrix_kernel(matrix_args p) {
    uint32_t lane = threadIdx.x, group = lane >> 2, in_group = lane % 4;
    uint32_t a[4] = {}, b[2] = {};
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t row = i < 2 || (4 <= i && i < 6) ? group : group + 8;
        uint32_t col = in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0);
        a[i / 2] |= (uint32_t)p.a[row * 16 + col] << 16 * (i % 2);
    }
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t row = in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0);
        b[i / 2] |= (uint32_t)p.b[row * 8 + group] << 16 * (i % 2);
    }
    float d[4];
    float *at[4];
    for (uint32_t i = 0; i < 4; i++) {
        at[i] = p.d + (i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1);
        d[i] = *at[i];
    }
    matrix_add(d, a, b, T());
    for (uint32_t i = 0; i < 4; i++) *at[i] = d[i];
}
cudaError_t probe_matrix(const uint16_t *a, const uint16_t *b, float *d, bool half) {
    matrix_args p = {a, b, d};
    return half ? launch_kernel(matrix_kernel<f16>, dim3(1), 32, 0, 0, p)
                : launch_kernel(matrix_kernel<bf16>, dim3(1), 32, 0, 0, p);
}

struct load_args {
    const uint16_t *m;
    uint32_t *r;
    bool trans;
};
static __global__ void load_kernel(load_args p) {
    uint16_t *s = reinterpret_cast<uint16_t *>(shared_memory());
    for (uint32_t i = 0; i < 8; i++) s[threadIdx.x * 8 + i] = p.m[threadIdx.x * 8 + i];
    block_sync();
    if (p.trans)
        load_matrix_x4_trans(p.r + threadIdx.x * 4, s + threadIdx.x * 8);
    else
        load_matrix_x4(p.r + threadIdx.x * 4, s + threadIdx.x * 8);
}
cudaError_t probe_load_matrix(const uint16_t *m, uint32_t *r, bool trans) {
    load_args p = {m, r, trans};
    return launch_kernel(load_kernel, dim3(1), 32, 512, 0, p);
}

/* --- warps --- */

static __global__ void warp_kernel(uint32_t *out) {
    uint32_t l = threadIdx.x, v = 100 + l;
    out[l] = warp_get(v, 31 - (int)l);
    out[32 + l] = warp_get_xor(v, 5);
    out[64 + l] = warp_get_up(v, 3);
    out[96 + l] = warp_ballot(l % 3 == 0);
}
cudaError_t probe_warp(uint32_t *out) {
    return launch_kernel(warp_kernel, dim3(1), 32, 0, 0, out);
}
static __global__ void wide_kernel(uint64_t *out) {
    out[threadIdx.x] = warp_get((uint64_t)threadIdx.x << 40 | threadIdx.x, ((int)threadIdx.x + 1) % 32);
}
cudaError_t probe_warp_wide(uint64_t *out) {
    return launch_kernel(wide_kernel, dim3(1), 32, 0, 0, out);
}

/* --- shared memory, copies, order --- */

static __global__ void shared_kernel(uint32_t *out) {
    uint32_t *s = reinterpret_cast<uint32_t *>(shared_memory());
    out[threadIdx.x] = s[threadIdx.x];
    s[threadIdx.x] = 0;
}
cudaError_t probe_shared(uint32_t *out) {
    return launch_kernel(shared_kernel, dim3(2), 32, 128, 0, out);
}

struct copies_args {
    const char *from;
    uint32_t *out;
    probe_copy how;
};
static __global__ void copies_kernel(copies_args p) {
    char *s = shared_memory() + threadIdx.x * 32;
    for (uint32_t i = 0; i < 2; i++) {
        copy16_async(s + 16 * i, p.from + threadIdx.x * 32 + 16 * i, p.how != COPY_ZEROS);
        copy_commit();
    }
    if (p.how == COPY_WAITED || p.how == COPY_ZEROS) copy_wait<0>();
    if (p.how == COPY_NEWEST_NOT_WAITED) copy_wait<1>();
    block_sync();
    for (uint32_t i = 0; i < 2; i++) store16(p.out + threadIdx.x * 8 + 4 * i, load16(s + 16 * i));
}
cudaError_t probe_copies(const void *from, uint32_t *out, probe_copy how) {
    copies_args p = {static_cast<const char *>(from), out, how};
    return launch_kernel(copies_kernel, dim3(1), 32, 1024, 0, p);
}

struct order_args {
    float *out;
    uint32_t back;
    bool barrier;
};
static __global__ void order_kernel(order_args p) {
    float *s = reinterpret_cast<float *>(shared_memory());
    uint32_t t = threadIdx.x;
    s[t] = 1.0f + (float)t;
    if (p.barrier) block_sync();
    p.out[t] = s[t < p.back ? t : t - p.back];
}
cudaError_t probe_order(float *out, bool lanes, bool barrier) {
    order_args p = {out, lanes ? 1u : 32u, barrier};
    return launch_kernel(order_kernel, dim3(1), 64, 256, 0, p);
}

static __global__ void early_kernel(uint32_t *out) {
    uint32_t *s = reinterpret_cast<uint32_t *>(shared_memory()), t = threadIdx.x;
    s[t] = t;
    out[t] = 0;
    if (t / 32 % 2) return;
    block_sync();
    out[t] = s[127 - t] + s[t];
}
cudaError_t probe_early_return(uint32_t *out) {
    return launch_kernel(early_kernel, dim3(1), 128, 512, 0, out);
}

/* --- clusters --- */

struct cluster_args {
    uint32_t *out;
    uint32_t cluster;
    bool sync;
};
static __global__ void cluster_kernel(cluster_args p) {
    pdl_begin();
    uint32_t *s = reinterpret_cast<uint32_t *>(shared_memory()) + 4 * threadIdx.x;
    if (threadIdx.x >= 32) return;
    for (uint32_t i = 0; i < blockIdx.x; i++) block_sync();
    const uint32_t v = 1 + blockIdx.x;
    store16(s, {{v, v, v, v}});
    if (p.sync) cluster_sync();
    uint32_t sum = 0;
    for (uint32_t i = 0; i < p.cluster; i++) sum += load16_peer(s, i).w[threadIdx.x % 4];
    p.out[blockIdx.x * 32 + threadIdx.x] = sum;
    cluster_leave();
}
cudaError_t probe_cluster(uint32_t *out, unsigned cluster, unsigned blocks, bool sync) {
    cluster_args p = {out, cluster, sync};
    return launch_cluster(cluster_kernel, cluster, blocks, 64, 512, 0, p);
}

/* --- launches --- */

static __global__ void grid_kernel(uint32_t *out) {
    uint32_t b = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    if (threadIdx.x == blockDim.x - 1) out[b] += 1 + b;
}
cudaError_t probe_grid(uint32_t *out, dim3 grid, cudaStream_t stream) {
    return launch_kernel(grid_kernel, grid, 64, 0, stream, out);
}
static __global__ void add_kernel(uint32_t *p, uint32_t v) {
    atomic_add(p, v);
}
cudaError_t probe_add(uint32_t *p, uint32_t v, cudaStream_t stream) {
    return launch_kernel(add_kernel, dim3(1), 64, 0, stream, p, v);
}
static __global__ void nothing_kernel() {}
cudaError_t probe_shape(unsigned grid, unsigned threads, size_t shared_bytes) {
    return launch_kernel(nothing_kernel, dim3(grid), threads, shared_bytes, 0);
}

struct broken_args {
    probe_error error;
    char *memory;
};
static __global__ void broken_kernel(broken_args p) {
    char *s = shared_memory();
    uint32_t r[4], lane = threadIdx.x;
    switch (p.error) {
    case ERROR_SHARED_OVERRUN:
        s[1024 + lane] = 0;
        break;
    case ERROR_APART:
        if (lane < 16)
            warp_get(lane, 0);
        else
            warp_ballot(true);
        break;
    case ERROR_EARLY_RETURN:
        if (lane == 7) return;
        warp_get(lane, 0);
        break;
    case ERROR_BARRIER_APART:
        if (lane < 16)
            block_sync();
        else
            warp_sync();
        break;
    case ERROR_LOAD_UNALIGNED:
        load16(s + 8);
        break;
    case ERROR_COPY_UNALIGNED:
        copy16_async(s + 4, p.memory, true);
        break;
    case ERROR_ROW_UNALIGNED:
        load_matrix_x4(r, s + 2 * lane);
        break;
    case ERROR_ROW_GLOBAL:
        load_matrix_x4(r, p.memory);
        break;
    case ERROR_ROW_BANKS:
        load_matrix_x4(r, s + 32 * lane);
        break;
    case ERROR_ONCE_SHARED:
        load16_once(s);
        break;
    case ERROR_PEER_GLOBAL:
        load16_peer(p.memory, 0);
        break;
    case ERROR_PEER_MISSING:
        load16_peer(s, 2);
        break;
    case ERROR_PEER_ENDED:
        cluster_sync();
        load16_peer(s, 1 - blockIdx.x);
        break;
    case ERROR_BARRIERS_APART:
        if (threadIdx.x < 32)
            block_sync();
        else
            cluster_sync();
        break;
    case ERROR_NEVER_WAITED:
        load16_ahead(p.memory); /* allowed */
        if (lane == 9) return;
        break;
    case ERROR_EARLY_LOAD:
        load16(p.memory);
        break;
    case ERROR_EARLY_STORE:
        store16(p.memory, vec16());
        break;
    case ERROR_EARLY_COPY:
        copy16_async(s, p.memory, true);
        break;
    case ERROR_EARLY_ATOMIC:
        atomic_add(reinterpret_cast<uint32_t *>(p.memory), 1u);
        break;
    }
    pdl_wait();
}
cudaError_t probe_broken(probe_error error, void *memory) {
    broken_args p = {error, static_cast<char *>(memory)};
    if (error >= ERROR_NEVER_WAITED) return launch_linked(broken_kernel, dim3(1), 32, 1024, 0, p);
    if (error >= ERROR_PEER_GLOBAL) return launch_cluster(broken_kernel, 2, 2, 64, 1024, 0, p);
    return launch_kernel(broken_kernel, dim3(1), 32, 1024, 0, p);
}

/* --- numbers --- */

uint16_t probe_to_bf16(float x) {
    return from_float<bf16>(x).bits;
}
uint16_t probe_to_f16(float x) {
    return from_float<f16>(x).bits;
}
float probe_from_f16(uint16_t bits) {
    return to_float(f16{bits});
}
float probe_exp2(float x) {
    return exp2_fast(x);
}
