/* jinja_value - what a template computes with: Python's values as far as templates use them.
 *
 * Values never change once made, but for a namespace's attributes. Strings say of each byte where it came
 * from: `mark` is NULL for the template's own text, or holds a 1 for every byte of the request. Marks go with
 * the bytes through slices, concatenation, trimming and tojson, so that what is rendered still tells which
 * bytes a user wrote. Memory: the heap of the run; strings may borrow from the template and the input. */
#ifndef BATON_TEXT_JINJA_VALUE_H
#define BATON_TEXT_JINJA_VALUE_H

#include "text/jinja_heap.h"

#include <jansson.h>

typedef enum jkind {
    J_UNDEFINED,
    J_NONE,
    J_BOOL,
    J_INT,
    J_FLOAT,
    J_STRING,
    J_LIST,
    J_TUPLE,
    J_LAZY, /* a generator: a list that is always true and has no length */
    J_DICT,
    J_NAMESPACE,
    J_MACRO,
    J_FUNCTION, /* a global function */
    J_METHOD,   /* of the value in its box */
    J_LOOP,
    J_ABSENT /* an argument that was not given */
} jkind;

typedef struct jstr {
    const char *at;            /* UTF-8, len bytes */
    const unsigned char *mark; /* [len], or NULL */
    size_t len;
} jstr;

typedef struct jvalue {
    jkind kind;
    const struct jbuiltin *method; /* function, method */
    union {
        bool truth;
        int64_t i;
        double f;
        jstr s;
        struct jlist *list;         /* list, tuple, lazy */
        struct jdict *dict;         /* dict, namespace */
        const struct jmacro *macro; /* jinja_eval.c */
        struct jloop *loop;         /* jinja_eval.c */
        struct jvalue *self;        /* method */
        const char *name;           /* undefined: what was not found; NULL = an inline if without else */
    };
} jvalue;

typedef struct jlist {
    jvalue *items;
    size_t count, capacity;
} jlist;

/* Insertion order; an index by hash appears with the ninth entry. */
typedef struct jdict {
    jvalue *keys, *values;
    size_t count, capacity;
    uint32_t *slots; /* [slot_count]: entry + 1; 0 = free */
    size_t slot_count;
} jdict;

static inline jvalue j_none(void) {
    return (jvalue){.kind = J_NONE};
}
static inline jvalue j_bool(bool v) {
    return (jvalue){.kind = J_BOOL, .truth = v};
}
static inline jvalue j_int(int64_t v) {
    return (jvalue){.kind = J_INT, .i = v};
}
static inline jvalue j_float(double v) {
    return (jvalue){.kind = J_FLOAT, .f = v};
}
static inline jvalue j_str(jstr s) {
    return (jvalue){.kind = J_STRING, .s = s};
}
static inline jvalue j_undefined(const char *name) {
    return (jvalue){.kind = J_UNDEFINED, .name = name};
}
static inline bool j_is_list(jvalue v) {
    return v.kind == J_LIST || v.kind == J_TUPLE || v.kind == J_LAZY;
}
/* Borrowed: text, for as long as the run. */
jvalue j_text(const char *text);
bool j_is(jvalue v, const char *text);

jvalue j_list(jinja_heap *h, jkind kind);
void j_push(jinja_heap *h, jlist *l, jvalue v);
jvalue j_dict(jinja_heap *h, jkind kind);
/* Keys as Python's: 1, 1.0 and True are one. Fails for a key that is a list or dict. */
void j_put(jinja_heap *h, jdict *d, jvalue key, jvalue value);
const jvalue *j_get(jinja_heap *h, const jdict *d, jvalue key);

/* A JSON value of the input; `marked`: its strings and keys are the request's. Strings are borrowed. */
jvalue j_from_json(jinja_heap *h, const json_t *v, bool marked, uint32_t depth);

/* Python's bool(), ==, type name. */
bool j_true(jvalue v);
bool j_equal(jinja_heap *h, jvalue a, jvalue b, uint32_t depth);
/* <0, 0, >0; fails for values that have no order. */
int j_compare(jinja_heap *h, jvalue a, jvalue b);
const char *j_type(jvalue v);
/* The number in a bool, int or float. */
bool j_is_number(jvalue v);
double j_number(jvalue v);
/* Fails with what was not found. */
void j_fail_undefined(jinja_heap *h, jvalue v) __attribute__((noreturn));

#endif
