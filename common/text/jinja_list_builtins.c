/* Filters and methods of lists and dicts, and global functions. */
#include "text/jinja_builtins.h"

#include "base/mem.h"
#include "text/jinja_text.h"

#include <string.h>

#define RANGE_MAX 100000 /* as Jinja's sandbox has it */

static jvalue at_or_undefined(const jlist *l, size_t i, const char *why) {
    return i < l->count ? l->items[i] : j_undefined(why);
}

static jvalue f_length(jcall *c) {
    switch (c->self.kind) {
    case J_STRING:
        return j_int((int64_t)jt_count(c->heap, c->self.s));
    case J_LIST:
    case J_TUPLE:
        return j_int((int64_t)c->self.list->count);
    case J_DICT:
        return j_int((int64_t)c->self.dict->count);
    case J_UNDEFINED:
        return j_int(0);
    default:
        jinja_fail(c->heap, ST_INVALID, "a %s has no length", j_type(c->self));
    }
}

static jvalue f_default(jcall *c) {
    bool missing = c->self.kind == J_UNDEFINED || (jarg_true(c, 1, false) && !j_true(c->self));
    if (!missing) return c->self;
    return jarg_given(c, 0) ? c->args[0] : j_text("");
}

static jvalue f_first(jcall *c) {
    return at_or_undefined(jt_iterate(c->heap, c->self), 0, "No first item, sequence was empty.");
}

static jvalue f_last(jcall *c) {
    if (c->self.kind == J_LAZY) jinja_fail(c->heap, ST_INVALID, "a generator has no last item");
    const jlist *l = jt_iterate(c->heap, c->self);
    return at_or_undefined(l, l->count - 1, "No last item, sequence was empty.");
}

static jvalue f_list(jcall *c) {
    const jlist *l = jt_iterate(c->heap, c->self);
    jvalue out = j_list(c->heap, J_LIST);
    for (size_t i = 0; i < l->count; i++) j_push(c->heap, out.list, l->items[i]);
    return out;
}

static jvalue f_reverse(jcall *c) {
    if (c->self.kind == J_STRING) return jinja_slice(c->heap, c->self, j_none(), j_none(), j_int(-1));
    const jlist *l = jt_iterate(c->heap, c->self);
    jvalue out = j_list(c->heap, J_LAZY);
    for (size_t i = l->count; i > 0; i--) j_push(c->heap, out.list, l->items[i - 1]);
    return out;
}

/* item.a.b.0: by the dots of `path`. */
static jvalue by_path(jinja_heap *h, jvalue v, jvalue path, const jvalue *other) {
    if (path.kind != J_STRING) return jinja_item(h, v, path);
    for (jstr rest = path.s;;) {
        size_t dot = jt_find(h, rest, (jstr){".", NULL, 1}, 0);
        jstr part = jt_cut(rest, 0, dot == SIZE_MAX ? rest.len : dot);
        int64_t number = 0;
        bool digits = part.len > 0 && part.len < 10;
        for (size_t i = 0; i < part.len && digits; i++) {
            digits = part.at[i] >= '0' && part.at[i] <= '9';
            number = number * 10 + (part.at[i] - '0');
        }
        v = jinja_item(h, v, digits ? j_int(number) : j_str(part));
        if (v.kind == J_UNDEFINED && other) v = *other;
        if (dot == SIZE_MAX) return v;
        rest = jt_cut(rest, dot + 1, rest.len);
    }
}

static jvalue folded(jinja_heap *h, jvalue v, bool exact) {
    return v.kind == J_STRING && !exact ? j_str(jt_case(h, v.s, JCASE_LOWER)) : v;
}

static jvalue f_join(jcall *c) {
    const jlist *l = jt_iterate(c->heap, c->self);
    jbuilder b = {.heap = c->heap};
    jstr by = jarg_given(c, 0) ? jt_str(c->heap, c->args[0]) : j_text("").s;
    for (size_t i = 0; i < l->count; i++) {
        if (i) jb_add(&b, by);
        jvalue v = l->items[i];
        if (jarg_given(c, 1) && c->args[1].kind != J_NONE) v = by_path(c->heap, v, c->args[1], NULL);
        jt_write(&b, v);
    }
    return j_str(jb_str(&b));
}

/* --- order --- */

/* Sorts items[from, to) by keys, stably; `turn` is -1 for the largest first. */
static void merge_sort(jinja_heap *h, jvalue *items, jvalue *keys, size_t count, int turn) {
    if (count < 2) return;
    size_t half = count / 2, a = 0, b = half;
    merge_sort(h, items, keys, half, turn);
    merge_sort(h, items + half, keys + half, count - half, turn);
    jvalue *both = jinja_alloc(h, count * 2, sizeof *both);
    for (size_t i = 0; i < count; i++) {
        bool left = a < half && (b == count || j_compare(h, keys[b], keys[a]) * turn >= 0);
        size_t from = left ? a++ : b++;
        both[i] = items[from];
        both[count + i] = keys[from];
    }
    memcpy(items, both, count * sizeof *both);
    memcpy(keys, both + count, count * sizeof *both);
}

static jvalue f_sort(jcall *c) {
    const jlist *l = jt_iterate(c->heap, c->self);
    jvalue out = j_list(c->heap, J_LIST), keys = j_list(c->heap, J_LIST);
    bool by = jarg_given(c, 2) && c->args[2].kind != J_NONE;
    if (by && c->args[2].kind == J_STRING && memchr(c->args[2].s.at, ',', c->args[2].s.len))
        jinja_fail(c->heap, ST_UNSUPPORTED, "sort by several attributes is not supported");
    for (size_t i = 0; i < l->count; i++) {
        jvalue key = by ? by_path(c->heap, l->items[i], c->args[2], NULL) : l->items[i];
        j_push(c->heap, out.list, l->items[i]);
        j_push(c->heap, keys.list, folded(c->heap, key, jarg_true(c, 1, false)));
    }
    merge_sort(c->heap, out.list->items, keys.list->items, l->count, jarg_true(c, 0, false) ? -1 : 1);
    return out;
}

static jvalue f_dictsort(jcall *c) {
    if (c->self.kind != J_DICT) jinja_fail(c->heap, ST_INVALID, "dictsort of a %s", j_type(c->self));
    const jdict *d = c->self.dict;
    bool by_value = j_is(j_str(jarg_str(c, 1, "key")), "value");
    jvalue out = j_list(c->heap, J_LIST), keys = j_list(c->heap, J_LIST);
    for (size_t i = 0; i < d->count; i++) {
        jvalue pair = j_list(c->heap, J_TUPLE);
        j_push(c->heap, pair.list, d->keys[i]);
        j_push(c->heap, pair.list, d->values[i]);
        j_push(c->heap, out.list, pair);
        j_push(c->heap, keys.list,
               folded(c->heap, by_value ? d->values[i] : d->keys[i], jarg_true(c, 0, false)));
    }
    merge_sort(c->heap, out.list->items, keys.list->items, d->count, jarg_true(c, 2, false) ? -1 : 1);
    return out;
}

static jvalue extreme(jcall *c, int turn) {
    const jlist *l = jt_iterate(c->heap, c->self);
    jvalue best = j_undefined("No aggregated item, sequence was empty."), best_key = best;
    for (size_t i = 0; i < l->count; i++) {
        bool by = jarg_given(c, 1) && c->args[1].kind != J_NONE;
        jvalue key = by ? by_path(c->heap, l->items[i], c->args[1], NULL) : l->items[i];
        key = folded(c->heap, key, jarg_true(c, 0, false));
        if (i && j_compare(c->heap, key, best_key) * turn <= 0) continue;
        best = l->items[i];
        best_key = key;
    }
    return best;
}

static jvalue f_min(jcall *c) {
    return extreme(c, -1);
}
static jvalue f_max(jcall *c) {
    return extreme(c, 1);
}

static jvalue f_sum(jcall *c) {
    const jlist *l = jt_iterate(c->heap, c->self);
    jvalue sum = jarg_given(c, 1) ? c->args[1] : j_int(0);
    bool by = jarg_given(c, 0) && c->args[0].kind != J_NONE;
    for (size_t i = 0; i < l->count; i++)
        sum = jinja_arithmetic(c->heap, sum, (jstr){"+", NULL, 1},
                               by ? by_path(c->heap, l->items[i], c->args[0], NULL) : l->items[i]);
    return sum;
}

static jvalue f_unique(jcall *c) {
    const jlist *l = jt_iterate(c->heap, c->self);
    jvalue out = j_list(c->heap, J_LAZY), seen = j_dict(c->heap, J_DICT);
    bool by = jarg_given(c, 1) && c->args[1].kind != J_NONE;
    for (size_t i = 0; i < l->count; i++) {
        jvalue key = by ? by_path(c->heap, l->items[i], c->args[1], NULL) : l->items[i];
        key = folded(c->heap, key, jarg_true(c, 0, false));
        if (j_get(c->heap, seen.dict, key)) continue;
        j_put(c->heap, seen.dict, key, j_none());
        j_push(c->heap, out.list, l->items[i]);
    }
    return out;
}

static jvalue f_batch(jcall *c) {
    const jlist *l = jt_iterate(c->heap, c->self);
    int64_t size = jarg_int(c, 0, 1);
    if (size < 1) jinja_fail(c->heap, ST_INVALID, "batch: %lld items, want at least 1", (long long)size);
    jvalue out = j_list(c->heap, J_LAZY), row = j_list(c->heap, J_LIST);
    for (size_t i = 0; i < l->count; i++) {
        if (row.list->count == (size_t)size) row = j_list(c->heap, J_LIST);
        if (row.list->count == 0) j_push(c->heap, out.list, row);
        j_push(c->heap, row.list, l->items[i]);
    }
    bool fill = jarg_given(c, 1) && c->args[1].kind != J_NONE && row.list->count > 0;
    while (fill && row.list->count < (size_t)size) j_push(c->heap, row.list, c->args[1]);
    return out;
}

/* --- map, select, reject: of a filter or a test by name --- */

static jvalue apply(jcall *c, const jbuiltin *f, jvalue v, size_t from) {
    static const jstr by_place[JINJA_ARGS_MAX];
    return jinja_run_builtin(c->heap, f, v, c->given + from, by_place, c->given_count - from, c->now);
}

static const jvalue *named(jcall *c, const char *name) {
    return j_get(c->heap, c->named, j_text(name));
}

static jvalue f_map(jcall *c) {
    jvalue out = j_list(c->heap, J_LAZY);
    if (!j_true(c->self)) return out; /* none, and what is undefined, have no items here */
    const jlist *l = jt_iterate(c->heap, c->self);
    const jvalue *attribute = named(c, "attribute"), *other = named(c, "default");
    const jbuiltin *f = NULL;
    if (!attribute) {
        if (c->given_count == 0 || c->given[0].kind != J_STRING || !(f = jinja_filter(c->given[0].s)))
            jinja_fail(c->heap, ST_INVALID, "map: want attribute=... or the name of a filter");
    }
    for (size_t i = 0; i < l->count; i++)
        j_push(c->heap, out.list,
               f ? apply(c, f, l->items[i], 1) : by_path(c->heap, l->items[i], *attribute, other));
    return out;
}

static jvalue pick(jcall *c, bool attribute, bool wanted) {
    jvalue out = j_list(c->heap, J_LAZY);
    if (!j_true(c->self)) return out;
    const jlist *l = jt_iterate(c->heap, c->self);
    size_t at = attribute ? 1 : 0;
    const jbuiltin *f = NULL;
    if (attribute && c->given_count == 0) jinja_fail(c->heap, ST_INVALID, "selectattr: want an attribute");
    if (c->given_count > at) {
        f = c->given[at].kind == J_STRING ? jinja_test(c->given[at].s) : NULL;
        if (!f) jinja_fail(c->heap, ST_INVALID, "select: there is no such test");
    }
    for (size_t i = 0; i < l->count; i++) {
        jvalue v = attribute ? by_path(c->heap, l->items[i], c->given[0], NULL) : l->items[i];
        if (j_true(f ? apply(c, f, v, at + 1) : v) == wanted) j_push(c->heap, out.list, l->items[i]);
    }
    return out;
}

static jvalue f_select(jcall *c) {
    return pick(c, false, true);
}
static jvalue f_reject(jcall *c) {
    return pick(c, false, false);
}
static jvalue f_selectattr(jcall *c) {
    return pick(c, true, true);
}
static jvalue f_rejectattr(jcall *c) {
    return pick(c, true, false);
}

/* --- dicts --- */

typedef enum dict_part { DICT_KEYS, DICT_VALUES, DICT_ITEMS } dict_part;

static jvalue entries(jcall *c, jkind kind, dict_part part) {
    jvalue out = j_list(c->heap, kind);
    const jdict *d = c->self.dict;
    for (size_t i = 0; i < d->count; i++) {
        jvalue v = part == DICT_KEYS ? d->keys[i] : d->values[i];
        if (part == DICT_ITEMS) {
            v = j_list(c->heap, J_TUPLE);
            j_push(c->heap, v.list, d->keys[i]);
            j_push(c->heap, v.list, d->values[i]);
        }
        j_push(c->heap, out.list, v);
    }
    return out;
}

static jvalue f_items(jcall *c) {
    if (c->self.kind == J_UNDEFINED) return j_list(c->heap, J_LAZY);
    if (c->self.kind != J_DICT) jinja_fail(c->heap, ST_INVALID, "items of a %s", j_type(c->self));
    return entries(c, J_LAZY, DICT_ITEMS);
}

static jvalue m_items(jcall *c) {
    return entries(c, J_LIST, DICT_ITEMS);
}
static jvalue m_keys(jcall *c) {
    return entries(c, J_LIST, DICT_KEYS);
}
static jvalue m_values(jcall *c) {
    return entries(c, J_LIST, DICT_VALUES);
}

static jvalue m_get(jcall *c) {
    const jvalue *v = j_get(c->heap, c->self.dict, c->args[0]);
    return v ? *v : jarg_given(c, 1) ? c->args[1] : j_none();
}

/* Templates run where nothing that is given can be changed: transformers' sandbox forbids it, too. */
static jvalue m_append(jcall *c) {
    jinja_fail(c->heap, ST_INVALID, "append: lists cannot be changed in a template");
}

static jvalue m_index(jcall *c) {
    const jlist *l = c->self.list;
    for (size_t i = 0; i < l->count; i++)
        if (j_equal(c->heap, l->items[i], c->args[0], 0)) return j_int((int64_t)i);
    jinja_fail(c->heap, ST_INVALID, "index: the value is not in the list");
}

static jvalue m_count(jcall *c) {
    int64_t count = 0;
    for (size_t i = 0; i < c->self.list->count; i++)
        count += j_equal(c->heap, c->self.list->items[i], c->args[0], 0);
    return j_int(count);
}

/* --- functions --- */

static jvalue g_range(jcall *c) {
    int64_t a = jarg_int(c, 0, 0), b = jarg_int(c, 1, 0), step = jarg_int(c, 2, 1);
    if (!jarg_given(c, 1)) {
        b = a;
        a = 0;
    }
    if (step == 0) jinja_fail(c->heap, ST_INVALID, "range: a step of 0");
    double count = ((double)b - (double)a) / (double)step;
    if (count > RANGE_MAX)
        jinja_fail(c->heap, ST_INVALID, "range: more than %d numbers (the limit)", RANGE_MAX);
    jvalue out = j_list(c->heap, J_LIST);
    for (; step > 0 ? a < b : a > b;) {
        j_push(c->heap, out.list, j_int(a));
        if (__builtin_add_overflow(a, step, &a)) break;
    }
    return out;
}

static jvalue with_names(jcall *c, jkind kind) {
    jvalue out = j_dict(c->heap, kind);
    for (size_t k = 0; k < c->given_count; k++) {
        if (c->given[k].kind != J_DICT)
            jinja_fail(c->heap, ST_INVALID, "want a dict, got a %s", j_type(c->given[k]));
        const jdict *d = c->given[k].dict;
        for (size_t i = 0; i < d->count; i++) j_put(c->heap, out.dict, d->keys[i], d->values[i]);
    }
    for (size_t i = 0; i < c->named->count; i++)
        j_put(c->heap, out.dict, c->named->keys[i], c->named->values[i]);
    return out;
}

static jvalue g_namespace(jcall *c) {
    return with_names(c, J_NAMESPACE);
}
static jvalue g_dict(jcall *c) {
    return with_names(c, J_DICT);
}

static jvalue g_raise(jcall *c) {
    jstr text = jt_str(c->heap, c->args[0]);
    c->heap->line = 0;
    jinja_fail(c->heap, ST_INVALID, "the chat template refuses: %.*s", (int)MIN(text.len, 180u), text.at);
}

static jvalue g_strftime(jcall *c) {
    char format[200], out[1000];
    jstr s = jarg_str(c, 0, "");
    if (s.len >= sizeof format || memchr(s.at, 0, s.len))
        jinja_fail(c->heap, ST_INVALID, "strftime_now: the format is too long");
    memcpy(format, s.at, s.len);
    format[s.len] = 0;
    size_t len = strftime(out, sizeof out, format, c->now);
    jbuilder b = {.heap = c->heap};
    jb_bytes(&b, out, len, false);
    return j_str(jb_str(&b));
}

const jbuiltin jinja_list_filters[] = {{"length", "", f_length},
                                       {"count", "", f_length},
                                       {"default", "default_value?,boolean?", f_default},
                                       {"d", "default_value?,boolean?", f_default},
                                       {"first", "", f_first},
                                       {"last", "", f_last},
                                       {"list", "", f_list},
                                       {"reverse", "", f_reverse},
                                       {"join", "d?,attribute?", f_join},
                                       {"sort", "reverse?,case_sensitive?,attribute?", f_sort},
                                       {"dictsort", "case_sensitive?,by?,reverse?", f_dictsort},
                                       {"unique", "case_sensitive?,attribute?", f_unique},
                                       {"batch", "linecount,fill_with?", f_batch},
                                       {"min", "case_sensitive?,attribute?", f_min},
                                       {"max", "case_sensitive?,attribute?", f_max},
                                       {"sum", "attribute?,start?", f_sum},
                                       {"map", "*", f_map},
                                       {"select", "*", f_select},
                                       {"reject", "*", f_reject},
                                       {"selectattr", "*", f_selectattr},
                                       {"rejectattr", "*", f_rejectattr},
                                       {"items", "", f_items},
                                       {0}};

const jbuiltin jinja_dict_methods[] = {{"items", "", m_items},
                                       {"keys", "", m_keys},
                                       {"values", "", m_values},
                                       {"get", "key,default?", m_get},
                                       {0}};

const jbuiltin jinja_list_methods[] = {
    {"index", "value", m_index}, {"count", "value", m_count}, {"append", "value", m_append}, {0}};

const jbuiltin jinja_functions[] = {
    {"range", "start,stop?,step?", g_range}, {"namespace", "*", g_namespace},        {"dict", "*", g_dict},
    {"raise_exception", "message", g_raise}, {"strftime_now", "format", g_strftime}, {0}};
