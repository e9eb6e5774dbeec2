#include "grammar/json_rules.h"

#include "base/status.h"

static uint32_t hex_node(graph *g, uint32_t digits, uint32_t next) {
    byte_set s = {0};
    byte_set_add(&s, '0', '9');
    byte_set_add(&s, 'A', 'F');
    byte_set_add(&s, 'a', 'f');
    for (uint32_t i = 0; i < digits; i++) next = graph_set(g, &s, next);
    return next;
}

static uint32_t of(graph *g, const char *bytes, uint32_t next) {
    byte_set s = {0};
    for (; *bytes; bytes++) byte_set_add(&s, (uint8_t)*bytes, (uint8_t)*bytes);
    return graph_set(g, &s, next);
}

/* \uXXXX, but no half of a surrogate pair. */
static uint32_t unicode_node(graph *g, uint32_t next) {
    uint32_t low = graph_literal(g, "\\u", 2, of(g, "dD", of(g, "cdefCDEF", hex_node(g, 2, next))));
    uint32_t pair = of(g, "dD", of(g, "89abAB", hex_node(g, 2, low)));
    uint32_t below = of(g, "dD", of(g, "01234567", hex_node(g, 2, next)));
    uint32_t other = of(g, "0123456789abcefABCEF", hex_node(g, 3, next));
    return graph_range(g, 'u', 'u', graph_either(g, other, graph_either(g, below, pair)));
}

static uint32_t tail(graph *g, uint32_t count, uint32_t next) {
    for (uint32_t i = 0; i < count; i++) next = graph_range(g, 0x80, 0xBF, next);
    return next;
}

static uint32_t char_node(graph *g, uint32_t next) {
    byte_set plain = {0};
    byte_set_add(&plain, 0x20, '"' - 1);
    byte_set_add(&plain, '"' + 1, '\\' - 1);
    byte_set_add(&plain, '\\' + 1, 0x7F);
    uint32_t c = graph_set(g, &plain, next);
    uint32_t escaped = graph_either(g, of(g, "\"\\/bfnrt", next), unicode_node(g, next));
    c = graph_either(g, c, graph_range(g, '\\', '\\', escaped));
    uint32_t one = tail(g, 1, next), two = tail(g, 2, next), three = tail(g, 3, next);
    c = graph_either(g, c, graph_range(g, 0xC2, 0xDF, one));
    c = graph_either(g, c, graph_range(g, 0xE0, 0xE0, graph_range(g, 0xA0, 0xBF, one)));
    c = graph_either(g, c, graph_range(g, 0xE1, 0xEC, two));
    c = graph_either(g, c, graph_range(g, 0xED, 0xED, graph_range(g, 0x80, 0x9F, one)));
    c = graph_either(g, c, graph_range(g, 0xEE, 0xEF, two));
    c = graph_either(g, c, graph_range(g, 0xF0, 0xF0, graph_range(g, 0x90, 0xBF, two)));
    c = graph_either(g, c, graph_range(g, 0xF1, 0xF3, three));
    return graph_either(g, c, graph_range(g, 0xF4, 0xF4, graph_range(g, 0x80, 0x8F, two)));
}

static uint32_t space_node(graph *g, uint32_t next) {
    uint32_t line = next;
    for (uint32_t i = 0; i < 20; i++) line = graph_either(g, of(g, " \t", line), next);
    line = graph_range(g, '\n', '\n', line);
    return graph_either(g, graph_either(g, graph_range(g, ' ', ' ', next), line), next);
}

static uint32_t digits_node(graph *g, uint32_t next) {
    uint32_t loop = graph_loop(g, next);
    graph_loop_body(g, loop, graph_range(g, '0', '9', loop));
    return loop;
}

static uint32_t integer_node(graph *g, uint32_t next) {
    uint32_t n =
        graph_either(g, graph_range(g, '0', '0', next), graph_range(g, '1', '9', digits_node(g, next)));
    return graph_either(g, graph_range(g, '-', '-', n), n);
}

static uint32_t number_node(graph *g, uint32_t next) {
    uint32_t digits = graph_range(g, '0', '9', digits_node(g, next));
    uint32_t power = graph_either(g, of(g, "+-", digits), digits);
    uint32_t after = graph_either(g, of(g, "eE", power), next);
    uint32_t fraction = graph_range(g, '.', '.', graph_range(g, '0', '9', digits_node(g, after)));
    return integer_node(g, graph_either(g, fraction, after));
}

/* open [ item [, item]... ] close, with white space. */
static uint32_t list_node(graph *g, char open, uint32_t (*item)(graph *, uint32_t), char close,
                          uint32_t next) {
    uint32_t end = graph_range(g, (uint8_t)close, (uint8_t)close, next);
    uint32_t loop = graph_loop(g, graph_call(g, RULE_SPACE, end));
    uint32_t comma = graph_range(g, ',', ',', graph_call(g, RULE_SPACE, item(g, loop)));
    graph_loop_body(g, loop, graph_call(g, RULE_SPACE, comma));
    uint32_t inside = graph_call(g, RULE_SPACE, graph_either(g, item(g, loop), end));
    return graph_range(g, (uint8_t)open, (uint8_t)open, inside);
}

static uint32_t value_item(graph *g, uint32_t next) {
    return graph_call(g, RULE_VALUE, next);
}

static uint32_t member_item(graph *g, uint32_t next) {
    uint32_t value = graph_call(g, RULE_SPACE, graph_call(g, RULE_VALUE, next));
    return graph_call(g, RULE_STRING, graph_call(g, RULE_SPACE, graph_range(g, ':', ':', value)));
}

static uint32_t value_node(graph *g, uint32_t next) {
    uint32_t v = graph_literal(g, "null", 4, next);
    v = graph_either(g, graph_literal(g, "true", 4, next), v);
    v = graph_either(g, graph_literal(g, "false", 5, next), v);
    v = graph_either(g, graph_call(g, RULE_NUMBER, next), v);
    v = graph_either(g, graph_call(g, RULE_STRING, next), v);
    v = graph_either(g, graph_call(g, RULE_ARRAY, next), v);
    return graph_either(g, graph_call(g, RULE_OBJECT, next), v);
}

static uint32_t string_node(graph *g, uint32_t next) {
    uint32_t loop = graph_loop(g, graph_range(g, '"', '"', next));
    graph_loop_body(g, loop, char_node(g, loop)); /* not by a call: most of an answer is this */
    return graph_range(g, '"', '"', loop);
}

static uint32_t object_node(graph *g, uint32_t next) {
    return list_node(g, '{', member_item, '}', next);
}

static uint32_t array_node(graph *g, uint32_t next) {
    return list_node(g, '[', value_item, ']', next);
}

void json_rules(graph *g) {
    PRE(g->count == 0);
    static uint32_t (*const make[RULE_COUNT])(graph *, uint32_t) = {
        [RULE_SPACE] = space_node,     [RULE_CHAR] = char_node,     [RULE_STRING] = string_node,
        [RULE_INTEGER] = integer_node, [RULE_NUMBER] = number_node, [RULE_OBJECT] = object_node,
        [RULE_ARRAY] = array_node,     [RULE_VALUE] = value_node};
    for (uint32_t r = 0; r < RULE_COUNT; r++) (void)graph_rule(g);
    for (uint32_t r = 0; r < RULE_COUNT; r++) graph_rule_begin(g, r, make[r](g, graph_return(g)));
}
