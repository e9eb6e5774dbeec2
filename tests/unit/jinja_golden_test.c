/* Templates rendered by Jinja itself, as transformers sets it up, and by ours: the same text, or a fault of
 * both.
 *
 * A line of the file is {"template": FILE or "source": TEXT, "vars": {...} or "chat": NAME, "text": what
 * Jinja made} or, in place of the text, "fails": true. With "why" (random cases) ours may do what Jinja does
 * not: that is only counted. A first line {"chats": {NAME: vars}} names variables for many. */
#include "tests/test.h"

#include "base/mem.h"
#include "text/jinja.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES (1u << 20)

static const char *cases_path, *templates_dir;
static json_t *chats;
static size_t more; /* cases that only ours renders */

static char *file_text(const char *path, size_t *len) {
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("%s is missing", path);
    char *text = xmalloc(LINE_MAX_BYTES);
    *len = fread(text, 1, LINE_MAX_BYTES, f);
    fclose(f);
    return text;
}

static status render_case(const json_t *c, buf *out, errbuf *eb) {
    const json_t *source = json_object_get(c, "source");
    size_t len = source ? json_string_length(source) : 0;
    char *text = NULL;
    if (!source) {
        char *path = xasprintf("%s/%s", templates_dir, json_string_value(json_object_get(c, "template")));
        text = file_text(path, &len);
        free(path);
    }
    jinja *t = NULL;
    status st = jinja_new(&t, source ? json_string_value(source) : text, len, eb);
    free(text);
    if (st != ST_OK) return st;
    jinja_variable vars[32];
    size_t count = 0;
    const char *key = NULL;
    json_t *value = NULL;
    const char *chat = json_string_value(json_object_get(c, "chat"));
    json_t *all = chat ? json_object_get(chats, chat) : json_object_get(c, "vars");
    assert_non_null(all);
    json_object_foreach(all, key, value) {
        assert_true(count < ARRAY_LEN(vars));
        vars[count++] = (jinja_variable){key, value, true};
    }
    struct tm now = {.tm_year = 124, .tm_mon = 6, .tm_mday = 26, .tm_wday = 5, .tm_yday = 207};
    text_span *marks = NULL;
    uint32_t mark_count = 0;
    st = jinja_render(t, vars, count, &now, out, &marks, &mark_count, eb);
    if (st == ST_OK) free(marks);
    jinja_free(t);
    return st;
}

/* Whether the case is as Jinja has it; tells what differs. */
static bool is_same(const json_t *c, size_t line) {
    buf out = {0};
    errbuf eb = {0};
    buf_adds(&out, "");
    status st = render_case(c, &out, &eb);
    const json_t *text = json_object_get(c, "text");
    bool same = (st == ST_OK) == (text != NULL);
    if (same && text)
        same = out.len == json_string_length(text) && memcmp(out.data, json_string_value(text), out.len) == 0;
    if (!same && !text && json_object_get(c, "why")) {
        more++;
        same = true;
    }
    if (!same) {
        size_t at = 0;
        while (text && at < out.len && out.data[at] == json_string_value(text)[at]) at++;
        fprintf(stderr, "at byte %zu: ", at);
        fprintf(stderr, "%s:%zu: %s\n--- want\n%s\n--- got\n%.*s%s\n", cases_path, line,
                json_string_value(json_object_get(c, json_object_get(c, "source") ? "source" : "template")),
                text ? json_string_value(text) : "(a fault)", (int)out.len, out.data, eb.text);
    }
    buf_done(&out);
    return same;
}

static void templates_make_the_text_that_jinja_makes(void **s) {
    (void)s;
    FILE *f = fopen(cases_path, "rb");
    if (!f) fail_msg("%s is missing", cases_path);
    char *line = xmalloc(LINE_MAX_BYTES);
    size_t count = 0, wrong = 0;
    while (fgets(line, LINE_MAX_BYTES, f)) {
        json_error_t je;
        json_t *c = json_loads(line, JSON_ALLOW_NUL, &je);
        if (!c) fail_msg("%s:%zu: %s", cases_path, count + 1, je.text);
        if (json_object_get(c, "chats"))
            chats = json_incref(json_object_get(c, "chats"));
        else
            wrong += !is_same(c, ++count);
        json_decref(c);
    }
    fclose(f);
    free(line);
    json_decref(chats);
    printf("%zu cases, %zu differ, %zu rendered by ours only\n", count, wrong, more);
    assert_true(count > 0);
    assert_int_equal(wrong, 0);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s CASES TEMPLATES\n", argv[0]);
        return 2;
    }
    cases_path = argv[1];
    templates_dir = argv[2];
    const struct CMUnitTest tests[] = {cmocka_unit_test(templates_make_the_text_that_jinja_makes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
