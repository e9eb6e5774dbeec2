/* openai_render_test - the shapes of answers. */
#include "coordinator/openai.h"

#include "front_fakes.h"
#include "tests/test.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

static void no_done(void *owner, text_job *job) {
    (void)owner, (void)job;
}

/* ---- bodies ---- */

typedef struct world {
    core core;
    meter *meter;
    streams *streams;
    stream *s;
} world;

static void no_wake(void *ctx) {
    (void)ctx;
}

static void open_world(world *w, api_kind kind, const char *body) {
    *w = (world){.meter = meter_new("tiny")};
    w->streams = w->core.streams = streams_new(&w->core, &fake_tokenizer, w->meter);
    text_job *job = text_job_new(kind, w, no_done);
    job->body = xstrdup(body);
    job->body_len = strlen(body);
    text_prepare(&fake_env, job);
    assert_int_equal(job->err.http, 0);
    snprintf(job->request.id, sizeof job->request.id, "cmpl-1");
    job->request.created = 1700000000;
    stream_listener l = {.ctx = w, .wake = no_wake};
    api_error e = {0};
    assert_int_equal(stream_open(&w->s, w->streams, &job->request, &l, 1, &e), ST_OK);
    text_job_free(job);
}

static void close_world(world *w) {
    stream_close(w->s, 1);
    streams_free(w->streams);
    meter_free(w->meter);
}

/* All events, as the client reads them. */
static void events(world *w, buf *out) {
    stream_step step;
    while (stream_next(w->s, stream_request(w->s)->kind != API_CHAT, &step))
        openai_event(out, w->s, &step, "tiny");
    if (stream_ended(w->s) || stream_error(w->s)) openai_tail(out, w->s, "tiny");
}

static void a_completion_has_vllms_shape(void **state) {
    (void)state;
    world w;
    open_world(&w, API_COMPLETION, "{\"prompt\":\"abc\",\"max_tokens\":2}");
    fake_token(&w.core, 1, (token_out){.id = FAKE_HELLO});
    fake_token(&w.core, 1, (token_out){.id = FAKE_WORLD, .fin = FINISH_LENGTH});
    buf b = {0};
    openai_body(&b, w.s, "tiny");
    assert_string_equal(
        b.data, "{\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":1700000000,\"model\":\"tiny\","
                "\"choices\":[{"
                "\"index\":0,"
                "\"text\":\"hello "
                "world\",\"logprobs\":null,\"finish_reason\":\"length\",\"stop_reason\":null}],\"usage\":"
                "{\"prompt_tokens\":3,\"total_tokens\":5,\"completion_tokens\":2,\"prompt_tokens_details\":{"
                "\"cached_tokens\":"
                "0}}}");
    buf_done(&b);
    close_world(&w);
}

static void a_chat_stream_has_the_role_first_and_the_end_alone(void **state) {
    (void)state;
    world w;
    open_world(
        &w, API_CHAT,
        "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"stream\":true,\"stream_options\":{\"include_"
        "usage\":true}}");
    w.core.cached = 16;
    fake_token(&w.core, 1, (token_out){.id = FAKE_HELLO});
    fake_token(&w.core, 1, (token_out){.id = FAKE_END, .fin = FINISH_EOS});
    buf b = {0};
    events(&w, &b);
#define HEAD                                                                                                 \
    "data: "                                                                                                 \
    "{\"id\":\"cmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"tiny\","     \
    "\"choices\":["
    assert_string_equal(b.data,
                        HEAD "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":"
                             "null,\"finish_reason\":null}],\"usage\":null}\n\n" HEAD
                             "{\"index\":0,\"delta\":{\"content\":\"hello\"},\"logprobs\":null,\"finish_"
                             "reason\":null}],\"usage\":null}\n\n" HEAD
                             "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_"
                             "reason\":null}],\"usage\":null}\n\n" HEAD
                             "],\"usage\":{\"prompt_tokens\":20,\"total_tokens\":22,\"completion_tokens\":2,"
                             "\"prompt_tokens_details\":{\"cached_tokens\":16}}}\n\n"
                             "data: [DONE]\n\n");
#undef HEAD
    buf_done(&b);
    close_world(&w);
}

static void a_completion_stream_ends_with_its_last_text(void **state) {
    (void)state;
    world w;
    open_world(&w, API_COMPLETION,
               "{\"prompt\":\"a\",\"stream\":true,\"echo\":true,\"return_token_ids\":true}");
    fake_token(&w.core, 1, (token_out){.id = 'x'});
    fake_token(&w.core, 1, (token_out){.id = 'y', .fin = FINISH_LENGTH});
    buf b = {0};
    events(&w, &b);
#define HEAD                                                                                                 \
    "data: "                                                                                                 \
    "{\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":1700000000,\"model\":\"tiny\","           \
    "\"choices\":["
    assert_string_equal(b.data,
                        HEAD "{\"index\":0,\"text\":\"a\",\"logprobs\":null,\"finish_reason\":null,\"stop_"
                             "reason\":null,\"prompt_token_ids\":[97]}]}\n\n" HEAD
                             "{\"index\":0,\"text\":\"x\",\"logprobs\":null,\"finish_reason\":null,\"stop_"
                             "reason\":null,\"token_ids\":[120]}]}\n\n" HEAD
                             "{\"index\":0,\"text\":\"y\",\"logprobs\":null,\"finish_reason\":\"length\","
                             "\"stop_reason\":null,\"token_ids\":[121]}]}\n\n"
                             "data: [DONE]\n\n");
#undef HEAD
    buf_done(&b);
    close_world(&w);
}

static void logprobs_have_the_shape_of_each_api(void **state) {
    (void)state;
    token_out t = {.id = 'a',
                   .logprob = -0.5f,
                   .top_count = 2,
                   .top = {{'b', -0.25f}, {FAKE_EMOJI_A, -1.0f / 0.0f}},
                   .fin = FINISH_LENGTH};
    world w;
    open_world(&w, API_COMPLETION, "{\"prompt\":\"x\",\"logprobs\":2}");
    fake_token(&w.core, 1, (token_out){.id = FAKE_HELLO, .logprob = -1.5f});
    fake_token(&w.core, 1, t);
    buf b = {0};
    openai_body(&b, w.s, "tiny");
    assert_non_null(
        strstr(b.data, "\"logprobs\":{\"tokens\":[\"hello\",\"a\"],\"token_logprobs\":[-1.5,-0.5],\"top_"
                       "logprobs\":[{\"hello\":-1.5},"
                       "{\"b\":-0.25,\"bytes:\\\\xf0\\\\x9f\":-9999,\"a\":-0.5}],\"text_offset\":[0,5]}"));
    json_t *j = json_loads(b.data, 0, NULL);
    assert_non_null(j);
    json_decref(j);
    close_world(&w);

    open_world(&w, API_CHAT,
               "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"logprobs\":true,\"top_logprobs\":2}");
    fake_token(&w.core, 1, t);
    buf_reset(&b);
    openai_body(&b, w.s, "tiny");
    assert_non_null(strstr(
        b.data,
        "\"logprobs\":{\"content\":[{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":[97],\"top_logprobs\":["
        "{\"token\":\"b\",\"logprob\":-0.25,\"bytes\":[98]},{\"token\":\"\xef\xbf\xbd\",\"logprob\":-"
        "9999,\"bytes\":[240,159]}]}]}"));
    buf_done(&b);
    close_world(&w);
}

static void timings_are_part_of_usage(void **state) {
    (void)state;
    world w;
    open_world(&w, API_COMPLETION, "{\"prompt\":\"x\",\"timings\":true}");
    fake_token(&w.core, 1, (token_out){.id = 'a', .fin = FINISH_LENGTH});
    buf b = {0};
    openai_body(&b, w.s, "tiny");
    assert_non_null(strstr(b.data,
                           "\"timings\":{\"queue_ms\":1.000,\"prefill_ms\":2.000,\"handoff_ms\":3.000,"
                           "\"decode_wait_ms\":0.500,\"first_token_ms\":4.000,\"decode_ms\":5.000,\"total_"
                           "ms\":10.000,\"tokens_per_second\":100.000,"));
    buf_done(&b);
    close_world(&w);
}

static void strings_are_always_valid_json(void **state) {
    (void)state;
    buf b = {0};
    openai_string(&b, "a\"\\\n\t\x01\x7f\xff\xc3\xa9\xe2\x82", 12);
    assert_string_equal(b.data, "\"a\\\"\\\\\\n\\t\\u0001\\u007f\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\"");
    buf_reset(&b);
    openai_string(&b, NULL, 0);
    assert_string_equal(b.data, "\"\"");
    buf_reset(&b);
    api_error e = {0};
    api_fail(&e, 404, "model", "no \"x\"");
    openai_error(&b, &e);
    assert_string_equal(b.data, "{\"error\":{\"message\":\"no "
                                "\\\"x\\\"\",\"type\":\"NotFoundError\",\"param\":\"model\",\"code\":404}}");
    buf_done(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_completion_has_vllms_shape),
        cmocka_unit_test(a_chat_stream_has_the_role_first_and_the_end_alone),
        cmocka_unit_test(a_completion_stream_ends_with_its_last_text),
        cmocka_unit_test(logprobs_have_the_shape_of_each_api),
        cmocka_unit_test(timings_are_part_of_usage),
        cmocka_unit_test(strings_are_always_valid_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
