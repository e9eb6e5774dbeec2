/* Expressions, by the grammar of Jinja's own parser: which binds tighter is said by who calls whom. */
#include "text/jinja_ast.h"

#include "base/mem.h"
#include "text/jinja_text.h"

#include <stdio.h>
#include <string.h>

static jnode *unary(jparser *p, bool filters);

static jnode *with(jparser *p, jnode_kind kind, jnode *a, jnode *b) {
    jnode *n = jp_node(p, kind);
    if (a) n->line = a->line;
    n->a = a;
    n->b = b;
    jp_deepen(p, n, a);
    jp_deepen(p, n, b);
    return n;
}

static bool is_op(const jparser *p, const char *text) {
    return jp_is(p, JT_OP, text);
}

/* --- literals --- */

static jnode *list(jparser *p) {
    jnode *n = jp_node(p, JN_LIST);
    while (!jp_skip(p, JT_OP, "]")) {
        if (n->kid_count) jp_expect(p, JT_OP, ",");
        if (jp_skip(p, JT_OP, "]")) break;
        jp_kid(p, n, jp_expression(p), (jstr){0}, 0);
    }
    return n;
}

static jnode *dict(jparser *p) {
    jnode *n = jp_node(p, JN_DICT);
    while (!jp_skip(p, JT_OP, "}")) {
        if (n->kid_count) jp_expect(p, JT_OP, ",");
        if (jp_skip(p, JT_OP, "}")) break;
        jp_kid(p, n, jp_expression(p), (jstr){0}, 0);
        jp_expect(p, JT_OP, ":");
        jp_kid(p, n, jp_expression(p), (jstr){0}, 0);
    }
    return n;
}

static jnode *name(jparser *p) {
    static const struct {
        const char *text;
        jvalue value;
    } words[] = {{"true", {.kind = J_BOOL, .truth = true}},
                 {"True", {.kind = J_BOOL, .truth = true}},
                 {"false", {.kind = J_BOOL}},
                 {"False", {.kind = J_BOOL}},
                 {"none", {.kind = J_NONE}},
                 {"None", {.kind = J_NONE}}};
    jvalue text = j_str(p->at->text);
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (!j_is(text, words[i].text)) continue;
        jnode *n = jp_node(p, JN_CONST);
        n->value = words[i].value;
        p->at++;
        return n;
    }
    jnode *n = jp_node(p, JN_NAME);
    n->text = jp_name(p, "a value");
    j_put(p->heap, p->reads, text, j_none());
    return n;
}

static jnode *primary(jparser *p) {
    jnode *n = NULL;
    if (p->at->kind == JT_NAME) return name(p);
    if (p->at->kind == JT_NUMBER) {
        n = jp_node(p, JN_CONST);
        n->value = p->at++->value;
        return n;
    }
    if (p->at->kind == JT_STRING) { /* neighbours are one */
        n = jp_node(p, JN_CONST);
        jbuilder b = {.heap = p->heap};
        for (; p->at->kind == JT_STRING; p->at++) jb_add(&b, p->at->value.s);
        n->value = j_str(jb_str(&b));
        j_put(p->heap, p->strings, n->value, j_none());
        return n;
    }
    if (jp_skip(p, JT_OP, "(")) {
        n = is_op(p, ")") ? jp_node(p, JN_TUPLE) : jp_tuple(p, true);
        jp_expect(p, JT_OP, ")");
        return n;
    }
    if (jp_skip(p, JT_OP, "[")) return list(p);
    if (jp_skip(p, JT_OP, "{")) return dict(p);
    jp_fail(p, "a value is missing before '%.*s'", (int)MIN(p->at->text.len, 20u), p->at->text.at);
}

/* --- after a value --- */

static void arguments(jparser *p, jnode *n) {
    jp_expect(p, JT_OP, "(");
    bool named = false;
    for (size_t i = 0; !jp_skip(p, JT_OP, ")"); i++) {
        if (i) jp_expect(p, JT_OP, ",");
        if (jp_skip(p, JT_OP, ")")) break;
        if (is_op(p, "*") || is_op(p, "**")) jp_fail(p, "* and ** in calls are not supported");
        jstr key = {0};
        if (p->at->kind == JT_NAME && j_is(j_str(p->at[1].text), "=") && p->at[1].kind == JT_OP) {
            key = p->at->text;
            p->at += 2;
            named = true;
        } else if (named) {
            jp_fail(p, "an argument by place follows one by name");
        }
        jp_kid(p, n, jp_expression(p), key, 0);
    }
}

static void check_arguments(jparser *p, const jnode *n, const char *what) {
    size_t count = n->kid_count;
    if (count > JINJA_ARGS_MAX) jp_fail(p, "%s '%s': too many arguments", what, n->builtin->name);
    for (size_t i = 0; i < count; i++) {
        jstr key = n->names[i];
        if (jinja_param(n->builtin, i, key) >= 0) continue;
        if (key.at)
            jp_fail(p, "%s '%s' has no argument '%.*s'", what, n->builtin->name, (int)MIN(key.len, 60u),
                    key.at);
        jp_fail(p, "%s '%s': too many arguments", what, n->builtin->name);
    }
}

static jnode *call(jparser *p, jnode *callee) {
    jnode *n = with(p, JN_CALL, callee, NULL);
    arguments(p, n);
    if (callee->kind == JN_ATTR && !jinja_is_method(callee->text) && !p->branches)
        jp_fail(p, "the method '%.*s' is not supported", (int)MIN(callee->text.len, 60u), callee->text.at);
    if (callee->kind == JN_NAME) {
        if (p->call_count == p->call_room) {
            p->call_room = p->call_room ? p->call_room * 2 : 32;
            jnode **bigger = jinja_alloc(p->heap, p->call_room, sizeof *bigger);
            if (p->call_count) memcpy(bigger, p->calls, p->call_count * sizeof *bigger);
            p->calls = bigger;
        }
        p->calls[p->call_count++] = n;
        n->builtin = jinja_function(callee->text);
        if (n->builtin) check_arguments(p, n, "the function");
    }
    return n;
}

static jnode *subscript_key(jparser *p) {
    jnode *parts[3] = {0};
    size_t colons = 0;
    for (;;) {
        if (is_op(p, "]")) break;
        if (jp_skip(p, JT_OP, ":")) {
            if (++colons > 2) jp_fail(p, "a slice has more than three parts");
            continue;
        }
        if (parts[colons]) jp_fail(p, "in [...]: want one key or a slice");
        parts[colons] = jp_expression(p);
    }
    if (colons == 0) {
        if (!parts[0]) jp_fail(p, "[] has no key");
        return parts[0];
    }
    jnode *n = jp_node(p, JN_SLICE);
    for (size_t i = 0; i < 3; i++) jp_kid(p, n, parts[i], (jstr){0}, 0);
    return n;
}

static jnode *postfix(jparser *p, jnode *n) {
    for (;;) {
        if (jp_skip(p, JT_OP, ".")) {
            if (p->at->kind == JT_NUMBER && p->at->value.kind == J_INT) {
                jnode *key = jp_node(p, JN_CONST);
                key->value = p->at++->value;
                n = with(p, JN_ITEM, n, key);
                continue;
            }
            n = with(p, JN_ATTR, n, NULL);
            n->text = jp_name(p, "an attribute");
            j_put(p->heap, p->strings, j_str(n->text), j_none());
        } else if (jp_skip(p, JT_OP, "[")) {
            jnode *key = subscript_key(p);
            jp_expect(p, JT_OP, "]");
            n = with(p, JN_ITEM, n, key);
        } else if (is_op(p, "(")) {
            n = call(p, n);
        } else {
            return n;
        }
    }
}

static void no_dots(const jparser *p, const char *what, jstr word) {
    if (is_op(p, "."))
        jp_fail(p, "the %s '%.*s.%.*s' is not supported", what, (int)MIN(word.len, 60u), word.at,
                (int)MIN(p->at[1].text.len, 60u), p->at[1].text.at);
}

static jnode *filter(jparser *p, jnode *over) {
    jstr word = jp_name(p, "a filter");
    no_dots(p, "filter", word);
    jnode *n = with(p, JN_FILTER, over, NULL);
    n->builtin = jinja_filter(word);
    n->text = word;
    if (!n->builtin && !p->branches)
        jp_fail(p, "the filter '%.*s' is not supported", (int)MIN(word.len, 60u), word.at);
    if (is_op(p, "(")) arguments(p, n);
    if (!n->builtin) return n; /* an error when it is reached, as in Jinja */
    check_arguments(p, n, "the filter");
    bool picks = strncmp(n->builtin->name, "sel", 3) == 0 || strncmp(n->builtin->name, "rej", 3) == 0;
    bool maps = strcmp(n->builtin->name, "map") == 0;
    size_t at = picks && strstr(n->builtin->name, "attr") ? 1 : 0; /* of the test's or filter's name */
    if ((picks || maps) && n->kid_count > at && !n->names[at].at) {
        const jnode *inner = n->kids[at];
        if (inner->kind == JN_CONST && inner->value.kind == J_STRING &&
            !(picks ? jinja_test(inner->value.s) : jinja_filter(inner->value.s)))
            jp_fail(p, "the %s '%.*s' is not supported", picks ? "test" : "filter",
                    (int)MIN(inner->value.s.len, 60u), inner->value.s.at);
    }
    return n;
}

jnode *jp_filters(jparser *p, jnode *over, bool bar) {
    if (!bar) over = filter(p, over);
    while (jp_skip(p, JT_OP, "|")) over = filter(p, over);
    return over;
}

static bool begins_test_argument(const jparser *p) {
    static const char *const words[] = {"else", "or", "and", "if", "is"};
    if (p->at->kind == JT_STRING || p->at->kind == JT_NUMBER || is_op(p, "[") || is_op(p, "{")) return true;
    if (p->at->kind != JT_NAME) return false;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (jp_is(p, JT_NAME, words[i])) return false;
    return true;
}

static jnode *test(jparser *p, jnode *over) {
    bool negated = jp_skip(p, JT_NAME, "not");
    jstr word = jp_name(p, "a test");
    no_dots(p, "test", word);
    jnode *n = with(p, JN_TEST, over, NULL);
    n->builtin = jinja_test(word);
    n->text = word;
    if (!n->builtin && !p->branches)
        jp_fail(p, "the test '%.*s' is not supported", (int)MIN(word.len, 60u), word.at);
    if (is_op(p, "("))
        arguments(p, n);
    else if (begins_test_argument(p))
        jp_kid(p, n, postfix(p, primary(p)), (jstr){0}, 0);
    if (n->builtin) check_arguments(p, n, "the test");
    return negated ? with(p, JN_NOT, n, NULL) : n;
}

static jnode *filtered(jparser *p, jnode *n) {
    for (;;) {
        if (jp_skip(p, JT_OP, "|"))
            n = filter(p, n);
        else if (jp_skip(p, JT_NAME, "is"))
            n = test(p, n);
        else if (is_op(p, "("))
            n = call(p, n);
        else
            return n;
    }
}

/* --- operators --- */

static jnode *unary(jparser *p, bool filters) {
    jp_enter(p);
    jnode *n = NULL;
    if (jp_skip(p, JT_OP, "-"))
        n = with(p, JN_NEG, unary(p, false), NULL);
    else if (jp_skip(p, JT_OP, "+"))
        n = with(p, JN_POS, unary(p, false), NULL);
    else
        n = primary(p);
    n = postfix(p, n);
    if (filters) n = filtered(p, n);
    jp_leave(p);
    return n;
}

static jnode *binary(jparser *p, jnode *a, jnode *(*next)(jparser *)) {
    jstr op = p->at++->text;
    jnode *n = with(p, JN_BINARY, a, next(p));
    n->text = op;
    return n;
}

static jnode *plain_unary(jparser *p) {
    return unary(p, true);
}

static jnode *power(jparser *p) {
    jnode *n = plain_unary(p);
    while (is_op(p, "**")) n = binary(p, n, plain_unary);
    return n;
}

static jnode *product(jparser *p) {
    jnode *n = power(p);
    while (is_op(p, "*") || is_op(p, "/") || is_op(p, "//") || is_op(p, "%")) n = binary(p, n, power);
    return n;
}

static jnode *concat(jparser *p) {
    jnode *n = product(p);
    while (jp_skip(p, JT_OP, "~")) n = with(p, JN_CONCAT, n, product(p));
    return n;
}

static jnode *sum(jparser *p) {
    jnode *n = concat(p);
    while (is_op(p, "+") || is_op(p, "-")) n = binary(p, n, concat);
    return n;
}

static bool comparison(jparser *p, uint32_t *op) {
    static const struct {
        const char *text;
        jop op;
    } ops[] = {{"==", JOP_EQ}, {"!=", JOP_NE}, {"<", JOP_LT}, {"<=", JOP_LE}, {">", JOP_GT}, {">=", JOP_GE}};
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        if (!jp_skip(p, JT_OP, ops[i].text)) continue;
        *op = ops[i].op;
        return true;
    }
    if (jp_skip(p, JT_NAME, "in")) {
        *op = JOP_IN;
        return true;
    }
    if (jp_is(p, JT_NAME, "not") && p->at[1].kind == JT_NAME && j_is(j_str(p->at[1].text), "in")) {
        p->at += 2;
        *op = JOP_NOT_IN;
        return true;
    }
    return false;
}

static jnode *compare(jparser *p) {
    jnode *first = sum(p), *n = NULL;
    uint32_t op = 0;
    while (comparison(p, &op)) {
        if (!n) n = with(p, JN_COMPARE, first, NULL);
        jp_kid(p, n, sum(p), (jstr){0}, op);
    }
    return n ? n : first;
}

static jnode *negation(jparser *p) {
    if (!jp_skip(p, JT_NAME, "not")) return compare(p);
    jp_enter(p);
    jnode *n = with(p, JN_NOT, negation(p), NULL);
    jp_leave(p);
    return n;
}

static jnode *both(jparser *p) {
    jnode *n = negation(p);
    while (jp_skip(p, JT_NAME, "and")) n = with(p, JN_AND, n, negation(p));
    return n;
}

static jnode *either(jparser *p) {
    jnode *n = both(p);
    while (jp_skip(p, JT_NAME, "or")) n = with(p, JN_OR, n, both(p));
    return n;
}

jnode *jp_expression(jparser *p) {
    jp_enter(p);
    jnode *n = either(p);
    while (jp_skip(p, JT_NAME, "if")) {
        jnode *cond = either(p);
        jnode *other = jp_skip(p, JT_NAME, "else") ? jp_expression(p) : NULL;
        n = with(p, JN_COND, cond, n);
        n->c = other;
        jp_deepen(p, n, other);
    }
    jp_leave(p);
    return n;
}

static bool ends_tuple(const jparser *p) {
    return p->at->kind == JT_BLOCK_END || p->at->kind == JT_PRINT_END || is_op(p, ")");
}

jnode *jp_tuple(jparser *p, bool inline_if) {
    jnode *first = inline_if ? jp_expression(p) : either(p);
    if (!is_op(p, ",")) return first;
    jnode *n = jp_node(p, JN_TUPLE);
    jp_kid(p, n, first, (jstr){0}, 0);
    while (jp_skip(p, JT_OP, ",") && !ends_tuple(p))
        jp_kid(p, n, inline_if ? jp_expression(p) : either(p), (jstr){0}, 0);
    return n;
}

static jnode *one_target(jparser *p, bool attributes) {
    if (jp_skip(p, JT_OP, "(")) {
        jp_enter(p);
        jnode *n = jp_target(p, attributes);
        jp_leave(p);
        jp_expect(p, JT_OP, ")");
        return n;
    }
    jnode *n = jp_node(p, JN_NAME);
    n->text = jp_name(p, "a name to store in");
    if (attributes && jp_skip(p, JT_OP, ".")) {
        n = with(p, JN_ATTR, n, NULL);
        n->text = jp_name(p, "an attribute");
    } else {
        j_put(p->heap, p->binds, j_str(n->text), j_none());
    }
    return n;
}

jnode *jp_target(jparser *p, bool attributes) {
    jnode *first = one_target(p, attributes);
    if (!is_op(p, ",")) return first;
    jnode *n = jp_node(p, JN_TUPLE);
    jp_kid(p, n, first, (jstr){0}, 0);
    while (jp_skip(p, JT_OP, ",") && (is_op(p, "(") || (p->at->kind == JT_NAME && !jp_is(p, JT_NAME, "in"))))
        jp_kid(p, n, one_target(p, attributes), (jstr){0}, 0);
    return n;
}
