#include "colocated_worker/colocated_policy.h"

#include "base/mem.h"
#include "base/status.h"
#include "kv/kv_layout.h"

#include <string.h>

static const char *const policy_names[] = {
    [COLOCATED_CHUNKED] = "chunked",
    [COLOCATED_PREFILL_FIRST] = "prefill_first",
};

bool colocated_policy_find(const char *name, colocated_policy *out) {
    PRE(name);
    PRE(out);
    for (uint32_t i = 0; i < ARRAY_LEN(policy_names); i++) {
        if (strcmp(name, policy_names[i]) != 0) continue;
        *out = (colocated_policy)i;
        return true;
    }
    return false;
}

colocated_split colocated_policy_divide(colocated_policy policy, uint32_t decoding, uint32_t waiting,
                                        uint32_t max_rows) {
    PRE(max_rows > KV_PAGE_TOKENS);
    colocated_split split = {.decode_rows = MIN(decoding, max_rows), .prompts = waiting > 0};
    if (waiting == 0) return split;
    switch (policy) {
    case COLOCATED_CHUNKED:
        split.decode_rows = MIN(decoding, max_rows - KV_PAGE_TOKENS);
        break;
    case COLOCATED_PREFILL_FIRST:
        split.decode_rows = 0;
        break;
    }
    return split;
}
