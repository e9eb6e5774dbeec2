/* runtime - what the parts of the emulated CUDA runtime share: the sticky fault, the last error, the memory
 * table, and whether a capture forbids a call. The state of the device is the process's, as on the real one.
 */
#ifndef BATON_TESTS_CUDA_HOST_RUNTIME_H
#define BATON_TESTS_CUDA_HOST_RUNTIME_H

#include "emulation.h"

/* Keeps e for cudaGetLastError of this thread and returns it. */
cudaError_t runtime_result(cudaError_t e);
/* The sticky fault of the process, or cudaSuccess. */
cudaError_t runtime_fault(void);
/* Counts a kernel that is about to run; false when the device is broken, or breaks with this one. */
bool runtime_kernel_runs(void);

/* A call that must not be made while a stream is captured (cudaStreamCaptureModeGlobal: by any thread,
 * ThreadLocal: by the thread that captures): spoils those captures and says so. */
cudaError_t runtime_unsafe(cudaError_t error);

/* REGISTERED: pinned, but the caller's own. MAPPED: of the device, runtime_vmm.c's. */
typedef enum memory_kind { MEMORY_DEVICE, MEMORY_PINNED, MEMORY_REGISTERED, MEMORY_MAPPED } memory_kind;
/* Whether the kind of copy agrees with where the addresses lie. */
bool runtime_copy_fits(const void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind);
/* Whether all of it lies in one live device allocation. */
bool runtime_is_device(const void *p, size_t bytes);
/* Host memory that is not pinned. */
bool runtime_is_pageable(const void *p);
/* Where a copy reads or writes what the program knows as p. */
void *runtime_alias(const void *p);
/* Memory of runtime_vmm.c: counts it as the device's, false when it is full; tells copies of a mapping, with
 * the addresses that they go by when they are not its own. */
bool runtime_vmm_take(size_t bytes);
void runtime_vmm_give(size_t bytes);
void runtime_vmm_know(void *at, size_t bytes, void *copies);
void runtime_vmm_forget(void *at);
/* GPUs that this process sees, whether they reach each other, and the UUID of one. */
int runtime_gpus(void);
bool runtime_peers(void);
void runtime_uuid(int device, char out[16]);
void runtime_memory_info(size_t *left, size_t *total);

#endif
