#include "grammar/pattern.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX   64u
#define PARTS_MAX   (1u << 15)
#define NO_PART     UINT32_MAX
#define WITHOUT_END UINT32_MAX

typedef enum part_kind {
    PART_EMPTY,
    PART_CLASS,
    PART_THEN,   /* a, then b */
    PART_EITHER, /* a or b */
    PART_REPEAT, /* a, least to most times */
    PART_BEGIN,  /* ^ */
    PART_END,    /* $ */
} part_kind;

typedef struct part {
    part_kind kind;
    uint32_t a, b;
    uint32_t least, most;
    char_class chars;
} part;

typedef struct parser {
    const char *text;
    size_t len, at;
    uint32_t depth;
    part *parts;
    uint32_t count, capacity;
    status st;
    errbuf *eb;
} parser;

static uint32_t fail(parser *p, status st, const char *what) {
    if (p->st == ST_OK) p->st = errf(p->eb, st, "%s at byte %zu of the expression", what, p->at);
    return NO_PART;
}

static uint32_t add(parser *p, part n) {
    if (p->count == PARTS_MAX) {
        char_class_done(&n.chars);
        return fail(p, ST_UNSUPPORTED, "more parts than are supported");
    }
    if (p->count == p->capacity) {
        p->capacity = MAX(64u, p->capacity * 2);
        p->parts = xrealloc(p->parts, p->capacity, sizeof *p->parts);
    }
    p->parts[p->count] = n;
    return p->count++;
}

static bool more(const parser *p) {
    return p->st == ST_OK && p->at < p->len;
}

static bool take(parser *p, const char *text) {
    size_t len = strlen(text);
    if (p->st != ST_OK || p->len - p->at < len || memcmp(p->text + p->at, text, len) != 0) return false;
    p->at += len;
    return true;
}

/* --- characters --- */

/* The next one of valid UTF-8. */
static uint32_t next_char(parser *p) {
    uint8_t c = (uint8_t)p->text[p->at++];
    if (c < 0x80) return c;
    uint32_t rest = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1, code = c & (0x3Fu >> rest);
    for (; rest > 0 && p->at < p->len; rest--) code = code << 6 | ((uint8_t)p->text[p->at++] & 0x3Fu);
    return MIN(code, CHAR_MAX_CODE);
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static uint32_t hex(parser *p, uint32_t digits) {
    uint32_t code = 0;
    for (uint32_t i = 0; i < digits; i++) {
        int d = p->at < p->len ? hex_digit(p->text[p->at]) : -1;
        if (d < 0) {
            fail(p, ST_INVALID, "want hexadecimal digits");
            return 0;
        }
        code = code * 16 + (uint32_t)d;
        p->at++;
    }
    return code;
}

static uint32_t unicode_escape(parser *p) {
    if (!take(p, "{")) {
        uint32_t code = hex(p, 4);
        if (code >= 0xD800 && code < 0xDC00 && take(p, "\\u")) {
            uint32_t low = hex(p, 4);
            if (low >= 0xDC00 && low < 0xE000) return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
            fail(p, ST_INVALID, "half a surrogate pair");
        }
        return code;
    }
    uint32_t code = 0, digits = 0;
    while (p->at < p->len && hex_digit(p->text[p->at]) >= 0 && code <= CHAR_MAX_CODE && ++digits)
        code = code * 16 + (uint32_t)hex_digit(p->text[p->at++]);
    if (!digits || code > CHAR_MAX_CODE || !take(p, "}")) fail(p, ST_INVALID, "want \\u{HEX}");
    return MIN(code, CHAR_MAX_CODE);
}

/* \d, \w, \s and their opposites; false: it is none. */
static bool known_class(char name, char_class *out) {
    char_class c = {0};
    switch (name | 0x20) {
    case 'd':
        char_class_add(&c, '0', '9');
        break;
    case 'w':
        char_class_add(&c, '0', '9');
        char_class_add(&c, 'A', 'Z');
        char_class_add(&c, '_', '_');
        char_class_add(&c, 'a', 'z');
        break;
    case 's': {
        static const char_range spaces[] = {
            {9, 13},          {0x20, 0x20},     {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
            {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
        for (size_t i = 0; i < ARRAY_LEN(spaces); i++) char_class_add(&c, spaces[i].first, spaces[i].last);
        break;
    }
    default:
        return false;
    }
    char_class_settle(&c);
    if (name < 'a') char_class_invert(&c);
    for (uint32_t i = 0; i < c.count; i++) char_class_add(out, c.ranges[i].first, c.ranges[i].last);
    char_class_done(&c);
    return true;
}

/* After a backslash: a single character. */
static uint32_t escaped_char(parser *p, bool in_class) {
    if (!more(p)) {
        fail(p, ST_INVALID, "nothing after a backslash");
        return 0;
    }
    static const char names[] = "tnrfv0", codes[] = "\t\n\r\f\v";
    char c = p->text[p->at];
    const char *known = strchr(names, c);
    if (c && known) {
        p->at++;
        return c == '0' ? 0 : (uint32_t)codes[known - names];
    }
    if (in_class && take(p, "b")) return '\b';
    if (take(p, "x")) return hex(p, 2);
    if (take(p, "u")) return unicode_escape(p);
    if (take(p, "c")) {
        if (!more(p)) fail(p, ST_INVALID, "nothing after \\c");
        return p->st == ST_OK ? (uint32_t)p->text[p->at++] & 31u : 0;
    }
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) {
        char what[48] = "the escape \\? is not supported";
        *strchr(what, '?') = c;
        fail(p, ST_UNSUPPORTED, what);
        return 0;
    }
    return next_char(p);
}

/* One side of a range; true: a class of its own was added. */
static bool class_atom(parser *p, char_class *out, uint32_t *code) {
    if (!take(p, "\\")) {
        *code = next_char(p);
        return false;
    }
    if (more(p) && known_class(p->text[p->at], out)) {
        p->at++;
        return true;
    }
    *code = escaped_char(p, true);
    return false;
}

static uint32_t parse_class(parser *p) {
    char_class c = {0};
    bool inverted = take(p, "^"), closed = false;
    while (more(p) && !(closed = take(p, "]"))) {
        uint32_t first = 0, last = 0;
        if (class_atom(p, &c, &first)) continue;
        last = first;
        if (p->len - p->at >= 2 && p->text[p->at] == '-' && p->text[p->at + 1] != ']') {
            p->at++;
            if (class_atom(p, &c, &last)) {
                char_class_add(&c, '-', '-');
                last = first;
            }
        }
        if (last < first)
            fail(p, ST_INVALID, "a range that is upside down");
        else
            char_class_add(&c, first, last);
    }
    if (p->st == ST_OK && !closed) fail(p, ST_INVALID, "a class that is not closed");
    char_class_settle(&c);
    if (inverted) char_class_invert(&c);
    return add(p, (part){.kind = PART_CLASS, .chars = c});
}

static uint32_t single(parser *p, uint32_t code) {
    char_class c = {0};
    char_class_add(&c, code, code);
    char_class_settle(&c);
    return add(p, (part){.kind = PART_CLASS, .chars = c});
}

/* --- structure --- */

static uint32_t parse_either(parser *p);

static uint32_t parse_group(parser *p) {
    if (take(p, "?")) {
        bool named = p->len - p->at >= 2 && p->text[p->at] == '<' && !strchr("=!", p->text[p->at + 1]);
        if (named) {
            while (more(p) && p->text[p->at] != '>') p->at++;
            (void)take(p, ">");
        } else if (!take(p, ":")) {
            return fail(p, ST_UNSUPPORTED, "groups that look around, or with flags, are not supported");
        }
    }
    if (++p->depth > DEPTH_MAX) return fail(p, ST_UNSUPPORTED, "groups are nested too deeply");
    uint32_t inner = parse_either(p);
    p->depth--;
    if (p->st == ST_OK && !take(p, ")")) return fail(p, ST_INVALID, "a group that is not closed");
    return inner;
}

static uint32_t parse_atom(parser *p) {
    if (take(p, "(")) return parse_group(p);
    if (take(p, "[")) return parse_class(p);
    if (take(p, "^")) return add(p, (part){.kind = PART_BEGIN});
    if (take(p, "$")) return add(p, (part){.kind = PART_END});
    if (take(p, ".")) {
        char_class c = {0};
        char_class_add(&c, '\n', '\n');
        char_class_add(&c, '\r', '\r');
        char_class_add(&c, 0x2028, 0x2029);
        char_class_settle(&c);
        char_class_invert(&c);
        return add(p, (part){.kind = PART_CLASS, .chars = c});
    }
    if (take(p, "\\")) {
        char_class c = {0};
        if (more(p) && known_class(p->text[p->at], &c)) {
            p->at++;
            char_class_settle(&c);
            return add(p, (part){.kind = PART_CLASS, .chars = c});
        }
        return single(p, escaped_char(p, false));
    }
    if (strchr("*+?{", p->text[p->at]) && p->text[p->at]) return fail(p, ST_INVALID, "nothing to repeat");
    return single(p, next_char(p));
}

static uint32_t number(parser *p) {
    uint32_t n = 0, digits = 0;
    for (; p->at < p->len && p->text[p->at] >= '0' && p->text[p->at] <= '9'; p->at++, digits++)
        if (n <= PATTERN_REPEAT_MAX) n = n * 10 + (uint32_t)(p->text[p->at] - '0');
    if (!digits) fail(p, ST_INVALID, "want a number in { }");
    if (n > PATTERN_REPEAT_MAX) fail(p, ST_UNSUPPORTED, "more than 4096 repetitions");
    return n;
}

static bool parse_count(parser *p, uint32_t *least, uint32_t *most) {
    *least = 0;
    *most = WITHOUT_END;
    if (take(p, "*")) return true;
    if (take(p, "+")) {
        *least = 1;
        return true;
    }
    if (take(p, "?")) {
        *most = 1;
        return true;
    }
    if (!take(p, "{")) return false;
    *least = number(p);
    if (take(p, "}")) {
        *most = *least;
        return true;
    }
    if (!take(p, ",")) fail(p, ST_INVALID, "want , or } after a number");
    if (take(p, "}")) return true;
    *most = number(p);
    if (p->st == ST_OK && !take(p, "}")) fail(p, ST_INVALID, "want } after a number");
    if (*most < *least) fail(p, ST_INVALID, "{n,m} with m below n");
    return true;
}

static uint32_t parse_then(parser *p) {
    uint32_t all = NO_PART;
    while (more(p) && p->text[p->at] != '|' && p->text[p->at] != ')') {
        uint32_t atom = parse_atom(p), least, most;
        while (p->st == ST_OK && parse_count(p, &least, &most)) {
            (void)take(p, "?");
            if (p->st == ST_OK)
                atom = add(p, (part){.kind = PART_REPEAT, .a = atom, .least = least, .most = most});
        }
        if (p->st != ST_OK) return NO_PART;
        all = all == NO_PART ? atom : add(p, (part){.kind = PART_THEN, .a = all, .b = atom});
    }
    return all == NO_PART ? add(p, (part){.kind = PART_EMPTY}) : all;
}

static uint32_t parse_either(parser *p) {
    uint32_t all = parse_then(p);
    while (p->st == ST_OK && take(p, "|")) {
        uint32_t other = parse_then(p);
        if (p->st == ST_OK) all = add(p, (part){.kind = PART_EITHER, .a = all, .b = other});
    }
    return all;
}

/* --- nodes --- */

typedef struct builder {
    graph *g;
    parser *p;
    writing w;
    bool search;
} builder;

static uint32_t anything(const builder *b, uint32_t next) {
    char_class all = {0};
    char_class_invert(&all);
    uint32_t loop = graph_loop(b->g, next);
    graph_loop_body(b->g, loop, chars_node(b->g, &all, b->w, loop));
    char_class_done(&all);
    return loop;
}

/* leads, ends: whether it stands at the begin, or at the end, of the whole. There, and nowhere else, ^ and $
 * have a meaning, and a search has anything around. */
static uint32_t build(builder *b, uint32_t number_of, bool leads, bool ends, uint32_t next);

/* Whether it begins, or ends, with ^ or $: then nothing comes before or after it. Alternatives there see to
 * that themselves. */
static bool tied(const parser *p, uint32_t n, part_kind by) {
    for (;;) {
        const part *at = &p->parts[n];
        if (at->kind == by || at->kind == PART_EITHER) return true;
        if (at->kind != PART_THEN) return false;
        n = by == PART_BEGIN ? at->a : at->b;
    }
}

static uint32_t repeat(builder *b, const part *at, uint32_t next) {
    uint32_t begin = next;
    if (at->most == WITHOUT_END) {
        begin = graph_loop(b->g, next);
        graph_loop_body(b->g, begin, build(b, at->a, false, false, begin));
    } else {
        for (uint32_t i = at->least; i < at->most && !b->g->full; i++)
            begin = graph_either(b->g, build(b, at->a, false, false, begin), next);
    }
    for (uint32_t i = 0; i < at->least && !b->g->full; i++) begin = build(b, at->a, false, false, begin);
    return begin;
}

static uint32_t alternative(builder *b, uint32_t n, bool leads, bool ends, uint32_t next) {
    bool after = b->search && ends && !tied(b->p, n, PART_END);
    bool before = b->search && leads && !tied(b->p, n, PART_BEGIN);
    uint32_t begin = build(b, n, leads, ends, after ? anything(b, next) : next);
    return before ? anything(b, begin) : begin;
}

/* Chains lean to the left and may be long, so they are walked in loops. */
static uint32_t build(builder *b, uint32_t n, bool leads, bool ends, uint32_t next) {
    for (; b->p->parts[n].kind == PART_THEN; n = b->p->parts[n].a, ends = false)
        next = build(b, b->p->parts[n].b, false, ends, next);
    if (next == NODE_NONE || b->g->full) return NODE_NONE;
    const part at = b->p->parts[n];
    uint32_t begin = NODE_NONE;
    switch (at.kind) {
    case PART_EMPTY:
        return next;
    case PART_CLASS:
        return chars_node(b->g, &at.chars, b->w, next);
    case PART_EITHER:
        for (; b->p->parts[n].kind == PART_EITHER; n = b->p->parts[n].a)
            begin = graph_either(b->g, alternative(b, b->p->parts[n].b, leads, ends, next), begin);
        return graph_either(b->g, alternative(b, n, leads, ends, next), begin);
    case PART_REPEAT:
        return repeat(b, &at, next);
    case PART_BEGIN:
        if (!leads) fail(b->p, ST_UNSUPPORTED, "^ is supported at the begin only, not where this ends,");
        return next;
    case PART_END:
        if (!ends) fail(b->p, ST_UNSUPPORTED, "$ is supported at the end only, not where this ends,");
        return next;
    case PART_THEN:
        break;
    }
    check_failed("check", "a part's kind", __FILE__, __LINE__, __func__);
}

status pattern_node(graph *g, const char *text, size_t len, bool search, writing w, uint32_t next,
                    uint32_t *out, errbuf *eb) {
    PRE(g);
    PRE(text);
    PRE(out);
    parser p = {.text = text, .len = len, .eb = eb};
    uint32_t whole = parse_either(&p);
    if (p.st == ST_OK && p.at < p.len) fail(&p, ST_INVALID, "a ) that closes nothing");
    if (p.st == ST_OK) {
        builder b = {.g = g, .p = &p, .w = w, .search = search};
        *out = alternative(&b, whole, true, true, next);
    }
    for (uint32_t i = 0; i < p.count; i++) char_class_done(&p.parts[i].chars);
    free(p.parts);
    return p.st;
}
