/* jinja_builtins - filters, tests, methods and functions that templates know, by name.
 *
 * A parameter list is "one,two?,three?" (? = may be left out), or "*" for what each judges for itself. What
 * is not in the tables, or is called with other arguments, is a fault when the template is loaded. */
#ifndef BATON_TEXT_JINJA_BUILTINS_H
#define BATON_TEXT_JINJA_BUILTINS_H

#include "text/jinja_text.h"

#include <time.h>

#define JINJA_ARGS_MAX 8u

typedef struct jcall {
    jinja_heap *heap;
    jvalue self;                 /* what is filtered, tested, or has the method */
    jvalue args[JINJA_ARGS_MAX]; /* by parameter; J_ABSENT = not given */
    const jvalue *given;         /* by place, for "*" */
    size_t given_count;
    const jdict *named; /* by name, for "*"; NULL = none */
    const struct tm *now;
} jcall;

typedef struct jbuiltin {
    const char *name, *params;
    jvalue (*run)(jcall *c);
} jbuiltin;

/* Who has which; each ends with a name of NULL. */
extern const jbuiltin jinja_text_filters[];
extern const jbuiltin jinja_list_filters[];
extern const jbuiltin jinja_tests[];
extern const jbuiltin jinja_functions[];
extern const jbuiltin jinja_text_methods[];
extern const jbuiltin jinja_dict_methods[];
extern const jbuiltin jinja_list_methods[];

const jbuiltin *jinja_filter(jstr name);
const jbuiltin *jinja_test(jstr name);
const jbuiltin *jinja_function(jstr name);
/* A method of any kind of value by name: is there one? */
bool jinja_is_method(jstr name);
/* The method of this value, or NULL. */
const jbuiltin *jinja_method(jvalue self, jstr name);

/* Which parameter the argument is (by name, or by place when name.at is NULL), or -1. "*": place. */
int jinja_param(const jbuiltin *f, size_t place, jstr name);
/* Runs it with the arguments bound; fails when one is missing or too many. names[i].at NULL = by place. */
jvalue jinja_run_builtin(jinja_heap *h, const jbuiltin *f, jvalue self, const jvalue *args, const jstr *names,
                         size_t count, const struct tm *now);

/* Attribute by Jinja's rules: x.name (methods first) or x[key] (entries first). Undefined when there is
 * none. */
jvalue jinja_attribute(jinja_heap *h, jvalue v, jstr name);
jvalue jinja_item(jinja_heap *h, jvalue v, jvalue key);
jvalue jinja_slice(jinja_heap *h, jvalue v, jvalue from, jvalue to, jvalue step);
/* a OP b for + - * / // % **. */
jvalue jinja_arithmetic(jinja_heap *h, jvalue a, jstr op, jvalue b);
bool jinja_contains(jinja_heap *h, jvalue all, jvalue one);

/* Arguments of a call, read with a default or a type. */
bool jarg_given(const jcall *c, size_t i);
bool jarg_true(const jcall *c, size_t i, bool other);
int64_t jarg_int(const jcall *c, size_t i, int64_t other);
jstr jarg_str(const jcall *c, size_t i, const char *other);

/* json.dumps, as transformers has it. indent < 0: on one line. */
typedef struct jjson {
    int64_t indent;
    bool ascii, sort;
    jstr comma, colon;
} jjson;
void jinja_json(jbuilder *b, jvalue v, const jjson *how, uint32_t depth);

#endif
