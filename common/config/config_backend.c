#include "config/config_backend.h"

#include "base/mem.h"
#include "base/status.h"

#include <string.h>

static const config_backend backends[] = {
    {.name = "cpu", .built_with = "backend"},
    {.name = "ref", .built_with = "backend"},
    {.name = "mock", .built_with = "backend", .modelled = true},
    {.name = "cuda", .built_with = "CUDA toolkit", .own_memory = true, .act_types = true},
};

const config_backend *config_backend_find(const char *name) {
    PRE(name);
    for (size_t i = 0; i < ARRAY_LEN(backends); i++)
        if (strcmp(backends[i].name, name) == 0) return &backends[i];
    return NULL;
}
