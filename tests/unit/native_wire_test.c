/* Fields of the native socket's messages, without the socket. */
#include "coordinator/native_wire.h"

#include "base/clock.h"
#include "tests/test.h"

#include <xxhash.h>

#define NOW_NS (5 * NS_PER_S)

static status take(Baton__ClientRequest *m, api_request *out, api_error *e) {
    m->prompt_case = BATON__CLIENT_REQUEST__PROMPT_TEXT;
    m->text = (ProtobufCBinaryData){1, (uint8_t *)"a"};
    *e = (api_error){0};
    status st = native_wire_request(m, "tiny", NOW_NS, out, e);
    api_request_done(out);
    return st;
}

static void a_client_is_a_number_of_its_name(void **state) {
    (void)state;
    Baton__ClientRequest m;
    baton__client_request__init(&m);
    api_request r;
    api_error e;
    uint8_t name[API_ID_MAX + 1] = "me";
    assert_int_equal(take(&m, &r, &e), ST_OK);
    m.has_client = true;
    m.client = (ProtobufCBinaryData){2, name};
    native_wire_request(&m, "tiny", NOW_NS, &r, &e);
    assert_true(r.client == XXH3_64bits("me", 2));
    api_request_done(&r);
    static const size_t wrong[] = {0, API_ID_MAX + 1};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        m.client.len = wrong[i];
        assert_int_equal(take(&m, &r, &e), ST_INVALID);
        assert_int_equal(e.http, 400);
        assert_string_equal(e.text.text,
                            i ? "client: 129 bytes, want 1 to 128" : "client: 0 bytes, want 1 to 128");
    }
}

static void a_time_for_the_first_token_counts_from_now(void **state) {
    (void)state;
    Baton__ClientRequest m;
    baton__client_request__init(&m);
    m.prompt_case = BATON__CLIENT_REQUEST__PROMPT_TEXT;
    m.text = (ProtobufCBinaryData){1, (uint8_t *)"a"};
    const struct {
        bool given;
        uint32_t ms;
        uint64_t want;
    } cases[] = {{false, 7, 0}, {true, 3000, NOW_NS + 3 * NS_PER_S}, {true, 0, UINT64_MAX}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        api_request r;
        api_error e = {0};
        m.has_ttft_ms = cases[i].given;
        m.ttft_ms = cases[i].ms;
        assert_int_equal(native_wire_request(&m, "tiny", NOW_NS, &r, &e), ST_OK);
        assert_true(r.first_by_ns == cases[i].want);
        assert_true(r.client == 0);
        api_request_done(&r);
    }
    api_request r;
    api_error e;
    m.ttft_ms = 86400001;
    assert_int_equal(take(&m, &r, &e), ST_INVALID);
    assert_string_equal(e.text.text, "ttft_ms: 86400001, want 0 (any time) to 86400000");
}

static void an_error_says_when_to_try_again(void **state) {
    (void)state;
    api_error e = {.http = 429, .retry_s = 12};
    for (int known = 0; known < 2; known++, e.retry_s = 0) {
        buf out = {0};
        native_wire_error(&out, NULL, &e);
        Baton__ServerEvent *ev = baton__server_event__unpack(NULL, out.len, (uint8_t *)out.data);
        assert_non_null(ev);
        assert_int_equal(ev->error->http, 429);
        assert_int_equal(ev->error->has_retry_after_s, e.retry_s > 0);
        assert_int_equal(ev->error->retry_after_s, e.retry_s);
        baton__server_event__free_unpacked(ev, NULL);
        buf_done(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_is_a_number_of_its_name),
        cmocka_unit_test(a_time_for_the_first_token_counts_from_now),
        cmocka_unit_test(an_error_says_when_to_try_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
