#include "engine/activations.h"

#include "base/mem.h"

static size_t part_bytes(const activations *a, const model *m, size_t act_bytes, uint32_t part) {
    switch (part) {
    case ACTIVATION_RESIDUAL:
        return (size_t)a->max_rows * m->dim * sizeof(float);
    case ACTIVATION_LAST:
        return (size_t)a->head_rows * m->dim * act_bytes;
    case ACTIVATION_LOGITS:
        return (size_t)a->head_rows * m->vocab * sizeof(float);
    default:
        return (size_t)a->max_rows * model_width(m, (arch_buffer)part) * act_bytes;
    }
}

activations activations_of(const model *m, size_t act_bytes, uint32_t max_rows) {
    PRE(m);
    PRE(m->arch);
    PRE(act_bytes > 0);
    PRE(max_rows > 0);
    activations a = {.max_rows = max_rows, .head_rows = MIN(max_rows, HEAD_ROWS_MAX)};
    for (uint32_t i = 0; i < ACTIVATION_PARTS; i++) {
        a.part[i].offset = a.bytes;
        a.part[i].bytes = (part_bytes(&a, m, act_bytes, i) + 63) / 64 * 64;
        a.bytes += a.part[i].bytes;
    }
    return a;
}

const char *activation_name(uint32_t part) {
    static const char *const names[ACTIVATION_PARTS] = {
        [BUFFER_NORMED] = "norm",           [BUFFER_DELTA] = "block",        [BUFFER_QKV] = "qkv",
        [BUFFER_ATTENTION] = "attention",   [BUFFER_SCRATCH] = "gate_up",    [BUFFER_GATED] = "gated",
        [ACTIVATION_RESIDUAL] = "residual", [ACTIVATION_LAST] = "last_rows", [ACTIVATION_LOGITS] = "logits"};
    PRE(part < ACTIVATION_PARTS);
    return names[part];
}
