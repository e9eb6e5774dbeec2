/* engine_answer_test - sequences whose answers have a form: what they may say, when they end, what is
 * refused. */
#include "tests/unit/engine_scene.h"

#include <stdio.h>

static const int32_t end_id = 2;

/* Ids from 3 on are one byte each, several times over. */
static size_t one_byte(void *ctx, int32_t id, char *out, size_t cap) {
    (void)ctx;
    if (id < 3) return 0;
    if (cap > 0) *out = (char)((id - 3) % 256);
    return 1;
}

static engine *engine_that_knows(const fixture *f, const char *backend) {
    engine_options opt = options_of(backend, 1, DT_F16);
    opt.eog = &end_id;
    opt.eog_count = 1;
    opt.token_bytes = one_byte;
    engine *e = NULL;
    errbuf eb = {0};
    if (engine_new(&e, f->m, &opt, &eb) != ST_OK) fail_msg("%s", eb.text);
    return e;
}

static void demand(sampling *p, const char *spec) {
    p->spec = spec;
    p->spec_len = (uint32_t)strlen(spec);
}

/* What slot 0 says after 20 tokens of the prompt and `said`, until the end or `most` tokens. */
static void hear(engine *e, const fixture *f, const sampling *p, const char *said, char *out, uint32_t most) {
    int32_t ids[64];
    uint32_t count = (uint32_t)strlen(said);
    const uint32_t pages[] = {0, 1, 2, 3, 4, 5};
    for (uint32_t i = 0; i < count; i++) ids[i] = 3 + (uint8_t)said[i];
    const seq_start init = {.prompt = f->prompt,
                            .prompt_count = 20,
                            .output = ids,
                            .output_count = count,
                            .params = p,
                            .pages = pages,
                            .page_count = 6};
    errbuf eb = {0};
    if (engine_seq_open(e, 0, &init, &eb) != ST_OK) fail_msg("%s", eb.text);
    strcpy(out, said);
    int32_t id = step_one(e, 0, 0, 20 + count, true).token.id;
    while (id != end_id && count < most) {
        out[count++] = (char)((id - 3) % 256);
        out[count] = 0;
        if (count < most) id = step_one(e, 0, 19 + count, 1, true).token.id;
    }
    engine_seq_close(e, 0);
}

static void an_answer_has_its_form_and_ends_with_it(void **state) {
    static const char *const backends[] = {"cpu", "ref", "mock"};
    for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
        engine *e = engine_that_knows(*state, backends[i]);
        sampling p = greedy();
        char said[64];
        demand(
            &p,
            "{\"sequence\": [{\"literal\": \"[\"}, {\"choice\": [\"ab\", \"xyz\"]}, {\"literal\": \"]\"}]}");
        hear(e, *state, &p, "", said, 60);
        assert_true(strcmp(said, "[ab]") == 0 || strcmp(said, "[xyz]") == 0);
        p.ignore_eos = true; /* nothing else is left than the end */
        p.min_tokens = 50;
        hear(e, *state, &p, "", said, 60);
        assert_true(strcmp(said, "[ab]") == 0 || strcmp(said, "[xyz]") == 0);
        engine_free(e);
    }
}

static void min_tokens_keeps_an_answer_that_could_go_on_from_its_end(void **state) {
    engine *e = engine_that_knows(*state, "cpu");
    sampling p = greedy();
    char said[64];
    p.min_tokens = 9;
    demand(&p, "{\"regex\": \"a*\"}");
    hear(e, *state, &p, "", said, 9);
    assert_string_equal(said, "aaaaaaaaa");
    engine_free(e);
}

/* As after a hand-off, a replay or a preemption. */
static void an_answer_goes_on_from_any_of_its_tokens(void **state) {
    engine *e = engine_that_knows(*state, "cpu");
    sampling p = greedy();
    char whole[64], rest[64], begin[64];
    p.temperature = 1;
    p.seed = 5;
    demand(&p, "{\"regex\": \"[a-z]{4}-[0-9]{4}\"}");
    hear(e, *state, &p, "", whole, 60);
    assert_int_equal(strlen(whole), 9);
    for (size_t cut = 1; cut <= 9; cut++) {
        snprintf(begin, sizeof begin, "%.*s", (int)cut, whole);
        hear(e, *state, &p, begin, rest, 60);
        assert_int_equal(strlen(rest), 9);
        assert_memory_equal(rest, begin, cut);
    }
    engine_free(e);
}

static void more_specs_than_are_kept_are_served(void **state) {
    engine *e = engine_that_knows(*state, "mock");
    for (int i = 0; i < 100; i++) {
        char spec[64], want[16], said[64];
        sampling p = greedy();
        snprintf(want, sizeof want, "%d", i % 70);
        snprintf(spec, sizeof spec, "{\"literal\": \"%s\"}", want);
        demand(&p, spec);
        hear(e, *state, &p, "", said, 60);
        assert_string_equal(said, want);
    }
    engine_free(e);
}

static void what_cannot_be_obeyed_is_not_opened(void **state) {
    const fixture *f = *state;
    engine *e = engine_that_knows(f, "cpu"), *mute = engine_of(f, "cpu", 1, DT_F16);
    const uint32_t page = 0;
    const int32_t other = 3 + 'z';
    sampling p = greedy();
    seq_start init = {.prompt = f->prompt, .prompt_count = 3, .params = &p, .pages = &page, .page_count = 1};
    errbuf eb = {0};
    demand(&p, "{\"regex\": \"(\"}");
    assert_int_not_equal(engine_seq_open(e, 0, &init, &eb), ST_OK);
    assert_non_null(strstr(eb.text, "sequence: spec"));
    demand(&p, "{\"literal\": \"ab\"}");
    init.output = &other;
    init.output_count = 1;
    assert_int_equal(engine_seq_open(e, 0, &init, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "output token 0"));
    init.output_count = 0;
    assert_int_equal(engine_seq_open(mute, 0, &init, &eb), ST_UNSUPPORTED);
    assert_int_equal(engine_seq_open(e, 0, &init, &eb), ST_OK); /* the slot is as it was */
    engine_free(e);                                             /* closes it */
    engine_free(mute);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_has_its_form_and_ends_with_it),
        cmocka_unit_test(min_tokens_keeps_an_answer_that_could_go_on_from_its_end),
        cmocka_unit_test(an_answer_goes_on_from_any_of_its_tokens),
        cmocka_unit_test(more_specs_than_are_kept_are_served),
        cmocka_unit_test(what_cannot_be_obeyed_is_not_opened),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
