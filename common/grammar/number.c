#include "grammar/number.h"

#include "base/mem.h"
#include "grammar/json_rules.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define LIMIT_MOST INT64_C(1000000000000000000) /* 10^18 */

/* One limit; below: it is a least one. False: the schema has none of that name. */
static status limit_of(const json_t *schema, const char *name, bool below, bool open, bool *there,
                       int64_t *out, errbuf *eb) {
    const json_t *v = json_object_get(schema, name);
    if (!v) return ST_OK;
    double number = json_number_value(v);
    bool fits = json_is_number(v) && isfinite(number) && fabs(number) <= (double)LIMIT_MOST;
    if (!fits) return errf(eb, ST_INVALID, "JSON schema: %s: want a number up to 10^18", name);
    int64_t whole =
        json_is_integer(v) ? json_integer_value(v) : (int64_t)(below ? ceil(number) : floor(number));
    bool exact = json_is_integer(v) || number == (double)whole;
    if (open && exact) whole += below ? 1 : -1;
    if (*there) whole = below ? MAX(whole, *out) : MIN(whole, *out);
    *there = true;
    *out = whole;
    return ST_OK;
}

status number_limits_of(number_limits *out, const json_t *schema, errbuf *eb) {
    PRE(out);
    PRE(schema);
    *out = (number_limits){0};
    status st = limit_of(schema, "minimum", true, false, &out->has_least, &out->least, eb);
    if (st == ST_OK) st = limit_of(schema, "exclusiveMinimum", true, true, &out->has_least, &out->least, eb);
    if (st == ST_OK) st = limit_of(schema, "maximum", false, false, &out->has_most, &out->most, eb);
    if (st == ST_OK) st = limit_of(schema, "exclusiveMaximum", false, true, &out->has_most, &out->most, eb);
    if (st == ST_OK && out->has_least && out->has_most && out->least > out->most)
        st = errf(eb, ST_INVALID, "JSON schema: no whole number is from %" PRId64 " to %" PRId64, out->least,
                  out->most);
    return st;
}

static uint32_t any_digits(graph *g, size_t count, uint32_t next) {
    for (size_t i = 0; i < count; i++) next = graph_range(g, '0', '9', next);
    return next;
}

/* Texts of digits between a and b, of equal length, from `at` on; those before are equal. */
static uint32_t between(graph *g, const char *a, const char *b, size_t at, size_t len, uint32_t next) {
    if (at == len) return next;
    static const char zeros[] = "0000000000000000000", nines[] = "9999999999999999999";
    size_t rest = len - at - 1;
    uint8_t first = (uint8_t)a[at], last = (uint8_t)b[at];
    if (first == last) return graph_range(g, first, last, between(g, a, b, at + 1, len, next));
    uint32_t begin = NODE_NONE;
    if (memcmp(a + at + 1, zeros, rest) != 0) {
        begin = graph_range(g, first, first, between(g, a, nines, at + 1, len, next));
        first++;
    }
    if (memcmp(b + at + 1, nines, rest) != 0) {
        begin = graph_either(g, begin, graph_range(g, last, last, between(g, zeros, b, at + 1, len, next)));
        last--;
    }
    if (first <= last) begin = graph_either(g, begin, graph_range(g, first, last, any_digits(g, rest, next)));
    return begin;
}

/* From least >= 0 up to most; open: without an end. */
static uint32_t counting(graph *g, uint64_t least, uint64_t most, bool open, uint32_t next) {
    uint32_t begin = NODE_NONE;
    uint64_t power = 10; /* the first number with a digit more */
    for (size_t len = 1; len <= 19; len++, power *= 10) {
        uint64_t low = len == 1 ? 0 : power / 10, high = len == 19 ? INT64_MAX : power - 1;
        if (open && len > 1 && low >= least) { /* so are all longer ones */
            uint32_t loop = graph_loop(g, next);
            graph_loop_body(g, loop, graph_range(g, '0', '9', loop));
            return graph_either(g, begin, graph_range(g, '1', '9', any_digits(g, len - 1, loop)));
        }
        uint64_t a = MAX(low, least), b = open ? high : MIN(high, most);
        if (a > b) continue;
        char from[24], to[24];
        snprintf(from, sizeof from, "%" PRIu64, a);
        snprintf(to, sizeof to, "%" PRIu64, b);
        begin = graph_either(g, begin, between(g, from, to, 0, len, next));
    }
    return begin;
}

uint32_t number_integer(graph *g, const number_limits *l, uint32_t next) {
    PRE(g);
    PRE(l);
    if (!l->has_least && !l->has_most) return graph_call(g, RULE_INTEGER, next);
    uint32_t begin = NODE_NONE;
    if (!l->has_most || l->most >= 0)
        begin = counting(g, l->has_least && l->least > 0 ? (uint64_t)l->least : 0,
                         l->has_most ? (uint64_t)l->most : 0, !l->has_most, next);
    if (!l->has_least || l->least < 0) {
        uint64_t nearest = l->has_most && l->most < 0 ? (uint64_t)-l->most : 1;
        uint32_t below = counting(g, nearest, l->has_least ? (uint64_t)-l->least : 0, !l->has_least, next);
        begin = graph_either(g, begin, graph_range(g, '-', '-', below));
    }
    return begin;
}
