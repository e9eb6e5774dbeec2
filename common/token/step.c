#include "token/step.h"

#include "base/status.h"

busy_kind busy_kind_of(uint32_t prefill_rows, uint32_t decode_rows) {
    if (!decode_rows) return BUSY_PREFILL;
    return prefill_rows ? BUSY_MIXED : BUSY_DECODE;
}

const char *busy_kind_name(busy_kind kind) {
    static const char *const names[BUSY_KIND_COUNT] = {"prefill", "decode", "mixed"};
    PRE(kind < BUSY_KIND_COUNT);
    return names[kind];
}
