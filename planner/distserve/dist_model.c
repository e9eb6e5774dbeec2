#include "planner/distserve/dist_model.h"

#include "base/mem.h"

#include <string.h>

#define MEMORY      84990623744.0 /* bytes of an A100-80G */
#define VOCABULARY  50272.0
#define POSITIONS   2048.0
#define BLOCK       16u /* tokens */
#define SIDE_MAX    8u  /* of tp and pp in its table */
#define TYPE_BYTES  2u
#define HEAD_VALUES 128u

static const dist_model models[] = {
    {"facebook/opt-13b", 40, 40, 5120},
    {"facebook/opt-66b", 64, 72, 9216},
    {"facebook/opt-175b", 96, 96, 12288},
};
static const char *const short_names[] = {"opt_13b", "opt_66b", "opt_175b"};

status dist_model_find(const dist_model **out, const char *name, errbuf *eb) {
    PRE(out);
    PRE(name);
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        if (strcmp(name, models[i].name) != 0 && strcmp(name, short_names[i]) != 0) continue;
        *out = &models[i];
        return ST_OK;
    }
    return errf(eb, ST_INVALID, "model '%.60s': want facebook/opt-13b, facebook/opt-66b or facebook/opt-175b",
                name);
}

uint64_t dist_model_tokens(const dist_model *m, uint32_t tp, uint32_t pp) {
    PRE(m);
    PRE(tp > 0);
    PRE(pp > 0);
    if (tp > SIDE_MAX || pp > SIDE_MAX || m->heads % tp != 0 || m->layers % pp != 0) return 0;
    double hidden = m->hidden, layers = (double)m->layers / pp;
    double weights =
        VOCABULARY * hidden + POSITIONS * hidden + 12 * layers * hidden * hidden / tp + 5 * layers * hidden;
    double free = MEMORY * 0.95 - (MEMORY * 0.01 + weights * TYPE_BYTES);
    double block = layers * (m->heads / tp) * HEAD_VALUES * BLOCK * 2 * TYPE_BYTES;
    return free < block ? 0 : (uint64_t)(free / block) * BLOCK;
}

uint64_t dist_model_kv_bytes(const dist_model *m) {
    PRE(m);
    return 2ull * TYPE_BYTES * m->layers * m->hidden;
}
