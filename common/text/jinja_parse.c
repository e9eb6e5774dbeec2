/* Statements. */
#include "text/jinja_ast.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

void jp_fail(const jparser *p, const char *fmt, ...) {
    char text[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    p->heap->line = p->at->line;
    jinja_fail(p->heap, ST_UNSUPPORTED, "%s", text);
}

jnode *jp_node(jparser *p, jnode_kind kind) {
    jnode *n = jinja_alloc(p->heap, 1, sizeof *n);
    n->kind = kind;
    n->line = p->at->line;
    n->depth = 1;
    return n;
}

void jp_deepen(jparser *p, jnode *n, const jnode *kid) {
    if (kid && kid->depth >= n->depth) n->depth = kid->depth + 1;
    if (n->depth > JINJA_DEPTH_MAX / 2)
        jp_fail(p, "the template is nested deeper than %u (the limit)", JINJA_DEPTH_MAX / 2);
}

void jp_kid(jparser *p, jnode *n, jnode *kid, jstr name, uint32_t op) {
    if (n->kid_count == n->kid_room) {
        size_t room = n->kid_room ? n->kid_room * 2 : 4;
        jnode **kids = jinja_alloc(p->heap, room, sizeof *kids);
        jstr *names = jinja_alloc(p->heap, room, sizeof *names);
        uint32_t *ops = jinja_alloc(p->heap, room, sizeof *ops);
        if (n->kid_count) {
            memcpy(kids, n->kids, n->kid_count * sizeof *kids);
            memcpy(names, n->names, n->kid_count * sizeof *names);
            memcpy(ops, n->ops, n->kid_count * sizeof *ops);
        }
        n->kids = kids;
        n->names = names;
        n->ops = ops;
        n->kid_room = room;
    }
    n->kids[n->kid_count] = kid;
    n->names[n->kid_count] = name;
    n->ops[n->kid_count++] = op;
    jp_deepen(p, n, kid);
}

bool jp_is(const jparser *p, jtoken_kind kind, const char *text) {
    return p->at->kind == kind && p->at->text.len == strlen(text) &&
           memcmp(p->at->text.at, text, p->at->text.len) == 0;
}

bool jp_skip(jparser *p, jtoken_kind kind, const char *text) {
    if (!jp_is(p, kind, text)) return false;
    p->at++;
    return true;
}

void jp_expect(jparser *p, jtoken_kind kind, const char *text) {
    if (jp_skip(p, kind, text)) return;
    if (p->at->kind == JT_END) jp_fail(p, "the template ends where '%s' is wanted", text);
    jp_fail(p, "want '%s', got '%.*s'", text, (int)MIN(p->at->text.len, 40u), p->at->text.at);
}

jstr jp_name(jparser *p, const char *what) {
    if (p->at->kind != JT_NAME)
        jp_fail(p, "want %s, got '%.*s'", what, (int)MIN(p->at->text.len, 40u), p->at->text.at);
    return p->at++->text;
}

void jp_enter(jparser *p) {
    if (++p->nest > JINJA_NEST_MAX)
        jp_fail(p, "the template is nested deeper than %u (the limit)", JINJA_NEST_MAX);
}

void jp_leave(jparser *p) {
    p->nest--;
}

static void end_block(jparser *p) {
    if (p->at->kind != JT_BLOCK_END)
        jp_fail(p, "'%.*s' is not understood here", (int)MIN(p->at->text.len, 40u), p->at->text.at);
    p->at++;
}

/* The body of a tag that is closed by `end`, which is taken. */
static jnode *body_to(jparser *p, const char *end) {
    const char *const ends[] = {end, NULL};
    end_block(p);
    jnode *body = jp_body(p, ends);
    p->at++;
    return body;
}

static jnode *if_(jparser *p) {
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    jnode *n = jp_node(p, JN_IF);
    p->branches++;
    do {
        jp_kid(p, n, jp_tuple(p, true), (jstr){0}, 0);
        end_block(p);
        jp_kid(p, n, jp_body(p, ends), (jstr){0}, 0);
    } while (jp_skip(p, JT_NAME, "elif"));
    if (jp_skip(p, JT_NAME, "else")) {
        n->c = body_to(p, "endif");
        jp_deepen(p, n, n->c);
    } else {
        p->at++;
    }
    p->branches--;
    return n;
}

static jnode *for_(jparser *p) {
    static const char *const ends[] = {"else", "endfor", NULL};
    jnode *n = jp_node(p, JN_FOR);
    n->a = jp_target(p, false);
    jp_expect(p, JT_NAME, "in");
    n->b = jp_tuple(p, false);
    if (jp_skip(p, JT_NAME, "if")) n->c = jp_expression(p);
    if (jp_is(p, JT_NAME, "recursive")) jp_fail(p, "recursive loops are not supported");
    end_block(p);
    j_put(p->heap, p->binds, j_text("loop"), j_none());
    p->loops++;
    jp_kid(p, n, jp_body(p, ends), (jstr){0}, 0);
    p->loops--;
    bool other = jp_skip(p, JT_NAME, "else");
    jp_kid(p, n, other ? body_to(p, "endfor") : NULL, (jstr){0}, 0);
    if (!other) p->at++;
    jp_deepen(p, n, n->b);
    jp_deepen(p, n, n->c);
    return n;
}

static jnode *set_(jparser *p) {
    jnode *n = jp_node(p, JN_SET);
    n->a = jp_target(p, true);
    if (jp_skip(p, JT_OP, "=")) {
        n->b = jp_tuple(p, true);
    } else {
        n->kind = JN_SET_BLOCK;
        if (jp_is(p, JT_OP, "|")) n->c = jp_filters(p, jp_node(p, JN_CAUGHT), true);
        n->b = body_to(p, "endset");
    }
    jp_deepen(p, n, n->b);
    jp_deepen(p, n, n->c);
    return n;
}

static jnode *filter_block(jparser *p) {
    jnode *n = jp_node(p, JN_FILTERED);
    n->c = jp_filters(p, jp_node(p, JN_CAUGHT), false);
    n->b = body_to(p, "endfilter");
    jp_deepen(p, n, n->b);
    jp_deepen(p, n, n->c);
    return n;
}

static jnode *macro(jparser *p) {
    jnode *n = jp_node(p, JN_MACRO);
    n->text = jp_name(p, "a macro's name");
    j_put(p->heap, p->binds, j_str(n->text), j_none());
    jp_expect(p, JT_OP, "(");
    while (!jp_skip(p, JT_OP, ")")) {
        if (n->kid_count) jp_expect(p, JT_OP, ",");
        jstr param = jp_name(p, "a parameter");
        j_put(p->heap, p->binds, j_str(param), j_none());
        jnode *other = jp_skip(p, JT_OP, "=") ? jp_expression(p) : NULL;
        if (!other && n->kid_count && n->kids[n->kid_count - 1])
            jp_fail(p, "a parameter without a default follows one with");
        jp_kid(p, n, other, param, 0);
    }
    uint32_t loops = p->loops;
    p->loops = 0;
    n->b = body_to(p, "endmacro");
    p->loops = loops;
    jp_deepen(p, n, n->b);
    return n;
}

static jnode *statement(jparser *p) {
    if (jp_skip(p, JT_NAME, "if")) return if_(p);
    if (jp_skip(p, JT_NAME, "for")) return for_(p);
    if (jp_skip(p, JT_NAME, "set")) return set_(p);
    if (jp_skip(p, JT_NAME, "macro")) return macro(p);
    if (jp_skip(p, JT_NAME, "filter")) return filter_block(p);
    if (jp_skip(p, JT_NAME, "generation")) return body_to(p, "endgeneration");
    bool leave = jp_is(p, JT_NAME, "break");
    if (leave || jp_is(p, JT_NAME, "continue")) {
        if (p->loops == 0) jp_fail(p, "%s outside a loop", leave ? "break" : "continue");
        p->at++;
        return jp_node(p, leave ? JN_BREAK : JN_CONTINUE);
    }
    jp_fail(p, "the tag '%.*s' is not supported", (int)MIN(p->at->text.len, 60u), p->at->text.at);
}

static bool at_end(const jparser *p, const char *const *ends) {
    if (!ends || p->at->kind != JT_BLOCK) return false;
    for (; *ends; ends++)
        if (p->at[1].kind == JT_NAME && j_is(j_str(p->at[1].text), *ends)) return true;
    return false;
}

jnode *jp_body(jparser *p, const char *const *ends) {
    jp_enter(p);
    jnode *body = jp_node(p, JN_BODY);
    while (!at_end(p, ends)) {
        jnode *n = NULL;
        if (p->at->kind == JT_END) {
            if (!ends) break;
            jp_fail(p, "the template ends before {%% %s %%} of line %u", ends[0], body->line);
        }
        if (p->at->kind == JT_DATA) {
            n = jp_node(p, JN_TEXT);
            n->text = p->at++->text;
        } else if (p->at->kind == JT_PRINT) {
            p->at++;
            n = jp_node(p, JN_PRINT);
            n->a = jp_tuple(p, true);
            jp_deepen(p, n, n->a);
            jp_expect(p, JT_PRINT_END, "}}");
        } else {
            p->at++; /* {% */
            n = statement(p);
            end_block(p);
        }
        jp_kid(p, body, n, (jstr){0}, 0);
    }
    if (ends) p->at++;
    jp_leave(p);
    return body;
}
