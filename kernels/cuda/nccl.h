/* nccl - the few functions of NCCL that a pair of workers needs, found in the library when they are first
 * wanted.
 *
 * The library is a fifth of a gigabyte and is not everywhere: a program that is built for CUDA starts without
 * it, and says so when it is asked for it. What is declared here is its interface as of 2.18, which later
 * ones take as it is (a config carries its size and version); so neither its header nor its version of the
 * day is needed to build. tests/cuda/nccl_test.c compares with the header where there is one. */
#ifndef BATON_KERNELS_CUDA_NCCL_H
#define BATON_KERNELS_CUDA_NCCL_H

#include "base/status.h"

#include <cuda_runtime_api.h>

/* The first that gives a pair a number of blocks of its own, and whose communicators, being non-blocking, can
 * be given up at any time. */
#define NCCL_VERSION_MIN 21800

typedef struct ncclComm nccl_comm;

typedef enum nccl_result {
    NCCL_SUCCESS = 0,
    NCCL_CUDA_ERROR = 1,
    NCCL_SYSTEM_ERROR = 2,
    NCCL_INTERNAL_ERROR = 3,
    NCCL_INVALID_ARGUMENT = 4,
    NCCL_INVALID_USAGE = 5,
    NCCL_REMOTE_ERROR = 6,
    NCCL_IN_PROGRESS = 7,
} nccl_result;

typedef enum nccl_type { NCCL_BYTE = 0 } nccl_type;

#define NCCL_ID_BYTES 128
typedef struct nccl_id {
    char bytes[NCCL_ID_BYTES];
} nccl_id;

#define NCCL_CONFIG_MAGIC 0xcafebeefu
#define NCCL_DEFAULT      (-0x7fffffff - 1)
typedef struct nccl_config {
    size_t size;
    unsigned magic, version;
    int blocking, cga_cluster_size, min_ctas, max_ctas;
    const char *net_name;
    int split_share;
} nccl_config;

#define NCCL_FUNCTIONS(X)                                                                                    \
    X(nccl_result, GetVersion, (int *version))                                                               \
    X(const char *, GetErrorString, (nccl_result result))                                                    \
    X(const char *, GetLastError, (nccl_comm * comm))                                                        \
    X(nccl_result, GetUniqueId, (nccl_id * id))                                                              \
    X(nccl_result, CommInitRankConfig,                                                                       \
      (nccl_comm * *comm, int ranks, nccl_id id, int rank, nccl_config *config))                             \
    X(nccl_result, CommGetAsyncError, (nccl_comm * comm, nccl_result * result))                              \
    X(nccl_result, CommAbort, (nccl_comm * comm))                                                            \
    X(nccl_result, Send,                                                                                     \
      (const void *from, size_t count, nccl_type type, int peer, nccl_comm *comm, cudaStream_t stream))      \
    X(nccl_result, Recv,                                                                                     \
      (void *to, size_t count, nccl_type type, int peer, nccl_comm *comm, cudaStream_t stream))

typedef struct nccl {
    void *library; /* of dlopen; stays loaded: it has threads of its own */
    int code;      /* 22809 */
    char version[16];
#define NCCL_SLOT(result, name, args) result(*name) args;
    NCCL_FUNCTIONS(NCCL_SLOT)
#undef NCCL_SLOT
} nccl;

/* Looks where the loader does (LD_LIBRARY_PATH, the system), then in the toolkit that this was built with.
 * ST_UNSUPPORTED names what is missing and the remedy. */
status nccl_open(nccl *out, errbuf *eb);

#endif
