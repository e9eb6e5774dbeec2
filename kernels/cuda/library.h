/* library - a library of CUDA that is opened at run time: where the loader finds it, else in the toolkit that
 * this was built with (BATON_CUDA_LIBRARIES, of CMake). */
#ifndef BATON_KERNELS_CUDA_LIBRARY_H
#define BATON_KERNELS_CUDA_LIBRARY_H

#include <dlfcn.h>
#include <stdio.h>

/* NULL: in neither place. Caller closes with dlclose; it stays loaded then, since to load it again costs what
 * the first time did. */
static inline void *library_open(const char *soname) {
    const int how = RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE;
    char path[512];
    snprintf(path, sizeof path, "%s/%s", BATON_CUDA_LIBRARIES, soname);
    void *found = dlopen(soname, how);
    return found ? found : dlopen(path, how);
}

#endif
