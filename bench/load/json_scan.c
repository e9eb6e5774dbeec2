#include "bench/load/json_scan.h"

#include "base/status.h"

#include <string.h>

json_scan json_scan_of(const char *text, size_t len) {
    PRE(text || len == 0);
    return (json_scan){.at = text, .end = text ? text + len : NULL};
}

static void space(json_scan *j) {
    while (j->at < j->end && (*j->at == ' ' || *j->at == '\n' || *j->at == '\t' || *j->at == '\r')) j->at++;
}

static char next(json_scan *j) {
    space(j);
    return j->broken || j->at == j->end ? 0 : *j->at;
}

static bool broken(json_scan *j) {
    j->broken = true;
    return false;
}

char json_scan_kind(json_scan *j) {
    PRE(j);
    return next(j);
}

void json_scan_enter(json_scan *j) {
    PRE(j);
    char c = next(j);
    if (c == '{' || c == '[')
        j->at++;
    else
        broken(j);
}

size_t json_scan_string(json_scan *j, char *out, size_t size) {
    PRE(j);
    PRE(out || size == 0);
    if (out && size) *out = 0;
    if (next(j) != '"') return (size_t)broken(j);
    const char *begin = ++j->at, *end = begin;
    bool escaped = false;
    for (;;) {
        while (end < j->end && *end != '"' && *end != '\\' && (unsigned char)*end >= 0x20) end++;
        if (end >= j->end || (unsigned char)*end < 0x20) return (size_t)broken(j);
        if (*end == '"') break;
        escaped = true;
        if (j->end - end < 2) return (size_t)broken(j);
        end += 2;
    }
    size_t len = (size_t)(end - begin);
    j->at = end + 1;
    if (out && size && !escaped) {
        size_t n = len < size ? len : size - 1;
        memcpy(out, begin, n);
        out[n] = 0;
    }
    return len;
}

/* Between the members: after the opening, or a comma that is followed by another. */
static bool more(json_scan *j, char close) {
    char c = next(j);
    if (c == close) {
        j->at++;
        return false;
    }
    const char *before = j->at - 1; /* there is one: an opening or a value */
    while (*before == ' ' || *before == '\n' || *before == '\t' || *before == '\r') before--;
    bool first = *before == '{' || *before == '[';
    if (first) return c != 0 && c != ',' ? true : broken(j);
    if (c != ',') return broken(j);
    j->at++;
    c = next(j);
    return c != 0 && c != close && c != ',' ? true : broken(j);
}

bool json_scan_key(json_scan *j, char *key, size_t size) {
    PRE(j);
    PRE(key);
    PRE(size > 1);
    if (j->broken || !more(j, '}')) return false;
    size_t len = json_scan_string(j, key, size);
    if (len > 0 && !*key) return broken(j); /* written with escapes: it may be any */
    if (len >= size) *key = 0;
    if (next(j) != ':') return broken(j);
    j->at++;
    return next(j) != 0 ? true : broken(j);
}

bool json_scan_item(json_scan *j) {
    PRE(j);
    return !j->broken && more(j, ']');
}

static bool ends_word(char c) {
    return c == ',' || c == ':' || c == ']' || c == '}' || c == '[' || c == '{' || c == '"' ||
           (unsigned char)c <= ' ';
}

static bool in_number(char c) {
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

static void skip_word(json_scan *j) {
    const char *begin = j->at;
    while (j->at < j->end && !ends_word(*j->at)) j->at++;
    size_t len = (size_t)(j->at - begin);
    bool word = (len == 4 && (memcmp(begin, "true", 4) == 0 || memcmp(begin, "null", 4) == 0)) ||
                (len == 5 && memcmp(begin, "false", 5) == 0);
    bool number = len > 0 && (*begin == '-' || (*begin >= '0' && *begin <= '9'));
    for (size_t i = 0; i < len; i++) number = number && in_number(begin[i]);
    if (!word && !number) broken(j);
}

static void skip(json_scan *j, int depth) {
    char key[2], c = next(j);
    if (depth > JSON_SCAN_DEPTH || c == 0) {
        broken(j);
    } else if (c == '"') {
        (void)json_scan_string(j, NULL, 0);
    } else if (c == '{') {
        for (json_scan_enter(j); json_scan_key(j, key, sizeof key);) skip(j, depth + 1);
    } else if (c == '[') {
        for (json_scan_enter(j); json_scan_item(j);) skip(j, depth + 1);
    } else {
        skip_word(j);
    }
}

void json_scan_skip(json_scan *j) {
    PRE(j);
    skip(j, 0);
}

bool json_scan_whole(json_scan *j) {
    PRE(j);
    return next(j) == 0 && !j->broken && j->at == j->end;
}
