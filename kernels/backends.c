#include "kernels/backends.h"

#include "base/mem.h"
#include "kernels/cpu/cpu.h"
#include "kernels/mock/mock.h"
#include "kernels/ref/ref.h"
#ifdef BATON_CUDA
#include "kernels/cuda/cuda_backend.h"
#endif

#include <string.h>

static const backend_ops *const backends[] = {
    &cpu_backend,
    &ref_backend,
    &mock_backend,
#ifdef BATON_CUDA
    &cuda_backend,
#endif
};

const backend_ops *backend_find(const char *name) {
    PRE(name);
    for (size_t i = 0; i < ARRAY_LEN(backends); i++)
        if (strcmp(backends[i]->name, name) == 0) return backends[i];
    return NULL;
}

const char *backend_names(void) {
#ifdef BATON_CUDA
    return "cpu, ref, mock, cuda";
#else
    return "cpu, ref, mock";
#endif
}

bool backend_complete(const backend_ops *b) {
    PRE(b);
    bool life = b->name && b->open && b->close && b->path && b->kv_default && b->act_type && b->memory;
    bool memory = b->mem_alloc && b->mem_free && b->mem_read && b->mem_write && b->host_pin &&
                  b->host_unpin && b->weight_load && b->weight_free && b->weight_bytes && b->weights_ready;
    bool step = b->attend_setup && b->warm && b->step_begin && b->step_end && b->sync && b->device_error &&
                b->layer_mark;
    bool ops = b->embed && b->norm && b->linear && b->attend && b->gate_up && b->head_norm && b->sample;
    return life && memory && step && ops && b->kv_gather && b->kv_scatter;
}
