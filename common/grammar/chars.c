#include "grammar/chars.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SURROGATES_BEGIN 0xD800u
#define SURROGATES_END   0xE000u

void char_class_add(char_class *c, uint32_t first, uint32_t last) {
    PRE(first <= last);
    PRE(last <= CHAR_MAX_CODE);
    if (c->count == c->capacity) {
        c->capacity = MAX(8u, c->capacity * 2);
        c->ranges = xrealloc(c->ranges, c->capacity, sizeof *c->ranges);
    }
    c->ranges[c->count++] = (char_range){first, last};
}

static int compare_ranges(const void *a, const void *b) {
    const char_range *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

static void join(char_class *c) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        char_range r = c->ranges[i];
        if (kept && r.first <= c->ranges[kept - 1].last + 1)
            c->ranges[kept - 1].last = MAX(c->ranges[kept - 1].last, r.last);
        else
            c->ranges[kept++] = r;
    }
    c->count = kept;
}

void char_class_settle(char_class *c) {
    for (uint32_t i = 0, count = c->count; i < count; i++) {
        char_range r = c->ranges[i];
        if (r.last < SURROGATES_BEGIN || r.first >= SURROGATES_END) continue;
        if (r.last >= SURROGATES_END) char_class_add(c, SURROGATES_END, r.last);
        if (r.first < SURROGATES_BEGIN)
            c->ranges[i].last = SURROGATES_BEGIN - 1;
        else
            c->ranges[i] =
                (char_range){CHAR_MAX_CODE + 1, CHAR_MAX_CODE + 1}; /* sorted last, cut off below */
    }
    if (c->count) qsort(c->ranges, c->count, sizeof *c->ranges, compare_ranges);
    while (c->count && c->ranges[c->count - 1].first > CHAR_MAX_CODE) c->count--;
    join(c);
}

void char_class_invert(char_class *c) {
    char_class out = {0};
    uint32_t from = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->ranges[i].first > from) char_class_add(&out, from, c->ranges[i].first - 1);
        from = c->ranges[i].last + 1;
    }
    if (from <= CHAR_MAX_CODE) char_class_add(&out, from, CHAR_MAX_CODE);
    char_class_settle(&out);
    char_class_done(c);
    *c = out;
}

void char_class_done(char_class *c) {
    free(c->ranges);
    *c = (char_class){0};
}

/* --- UTF-8 --- */

static uint32_t utf8_write(uint32_t code, uint8_t out[4]) {
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    uint32_t len = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (uint32_t i = len; i-- > 1; code >>= 6) out[i] = (uint8_t)(0x80 | (code & 0x3F));
    out[0] = (uint8_t)((0xF00u >> len & 0xFF) | code);
    return len;
}

/* All texts between a and b, of equal length, byte by byte from `at` on; those before are equal. */
static uint32_t between(graph *g, const uint8_t *a, const uint8_t *b, uint32_t at, uint32_t len,
                        uint32_t next) {
    if (at == len) return next;
    static const uint8_t least[4] = {0x80, 0x80, 0x80, 0x80}, most[4] = {0xBF, 0xBF, 0xBF, 0xBF};
    if (a[at] == b[at]) return graph_range(g, a[at], a[at], between(g, a, b, at + 1, len, next));
    bool from_least = memcmp(a + at + 1, least, len - at - 1) == 0;
    bool to_most = memcmp(b + at + 1, most, len - at - 1) == 0;
    uint8_t first = a[at], last = b[at];
    uint32_t begin = NODE_NONE;
    if (!from_least) {
        begin = graph_range(g, first, first, between(g, a, most, at + 1, len, next));
        first++;
    }
    if (!to_most) {
        begin = graph_either(g, begin, graph_range(g, last, last, between(g, least, b, at + 1, len, next)));
        last--;
    }
    if (first <= last)
        begin =
            graph_either(g, begin, graph_range(g, first, last, between(g, least, most, at + 1, len, next)));
    return begin;
}

static uint32_t range_node(graph *g, uint32_t first, uint32_t last, uint32_t next) {
    static const uint32_t ends[] = {0x7F, 0x7FF, 0xFFFF, CHAR_MAX_CODE};
    uint32_t begin = NODE_NONE;
    for (uint32_t i = 0; i < ARRAY_LEN(ends) && first <= last; i++) {
        if (first > ends[i]) continue;
        uint8_t a[4], b[4];
        uint32_t len = utf8_write(first, a);
        (void)utf8_write(MIN(last, ends[i]), b);
        begin = graph_either(g, begin, between(g, a, b, 0, len, next));
        first = ends[i] + 1;
    }
    return begin;
}

/* --- classes --- */

/* As it is written inside of a JSON string; 0: as it is. */
static size_t escape(uint32_t code, char out[8]) {
    static const char names[] = "\b\t\n\f\r\"\\", letters[] = "btnfr\"\\";
    const char *at = code && code < 0x80 ? strchr(names, (int)code) : NULL;
    if (at) {
        out[0] = '\\';
        out[1] = letters[at - names];
        return 2;
    }
    return code < 0x20 ? (size_t)snprintf(out, 8, "\\u%04x", code) : 0;
}

uint32_t chars_node(graph *g, const char_class *c, writing w, uint32_t next) {
    if (next == NODE_NONE) return NODE_NONE;
    byte_set ascii = {0};
    uint32_t begin = NODE_NONE;
    for (uint32_t i = 0; i < c->count; i++) {
        char_range r = c->ranges[i];
        for (uint32_t code = r.first; code <= MIN(r.last, 0x7Fu); code++) {
            char text[8];
            size_t len = w == WRITE_JSON ? escape(code, text) : 0;
            if (len)
                begin = graph_either(g, begin, graph_literal(g, text, len, next));
            else
                byte_set_add(&ascii, (uint8_t)code, (uint8_t)code);
        }
        if (r.last > 0x7F) begin = graph_either(g, begin, range_node(g, MAX(r.first, 0x80u), r.last, next));
    }
    return graph_either(g, graph_set(g, &ascii, next), begin);
}

uint32_t chars_text(graph *g, const char *text, size_t len, writing w, uint32_t next) {
    for (size_t i = len; i-- > 0;) {
        char escaped[8];
        size_t n = w == WRITE_JSON ? escape((uint8_t)text[i], escaped) : 0;
        next = n ? graph_literal(g, escaped, n, next) : graph_literal(g, text + i, 1, next);
    }
    return next;
}
