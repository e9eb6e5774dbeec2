/* Requests, answers and clients of the HTTP front (http_world.h). */
#include "http_world.h"

#define COMPLETIONS "/v1/completions"

/* ---- answers ---- */

static void a_whole_answer_waits_for_the_last_token(void **state) {
    world *w = *state;
    dial(w, 0, 0);
    post(w, 0, COMPLETIONS, "x-request-id: mine-7\r\n", "{\"prompt\":\"abc\"}");
    PUMP_UNTIL(w, w->core.last == 1);
    assert_int_equal(w->core.requests[1].prompt_count, 3);
    assert_int_equal(w->core.requests[1].prompt[2], 'c');
    fake_text(&w->core, 1, "hi");
    pump(w);
    read_client(w, 0);
    assert_int_equal(w->in[0].len, 0);
    fake_token(&w->core, 1, (token_out){.id = '!', .fin = FINISH_LENGTH});
    PUMP_UNTIL(w, has(w, 0, "}}}"));
    assert_true(has(w, 0, "HTTP/1.1 200 OK"));
    assert_true(has(w, 0, "\"text\":\"hi!\""));
    assert_true(has(w, 0, "\"id\":\"cmpl-mine-7\""));
    assert_true(has(w, 0, "x-request-id: mine-7"));
    assert_int_equal(http_client_count(w->http), 0);
}

static void headers_come_with_the_first_token_and_each_token_is_an_event(void **state) {
    world *w = *state;
    dial(w, 0, 0);
    post(w, 0, COMPLETIONS, "", "{\"prompt\":\"a\",\"stream\":true,\"stop\":\"zz\"}");
    PUMP_UNTIL(w, w->core.last == 1);
    pump(w);
    read_client(w, 0);
    assert_int_equal(w->in[0].len, 0);
    fake_text(&w->core, 1, "z"); /* held back: headers, but no event */
    PUMP_UNTIL(w, has(w, 0, "text/event-stream"));
    assert_int_equal(count_of(w, 0, "data: "), 0);
    size_t before = w->in[0].len;
    fake_text(&w->core, 1, "abc"); /* three tokens in one turn: three events in one chunk */
    PUMP_UNTIL(w, count_of(w, 0, "data: ") == 3);
    assert_true(has(w, 0, "\"text\":\"za\""));
    assert_int_equal(strtoul(w->in[0].data + before, NULL, 16) + 6,
                     w->in[0].len - before -
                         (strchr(w->in[0].data + before, '\r') - (w->in[0].data + before)) + 2);
    fake_token(&w->core, 1, (token_out){.id = FAKE_END, .fin = FINISH_EOS});
    PUMP_UNTIL(w, has(w, 0, "\r\n0\r\n\r\n"));
    assert_true(has(w, 0, "\"finish_reason\":\"stop\""));
    assert_true(has(w, 0, "data: [DONE]\n\n"));
    assert_int_equal(http_client_count(w->http), 0);
}

static void a_failure_before_the_first_token_keeps_its_status(void **state) {
    world *w = *state;
    dial(w, 0, 0);
    post(w, 0, COMPLETIONS, "", "{\"prompt\":\"a\",\"stream\":true}");
    PUMP_UNTIL(w, w->core.last == 1);
    fake_end(&w->core, 1, (core_end){.state = REQ_FAILED, .st = ST_PEER, .why = "no decode worker"});
    PUMP_UNTIL(w, has(w, 0, "}}"));
    assert_true(has(w, 0, "HTTP/1.1 503 "));
    assert_true(has(w, 0,
                    "{\"error\":{\"message\":\"no decode "
                    "worker\",\"type\":\"ServiceUnavailableError\",\"param\":null,\"code\":503}}"));
}

static void a_later_failure_is_an_event_and_then_done(void **state) {
    world *w = *state;
    dial(w, 0, 0);
    post(w, 0, COMPLETIONS, "", "{\"prompt\":\"a\",\"stream\":true,\"n\":2}");
    PUMP_UNTIL(w, w->core.last == 2);
    fake_text(&w->core, 1, "x");
    PUMP_UNTIL(w, has(w, 0, "\"text\":\"x\""));
    fake_end(&w->core, 2, (core_end){.state = REQ_FAILED, .st = ST_CORRUPT, .why = "broken"});
    PUMP_UNTIL(w, has(w, 0, "\r\n0\r\n\r\n"));
    assert_true(has(w, 0, "HTTP/1.1 200 OK"));
    const char *broken = "data: {\"error\":{\"message\":\"broken\",\"type\":\"InternalServerError\","
                         "\"param\":null,\"code\":500}}\n\ndata: [DONE]\n\n";
    assert_true(has(w, 0, broken));
    assert_true(w->core.requests[1].canceled);
}

static void a_full_queue_is_429_with_retry_after(void **state) {
    world *w = *state;
    w->core.refuse = ST_AGAIN;
    w->core.refuse_why = "the queue is full";
    dial(w, 0, 0);
    post(w, 0, COMPLETIONS, "", "{\"prompt\":\"a\"}");
    PUMP_UNTIL(w, has(w, 0, "}}"));
    assert_true(has(w, 0, "HTTP/1.1 429 "));
    assert_true(has(w, 0, "Retry-After: 1\r\n"));
    w->core.retry_s = 17;
    dial(w, 1, 0);
    post(w, 1, COMPLETIONS, "", "{\"prompt\":\"a\"}");
    PUMP_UNTIL(w, has(w, 1, "}}"));
    assert_true(has(w, 1, "Retry-After: 17\r\n"));
    assert_false(has(w, 1, "Retry-After: 1\r\n"));
}

static void a_request_says_until_when_its_first_token_must_come(void **state) {
    world *w = *state;
    static const char *const wrong[] = {"", "-1", "1.5", "2s", "86400001", "99999999999999999999"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        char field[64];
        snprintf(field, sizeof field, "x-slo-ttft-ms: %s\r\n", wrong[i]);
        dial(w, 0, 0);
        post(w, 0, COMPLETIONS, field, "{\"prompt\":\"a\"}");
        PUMP_UNTIL(w, has(w, 0, "}}"));
        assert_true(has(w, 0, "HTTP/1.1 400 "));
        assert_true(has(w, 0, "x-slo-ttft-ms: want whole milliseconds, 0 (any time) to 86400000, got "));
        hang_up(w, 0);
    }
    static const char *const fields[] = {"x-slo-ttft-ms: 2500\r\n", "X-SLO-TTFT-MS: 0\r\n", ""};
    uint64_t before_ns = clock_now_ns();
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        dial(w, 0, 0);
        post(w, 0, COMPLETIONS, fields[i], "{\"prompt\":\"a\"}");
        PUMP_UNTIL(w, w->core.last == i + 1);
        hang_up(w, 0);
    }
    assert_in_range(w->core.requests[1].first_by_ns, before_ns + 2500 * NS_PER_MS,
                    clock_now_ns() + 2500 * NS_PER_MS);
    assert_true(w->core.requests[2].first_by_ns == UINT64_MAX);
    assert_true(w->core.requests[3].first_by_ns == 0);
    assert_true(w->core.requests[1].client == 0);
}

/* ---- clients that leave ---- */

static void a_client_that_leaves_while_queued_cancels_all_its_choices(void **state) {
    world *w = *state;
    for (int streamed = 0; streamed < 2; streamed++) {
        dial(w, 0, 0);
        uint64_t first = w->core.last;
        post(w, 0, COMPLETIONS, "",
             streamed ? "{\"prompt\":\"a\",\"n\":3,\"stream\":true}" : "{\"prompt\":\"a\",\"n\":3}");
        PUMP_UNTIL(w, w->core.last == first + 3);
        assert_int_equal(http_client_count(w->http), 1);
        hang_up(w, 0);
        PUMP_UNTIL(w, http_client_count(w->http) == 0 && w->core.requests[first + 3].canceled);
        for (uint64_t i = 1; i <= 3; i++) assert_true(w->core.requests[first + i].canceled);
    }
}

static void a_client_that_leaves_in_the_middle_of_its_stream_cancels(void **state) {
    world *w = *state;
    dial(w, 0, 0);
    post(w, 0, COMPLETIONS, "", "{\"prompt\":\"a\",\"stream\":true}");
    PUMP_UNTIL(w, w->core.last == 1);
    fake_text(&w->core, 1, "x");
    PUMP_UNTIL(w, has(w, 0, "data: "));
    hang_up(w, 0);
    PUMP_UNTIL(w, w->core.requests[1].canceled);
    assert_int_equal(http_client_count(w->http), 0);
    fake_text(&w->core, 1, "y"); /* too late, and no harm */
    pump(w);
}

/* As it goes when a client closes with something unread, or its host forgot the connection. */
static void a_client_that_resets_while_queued_cancels(void **state) {
    world *w = *state;
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    for (int pipelined = 0; pipelined < 2; pipelined++) {
        dial(w, 0, 0);
        uint64_t first = w->core.last;
        post(w, 0, COMPLETIONS, "", "{\"prompt\":\"a\"}");
        if (pipelined) post(w, 0, COMPLETIONS, "", "{\"prompt\":\"b\"}");
        PUMP_UNTIL(w, w->core.last == first + 1);
        assert_int_equal(setsockopt(w->fd[0], SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
        hang_up(w, 0);
        PUMP_UNTIL(w, http_client_count(w->http) == 0 && w->core.requests[first + 1].canceled);
    }
}

static void a_pipelined_second_request_is_answered_after_the_first(void **state) {
    world *w = *state;
    dial(w, 0, 0);
    post(w, 0, COMPLETIONS, "", "{\"prompt\":\"a\",\"stream\":true}");
    post(w, 0, COMPLETIONS, "", "{\"prompt\":\"b\"}");
    PUMP_UNTIL(w, w->core.last == 1);
    for (int i = 0; i < 5; i++) pump(w);
    assert_int_equal(w->core.last, 1);
    fake_token(&w->core, 1, (token_out){.id = 'x', .fin = FINISH_LENGTH});
    PUMP_UNTIL(w, w->core.last == 2);
    fake_token(&w->core, 2, (token_out){.id = 'y', .fin = FINISH_LENGTH});
    PUMP_UNTIL(w, has(w, 0, "\"text\":\"y\""));
    assert_true(strstr(w->in[0].data, "[DONE]") < strstr(w->in[0].data, "\"text\":\"y\""));
}

static void a_client_that_pipelines_and_leaves_cancels_the_first(void **state) {
    world *w = *state;
    dial(w, 0, 0);
    post(w, 0, COMPLETIONS, "", "{\"prompt\":\"a\"}");
    post(w, 0, COMPLETIONS, "", "{\"prompt\":\"b\"}");
    PUMP_UNTIL(w, w->core.last == 1);
    hang_up(w, 0);
    PUMP_UNTIL(w, w->core.requests[1].canceled);
    for (int i = 0; i < 5; i++) pump(w);
    assert_int_equal(w->core.last, 1);
    assert_int_equal(http_client_count(w->http), 0);
}

/* ---- clients that do not read ---- */

static void flood(world *w, uint64_t req, uint32_t tokens) {
    for (uint32_t i = 0; i < tokens; i++)
        fake_token(&w->core, req, (token_out){.id = 'a' + (int32_t)(i % 26)});
}

static void a_client_that_pauses_loses_nothing(void **state) {
    world *w = *state;
    dial(w, 0, 4096);
    post(w, 0, COMPLETIONS, "", "{\"prompt\":\"a\",\"stream\":true,\"max_tokens\":4000}");
    while (w->core.last == 0) pump(w);
    flood(w, 1, 3999);
    fake_token(&w->core, 1, (token_out){.id = 'Z', .fin = FINISH_LENGTH});
    for (int i = 0; i < 20; i++) pump(w);
    /* What is unsent waits in the log; TLS may have given all to the kernel by now. */
    if (!world_tls) assert_int_equal(http_client_count(w->http), 1);
    PUMP_UNTIL(w, has(w, 0, "\r\n0\r\n\r\n"));
    assert_int_equal(count_of(w, 0, "\"text\":"), 4000);
    assert_int_equal(http_client_count(w->http), 0);
}

static void a_client_that_never_reads_is_canceled(void **state) {
    world *w = *state;
    dial(w, 0, 4096);
    post(w, 0, COMPLETIONS, "", "{\"prompt\":\"a\",\"stream\":true,\"max_tokens\":4000}");
    while (w->core.last == 0) pump(w);
    /* More than the kernel's buffers of both ends take on loopback. */
    for (int i = 0; i < 12; i++) {
        flood(w, 1, 4000);
        for (int k = 0; k < 30; k++) pump(w);
    }
    assert_int_equal(http_client_count(w->http), 1);
    w->skip_ns = SLOW_NS / 3; /* the rest is for what this test itself may sleep */
    pump(w);
    assert_false(w->core.requests[1].canceled);
    /* What the kernel still took after a jump of the clock counts as reading, at the new time. */
    for (uint32_t i = 0; i < 10 && !w->core.requests[1].canceled; i++) {
        w->skip_ns += SLOW_NS + 2 * NS_PER_S;
        pump(w);
    }
    assert_true(w->core.requests[1].canceled);
    assert_int_equal(http_client_count(w->http), 0);
}

/* ---- large bodies ---- */

static char *large_body(size_t bytes) {
    char *body = xmalloc(bytes + 32);
    strcpy(body, "{\"prompt\":\"");
    size_t at = strlen(body);
    memset(body + at, 'x', bytes);
    strcpy(body + at + bytes, "\"}");
    return body;
}

static void a_large_body_goes_through_the_text_thread(void **state) {
    world *w = *state;
    char *body = large_body(100 * 1024);
    dial(w, 0, 0);
    post(w, 0, COMPLETIONS, "", body);
    PUMP_UNTIL(w, has(w, 0, "}}"));
    assert_true(has(w, 0, "HTTP/1.1 400 "));
    assert_true(has(w, 0, "more than 4096 tokens"));
    assert_true(has(w, 0, "context"));
    free(body);
}

static void a_client_may_leave_while_its_body_is_read(void **state) {
    world *w = *state;
    char *body = large_body(200 * 1024);
    for (int round = 0; round < 20; round++) {
        dial(w, 0, 0);
        post(w, 0, COMPLETIONS, "", body);
        PUMP_UNTIL(w, http_client_count(w->http) > 0 || w->in[0].len > 0);
        hang_up(w, 0);
        PUMP_UNTIL(w, http_client_count(w->http) == 0);
    }
    assert_int_equal(w->core.last, 0);
    free(body);
}

static void a_body_over_the_limit_is_413(void **state) {
    world *w = *state;
    char *body = large_body(BODY_MAX + 1);
    dial(w, 0, 0);
    post(w, 0, COMPLETIONS, "", body);
    PUMP_UNTIL(w, has(w, 0, "}}"));
    assert_true(has(w, 0, "HTTP/1.1 413 "));
    assert_true(has(w, 0, "limits.max_body_kb"));
    free(body);
    body = large_body(3 * BODY_MAX); /* more than is read ahead */
    dial(w, 1, 0);
    post(w, 1, COMPLETIONS, "", body);
    PUMP_UNTIL(w, has(w, 1, "HTTP/1.1 413 "));
    free(body);
}

/* ---- paths ---- */

static void paths_and_methods_are_judged(void **state) {
    world *w = *state;
    dial(w, 0, 0);
    get(w, 0, "GET", "/nowhere");
    PUMP_UNTIL(w, has(w, 0, "}}"));
    assert_true(has(w, 0, "HTTP/1.1 404 "));
    assert_true(has(w, 0, "/nowhere"));
    buf_reset(&w->in[0]);
    get(w, 0, "GET", COMPLETIONS);
    PUMP_UNTIL(w, has(w, 0, "}}"));
    assert_true(has(w, 0, "HTTP/1.1 405 "));
    assert_true(has(w, 0, "Allow: POST"));
    buf_reset(&w->in[0]);
    get(w, 0, "DELETE", "/health");
    PUMP_UNTIL(w, has(w, 0, "}}"));
    assert_true(has(w, 0, "HTTP/1.1 405 "));
    assert_true(has(w, 0, "Allow: GET"));
    buf_reset(&w->in[0]);
    get(w, 0, "HEAD", "/v1/models"); /* headers only, or the next answer would be out of step */
    get(w, 0, "GET", "/ping");
    PUMP_UNTIL(w, count_of(w, 0, "HTTP/1.1 200 ") == 2);
    assert_int_equal(count_of(w, 0, "Content-Length: "), 2);
    assert_false(has(w, 0, "\"object\":\"list\""));
    buf_reset(&w->in[0]);
    post(w, 0, COMPLETIONS, "", "{\"prompt\": \"x\",\n!");
    PUMP_UNTIL(w, has(w, 0, "}}"));
    assert_true(has(w, 0, "HTTP/1.1 400 "));
    assert_true(has(w, 0, "line 2, column 1"));
}

static void pages_tell_how_the_service_is(void **state) {
    world *w = *state;
    dial(w, 0, 0);
    get(w, 0, "GET", "/health");
    PUMP_UNTIL(w, has(w, 0, "\"workers_left\":0,\"workers_lost\":0,\"last_lost\":null}\n"));
    assert_true(has(w, 0, "HTTP/1.1 200 OK"));
    assert_true(
        has(w, 0,
            "{\"name\":\"decode-0\",\"host\":\"here\",\"role\":\"decode\",\"state\":\"ready\",\"step\":0,"));
    buf_reset(&w->in[0]);
    get(w, 0, "GET", "/ready");
    PUMP_UNTIL(w, has(w, 0, "\r\n\r\nok\n"));
    assert_true(has(w, 0, "HTTP/1.1 200 OK"));
    w->core.ready = false;
    buf_reset(&w->in[0]);
    get(w, 0, "GET", "/ready");
    PUMP_UNTIL(w, has(w, 0, "\r\n\r\nunavailable\n"));
    assert_true(has(w, 0, "HTTP/1.1 503 "));
    w->core.lost = "attend: an \"illegal\" address";
    buf_reset(&w->in[0]);
    get(w, 0, "GET", "/health");
    PUMP_UNTIL(w, has(w, 0, "}}\n"));
    assert_true(has(w, 0, "HTTP/1.1 503 "));
    assert_true(has(w, 0,
                    "\"last_lost\":{\"worker\":\"decode-1\",\"why\":\"attend: an \\\"illegal\\\" address\","
                    "\"age_ms\":1.5}}\n"));
    buf_reset(&w->in[0]);
    get(w, 0, "GET", "/v1/models");
    PUMP_UNTIL(w, has(w, 0, "]}\n"));
    assert_true(has(w, 0, "\"id\":\"tiny\",\"object\":\"model\""));
    assert_true(has(w, 0, "\"root\":\"tiny.gguf\",\"parent\":null,\"max_model_len\":4096,\"permission\":[]"));
    buf_reset(&w->in[0]);
    get(w, 0, "GET", "/metrics");
    PUMP_UNTIL(w, has(w, 0, "\nprocess_cpu_seconds_total ")); /* the last */
    assert_true(has(w, 0, "baton_kv_pages_used{role=\"decode\",worker=\"decode-0\"} 5\n"));
    assert_true(has(w, 0, "baton_requests{state=\"decode\"} 2\n"));
    assert_true(has(w, 0, "baton_handoffs_verified_total 7\n"));
    assert_true(has(w, 0, "baton_http_connections 1\n"));
    assert_true(has(w, 0, "baton_http_upload_bytes 0\n"));
    assert_true(has(w, 0, "baton_workers_joined_total 3\n"));
    assert_true(has(w, 0, "baton_workers_lost_total 0\n"));
    assert_true(has(w, 0, "vllm:kv_cache_usage_perc{model_name=\"tiny\",engine=\"0\"} 0.25\n"));
}

static void ask_version(world *w, const char *want) {
    buf_reset(&w->in[0]);
    get(w, 0, "GET", "/version");
    PUMP_UNTIL(w, has(w, 0, "\"}\n"));
    assert_true(has(w, 0, want));
}

static void the_version_page_tells_what_the_workers_compute_with(void **state) {
    world *w = *state;
    static const char *const exact[] = {
        "weights",  "00ff", "backend",       "cuda", "path", "cuda/sm_90/bf16",
        "kv_dtype", "bf16", "deterministic", "true", NULL};
    static const char *const fast[] = {"backend", "cuda", "deterministic", "false", NULL};
    dial(w, 0, 0);
    ask_version(w,
                "\"backend\":\"cpu\",\"path\":null,\"kv_dtype\":null,\"weights\":null,\"deterministic\":null,"
                "\"numerics\":\"no worker is here\"}\n");
    w->core.numerics = exact;
    ask_version(
        w,
        "\"backend\":\"cuda\",\"path\":\"cuda/sm_90/bf16\",\"kv_dtype\":\"bf16\",\"weights\":\"00ff\","
        "\"deterministic\":true,\"numerics\":\"the same request and seed give the same bytes on any route, "
        "batch, and after a worker's death\"}\n");
    w->core.numerics = fast;
    ask_version(
        w,
        "\"deterministic\":false,\"numerics\":\"results may depend on the batch and on how a prompt was cut: "
        "set model.deterministic for the same bytes\"}\n");
}

static void texts_and_ids_are_translated(void **state) {
    world *w = *state;
    dial(w, 0, 0);
    post(w, 0, "/tokenize", "", "{\"prompt\":\"ab\",\"add_special_tokens\":false}");
    PUMP_UNTIL(w, has(w, 0, "null}"));
    assert_true(has(w, 0, "{\"count\":2,\"max_model_len\":4096,\"tokens\":[97,98],\"token_strs\":null}"));
    buf_reset(&w->in[0]);
    post(w, 0, "/detokenize", "", "{\"tokens\":[97,258]}");
    PUMP_UNTIL(w, has(w, 0, "\"}"));
    assert_true(has(w, 0, "{\"prompt\":\"ahello\"}"));
}

static void a_stop_ends_every_client_with_an_error(void **state) {
    world *w = *state;
    dial(w, 0, 0);
    dial(w, 1, 0);
    post(w, 0, COMPLETIONS, "", "{\"prompt\":\"a\",\"stream\":true}");
    PUMP_UNTIL(w, w->core.last == 1);
    post(w, 1, COMPLETIONS, "", "{\"prompt\":\"b\"}");
    PUMP_UNTIL(w, w->core.last == 2);
    fake_text(&w->core, 1, "x");
    PUMP_UNTIL(w, has(w, 0, "data: "));
    http_stop(w->http, "the coordinator is stopping");
    PUMP_UNTIL(w, has(w, 0, "[DONE]") && has(w, 1, "}}"));
    assert_true(has(w, 0, "\"code\":503"));
    assert_true(has(w, 1, "HTTP/1.1 503 "));
    assert_true(w->core.requests[1].canceled && w->core.requests[2].canceled);
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons(http_port(w->http)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    w->fd[2] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(w->fd[2], (struct sockaddr *)&sa, sizeof sa), -1);
}

static void a_port_in_use_is_named_with_the_remedy(void **state) {
    world *w = *state;
    char *address = xasprintf("127.0.0.1:%u", http_port(w->http));
    http_options opt = {.loop = w->loop,
                        .core = &w->core,
                        .streams = w->streams,
                        .text = w->text,
                        .env = &fake_env,
                        .meter = w->meter,
                        .trace = w->trace,
                        .access = {.origins = ""},
                        .limits = WORLD_LIMITS};
    http *second = NULL;
    errbuf eb = {0};
    assert_int_equal(http_open(&second, address, &opt, &eb), ST_IO);
    assert_non_null(strstr(eb.text, address));
    assert_non_null(strstr(eb.text, "is in use"));
    assert_non_null(strstr(eb.text, "cluster.http"));
    free(address);
}

int main(int argc, char **argv) {
    world_main(argc, argv);
    const struct CMUnitTest tests[] = {
        WITH_WORLD(a_whole_answer_waits_for_the_last_token),
        WITH_WORLD(headers_come_with_the_first_token_and_each_token_is_an_event),
        WITH_WORLD(a_failure_before_the_first_token_keeps_its_status),
        WITH_WORLD(a_later_failure_is_an_event_and_then_done),
        WITH_WORLD(a_full_queue_is_429_with_retry_after),
        WITH_WORLD(a_request_says_until_when_its_first_token_must_come),
        WITH_WORLD(a_client_that_leaves_while_queued_cancels_all_its_choices),
        WITH_WORLD(a_client_that_leaves_in_the_middle_of_its_stream_cancels),
        WITH_WORLD(a_client_that_resets_while_queued_cancels),
        WITH_WORLD(a_pipelined_second_request_is_answered_after_the_first),
        WITH_WORLD(a_client_that_pipelines_and_leaves_cancels_the_first),
        WITH_WORLD(a_client_that_pauses_loses_nothing),
        WITH_WORLD(a_client_that_never_reads_is_canceled),
        WITH_WORLD(a_large_body_goes_through_the_text_thread),
        WITH_WORLD(a_client_may_leave_while_its_body_is_read),
        WITH_WORLD(a_body_over_the_limit_is_413),
        WITH_WORLD(paths_and_methods_are_judged),
        WITH_WORLD(pages_tell_how_the_service_is),
        WITH_WORLD(the_version_page_tells_what_the_workers_compute_with),
        WITH_WORLD(texts_and_ids_are_translated),
        WITH_WORLD(a_stop_ends_every_client_with_an_error),
        WITH_WORLD(a_port_in_use_is_named_with_the_remedy),
    };
    return world_end(cmocka_run_group_tests(tests, NULL, NULL));
}
