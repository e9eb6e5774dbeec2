/* emulation - what the host emulation of CUDA offers beyond the runtime API: to its own parts, and to tests.
 *
 * Environment, read when it is needed, so that a test may set it in the process:
 *   BATON_EMU_ORDER      forward | reverse | random:SEED: the order of threads, warps and blocks
 *   BATON_EMU_STREAMS    eager | lazy: when work in a stream runs (runtime_stream.h)
 *   BATON_EMU_MEMORY_MB  size of the device's memory, default 4096
 *   BATON_EMU_MAJOR      compute capability, default 9; below, clusters of blocks are refused
 *   BATON_EMU_GPUS       number of GPUs, default 1; all share the memory
 *   BATON_EMU_PEERS      none: they do not reach each other
 *   BATON_EMU_VMM        absent: memory cannot be exported | old: a driver without those functions |
 *                        deaf: nothing can be imported
 *   BATON_EMU_CUBLASLT   absent: there is no cuBLASLt | refuses: it has no algorithm for deterministic mode
 *   BATON_EMU_FAULT      N: the N-th kernel of the process (counted from 1) faults; read at the first call */
#ifndef BATON_TESTS_CUDA_HOST_EMULATION_H
#define BATON_TESTS_CUDA_HOST_EMULATION_H

#include <cuda_runtime_api.h>

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef void emulation_call(void *args);
typedef enum emulation_kind { EMULATION_KERNEL, EMULATION_COPY } emulation_kind;

/* Puts call(args) into the stream with a copy of args, or, when the stream is captured, into the capture. */
cudaError_t emulation_enqueue(cudaStream_t stream, emulation_kind kind, emulation_call *call,
                              const void *args, size_t bytes);
/* Work that is done when poll(args) says so; asked again and again, under the mutex of all streams, from any
 * thread. Not in a capture. */
typedef bool emulation_poll(void *args);
cudaError_t emulation_enqueue_poll(cudaStream_t stream, emulation_poll *poll, const void *args, size_t bytes);
/* The number-th kernel from now on (1 = the next) does not run, and from then on every call of the process
 * returns cudaErrorIllegalAddress, as after a fault of a real device; 0 heals. */
void emulation_fault_after(uint64_t number);
/* Kernels run so far. */
uint64_t emulation_kernels(void);
/* Bytes that were copied from the device to the host so far. */
uint64_t emulation_bytes_to_host(void);
/* Rows that cuBLASLt's stand-in was given so far. */
uint64_t emulation_library_rows(void);
/* Device allocations that are live, and their bytes. */
size_t emulation_allocations(size_t *bytes);

#ifdef __cplusplus
}
#endif
#endif
