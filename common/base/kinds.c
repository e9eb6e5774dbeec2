#include "base/kinds.h"

#include "base/mem.h"
#include "base/status.h"

uint32_t weight_form_parts(weight_form form) {
    switch (form) {
    case WEIGHT_PLAIN:
        return 1;
    case WEIGHT_QKV:
        return 3;
    case WEIGHT_GATE_UP:
        return 2;
    }
    check_failed("check", "known weight form", __FILE__, __LINE__, __func__);
}

bool weight_is_there(const weight_parts *w) {
    PRE(w);
    return w->part[0].rows > 0;
}

const char *feature_name(uint32_t set) {
    static const struct {
        uint32_t bit;
        const char *name;
    } names[] = {
#define NAME(name, bit, text) {name, text},
        FEATURES(NAME)
#undef NAME
    };
    _Static_assert((1u << ARRAY_LEN(names)) - 1 == FEATURE_ALL, "FEATURE_ALL has every feature");
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (set & names[i].bit) return names[i].name;
    return NULL;
}
