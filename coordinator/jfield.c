#include "coordinator/jfield.h"

#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* 2^53: up to here a double is the whole number that was written */
#define WHOLE_REAL_MAX 9007199254740992.0

const char *jf_what(const json_t *v, char out[static 48]) {
    if (!v) return "nothing";
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        snprintf(out, 48, "the number %" JSON_INTEGER_FORMAT, json_integer_value(v));
        return out;
    case JSON_REAL:
        if (fabs(json_real_value(v)) >= JF_HUGE) return "a number beyond 1e308";
        snprintf(out, 48, "the number %.6g", json_real_value(v));
        return out;
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "null";
    }
    return "something else";
}

void jf_fail(jfields *f, const char *param, const char *fmt, ...) {
    PRE(f);
    if (f->err->http) return;
    va_list ap;
    va_start(ap, fmt);
    char text[sizeof f->err->text.text];
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    api_fail(f->err, 400, param, "%s", text);
}

bool jf_ok(const jfields *f) {
    return f->err->http == 0;
}

void jf_wrong(jfields *f, const char *name, const char *want, const json_t *got) {
    char what[48];
    jf_fail(f, name, "%s: want %s, got %s", name, want, jf_what(got, what));
}

const json_t *jf_get(jfields *f, const char *name) {
    PRE(f);
    if (!jf_ok(f)) return NULL;
    const json_t *v = json_object_get(f->object, name);
    return json_is_null(v) ? NULL : v;
}

bool jf_bool(jfields *f, const char *name, bool *out) {
    PRE(out);
    const json_t *v = jf_get(f, name);
    if (!v) return false;
    if (!json_is_boolean(v)) {
        jf_wrong(f, name, "true or false", v);
        return false;
    }
    *out = json_is_true(v);
    return true;
}

bool jf_num(jfields *f, const char *name, double *out) {
    PRE(out);
    const json_t *v = jf_get(f, name);
    if (!v) return false;
    if (!json_is_number(v)) {
        jf_wrong(f, name, "a number", v);
        return false;
    }
    *out = json_number_value(v);
    return true;
}

bool jf_whole(const json_t *v, int64_t *out) {
    PRE(out);
    if (json_is_integer(v)) {
        *out = json_integer_value(v);
        return true;
    }
    if (!json_is_real(v)) return false;
    double d = json_real_value(v);
    if (d != floor(d) || fabs(d) > WHOLE_REAL_MAX) return false;
    *out = (int64_t)d;
    return true;
}

bool jf_int(jfields *f, const char *name, int64_t min, int64_t max, int64_t *out) {
    PRE(out);
    const json_t *v = jf_get(f, name);
    if (!v) return false;
    int64_t whole = 0;
    double real = json_number_value(v);
    char what[48];
    if (json_is_real(v) && floor(real) == real && fabs(real) > WHOLE_REAL_MAX) {
        jf_fail(f, name, "%s: %s is out of range, want %" PRId64 " to %" PRId64, name, jf_what(v, what), min,
                max);
        return false;
    }
    if (!jf_whole(v, &whole)) {
        jf_wrong(f, name, "a whole number", v);
        return false;
    }
    if (whole < min || whole > max) {
        jf_fail(f, name, "%s: %" PRId64 " is out of range, want %" PRId64 " to %" PRId64, name, whole, min,
                max);
        return false;
    }
    *out = whole;
    return true;
}

bool jf_text(jfields *f, const char *name, const char **out, size_t *len) {
    PRE(f);
    const json_t *v = jf_get(f, name);
    if (!v) return false;
    if (!json_is_string(v)) {
        jf_wrong(f, name, "a string", v);
        return false;
    }
    *out = json_string_value(v);
    *len = json_string_length(v);
    return true;
}

bool jf_is(const json_t *v, const char *text) {
    PRE(text);
    size_t len = strlen(text);
    return json_is_string(v) && json_string_length(v) == len && memcmp(json_string_value(v), text, len) == 0;
}

bool jf_list(jfields *f, const char *name, size_t max, const json_t **out) {
    PRE(f);
    const json_t *v = jf_get(f, name);
    if (!v) return false;
    if (!json_is_array(v)) {
        jf_wrong(f, name, "a list", v);
        return false;
    }
    if (json_array_size(v) > max) {
        jf_fail(f, name, "%s: %zu entries, want at most %zu", name, json_array_size(v), max);
        return false;
    }
    *out = v;
    return true;
}
