#include "text/jinja_value.h"

#include "base/mem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define INDEX_FROM 9u /* entries; fewer are found by looking at all */

jvalue j_text(const char *text) {
    return j_str((jstr){text, NULL, strlen(text)});
}

bool j_is(jvalue v, const char *text) {
    return v.kind == J_STRING && v.s.len == strlen(text) && memcmp(v.s.at, text, v.s.len) == 0;
}

/* --- lists and dicts --- */

jvalue j_list(jinja_heap *h, jkind kind) {
    return (jvalue){.kind = kind, .list = jinja_alloc(h, 1, sizeof(jlist))};
}

static void *grown(jinja_heap *h, const void *old, size_t count, size_t capacity, size_t size) {
    void *p = jinja_alloc(h, capacity, size);
    if (count) memcpy(p, old, count * size);
    return p;
}

void j_push(jinja_heap *h, jlist *l, jvalue v) {
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? l->capacity * 2 : 4;
        l->items = grown(h, l->items, l->count, l->capacity, sizeof *l->items);
    }
    l->items[l->count++] = v;
}

jvalue j_dict(jinja_heap *h, jkind kind) {
    return (jvalue){.kind = kind, .dict = jinja_alloc(h, 1, sizeof(jdict))};
}

static uint64_t hash_bytes(const char *p, size_t len) {
    uint64_t x = 1469598103934665603u; /* FNV-1a */
    for (size_t i = 0; i < len; i++) x = (x ^ (unsigned char)p[i]) * 1099511628211u;
    return x ^ x >> 29;
}

static uint64_t hash_of(jinja_heap *h, jvalue v) {
    double f;
    switch (v.kind) {
    case J_STRING:
        jinja_steps(h, v.s.len / 64);
        return hash_bytes(v.s.at, v.s.len);
    case J_BOOL:
    case J_INT:
    case J_FLOAT:
        f = j_number(v) + 0.0; /* -0.0 is 0.0 */
        return hash_bytes((const char *)&f, sizeof f);
    case J_NONE:
        return 1;
    case J_TUPLE: {
        uint64_t x = 2;
        for (size_t i = 0; i < v.list->count; i++) {
            if (v.list->items[i].kind == J_TUPLE) break; /* equality tells the rest */
            x = x * 31 + hash_of(h, v.list->items[i]);
        }
        return x;
    }
    default:
        jinja_fail(h, ST_INVALID, "%s cannot be a key", j_type(v));
    }
}

static uint32_t *slot_of(jinja_heap *h, const jdict *d, jvalue key) {
    for (uint64_t at = hash_of(h, key);; at++) {
        uint32_t *slot = &d->slots[at & (d->slot_count - 1)];
        jinja_steps(h, 1);
        if (*slot == 0 || j_equal(h, d->keys[*slot - 1], key, 0)) return slot;
    }
}

static void index_all(jinja_heap *h, jdict *d) {
    d->slot_count = d->capacity * 2;
    d->slots = jinja_alloc(h, d->slot_count, sizeof *d->slots);
    for (size_t i = 0; i < d->count; i++) *slot_of(h, d, d->keys[i]) = (uint32_t)i + 1;
}

const jvalue *j_get(jinja_heap *h, const jdict *d, jvalue key) {
    if (d->slots) {
        uint32_t entry = *slot_of(h, d, key);
        return entry ? &d->values[entry - 1] : NULL;
    }
    (void)hash_of(h, key); /* is it one? */
    for (size_t i = 0; i < d->count; i++)
        if (j_equal(h, d->keys[i], key, 0)) return &d->values[i];
    return NULL;
}

void j_put(jinja_heap *h, jdict *d, jvalue key, jvalue value) {
    jvalue *there = (jvalue *)j_get(h, d, key);
    if (there) {
        *there = value;
        return;
    }
    if (d->count == d->capacity) {
        d->capacity = d->capacity ? d->capacity * 2 : 8;
        d->keys = grown(h, d->keys, d->count, d->capacity, sizeof *d->keys);
        d->values = grown(h, d->values, d->count, d->capacity, sizeof *d->values);
        d->slots = NULL;
    }
    d->keys[d->count] = key;
    d->values[d->count++] = value;
    if (d->slots)
        *slot_of(h, d, key) = (uint32_t)d->count;
    else if (d->count >= INDEX_FROM)
        index_all(h, d);
}

/* --- JSON --- */

static jvalue marked_text(jinja_heap *h, const char *at, size_t len, bool marked) {
    jstr s = {at, NULL, len};
    if (marked && len) {
        unsigned char *mark = jinja_alloc(h, len, 1);
        memset(mark, 1, len);
        s.mark = mark;
    }
    return j_str(s);
}

jvalue j_from_json(jinja_heap *h, const json_t *v, bool marked, uint32_t depth) {
    if (depth > JINJA_NEST_MAX)
        jinja_fail(h, ST_INVALID, "values are nested deeper than %u (the limit)", JINJA_NEST_MAX);
    switch (json_typeof(v)) {
    case JSON_STRING:
        return marked_text(h, json_string_value(v), json_string_length(v), marked);
    case JSON_INTEGER:
        return j_int(json_integer_value(v));
    case JSON_REAL:
        return j_float(json_real_value(v));
    case JSON_TRUE:
    case JSON_FALSE:
        return j_bool(json_is_true(v));
    case JSON_NULL:
        return j_none();
    case JSON_ARRAY: {
        jvalue list = j_list(h, J_LIST);
        for (size_t i = 0; i < json_array_size(v); i++)
            j_push(h, list.list, j_from_json(h, json_array_get(v, i), marked, depth + 1));
        return list;
    }
    case JSON_OBJECT: {
        jvalue dict = j_dict(h, J_DICT);
        const char *key = NULL;
        json_t *value = NULL;
        json_object_foreach((json_t *)v, key, value) {
            j_put(h, dict.dict, marked_text(h, key, strlen(key), marked),
                  j_from_json(h, value, marked, depth + 1));
        }
        return dict;
    }
    }
    return j_none();
}

/* --- what they are --- */

const char *j_type(jvalue v) {
    switch (v.kind) {
    case J_UNDEFINED:
    case J_ABSENT:
        return "Undefined";
    case J_NONE:
        return "NoneType";
    case J_BOOL:
        return "bool";
    case J_INT:
        return "int";
    case J_FLOAT:
        return "float";
    case J_STRING:
        return "str";
    case J_LIST:
        return "list";
    case J_TUPLE:
        return "tuple";
    case J_LAZY:
        return "generator";
    case J_DICT:
        return "dict";
    case J_NAMESPACE:
        return "Namespace";
    case J_MACRO:
        return "Macro";
    case J_FUNCTION:
    case J_METHOD:
        return "function";
    case J_LOOP:
        return "LoopContext";
    }
    return "?";
}

void j_fail_undefined(jinja_heap *h, jvalue v) {
    if (v.name) jinja_fail(h, ST_INVALID, "%.160s", v.name);
    jinja_fail(h, ST_INVALID, "an inline if without else gave nothing");
}

bool j_true(jvalue v) {
    switch (v.kind) {
    case J_UNDEFINED:
    case J_NONE:
    case J_ABSENT:
        return false;
    case J_BOOL:
        return v.truth;
    case J_INT:
        return v.i != 0;
    case J_FLOAT:
        return v.f != 0;
    case J_STRING:
        return v.s.len > 0;
    case J_LIST:
    case J_TUPLE:
        return v.list->count > 0;
    case J_DICT:
        return v.dict->count > 0;
    default:
        return true;
    }
}

bool j_is_number(jvalue v) {
    return v.kind == J_BOOL || v.kind == J_INT || v.kind == J_FLOAT;
}

double j_number(jvalue v) {
    return v.kind == J_FLOAT ? v.f : v.kind == J_INT ? (double)v.i : v.truth ? 1 : 0;
}

static int64_t whole(jvalue v) {
    return v.kind == J_INT ? v.i : v.truth ? 1 : 0;
}

static bool equal_dicts(jinja_heap *h, const jdict *a, const jdict *b, uint32_t depth) {
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++) {
        const jvalue *other = j_get(h, b, a->keys[i]);
        if (!other || !j_equal(h, a->values[i], *other, depth + 1)) return false;
    }
    return true;
}

bool j_equal(jinja_heap *h, jvalue a, jvalue b, uint32_t depth) {
    if (depth > JINJA_NEST_MAX)
        jinja_fail(h, ST_INVALID, "values are nested deeper than %u (the limit)", JINJA_NEST_MAX);
    jinja_steps(h, 1);
    if (j_is_number(a) && j_is_number(b)) {
        if (a.kind != J_FLOAT && b.kind != J_FLOAT) return whole(a) == whole(b);
        return j_number(a) == j_number(b);
    }
    if (a.kind != b.kind) return false;
    switch (a.kind) {
    case J_STRING:
        jinja_steps(h, a.s.len / 64);
        return a.s.len == b.s.len && (a.s.len == 0 || memcmp(a.s.at, b.s.at, a.s.len) == 0);
    case J_LIST:
    case J_TUPLE:
        if (a.list->count != b.list->count) return false;
        for (size_t i = 0; i < a.list->count; i++)
            if (!j_equal(h, a.list->items[i], b.list->items[i], depth + 1)) return false;
        return true;
    case J_DICT:
        return equal_dicts(h, a.dict, b.dict, depth);
    case J_LAZY:
        return a.list == b.list;
    case J_NAMESPACE:
        return a.dict == b.dict;
    case J_MACRO:
        return a.macro == b.macro;
    case J_LOOP:
        return a.loop == b.loop;
    case J_FUNCTION:
        return a.method == b.method;
    case J_METHOD:
        return a.method == b.method && j_equal(h, *a.self, *b.self, depth + 1);
    default: /* none, undefined */
        return true;
    }
}

int j_compare(jinja_heap *h, jvalue a, jvalue b) {
    jinja_steps(h, 1);
    if (a.kind == J_UNDEFINED) j_fail_undefined(h, a);
    if (b.kind == J_UNDEFINED) j_fail_undefined(h, b);
    if (j_is_number(a) && j_is_number(b)) {
        if (a.kind != J_FLOAT && b.kind != J_FLOAT) return (whole(a) > whole(b)) - (whole(a) < whole(b));
        return (j_number(a) > j_number(b)) - (j_number(a) < j_number(b));
    }
    if (a.kind == J_STRING && b.kind == J_STRING) { /* UTF-8 has the order of its characters */
        size_t len = MIN(a.s.len, b.s.len);
        int order = len ? memcmp(a.s.at, b.s.at, len) : 0;
        return order ? order : (a.s.len > b.s.len) - (a.s.len < b.s.len);
    }
    if ((a.kind == J_LIST || a.kind == J_TUPLE) && a.kind == b.kind) {
        for (size_t i = 0; i < a.list->count && i < b.list->count; i++) {
            if (j_equal(h, a.list->items[i], b.list->items[i], 1)) continue;
            if (++h->depth > JINJA_DEPTH_MAX)
                jinja_fail(h, ST_INVALID, "values are nested deeper than %u (the limit)", JINJA_DEPTH_MAX);
            int order = j_compare(h, a.list->items[i], b.list->items[i]);
            h->depth--;
            return order;
        }
        return (a.list->count > b.list->count) - (a.list->count < b.list->count);
    }
    jinja_fail(h, ST_INVALID, "%s and %s have no order", j_type(a), j_type(b));
}
