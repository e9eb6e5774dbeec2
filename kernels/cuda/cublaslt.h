/* cublaslt - cuBLASLt's functions, found in the library when they are first wanted.
 *
 * The library is half a gigabyte: linking it costs every start of every program, whatever its backend, a
 * quarter of a second and 200 MB of relocated tables. So it is opened by who is going to multiply with it.
 * Its version is that of the header. */
#ifndef BATON_KERNELS_CUDA_CUBLASLT_H
#define BATON_KERNELS_CUDA_CUBLASLT_H

#include "base/status.h"

#include <cublasLt.h>

#define CUBLASLT_FUNCTIONS(X)                                                                                \
    X(Create)                                                                                                \
    X(Destroy)                                                                                               \
    X(GetStatusString)                                                                                       \
    X(GetVersion)                                                                                            \
    X(MatmulDescCreate)                                                                                      \
    X(MatmulDescDestroy)                                                                                     \
    X(MatmulDescSetAttribute)                                                                                \
    X(MatrixLayoutCreate)                                                                                    \
    X(MatrixLayoutDestroy)                                                                                   \
    X(MatmulPreferenceCreate)                                                                                \
    X(MatmulPreferenceDestroy)                                                                               \
    X(MatmulPreferenceSetAttribute)                                                                          \
    X(MatmulAlgoGetHeuristic)                                                                                \
    X(MatmulAlgoConfigGetAttribute)                                                                          \
    X(Matmul)

typedef struct cublaslt {
    void *library; /* of dlopen */
#define CUBLASLT_SLOT(name) __typeof__(cublasLt##name) *name;
    CUBLASLT_FUNCTIONS(CUBLASLT_SLOT)
#undef CUBLASLT_SLOT
} cublaslt;

/* Looks where the loader does (LD_LIBRARY_PATH, the system), then in the toolkit that this was built with.
 * ST_UNSUPPORTED names the library and the remedy. Close with cublaslt_close. */
status cublaslt_open(cublaslt *out, errbuf *eb);
/* Accepts a zeroed one. The library stays loaded, since to load it again costs what the first time did. */
void cublaslt_close(cublaslt *l);

#endif
