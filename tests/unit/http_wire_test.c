/* What comes over the wire and is no plain request: framing, limits, deadlines, other origins, keys. */
#include "http_world.h"

#include "coordinator/http_head.h"
#include "coordinator/live_files.h"

#include <ctype.h>
#include <jansson.h>

#define POST_HEAD   "POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
#define TOKENIZE    "POST /tokenize HTTP/1.1\r\nHost: x\r\n"
#define TOKENIZED   "{\"count\":2,\"max_model_len\":4096,\"tokens\":[97,98],\"token_strs\":null}"
#define AB          "{\"prompt\":\"ab\",\"add_special_tokens\":false}" /* 42 = 0x2a bytes */
#define IS_ERROR(w) (has(w, 0, "\"type\":\"") && has(w, 0, "application/json"))

static void say(world *w, int i, const char *text) {
    send_all(w, i, text, strlen(text));
}

static void a_chunked_body_with_extensions_and_a_trailer_is_read(void **state) {
    world *w = *state;
    dial(w, 0, 0);
    say(w, 0,
        TOKENIZE "Transfer-Encoding: chunked\r\n\r\n"
                 "5;name=\"v;1\"\r\n{\"pro\r\n25 ; x\r\nmpt\":\"ab\",\"add_special_tokens\":false}\r\n"
                 "0;last\r\nX-Sum: 1\r\nX-More: 2\r\n\r\nGET /ping HTTP/1.1\r\nHost: x\r\n\r\n");
    PUMP_UNTIL(w, count_of(w, 0, "HTTP/1.1 200 ") == 2);
    assert_true(has(w, 0, TOKENIZED));
    assert_false(w->closed[0]);
}

static void a_body_may_come_byte_by_byte(void **state) {
    world *w = *state;
    dial(w, 0, 0);
    const char *text = "\r\n" TOKENIZE "transfer-encoding: Chunked\r\n\r\n2A\r\n" AB "\r\n00\r\na: b\r\n\r\n";
    for (; *text; text++) {
        send_all(w, 0, text, 1);
        pump(w);
    }
    PUMP_UNTIL(w, has(w, 0, TOKENIZED));
}

/* The answer has this status and is JSON, and the connection ends after it. */
static void refused_as(world *w, const char *bytes, const char *code, const char *word) {
    dial(w, 0, 0);
    say(w, 0, bytes);
    PUMP_UNTIL(w, w->closed[0]);
    char *line = xasprintf("HTTP/1.1 %s ", code);
    if (!has(w, 0, line) || !IS_ERROR(w) || !has(w, 0, word) || count_of(w, 0, "HTTP/1.1 ") != 1)
        fail_msg("%s\ngot: %s\nwant: %s and '%s'", bytes, w->in[0].data, code, word);
    assert_true(has(w, 0, "Connection: close"));
    assert_true(has(w, 0, "x-request-id: "));
    free(line);
    hang_up(w, 0);
}

static void what_is_no_request_is_refused_in_json_and_closed(void **state) {
    world *w = *state;
    refused_as(w, "hello\r\n\r\n", "400", "request line");
    refused_as(w, "GET /health\r\n\r\n", "400", "request line");
    refused_as(w, "\x16\x03\x01\x02", "400", "TLS");
    refused_as(w, "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", "400", "percent-encoded");
    refused_as(w, "GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", "400", "NUL");
    refused_as(w, "GET health HTTP/1.1\r\nHost: x\r\n\r\n", "400", "begin with /");
    refused_as(w, "GET /health HTTP/1.1\r\n\r\n", "400", "Host");
    refused_as(w, "GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "400", "Host");
    refused_as(w, "GET /health HTTP/1.1\r\nHost : x\r\n\r\n", "400", "NAME: VALUE");
    refused_as(w, "GET /health HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", "400", "NAME: VALUE");
    refused_as(w, "GET /health HTTP/1.1\r\nHost: x\ry\r\n\r\n", "400", "control character");
    refused_as(w, "CONNECT /health HTTP/1.1\r\nHost: x\r\n\r\n", "405", "no proxy");
    refused_as(w, "BREW /health HTTP/1.1\r\nHost: x\r\n\r\n", "501", "BREW");
    refused_as(w, "get /health HTTP/1.1\r\nHost: x\r\n\r\n", "501", "get");
    refused_as(w, "QUERYX / HTTP/1.1\r\nHost: x\r\n\r\n", "501", "QUERYX");
    refused_as(w, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505", "HTTP/2");
    refused_as(w, "GET /health HTTP/1.1\r\nHost: x\r\nExpect: tea\r\n\r\n", "417", "tea");
}

static void lengths_that_two_readers_could_read_differently_are_refused(void **state) {
    world *w = *state;
    refused_as(w, TOKENIZE "Content-Length: 42\r\nTransfer-Encoding: chunked\r\n\r\n", "400", "want one");
    refused_as(w, TOKENIZE "Content-Length: 42\r\nContent-Length: 42\r\n\r\n" AB, "400", "Content-Length");
    refused_as(w, TOKENIZE "Content-Length: 4, 4\r\n\r\n", "400", "number");
    refused_as(w, TOKENIZE "Content-Length: -1\r\n\r\n", "400", "number");
    refused_as(w, TOKENIZE "Content-Length: +1\r\n\r\n", "400", "number");
    refused_as(w, TOKENIZE "Content-Length: 99999999999999999999999\r\n\r\n", "413", "max_body_kb");
    refused_as(w, TOKENIZE "Transfer-Encoding: gzip, chunked\r\n\r\n", "501", "gzip");
    refused_as(w, "POST /tokenize HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "400", "HTTP/1.0");
#define CHUNKED TOKENIZE "Transfer-Encoding: chunked\r\n\r\n"
    refused_as(w, CHUNKED "xyz\r\n", "400", "hexadecimal");
    refused_as(w, CHUNKED "-1\r\n", "400", "hexadecimal");
    refused_as(w, CHUNKED "\r\n", "400", "hexadecimal");
    refused_as(w, CHUNKED "0x2\r\n{}\r\n", "400", "hexadecimal");
    refused_as(w, CHUNKED "2\r\n{}x\r\n0\r\n\r\n", "400", "longer");
    refused_as(w, CHUNKED "2\n{}\r\n0\r\n\r\n", "400", "LF");
    refused_as(w, CHUNKED "ffffffffffffffff\r\n", "413", "max_body_kb");
    refused_as(w, CHUNKED "40001\r\n", "413", "max_body_kb");
}

static void limits_of_a_head_are_told(void **state) {
    world *w = *state;
    buf b = {0};
    buf_adds(&b, "GET /");
    for (int i = 0; i < 9000; i++) buf_adds(&b, "a");
    refused_as(w, b.data, "414", "8192"); /* before it ends */
    buf_adds(&b, " HTTP/1.1\r\nHost: x\r\n\r\n");
    refused_as(w, b.data, "414", "8192");
    buf_reset(&b);
    buf_adds(&b, "GET /ping HTTP/1.1\r\nHost: x\r\nA: ");
    for (int i = 0; i < 70000; i++) buf_adds(&b, "a");
    refused_as(w, b.data, "431", "65536");
    buf_reset(&b);
    buf_adds(&b, "GET /ping HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < 100; i++) buf_addf(&b, "A%d: b\r\n", i);
    buf_adds(&b, "\r\n");
    refused_as(w, b.data, "431", "100 header fields");
    buf_done(&b);
}

static void a_client_that_asks_before_it_sends_is_answered(void **state) {
    world *w = *state;
    refused_as(w, POST_HEAD "Content-Length: 20000000\r\nExpect: 100-continue\r\n\r\n", "413",
               "the body has 20000000 bytes, want at most 262144 (limits.max_body_kb)");
    dial(w, 0, 0);
    say(w, 0, TOKENIZE "Content-Length: 42\r\nExpect: 100-continue\r\n\r\n");
    PUMP_UNTIL(w, has(w, 0, "HTTP/1.1 100 Continue\r\n\r\n"));
    say(w, 0, AB);
    PUMP_UNTIL(w, has(w, 0, TOKENIZED));
    assert_int_equal(count_of(w, 0, "100 Continue"), 1);
}

static void an_old_client_gets_its_answer_and_the_end(void **state) {
    world *w = *state;
    dial(w, 0, 0);
    say(w, 0, "GET /ping HTTP/1.0\r\n\r\n");
    PUMP_UNTIL(w, w->closed[0]);
    assert_true(has(w, 0, "HTTP/1.1 200 OK") && has(w, 0, "Connection: close"));
    dial(w, 1, 0);
    say(w, 1, "GET /ping HTTP/1.0\nConnection: Keep-Alive\n\nGET /ping HTTP/1.0\n\n");
    PUMP_UNTIL(w, w->closed[1]);
    assert_int_equal(count_of(w, 1, "HTTP/1.1 200 OK"), 2);
    dial(w, 2, 0); /* a stream has no chunks */
    const char *body = "{\"prompt\":\"a\",\"stream\":true}";
    char *text =
        xasprintf("POST /v1/completions HTTP/1.0\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    say(w, 2, text);
    free(text);
    PUMP_UNTIL(w, w->core.last == 1);
    fake_token(&w->core, 1, (token_out){.id = 'x', .fin = FINISH_LENGTH});
    PUMP_UNTIL(w, w->closed[2]);
    assert_true(has(w, 2, "\r\n\r\ndata: {") && has(w, 2, "data: [DONE]\n\n"));
    assert_false(has(w, 2, "chunked"));
}

static void requests_of_one_packet_are_answered_in_order(void **state) {
    world *w = *state;
    buf b = {0};
    enum { N = 300 };
    for (int i = 0; i < N; i++)
        buf_addf(&b, "GET /%s HTTP/1.1\r\nHost: x\r\nx-request-id: r%d\r\n\r\n", i % 2 ? "ping" : "metrics",
                 i);
    dial(w, 0, 0);
    say(w, 0, b.data);
    shutdown(w->fd[0], SHUT_WR); /* it only reads from here on */
    PUMP_UNTIL(w, w->closed[0]);
    const char *at = w->in[0].data;
    for (int i = 0; i < N; i++) {
        char id[32];
        snprintf(id, sizeof id, "x-request-id: r%d\r\n", i);
        at = strstr(at, id);
        assert_non_null(at);
    }
    assert_int_equal(count_of(w, 0, "HTTP/1.1 200 "), N);
    buf_done(&b);
}

static void a_client_that_shuts_its_side_while_it_waits_has_left(void **state) {
    world *w = *state;
    dial(w, 0, 0);
    post(w, 0, "/v1/completions", "", "{\"prompt\":\"a\"}");
    PUMP_UNTIL(w, w->core.last == 1);
    shutdown(w->fd[0], SHUT_WR);
    PUMP_UNTIL(w, w->core.requests[1].canceled && w->closed[0]);
}

static void what_never_ends_is_ended(void **state) {
    world *w = *state;
    dial(w, 0, 0);
    say(w, 0, "GET /ping HTTP/1.1\r\nA: b\r\n");
    dial(w, 1, 0);
    say(w, 1, TOKENIZE "Content-Length: 42\r\n\r\n{");
    dial(w, 2, 0); /* asks nothing */
    for (int i = 0; i < 50; i++) pump(w);
    w->skip_ns = 10 * NS_PER_S;
    pump(w);
    for (int i = 0; i < CLIENTS; i++) read_client(w, i);
    assert_int_equal(w->in[0].len + w->in[1].len, 0);
    w->skip_ns = 45 * NS_PER_S;
    PUMP_UNTIL(w, has(w, 0, "HTTP/1.1 408 ") && has(w, 1, "HTTP/1.1 408 ") && w->closed[0] && w->closed[1]);
    assert_true(IS_ERROR(w));
    assert_false(w->closed[2]);
    w->skip_ns = 200 * NS_PER_S;
    PUMP_UNTIL(w, w->closed[2]);
    assert_int_equal(w->in[2].len, 0);
}

static void ask(world *w, const char *method, const char *path, const char *fields) {
    if (w->fd[0] < 0) dial(w, 0, 0);
    buf_reset(&w->in[0]);
    char *text = xasprintf("%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n", method, path, fields);
    say(w, 0, text);
    free(text);
    PUMP_UNTIL(w, has(w, 0, "\r\n\r\n"));
}

static void a_path_may_be_written_in_several_ways(void **state) {
    world *w = *state;
    static const char *const same[] = {"/health/",         "//health",
                                       "/health?a=b",      "/%68ealth",
                                       "http://x/health",  "/v1/models/",
                                       "/v1//models",      "/v1/models/tiny",
                                       "/v1/models/tiny/", "/v1/models/t%69ny",
                                       "/healthz",         "/readyz",
                                       "/livez",           "/load",
                                       "/openapi.json",    "https://x"};
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        ask(w, "HEAD", same[i], "");
        if (!has(w, 0, "HTTP/1.1 200 OK")) fail_msg("%s: %s", same[i], w->in[0].data);
    }
    static const char *const other[] = {"/v1/../health", "/healthy", "/v1/models/tinyx", "/v1/models/other",
                                        "/HEALTH"};
    for (size_t i = 0; i < ARRAY_LEN(other); i++) {
        ask(w, "HEAD", other[i], "");
        if (!has(w, 0, "HTTP/1.1 404 ")) fail_msg("%s: %s", other[i], w->in[0].data);
    }
    ask(w, "POST", "/ping", "Content-Length: 0\r\n");
    assert_true(has(w, 0, "HTTP/1.1 200 OK"));
    ask(w, "GET", "/load", "");
    PUMP_UNTIL(w, has(w, 0, "{\"server_load\":0,\"running\":3,\"waiting\":0}") || has(w, 0, "}\n"));
    assert_true(has(w, 0, "{\"server_load\":0,"));
    ask(w, "POST", "/tokenize", "Content-Length: 2\r\nContent-Encoding: gzip\r\n\r\nxx");
    assert_true(has(w, 0, "HTTP/1.1 415 "));
}

static void every_answer_has_the_requests_name(void **state) {
    world *w = *state;
    static const char *const paths[] = {"/ping", "/nowhere", "/v1/completions", "/metrics"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        ask(w, "HEAD", paths[i], "X-Request-ID: me-1\r\n");
        assert_true(has(w, 0, "x-request-id: me-1\r\n"));
    }
    buf b = {0};
    buf_adds(&b, "x-request-id: ");
    for (int i = 0; i < 129; i++) buf_adds(&b, "a");
    buf_adds(&b, "\r\n");
    ask(w, "HEAD", "/ping", b.data); /* too long: a fresh one */
    assert_false(has(w, 0, "aaaaaaaaaaaaaaaaaaaaa"));
    assert_true(has(w, 0, "x-request-id: "));
    ask(w, "HEAD", "/ping", "x-request-id: a b\r\n");
    assert_false(has(w, 0, "a b"));
    buf_done(&b);
}

static void a_page_of_another_origin_may_read_every_answer(void **state) {
    world *w = *state;
    ask(w, "OPTIONS", "/v1/chat/completions",
        "Origin: http://a\r\nAccess-Control-Request-Method: POST\r\n"
        "Access-Control-Request-Headers: authorization, content-type\r\n");
    assert_true(has(w, 0, "HTTP/1.1 204 No Content"));
    assert_true(has(w, 0, "Access-Control-Allow-Origin: *\r\n"));
    assert_true(has(w, 0, "Access-Control-Allow-Methods: POST, OPTIONS\r\n"));
    assert_true(has(w, 0, "Access-Control-Allow-Headers: authorization, content-type\r\n"));
    assert_true(has(w, 0, "Access-Control-Max-Age: "));
    assert_false(has(w, 0, "Content-Length") || has(w, 0, "Credentials"));
    ask(w, "HEAD", "/nowhere", "Origin: http://a\r\n");
    assert_true(has(w, 0, "HTTP/1.1 404 ") && has(w, 0, "Access-Control-Allow-Origin: *\r\n"));
    assert_true(has(w, 0, "Access-Control-Expose-Headers: x-request-id"));
    ask(w, "OPTIONS", "*", "");
    assert_true(has(w, 0, "HTTP/1.1 204 ") && has(w, 0, "Allow: GET, HEAD, POST, OPTIONS\r\n"));
    ask(w, "OPTIONS", "/metrics", "");
    assert_true(has(w, 0, "HTTP/1.1 204 ") && has(w, 0, "Allow: GET, HEAD, OPTIONS\r\n"));
    buf_reset(&w->in[0]);
    post(w, 0, "/v1/completions", "Origin: http://a\r\n", "{\"prompt\":\"a\",\"stream\":true}");
    PUMP_UNTIL(w, w->core.last == 1);
    fake_text(&w->core, 1, "x");
    PUMP_UNTIL(w, has(w, 0, "data: "));
    assert_true(has(w, 0, "Access-Control-Allow-Origin: *\r\n"));
    hang_up(w, 0);
    refused_as(w, "BREW / HTTP/1.1\r\nHost: x\r\n\r\n", "501", "BREW");
}

/* in: "NAME: VALUE" or NULL; the answer's field, NULL when there is none. Static storage. */
static const char *cors_of(const http_access *a, const char *origin, const char *field) {
    static char value[64];
    struct evkeyvalq in, out;
    TAILQ_INIT(&in);
    TAILQ_INIT(&out);
    if (origin) evhttp_add_header(&in, "Origin", origin);
    http_access_cors(a, &in, &out);
    const char *found = evhttp_find_header(&out, field);
    snprintf(value, sizeof value, "%s", found ? found : "");
    evhttp_clear_headers(&in);
    evhttp_clear_headers(&out);
    return found ? value : NULL;
}

static void listed_origins_are_named_and_others_are_not(void **state) {
    (void)state;
#define ALLOW "Access-Control-Allow-Origin"
    http_access two = {.origins = "http://a, https://b:1"}, none = {.origins = ""},
                all = {.origins = "*", .credentials = true};
    assert_string_equal(cors_of(&two, "http://a", ALLOW), "http://a");
    assert_string_equal(cors_of(&two, "https://b:1", ALLOW), "https://b:1");
    assert_null(cors_of(&two, "https://b", ALLOW));
    assert_null(cors_of(&two, NULL, ALLOW));
    assert_string_equal(cors_of(&two, "https://b", "Vary"), "Origin");
    assert_null(cors_of(&none, "http://a", ALLOW));
    assert_string_equal(cors_of(&all, "http://a", ALLOW), "http://a");
    assert_string_equal(cors_of(&all, "http://a", "Access-Control-Allow-Credentials"), "true");
    struct evkeyvalq in, out;
    TAILQ_INIT(&in);
    TAILQ_INIT(&out);
    evhttp_add_header(&in, "Origin", "http://c");
    evhttp_add_header(&in, "Access-Control-Request-Method", "GET");
    api_error e = {0};
    assert_true(http_access_preflight(&two, &in, "GET", &out, &e));
    assert_int_equal(e.http, 400);
    evhttp_clear_headers(&in);
    evhttp_clear_headers(&out);
}

static bool denied(const char *path, const char *authorization) {
    http_keys *keys = http_keys_new();
    assert_int_equal(http_keys_add(keys, NULL, "first", NULL), ST_OK);
    assert_int_equal(http_keys_add(keys, NULL, "second", NULL), ST_OK);
    http_access a = {.origins = "*", .keys = keys};
    struct evkeyvalq in;
    TAILQ_INIT(&in);
    if (authorization) evhttp_add_header(&in, "Authorization", authorization);
    bool is = http_access_denied(&a, path, http_access_client(&a, &in));
    evhttp_clear_headers(&in);
    http_keys_free(keys);
    return is;
}

static void a_key_opens_the_api_and_pages_need_none(void **state) {
    (void)state;
    assert_false(denied("/v1/models", "Bearer first") || denied("/v1/models", "bearer  second"));
    assert_false(denied("/health", NULL) || denied("/v10", NULL));
    static const char *const wrong[] = {"Bearer ",     "Bearer", "Bearer firs", "Bearer firstt",
                                        "Basic first", "first",  "Bearerfirst", "Bearer firstfirst",
                                        NULL};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) assert_true(denied("/v1/completions", wrong[i]));
}

/* methods has the name in capitals as one of its words. */
static bool names_method(const char *methods, const char *name) {
    char upper[16];
    size_t len = strlen(name);
    assert_true(len < sizeof upper);
    for (size_t i = 0; i <= len; i++) upper[i] = (char)toupper((unsigned char)name[i]);
    const char *at = strstr(methods, upper);
    return at && (at[len] == ',' || !at[len]);
}

static void the_description_has_every_route_and_no_other(void **state) {
    (void)state;
    json_error_t err;
    json_t *doc =
        json_loadb((const char *)live_openapi_json, live_openapi_json_len, JSON_REJECT_DUPLICATES, &err);
    if (!doc) fail_msg("openapi.json:%d: %s", err.line, err.text);
    json_t *paths = json_object_get(doc, "paths");
    const char *methods, *path;
    size_t count = 0;
    for (; (path = http_route(count, &methods)); count++) {
        json_t *item = json_object_get(paths, strcmp(path, "/v1/models/") ? path : "/v1/models/{model}");
        if (!item) fail_msg("%s is not in openapi.json", path);
        size_t told = 0, taken = 1;
        for (const char *p = methods; *p; p++) taken += *p == ',';
        const char *name;
        json_t *value;
        json_object_foreach(item, name, value) {
            if (strcmp(name, "parameters") == 0) continue;
            if (!names_method(methods, name)) fail_msg("%s does not take %s", path, name);
            told++;
        }
        if (told != taken) fail_msg("openapi.json lacks a method of %s", path);
    }
    assert_int_equal(count, json_object_size(paths));
    json_decref(doc);
}

int main(int argc, char **argv) {
    world_main(argc, argv);
    const struct CMUnitTest tests[] = {
        WITH_WORLD(a_chunked_body_with_extensions_and_a_trailer_is_read),
        WITH_WORLD(a_body_may_come_byte_by_byte),
        WITH_WORLD(what_is_no_request_is_refused_in_json_and_closed),
        WITH_WORLD(lengths_that_two_readers_could_read_differently_are_refused),
        WITH_WORLD(limits_of_a_head_are_told),
        WITH_WORLD(a_client_that_asks_before_it_sends_is_answered),
        WITH_WORLD(an_old_client_gets_its_answer_and_the_end),
        WITH_WORLD(requests_of_one_packet_are_answered_in_order),
        WITH_WORLD(a_client_that_shuts_its_side_while_it_waits_has_left),
        WITH_WORLD(what_never_ends_is_ended),
        WITH_WORLD(a_path_may_be_written_in_several_ways),
        WITH_WORLD(every_answer_has_the_requests_name),
        WITH_WORLD(a_page_of_another_origin_may_read_every_answer),
        cmocka_unit_test(the_description_has_every_route_and_no_other),
        cmocka_unit_test(listed_origins_are_named_and_others_are_not),
        cmocka_unit_test(a_key_opens_the_api_and_pages_need_none),
    };
    return world_end(cmocka_run_group_tests(tests, NULL, NULL));
}
