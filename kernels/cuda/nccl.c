#include "kernels/cuda/nccl.h"

#include "kernels/cuda/library.h"

#define SONAME "libnccl.so.2"

/* 22809 is 2.28.9. */
static void name_version(int code, char out[16]) {
    snprintf(out, 16, "%d.%d.%d", code / 10000, code / 100 % 100, code % 100);
}

status nccl_open(nccl *out, errbuf *eb) {
    PRE(out);
    nccl l = {.library = library_open(SONAME)};
    if (!l.library)
        return errf(eb, ST_UNSUPPORTED,
                    "%s was found neither by the loader nor in %s: install NCCL, set LD_LIBRARY_PATH to its "
                    "folder, or take another handoff.transport",
                    SONAME, BATON_CUDA_LIBRARIES);
#define FIND(result, name, args)                                                                             \
    l.name = (__typeof__(l.name))dlsym(l.library, "nccl" #name);                                             \
    if (!l.name) {                                                                                           \
        dlclose(l.library);                                                                                  \
        return errf(eb, ST_UNSUPPORTED, "%s has no function nccl%s: install NCCL 2.18 or newer", SONAME,     \
                    #name);                                                                                  \
    }
    NCCL_FUNCTIONS(FIND)
#undef FIND
    nccl_result r = l.GetVersion(&l.code);
    if (r == NCCL_SUCCESS && l.code >= NCCL_VERSION_MIN) {
        name_version(l.code, l.version);
        *out = l;
        return ST_OK;
    }
    dlclose(l.library);
    if (r != NCCL_SUCCESS) return errf(eb, ST_UNSUPPORTED, "%s does not tell its version", SONAME);
    name_version(l.code, l.version);
    return errf(
        eb, ST_UNSUPPORTED,
        "%s is version %s: want 2.18 or newer; install it, set LD_LIBRARY_PATH to its folder, or take "
        "another handoff.transport",
        SONAME, l.version);
}
