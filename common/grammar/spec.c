#include "grammar/spec.h"

#include "base/mem.h"
#include "grammar/pattern.h"
#include "grammar/schema.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX  16u
#define REPEAT_MAX 256

typedef struct specs {
    graph *g;
    uint32_t depth;
    errbuf *eb;
} specs;

static status build(specs *s, const json_t *spec, uint32_t next, uint32_t *out);

static status wrong(specs *s, const char *name, const char *want) {
    return errf(s->eb, ST_INVALID, "%s: want %s", name, want);
}

static status json_object_spec(specs *s, const json_t *v, uint32_t next, uint32_t *out) {
    if (!json_is_true(v)) return wrong(s, "json_object", "true");
    *out = graph_call(s->g, RULE_OBJECT, next);
    return ST_OK;
}

static status json_schema_spec(specs *s, const json_t *v, uint32_t next, uint32_t *out) {
    return schema_node(s->g, v, next, out, s->eb);
}

static status regex_spec(specs *s, const json_t *v, uint32_t next, uint32_t *out) {
    if (!json_is_string(v)) return wrong(s, "regex", "a string");
    status st =
        pattern_node(s->g, json_string_value(v), json_string_length(v), false, WRITE_PLAIN, next, out, s->eb);
    return st == ST_OK ? ST_OK : err_prefix(s->eb, st, "regex");
}

static status choice_spec(specs *s, const json_t *v, uint32_t next, uint32_t *out) {
    size_t count = json_array_size(v);
    if (count == 0) return wrong(s, "choice", "a list of strings");
    graph_text *texts = xcalloc(count, sizeof *texts);
    bool all = true;
    for (size_t i = 0; i < count; i++) {
        const json_t *text = json_array_get(v, i);
        all = all && json_is_string(text) && json_string_length(text) > 0;
        if (all) texts[i] = (graph_text){json_string_value(text), json_string_length(text)};
    }
    if (all) *out = graph_texts(s->g, texts, count, next);
    free(texts);
    return all ? ST_OK : wrong(s, "choice", "a list of strings, none of them empty");
}

static status literal_spec(specs *s, const json_t *v, uint32_t next, uint32_t *out) {
    if (!json_is_string(v)) return wrong(s, "literal", "a string");
    *out = graph_literal(s->g, json_string_value(v), json_string_length(v), next);
    return ST_OK;
}

static status sequence_spec(specs *s, const json_t *v, uint32_t next, uint32_t *out) {
    if (json_array_size(v) == 0) return wrong(s, "sequence", "a list of specs");
    status st = ST_OK;
    for (size_t i = json_array_size(v); i-- > 0 && st == ST_OK;)
        st = build(s, json_array_get(v, i), next, &next);
    *out = next;
    return st;
}

static status any_of_spec(specs *s, const json_t *v, uint32_t next, uint32_t *out) {
    if (json_array_size(v) == 0) return wrong(s, "any_of", "a list of specs");
    status st = ST_OK;
    uint32_t all = NODE_NONE;
    for (size_t i = json_array_size(v); i-- > 0 && st == ST_OK;) {
        uint32_t one = NODE_NONE;
        st = build(s, json_array_get(v, i), next, &one);
        all = graph_either(s->g, one, all);
    }
    *out = all;
    return st;
}

static const struct {
    const char *name;
    status (*build)(specs *, const json_t *, uint32_t, uint32_t *);
} kinds[] = {{"json_object", json_object_spec},
             {"json_schema", json_schema_spec},
             {"regex", regex_spec},
             {"choice", choice_spec},
             {"literal", literal_spec},
             {"sequence", sequence_spec},
             {"any_of", any_of_spec}};

static status repeat_spec(specs *s, const json_t *spec, uint32_t next, uint32_t *out) {
    const json_t *least = json_object_get(spec, "least"), *most = json_object_get(spec, "most");
    json_int_t from = json_is_integer(least) ? json_integer_value(least) : -1;
    json_int_t to = json_is_integer(most) ? json_integer_value(most) : -1;
    if (json_object_size(spec) != 3 || from < 0 || to < from || to > REPEAT_MAX)
        return wrong(s, "repeat", "least and most beside it, whole numbers up to 256");
    const json_t *what = json_object_get(spec, "repeat");
    uint32_t begin = next;
    status st = ST_OK;
    for (json_int_t i = 0; i < to && st == ST_OK; i++) {
        st = build(s, what, begin, &begin);
        if (i < to - from) begin = graph_either(s->g, begin, next);
    }
    *out = begin;
    return st;
}

static status build(specs *s, const json_t *spec, uint32_t next, uint32_t *out) {
    if (++s->depth > DEPTH_MAX)
        return errf(s->eb, ST_UNSUPPORTED, "a grammar of more than %u levels", DEPTH_MAX);
    status st = ST_INVALID;
    if (json_object_get(spec, "repeat")) {
        st = repeat_spec(s, spec, next, out);
    } else {
        bool known = false;
        for (size_t i = 0; i < ARRAY_LEN(kinds) && json_object_size(spec) == 1 && !known; i++) {
            const json_t *v = json_object_get(spec, kinds[i].name);
            known = v != NULL;
            if (known) st = kinds[i].build(s, v, next, out);
        }
        if (!known) st = wrong(s, "a grammar", "an object with one member: json_schema, regex, choice, ...");
    }
    s->depth--;
    return st;
}

status spec_graph(graph *out, uint32_t *begin, const char *text, size_t len, errbuf *eb) {
    PRE(out);
    PRE(begin);
    PRE(text);
    if (len > GRAMMAR_SPEC_MAX)
        return errf(eb, ST_INVALID, "a grammar of %zu bytes, want at most %u", len, GRAMMAR_SPEC_MAX);
    json_error_t je;
    json_t *spec = json_loadb(text, len, JSON_ALLOW_NUL, &je);
    if (!spec) return errf(eb, ST_INVALID, "a grammar that is no JSON: %.120s", je.text);
    graph g = {0};
    json_rules(&g);
    specs s = {.g = &g, .eb = eb};
    uint32_t rule = graph_rule(&g), first = NODE_NONE;
    status st = build(&s, spec, graph_return(&g), &first);
    graph_rule_begin(&g, rule, first);
    bool finite = st == ST_OK && graph_prune(&g, rule);
    if (st == ST_OK && g.full)
        st = errf(eb, ST_UNSUPPORTED, "a grammar of more than %u nodes or %u sets of bytes: make it simpler",
                  GRAPH_NODES_MAX, GRAPH_SETS_MAX);
    else if (st == ST_OK && !finite)
        st = errf(eb, ST_INVALID, "no answer of finite length obeys the grammar");
    json_decref(spec);
    if (st != ST_OK) {
        graph_done(&g);
        return st;
    }
    *out = g;
    *begin = first;
    return ST_OK;
}
