/* What a server streams, cut at every byte: HTTP responses, events, and the chunks of an answer. */
#include "tests/test.h"

#include "base/mem.h"
#include "bench/load/chunk.h"
#include "bench/load/http_response.h"
#include "bench/load/http_url.h"
#include "bench/load/sse.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- HTTP ---- */

static void add_body(void *ctx, const char *bytes, size_t count) {
    buf_add(ctx, bytes, count);
}

typedef struct taken {
    status st;
    size_t used;
    http_part part;
    int code;
    bool keep_alive, event_stream;
    char body[256];
    errbuf eb;
} taken;

/* Feeds the text in pieces: [0, cut), [cut, rest) or, with cut 0, byte by byte. */
static taken take(const char *text, size_t cut, bool then_close) {
    taken t = {0};
    http_response r = {0};
    buf body = {0};
    size_t len = strlen(text);
    http_response_begin(&r);
    for (size_t at = 0; at < len && t.st == ST_OK && r.part != HTTP_ENDED;) {
        size_t n = cut == 0 ? 1 : at < cut ? MIN(cut, len) - at : len - at, used = 0;
        t.st = http_response_feed(&r, text + at, n, &used, add_body, &body, &t.eb);
        t.used += used;
        if (t.st == ST_OK && r.part != HTTP_ENDED) assert_int_equal(used, n);
        at += used;
    }
    if (then_close && t.st == ST_OK) t.st = http_response_close(&r, &t.eb);
    t.part = r.part;
    t.code = r.status;
    t.keep_alive = r.keep_alive;
    t.event_stream = r.event_stream;
    assert_true(body.len < sizeof t.body);
    if (body.len) memcpy(t.body, body.data, body.len);
    buf_done(&body);
    http_response_done(&r);
    return t;
}

static void a_response_is_the_same_wherever_it_is_cut(void **state) {
    (void)state;
    static const struct {
        const char *text, *body;
        int code;
        bool keep_alive, event_stream, close;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", 200, true, false, false},
        {"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", "hello", 200, true, false, false},
        {"HTTP/1.1 200\r\nCONTENT-TYPE: text/event-stream; charset=utf-8\r\nTransfer-Encoding: "
         "chunked\r\n\r\n"
         "4;x=y\r\nabcd\r\n00A\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n",
         "abcd0123456789", 200, true, true, false},
        {"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "", 503, false,
         false, false},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length:  2 \r\n\r\nok", "ok", 200, true,
         false, false},
        {"HTTP/1.0 200 OK\r\n\r\nuntil the end", "until the end", 200, false, false, true},
        {"HTTP/1.1 204 No Content\r\n\r\n", "", 204, true, false, false},
        {"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx", "x", 200, true, false,
         false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t cut = 0; cut <= strlen(cases[i].text); cut++) {
            taken t = take(cases[i].text, cut, cases[i].close);
            assert_int_equal(t.st, ST_OK);
            assert_int_equal(t.part, HTTP_ENDED);
            assert_int_equal(t.code, cases[i].code);
            assert_string_equal(t.body, cases[i].body);
            assert_int_equal(t.keep_alive, cases[i].keep_alive);
            assert_int_equal(t.event_stream, cases[i].event_stream);
            assert_int_equal(t.used, strlen(cases[i].text));
        }
    }
}

static void bytes_after_a_response_are_not_taken(void **state) {
    (void)state;
    taken t = take("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 ...", 1000, false);
    assert_int_equal(t.st, ST_OK);
    assert_int_equal(t.used, strlen("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
}

static void a_response_that_breaks_off_is_an_error(void **state) {
    (void)state;
    static const char whole[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n";
    char text[sizeof whole];
    for (size_t len = 0; len + 1 < sizeof whole; len++) {
        memcpy(text, whole, len);
        text[len] = 0;
        taken t = take(text, 1000, true);
        assert_int_equal(t.st, ST_PEER);
        assert_non_null(strstr(t.eb.text, "closed the connection"));
    }
}

static void what_is_no_response_is_refused_with_its_reason(void **state) {
    (void)state;
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"SSH-2.0-OpenSSH\r\n", "SSH-2.0-OpenSSH"},
        {"HTTP/2 200\r\n", "HTTP/2 200"},
        {"HTTP/1.1 20x OK\r\n", "status line"},
        {"HTTP/1.1 200 OK\r\nno colon\r\n", "no colon"},
        {"HTTP/1.1 200 OK\r\nContent-Length: many\r\n", "'many'"},
        {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n", "'-1'"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "'xyz'"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", "longer than its size"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        taken t = take(cases[i].text, 1000, false);
        assert_int_equal(t.st, ST_CORRUPT);
        assert_non_null(strstr(t.eb.text, cases[i].why));
    }
}

static void lines_and_headers_are_bounded(void **state) {
    (void)state;
    http_response r = {0};
    errbuf eb = {0};
    size_t used = 0;
    buf body = {0}, text = {0};
    buf_adds(&text, "HTTP/1.1 200 OK\r\nX: ");
    for (uint32_t i = 0; i < HTTP_LINE_MAX; i++) buf_adds(&text, "x");
    http_response_begin(&r);
    assert_int_equal(http_response_feed(&r, text.data, text.len, &used, add_body, &body, &eb), ST_CORRUPT);
    assert_non_null(strstr(eb.text, "more than 8192 bytes"));
    buf_reset(&text);
    buf_adds(&text, "HTTP/1.1 200 OK\r\n");
    for (uint32_t i = 0; i < HTTP_HEADERS_MAX / 8 + 1; i++) buf_adds(&text, "X: 456\r\n");
    for (uint32_t i = 0; i < HTTP_HEADERS_MAX / 8 + 1; i++) buf_adds(&text, "X: 456\r\n");
    http_response_begin(&r);
    assert_int_equal(http_response_feed(&r, text.data, text.len, &used, add_body, &body, &eb), ST_CORRUPT);
    assert_non_null(strstr(eb.text, "headers have more than"));
    buf_done(&text);
    buf_done(&body);
    http_response_done(&r);
}

/* ---- events ---- */

static void note_event(void *ctx, const char *data, size_t len, bool error) {
    buf *out = ctx;
    buf_adds(out, error ? "!" : "[");
    buf_add(out, data, len);
    buf_adds(out, "]");
}

static char *split(const char *text, size_t cut) {
    sse s = {0};
    buf out = {0};
    errbuf eb = {0};
    sse_begin(&s);
    size_t len = strlen(text);
    for (size_t at = 0; at < len;) {
        size_t n = cut == 0 ? 1 : at < cut ? cut - at : len - at;
        assert_int_equal(sse_feed(&s, text + at, n, note_event, &out, &eb), ST_OK);
        at += n;
    }
    buf_adds(&out, sse_pending(&s) ? "..." : "");
    sse_done(&s);
    return out.data;
}

static void events_are_the_same_wherever_the_stream_is_cut(void **state) {
    (void)state;
    static const struct {
        const char *text, *events;
    } cases[] = {
        {"data: a\n\ndata: b\n\n", "[a][b]"},
        {"data: a\r\n\r\ndata: b\r\n\r\n", "[a][b]"},
        {"data: a\r\rdata: b\r\r", "[a][b]"},
        {"data:a\n\n", "[a]"},
        {": a comment\n\ndata: a\n: another\n\n:\n\n", "[a]"},
        {"data: a\ndata: b\n\ndata:\n\ndata\n\n", "[a\nb][][]"},
        {"id: 7\nevent: chunk\ndata: a\nretry: 5\n\nevent: error\ndata: b\n\ndata: c\n\n", "[a]!b][c]"},
        {"\n\n\ndata: [DONE]\n\n", "[[DONE]]"},
        {"data: x\n\ndata: not ended", "[x]..."},
        {"data: not ended\n", "..."},
        {"datas: no\ndata : no\n\n", ""},
        {"data:  two blanks\n\n", "[ two blanks]"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t cut = 0; cut <= strlen(cases[i].text); cut++) {
            char *got = split(cases[i].text, cut);
            assert_string_equal(got, cases[i].events);
            free(got);
        }
    }
}

static void an_event_without_end_is_bounded(void **state) {
    (void)state;
    sse s = {0};
    errbuf eb = {0};
    buf out = {0};
    char piece[65536];
    memset(piece, 'x', sizeof piece);
    status st = sse_feed(&s, "data: ", 6, note_event, &out, &eb);
    for (uint32_t i = 0; i < SSE_EVENT_MAX / sizeof piece && st == ST_OK; i++)
        st = sse_feed(&s, piece, sizeof piece, note_event, &out, &eb);
    assert_int_equal(st, ST_CORRUPT);
    assert_non_null(strstr(eb.text, "more than 4194304 bytes"));
    sse_begin(&s);
    buf lines = {0};
    buf_adds(&lines, "data: ");
    buf_add(&lines, piece, sizeof piece);
    buf_adds(&lines, "\n");
    st = ST_OK;
    for (uint32_t i = 0; i < SSE_EVENT_MAX / sizeof piece && st == ST_OK; i++)
        st = sse_feed(&s, lines.data, lines.len, note_event, &out, &eb);
    assert_int_equal(st, ST_CORRUPT);
    assert_null(out.data);
    buf_done(&lines);
    sse_done(&s);
}

/* ---- chunks ---- */

typedef struct expected {
    const char *json;
    bool content;
    uint32_t tokens;
    const char *finish;
} expected;

static const expected chunks[] = {
    {"{\"id\":\"c\",\"object\":\"text_completion\",\"created\":17,\"model\":\"m\",\"choices\":[{\"index\":0,"
     "\"text\":\"Hi\",\"logprobs\":null,\"finish_reason\":null,\"stop_reason\":null}],\"usage\":null}",
     true, 1, ""},
    {"{\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]"
     "}",
     false, 0, ""},
    {"{\"choices\":[{\"delta\":{\"content\":\"x\"}}]}", true, 1, ""},
    {"{\"choices\":[{\"delta\":{\"content\":null,\"reasoning_content\":\"hm\"}}]}", true, 1, ""},
    {"{\"choices\":[{\"delta\":{\"reasoning\":\"hm\"}}]}", true, 1, ""},
    {"{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}", false, 0, "stop"},
    {"{\"choices\":[{\"text\":\"\",\"token_ids\":[1,2,3],\"finish_reason\":\"length\"}]}", true, 3, "length"},
    {"{\"choices\":[{\"text\":\"\",\"token_ids\":[],\"prompt_token_ids\":[1,2]}]}", false, 0, ""},
    {" {\n \"usage\" : null , \"choices\" : [ { \"finish_reason\" : null , \"text\" : \"\\n\" , \"index\":0 "
     "} ] }\t",
     true, 1, ""},
    {"{\"choices\":[{\"te\\u0078t\":\"escaped key\"}]}", true, 1, ""},
    {"{\"choices\":[{\"finish_reason\":\"l\\u0065ngth\"}]}", false, 0, "length"},
    {"{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\"}}]}}]}", true, 1,
     ""},
    {"{\"choices\":[{\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"part\"}]}}]}", true, 1, ""},
    {"{\"choices\":[{\"text\":\"\\\"}]}{\",\"logprobs\":{\"text\":\"no\",\"tokens\":[\"a\",{\"b\":[1.5e-3,-2,"
     "true]}]}}]}",
     true, 1, ""},
    {"{\"choices\":[{\"logprobs\":{\"text\":\"not the text\"}}],\"x\":{\"choices\":[{\"text\":\"no\"}]}}",
     false, 0, ""},
    {"{\"choices\":[]}", false, 0, ""},
    {"{\"choices\":[{\"text\":\"a\"},{\"text\":\"\",\"finish_reason\":\"stop\"}]}", true, 1, "stop"},
};

static void a_chunk_says_content_tokens_and_finish(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(chunks); i++) {
        const expected *e = &chunks[i];
        status (*parsers[])(chunk *, const char *, size_t, errbuf *) = {chunk_parse, chunk_parse_full};
        for (size_t p = 0; p < ARRAY_LEN(parsers); p++) {
            chunk c;
            char *exact = xmemdup(e->json, strlen(e->json)); /* no NUL behind it */
            assert_int_equal(parsers[p](&c, exact, strlen(e->json), NULL), ST_OK);
            free(exact);
            assert_int_equal(c.content, e->content);
            assert_int_equal(c.tokens, e->tokens);
            assert_string_equal(c.finish, e->finish);
            assert_false(c.failed);
            assert_false(c.usage);
        }
    }
}

static void a_chunk_that_breaks_off_is_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(chunks); i++) {
        size_t len = strlen(chunks[i].json);
        while (chunks[i].json[len - 1] != '}') len--;
        for (size_t cut = 0; cut < len; cut++) {
            chunk c;
            errbuf eb = {0};
            char *exact = xmemdup(chunks[i].json, cut + 1);
            assert_int_equal(chunk_parse(&c, exact, cut, &eb), ST_CORRUPT);
            free(exact);
        }
    }
    static const char *const bad[] = {"[1]",
                                      "{\"choices\":[{\"text\":\"a\"}],}",
                                      "{\"choices\":[{\"text\":\"a\",,}]}",
                                      "{\"choices\":[{\"text\" \"a\"}]}",
                                      "{\"choices\":[{\"text\":\"a\"}]} x",
                                      "{\"choices\":[{\"text\":nul}]}",
                                      "{,\"choices\":[]}",
                                      "{\"choices\":[,{\"text\":\"a\"}]}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        chunk c;
        errbuf eb = {0};
        assert_int_equal(chunk_parse(&c, bad[i], strlen(bad[i]), &eb), ST_CORRUPT);
        assert_non_null(strstr(eb.text, "no JSON object"));
    }
}

static chunk parsed(const char *json) {
    chunk c;
    assert_int_equal(chunk_parse(&c, json, strlen(json), NULL), ST_OK);
    return c;
}

static void usage_tells_tokens_and_the_servers_stages(void **state) {
    (void)state;
    chunk c = parsed(
        "{\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3,\"total_tokens\":12,"
        "\"prompt_tokens_details\":{\"cached_tokens\":4},\"timings\":{\"queue_ms\":0.5,\"prefill_ms\":2,"
        "\"handoff_ms\":1.25,\"first_token_ms\":3,\"decode_ms\":4,\"total_ms\":8,\"attempts\":2,"
        "\"replays\":1,\"preemptions\":3}}}");
    assert_true(c.usage);
    assert_false(c.content);
    assert_int_equal(c.prompt_tokens, 9);
    assert_int_equal(c.output_tokens, 3);
    assert_int_equal(c.cached_tokens, 4);
    assert_true(c.stages.queue_ms == 0.5);
    assert_true(c.stages.handoff_ms == 1.25);
    assert_true(isnan(c.stages.decode_wait_ms));
    assert_int_equal(c.stages.attempts, 2);
    assert_int_equal(c.stages.preemptions, 3);
    c = parsed("{\"choices\":[{\"text\":\"x\"}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1}}");
    assert_true(c.usage);
    assert_true(c.content);
    assert_int_equal(c.cached_tokens, 0);
    assert_true(isnan(c.stages.queue_ms));
}

static void an_error_in_the_stream_is_told_with_its_text(void **state) {
    (void)state;
    chunk c = parsed("{\"error\":{\"message\":\"out of pages\",\"type\":\"x\",\"code\":500}}");
    assert_true(c.failed);
    assert_string_equal(c.error, "out of pages");
    c = parsed("{\"object\":\"error\",\"message\":\"flat\",\"code\":400}");
    assert_true(c.failed);
    assert_string_equal(c.error, "flat");
    c = parsed("{\"error\":\"only text\"}");
    assert_string_equal(c.error, "only text");
    assert_false(parsed("{\"error\":null,\"choices\":[]}").failed);
    char text[64];
    const char *html = "<html>\nBad Gateway";
    chunk_error_text(text, sizeof text, html, strlen(html));
    assert_string_equal(text, "<html> Bad Gateway");
    chunk_error_text(text, sizeof text, "", 0);
    assert_string_equal(text, "no text");
}

static void a_url_falls_into_its_parts(void **state) {
    (void)state;
    http_url u;
    errbuf eb = {0};
    assert_int_equal(http_url_parse(&u, "http://node-a:8000/api/v2/", &eb), ST_OK);
    assert_string_equal(u.at.host, "node-a");
    assert_string_equal(u.at.port, "8000");
    assert_string_equal(u.header, "node-a:8000");
    assert_string_equal(u.prefix, "/api/v2");
    assert_int_equal(http_url_parse(&u, "http://[::1]", &eb), ST_OK);
    assert_string_equal(u.at.host, "::1");
    assert_string_equal(u.at.port, "80");
    assert_string_equal(u.header, "[::1]");
    assert_string_equal(u.prefix, "");
    assert_false(u.secure);
    assert_int_equal(http_url_parse(&u, "https://x/v1", &eb), ST_OK);
    assert_true(u.secure);
    assert_string_equal(u.at.port, "443");
    assert_string_equal(u.header, "x");
    assert_int_equal(http_url_parse(&u, "localhost:8000", &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "http://HOST:PORT"));
    assert_int_equal(http_url_parse(&u, "http://:8000", &eb), ST_INVALID);
    assert_int_equal(http_url_parse(&u, "http://a:80000", &eb), ST_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_response_is_the_same_wherever_it_is_cut),
        cmocka_unit_test(bytes_after_a_response_are_not_taken),
        cmocka_unit_test(a_response_that_breaks_off_is_an_error),
        cmocka_unit_test(what_is_no_response_is_refused_with_its_reason),
        cmocka_unit_test(lines_and_headers_are_bounded),
        cmocka_unit_test(events_are_the_same_wherever_the_stream_is_cut),
        cmocka_unit_test(an_event_without_end_is_bounded),
        cmocka_unit_test(a_chunk_says_content_tokens_and_finish),
        cmocka_unit_test(a_chunk_that_breaks_off_is_refused),
        cmocka_unit_test(usage_tells_tokens_and_the_servers_stages),
        cmocka_unit_test(an_error_in_the_stream_is_told_with_its_text),
        cmocka_unit_test(a_url_falls_into_its_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
