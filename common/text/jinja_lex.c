#include "text/jinja_lex.h"

#include "base/mem.h"
#include "text/jinja_text.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BRACKETS_MAX JINJA_NEST_MAX

typedef struct lexer {
    jinja_heap *heap;
    jstr s;
    size_t at;
    uint32_t line;
    bool line_starts; /* what was read last ended a line, or nothing was read */
    jtoken *tokens;
    size_t count, capacity;
} lexer;

static jtoken *add(lexer *x, jtoken_kind kind, size_t begin, size_t end) {
    if (x->count == x->capacity) {
        size_t capacity = x->capacity ? x->capacity * 2 : 256;
        jtoken *bigger = jinja_alloc(x->heap, capacity, sizeof *bigger);
        if (x->count) memcpy(bigger, x->tokens, x->count * sizeof *bigger);
        x->tokens = bigger;
        x->capacity = capacity;
    }
    jtoken *t = &x->tokens[x->count++];
    *t = (jtoken){.kind = kind, .line = x->line, .text = jt_cut(x->s, begin, end)};
    return t;
}

static void fail(lexer *x, const char *what) __attribute__((noreturn));
static void fail(lexer *x, const char *what) {
    x->heap->line = x->line;
    jinja_fail(x->heap, ST_INVALID, "%s", what);
}

static bool looks_at(const lexer *x, const char *what) {
    return jt_starts(jt_cut(x->s, x->at, x->s.len), (jstr){what, NULL, strlen(what)});
}

static void go_to(lexer *x, size_t at) {
    for (; x->at < at; x->at++) x->line += x->s.at[x->at] == '\n';
}

static void skip_space(lexer *x) {
    while (x->at < x->s.len && jt_is_space(jt_code(x->s, x->at))) go_to(x, x->at + jt_char(x->s, x->at));
}

/* The text before a tag that opens at `end` with `sign` after its two characters. */
static void add_data(lexer *x, size_t end, char sign, bool print) {
    jstr data = jt_cut(x->s, x->at, end);
    size_t keep = data.len;
    if (sign == '-') {
        keep = jt_strip(x->heap, data, NULL, false, true).len;
    } else if (sign != '+' && !print) {
        size_t line = data.len;
        while (line > 0 && data.at[line - 1] != '\n') line--;
        jstr rest = jt_cut(data, line, data.len);
        if ((line > 0 || x->line_starts) && jt_strip(x->heap, rest, NULL, true, false).len == 0) keep = line;
    }
    if (keep > 0) add(x, JT_DATA, x->at, x->at + keep);
    go_to(x, end);
}

/* After a tag's end: a dash takes all white space, otherwise a block's line break goes. */
static void after_tag(lexer *x, char sign, bool print) {
    size_t begin = x->at;
    if (sign == '-')
        skip_space(x);
    else if (sign != '+' && !print && x->at < x->s.len && x->s.at[x->at] == '\n')
        go_to(x, x->at + 1);
    x->line_starts = x->at > begin && x->s.at[x->at - 1] == '\n';
}

static void comment(lexer *x) {
    size_t end = jt_find(x->heap, x->s, (jstr){"#}", NULL, 2}, x->at + 2);
    if (end == SIZE_MAX) fail(x, "a comment does not end");
    char sign = end > x->at + 2 ? x->s.at[end - 1] : 0;
    go_to(x, end + 2);
    after_tag(x, sign, false);
}

/* {% word %} at `at`, with signs: where it ends, or 0. */
static size_t tag_of(const lexer *x, size_t at, const char *word, char *before, char *after) {
    jstr s = x->s;
    if (!jt_starts(jt_cut(s, at, s.len), (jstr){"{%", NULL, 2})) return 0;
    at += 2;
    *before = at < s.len ? s.at[at] : 0;
    if (*before == '-' || *before == '+') at++;
    while (at < s.len && isspace((unsigned char)s.at[at])) at++;
    if (!jt_starts(jt_cut(s, at, s.len), (jstr){word, NULL, strlen(word)})) return 0;
    at += strlen(word);
    while (at < s.len && isspace((unsigned char)s.at[at])) at++;
    *after = at < s.len ? s.at[at] : 0;
    if (*after == '-' || *after == '+') at++;
    return jt_starts(jt_cut(s, at, s.len), (jstr){"%}", NULL, 2}) ? at + 2 : 0;
}

/* At {% raw %}: its text goes out as it stands. */
static bool raw(lexer *x) {
    char before = 0, after = 0;
    size_t begin = tag_of(x, x->at, "raw", &before, &after);
    if (!begin) return false;
    go_to(x, begin);
    after_tag(x, after, false);
    for (size_t at = x->at; at < x->s.len; at++) {
        size_t end = x->s.at[at] == '{' ? tag_of(x, at, "endraw", &before, &after) : 0;
        if (!end) continue;
        add_data(x, at, before, false);
        go_to(x, end);
        after_tag(x, after, false);
        return true;
    }
    fail(x, "a raw block does not end");
}

/* --- inside tags --- */

static uint32_t hex(lexer *x, size_t at, size_t digits) {
    uint32_t v = 0;
    for (size_t i = 0; i < digits; i++) {
        char c = at + i < x->s.len ? x->s.at[at + i] : 0;
        if (!isxdigit((unsigned char)c)) fail(x, "a string has a \\x, \\u or \\U without its digits");
        v = v * 16 + (uint32_t)(isdigit((unsigned char)c) ? c - '0' : (c | 32) - 'a' + 10);
    }
    if (v > 0x10FFFF || (v >= 0xD800 && v < 0xE000)) fail(x, "a string has an escape that is no character");
    return v;
}

/* At the character after a backslash; returns where it ends. */
static size_t escape(lexer *x, jbuilder *b, size_t at) {
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    char c = x->s.at[at];
    const char *known = c ? strchr(from, c) : NULL;
    if (known) {
        jb_bytes(b, to + (known - from), 1, false);
        return at + 1;
    }
    if (c == '\n') return at + 1;
    if (c == 'x' || c == 'u' || c == 'U') {
        size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        jb_char(b, hex(x, at + 1, digits), false);
        return at + 1 + digits;
    }
    if (c == 'N') fail(x, "a string has \\N{...}, which is not supported");
    if (c >= '0' && c <= '7') {
        uint32_t v = 0;
        size_t end = at;
        while (end < at + 3 && end < x->s.len && x->s.at[end] >= '0' && x->s.at[end] <= '7')
            v = v * 8 + (uint32_t)(x->s.at[end++] - '0');
        jb_char(b, v, false);
        return end;
    }
    jb_adds(b, "\\");
    return at;
}

static void string(lexer *x) {
    char quote = x->s.at[x->at];
    jbuilder b = {.heap = x->heap};
    size_t at = x->at + 1;
    while (at < x->s.len && x->s.at[at] != quote) {
        if (x->s.at[at] == '\\' && at + 1 < x->s.len) {
            at = escape(x, &b, at + 1);
        } else {
            jb_bytes(&b, x->s.at + at, 1, false);
            at++;
        }
    }
    if (at >= x->s.len) fail(x, "a string does not end");
    add(x, JT_STRING, x->at, at + 1)->value = j_str(jb_str(&b));
    go_to(x, at + 1);
}

static void number(lexer *x) {
    char text[64];
    size_t n = 0, at = x->at;
    bool is_float = false;
    int base = 10;
    if (x->s.at[at] == '0' && at + 1 < x->s.len && strchr("xXoObB", x->s.at[at + 1])) {
        char c = (char)(x->s.at[at + 1] | 32);
        base = c == 'x' ? 16 : c == 'o' ? 8 : 2;
        at += 2;
    }
    for (; at < x->s.len && n < sizeof text - 1; at++) {
        char c = x->s.at[at], next = at + 1 < x->s.len ? x->s.at[at + 1] : 0;
        bool sign = is_float && (c == '-' || c == '+') && (text[n - 1] | 32) == 'e';
        bool dot = base == 10 && c == '.' && !is_float && isdigit((unsigned char)next);
        bool power = base == 10 && n > 0 && (c | 32) == 'e' &&
                     (isdigit((unsigned char)next) || next == '-' || next == '+');
        if (c == '_') continue;
        if (!isdigit((unsigned char)c) && !(base == 16 && isxdigit((unsigned char)c)) && !sign && !dot &&
            !power)
            break;
        is_float = is_float || dot || power;
        text[n++] = c;
    }
    text[n] = 0;
    errno = 0;
    char *end = NULL;
    jvalue v = j_int(0);
    if (is_float)
        v = j_float(strtod(text, &end));
    else
        v.i = strtoll(text, &end, base);
    if (n == 0 || *end || (errno == ERANGE && !is_float)) fail(x, "a number is no 64-bit number");
    add(x, JT_NUMBER, x->at, at)->value = v;
    go_to(x, at);
}

static void operator_(lexer *x) {
    static const char *const ops[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "(",
                                      ")",  "[",  "]",  "{",  "}",  ">",  "<", "=", ".", ":", ",", "|"};
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        if (!looks_at(x, ops[i])) continue;
        add(x, JT_OP, x->at, x->at + strlen(ops[i]));
        go_to(x, x->at + strlen(ops[i]));
        return;
    }
    char what[64];
    snprintf(what, sizeof what, "'%.*s' is not understood here", (int)jt_char(x->s, x->at), x->s.at + x->at);
    fail(x, what);
}

static void inside(lexer *x, bool print) {
    char open[BRACKETS_MAX];
    size_t depth = 0;
    const char *close = print ? "}}" : "%}";
    for (;;) {
        skip_space(x);
        if (x->at >= x->s.len) fail(x, print ? "a {{ has no }}" : "a {% has no %}");
        char c = x->s.at[x->at];
        if (depth == 0) {
            bool sign = (c == '-' || c == '+') &&
                        jt_starts(jt_cut(x->s, x->at + 1, x->s.len), (jstr){close, NULL, 2});
            if (print && c == '+') sign = false;
            if (sign || looks_at(x, close)) {
                add(x, print ? JT_PRINT_END : JT_BLOCK_END, x->at + sign, x->at + sign + 2u);
                go_to(x, x->at + (sign ? 3 : 2));
                after_tag(x, sign ? c : 0, print);
                return;
            }
        }
        if (isdigit((unsigned char)c)) {
            number(x);
        } else if (c == '"' || c == '\'') {
            string(x);
        } else if (isalpha((unsigned char)c) || c == '_') {
            size_t end = x->at;
            while (end < x->s.len && (isalnum((unsigned char)x->s.at[end]) || x->s.at[end] == '_')) end++;
            add(x, JT_NAME, x->at, end);
            go_to(x, end);
        } else {
            if (strchr("([{", c)) {
                if (depth == BRACKETS_MAX) fail(x, "brackets are nested too deep");
                open[depth++] = c == '(' ? ')' : c == '[' ? ']' : '}';
            } else if (strchr(")]}", c) && (depth == 0 || open[--depth] != c)) {
                fail(x, "a bracket is closed that is not open");
            }
            operator_(x);
        }
    }
}

jtoken *jinja_lex(jinja_heap *h, const char *text, size_t len) {
    /* Line ends are \n; the last one is no part of the text. */
    jbuilder b = {.heap = h};
    for (size_t i = 0; i < len; i++) {
        bool cr = text[i] == '\r';
        jb_bytes(&b, cr ? "\n" : text + i, 1, false);
        if (cr && i + 1 < len && text[i + 1] == '\n') i++;
    }
    if (b.len > 0 && b.at[b.len - 1] == '\n') b.len--;
    lexer x = {.heap = h, .s = jb_str(&b), .line = 1, .line_starts = true};
    for (size_t at = 0; at + 1 < x.s.len;) {
        char c = x.s.at[at + 1];
        if (x.s.at[at] != '{' || (c != '{' && c != '%' && c != '#')) {
            at++;
            continue;
        }
        char sign = at + 2 < x.s.len ? x.s.at[at + 2] : 0;
        if (c == '{' && sign == '+') sign = 0;
        add_data(&x, at, sign, c == '{');
        if (c == '#') {
            comment(&x);
        } else if (c == '{' || !raw(&x)) {
            add(&x, c == '{' ? JT_PRINT : JT_BLOCK, at, at + 2);
            go_to(&x, at + (sign == '-' || (sign == '+' && c == '%') ? 3 : 2));
            inside(&x, c == '{');
        }
        at = x.at;
    }
    if (x.at < x.s.len) add(&x, JT_DATA, x.at, x.s.len);
    go_to(&x, x.s.len);
    add(&x, JT_END, x.s.len, x.s.len);
    return x.tokens;
}
