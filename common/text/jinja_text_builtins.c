/* Filters and methods of texts. */
#include "text/jinja_builtins.h"

#include "base/mem.h"
#include "text/jinja_text.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static jstr self_text(jcall *c) {
    return jt_str(c->heap, c->self);
}

/* The argument as text, whatever it is, as filters take it. */
static jstr soft(jcall *c, size_t i) {
    return jt_str(c->heap, c->args[i]);
}

static jvalue strip(jcall *c, bool left, bool right) {
    bool chars = jarg_given(c, 0) && c->args[0].kind != J_NONE;
    jstr set = chars ? jarg_str(c, 0, "") : (jstr){0};
    return j_str(jt_strip(c->heap, self_text(c), chars ? &set : NULL, left, right));
}

static jvalue f_trim(jcall *c) {
    return strip(c, true, true);
}
static jvalue m_lstrip(jcall *c) {
    return strip(c, true, false);
}
static jvalue m_rstrip(jcall *c) {
    return strip(c, false, true);
}
static jvalue f_upper(jcall *c) {
    return j_str(jt_case(c->heap, self_text(c), JCASE_UPPER));
}
static jvalue f_lower(jcall *c) {
    return j_str(jt_case(c->heap, self_text(c), JCASE_LOWER));
}
static jvalue f_capitalize(jcall *c) {
    return j_str(jt_case(c->heap, self_text(c), JCASE_CAPITALIZE));
}
static jvalue f_title(jcall *c) {
    return j_str(jt_case(c->heap, self_text(c), JCASE_WORDS));
}
static jvalue m_title(jcall *c) {
    return j_str(jt_case(c->heap, self_text(c), JCASE_TITLE));
}
static jvalue f_string(jcall *c) {
    return j_str(self_text(c));
}
/* str.format of Python with plain fields: {}, {0} and {name}. */
static jvalue m_format(jcall *c) {
    jinja_heap *h = c->heap;
    const jstr s = c->self.s;
    jbuilder b = {.heap = h};
    size_t next = 0;
    for (size_t at = 0; at < s.len;) {
        const char ch = s.at[at];
        const bool twice = at + 1 < s.len && s.at[at + 1] == ch;
        if ((ch == '{' || ch == '}') && !twice) {
            const char *end = ch == '{' ? memchr(s.at + at, '}', s.len - at) : NULL;
            if (!end) jinja_fail(h, ST_INVALID, "format: a single %c", ch);
            jstr field = jt_cut(s, at + 1, (size_t)(end - s.at));
            bool digits = field.len > 0 && field.len < 3, plain = true;
            for (size_t i = 0; i < field.len; i++) {
                digits = digits && field.at[i] >= '0' && field.at[i] <= '9';
                plain = plain && !strchr("!:.[", field.at[i]);
            }
            if (!plain) jinja_fail(h, ST_UNSUPPORTED, "format: only {}, {0} and {name} are supported");
            size_t place = field.len == 0 ? next++ : digits ? strtoul(field.at, NULL, 10) : SIZE_MAX;
            const jvalue *v = NULL;
            if (place < c->given_count)
                v = &c->given[place];
            else if (place == SIZE_MAX && c->named)
                v = j_get(h, c->named, j_str(field));
            if (!v) jinja_fail(h, ST_INVALID, "format: there is no value for a field");
            jb_add(&b, jt_str(h, *v));
            at = (size_t)(end - s.at) + 1;
        } else {
            size_t len = twice && (ch == '{' || ch == '}') ? 1 : jt_char(s, at);
            jb_add(&b, jt_cut(s, at, at + len));
            at += twice && (ch == '{' || ch == '}') ? 2 : len;
        }
    }
    return j_str(jb_str(&b));
}

static jvalue f_safe(jcall *c) {
    return c->self.kind == J_UNDEFINED ? j_text("") : j_str(self_text(c));
}

static jvalue f_replace(jcall *c) {
    return j_str(jt_replace(c->heap, self_text(c), soft(c, 0), soft(c, 1), jarg_int(c, 2, -1)));
}

static jvalue m_replace(jcall *c) {
    return j_str(jt_replace(c->heap, c->self.s, jarg_str(c, 0, ""), jarg_str(c, 1, ""), jarg_int(c, 2, -1)));
}

static jvalue f_escape(jcall *c) {
    static const char from[] = "&<>'\"";
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    jstr s = self_text(c);
    jbuilder b = {.heap = c->heap};
    for (size_t i = 0; i < s.len; i++) {
        const char *known = s.at[i] ? strchr(from, s.at[i]) : NULL;
        if (known)
            jb_bytes(&b, to[known - from], strlen(to[known - from]), s.mark && s.mark[i]);
        else
            jb_add(&b, jt_cut(s, i, i + 1));
    }
    return j_str(jb_str(&b));
}

/* The lines of a text, without their ends, as Python's splitlines. */
static jvalue lines_of(jinja_heap *h, jstr s, bool keep) {
    jvalue out = j_list(h, J_LIST);
    size_t from = 0;
    for (size_t at = 0; at < s.len;) {
        uint32_t c = jt_code(s, at);
        size_t end = at;
        at += jt_char(s, at);
        bool ends =
            (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
        if (!ends) continue;
        if (c == '\r' && at < s.len && s.at[at] == '\n') at++;
        j_push(h, out.list, j_str(jt_cut(s, from, keep ? at : end)));
        from = at;
    }
    if (from < s.len) j_push(h, out.list, j_str(jt_cut(s, from, s.len)));
    return out;
}

static jvalue f_indent(jcall *c) {
    jbuilder text = {.heap = c->heap}, b = {.heap = c->heap}, by = {.heap = c->heap};
    jb_add(&text, self_text(c));
    jb_adds(&text, "\n");
    if (c->args[0].kind == J_STRING) {
        jb_add(&by, c->args[0].s);
    } else {
        int64_t width = MIN(jarg_int(c, 0, 4), 1000);
        for (int64_t i = 0; i < width; i++) jb_adds(&by, " ");
    }
    bool first = jarg_true(c, 1, false), blank = jarg_true(c, 2, false);
    const jlist *lines = lines_of(c->heap, jb_str(&text), false).list;
    for (size_t i = 0; i < lines->count; i++) {
        jstr line = lines->items[i].s;
        if (i) jb_adds(&b, "\n");
        if (i == 0 ? first : blank || line.len) jb_add(&b, jb_str(&by));
        jb_add(&b, line);
    }
    return j_str(jb_str(&b));
}

/* --- numbers --- */

static bool parse_whole(jinja_heap *h, jstr s, int base, int64_t *out) {
    char text[72], *end = NULL;
    s = jt_strip(h, s, NULL, true, true);
    if (s.len == 0 || s.len >= sizeof text) return false;
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        if (s.at[i] != '_') text[n++] = s.at[i];
    text[n] = 0;
    errno = 0;
    *out = strtoll(text, &end, base);
    return *end == 0 && n > 0 && errno == 0;
}

static bool parse_float(jinja_heap *h, jstr s, double *out) {
    char text[400], *end = NULL;
    s = jt_strip(h, s, NULL, true, true);
    if (s.len == 0 || s.len >= sizeof text || memchr(s.at, 'x', s.len) || memchr(s.at, 'X', s.len))
        return false;
    memcpy(text, s.at, s.len);
    text[s.len] = 0;
    *out = strtod(text, &end);
    return end == text + s.len;
}

static jvalue f_int(jcall *c) {
    jvalue v = c->self, other = jarg_given(c, 0) ? c->args[0] : j_int(0);
    int64_t i = 0;
    double f = 0;
    if (v.kind == J_INT || v.kind == J_BOOL) return j_int(v.kind == J_INT ? v.i : v.truth);
    if (v.kind == J_STRING && parse_whole(c->heap, v.s, (int)MIN(MAX(jarg_int(c, 1, 10), 2), 36), &i))
        return j_int(i);
    if (v.kind == J_FLOAT)
        f = v.f;
    else if (v.kind != J_STRING || !parse_float(c->heap, v.s, &f))
        return other;
    return fabs(f) < 9e18 ? j_int((int64_t)f) : other;
}

static jvalue f_float(jcall *c) {
    double f = 0;
    if (j_is_number(c->self)) return j_float(j_number(c->self));
    if (c->self.kind == J_STRING && parse_float(c->heap, c->self.s, &f)) return j_float(f);
    return jarg_given(c, 0) ? c->args[0] : j_float(0);
}

static double number_of(jcall *c) {
    if (c->self.kind == J_UNDEFINED) j_fail_undefined(c->heap, c->self);
    if (!j_is_number(c->self)) jinja_fail(c->heap, ST_INVALID, "a %s is no number", j_type(c->self));
    return j_number(c->self);
}

static jvalue f_abs(jcall *c) {
    double f = number_of(c);
    if (c->self.kind == J_FLOAT) return j_float(fabs(f));
    return f < 0 ? jinja_arithmetic(c->heap, j_int(0), (jstr){"-", NULL, 1}, c->self)
                 : j_int(c->self.kind == J_INT ? c->self.i : c->self.truth);
}

static jvalue f_round(jcall *c) {
    double f = number_of(c);
    int64_t places = MIN(MAX(jarg_int(c, 0, 0), -300), 300);
    jstr how = jarg_str(c, 1, "common");
    char text[700];
    if (j_is(j_str(how), "common")) {
        if (c->self.kind != J_FLOAT && places >= 0) return c->self;
        if (places < 0) {
            double unit = pow(10, (double)-places);
            f = rint(f / unit) * unit;
            return c->self.kind == J_FLOAT ? j_float(f) : j_int((int64_t)f);
        }
        snprintf(text, sizeof text, "%.*f", (int)places, f);
        return j_float(strtod(text, NULL));
    }
    double unit = pow(10, (double)places);
    if (j_is(j_str(how), "ceil")) return j_float(ceil(f * unit) / unit);
    if (j_is(j_str(how), "floor")) return j_float(floor(f * unit) / unit);
    jinja_fail(c->heap, ST_INVALID, "round: the method must be common, ceil or floor");
}

static jvalue f_tojson(jcall *c) {
    jjson how = {.indent = -1, .ascii = jarg_true(c, 0, false), .sort = jarg_true(c, 3, false)};
    if (jarg_given(c, 1) && c->args[1].kind != J_NONE) how.indent = MIN(MAX(jarg_int(c, 1, 0), 0), 100);
    how.comma = j_text(how.indent >= 0 ? "," : ", ").s;
    how.colon = j_text(": ").s;
    if (jarg_given(c, 2) && c->args[2].kind != J_NONE) {
        const jlist *l = jt_iterate(c->heap, c->args[2]);
        if (l->count != 2 || l->items[0].kind != J_STRING || l->items[1].kind != J_STRING)
            jinja_fail(c->heap, ST_INVALID, "tojson: separators must be two strings");
        how.comma = l->items[0].s;
        how.colon = l->items[1].s;
    }
    jbuilder b = {.heap = c->heap};
    jinja_json(&b, c->self, &how, 0);
    return j_str(jb_str(&b));
}

/* --- methods --- */

static jvalue m_split(jcall *c, bool right) {
    jinja_heap *h = c->heap;
    jstr s = c->self.s;
    int64_t most = jarg_int(c, 1, -1);
    jvalue out = j_list(h, J_LIST);
    bool blank = !jarg_given(c, 0) || c->args[0].kind == J_NONE;
    if (right && most >= 0) jinja_fail(h, ST_UNSUPPORTED, "rsplit with maxsplit is not supported");
    if (blank) {
        s = jt_strip(h, s, NULL, true, false);
        while (s.len > 0) {
            size_t end = 0;
            bool rest = most >= 0 && (int64_t)out.list->count >= most;
            while (end < s.len && (rest || !jt_is_space(jt_code(s, end)))) end += jt_char(s, end);
            j_push(h, out.list, j_str(jt_cut(s, 0, end)));
            s = jt_strip(h, jt_cut(s, end, s.len), NULL, true, false);
        }
        return out;
    }
    jstr by = jarg_str(c, 0, "");
    if (by.len == 0) jinja_fail(h, ST_INVALID, "split: the separator is empty");
    for (;;) {
        size_t at = most >= 0 && (int64_t)out.list->count >= most ? SIZE_MAX : jt_find(h, s, by, 0);
        if (at == SIZE_MAX) break;
        j_push(h, out.list, j_str(jt_cut(s, 0, at)));
        s = jt_cut(s, at + by.len, s.len);
    }
    j_push(h, out.list, j_str(s));
    return out;
}

static jvalue m_lsplit(jcall *c) {
    return m_split(c, false);
}
static jvalue m_rsplit(jcall *c) {
    return m_split(c, true);
}

static bool affix(jcall *c, bool start) {
    if (c->args[0].kind == J_TUPLE) {
        for (size_t i = 0; i < c->args[0].list->count; i++) {
            jvalue v = c->args[0].list->items[i];
            if (v.kind == J_STRING && (start ? jt_starts : jt_ends)(c->self.s, v.s)) return true;
        }
        return false;
    }
    return (start ? jt_starts : jt_ends)(c->self.s, jarg_str(c, 0, ""));
}

static jvalue m_startswith(jcall *c) {
    return j_bool(affix(c, true));
}
static jvalue m_endswith(jcall *c) {
    return j_bool(affix(c, false));
}

static jvalue m_removeprefix(jcall *c) {
    jstr s = c->self.s, what = jarg_str(c, 0, "");
    return j_str(jt_starts(s, what) ? jt_cut(s, what.len, s.len) : s);
}

static jvalue m_removesuffix(jcall *c) {
    jstr s = c->self.s, what = jarg_str(c, 0, "");
    return j_str(jt_ends(s, what) ? jt_cut(s, 0, s.len - what.len) : s);
}

static jvalue m_find(jcall *c) {
    jstr s = c->self.s;
    size_t at = jt_find(c->heap, s, jarg_str(c, 0, ""), 0);
    return j_int(at == SIZE_MAX ? -1 : (int64_t)jt_count(c->heap, jt_cut(s, 0, at)));
}

static jvalue m_rfind(jcall *c) {
    jstr s = c->self.s, what = jarg_str(c, 0, "");
    size_t best = SIZE_MAX;
    for (size_t at = 0; (at = jt_find(c->heap, s, what, at)) != SIZE_MAX; at++) best = at;
    return j_int(best == SIZE_MAX ? -1 : (int64_t)jt_count(c->heap, jt_cut(s, 0, best)));
}

static jvalue m_count(jcall *c) {
    jstr s = c->self.s, what = jarg_str(c, 0, "");
    if (what.len == 0) return j_int((int64_t)jt_count(c->heap, s) + 1);
    int64_t count = 0;
    for (size_t at = 0; (at = jt_find(c->heap, s, what, at)) != SIZE_MAX; at += what.len) count++;
    return j_int(count);
}

static jvalue m_join(jcall *c) {
    const jlist *l = jt_iterate(c->heap, c->args[0]);
    jbuilder b = {.heap = c->heap};
    for (size_t i = 0; i < l->count; i++) {
        if (l->items[i].kind != J_STRING)
            jinja_fail(c->heap, ST_INVALID, "join: item %zu is a %s, want a string", i, j_type(l->items[i]));
        if (i) jb_add(&b, c->self.s);
        jb_add(&b, l->items[i].s);
    }
    return j_str(jb_str(&b));
}

static jvalue m_splitlines(jcall *c) {
    return lines_of(c->heap, c->self.s, jarg_true(c, 0, false));
}

static bool all(jstr s, bool (*is)(uint32_t)) {
    for (size_t at = 0; at < s.len; at += jt_char(s, at))
        if (!is(jt_code(s, at))) return false;
    return s.len > 0;
}

static bool is_digit(uint32_t c) {
    return c >= '0' && c <= '9';
}
static jvalue m_isdigit(jcall *c) {
    return j_bool(all(c->self.s, is_digit));
}
static jvalue m_isspace(jcall *c) {
    return j_bool(all(c->self.s, jt_is_space));
}

const jbuiltin jinja_text_filters[] = {{"trim", "chars?", f_trim},
                                       {"upper", "", f_upper},
                                       {"lower", "", f_lower},
                                       {"capitalize", "", f_capitalize},
                                       {"title", "", f_title},
                                       {"string", "", f_string},
                                       {"safe", "", f_safe},
                                       {"replace", "old,new,count?", f_replace},
                                       {"escape", "", f_escape},
                                       {"e", "", f_escape},
                                       {"indent", "width?,first?,blank?", f_indent},
                                       {"int", "default?,base?", f_int},
                                       {"float", "default?", f_float},
                                       {"abs", "", f_abs},
                                       {"round", "precision?,method?", f_round},
                                       {"tojson", "ensure_ascii?,indent?,separators?,sort_keys?", f_tojson},
                                       {0}};

const jbuiltin jinja_text_methods[] = {{"strip", "chars?", f_trim},
                                       {"lstrip", "chars?", m_lstrip},
                                       {"rstrip", "chars?", m_rstrip},
                                       {"split", "sep?,maxsplit?", m_lsplit},
                                       {"rsplit", "sep?,maxsplit?", m_rsplit},
                                       {"splitlines", "keepends?", m_splitlines},
                                       {"startswith", "prefix", m_startswith},
                                       {"endswith", "suffix", m_endswith},
                                       {"removeprefix", "prefix", m_removeprefix},
                                       {"removesuffix", "suffix", m_removesuffix},
                                       {"upper", "", f_upper},
                                       {"lower", "", f_lower},
                                       {"capitalize", "", f_capitalize},
                                       {"title", "", m_title},
                                       {"replace", "old,new,count?", m_replace},
                                       {"find", "sub", m_find},
                                       {"rfind", "sub", m_rfind},
                                       {"count", "sub", m_count},
                                       {"join", "iterable", m_join},
                                       {"format", "*", m_format},
                                       {"isdigit", "", m_isdigit},
                                       {"isspace", "", m_isspace},
                                       {0}};
