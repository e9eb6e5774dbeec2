#include "kernels/cuda/driver.h"

#include <cuda_runtime_api.h>

#define AS_OF 12000 /* the functions as CUDA 12.0 knows them, like the headers that give their types */

static void *find(const char *name) {
    void *function = NULL;
    enum cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
    cudaError_t e = cudaGetDriverEntryPointByVersion(name, &function, AS_OF, cudaEnableDefault, &found);
#else
    cudaError_t e = cudaGetDriverEntryPoint(name, &function, cudaEnableDefault, &found);
#endif
    if (e == cudaSuccess && found == cudaDriverEntryPointSuccess) return function;
    (void)cudaGetLastError();
    return NULL;
}

status driver_open(driver *out, errbuf *eb) {
    PRE(out);
    driver l;
#define FIND(name)                                                                                           \
    l.name = (__typeof__(l.name))find("cu" #name);                                                           \
    if (!l.name)                                                                                             \
        return errf(eb, ST_UNSUPPORTED, "the NVIDIA driver has no function cu%s: install a newer one", #name);
    DRIVER_FUNCTIONS(FIND)
#undef FIND
    *out = l;
    return ST_OK;
}

const char *driver_error(const driver *l, CUresult r) {
    PRE(l);
    const char *name = NULL;
    if (l->GetErrorName(r, &name) != CUDA_SUCCESS || !name) return "an error that has no name";
    return name;
}
