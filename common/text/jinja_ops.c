/* Operators and subscripts, as Python's. */
#include "text/jinja_builtins.h"

#include "base/mem.h"
#include "text/jinja_text.h"

#include <math.h>
#include <string.h>

static void no_such(jinja_heap *h, jvalue a, jstr op, jvalue b) __attribute__((noreturn));
static void no_such(jinja_heap *h, jvalue a, jstr op, jvalue b) {
    if (a.kind == J_UNDEFINED) j_fail_undefined(h, a);
    if (b.kind == J_UNDEFINED) j_fail_undefined(h, b);
    jinja_fail(h, ST_INVALID, "%s %.*s %s is not possible", j_type(a), (int)op.len, op.at, j_type(b));
}

static int64_t power(jinja_heap *h, int64_t a, int64_t b) {
    int64_t r = 1;
    if (a == 0 || a == 1 || a == -1) return a == 0 ? b == 0 : a == 1 || b % 2 == 0 ? 1 : -1;
    for (; b > 0; b--)
        if (__builtin_mul_overflow(r, a, &r)) jinja_fail(h, ST_INVALID, "a number leaves 64 bits");
    return r;
}

static jvalue whole(jinja_heap *h, int64_t a, char op, int64_t b) {
    int64_t r = 0;
    bool over = false;
    switch (op) {
    case '+':
        over = __builtin_add_overflow(a, b, &r);
        break;
    case '-':
        over = __builtin_sub_overflow(a, b, &r);
        break;
    case '*':
        over = __builtin_mul_overflow(a, b, &r);
        break;
    case '^':
        if (b < 0) return j_float(pow((double)a, (double)b));
        r = power(h, a, b);
        break;
    default: /* d: //, %: towards minus infinity */
        if (b == 0) jinja_fail(h, ST_INVALID, "division by zero");
        if (b == -1) {
            over = op == 'd' && a == INT64_MIN;
            r = op == 'd' && !over ? -a : 0;
            break;
        }
        r = op == 'd' ? a / b : a % b;
        if (a % b != 0 && (a % b < 0) != (b < 0)) r += op == 'd' ? -1 : b;
    }
    if (over) jinja_fail(h, ST_INVALID, "a number leaves 64 bits");
    return j_int(r);
}

static jvalue floating(jinja_heap *h, double a, char op, double b) {
    double r = 0;
    if (strchr("/d%", op) && b == 0) jinja_fail(h, ST_INVALID, "division by zero");
    switch (op) {
    case '+':
        return j_float(a + b);
    case '-':
        return j_float(a - b);
    case '*':
        return j_float(a * b);
    case '/':
        return j_float(a / b);
    case '^':
        r = pow(a, b);
        if (isnan(r) && !isnan(a) && !isnan(b)) jinja_fail(h, ST_INVALID, "a power is no real number");
        return j_float(r);
    default:
        r = fmod(a, b);
        if (r != 0 && (r < 0) != (b < 0)) r += b;
        if (op == '%') return j_float(r != 0 ? r : copysign(0, b));
        r = floor((a - r) / b + 0.5);
        return j_float(r != 0 ? r : copysign(0, a / b));
    }
}

static jvalue repeated(jinja_heap *h, jvalue v, int64_t times) {
    if (v.kind == J_STRING ? v.s.len == 0 : v.list->count == 0) times = 0;
    jinja_steps(h, times > 0 ? (size_t)MIN(times, (int64_t)JINJA_STEPS_MAX) : 0);
    if (v.kind == J_STRING) {
        jbuilder b = {.heap = h};
        for (int64_t i = 0; i < times && v.s.len; i++) jb_add(&b, v.s);
        return j_str(jb_str(&b));
    }
    jvalue out = j_list(h, v.kind);
    for (int64_t i = 0; i < times; i++)
        for (size_t k = 0; k < v.list->count; k++) j_push(h, out.list, v.list->items[k]);
    return out;
}

static jvalue joined(jinja_heap *h, jvalue a, jvalue b) {
    if (a.kind == J_STRING) {
        jbuilder text = {.heap = h};
        jb_add(&text, a.s);
        jb_add(&text, b.s);
        return j_str(jb_str(&text));
    }
    jvalue out = j_list(h, a.kind);
    for (size_t i = 0; i < a.list->count; i++) j_push(h, out.list, a.list->items[i]);
    for (size_t i = 0; i < b.list->count; i++) j_push(h, out.list, b.list->items[i]);
    return out;
}

jvalue jinja_arithmetic(jinja_heap *h, jvalue a, jstr op, jvalue b) {
    char code = op.len == 2 ? (op.at[0] == '/' ? 'd' : '^') : op.at[0];
    if (j_is_number(a) && j_is_number(b)) {
        if (a.kind == J_FLOAT || b.kind == J_FLOAT || code == '/')
            return floating(h, j_number(a), code, j_number(b));
        return whole(h, a.kind == J_INT ? a.i : a.truth, code, b.kind == J_INT ? b.i : b.truth);
    }
    bool series = a.kind == J_STRING || a.kind == J_LIST || a.kind == J_TUPLE;
    if (code == '+' && series && a.kind == b.kind) return joined(h, a, b);
    if (code == '*') {
        jvalue number = series ? b : a, other = series ? a : b;
        bool fits = other.kind == J_STRING || other.kind == J_LIST || other.kind == J_TUPLE;
        if (fits && number.kind == J_INT) return repeated(h, other, number.i);
        if (fits && number.kind == J_BOOL) return repeated(h, other, number.truth);
    }
    if (code == '%' && a.kind == J_STRING)
        jinja_fail(h, ST_UNSUPPORTED, "formatting with %% is not supported");
    no_such(h, a, op, b);
}

bool jinja_contains(jinja_heap *h, jvalue all, jvalue one) {
    if (all.kind == J_STRING) {
        if (one.kind == J_UNDEFINED) j_fail_undefined(h, one);
        if (one.kind != J_STRING) jinja_fail(h, ST_INVALID, "a %s cannot be in a string", j_type(one));
        return jt_find(h, all.s, one.s, 0) != SIZE_MAX;
    }
    if (all.kind == J_DICT) return j_get(h, all.dict, one) != NULL;
    const jlist *l = jt_iterate(h, all);
    for (size_t i = 0; i < l->count; i++)
        if (j_equal(h, l->items[i], one, 0)) return true;
    return false;
}

/* --- subscripts --- */

static jvalue nothing(jinja_heap *h, jvalue v, jvalue key) {
    jbuilder b = {.heap = h};
    if (key.kind == J_STRING) {
        bool object = v.kind == J_DICT || v.kind == J_LIST || v.kind == J_TUPLE || v.kind == J_STRING;
        jb_adds(&b, "'");
        jb_adds(&b, j_type(v));
        jb_adds(&b, object ? " object' has no attribute '" : "' has no attribute '");
        jb_bytes(&b, key.s.at, MIN(key.s.len, 80u), false);
        jb_adds(&b, "'");
    } else {
        jb_adds(&b, "a ");
        jb_adds(&b, j_type(v));
        jb_adds(&b, " has no such element");
    }
    jb_bytes(&b, "", 1, false);
    return j_undefined(jb_str(&b).at);
}

static jvalue method(jinja_heap *h, jvalue v, const jbuiltin *f) {
    jvalue m = {.kind = J_METHOD, .method = f, .self = jinja_alloc(h, 1, sizeof v)};
    *m.self = v;
    return m;
}

jvalue jinja_attribute(jinja_heap *h, jvalue v, jstr name) {
    if (v.kind == J_UNDEFINED) j_fail_undefined(h, v);
    const jbuiltin *f = jinja_method(v, name);
    if (f) return method(h, v, f);
    if (v.kind == J_DICT || v.kind == J_NAMESPACE) {
        const jvalue *there = j_get(h, v.dict, j_str(name));
        if (there) return *there;
    }
    return nothing(h, v, j_str(name));
}

static bool index_of(jvalue key, size_t count, size_t *at) {
    if (key.kind != J_INT && key.kind != J_BOOL) return false;
    int64_t i = key.kind == J_INT ? key.i : key.truth;
    if (i < 0) i += (int64_t)count;
    if (i < 0 || i >= (int64_t)count) return false;
    *at = (size_t)i;
    return true;
}

jvalue jinja_item(jinja_heap *h, jvalue v, jvalue key) {
    size_t at = 0;
    if (v.kind == J_UNDEFINED) j_fail_undefined(h, v);
    if (v.kind == J_DICT || v.kind == J_NAMESPACE) {
        bool plain = key.kind != J_LIST && key.kind != J_DICT && key.kind != J_UNDEFINED;
        const jvalue *there = plain ? j_get(h, v.dict, key) : NULL;
        if (there) return *there;
    } else if (v.kind == J_LIST || v.kind == J_TUPLE) {
        if (index_of(key, v.list->count, &at)) return v.list->items[at];
    } else if (v.kind == J_STRING && index_of(key, jt_count(h, v.s), &at)) {
        size_t begin = jt_offset(h, v.s, at);
        return j_str(jt_cut(v.s, begin, begin + jt_char(v.s, begin)));
    }
    const jbuiltin *f = key.kind == J_STRING ? jinja_method(v, key.s) : NULL;
    return f ? method(h, v, f) : nothing(h, v, key);
}

static int64_t bound(jinja_heap *h, jvalue v, int64_t other, int64_t low, int64_t high, int64_t count) {
    if (v.kind == J_NONE) return other;
    if (v.kind == J_UNDEFINED) j_fail_undefined(h, v);
    if (v.kind != J_INT && v.kind != J_BOOL) jinja_fail(h, ST_INVALID, "a slice by a %s", j_type(v));
    int64_t i = v.kind == J_INT ? v.i : v.truth;
    if (i < 0) i = i < -count ? low : i + count;
    return MIN(MAX(i, low), high);
}

jvalue jinja_slice(jinja_heap *h, jvalue v, jvalue from, jvalue to, jvalue step) {
    if (v.kind == J_UNDEFINED) j_fail_undefined(h, v);
    if (v.kind != J_STRING && v.kind != J_LIST && v.kind != J_TUPLE)
        jinja_fail(h, ST_INVALID, "a %s has no slices", j_type(v));
    if (step.kind != J_NONE && step.kind != J_INT) jinja_fail(h, ST_INVALID, "a slice by a %s", j_type(step));
    int64_t by = step.kind == J_NONE ? 1 : MIN(MAX(step.i, -INT32_MAX), INT32_MAX);
    if (by == 0) jinja_fail(h, ST_INVALID, "a slice by steps of 0");
    int64_t count = (int64_t)(v.kind == J_STRING ? jt_count(h, v.s) : v.list->count);
    int64_t low = by > 0 ? 0 : -1, high = by > 0 ? count : count - 1;
    int64_t i = bound(h, from, by > 0 ? low : high, low, high, count);
    int64_t end = bound(h, to, by > 0 ? high : low, low, high, count);
    if (v.kind == J_STRING && by == 1) {
        size_t begin = jt_offset(h, v.s, (size_t)i), stop = jt_offset(h, v.s, (size_t)MAX(end, i));
        return j_str(jt_cut(v.s, begin, stop));
    }
    const jlist *l = jt_iterate(h, v);
    jvalue out = j_list(h, v.kind == J_TUPLE ? J_TUPLE : J_LIST);
    jbuilder text = {.heap = h};
    for (; by > 0 ? i < end : i > end; i += by) {
        jinja_steps(h, 1);
        if (v.kind == J_STRING)
            jb_add(&text, l->items[i].s);
        else
            j_push(h, out.list, l->items[i]);
    }
    return v.kind == J_STRING ? j_str(jb_str(&text)) : out;
}
