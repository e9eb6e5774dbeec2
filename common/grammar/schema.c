#include "grammar/schema.h"

#include "base/mem.h"
#include "base/u64_map.h"
#include "grammar/number.h"
#include "grammar/pattern.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX  128u
#define REPEAT_MAX (1u << 16)

typedef struct compiler {
    graph *g;
    const json_t *root;
    u64_map rules; /* a schema's json_t * -> its rule + 1 */
    uint32_t depth;
    status st;
    errbuf *eb;
} compiler;

static uint32_t fail(compiler *c, status st, const char *what, const char *name) {
    if (c->st == ST_OK) c->st = errf(c->eb, st, "%s '%.80s'", what, name);
    return NODE_NONE;
}

static uint32_t schema_call(compiler *c, const json_t *schema, uint32_t next);

/* --- words --- */

/* What says nothing about a value. */
static const char *const notes[] = {"title",         "description", "default", "examples",    "example",
                                    "$schema",       "$id",         "$anchor", "$comment",    "deprecated",
                                    "readOnly",      "writeOnly",   "$defs",   "definitions", "format",
                                    "discriminator", "strict"};
/* What this compiler understands. */
static const char *const words[] = {"type",      "properties",
                                    "required",  "additionalProperties",
                                    "items",     "prefixItems",
                                    "minItems",  "maxItems",
                                    "enum",      "const",
                                    "anyOf",     "oneOf",
                                    "allOf",     "$ref",
                                    "minLength", "maxLength",
                                    "pattern",   "minimum",
                                    "maximum",   "exclusiveMinimum",
                                    "nullable",  "exclusiveMaximum"};

static bool listed(const char *const *list, size_t count, const char *word) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i], word) == 0) return true;
    return false;
}

static bool check_words(compiler *c, const json_t *schema) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)schema, key, value) {
        bool note = listed(notes, ARRAY_LEN(notes), key) || strncmp(key, "x-", 2) == 0;
        if (note || listed(words, ARRAY_LEN(words), key)) continue;
        fail(c, ST_UNSUPPORTED, "JSON schema: this server does not support the word", key);
    }
    return c->st == ST_OK;
}

/* A word that decides alone: beside it only notes may stand. */
static bool stands_alone(compiler *c, const json_t *schema, const char *word, const char *beside) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)schema, key, value) {
        bool fine = strcmp(key, word) == 0 || strcmp(key, beside) == 0 || strcmp(key, "nullable") == 0 ||
                    listed(notes, ARRAY_LEN(notes), key) || strncmp(key, "x-", 2) == 0;
        if (!fine && c->st == ST_OK)
            c->st =
                errf(c->eb, ST_UNSUPPORTED, "JSON schema: '%.60s' beside '%s' is not supported", key, word);
    }
    return c->st == ST_OK;
}

/* A count of that name; false: there is none. */
static bool count_of(compiler *c, const json_t *schema, const char *name, uint32_t *out) {
    const json_t *v = json_object_get(schema, name);
    if (!v) return false;
    bool real = json_is_real(v) && json_real_value(v) >= 0 && json_real_value(v) <= REPEAT_MAX;
    json_int_t n = real ? (json_int_t)json_real_value(v) : json_is_integer(v) ? json_integer_value(v) : -1;
    if (n < 0 || n > REPEAT_MAX || (real && (double)n != json_real_value(v))) {
        if (c->st == ST_OK)
            c->st = errf(c->eb, ST_INVALID, "JSON schema: %s: want a whole number from 0 to %u", name,
                         REPEAT_MAX);
        return false;
    }
    *out = (uint32_t)n;
    return true;
}

/* `least` to `most` times what `each` makes; most UINT32_MAX: without end. */
typedef uint32_t each_fn(compiler *c, const void *arg, uint32_t next);

static uint32_t times(compiler *c, each_fn *each, const void *arg, uint32_t least, uint32_t most,
                      uint32_t next) {
    uint32_t begin = next;
    if (most == UINT32_MAX) {
        begin = graph_loop(c->g, next);
        graph_loop_body(c->g, begin, each(c, arg, begin));
    }
    for (uint32_t i = least; most != UINT32_MAX && i < most && !c->g->full; i++)
        begin = graph_either(c->g, each(c, arg, begin), next);
    for (uint32_t i = 0; i < least && !c->g->full; i++) begin = each(c, arg, begin);
    return begin;
}

/* --- values that are given --- */

static uint32_t given_values(compiler *c, const json_t *list, uint32_t next) {
    size_t count = json_array_size(list);
    if (!json_is_array(list) || count == 0)
        return fail(c, ST_INVALID, "JSON schema: want a list with values:", "enum");
    graph_text *texts = xcalloc(count, sizeof *texts);
    for (size_t i = 0; i < count; i++) {
        char *text = json_dumps(json_array_get(list, i), JSON_COMPACT | JSON_ENCODE_ANY);
        CHECK(text);
        texts[i] = (graph_text){text, strlen(text)};
    }
    uint32_t begin = graph_texts(c->g, texts, count, next);
    for (size_t i = 0; i < count; i++) free((char *)texts[i].data);
    free(texts);
    return begin;
}

static uint32_t given_value(compiler *c, const json_t *value, uint32_t next) {
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    CHECK(text);
    uint32_t begin = graph_literal(c->g, text, strlen(text), next);
    free(text);
    return begin;
}

/* --- strings --- */

static const struct {
    const char *name, *pattern;
} formats[] = {
    {"date", "^\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])$"},
    {"time", "^([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)?$"},
    {"date-time",
     "^\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])T([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?"
     "(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)$"},
    {"uuid", "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"},
    {"ipv4", "^((25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)\\.){3}(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)$"},
    {"email", "^[A-Za-z0-9_%+-]+(\\.[A-Za-z0-9_%+-]+)*@[A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)*\\.[A-Za-z]{2,}$"},
};

static const char *format_pattern(const json_t *schema) {
    const char *name = json_string_value(json_object_get(schema, "format"));
    for (size_t i = 0; name && i < ARRAY_LEN(formats); i++)
        if (strcmp(formats[i].name, name) == 0) return formats[i].pattern;
    return NULL;
}

static uint32_t each_char(compiler *c, const void *arg, uint32_t next) {
    (void)arg;
    return graph_call(c->g, RULE_CHAR, next);
}

static uint32_t string_value(compiler *c, const json_t *schema, uint32_t next) {
    uint32_t least = 0, most = UINT32_MAX, begin = NODE_NONE;
    bool has_least = count_of(c, schema, "minLength", &least);
    bool has_most = count_of(c, schema, "maxLength", &most);
    if (least > most) return fail(c, ST_INVALID, "JSON schema: above maxLength:", "minLength");
    const json_t *pattern = json_object_get(schema, "pattern");
    const char *text = pattern ? json_string_value(pattern) : format_pattern(schema);
    if (pattern && !text) return fail(c, ST_INVALID, "JSON schema: want a string:", "pattern");
    if (!text && !has_least && !has_most) return graph_call(c->g, RULE_STRING, next);
    uint32_t end = graph_range(c->g, '"', '"', next);
    if (text) {
        if (has_least || has_most)
            return fail(c, ST_UNSUPPORTED, "JSON schema: minLength and maxLength are not supported beside",
                        pattern ? "pattern" : "format");
        size_t len = pattern ? json_string_length(pattern) : strlen(text);
        status st = pattern_node(c->g, text, len, true, WRITE_JSON, end, &begin, c->eb);
        if (st != ST_OK && c->st == ST_OK) c->st = err_prefix(c->eb, st, "JSON schema: pattern");
    } else {
        begin = times(c, each_char, NULL, least, most, end);
    }
    return graph_range(c->g, '"', '"', begin);
}

/* --- numbers --- */

static uint32_t integer_value(compiler *c, const json_t *schema, uint32_t next) {
    number_limits limits;
    status st = number_limits_of(&limits, schema, c->eb);
    if (st != ST_OK) {
        if (c->st == ST_OK) c->st = st;
        return NODE_NONE;
    }
    return number_integer(c->g, &limits, next);
}

static uint32_t number_value(compiler *c, const json_t *schema, uint32_t next) {
    number_limits limits;
    status st = number_limits_of(&limits, schema, c->eb);
    if (st == ST_OK && (limits.has_least || limits.has_most))
        st = errf(c->eb, ST_UNSUPPORTED,
                  "JSON schema: limits of a 'number' are not supported; those of an 'integer' are");
    if (st != ST_OK && c->st == ST_OK) c->st = st;
    return graph_call(c->g, RULE_NUMBER, next);
}

/* --- lists --- */

static uint32_t after_comma(compiler *c, const void *item, uint32_t next) {
    uint32_t value = graph_call(c->g, RULE_SPACE, schema_call(c, item, next));
    return graph_call(c->g, RULE_SPACE, graph_range(c->g, ',', ',', value));
}

static uint32_t array_value(compiler *c, const json_t *schema, uint32_t next) {
    const json_t *first = json_object_get(schema, "prefixItems"), *items = json_object_get(schema, "items");
    uint32_t least = 0, most = UINT32_MAX, fixed = (uint32_t)MIN(json_array_size(first), REPEAT_MAX);
    (void)count_of(c, schema, "minItems", &least);
    (void)count_of(c, schema, "maxItems", &most);
    if (json_is_false(items) || (first && !items)) { /* as with properties: nothing that is not told */
        most = MIN(most, fixed);
        items = json_false();
    }
    if (least > most) return fail(c, ST_INVALID, "JSON schema: more items than may be:", "minItems");
    if (!first && !items && least == 0 && most == UINT32_MAX) return graph_call(c->g, RULE_ARRAY, next);
    if (!items) items = json_true();

    uint32_t close = graph_range(c->g, ']', ']', next), end = graph_call(c->g, RULE_SPACE, close);
    /* rest: what may follow item number `fixed`, or the first one when none is fixed. */
    uint32_t more_least = least > fixed ? least - fixed : 0;
    uint32_t more_most = most == UINT32_MAX ? most : most > fixed ? most - fixed : 0;
    uint32_t begin;
    if (fixed == 0) {
        uint32_t rest = more_most == 0 ? NODE_NONE
                                       : times(c, after_comma, items, more_least ? more_least - 1 : 0,
                                               more_most == UINT32_MAX ? more_most : more_most - 1, end);
        begin = more_most == 0 ? close : schema_call(c, items, rest);
        if (more_least == 0) begin = graph_either(c->g, begin, close);
    } else {
        begin = times(c, after_comma, items, more_least, more_most, end);
        for (uint32_t i = fixed; i-- > 0;) {
            const json_t *item = json_array_get(first, i);
            if (i + 1 >= most) begin = i + 1 == most ? end : NODE_NONE;
            if (i + 1 >= least && i + 1 < most) begin = graph_either(c->g, begin, end);
            begin = i > 0 ? after_comma(c, item, begin) : schema_call(c, item, begin);
        }
        if (least == 0) begin = graph_either(c->g, begin, close);
    }
    return graph_range(c->g, '[', '[', graph_call(c->g, RULE_SPACE, begin));
}

/* --- objects --- */

static bool is_required(const json_t *required, const char *name) {
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)required, i, v) {
        if (json_is_string(v) && strcmp(json_string_value(v), name) == 0) return true;
    }
    return false;
}

/* "name" : value */
static uint32_t member(compiler *c, const char *name, const json_t *schema, uint32_t next) {
    json_t *key = json_string(name);
    CHECK(key);
    uint32_t value = graph_call(c->g, RULE_SPACE, schema_call(c, schema, next));
    uint32_t begin = given_value(c, key, graph_call(c->g, RULE_SPACE, graph_range(c->g, ':', ':', value)));
    json_decref(key);
    return begin;
}

static uint32_t comma(compiler *c, uint32_t next) {
    uint32_t after = graph_range(c->g, ',', ',', graph_call(c->g, RULE_SPACE, next));
    return graph_call(c->g, RULE_SPACE, after);
}

/* A member of any name. */
static uint32_t any_member(compiler *c, const json_t *schema, uint32_t next) {
    uint32_t value = graph_call(c->g, RULE_SPACE, schema_call(c, schema, next));
    return graph_call(c->g, RULE_STRING, graph_call(c->g, RULE_SPACE, graph_range(c->g, ':', ':', value)));
}

static uint32_t map_value(compiler *c, const json_t *additional, uint32_t next) {
    uint32_t close = graph_range(c->g, '}', '}', next);
    uint32_t loop = graph_loop(c->g, graph_call(c->g, RULE_SPACE, close));
    graph_loop_body(c->g, loop, comma(c, any_member(c, additional, loop)));
    uint32_t begin = graph_either(c->g, any_member(c, additional, loop), close);
    return graph_range(c->g, '{', '{', graph_call(c->g, RULE_SPACE, begin));
}

static uint32_t object_value(compiler *c, const json_t *schema, uint32_t next) {
    const json_t *properties = json_object_get(schema, "properties");
    const json_t *required = json_object_get(schema, "required");
    const json_t *additional = json_object_get(schema, "additionalProperties");
    if ((properties && !json_is_object(properties)) || (required && !json_is_array(required)))
        return fail(c, ST_INVALID, "JSON schema: want an object and a list:", "properties, required");
    size_t count = json_object_size(properties), i;
    json_t *name;
    json_array_foreach((json_t *)required, i, name) {
        if (!json_is_string(name)) return fail(c, ST_INVALID, "JSON schema: want names:", "required");
        if (!json_object_get(properties, json_string_value(name)))
            return fail(c, ST_UNSUPPORTED,
                        "JSON schema: required, but not among the properties:", json_string_value(name));
    }
    bool others = additional && !json_is_false(additional);
    if (count == 0 && (!additional || others))
        return additional ? map_value(c, additional, next) : graph_call(c->g, RULE_OBJECT, next);
    if (others)
        return fail(c, ST_UNSUPPORTED, "JSON schema: beside properties, only false is supported for",
                    "additionalProperties");

    /* From the last property to the first: `first` is what follows when no member was written before, `later`
     * when one was. */
    const char **names = xcalloc(count + 1, sizeof *names);
    const char *key;
    json_t *value;
    i = 0;
    json_object_foreach((json_t *)properties, key, value) names[i++] = key;
    uint32_t close = graph_range(c->g, '}', '}', next);
    uint32_t first = close, later = graph_call(c->g, RULE_SPACE, close);
    while (i-- > 0) {
        const json_t *of = json_object_get(properties, names[i]);
        uint32_t it = member(c, names[i], of, later);
        bool must = is_required(required, names[i]);
        first = must ? it : graph_either(c->g, it, first);
        uint32_t after = comma(c, it);
        later = must ? after : graph_either(c->g, after, later);
    }
    free(names);
    return graph_range(c->g, '{', '{', graph_call(c->g, RULE_SPACE, first));
}

/* --- schemas --- */

static uint32_t typed_value(compiler *c, const json_t *schema, const char *type, uint32_t next) {
    static const struct {
        const char *name;
        uint32_t (*value)(compiler *, const json_t *, uint32_t);
    } types[] = {{"string", string_value},
                 {"integer", integer_value},
                 {"number", number_value},
                 {"array", array_value},
                 {"object", object_value}};
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (strcmp(types[i].name, type) == 0) return types[i].value(c, schema, next);
    if (strcmp(type, "null") == 0) return graph_literal(c->g, "null", 4, next);
    if (strcmp(type, "boolean") == 0)
        return graph_either(c->g, graph_literal(c->g, "true", 4, next),
                            graph_literal(c->g, "false", 5, next));
    return fail(c, ST_INVALID, "JSON schema: there is no type", type);
}

/* The schema that "#", "#/$defs/Name", ... names. */
static const json_t *find_ref(compiler *c, const char *ref) {
    if (ref[0] != '#' || (ref[1] && ref[1] != '/')) {
        fail(c, ST_UNSUPPORTED, "JSON schema: only references into the schema itself are supported, not",
             ref);
        return NULL;
    }
    const json_t *at = c->root;
    char *path = xstrdup(ref + 1), *rest = path;
    for (char *part = rest; at && *rest; part = rest) {
        part++;
        rest = part + strcspn(part, "/");
        bool last = !*rest;
        *rest = '\0';
        char *to = part;
        for (const char *from = part; *from; from++) {
            bool slash = from[0] == '~' && from[1] == '1', tilde = from[0] == '~' && from[1] == '0';
            *to++ = slash ? '/' : *from;
            from += slash || tilde;
        }
        *to = '\0';
        at = json_is_array(at) ? json_array_get(at, strtoul(part, NULL, 10)) : json_object_get(at, part);
        if (last) break;
        *rest = '/';
    }
    free(path);
    if (!at) fail(c, ST_INVALID, "JSON schema: there is nothing at", ref);
    return at;
}

static uint32_t any_of(compiler *c, const json_t *list, uint32_t next) {
    if (json_array_size(list) == 0)
        return fail(c, ST_INVALID, "JSON schema: want a list of schemas:", "anyOf, oneOf");
    uint32_t begin = NODE_NONE;
    for (size_t i = json_array_size(list); i-- > 0;)
        begin = graph_either(c->g, schema_call(c, json_array_get(list, i), next), begin);
    return begin;
}

static uint32_t by_type(compiler *c, const json_t *schema, uint32_t next) {
    const json_t *type = json_object_get(schema, "type");
    if (json_is_string(type)) return typed_value(c, schema, json_string_value(type), next);
    if (type && !json_is_array(type))
        return fail(c, ST_INVALID, "JSON schema: want a name or a list of names:", "type");
    uint32_t begin = NODE_NONE;
    for (size_t i = json_array_size(type); i-- > 0;) {
        const json_t *one = json_array_get(type, i);
        if (!json_is_string(one))
            return fail(c, ST_INVALID, "JSON schema: want a name or a list of names:", "type");
        begin = graph_either(c->g, typed_value(c, schema, json_string_value(one), next), begin);
    }
    if (type) return begin;
    if (json_object_get(schema, "properties") || json_object_get(schema, "required") ||
        json_object_get(schema, "additionalProperties"))
        return object_value(c, schema, next);
    if (json_object_get(schema, "items") || json_object_get(schema, "prefixItems"))
        return array_value(c, schema, next);
    if (json_object_get(schema, "pattern") || json_object_get(schema, "minLength") ||
        json_object_get(schema, "maxLength"))
        return string_value(c, schema, next);
    return graph_call(c->g, RULE_VALUE, next);
}

static uint32_t schema_value(compiler *c, const json_t *schema, uint32_t next) {
    if (json_is_true(schema)) return graph_call(c->g, RULE_VALUE, next);
    if (json_is_false(schema)) return NODE_NONE;
    if (!json_is_object(schema))
        return fail(c, ST_INVALID, "JSON schema: want an object, true or false:", "a schema");
    if (!check_words(c, schema)) return NODE_NONE;
    const json_t *v;
    uint32_t begin;
    if ((v = json_object_get(schema, "$ref"))) {
        if (!json_is_string(v)) return fail(c, ST_INVALID, "JSON schema: want a string:", "$ref");
        const json_t *to = stands_alone(c, schema, "$ref", "") ? find_ref(c, json_string_value(v)) : NULL;
        begin = to ? schema_call(c, to, next) : NODE_NONE;
    } else if ((v = json_object_get(schema, "const"))) {
        begin = stands_alone(c, schema, "const", "type") ? given_value(c, v, next) : NODE_NONE;
    } else if ((v = json_object_get(schema, "enum"))) {
        begin = stands_alone(c, schema, "enum", "type") ? given_values(c, v, next) : NODE_NONE;
    } else if ((v = json_object_get(schema, "anyOf"))) {
        begin = stands_alone(c, schema, "anyOf", "") ? any_of(c, v, next) : NODE_NONE;
    } else if ((v = json_object_get(schema, "oneOf"))) {
        begin = stands_alone(c, schema, "oneOf", "") ? any_of(c, v, next) : NODE_NONE;
    } else if ((v = json_object_get(schema, "allOf"))) {
        if (json_array_size(v) != 1)
            return fail(c, ST_UNSUPPORTED, "JSON schema: only one schema is supported in", "allOf");
        begin = stands_alone(c, schema, "allOf", "") ? schema_call(c, json_array_get(v, 0), next) : NODE_NONE;
    } else {
        begin = by_type(c, schema, next);
    }
    if (json_is_true(json_object_get(schema, "nullable")))
        begin = graph_either(c->g, begin, graph_literal(c->g, "null", 4, next));
    return begin;
}

/* Each schema is a rule, once, wherever it is used from. */
static uint32_t schema_call(compiler *c, const json_t *schema, uint32_t next) {
    if (c->st != ST_OK || c->g->full || next == NODE_NONE) return NODE_NONE;
    if (json_is_true(schema)) return graph_call(c->g, RULE_VALUE, next);
    if (json_is_false(schema)) return NODE_NONE;
    const uint64_t key = (uint64_t)(uintptr_t)schema;
    const uintptr_t known = (uintptr_t)u64_map_get(&c->rules, key);
    if (known) return graph_call(c->g, (uint32_t)known - 1, next);
    if (++c->depth > DEPTH_MAX)
        return fail(c, ST_UNSUPPORTED, "JSON schema: nested too deeply:", "more than 128");
    uint32_t rule = graph_rule(c->g);
    u64_map_put(&c->rules, key, (void *)(uintptr_t)(rule + 1u));
    graph_rule_begin(c->g, rule, schema_value(c, schema, graph_return(c->g)));
    c->depth--;
    return graph_call(c->g, rule, next);
}

status schema_node(graph *g, const json_t *root, uint32_t next, uint32_t *out, errbuf *eb) {
    PRE(g);
    PRE(g->rule_count >= RULE_COUNT);
    PRE(root);
    PRE(out);
    compiler c = {.g = g, .root = root, .eb = eb};
    u64_map_init(&c.rules, 64);
    *out = schema_call(&c, root, next);
    u64_map_done(&c.rules);
    return c.st;
}
