#include "text/jinja.h"

#include "text/jinja_eval.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

#define TREE_MAX ((size_t)128 << 20) /* bytes of a template's tokens and tree */

struct jinja {
    jinja_heap heap; /* tokens and tree */
    jnode *body;
    jdict reads, binds, strings;
    bool loops_over_content, asks_for_strings;
};

/* --- what a template does with content --- */

typedef struct survey {
    jinja_heap *heap;
    jdict contents; /* names that were set from an attribute `content` */
    bool loops, asks;
} survey;

/* x.content, x['content'], a name set from one, or a filter, test or slice of these. */
static bool is_content(survey *v, const jnode *n) {
    for (; n; n = n->a) {
        if (n->kind == JN_ATTR) return j_is(j_str(n->text), "content");
        if (n->kind == JN_NAME) return j_get(v->heap, &v->contents, j_str(n->text)) != NULL;
        if (n->kind == JN_ITEM && n->b->kind != JN_SLICE)
            return n->b->kind == JN_CONST && j_is(n->b->value, "content");
        if (n->kind != JN_FILTER && n->kind != JN_ITEM) return false;
    }
    return false;
}

static void look(survey *v, const jnode *n) {
    if (!n) return;
    if (n->kind == JN_SET && n->a->kind == JN_NAME && is_content(v, n->b))
        j_put(v->heap, &v->contents, j_str(n->a->text), j_none());
    if (n->kind == JN_MACRO) {
        for (size_t i = 0; i < n->kid_count; i++)
            if (j_is(j_str(n->names[i]), "content"))
                j_put(v->heap, &v->contents, j_str(n->names[i]), j_none());
    }
    if (n->kind == JN_FOR && is_content(v, n->b)) v->loops = true;
    if (n->kind == JN_TEST && n->builtin && strcmp(n->builtin->name, "string") == 0) v->asks = true;
    look(v, n->a);
    look(v, n->b);
    look(v, n->c);
    for (size_t i = 0; i < n->kid_count; i++) look(v, n->kids[i]);
}

/* --- loading --- */

static void check_calls(const jparser *p) {
    for (size_t i = 0; i < p->call_count; i++) {
        const jnode *n = p->calls[i];
        if (n->builtin || j_get(p->heap, p->binds, j_str(n->a->text))) continue;
        p->heap->line = n->line;
        jinja_fail(p->heap, ST_UNSUPPORTED, "the function '%.*s' is not supported",
                   (int)MIN(n->a->text.len, 60u), n->a->text.at);
    }
}

status jinja_new(jinja **out, const char *text, size_t len, errbuf *eb) {
    PRE(out);
    PRE(text || len == 0);
    if (len > JINJA_TEXT_MAX)
        return errf(eb, ST_UNSUPPORTED, "the template has %zu bytes, want at most %zu (the limit)", len,
                    JINJA_TEXT_MAX);
    /* characters are counted and cut in several ways, which agree on UTF-8 only */
    size_t bad = utf8_invalid_at(text, len);
    if (bad != len) return errf(eb, ST_INVALID, "byte %zu of the template is not UTF-8", bad);
    jinja *t = xcalloc(1, sizeof *t);
    jinja_heap_init(&t->heap, TREE_MAX);
    if (setjmp(t->heap.fault)) {
        status st = errf(eb, t->heap.st, "%s", t->heap.err.text);
        jinja_free(t);
        return st;
    }
    jparser p = {.heap = &t->heap, .reads = &t->reads, .binds = &t->binds, .strings = &t->strings};
    p.at = jinja_lex(&t->heap, text, len);
    t->body = jp_body(&p, NULL);
    check_calls(&p);
    survey v = {.heap = &t->heap};
    look(&v, t->body);
    t->loops_over_content = v.loops;
    t->asks_for_strings = v.asks;
    *out = t;
    return ST_OK;
}

void jinja_free(jinja *t) {
    if (!t) return;
    jinja_heap_done(&t->heap);
    free(t);
}

/* Asked of a template that other threads render: touches no heap. */
static bool has(const jdict *d, const char *text) {
    for (size_t i = 0; i < d->count; i++)
        if (j_is(d->keys[i], text)) return true;
    return false;
}

bool jinja_reads(const jinja *t, const char *name) {
    PRE(t);
    return has(&t->reads, name);
}

bool jinja_mentions(const jinja *t, const char *text) {
    PRE(t);
    return has(&t->strings, text);
}

bool jinja_loops_over_content(const jinja *t) {
    PRE(t);
    return t->loops_over_content;
}

bool jinja_asks_for_strings(const jinja *t) {
    PRE(t);
    return t->asks_for_strings;
}

/* --- rendering --- */

static void unmark_roles(jinja_heap *h, jvalue messages) {
    if (messages.kind != J_LIST) return;
    for (size_t i = 0; i < messages.list->count; i++) {
        jvalue m = messages.list->items[i];
        jvalue *role = m.kind == J_DICT ? (jvalue *)j_get(h, m.dict, j_text("role")) : NULL;
        if (role && role->kind == J_STRING) role->s.mark = NULL;
    }
}

static uint32_t list_marks(jstr s, text_span *marks) {
    uint32_t count = 0;
    for (size_t i = 0; s.mark && i < s.len; i++) {
        if (!s.mark[i]) continue;
        size_t begin = i;
        while (i < s.len && s.mark[i]) i++;
        if (marks) marks[count] = (text_span){begin, i};
        count++;
    }
    return count;
}

static void render(jinja_heap *h, const jinja *t, const jinja_variable *vars, size_t count,
                   const struct tm *now, jbuilder *out) {
    jscope *scope = jinja_alloc(h, 1, sizeof *scope);
    scope->vars = jinja_alloc(h, 1, sizeof *scope->vars);
    for (size_t i = 0; i < count; i++) {
        jvalue v = j_from_json(h, vars[i].value, vars[i].marked, 0);
        if (strcmp(vars[i].name, "messages") == 0) unmark_roles(h, v);
        j_put(h, scope->vars, j_text(vars[i].name), v);
    }
    jrun r = {.heap = h, .now = now, .out = out};
    jinja_run(&r, scope, t->body);
}

status jinja_render(const jinja *t, const jinja_variable *vars, size_t count, const struct tm *now, buf *out,
                    text_span **marks, uint32_t *mark_count, errbuf *eb) {
    PRE(t);
    PRE(vars || count == 0);
    PRE(now);
    PRE(out);
    PRE(marks);
    PRE(mark_count);
    jinja_heap *heap = xcalloc(1, sizeof *heap);
    jinja_heap_init(heap, JINJA_BYTES_MAX);
    if (setjmp(heap->fault)) {
        status st = errf(eb, heap->st, "%s", heap->err.text);
        jinja_heap_done(heap);
        free(heap);
        return st;
    }
    jbuilder text = {.heap = heap};
    render(heap, t, vars, count, now, &text);
    jstr s = jb_str(&text);
    size_t base = out->len;
    buf_add(out, s.at, s.len);
    *mark_count = list_marks(s, NULL);
    *marks = xcalloc(*mark_count + 1u, sizeof **marks);
    (void)list_marks(s, *marks);
    for (uint32_t i = 0; i < *mark_count; i++) {
        (*marks)[i].begin += base;
        (*marks)[i].end += base;
    }
    jinja_heap_done(heap);
    free(heap);
    return ST_OK;
}
