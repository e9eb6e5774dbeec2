/* runtime_vmm - virtual memory management of the emulated driver: an allocation is a sealed memfd, whose last
 * page says what it is and on which GPU; a mapping of it is device memory for copies and kernels. A peer's is
 * out of bounds for the addresses that the program has (a kernel that touches one ends the process), and
 * copies go by another mapping. */
#include "runtime_stream.h"

#include <cuda.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define GRANULE ((size_t)2 << 20)
#define TAIL    ((size_t)4096)
#define MAGIC   0x6d76652d756d65ull
#define SEALS   (F_SEAL_SHRINK | F_SEAL_GROW)

typedef struct tail {
    uint64_t magic;
    CUuuid uuid; /* of the GPU */
} tail;

/* What a CUmemGenericAllocationHandle points at. */
typedef struct memory {
    int fd;
    size_t bytes;
    unsigned refs; /* the handle, and each mapping */
    bool created;  /* here, and counted */
    CUuuid uuid;
} memory;

typedef struct mapping {
    struct mapping *next;
    char *at, *copies; /* copies: NULL, or a peer's second mapping */
    size_t bytes;
    memory *of;
    bool known; /* to the memory table */
} mapping;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of mappings and references */
static mapping *mappings;

static bool how_is(const char *word) {
    const char *how = getenv("BATON_EMU_VMM");
    return how && strcmp(how, word) == 0;
}

static CUresult fault(void) {
    return runtime_fault() == cudaSuccess ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_ADDRESS;
}

/* ---- the driver ---- */

CUresult cuGetErrorName(CUresult error, const char **name) {
    switch (error) {
    case CUDA_SUCCESS:
        *name = "CUDA_SUCCESS";
        return CUDA_SUCCESS;
    case CUDA_ERROR_INVALID_VALUE:
        *name = "CUDA_ERROR_INVALID_VALUE";
        return CUDA_SUCCESS;
    case CUDA_ERROR_OUT_OF_MEMORY:
        *name = "CUDA_ERROR_OUT_OF_MEMORY";
        return CUDA_SUCCESS;
    case CUDA_ERROR_INVALID_DEVICE:
        *name = "CUDA_ERROR_INVALID_DEVICE";
        return CUDA_SUCCESS;
    case CUDA_ERROR_OPERATING_SYSTEM:
        *name = "CUDA_ERROR_OPERATING_SYSTEM";
        return CUDA_SUCCESS;
    case CUDA_ERROR_ILLEGAL_ADDRESS:
        *name = "CUDA_ERROR_ILLEGAL_ADDRESS";
        return CUDA_SUCCESS;
    case CUDA_ERROR_NOT_SUPPORTED:
        *name = "CUDA_ERROR_NOT_SUPPORTED";
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attr, CUdevice device) {
    if (device < 0 || device >= runtime_gpus()) return CUDA_ERROR_INVALID_DEVICE;
    *value = !how_is("absent");
    (void)attr;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device) {
    if (device < 0 || device >= runtime_gpus()) return CUDA_ERROR_INVALID_DEVICE;
    runtime_uuid(device, uuid->bytes);
    return CUDA_SUCCESS;
}

typedef struct entry {
    const char *name;
    void *function;
} entry;
#define ENTRY(name)                                                                                          \
    { #name, (void *)name }
static const entry entries[] = {
    ENTRY(cuGetErrorName),
    ENTRY(cuDeviceGetAttribute),
    ENTRY(cuDeviceGetUuid),
    ENTRY(cuMemGetAllocationGranularity),
    ENTRY(cuMemCreate),
    ENTRY(cuMemRelease),
    ENTRY(cuMemAddressReserve),
    ENTRY(cuMemAddressFree),
    ENTRY(cuMemMap),
    ENTRY(cuMemUnmap),
    ENTRY(cuMemSetAccess),
    ENTRY(cuMemExportToShareableHandle),
    ENTRY(cuMemImportFromShareableHandle),
};

cudaError_t cudaGetDriverEntryPointByVersion(const char *symbol, void **function, unsigned version,
                                             unsigned long long flags,
                                             enum cudaDriverEntryPointQueryResult *found) {
    *function = NULL;
    *found = cudaDriverEntryPointSymbolNotFound;
    if (version < 12000 || flags != cudaEnableDefault) return runtime_result(cudaErrorInvalidValue);
    if (how_is("old")) return cudaSuccess;
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++)
        if (strcmp(entries[i].name, symbol) == 0) {
            *function = entries[i].function;
            *found = cudaDriverEntryPointSuccess;
        }
    return cudaSuccess;
}

/* ---- memory ---- */

static memory *of(CUmemGenericAllocationHandle handle) {
    return (memory *)(uintptr_t)handle;
}

static void put(memory *m) {
    pthread_mutex_lock(&mutex);
    bool last = --m->refs == 0;
    pthread_mutex_unlock(&mutex);
    if (!last) return;
    if (m->created) runtime_vmm_give(m->bytes);
    close(m->fd);
    free(m);
}

static CUresult check_prop(const CUmemAllocationProp *p) {
    if (!p || p->type != CU_MEM_ALLOCATION_TYPE_PINNED || p->location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
        p->requestedHandleTypes != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR || p->win32HandleMetaData)
        return CUDA_ERROR_INVALID_VALUE;
    return p->location.id < 0 || p->location.id >= runtime_gpus() ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

CUresult cuMemGetAllocationGranularity(size_t *granularity, const CUmemAllocationProp *prop,
                                       CUmemAllocationGranularity_flags option) {
    (void)option;
    CUresult r = check_prop(prop);
    if (r == CUDA_SUCCESS) *granularity = GRANULE;
    return r;
}

static memory *memory_of(int fd, size_t bytes, bool created, const CUuuid *uuid) {
    memory *m = malloc(sizeof *m);
    if (!m) abort();
    *m = (memory){.fd = fd, .bytes = bytes, .refs = 1, .created = created, .uuid = *uuid};
    return m;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size, const CUmemAllocationProp *prop,
                     unsigned long long flags) {
    CUresult r = fault();
    if (r == CUDA_SUCCESS) r = check_prop(prop);
    if (r == CUDA_SUCCESS && (size == 0 || size % GRANULE || flags)) r = CUDA_ERROR_INVALID_VALUE;
    if (r != CUDA_SUCCESS) return r;
    if (!runtime_vmm_take(size)) return CUDA_ERROR_OUT_OF_MEMORY;
    tail t = {.magic = MAGIC};
    runtime_uuid(prop->location.id, t.uuid.bytes);
    int fd = memfd_create("emulated-gpu", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd >= 0 && fallocate(fd, 0, 0, (off_t)(size + TAIL)) == 0 &&
        pwrite(fd, &t, sizeof t, (off_t)size) == (ssize_t)sizeof t && fcntl(fd, F_ADD_SEALS, SEALS) == 0) {
        *handle = (uintptr_t)memory_of(fd, size, true, &t.uuid);
        return CUDA_SUCCESS;
    }
    if (fd >= 0) close(fd);
    runtime_vmm_give(size);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
    if (!handle) return CUDA_ERROR_INVALID_VALUE;
    put(of(handle));
    return fault();
}

CUresult cuMemExportToShareableHandle(void *shareable, CUmemGenericAllocationHandle handle,
                                      CUmemAllocationHandleType type, unsigned long long flags) {
    if (!shareable || !handle || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR || flags)
        return CUDA_ERROR_INVALID_VALUE;
    int fd = fcntl(of(handle)->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return CUDA_ERROR_OPERATING_SYSTEM;
    memcpy(shareable, &fd, sizeof fd);
    return CUDA_SUCCESS;
}

CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *handle, void *shareable,
                                        CUmemAllocationHandleType type) {
    CUresult r = fault();
    if (r != CUDA_SUCCESS) return r;
    if (!handle || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) return CUDA_ERROR_INVALID_VALUE;
    if (how_is("deaf")) return CUDA_ERROR_NOT_SUPPORTED;
    int fd = fcntl((int)(uintptr_t)shareable, F_DUPFD_CLOEXEC, 0);
    struct stat info;
    tail t;
    if (fd < 0) return CUDA_ERROR_INVALID_VALUE;
    if (fstat(fd, &info) == 0 && fcntl(fd, F_GET_SEALS) == SEALS && (size_t)info.st_size > TAIL &&
        ((size_t)info.st_size - TAIL) % GRANULE == 0 &&
        pread(fd, &t, sizeof t, info.st_size - (off_t)TAIL) == (ssize_t)sizeof t && t.magic == MAGIC) {
        *handle = (uintptr_t)memory_of(fd, (size_t)info.st_size - TAIL, false, &t.uuid);
        return CUDA_SUCCESS;
    }
    close(fd);
    return CUDA_ERROR_INVALID_VALUE;
}

/* ---- addresses ---- */

CUresult cuMemAddressReserve(CUdeviceptr *ptr, size_t size, size_t alignment, CUdeviceptr addr,
                             unsigned long long flags) {
    if (!ptr || size == 0 || size % GRANULE || (alignment && alignment != GRANULE) || addr || flags)
        return CUDA_ERROR_INVALID_VALUE;
    char *p = mmap(NULL, size + GRANULE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
    size_t before = (GRANULE - (uintptr_t)p % GRANULE) % GRANULE;
    if (before > 0) munmap(p, before);
    munmap(p + before + size, GRANULE - before);
    *ptr = (uintptr_t)(p + before);
    return CUDA_SUCCESS;
}

CUresult cuMemAddressFree(CUdeviceptr ptr, size_t size) {
    return munmap((void *)(uintptr_t)ptr, size) ? CUDA_ERROR_INVALID_VALUE : fault();
}

CUresult cuMemMap(CUdeviceptr ptr, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
                  unsigned long long flags) {
    if (!handle || offset || flags || size != of(handle)->bytes) return CUDA_ERROR_INVALID_VALUE;
    void *at = (void *)(uintptr_t)ptr;
    if (mmap(at, size, PROT_NONE, MAP_SHARED | MAP_FIXED, of(handle)->fd, 0) == MAP_FAILED)
        return CUDA_ERROR_OUT_OF_MEMORY;
    mapping *m = malloc(sizeof *m);
    if (!m) abort();
    *m = (mapping){.at = at, .bytes = size, .of = of(handle)};
    pthread_mutex_lock(&mutex);
    m->of->refs++;
    m->next = mappings;
    mappings = m;
    pthread_mutex_unlock(&mutex);
    return CUDA_SUCCESS;
}

/* Holds the mutex. */
static mapping **slot_of(CUdeviceptr ptr, size_t size) {
    mapping **m = &mappings;
    while (*m && ((*m)->at != (void *)(uintptr_t)ptr || (*m)->bytes != size)) m = &(*m)->next;
    return m;
}

CUresult cuMemSetAccess(CUdeviceptr ptr, size_t size, const CUmemAccessDesc *desc, size_t count) {
    if (!desc || count != 1 || desc->flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE ||
        desc->location.type != CU_MEM_LOCATION_TYPE_DEVICE || desc->location.id < 0 ||
        desc->location.id >= runtime_gpus())
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&mutex);
    mapping *m = *slot_of(ptr, size);
    pthread_mutex_unlock(&mutex);
    CUuuid uuid;
    runtime_uuid(desc->location.id, uuid.bytes);
    if (!m || m->known) return CUDA_ERROR_INVALID_VALUE;
    const int way = PROT_READ | PROT_WRITE;
    if (memcmp(&uuid, &m->of->uuid, sizeof uuid) == 0) {
        if (mprotect(m->at, size, way)) return CUDA_ERROR_OUT_OF_MEMORY;
    } else {
        if (!runtime_peers()) return CUDA_ERROR_INVALID_DEVICE;
        void *copies = mmap(NULL, size, way, MAP_SHARED, m->of->fd, 0);
        if (copies == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
        m->copies = copies;
    }
    runtime_vmm_know(m->at, size, m->copies);
    m->known = true;
    return CUDA_SUCCESS;
}

CUresult cuMemUnmap(CUdeviceptr ptr, size_t size) {
    pthread_mutex_lock(&mutex);
    mapping **slot = slot_of(ptr, size), *m = *slot;
    if (m) *slot = m->next;
    pthread_mutex_unlock(&mutex);
    if (!m) return CUDA_ERROR_INVALID_VALUE;
    if (m->known) runtime_vmm_forget(m->at);
    if (m->copies) munmap(m->copies, size);
    const int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    if (mmap(m->at, size, PROT_NONE, how, -1, 0) == MAP_FAILED) abort();
    put(m->of);
    free(m);
    return fault();
}
