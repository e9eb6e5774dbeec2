#include "decode_worker/decode_policy.h"

#include "base/status.h"

uint32_t decode_policy_form(const batch_row *rows, uint32_t count, const batch_limits *limits,
                            batch_verdict *out) {
    PRE(limits);
    PRE(limits->max_rows > 0);
    batch_rows(rows, count, limits, out);
    uint32_t running = 0;
    for (uint32_t i = 0; i < count; i++) running += rows[i].wants_row;
    if (running == 0 || running <= limits->max_rows) return 0;
    return (limits->first + limits->max_rows) % running;
}
