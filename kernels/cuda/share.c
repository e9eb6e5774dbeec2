#include "kernels/cuda/share.h"

#include "base/log.h"
#include "base/mem.h"
#include "kernels/cuda/driver.h"
#include "kernels/cuda/gpu.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static_assert(sizeof(CUuuid) == SHARE_UUID_BYTES, "a UUID travels as it is");

/* Constant after open. */
struct shares {
    driver lib;
    status can; /* else `why` */
    errbuf why;
    size_t granularity; /* sizes and addresses are multiples of it */
    unsigned char uuid[SHARE_UUID_BYTES];
};

struct gpu_share {
    size_t bytes; /* rounded up */
    CUmemGenericAllocationHandle memory;
    CUdeviceptr at;
    bool held, mapped, owner;
    memory_kind in;
};

static CUmemAllocationProp prop_of(const device *d) {
    CUmemAllocationProp p = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                             .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR};
    p.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    p.location.id = d->gpu;
    return p;
}

static bool has(const shares *s, CUdevice_attribute a, int gpu) {
    int value = 0;
    return s->lib.DeviceGetAttribute(&value, a, gpu) == CUDA_SUCCESS && value;
}

static status look(shares *s, const device *d, errbuf *eb) {
    status st = driver_open(&s->lib, eb);
    if (st != ST_OK) return st;
    CUuuid uuid;
    CUresult r = s->lib.DeviceGetUuid(&uuid, d->gpu);
    if (r != CUDA_SUCCESS)
        return errf(eb, ST_UNSUPPORTED, "GPU %d does not tell its UUID: %s", d->gpu,
                    driver_error(&s->lib, r));
    memcpy(s->uuid, uuid.bytes, sizeof s->uuid);
    if (!has(s, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, d->gpu) ||
        !has(s, CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED, d->gpu))
        return errf(eb, ST_UNSUPPORTED,
                    "GPU %d, or its driver, cannot export memory to another process: take transport shm",
                    d->gpu);
    const CUmemAllocationProp p = prop_of(d);
    r = s->lib.MemGetAllocationGranularity(&s->granularity, &p, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED);
    if (r == CUDA_SUCCESS && s->granularity > 0) return ST_OK;
    return errf(eb, ST_UNSUPPORTED, "GPU %d does not tell the granularity of its memory: %s", d->gpu,
                driver_error(&s->lib, r));
}

void shares_new(device *d) {
    PRE(d);
    PRE(!d->shares);
    d->shares = xcalloc(1, sizeof *d->shares);
    d->shares->can = look(d->shares, d, &d->shares->why);
}

void shares_free(device *d) {
    PRE(d);
    free(d->shares);
    d->shares = NULL;
}

static status share_check(device *d, errbuf *eb) {
    PRE(d);
    const shares *s = d->shares;
    return s->can == ST_OK ? ST_OK : errf(eb, s->can, "%s", s->why.text);
}

static void share_uuid(const device *d, unsigned char out[SHARE_UUID_BYTES]) {
    PRE(d);
    PRE(out);
    memcpy(out, d->shares->uuid, SHARE_UUID_BYTES);
}

static bool is_own(const device *d, const unsigned char uuid[SHARE_UUID_BYTES]) {
    return memcmp(uuid, d->shares->uuid, SHARE_UUID_BYTES) == 0;
}

/* The number here of the GPU `uuid`; -1: it is not visible. */
static int number_of(const device *d, const unsigned char uuid[SHARE_UUID_BYTES]) {
    int count = 0;
    CUuuid other;
    if (cudaGetDeviceCount(&count) != cudaSuccess) count = 0;
    for (int i = 0; i < count; i++)
        if (d->shares->lib.DeviceGetUuid(&other, i) == CUDA_SUCCESS &&
            memcmp(other.bytes, uuid, SHARE_UUID_BYTES) == 0)
            return i;
    return -1;
}

static status share_reach(device *d, const unsigned char uuid[SHARE_UUID_BYTES], errbuf *eb) {
    PRE(d);
    PRE(uuid);
    status st = share_check(d, eb);
    if (st != ST_OK || is_own(d, uuid)) return st;
    int peer = number_of(d, uuid);
    if (peer < 0)
        return errf(eb, ST_UNSUPPORTED,
                    "the other GPU is not visible to this process: name both in CUDA_VISIBLE_DEVICES");
    int there = 0, back = 0;
    bool asked = cudaDeviceCanAccessPeer(&there, d->gpu, peer) == cudaSuccess &&
                 cudaDeviceCanAccessPeer(&back, peer, d->gpu) == cudaSuccess;
    if (asked && there && back) return ST_OK;
    (void)cudaGetLastError();
    return errf(eb, ST_UNSUPPORTED, "there is no peer path between GPU %d and GPU %d: take transport shm",
                d->gpu, peer);
}

/* --- mappings --- */

static void unmap(const shares *s, gpu_share *m) {
    if (m->mapped) (void)s->lib.MemUnmap(m->at, m->bytes);
    if (m->at) (void)s->lib.MemAddressFree(m->at, m->bytes);
    if (m->held) (void)s->lib.MemRelease(m->memory);
    free(m);
}

/* Makes the memory that m holds visible to this device. */
static CUresult map(const device *d, gpu_share *m) {
    const driver *lib = &d->shares->lib;
    CUmemAccessDesc access = {.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    access.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    access.location.id = d->gpu;
    CUresult r = lib->MemAddressReserve(&m->at, m->bytes, d->shares->granularity, 0, 0);
    if (r != CUDA_SUCCESS) return r;
    r = lib->MemMap(m->at, m->bytes, 0, m->memory, 0);
    m->mapped = r == CUDA_SUCCESS;
    return m->mapped ? lib->MemSetAccess(m->at, m->bytes, &access, 1) : r;
}

static bool clear(device *d, gpu_share *m) {
    cudaEvent_t done;
    if (!gpu_ok(d, cudaEventCreateWithFlags(&done, cudaEventDisableTiming), "clearing memory")) return false;
    bool ok = gpu_ok(d, cudaMemsetAsync((void *)m->at, 0, m->bytes, d->handoff), "clearing memory") &&
              gpu_wait(d, d->handoff, done, "clearing memory") == ST_OK;
    if (!atomic_load(&d->fault.hung)) (void)cudaEventDestroy(done);
    return ok;
}

static gpu_share *alloc(const device *d, size_t bytes) {
    gpu_share *m = xcalloc(1, sizeof *m);
    const size_t g = d->shares->granularity;
    m->bytes = (bytes + g - 1) / g * g;
    m->in = MEMORY_DEVICE;
    return m;
}

static status share_create(device *d, size_t bytes, gpu_share **out, int *fd, errbuf *eb) {
    PRE(d);
    PRE(bytes > 0);
    PRE(out);
    PRE(fd);
    status st = share_check(d, eb);
    if (st != ST_OK) return st;
    if (gpu_faulted(d) || !gpu_ok(d, cudaSetDevice(d->gpu), "sharing memory")) /* of this thread */
        return gpu_fault_text(d, eb);
    const driver *lib = &d->shares->lib;
    gpu_share *m = alloc(d, bytes);
    if (!gpu_count_in(d, m->bytes)) {
        errf(eb, ST_NOMEM, "%zu bytes of GPU memory are more than memory_fraction leaves", m->bytes);
        free(m);
        return ST_NOMEM;
    }
    m->owner = true;
    const CUmemAllocationProp prop = prop_of(d);
    const char *call = "cuMemCreate";
    int handle = -1;
    CUresult r = lib->MemCreate(&m->memory, m->bytes, &prop, 0);
    m->held = r == CUDA_SUCCESS;
    if (m->held) {
        call = "mapping";
        r = map(d, m);
    }
    if (r == CUDA_SUCCESS) {
        call = "exporting";
        r = lib->MemExportToShareableHandle(&handle, m->memory, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
    }
    if (r != CUDA_SUCCESS) {
        st = errf(eb, ST_NOMEM, "no %zu bytes of GPU memory to share: %s: %s", m->bytes, call,
                  driver_error(lib, r));
    } else if (!clear(d, m)) {
        close(handle);
        st = gpu_fault_text(d, eb);
    } else {
        *out = m;
        *fd = handle;
        return ST_OK;
    }
    cuda_share.close(d, m);
    return st;
}

static status share_map(device *d, int fd, size_t bytes, const unsigned char uuid[SHARE_UUID_BYTES],
                        gpu_share **out, errbuf *eb) {
    PRE(d);
    PRE(fd >= 0);
    PRE(bytes > 0);
    PRE(uuid);
    PRE(out);
    status st = share_reach(d, uuid, eb);
    if (st != ST_OK) return ST_PEER;
    if (gpu_faulted(d) || !gpu_ok(d, cudaSetDevice(d->gpu), "mapping a peer's memory")) /* of this thread */
        return gpu_fault_text(d, eb);
    const driver *lib = &d->shares->lib;
    gpu_share *m = alloc(d, bytes);
    if (!is_own(d, uuid)) m->in = MEMORY_PEER;
    const char *call = "importing";
    CUresult r = lib->MemImportFromShareableHandle(&m->memory, (void *)(uintptr_t)fd,
                                                   CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
    m->held = r == CUDA_SUCCESS;
    if (m->held) {
        call = "mapping";
        r = map(d, m);
    }
    if (r == CUDA_SUCCESS) {
        *out = m;
        return ST_OK;
    }
    st = errf(eb, ST_PEER, "a peer's GPU memory of %zu bytes: %s: %s", m->bytes, call, driver_error(lib, r));
    cuda_share.close(d, m);
    return st;
}

static void *share_at(const gpu_share *m) {
    PRE(m);
    return (void *)m->at;
}

static memory_kind share_in(const gpu_share *m) {
    PRE(m);
    return m->in;
}

/* Gathers and scatters are done when they return: unless the GPU hangs, none is under way. Unmapping does not
 * wait for any. */
static void share_close(device *d, gpu_share *m) {
    PRE(d);
    if (!m) return;
    if (m->owner) gpu_count_out(d, m->bytes);
    if (atomic_load(&d->fault.hung)) {
        log_warn("cuda", "shared memory stays mapped, since the GPU hangs", "mib=%zu", m->bytes >> 20);
        free(m);
        return;
    }
    (void)cudaSetDevice(d->gpu); /* of this thread */
    unmap(d->shares, m);
}

const share_ops cuda_share = {
    .check = share_check,
    .uuid = share_uuid,
    .reach = share_reach,
    .create = share_create,
    .map = share_map,
    .at = share_at,
    .in = share_in,
    .close = share_close,
};
