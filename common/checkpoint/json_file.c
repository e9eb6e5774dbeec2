#include "checkpoint/json_file.h"

#include "base/mem.h"
#include "checkpoint/mapped_file.h"

#include <inttypes.h>
#include <math.h>

status json_object_parse(json_t **out, const char *text, size_t len, errbuf *eb) {
    PRE(out);
    PRE(text || len == 0);
    json_error_t why;
    json_t *o = json_loadb(len ? text : "", len, JSON_REJECT_DUPLICATES, &why);
    if (!o) return errf(eb, ST_CORRUPT, "no JSON: %.120s (line %d)", why.text, why.line);
    if (!json_is_object(o)) {
        json_decref(o);
        return errf(eb, ST_CORRUPT, "no JSON object");
    }
    *out = o;
    return ST_OK;
}

status json_file_read(json_t **out, const char *path, size_t most, errbuf *eb) {
    PRE(out);
    PRE(path);
    mapped_file f = {0};
    status st = mapped_file_open(&f, path, eb);
    if (st != ST_OK) return st;
    if (f.size > most)
        st = errf(eb, ST_CORRUPT, "%zu bytes, want at most %zu", f.size, most);
    else
        st = json_object_parse(out, (const char *)f.bytes, f.size, eb);
    mapped_file_close(&f);
    return st == ST_OK ? ST_OK : err_prefix(eb, st, "%s", path);
}

bool json_is_there(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    return v && !json_is_null(v);
}

status json_number_get(const json_t *o, const char *key, uint64_t least, uint64_t most, uint64_t fallback,
                       uint64_t *out, errbuf *eb) {
    PRE(key);
    PRE(out);
    PRE(most <= INT64_MAX);
    if (!json_is_there(o, key)) {
        *out = fallback;
        return ST_OK;
    }
    const json_t *v = json_object_get(o, key);
    json_int_t i = json_integer_value(v);
    if (!json_is_integer(v) || i < 0 || (uint64_t)i < least || (uint64_t)i > most)
        return errf(eb, ST_CORRUPT, "%.64s is no whole number in %" PRIu64 "..%" PRIu64, key, least, most);
    *out = (uint64_t)i;
    return ST_OK;
}

status json_real_get(const json_t *o, const char *key, double fallback, double *out, errbuf *eb) {
    PRE(key);
    PRE(out);
    if (!json_is_there(o, key)) {
        *out = fallback;
        return ST_OK;
    }
    const json_t *v = json_object_get(o, key);
    double x = json_number_value(v);
    if (!json_is_number(v) || !isfinite(x) || x <= 0)
        return errf(eb, ST_CORRUPT, "%.64s is no number above 0", key);
    *out = x;
    return ST_OK;
}

status json_truth_get(const json_t *o, const char *key, bool fallback, bool *out, errbuf *eb) {
    PRE(key);
    PRE(out);
    if (!json_is_there(o, key)) {
        *out = fallback;
        return ST_OK;
    }
    const json_t *v = json_object_get(o, key);
    if (!json_is_boolean(v)) return errf(eb, ST_CORRUPT, "%.64s is neither true nor false", key);
    *out = json_is_true(v);
    return ST_OK;
}
