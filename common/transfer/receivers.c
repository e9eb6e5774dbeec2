#include "transfer/receivers.h"

#include "base/status.h"

#include <stdio.h>
#include <string.h>

receiver *receivers_find(receivers *r, uint64_t inc) {
    PRE(r);
    for (uint32_t i = 0; i < r->count; i++)
        if (r->at[i].inc == inc) return &r->at[i];
    return NULL;
}

receiver *receivers_add(receivers *r, uint64_t inc, const char *endpoint) {
    PRE(r);
    PRE(endpoint);
    receiver *one = receivers_find(r, inc);
    if (strlen(endpoint) >= sizeof one->endpoint || (!one && r->count == RECEIVERS_MAX)) return one;
    if (!one) {
        one = &r->at[r->count++];
        *one = (receiver){.inc = inc};
    }
    if (endpoint != one->endpoint) snprintf(one->endpoint, sizeof one->endpoint, "%s", endpoint);
    return one;
}

void receivers_forget(receivers *r, uint64_t inc) {
    PRE(r);
    receiver *one = receivers_find(r, inc);
    if (one) *one = r->at[--r->count];
}
