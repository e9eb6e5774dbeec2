/* Tests: what comes after `is`. */
#include "text/jinja_builtins.h"

#include "text/jinja_text.h"

#include <math.h>

static jvalue t_defined(jcall *c) {
    return j_bool(c->self.kind != J_UNDEFINED);
}
static jvalue t_undefined(jcall *c) {
    return j_bool(c->self.kind == J_UNDEFINED);
}
static jvalue t_none(jcall *c) {
    return j_bool(c->self.kind == J_NONE);
}
static jvalue t_boolean(jcall *c) {
    return j_bool(c->self.kind == J_BOOL);
}
static jvalue t_true(jcall *c) {
    return j_bool(c->self.kind == J_BOOL && c->self.truth);
}
static jvalue t_false(jcall *c) {
    return j_bool(c->self.kind == J_BOOL && !c->self.truth);
}
static jvalue t_integer(jcall *c) {
    return j_bool(c->self.kind == J_INT);
}
static jvalue t_float(jcall *c) {
    return j_bool(c->self.kind == J_FLOAT);
}
static jvalue t_number(jcall *c) {
    return j_bool(j_is_number(c->self));
}
static jvalue t_string(jcall *c) {
    return j_bool(c->self.kind == J_STRING);
}
static jvalue t_mapping(jcall *c) {
    return j_bool(c->self.kind == J_DICT);
}

static bool has_length(jvalue v) {
    return v.kind == J_STRING || v.kind == J_LIST || v.kind == J_TUPLE || v.kind == J_DICT ||
           v.kind == J_UNDEFINED;
}

static jvalue t_sequence(jcall *c) {
    return j_bool(has_length(c->self));
}

static jvalue t_iterable(jcall *c) {
    return j_bool(has_length(c->self) || c->self.kind == J_LAZY || c->self.kind == J_LOOP);
}

static jvalue t_callable(jcall *c) {
    return j_bool(c->self.kind == J_MACRO || c->self.kind == J_FUNCTION || c->self.kind == J_METHOD ||
                  c->self.kind == J_UNDEFINED);
}

static jvalue remainder_of(jcall *c, jvalue by) {
    return jinja_arithmetic(c->heap, c->self, (jstr){"%", NULL, 1}, by);
}

static jvalue t_odd(jcall *c) {
    return j_bool(j_equal(c->heap, remainder_of(c, j_int(2)), j_int(1), 0));
}
static jvalue t_even(jcall *c) {
    return j_bool(!j_true(remainder_of(c, j_int(2))));
}
static jvalue t_divisible(jcall *c) {
    return j_bool(!j_true(remainder_of(c, c->args[0])));
}
static jvalue t_eq(jcall *c) {
    return j_bool(j_equal(c->heap, c->self, c->args[0], 0));
}
static jvalue t_ne(jcall *c) {
    return j_bool(!j_equal(c->heap, c->self, c->args[0], 0));
}
static jvalue t_lt(jcall *c) {
    return j_bool(j_compare(c->heap, c->self, c->args[0]) < 0);
}
static jvalue t_le(jcall *c) {
    return j_bool(j_compare(c->heap, c->self, c->args[0]) <= 0);
}
static jvalue t_gt(jcall *c) {
    return j_bool(j_compare(c->heap, c->self, c->args[0]) > 0);
}
static jvalue t_ge(jcall *c) {
    return j_bool(j_compare(c->heap, c->self, c->args[0]) >= 0);
}
static jvalue t_in(jcall *c) {
    return j_bool(jinja_contains(c->heap, c->args[0], c->self));
}

static jvalue t_sameas(jcall *c) {
    return j_bool(c->self.kind == c->args[0].kind && j_equal(c->heap, c->self, c->args[0], 0));
}

/* Has letters, all of them of that case. */
static jvalue in_case(jcall *c, jcase how, jcase other) {
    jvalue s = j_str(jt_str(c->heap, c->self));
    return j_bool(j_equal(c->heap, s, j_str(jt_case(c->heap, s.s, how)), 0) &&
                  !j_equal(c->heap, s, j_str(jt_case(c->heap, s.s, other)), 0));
}

static jvalue t_lower(jcall *c) {
    return in_case(c, JCASE_LOWER, JCASE_UPPER);
}
static jvalue t_upper(jcall *c) {
    return in_case(c, JCASE_UPPER, JCASE_LOWER);
}

const jbuiltin jinja_tests[] = {{"defined", "", t_defined},
                                {"undefined", "", t_undefined},
                                {"none", "", t_none},
                                {"boolean", "", t_boolean},
                                {"true", "", t_true},
                                {"false", "", t_false},
                                {"integer", "", t_integer},
                                {"float", "", t_float},
                                {"number", "", t_number},
                                {"string", "", t_string},
                                {"mapping", "", t_mapping},
                                {"sequence", "", t_sequence},
                                {"iterable", "", t_iterable},
                                {"callable", "", t_callable},
                                {"odd", "", t_odd},
                                {"even", "", t_even},
                                {"divisibleby", "num", t_divisible},
                                {"eq", "b", t_eq},
                                {"equalto", "b", t_eq},
                                {"==", "b", t_eq},
                                {"ne", "b", t_ne},
                                {"!=", "b", t_ne},
                                {"lt", "b", t_lt},
                                {"lessthan", "b", t_lt},
                                {"<", "b", t_lt},
                                {"le", "b", t_le},
                                {"<=", "b", t_le},
                                {"gt", "b", t_gt},
                                {"greaterthan", "b", t_gt},
                                {">", "b", t_gt},
                                {"ge", "b", t_ge},
                                {">=", "b", t_ge},
                                {"in", "seq", t_in},
                                {"sameas", "other", t_sameas},
                                {"lower", "", t_lower},
                                {"upper", "", t_upper},
                                {0}};
