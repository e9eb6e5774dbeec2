/* json.dumps: what a template shows a model of tools and arguments. Bytes of strings keep their marks, and
 * what escapes them has the mark of what it escapes. */
#include "text/jinja_builtins.h"

#include "base/mem.h"
#include "text/jinja_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void escaped(jbuilder *b, uint32_t c, bool marked) {
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    char out[16];
    const char *known = c && c < 0x80 ? strchr(from, (int)c) : NULL;
    if (known)
        snprintf(out, sizeof out, "\\%c", to[known - from]);
    else if (c < 0x10000)
        snprintf(out, sizeof out, "\\u%04x", c);
    else
        snprintf(out, sizeof out, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10), 0xDC00 + (c & 0x3FF));
    jb_bytes(b, out, strlen(out), marked);
}

static void quoted(jbuilder *b, jstr s, bool ascii) {
    jb_adds(b, "\"");
    size_t from = 0;
    for (size_t at = 0; at < s.len;) {
        uint32_t c = jt_code(s, at);
        size_t len = jt_char(s, at);
        if (c < 0x20 || c == '"' || c == '\\' || (ascii && c > 0x7E)) {
            jb_add(b, jt_cut(s, from, at));
            escaped(b, c, s.mark && s.mark[at]);
            from = at + len;
        }
        at += len;
    }
    jb_add(b, jt_cut(s, from, s.len));
    jb_adds(b, "\"");
}

static void line(jbuilder *b, const jjson *how, uint32_t depth) {
    if (how->indent < 0) return;
    jb_adds(b, "\n");
    for (int64_t i = 0; i < how->indent * (int64_t)depth; i++) jb_adds(b, " ");
}

static void json_key(jbuilder *b, jvalue key, const jjson *how) {
    jbuilder text = {.heap = b->heap};
    switch (key.kind) {
    case J_STRING:
        quoted(b, key.s, how->ascii);
        return;
    case J_NONE:
    case J_BOOL:
    case J_INT:
    case J_FLOAT:
        jinja_json(&text, key, how, 0);
        quoted(b, jb_str(&text), how->ascii);
        return;
    default:
        jinja_fail(b->heap, ST_INVALID, "tojson: a key is a %s", j_type(key));
    }
}

static const size_t *sorted(jinja_heap *h, const jdict *d, bool sort) {
    size_t *order = jinja_alloc(h, d->count + 1, sizeof *order);
    for (size_t i = 0; i < d->count; i++) {
        size_t at = i;
        for (; sort && at > 0 && j_compare(h, d->keys[order[at - 1]], d->keys[i]) > 0; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    return order;
}

static void json_dict(jbuilder *b, const jdict *d, const jjson *how, uint32_t depth) {
    const size_t *order = sorted(b->heap, d, how->sort);
    jb_adds(b, "{");
    for (size_t i = 0; i < d->count; i++) {
        if (i) jb_add(b, how->comma);
        line(b, how, depth + 1);
        json_key(b, d->keys[order[i]], how);
        jb_add(b, how->colon);
        jinja_json(b, d->values[order[i]], how, depth + 1);
    }
    if (d->count) line(b, how, depth);
    jb_adds(b, "}");
}

void jinja_json(jbuilder *b, jvalue v, const jjson *how, uint32_t depth) {
    if (depth > JINJA_NEST_MAX)
        jinja_fail(b->heap, ST_INVALID, "tojson: values are nested deeper than %u (the limit)",
                   JINJA_NEST_MAX);
    jinja_steps(b->heap, 1);
    switch (v.kind) {
    case J_NONE:
        jb_adds(b, "null");
        return;
    case J_BOOL:
        jb_adds(b, v.truth ? "true" : "false");
        return;
    case J_INT:
        jt_repr(b, v, 0);
        return;
    case J_FLOAT:
        if (isfinite(v.f))
            jt_float(b, v.f);
        else
            jb_adds(b, isnan(v.f) ? "NaN" : v.f < 0 ? "-Infinity" : "Infinity");
        return;
    case J_STRING:
        quoted(b, v.s, how->ascii);
        return;
    case J_LIST:
    case J_TUPLE:
        jb_adds(b, "[");
        for (size_t i = 0; i < v.list->count; i++) {
            if (i) jb_add(b, how->comma);
            line(b, how, depth + 1);
            jinja_json(b, v.list->items[i], how, depth + 1);
        }
        if (v.list->count) line(b, how, depth);
        jb_adds(b, "]");
        return;
    case J_DICT:
        json_dict(b, v.dict, how, depth);
        return;
    case J_UNDEFINED:
        j_fail_undefined(b->heap, v);
    default:
        jinja_fail(b->heap, ST_INVALID, "tojson: a %s has no JSON", j_type(v));
    }
}
