/* Finding builtins, and binding what they are called with. */
#include "text/jinja_builtins.h"

#include "base/mem.h"
#include "text/jinja_text.h"

#include <string.h>

static const jbuiltin *find(const jbuiltin *table, jstr name) {
    for (; table->name; table++)
        if (strlen(table->name) == name.len && memcmp(table->name, name.at, name.len) == 0) return table;
    return NULL;
}

const jbuiltin *jinja_filter(jstr name) {
    const jbuiltin *f = find(jinja_list_filters, name);
    return f ? f : find(jinja_text_filters, name);
}

const jbuiltin *jinja_test(jstr name) {
    return find(jinja_tests, name);
}

const jbuiltin *jinja_function(jstr name) {
    return find(jinja_functions, name);
}

bool jinja_is_method(jstr name) {
    return find(jinja_text_methods, name) || find(jinja_dict_methods, name) || find(jinja_list_methods, name);
}

const jbuiltin *jinja_method(jvalue self, jstr name) {
    if (self.kind == J_STRING) return find(jinja_text_methods, name);
    if (self.kind == J_DICT) return find(jinja_dict_methods, name);
    if (self.kind == J_LIST || self.kind == J_TUPLE) return find(jinja_list_methods, name);
    return NULL;
}

/* The next parameter of a list: its name and whether it may be left out; NULL at the end. */
static const char *next_param(const char *at, size_t *len, bool *optional) {
    if (!*at) return NULL;
    const char *end = strchr(at, ',');
    size_t all = end ? (size_t)(end - at) : strlen(at);
    *optional = at[all - 1] == '?';
    *len = all - (*optional ? 1 : 0);
    return at + all + (end ? 1 : 0);
}

int jinja_param(const jbuiltin *f, size_t place, jstr name) {
    if (*f->params == '*') return (int)MIN(place, JINJA_ARGS_MAX);
    const char *at = f->params;
    size_t len = 0;
    bool optional = false;
    for (int i = 0;; i++) {
        const char *next = next_param(at, &len, &optional);
        if (!next) return -1;
        if (name.at ? len == name.len && memcmp(at, name.at, len) == 0 : (size_t)i == place) return i;
        at = next;
    }
}

jvalue jinja_run_builtin(jinja_heap *h, const jbuiltin *f, jvalue self, const jvalue *args, const jstr *names,
                         size_t count, const struct tm *now) {
    jcall c = {.heap = h, .self = self, .now = now};
    for (size_t i = 0; i < JINJA_ARGS_MAX; i++) c.args[i].kind = J_ABSENT;
    if (*f->params == '*') {
        jvalue named = j_dict(h, J_DICT);
        c.given = args;
        for (size_t i = 0; i < count; i++) {
            if (names[i].at)
                j_put(h, named.dict, j_str(names[i]), args[i]);
            else
                c.given_count = i + 1;
        }
        c.named = named.dict;
        return f->run(&c);
    }
    for (size_t i = 0; i < count; i++) {
        int at = jinja_param(f, i, names[i]);
        if (at < 0 || c.args[at].kind != J_ABSENT)
            jinja_fail(h, ST_INVALID, "'%s' is called with arguments that it does not take", f->name);
        c.args[at] = args[i];
    }
    const char *at = f->params, *next = NULL;
    size_t len = 0;
    bool optional = false;
    for (size_t i = 0; (next = next_param(at, &len, &optional)); at = next, i++)
        if (!optional && c.args[i].kind == J_ABSENT)
            jinja_fail(h, ST_INVALID, "'%s' lacks its argument '%.*s'", f->name, (int)len, at);
    return f->run(&c);
}

bool jarg_given(const jcall *c, size_t i) {
    return c->args[i].kind != J_ABSENT;
}

bool jarg_true(const jcall *c, size_t i, bool other) {
    return jarg_given(c, i) ? j_true(c->args[i]) : other;
}

int64_t jarg_int(const jcall *c, size_t i, int64_t other) {
    jvalue v = c->args[i];
    if (v.kind == J_ABSENT || v.kind == J_NONE) return other;
    if (v.kind == J_BOOL) return v.truth;
    if (v.kind == J_UNDEFINED) j_fail_undefined(c->heap, v);
    if (v.kind != J_INT) jinja_fail(c->heap, ST_INVALID, "want a whole number, got a %s", j_type(v));
    return v.i;
}

jstr jarg_str(const jcall *c, size_t i, const char *other) {
    jvalue v = c->args[i];
    if (v.kind == J_ABSENT) return j_text(other).s;
    if (v.kind == J_UNDEFINED) j_fail_undefined(c->heap, v);
    if (v.kind != J_STRING) jinja_fail(c->heap, ST_INVALID, "want a string, got a %s", j_type(v));
    return v.s;
}
