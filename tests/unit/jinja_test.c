/* What templates may not do: constructs that are not known, faults, and programs without end. */
#include "tests/test.h"

#include "base/mem.h"
#include "text/jinja.h"

#include <stdlib.h>
#include <string.h>

/* What rendering tells: the text, or "load: " or "run: " and the error. Caller frees with free. */
static char *told(const char *text, size_t len) {
    jinja *t;
    errbuf eb = {0};
    buf out = {0};
    buf_adds(&out, "");
    if (jinja_new(&t, text, len, &eb) != ST_OK) {
        buf_addf(&out, "load: %s", eb.text);
        return out.data;
    }
    json_t *q = json_string("q");
    const jinja_variable vars[] = {{"q", q, true}};
    const struct tm now = {.tm_year = 124, .tm_mday = 1};
    text_span *spans;
    uint32_t count;
    if (jinja_render(t, vars, 1, &now, &out, &spans, &count, &eb) == ST_OK)
        free(spans);
    else
        buf_addf(&out, "run: %s", eb.text);
    json_decref(q);
    jinja_free(t);
    return out.data;
}

static void expect(const char *text, const char *want) {
    char *got = told(text, strlen(text));
    assert_string_equal(got, want);
    free(got);
}

static void what_is_not_known_is_named_with_its_line_when_the_template_is_loaded(void **s) {
    (void)s;
    static const char *const cases[][2] = {
        {"a\n{% include 'x' %}", "load: line 2: the tag 'include' is not supported"},
        {"{% do x %}", "load: line 1: the tag 'do' is not supported"},
        {"\n\n{{ q|pprint }}", "load: line 3: the filter 'pprint' is not supported"},
        {"{{ q is escaped }}", "load: line 1: the test 'escaped' is not supported"},
        {"{{ q.zfill(1) }}", "load: line 1: the method 'zfill' is not supported"},
        {"{{ lipsum() }}", "load: line 1: the function 'lipsum' is not supported"},
        {"{{ [q]|map('pprint') }}", "load: line 1: the filter 'pprint' is not supported"},
        {"{{ [q]|selectattr('x', 'escaped') }}", "load: line 1: the test 'escaped' is not supported"},
        {"{{ q|tojson(x=1) }}", "load: line 1: the filter 'tojson' has no argument 'x'"},
        {"{{ q|trim(1, 2) }}", "load: line 1: the filter 'trim': too many arguments"},
        {"{% for x in q recursive %}{% endfor %}", "load: line 1: recursive loops are not supported"},
        {"{{ f(*q) }}", "load: line 1: * and ** in calls are not supported"},
        {"{% if q %}\n", "load: line 1: the template ends before {% elif %} of line 1"},
        {"{{ 'a }}", "load: line 1: a string does not end"},
        {"{# a", "load: line 1: a comment does not end"},
        {"{{ 1 ? 2 }}", "load: line 1: '?' is not understood here"},
        {"{{ 99999999999999999999 }}", "load: line 1: a number is no 64-bit number"},
        {"{% break %}", "load: line 1: break outside a loop"},
        {"{{ (1] }}", "load: line 1: a bracket is closed that is not open"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) expect(cases[i][0], cases[i][1]);
}

static void faults_name_what_is_wrong(void **s) {
    (void)s;
    static const char *const cases[][2] = {
        {"{{ x.y }}", "run: line 1: 'x' is undefined"},
        {"\n{{ {}.y.z }}", "run: line 2: 'dict object' has no attribute 'y'"},
        {"{{ 1 + 'a' }}", "run: line 1: int + str is not possible"},
        {"{{ 1 // 0 }}", "run: line 1: division by zero"},
        {"{{ 9223372036854775807 + 1 }}", "run: line 1: a number leaves 64 bits"},
        {"{{ (0 - 9223372036854775807 - 1) // -1 }}", "run: line 1: a number leaves 64 bits"},
        {"{{ -(0 - 9223372036854775807 - 1) }}", "run: line 1: a number leaves 64 bits"},
        {"{{ (0 - 9223372036854775807 - 1)|abs }}", "run: line 1: a number leaves 64 bits"},
        {"{{ 3 ** 100 }}", "run: line 1: a number leaves 64 bits"},
        {"{% set q.x = 1 %}", "run: line 1: 'q' is no namespace: its attributes cannot be set"},
        {"{% set z = 1 %}{{ z() }}", "run: line 1: a int cannot be called"},
        {"{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}",
         "run: line 1: the macro 'm' takes 1 arguments, not 2"},
        {"{% for a, b in [[1]] %}{% endfor %}", "run: line 1: 1 values for 2 names"},
        {"{{ raise_exception('no: ' ~ q) }}", "run: the chat template refuses: no: q"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) expect(cases[i][0], cases[i][1]);
}

#define STEPS "run: line 1: the template takes more than 10000000 steps (the limit)"

static void programs_without_end_are_ended_by_a_named_limit(void **s) {
    (void)s;
    expect("{% for i in range(10**9) %}{% endfor %}",
           "run: line 1: range: more than 100000 numbers (the limit)");
    expect("{% for i in range(0, 0 - 10**18, -1) %}{% endfor %}",
           "run: line 1: range: more than 100000 numbers (the limit)");
    expect("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
           "run: line 1: the template takes more than 256 MiB of memory (the limit)");
    expect("{% set l = range(99999) %}{% for i in range(999) %}{% if -1 in l %}{% endif %}{% endfor %}",
           STEPS);
    expect("{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
           "run: line 1: the template makes a text of more than 16 MiB (the limit)");
    expect("{% set s = 'abababababababab' * 9999 %}{% for i in range(9999) %}{{ s }}{% endfor %}",
           "run: line 1: the template makes a text of more than 16 MiB (the limit)");
    expect(
        "{% set ns = namespace(s=[1, 2]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "run: line 1: the template takes more than 256 MiB of memory (the limit)");
    expect("{{ [1] * 9223372036854775807 }}", STEPS);
    expect("{{ '' * 9223372036854775807 }}", "");
    expect("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
           "run: line 1: the template is nested deeper than 400 when it runs (the limit)");
    expect("{% set ns = namespace(v=[]) %}{% for i in range(999) %}{% set ns.v = [ns.v] %}{% endfor %}"
           "{{ ns.v|tojson }}",
           "run: line 1: tojson: values are nested deeper than 100 (the limit)");
    expect("{% set ns = namespace() %}{% set ns.n = ns %}{{ ns }}",
           "run: line 1: values are nested deeper than 100 (the limit)");
    expect("{% set ns = namespace(v=[]) %}{% for i in range(999) %}{% set ns.v = [ns.v] %}{% endfor %}"
           "{% set ms = namespace(v=[]) %}{% for i in range(999) %}{% set ms.v = [ms.v] %}{% endfor %}"
           "{{ ns.v == ms.v }}",
           "run: line 1: values are nested deeper than 100 (the limit)");
}

/* A text of `count` times a piece, between two others. */
static char *many(const char *head, const char *piece, size_t count, const char *tail) {
    buf b = {0};
    buf_adds(&b, head);
    for (size_t i = 0; i < count; i++) buf_adds(&b, piece);
    buf_adds(&b, tail);
    return b.data;
}

static void deep_templates_are_refused(void **s) {
    (void)s;
    static const char *const cases[][4] = {
        {"{{ ", "(", "1", "brackets are nested too deep"},
        {"{{ ", "not ", "1 }}", "nested deeper than 100 (the limit)"},
        {"{{ ", "-", "1 }}", "nested deeper than 100 (the limit)"},
        {"{{ 1", " + 1", " }}", "nested deeper than 200 (the limit)"},
        {"{{ q", ".q", " }}", "nested deeper than 200 (the limit)"},
        {"{{ q", "|trim", " }}", "nested deeper than 200 (the limit)"},
        {"", "{% if 1 %}", "", "nested deeper than 100 (the limit)"},
        {"", "{% for x in q %}", "", "nested deeper than 100 (the limit)"},
        {"{{ 1", " if 1 else 1", " }}", "nested deeper than 100 (the limit)"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *text = many(cases[i][0], cases[i][1], 50000, cases[i][2]);
        char *got = told(text, strlen(text));
        if (!strstr(got, cases[i][3])) fail_msg("%s%s...: %s", cases[i][0], cases[i][1], got);
        free(got);
        free(text);
    }
    char *text = many("", "xxxxxxxxxx", 200000, "");
    char *got = told(text, strlen(text));
    assert_string_equal(got, "load: the template has 2000000 bytes, want at most 1048576 (the limit)");
    free(got);
    free(text);
}

static void a_template_cut_or_changed_at_any_byte_ends_well(void **s) {
    (void)s;
    static const char whole[] =
        "{%- macro m(a, b='x') -%}{{ a[1:]|replace('a', \"\\u00e9\") }}{% endmacro %}\n"
        "{% for k, v in {'a': [1, 2.5e3]}.items() if k %}{{ loop.index ~ m(k, b=v) }}"
        "{% else %}{# c #}{% endfor %}{% set ns = namespace(x=q) %}{% raw %}{{{% endraw %}"
        "{% if ns.x is not none and -1 in [1] %}{{ ns|d(1) }}{% elif q %}{{ q.split() }}"
        "{% endif %}";
    char *text = xmemdup(whole, sizeof whole);
    for (size_t i = 0; i < sizeof whole - 1; i++) {
        free(told(text, i));
        for (const char *c = "{}%'|.[(0-\x80"; *c; c++) {
            text[i] = *c;
            free(told(text, sizeof whole - 1));
        }
        text[i] = whole[i];
    }
    free(text);
}

static void a_template_tells_what_it_reads(void **s) {
    (void)s;
    static const char text[] = "{% for m in messages %}{% if m.role == 'developer' %}{{ tools }}{% endif %}"
                               "{% for p in m['content'] %}{% endfor %}{% endfor %}";
    jinja *t;
    assert_int_equal(jinja_new(&t, text, sizeof text - 1, NULL), ST_OK);
    assert_true(jinja_reads(t, "tools"));
    assert_false(jinja_reads(t, "documents"));
    assert_true(jinja_mentions(t, "developer"));
    assert_true(jinja_loops_over_content(t));
    assert_false(jinja_asks_for_strings(t));
    jinja_free(t);
}

static void a_template_that_is_not_utf8_is_refused(void **s) {
    (void)s;
    static const char text[] = "{{ 'ab\xff\xff\xff' 'c'[::-1] }}";
    jinja *t = NULL;
    errbuf eb = {0};
    assert_int_equal(jinja_new(&t, text, sizeof text - 1, &eb), ST_INVALID);
    assert_string_equal(eb.text, "byte 6 of the template is not UTF-8");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_known_is_named_with_its_line_when_the_template_is_loaded),
        cmocka_unit_test(faults_name_what_is_wrong),
        cmocka_unit_test(programs_without_end_are_ended_by_a_named_limit),
        cmocka_unit_test(deep_templates_are_refused),
        cmocka_unit_test(a_template_cut_or_changed_at_any_byte_ends_well),
        cmocka_unit_test(a_template_tells_what_it_reads),
        cmocka_unit_test(a_template_that_is_not_utf8_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
