/* nccl_host - a library of NCCL's functions for the emulated device, which kernels/cuda/nccl.c finds by
 * nccl_host_dlopen: communicators of two ranks over an abstract Unix socket that the id names, in one process
 * or in two.
 *
 * It is as slow as the real one may be at its worst: every call of a non-blocking communicator answers that
 * it is in progress, the first copy in each direction wants both ends, and a copy is work in its stream that
 * takes as long as the peer does. Who uses a communicator that is in progress is refused, as there.
 *
 * What is to go wrong is said by words with commas between them, in BATON_EMU_NCCL or by nccl_host_set, and
 * is looked at whenever it matters:
 *   absent, missing      there is no library; it has no ncclSend
 *   old, newer           it is 2.17.1; it is 2.30.1
 *   draw_fails           ncclGetUniqueId
 *   open_fails           after ncclCommInitRankConfig; open_hangs: for ever
 *   slow                 what is in progress stays so for some more questions
 *   fails=N              the N-th copy from when this was set (from 1): the call answers with an error;
 *   breaks=N, hangs=N    the communicator has one later; the copy never ends
 *   deaf                 a peer that is gone is not noticed
 *   abort_hangs          ncclCommAbort, for as long as it is said */
#ifndef BATON_TESTS_CUDA_HOST_NCCL_HOST_H
#define BATON_TESTS_CUDA_HOST_NCCL_HOST_H

#include <stdint.h>

#define NCCL_HOST_SLOW_ASKS 5

/* NULL: nothing; the environment is not looked at any more. Copied. */
void nccl_host_set(const char *words);
/* Communicators that are not aborted, of this process. */
uint32_t nccl_host_comms(void);
/* Copies that were asked for so far, of this process, greetings included. */
uint64_t nccl_host_copies(void);
/* What the newest communicator was configured with; 0 = the default. */
uint32_t nccl_host_ctas(void);

/* In place of the loader's. */
void *nccl_host_dlopen(const char *file, int how);
void *nccl_host_dlsym(void *library, const char *name);
int nccl_host_dlclose(void *library);

#endif
