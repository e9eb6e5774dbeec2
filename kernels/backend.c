#include "kernels/backend.h"

#include "base/mem.h"
#include "kernels/cpu/cpu.h"
#include "kernels/ref/ref.h"

#include <string.h>

static const backend_ops *const backends[] = {&cpu_backend, &ref_backend};

const backend_ops *backend_find(const char *name) {
    PRE(name);
    for (size_t i = 0; i < ARRAY_LEN(backends); i++)
        if (strcmp(backends[i]->name, name) == 0) return backends[i];
    return NULL;
}

const char *backend_names(void) {
    return "cpu, ref";
}

bool backend_complete(const backend_ops *b) {
    PRE(b);
    return b->name && b->open && b->close && b->path && b->kv_default && b->mem_alloc && b->mem_free && b->sync &&
           b->embed && b->rmsnorm && b->linear && b->rope && b->kv_write && b->attention && b->silu_mul && b->add &&
           b->kv_gather && b->kv_scatter;
}
