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

/* REGISTERED: pinned, but the caller's own. */
typedef enum memory_kind { MEMORY_DEVICE, MEMORY_PINNED, MEMORY_REGISTERED } memory_kind;
/* Whether the kind of copy agrees with where the addresses lie. */
bool runtime_copy_fits(const void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind);
/* Whether all of it lies in one live device allocation. */
bool runtime_is_device(const void *p, size_t bytes);
/* Host memory that is not pinned. */
bool runtime_is_pageable(const void *p);
void runtime_memory_info(size_t *left, size_t *total);

#endif
