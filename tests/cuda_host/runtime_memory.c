/* runtime_memory - device and pinned memory of the emulated device: ordinary memory from malloc, so that
 * AddressSanitizer watches it, in a table sorted by address, so that copies can be checked against what is
 * live.
 *
 * New memory is filled with 0xff, up to a bound: what is read before it was written shows as NaN. */
#include "runtime_stream.h"

#include <stdlib.h>
#include <string.h>

#define FILL_BYTES_MAX ((size_t)64 << 20)

typedef struct allocation {
    char *begin;
    size_t bytes;
    memory_kind kind;
    char *copies; /* of MAPPED: NULL, or the addresses that copies go by */
} allocation;

static struct memory_table {
    pthread_mutex_t mutex;
    allocation *live; /* [count] ascending addresses */
    size_t count, max;
    size_t device_bytes, device_count;
} table = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* Index of the first allocation that begins behind p. Holds the mutex. */
static size_t upper(const void *p) {
    size_t low = 0, high = table.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((uintptr_t)table.live[middle].begin <= (uintptr_t)p)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The live allocation that p lies in. */
static bool find(const void *p, allocation *out) {
    pthread_mutex_lock(&table.mutex);
    size_t at = upper(p);
    bool found = at > 0 && (uintptr_t)p - (uintptr_t)table.live[at - 1].begin < table.live[at - 1].bytes;
    if (found) *out = table.live[at - 1];
    pthread_mutex_unlock(&table.mutex);
    return found;
}

static size_t budget(void) {
    const char *mb = getenv("BATON_EMU_MEMORY_MB");
    return (size_t)(mb ? strtoull(mb, NULL, 10) : 4096) << 20;
}

/* Holds the mutex. */
static void insert(void *memory, size_t bytes, memory_kind kind) {
    if (table.count == table.max) {
        table.max = table.max ? 2 * table.max : 64;
        table.live = realloc(table.live, table.max * sizeof *table.live);
        if (!table.live) abort();
    }
    size_t at = upper(memory);
    memmove(table.live + at + 1, table.live + at, (table.count - at) * sizeof *table.live);
    table.live[at] = (allocation){.begin = memory, .bytes = bytes, .kind = kind};
    table.count++;
}

/* False when there is no such. Holds the mutex. */
static bool removed(void *p, memory_kind kind) {
    size_t at = upper(p);
    if (at == 0 || table.live[at - 1].begin != p || table.live[at - 1].kind != kind) return false;
    if (kind == MEMORY_DEVICE) {
        table.device_bytes -= table.live[at - 1].bytes;
        table.device_count--;
    }
    memmove(table.live + at - 1, table.live + at, (table.count - at) * sizeof *table.live);
    table.count--;
    if (table.count > 0) return true;
    free(table.live);
    table.live = NULL;
    table.max = 0;
    return true;
}

static cudaError_t allocate(void **p, size_t bytes, memory_kind kind) {
    cudaError_t e = runtime_fault();
    if (e == cudaSuccess) e = runtime_unsafe(cudaErrorStreamCaptureUnsupported);
    if (e != cudaSuccess) return e;
    if (!p) return runtime_result(cudaErrorInvalidValue);
    *p = NULL;
    if (bytes == 0) return cudaSuccess;

    void *memory = NULL;
    pthread_mutex_lock(&table.mutex);
    size_t limit = budget();
    bool fits = kind == MEMORY_PINNED || (bytes <= limit && table.device_bytes <= limit - bytes);
    if (fits && posix_memalign(&memory, 256, bytes) == 0) {
        insert(memory, bytes, kind);
        if (kind == MEMORY_DEVICE) {
            table.device_bytes += bytes;
            table.device_count++;
        }
    }
    pthread_mutex_unlock(&table.mutex);
    if (!memory) return runtime_result(cudaErrorMemoryAllocation);
    memset(memory, 0xff, bytes < FILL_BYTES_MAX ? bytes : FILL_BYTES_MAX);
    *p = memory;
    return cudaSuccess;
}

static cudaError_t release(void *p, memory_kind kind) {
    cudaError_t e = runtime_fault();
    if (e == cudaSuccess) e = runtime_unsafe(cudaErrorStreamCaptureUnsupported);
    if (!p) return e;
    stream_drain_all(); /* freeing waits for the device */
    pthread_mutex_lock(&table.mutex);
    bool known = removed(p, kind);
    pthread_mutex_unlock(&table.mutex);
    if (known) free(p);
    return e == cudaSuccess && !known ? runtime_result(cudaErrorInvalidValue) : e;
}

static bool on_device(const allocation *a) {
    return a->kind == MEMORY_DEVICE || a->kind == MEMORY_MAPPED;
}

bool runtime_is_device(const void *p, size_t bytes) {
    allocation a;
    return find(p, &a) && on_device(&a) && (size_t)(a.begin + a.bytes - (const char *)p) >= bytes;
}

/* Host memory: pinned, and then all of it, or not ours at all. */
static bool is_host(const void *p, size_t bytes) {
    allocation a;
    if (!find(p, &a)) return p != NULL;
    return !on_device(&a) && (size_t)(a.begin + a.bytes - (const char *)p) >= bytes;
}

bool runtime_is_pageable(const void *p) {
    allocation a;
    return !find(p, &a);
}

bool runtime_copy_fits(const void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    switch (kind) {
    case cudaMemcpyHostToHost:
        return is_host(to, bytes) && is_host(from, bytes);
    case cudaMemcpyHostToDevice:
        return runtime_is_device(to, bytes) && is_host(from, bytes);
    case cudaMemcpyDeviceToHost:
        return is_host(to, bytes) && runtime_is_device(from, bytes);
    case cudaMemcpyDeviceToDevice:
        return runtime_is_device(to, bytes) && runtime_is_device(from, bytes);
    case cudaMemcpyDefault:
        return (is_host(to, bytes) || runtime_is_device(to, bytes)) &&
               (is_host(from, bytes) || runtime_is_device(from, bytes));
    }
    return false;
}

void runtime_memory_info(size_t *left, size_t *total) {
    pthread_mutex_lock(&table.mutex);
    *total = budget();
    *left = *total > table.device_bytes ? *total - table.device_bytes : 0;
    pthread_mutex_unlock(&table.mutex);
}

size_t emulation_allocations(size_t *bytes) {
    pthread_mutex_lock(&table.mutex);
    size_t count = table.device_count;
    if (bytes) *bytes = table.device_bytes;
    pthread_mutex_unlock(&table.mutex);
    return count;
}

/* --- what runtime_vmm.c makes --- */

void *runtime_alias(const void *p) {
    allocation a;
    if (!find(p, &a) || !a.copies) return (void *)p;
    return a.copies + ((const char *)p - a.begin);
}

bool runtime_vmm_take(size_t bytes) {
    pthread_mutex_lock(&table.mutex);
    size_t limit = budget();
    bool fits = bytes <= limit && table.device_bytes <= limit - bytes;
    if (fits) {
        table.device_bytes += bytes;
        table.device_count++;
    }
    pthread_mutex_unlock(&table.mutex);
    return fits;
}

void runtime_vmm_give(size_t bytes) {
    pthread_mutex_lock(&table.mutex);
    table.device_bytes -= bytes;
    table.device_count--;
    pthread_mutex_unlock(&table.mutex);
}

void runtime_vmm_know(void *at, size_t bytes, void *copies) {
    pthread_mutex_lock(&table.mutex);
    insert(at, bytes, MEMORY_MAPPED);
    table.live[upper(at) - 1].copies = copies;
    pthread_mutex_unlock(&table.mutex);
}

void runtime_vmm_forget(void *at) {
    pthread_mutex_lock(&table.mutex);
    (void)removed(at, MEMORY_MAPPED);
    pthread_mutex_unlock(&table.mutex);
}

/* --- the API --- */

cudaError_t cudaMemGetInfo(size_t *left, size_t *total) {
    cudaError_t e = runtime_fault();
    if (e == cudaSuccess) runtime_memory_info(left, total);
    return e;
}

cudaError_t cudaMalloc(void **p, size_t bytes) {
    return allocate(p, bytes, MEMORY_DEVICE);
}

cudaError_t cudaFree(void *p) {
    return release(p, MEMORY_DEVICE);
}

cudaError_t cudaMallocHost(void **p, size_t bytes) {
    return allocate(p, bytes, MEMORY_PINNED);
}

cudaError_t cudaFreeHost(void *p) {
    return release(p, MEMORY_PINNED);
}

cudaError_t cudaHostRegister(void *p, size_t bytes, unsigned flags) {
    cudaError_t e = runtime_fault();
    if (e == cudaSuccess) e = runtime_unsafe(cudaErrorStreamCaptureUnsupported);
    if (e != cudaSuccess) return e;
    if (!p || bytes == 0 || flags != cudaHostRegisterDefault) return runtime_result(cudaErrorInvalidValue);
    pthread_mutex_lock(&table.mutex);
    size_t at = upper((char *)p + bytes - 1); /* the last one that begins before the end of it */
    bool overlaps = at > 0 && table.live[at - 1].begin + table.live[at - 1].bytes > (char *)p;
    if (!overlaps) insert(p, bytes, MEMORY_REGISTERED);
    pthread_mutex_unlock(&table.mutex);
    return overlaps ? runtime_result(cudaErrorHostMemoryAlreadyRegistered) : cudaSuccess;
}

cudaError_t cudaHostUnregister(void *p) {
    cudaError_t e = runtime_fault();
    if (e == cudaSuccess) e = runtime_unsafe(cudaErrorStreamCaptureUnsupported);
    if (e != cudaSuccess) return e;
    stream_drain_all(); /* what is under way may use it */
    pthread_mutex_lock(&table.mutex);
    bool known = removed(p, MEMORY_REGISTERED);
    pthread_mutex_unlock(&table.mutex);
    return known ? cudaSuccess : runtime_result(cudaErrorHostMemoryNotRegistered);
}
