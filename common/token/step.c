#include "token/step.h"

#include "base/status.h"

void step_sums_add_chunk(step_sums *s, uint32_t before, uint32_t rows) {
    PRE(s);
    uint64_t c = before, n = rows;
    s->prefill_rows += rows;
    s->chunks++;
    s->squares += n * (2 * c + n); /* (c + n)^2 - c^2 */
}

void step_sums_add_decode(step_sums *s, uint32_t at) {
    PRE(s);
    s->decode_rows++;
    s->context += (uint64_t)at + 1;
}

busy_kind busy_kind_of(uint32_t prefill_rows, uint32_t decode_rows) {
    if (!decode_rows) return BUSY_PREFILL;
    return prefill_rows ? BUSY_MIXED : BUSY_DECODE;
}

const char *busy_kind_name(busy_kind kind) {
    static const char *const names[BUSY_KIND_COUNT] = {"prefill", "decode", "mixed"};
    PRE(kind < BUSY_KIND_COUNT);
    return names[kind];
}
