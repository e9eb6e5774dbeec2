#include "text/jinja_text.h"

#include "base/mem.h"

#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wctype.h>

/* --- building --- */

static void room(jbuilder *b, size_t len) {
    if (len > JINJA_OUTPUT_MAX || b->len + len > JINJA_OUTPUT_MAX)
        jinja_fail(b->heap, ST_INVALID, "the template makes a text of more than %zu MiB (the limit)",
                   JINJA_OUTPUT_MAX >> 20);
    if (b->capacity - b->len >= len) return;
    size_t capacity = MAX(b->capacity * 2, MAX(b->len + len, 64));
    char *at = jinja_alloc(b->heap, capacity, 1);
    if (b->len) memcpy(at, b->at, b->len);
    b->at = at;
    if (b->mark) {
        unsigned char *mark = jinja_alloc(b->heap, capacity, 1);
        memcpy(mark, b->mark, b->len);
        b->mark = mark;
    }
    b->capacity = capacity;
}

void jb_add(jbuilder *b, jstr s) {
    if (s.len == 0) return;
    room(b, s.len);
    jinja_steps(b->heap, s.len / 64);
    if (s.mark && !b->mark) b->mark = jinja_alloc(b->heap, b->capacity, 1);
    memcpy(b->at + b->len, s.at, s.len);
    if (s.mark) memcpy(b->mark + b->len, s.mark, s.len);
    b->len += s.len;
}

void jb_bytes(jbuilder *b, const char *at, size_t len, bool marked) {
    size_t begin = b->len;
    jb_add(b, (jstr){at, NULL, len});
    if (!marked || len == 0) return;
    if (!b->mark) b->mark = jinja_alloc(b->heap, b->capacity, 1);
    memset(b->mark + begin, 1, len);
}

void jb_adds(jbuilder *b, const char *s) {
    jb_bytes(b, s, strlen(s), false);
}

void jb_char(jbuilder *b, uint32_t c, bool marked) {
    char out[4];
    size_t len = 0;
    if (c < 0x80) {
        out[len++] = (char)c;
    } else if (c < 0x800) {
        out[len++] = (char)(0xC0 | c >> 6);
    } else if (c < 0x10000) {
        out[len++] = (char)(0xE0 | c >> 12);
        out[len++] = (char)(0x80 | (c >> 6 & 63));
    } else {
        out[len++] = (char)(0xF0 | c >> 18);
        out[len++] = (char)(0x80 | (c >> 12 & 63));
        out[len++] = (char)(0x80 | (c >> 6 & 63));
    }
    if (c >= 0x80) out[len++] = (char)(0x80 | (c & 63));
    jb_bytes(b, out, len, marked);
}

jstr jb_str(const jbuilder *b) {
    return (jstr){b->at ? b->at : "", b->mark, b->len};
}

/* --- characters --- */

jstr jt_cut(jstr s, size_t begin, size_t end) {
    return (jstr){s.at + begin, s.mark ? s.mark + begin : NULL, end - begin};
}

size_t jt_char(jstr s, size_t at) {
    unsigned char c = (unsigned char)s.at[at];
    size_t len = c < 0xC0 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    return MIN(len, s.len - at);
}

uint32_t jt_code(jstr s, size_t at) {
    const unsigned char *p = (const unsigned char *)s.at + at;
    size_t len = jt_char(s, at);
    if (len == 1) return p[0];
    uint32_t c = p[0] & (0x7Fu >> len);
    for (size_t i = 1; i < len; i++) c = c << 6 | (p[i] & 63);
    return c;
}

size_t jt_count(jinja_heap *h, jstr s) {
    jinja_steps(h, s.len / 64);
    size_t count = 0;
    for (size_t i = 0; i < s.len; i++) count += ((unsigned char)s.at[i] & 0xC0) != 0x80;
    return count;
}

size_t jt_offset(jinja_heap *h, jstr s, size_t index) {
    size_t at = 0;
    for (; index > 0 && at < s.len; index--) at += jt_char(s, at);
    jinja_steps(h, at / 64);
    return at;
}

size_t jt_find(jinja_heap *h, jstr s, jstr what, size_t from) {
    if (from > s.len || what.len > s.len - from) return SIZE_MAX;
    if (what.len == 0) return from;
    const char *p = memmem(s.at + from, s.len - from, what.at, what.len);
    size_t at = p ? (size_t)(p - s.at) : SIZE_MAX;
    jinja_steps(h, ((p ? at : s.len) - from) / 16 + 1); /* long needles are slow to look for */
    return at;
}

bool jt_starts(jstr s, jstr what) {
    return s.len >= what.len && (what.len == 0 || memcmp(s.at, what.at, what.len) == 0);
}

bool jt_ends(jstr s, jstr what) {
    return s.len >= what.len && (what.len == 0 || memcmp(s.at + s.len - what.len, what.at, what.len) == 0);
}

bool jt_is_space(uint32_t c) {
    return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
           c == 0x3000;
}

static bool is_stripped(jinja_heap *h, jstr s, size_t at, const jstr *chars) {
    if (!chars) return jt_is_space(jt_code(s, at));
    return jt_find(h, *chars, jt_cut(s, at, at + jt_char(s, at)), 0) != SIZE_MAX;
}

jstr jt_strip(jinja_heap *h, jstr s, const jstr *chars, bool left, bool right) {
    size_t begin = 0, end = s.len;
    while (left && begin < end && is_stripped(h, s, begin, chars)) begin += jt_char(s, begin);
    while (right && end > begin) {
        size_t last = end - 1;
        while (last > begin && ((unsigned char)s.at[last] & 0xC0) == 0x80) last--;
        if (!is_stripped(h, s, last, chars)) break;
        end = last;
    }
    jinja_steps(h, (s.len - (end - begin)) / 16);
    return jt_cut(s, begin, end);
}

jstr jt_replace(jinja_heap *h, jstr s, jstr what, jstr by, int64_t count) {
    jbuilder b = {.heap = h};
    size_t at = 0;
    if (what.len == 0) { /* between all characters */
        while (count != 0) {
            jinja_steps(h, 1);
            jb_add(&b, by);
            if (count > 0) count--;
            if (at == s.len) break;
            size_t len = jt_char(s, at);
            jb_add(&b, jt_cut(s, at, at + len));
            at += len;
        }
    }
    for (; count != 0 && what.len > 0; count -= count > 0) {
        size_t found = jt_find(h, s, what, at);
        if (found == SIZE_MAX) break;
        jb_add(&b, jt_cut(s, at, found));
        jb_add(&b, by);
        at = found + what.len;
    }
    jb_add(&b, jt_cut(s, at, s.len));
    return jb_str(&b);
}

/* --- letters --- */

static locale_t letters(void) {
    static locale_t l; /* made once: the same for everybody, and never freed */
    locale_t have = __atomic_load_n(&l, __ATOMIC_ACQUIRE);
    if (have) return have;
    have = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    if (!have) have = newlocale(LC_CTYPE_MASK, "C", (locale_t)0);
    locale_t none = (locale_t)0;
    if (__atomic_compare_exchange_n(&l, &none, have, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return have;
    freelocale(have);
    return none;
}

static bool ends_word(uint32_t c) { /* what the filter `title` splits at: [-\s({\[<] */
    return c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || jt_is_space(c);
}

jstr jt_case(jinja_heap *h, jstr s, jcase how) {
    jbuilder b = {.heap = h};
    bool begin = true;
    locale_t l = letters();
    for (size_t at = 0; at < s.len; at += jt_char(s, at)) {
        jinja_steps(h, 1);
        uint32_t c = jt_code(s, at);
        bool up = how == JCASE_UPPER || (how != JCASE_LOWER && begin);
        bool marked = s.mark && s.mark[at];
        if (up && c == 0xDF) /* the one letter of the West whose capital is two */
            jb_adds(&b, how == JCASE_UPPER ? "SS" : "Ss");
        else
            jb_char(&b, up ? towupper_l(c, l) : towlower_l(c, l), marked);
        if (how == JCASE_CAPITALIZE) begin = false;
        if (how == JCASE_TITLE) begin = !iswalpha_l(c, l);
        if (how == JCASE_WORDS) begin = ends_word(c);
    }
    return jb_str(&b);
}

/* --- writing --- */

/* Python's repr of a float: the fewest digits that give the same number back. */
void jt_float(jbuilder *b, double v) {
    char digits[40], out[64];
    if (isnan(v) || isinf(v)) {
        jb_adds(b, isnan(v) ? "nan" : v < 0 ? "-inf" : "inf");
        return;
    }
    int precision = 0;
    do {
        snprintf(digits, sizeof digits, "%.*e", precision, v);
    } while (strtod(digits, NULL) != v && ++precision < 17);
    int exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent < -4 || exponent >= 16) {
        char *e = strchr(digits, 'e');
        *e = 0;
        snprintf(out, sizeof out, "%se%c%02d", digits, exponent < 0 ? '-' : '+', abs(exponent));
    } else {
        int places = MAX(precision - exponent, 1);
        snprintf(out, sizeof out, "%.*f", places, v);
    }
    jb_adds(b, out);
}

static void repr_string(jbuilder *b, jstr s) {
    bool has_single = s.len && memchr(s.at, '\'', s.len), has_double = s.len && memchr(s.at, '"', s.len);
    const char *quote = has_single && !has_double ? "\"" : "'";
    jb_adds(b, quote);
    for (size_t at = 0; at < s.len;) {
        size_t len = jt_char(s, at);
        uint32_t c = jt_code(s, at);
        bool marked = s.mark && s.mark[at];
        char out[16] = "";
        if (c == (unsigned char)*quote || c == '\\')
            snprintf(out, sizeof out, "\\%c", (int)c);
        else if (c == '\n' || c == '\r' || c == '\t')
            snprintf(out, sizeof out, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        else if (c < 0x20 || (c >= 0x7F && c <= 0xA0) || c == 0xAD)
            snprintf(out, sizeof out, "\\x%02x", c);
        if (*out)
            jb_bytes(b, out, strlen(out), marked);
        else
            jb_add(b, jt_cut(s, at, at + len));
        at += len;
    }
    jb_adds(b, quote);
}

static void repr_items(jbuilder *b, jvalue v, uint32_t depth) {
    bool tuple = v.kind == J_TUPLE;
    jb_adds(b, tuple ? "(" : "[");
    for (size_t i = 0; i < v.list->count; i++) {
        if (i) jb_adds(b, ", ");
        jt_repr(b, v.list->items[i], depth + 1);
    }
    if (tuple && v.list->count == 1) jb_adds(b, ",");
    jb_adds(b, tuple ? ")" : "]");
}

static void repr_dict(jbuilder *b, jvalue v, uint32_t depth) {
    if (v.kind == J_NAMESPACE) jb_adds(b, "<Namespace ");
    jb_adds(b, "{");
    for (size_t i = 0; i < v.dict->count; i++) {
        if (i) jb_adds(b, ", ");
        jt_repr(b, v.dict->keys[i], depth + 1);
        jb_adds(b, ": ");
        jt_repr(b, v.dict->values[i], depth + 1);
    }
    jb_adds(b, "}");
    if (v.kind == J_NAMESPACE) jb_adds(b, ">");
}

void jt_repr(jbuilder *b, jvalue v, uint32_t depth) {
    char number[32];
    if (depth > JINJA_NEST_MAX)
        jinja_fail(b->heap, ST_INVALID, "values are nested deeper than %u (the limit)", JINJA_NEST_MAX);
    jinja_steps(b->heap, 1);
    switch (v.kind) {
    case J_UNDEFINED:
    case J_ABSENT:
        jb_adds(b, "Undefined");
        return;
    case J_NONE:
        jb_adds(b, "None");
        return;
    case J_BOOL:
        jb_adds(b, v.truth ? "True" : "False");
        return;
    case J_INT:
        snprintf(number, sizeof number, "%" PRId64, v.i);
        jb_adds(b, number);
        return;
    case J_FLOAT:
        jt_float(b, v.f);
        return;
    case J_STRING:
        repr_string(b, v.s);
        return;
    case J_LIST:
    case J_TUPLE:
        repr_items(b, v, depth);
        return;
    case J_DICT:
    case J_NAMESPACE:
        repr_dict(b, v, depth);
        return;
    case J_LAZY:
    case J_MACRO:
    case J_FUNCTION:
    case J_METHOD:
    case J_LOOP:
        /* What Python prints there is an address. */
        jinja_fail(b->heap, ST_INVALID, "a %s cannot be written", j_type(v));
    }
}

void jt_write(jbuilder *b, jvalue v) {
    if (v.kind == J_STRING)
        jb_add(b, v.s);
    else if (v.kind != J_UNDEFINED)
        jt_repr(b, v, 0);
}

jstr jt_str(jinja_heap *h, jvalue v) {
    if (v.kind == J_STRING) return v.s;
    jbuilder b = {.heap = h};
    jt_write(&b, v);
    return jb_str(&b);
}

const jlist *jt_iterate(jinja_heap *h, jvalue v) {
    jvalue out = j_list(h, J_LIST);
    switch (v.kind) {
    case J_LIST:
    case J_TUPLE:
    case J_LAZY:
        return v.list;
    case J_DICT:
        out.list->items = v.dict->keys;
        out.list->count = out.list->capacity = v.dict->count;
        return out.list;
    case J_STRING:
        for (size_t at = 0; at < v.s.len;) {
            size_t len = jt_char(v.s, at);
            j_push(h, out.list, j_str(jt_cut(v.s, at, at + len)));
            at += len;
        }
        return out.list;
    case J_UNDEFINED:
        return out.list;
    default:
        jinja_fail(h, ST_INVALID, "%s cannot be iterated", j_type(v));
    }
}
