#include "text/jinja_eval.h"

#include "base/mem.h"

#include <string.h>

typedef enum flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE } flow;

static jvalue eval(jrun *r, jscope *scope, const jnode *n);
static flow exec(jrun *r, jscope *scope, const jnode *n);

static void enter(jrun *r, const jnode *n) {
    jinja_steps(r->heap, 1);
    r->heap->line = n->line;
    if (++r->heap->depth > JINJA_DEPTH_MAX)
        jinja_fail(r->heap, ST_INVALID, "the template is nested deeper than %u when it runs (the limit)",
                   JINJA_DEPTH_MAX);
}

/* --- names --- */

static jscope *scope_new(jrun *r, jscope *outer) {
    jscope *s = jinja_alloc(r->heap, 1, sizeof *s);
    s->outer = outer;
    s->vars = jinja_alloc(r->heap, 1, sizeof *s->vars);
    return s;
}

static const char *not_found(jrun *r, jstr name) {
    jbuilder b = {.heap = r->heap};
    jb_adds(&b, "'");
    jb_bytes(&b, name.at, MIN(name.len, 100u), false);
    jb_adds(&b, "' is undefined");
    jb_bytes(&b, "", 1, false);
    return jb_str(&b).at;
}

static jvalue name_of(jrun *r, jscope *scope, jstr name) {
    for (jscope *s = scope; s; s = s->outer) {
        const jvalue *v = j_get(r->heap, s->vars, j_str(name));
        if (v) return *v;
    }
    const jbuiltin *f = jinja_function(name);
    if (f) return (jvalue){.kind = J_FUNCTION, .method = f};
    return j_undefined(not_found(r, name));
}

static void store(jrun *r, jscope *scope, const jnode *target, jvalue v) {
    if (target->kind == JN_NAME) {
        j_put(r->heap, scope->vars, j_str(target->text), v);
    } else if (target->kind == JN_ATTR) {
        jvalue space = name_of(r, scope, target->a->text);
        if (space.kind != J_NAMESPACE)
            jinja_fail(r->heap, ST_INVALID, "'%.*s' is no namespace: its attributes cannot be set",
                       (int)MIN(target->a->text.len, 60u), target->a->text.at);
        j_put(r->heap, space.dict, j_str(target->text), v);
    } else {
        const jlist *l = jt_iterate(r->heap, v);
        if (l->count != target->kid_count)
            jinja_fail(r->heap, ST_INVALID, "%zu values for %zu names", l->count, target->kid_count);
        for (size_t i = 0; i < l->count; i++) store(r, scope, target->kids[i], l->items[i]);
    }
}

/* --- calls --- */

/* The text that a body makes. */
static jstr caught(jrun *r, jscope *scope, const jnode *body) {
    jbuilder b = {.heap = r->heap};
    jbuilder *before = r->out;
    r->out = &b;
    (void)exec(r, scope, body); /* loops end inside: the parser saw to it for macros */
    r->out = before;
    return jb_str(&b);
}

static jvalue call_macro(jrun *r, const jmacro *m, const jvalue *args, const jstr *names, size_t count) {
    const jnode *n = m->node;
    int len = (int)MIN(n->text.len, 60u);
    jscope *scope = scope_new(r, m->scope);
    for (size_t i = 0; i < count; i++) {
        size_t at = i;
        if (names[i].at) {
            for (at = 0; at < n->kid_count; at++)
                if (n->names[at].len == names[i].len &&
                    memcmp(n->names[at].at, names[i].at, names[i].len) == 0)
                    break;
        }
        if (at >= n->kid_count) {
            if (names[i].at)
                jinja_fail(r->heap, ST_INVALID, "the macro '%.*s' has no argument '%.*s'", len, n->text.at,
                           (int)MIN(names[i].len, 60u), names[i].at);
            jinja_fail(r->heap, ST_INVALID, "the macro '%.*s' takes %zu arguments, not %zu", len, n->text.at,
                       n->kid_count, count);
        }
        if (j_get(r->heap, scope->vars, j_str(n->names[at])))
            jinja_fail(r->heap, ST_INVALID, "the macro '%.*s' got an argument twice", len, n->text.at);
        j_put(r->heap, scope->vars, j_str(n->names[at]), args[i]);
    }
    for (size_t i = 0; i < n->kid_count; i++) {
        if (j_get(r->heap, scope->vars, j_str(n->names[i]))) continue;
        jvalue v = n->kids[i] ? eval(r, scope, n->kids[i]) : j_undefined(not_found(r, n->names[i]));
        j_put(r->heap, scope->vars, j_str(n->names[i]), v);
    }
    return j_str(caught(r, scope, n->b));
}

static jvalue call(jrun *r, jscope *scope, const jnode *n) {
    jvalue f = eval(r, scope, n->a);
    jvalue *args = jinja_alloc(r->heap, n->kid_count + 1, sizeof *args);
    for (size_t i = 0; i < n->kid_count; i++) args[i] = eval(r, scope, n->kids[i]);
    r->heap->line = n->line;
    switch (f.kind) {
    case J_MACRO:
        return call_macro(r, f.macro, args, n->names, n->kid_count);
    case J_FUNCTION:
        return jinja_run_builtin(r->heap, f.method, j_none(), args, n->names, n->kid_count, r->now);
    case J_METHOD:
        return jinja_run_builtin(r->heap, f.method, *f.self, args, n->names, n->kid_count, r->now);
    case J_UNDEFINED:
        j_fail_undefined(r->heap, f);
    default:
        jinja_fail(r->heap, ST_INVALID, "a %s cannot be called", j_type(f));
    }
}

static jvalue builtin(jrun *r, jscope *scope, const jnode *n) {
    if (!n->builtin) {
        r->heap->line = n->line;
        jinja_fail(r->heap, ST_UNSUPPORTED, "the %s '%.*s' is not supported",
                   n->kind == JN_TEST ? "test" : "filter", (int)MIN(n->text.len, 60u), n->text.at);
    }
    jvalue self = eval(r, scope, n->a);
    jvalue args[JINJA_ARGS_MAX];
    for (size_t i = 0; i < n->kid_count; i++) args[i] = eval(r, scope, n->kids[i]);
    r->heap->line = n->line;
    return jinja_run_builtin(r->heap, n->builtin, self, args, n->names, n->kid_count, r->now);
}

/* --- loops --- */

static jvalue loop_attribute(jrun *r, const jloop *l, jstr name) {
    jvalue key = j_str(name);
    size_t count = l->items->count;
    if (j_is(key, "index")) return j_int((int64_t)l->at + 1);
    if (j_is(key, "index0")) return j_int((int64_t)l->at);
    if (j_is(key, "revindex")) return j_int((int64_t)(count - l->at));
    if (j_is(key, "revindex0")) return j_int((int64_t)(count - l->at) - 1);
    if (j_is(key, "first")) return j_bool(l->at == 0);
    if (j_is(key, "last")) return j_bool(l->at + 1 == count);
    if (j_is(key, "length")) return j_int((int64_t)count);
    if (j_is(key, "depth")) return j_int(l->depth);
    if (j_is(key, "depth0")) return j_int((int64_t)l->depth - 1);
    if (j_is(key, "previtem"))
        return l->at ? l->items->items[l->at - 1] : j_undefined("there is no previous item");
    if (j_is(key, "nextitem"))
        return l->at + 1 < count ? l->items->items[l->at + 1] : j_undefined("there is no next item");
    (void)r;
    return j_undefined("the loop has no such attribute");
}

static jvalue attribute(jrun *r, jvalue v, jstr name) {
    if (v.kind == J_LOOP) return loop_attribute(r, v.loop, name);
    if (v.kind == J_MACRO && j_is(j_str(name), "name")) return j_str(v.macro->node->text);
    return jinja_attribute(r->heap, v, name);
}

static const jlist *loop_items(jrun *r, jscope *scope, const jnode *n) {
    const jlist *all = jt_iterate(r->heap, eval(r, scope, n->b));
    if (!n->c) return all;
    jvalue kept = j_list(r->heap, J_LIST);
    for (size_t i = 0; i < all->count; i++) {
        jscope *inner = scope_new(r, scope);
        store(r, inner, n->a, all->items[i]);
        if (j_true(eval(r, inner, n->c))) j_push(r->heap, kept.list, all->items[i]);
    }
    return kept.list;
}

static flow for_(jrun *r, jscope *scope, const jnode *n) {
    const jlist *items = loop_items(r, scope, n);
    jloop *l = jinja_alloc(r->heap, 1, sizeof *l);
    *l = (jloop){.items = items, .depth = ++r->loops};
    jvalue loop = {.kind = J_LOOP, .loop = l};
    bool ended = false; /* a turn came to its end: as Jinja does it, `else` is for when none has */
    for (; l->at < items->count; l->at++) {
        jscope *inner = scope_new(r, scope);
        j_put(r->heap, inner->vars, j_text("loop"), loop);
        store(r, inner, n->a, items->items[l->at]);
        flow f = exec(r, inner, n->kids[0]);
        if (f == FLOW_BREAK) break;
        ended = ended || f == FLOW_ON;
    }
    r->loops--;
    if (!ended && n->kids[1]) return exec(r, scope_new(r, scope), n->kids[1]);
    return FLOW_ON;
}

/* --- expressions --- */

static bool compared(jrun *r, jvalue a, uint32_t op, jvalue b) {
    switch ((jop)op) {
    case JOP_EQ:
        return j_equal(r->heap, a, b, 0);
    case JOP_NE:
        return !j_equal(r->heap, a, b, 0);
    case JOP_LT:
        return j_compare(r->heap, a, b) < 0;
    case JOP_LE:
        return j_compare(r->heap, a, b) <= 0;
    case JOP_GT:
        return j_compare(r->heap, a, b) > 0;
    case JOP_GE:
        return j_compare(r->heap, a, b) >= 0;
    case JOP_IN:
        return jinja_contains(r->heap, b, a);
    case JOP_NOT_IN:
        return !jinja_contains(r->heap, b, a);
    }
    return false;
}

static jvalue compare(jrun *r, jscope *scope, const jnode *n) {
    jvalue a = eval(r, scope, n->a);
    for (size_t i = 0; i < n->kid_count; i++) {
        jvalue b = eval(r, scope, n->kids[i]);
        r->heap->line = n->line;
        if (!compared(r, a, n->ops[i], b)) return j_bool(false);
        a = b;
    }
    return j_bool(true);
}

static jvalue items(jrun *r, jscope *scope, const jnode *n) {
    if (n->kind == JN_DICT) {
        jvalue d = j_dict(r->heap, J_DICT);
        for (size_t i = 0; i < n->kid_count; i += 2) {
            jvalue key = eval(r, scope, n->kids[i]);
            j_put(r->heap, d.dict, key, eval(r, scope, n->kids[i + 1]));
        }
        return d;
    }
    jvalue l = j_list(r->heap, n->kind == JN_LIST ? J_LIST : J_TUPLE);
    for (size_t i = 0; i < n->kid_count; i++) j_push(r->heap, l.list, eval(r, scope, n->kids[i]));
    return l;
}

static jvalue item(jrun *r, jscope *scope, const jnode *n) {
    jvalue v = eval(r, scope, n->a);
    if (n->b->kind == JN_SLICE) {
        jvalue parts[3];
        for (size_t i = 0; i < 3; i++) parts[i] = n->b->kids[i] ? eval(r, scope, n->b->kids[i]) : j_none();
        r->heap->line = n->line;
        return jinja_slice(r->heap, v, parts[0], parts[1], parts[2]);
    }
    jvalue key = eval(r, scope, n->b);
    r->heap->line = n->line;
    if (v.kind == J_LOOP && key.kind == J_STRING) return attribute(r, v, key.s);
    return jinja_item(r->heap, v, key);
}

static jvalue sign(jrun *r, jvalue v, bool minus) {
    if (v.kind == J_UNDEFINED) j_fail_undefined(r->heap, v);
    if (!j_is_number(v)) jinja_fail(r->heap, ST_INVALID, "a %s has no sign", j_type(v));
    if (!minus) return v.kind == J_BOOL ? j_int(v.truth) : v;
    return jinja_arithmetic(r->heap, j_int(0), (jstr){"-", NULL, 1}, v);
}

static jvalue operation(jrun *r, jscope *scope, const jnode *n) {
    jvalue a = eval(r, scope, n->a);
    switch (n->kind) {
    case JN_NOT:
        return j_bool(!j_true(a));
    case JN_NEG:
    case JN_POS:
        return sign(r, a, n->kind == JN_NEG);
    case JN_AND:
        return j_true(a) ? eval(r, scope, n->b) : a;
    case JN_OR:
        return j_true(a) ? a : eval(r, scope, n->b);
    case JN_COND:
        if (j_true(a)) return eval(r, scope, n->b);
        return n->c ? eval(r, scope, n->c) : j_undefined(NULL);
    default:
        break;
    }
    jvalue b = eval(r, scope, n->b);
    r->heap->line = n->line;
    if (n->kind == JN_BINARY) return jinja_arithmetic(r->heap, a, n->text, b);
    jbuilder text = {.heap = r->heap};
    jt_write(&text, a);
    jt_write(&text, b);
    return j_str(jb_str(&text));
}

static jvalue eval_node(jrun *r, jscope *scope, const jnode *n) {
    switch (n->kind) {
    case JN_CONST:
        return n->value;
    case JN_NAME:
        return name_of(r, scope, n->text);
    case JN_LIST:
    case JN_TUPLE:
    case JN_DICT:
        return items(r, scope, n);
    case JN_ATTR: {
        jvalue v = eval(r, scope, n->a);
        r->heap->line = n->line;
        return attribute(r, v, n->text);
    }
    case JN_ITEM:
        return item(r, scope, n);
    case JN_CALL:
        return call(r, scope, n);
    case JN_FILTER:
    case JN_TEST:
        return builtin(r, scope, n);
    case JN_COMPARE:
        return compare(r, scope, n);
    case JN_CAUGHT:
        return r->caught;
    default:
        return operation(r, scope, n);
    }
}

static jvalue eval(jrun *r, jscope *scope, const jnode *n) {
    enter(r, n);
    jvalue v = eval_node(r, scope, n);
    r->heap->depth--;
    return v;
}

/* --- statements --- */

static jvalue caught_and_filtered(jrun *r, jscope *scope, const jnode *n) {
    jvalue text = j_str(caught(r, scope_new(r, scope), n->b));
    if (!n->c) return text;
    jvalue before = r->caught;
    r->caught = text;
    text = eval(r, scope, n->c);
    r->caught = before;
    return text;
}

static flow body(jrun *r, jscope *scope, const jnode *n) {
    for (size_t i = 0; i < n->kid_count; i++) {
        flow f = exec(r, scope, n->kids[i]);
        if (f != FLOW_ON) return f;
    }
    return FLOW_ON;
}

static flow if_(jrun *r, jscope *scope, const jnode *n) {
    for (size_t i = 0; i < n->kid_count; i += 2)
        if (j_true(eval(r, scope, n->kids[i]))) return exec(r, scope, n->kids[i + 1]);
    return n->c ? exec(r, scope, n->c) : FLOW_ON;
}

static flow exec_node(jrun *r, jscope *scope, const jnode *n) {
    jmacro *m = NULL;
    switch (n->kind) {
    case JN_TEXT:
        jb_add(r->out, n->text);
        return FLOW_ON;
    case JN_PRINT:
        jt_write(r->out, eval(r, scope, n->a));
        return FLOW_ON;
    case JN_BODY:
        return body(r, scope, n);
    case JN_IF:
        return if_(r, scope, n);
    case JN_FOR:
        return for_(r, scope, n);
    case JN_SET:
        store(r, scope, n->a, eval(r, scope, n->b));
        return FLOW_ON;
    case JN_SET_BLOCK:
        store(r, scope, n->a, caught_and_filtered(r, scope, n));
        return FLOW_ON;
    case JN_FILTERED:
        jt_write(r->out, caught_and_filtered(r, scope, n));
        return FLOW_ON;
    case JN_MACRO:
        m = jinja_alloc(r->heap, 1, sizeof *m);
        *m = (jmacro){n, scope};
        j_put(r->heap, scope->vars, j_str(n->text), (jvalue){.kind = J_MACRO, .macro = m});
        return FLOW_ON;
    case JN_BREAK:
        return FLOW_BREAK;
    case JN_CONTINUE:
        return FLOW_CONTINUE;
    default:
        jinja_fail(r->heap, ST_INVALID, "an expression stands where a statement should");
    }
}

static flow exec(jrun *r, jscope *scope, const jnode *n) {
    enter(r, n);
    flow f = exec_node(r, scope, n);
    r->heap->depth--;
    return f;
}

void jinja_run(jrun *r, jscope *scope, const jnode *n) {
    (void)exec(r, scope, n);
}
