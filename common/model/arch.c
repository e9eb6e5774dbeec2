#include "model/arch.h"

#include "base/mem.h"

#include <string.h>

#define ARCH_ENTRY(name) &name,
static const arch *const archs[] = {ARCHS(ARCH_ENTRY)};

const arch *arch_find(checkpoint_text name) {
    for (size_t i = 0; i < ARRAY_LEN(archs); i++)
        if (strlen(archs[i]->name) == name.len && memcmp(archs[i]->name, name.data, name.len) == 0)
            return archs[i];
    return NULL;
}

char *arch_names(void) {
    buf known = {0};
    for (size_t i = 0; i < ARRAY_LEN(archs); i++) buf_addf(&known, "%s%s", i ? ", " : "", archs[i]->name);
    return known.data;
}
