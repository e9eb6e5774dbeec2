#include "checkpoint/arch_keys.h"

#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define CONTEXT_MAX (1u << 27)

typedef struct full_name {
    char text[96];
} full_name;

static full_name name_of(const checkpoint *c, const char *name) {
    full_name out;
    checkpoint_text arch = arch_name(c);
    snprintf(out.text, sizeof out.text, "%.*s.%s", (int)MIN(arch.len, 32u), arch.data, name);
    return out;
}

checkpoint_text arch_name(const checkpoint *c) {
    PRE(c);
    checkpoint_text name = {"", 0};
    (void)checkpoint_string(c, "general.architecture", &name);
    return name;
}

status arch_number_get(const checkpoint *c, arch_number key, uint32_t *out, errbuf *eb) {
    PRE(c);
    PRE(key.name);
    PRE(out);
    full_name name = name_of(c, key.name);
    uint64_t value;
    if (!checkpoint_u64(c, name.text, &value)) {
        /* A list (one value per layer) or a real is a variant that nothing here knows, not an absent key. */
        checkpoint_kind kind;
        uint64_t count;
        double real;
        if (key.fallback == 0 || checkpoint_list(c, name.text, &kind, &count) ||
            checkpoint_f64(c, name.text, &real))
            return errf(eb, ST_CORRUPT, "%s is missing or no whole number", name.text);
        *out = key.fallback;
        return ST_OK;
    }
    if (value < key.least || value > key.most)
        return errf(eb, ST_CORRUPT, "%s is %" PRIu64 ", want %u..%u", name.text, value, key.least, key.most);
    *out = (uint32_t)value;
    return ST_OK;
}

status arch_real_get(const checkpoint *c, const char *key, double most, double fallback, float *out,
                     errbuf *eb) {
    PRE(c);
    PRE(key);
    PRE(out);
    full_name name = name_of(c, key);
    double value = fallback;
    if (!checkpoint_f64(c, name.text, &value) && fallback == 0)
        return errf(eb, ST_CORRUPT, "%s is missing or no number", name.text);
    if (!isfinite(value) || value <= 0 || value > most)
        return errf(eb, ST_CORRUPT, "%s is %g, want above 0 and at most %g", name.text, value, most);
    *out = (float)value;
    return ST_OK;
}

/* What a key is when it is no number: nothing, or something else. */
static bool is_there(const checkpoint *c, const char *key) {
    checkpoint_kind kind;
    checkpoint_text text;
    uint64_t count;
    double real;
    bool flag;
    return checkpoint_list(c, key, &kind, &count) || checkpoint_string(c, key, &text) ||
           checkpoint_f64(c, key, &real) || checkpoint_bool(c, key, &flag);
}

status arch_real_find(const checkpoint *c, const char *key, double *out, errbuf *eb) {
    PRE(c);
    PRE(key);
    PRE(out);
    full_name name = name_of(c, key);
    uint64_t whole;
    double real;
    bool flag;
    if (checkpoint_f64(c, name.text, &real)) {
        if (!isfinite(real)) return errf(eb, ST_CORRUPT, "%s is %g", name.text, real);
        *out = real;
    } else if (checkpoint_u64(c, name.text, &whole)) {
        *out = (double)whole;
    } else if (checkpoint_bool(c, name.text, &flag)) {
        *out = flag;
    } else if (is_there(c, name.text)) {
        return errf(eb, ST_CORRUPT, "%s is no number", name.text);
    }
    return ST_OK;
}

status arch_text_find(const checkpoint *c, const char *key, checkpoint_text *out, errbuf *eb) {
    PRE(c);
    PRE(key);
    PRE(out);
    full_name name = name_of(c, key);
    if (checkpoint_string(c, name.text, out) || !is_there(c, name.text)) return ST_OK;
    return errf(eb, ST_CORRUPT, "%s is no text", name.text);
}

status arch_context(const checkpoint *c, uint32_t *out, errbuf *eb) {
    return arch_number_get(c, (arch_number){"context_length", 1, CONTEXT_MAX, 0}, out, eb);
}
