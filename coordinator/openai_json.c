#include "coordinator/openai_fields.h"

#include "base/mem.h"
#include "text/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Writes something of the same length over a number that jansson would refuse the whole body for: an integer
 * that no int64 holds becomes the real of the same size, a real that no double holds becomes JF_HUGE. So a
 * field that is read can be named, and others do not matter; positions in errors stay. */
static void tame_number(char *at, size_t len) {
    char *text = xmemdup(at, len + 1);
    text[len] = 0;
    bool whole = strspn(text, "-0123456789") == len;
    errno = 0;
    if (isinf(strtod(text, NULL))) {
        /* The shortest such number, 2e308, has room for this. */
        size_t sign = text[0] == '-';
        memset(at, ' ', len);
        if (sign) at[0] = '-';
        memcpy(at + sign, "1e308", 5);
    } else if (whole) {
        errno = 0;
        (void)strtoll(text, NULL, 10);
        if (errno == ERANGE) memcpy(at + len - 2, "e2", 2); /* the last two of at least 19 digits */
    }
    free(text);
}

/* A copy of body whose numbers can all be read. Caller frees. */
static char *tame_numbers(const char *body, size_t len) {
    char *copy = xmalloc(len + 1);
    memcpy(copy, body, len);
    copy[len] = 0;
    bool in_string = false;
    for (size_t i = 0; i < len;) {
        char c = copy[i];
        if (in_string && c == '\\') {
            i += 2;
            continue;
        }
        if (c == '"') in_string = !in_string;
        size_t run = in_string || !strchr("-0123456789", c) || !c ? 0 : strspn(copy + i, "-+.eE0123456789");
        if (run >= 5) tame_number(copy + i, run);
        i += run ? run : 1;
    }
    return copy;
}

/* Whether more than *left begin so; *left becomes what would be left. */
static bool begins_more(const char *text, size_t len, char open, uint32_t *left) {
    const char *end = text + len;
    for (const char *p = text; p < end && (p = memchr(p, open, (size_t)(end - p))); p++)
        if ((*left)-- == 0) return true;
    return false;
}

size_t openai_json_deep_at(const char *text, size_t len, uint32_t max) {
    PRE(text || !len);
    uint32_t left = max, depth = 0;
    /* Most have fewer in all than may lie in each other, which takes no look at each byte. */
    if (!begins_more(text, len, '[', &left) && !begins_more(text, len, '{', &left)) return len;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else
                in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (depth++ == max) return i;
        } else if ((c == ']' || c == '}') && depth) {
            depth--;
        }
    }
    return len;
}

bool openai_json_depth(jfields *f, const char *field, const json_t *text) {
    PRE(f);
    PRE(field);
    PRE(json_is_string(text));
    size_t len = json_string_length(text);
    if (!f->depth_max || openai_json_deep_at(json_string_value(text), len, f->depth_max) == len) return true;
    jf_fail(f, field, "%s: objects and lists lie more than %u deep in each other (limits.json_depth)", field,
            f->depth_max);
    return false;
}

json_t *openai_json(const char *body, size_t len, uint32_t depth_max, api_error *e) {
    PRE(body);
    PRE(e);
    size_t deep = depth_max ? openai_json_deep_at(body, len, depth_max) : len;
    if (deep != len) {
        api_fail(e, 400, NULL,
                 "objects and lists of the body lie more than %u deep in each other, at byte %zu "
                 "(limits.json_depth)",
                 depth_max, deep);
        return NULL;
    }
    size_t wrong = utf8_invalid_at(body, len);
    if (wrong != len) {
        api_fail(e, 400, NULL, "the body is not valid UTF-8: byte %zu is wrong", wrong);
        return NULL;
    }
    json_error_t je;
    json_t *root = json_loadb(body, len, JSON_ALLOW_NUL, &je);
    if (!root && json_error_code(&je) == json_error_numeric_overflow) {
        char *tame = tame_numbers(body, len);
        root = json_loadb(tame, len, JSON_ALLOW_NUL, &je);
        free(tame);
    }
    if (!root)
        api_fail(e, 400, NULL, "the body is not valid JSON: line %d, column %d: %.150s", je.line, je.column,
                 je.text);
    return root;
}
