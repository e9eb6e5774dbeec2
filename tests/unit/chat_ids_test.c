/* Conversations as token ids: those that transformers' apply_chat_template gives by the same model file. */
#include "tests/test.h"

#include "base/mem.h"
#include "text/chat.h"

#include <stdio.h>
#include <stdlib.h>

static const char *model_path, *cases_path;

static void check_case(const chat_template *t, const tokenizer *tok, const json_t *c, size_t line) {
    const chat_input in = {.messages = json_object_get(c, "messages"),
                           .add_generation_prompt = json_is_true(json_object_get(c, "open"))};
    buf out = {0};
    text_span *spans;
    uint32_t count;
    token_list got = {0};
    assert_int_equal(chat_render(t, &in, &out, &spans, &count, NULL), ST_OK);
    const encode_options opt = {
        .parse_special = true, .plain = spans, .plain_count = count, .max_tokens = 10000};
    assert_int_equal(tokenizer_encode(tok, out.data, out.len, &opt, &got, NULL), ST_OK);
    const json_t *want = json_object_get(c, "ids");
    if (got.count != json_array_size(want)) fail_msg("line %zu: %u ids", line, got.count);
    for (uint32_t i = 0; i < got.count; i++) {
        if (got.ids[i] != json_integer_value(json_array_get(want, i)))
            fail_msg("line %zu: id %u is %d", line, i, got.ids[i]);
    }
    token_list_done(&got);
    free(spans);
    buf_done(&out);
}

static void chats_have_the_ids_that_transformers_gives_them(void **s) {
    (void)s;
    checkpoint *g;
    if (checkpoint_open(&g, model_path, NULL) != ST_OK) skip();
    FILE *f = fopen(cases_path, "rb");
    assert_non_null(f);
    chat_template t;
    tokenizer *tok;
    assert_int_equal(chat_template_init(&t, g, NULL, 0), ST_OK);
    assert_int_equal(tokenizer_new(&tok, g, NULL), ST_OK);
    char line[8192];
    size_t count = 0;
    for (; fgets(line, sizeof line, f); count++) {
        json_t *c = json_loads(line, 0, NULL);
        assert_non_null(c);
        check_case(&t, tok, c, count + 1);
        json_decref(c);
    }
    fclose(f);
    assert_true(count > 0);
    tokenizer_free(tok);
    chat_template_done(&t);
    checkpoint_close(g);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL CASES\n", argv[0]);
        return 2;
    }
    model_path = argv[1];
    cases_path = argv[2];
    const struct CMUnitTest tests[] = {cmocka_unit_test(chats_have_the_ids_that_transformers_gives_them)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
