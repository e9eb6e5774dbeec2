#include "kernels/cuda/cublaslt.h"

#include "kernels/cuda/library.h"

#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)
#define SONAME   "libcublasLt.so." TEXT(CUBLAS_VER_MAJOR)

status cublaslt_open(cublaslt *out, errbuf *eb) {
    PRE(out);
    cublaslt l = {.library = library_open(SONAME)};
    if (!l.library)
        return errf(eb, ST_UNSUPPORTED,
                    "cuda backend: %s was found neither by the loader nor in %s: set LD_LIBRARY_PATH to its "
                    "folder",
                    SONAME, BATON_CUDA_LIBRARIES);
#define FIND(name)                                                                                           \
    l.name = (__typeof__(l.name))dlsym(l.library, "cublasLt" #name);                                         \
    if (!l.name) {                                                                                           \
        cublaslt_close(&l);                                                                                  \
        return errf(eb, ST_UNSUPPORTED, "cuda backend: %s has no function cublasLt%s", SONAME, #name);       \
    }
    CUBLASLT_FUNCTIONS(FIND)
#undef FIND
    *out = l;
    return ST_OK;
}

void cublaslt_close(cublaslt *l) {
    if (l->library) dlclose(l->library);
    *l = (cublaslt){0};
}
