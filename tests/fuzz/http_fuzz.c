/* An HTTP request as it comes from a socket. The first byte says in what pieces, and whether they are of a
 * chunked body alone; what is made of them must be what is made of the whole. */
#include "base/mem.h"
#include "coordinator/http_head.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#define BODY_MAX ((size_t)64 * 1024)
#define HEAD_MAX ((size_t)64 * 1024)

/* Of a body that came in pieces of so many bytes; the status with which it ended, or ST_AGAIN. */
static status body_of(const uint8_t *data, size_t size, size_t step, buf *out, uint32_t *http) {
    http_chunks c = {0};
    struct evbuffer *in = evbuffer_new(), *body = evbuffer_new();
    status st = ST_AGAIN;
    api_error e = {0};
    for (size_t at = 0; at < size && st == ST_AGAIN; at += step) {
        evbuffer_add(in, data + at, MIN(step, size - at));
        st = http_chunks_read(&c, in, body, BODY_MAX, &e);
        CHECK(evbuffer_get_length(body) <= BODY_MAX);
    }
    CHECK((st == ST_INVALID) == (e.http != 0));
    *http = e.http;
    size_t len = evbuffer_get_length(body);
    if (len) evbuffer_remove(body, buf_grow(out, len), len);
    evbuffer_free(in);
    evbuffer_free(body);
    return st;
}

static void use_body(const uint8_t *data, size_t size, size_t step) {
    buf whole = {0}, pieces = {0};
    uint32_t a, b;
    status st = body_of(data, size, MAX(size, 1u), &whole, &a);
    CHECK(body_of(data, size, step, &pieces, &b) == st);
    CHECK(a == b);
    if (st == ST_OK) {
        CHECK(whole.len == pieces.len);
        CHECK(whole.len == 0 || memcmp(whole.data, pieces.data, whole.len) == 0);
    }
    buf_done(&whole);
    buf_done(&pieces);
}

static size_t head_of(const char *bytes, size_t size, size_t step, uint32_t *http) {
    size_t seen = 0;
    api_error e = {0};
    size_t end = 0;
    for (size_t len = MIN(step, size); !end && !e.http; len = MIN(len + step, size)) {
        end = http_head_end(bytes, MIN(len, HEAD_MAX), seen, HEAD_MAX, &e);
        CHECK(end <= len);
        seen = len;
        if (len == size) break;
    }
    *http = e.http;
    return end;
}

static void use_request(const char *bytes, size_t size, size_t step) {
    uint32_t refused, refused_whole;
    size_t end = head_of(bytes, size, step, &refused);
    size_t end_whole = head_of(bytes, size, size, &refused_whole);
    if (!refused && !refused_whole) CHECK(end == end_whole);
    if (!end) return;
    http_head h;
    api_error e = {0};
    http_head_init(&h);
    if (http_head_parse(&h, bytes, end, &e) == ST_OK) {
        CHECK(!e.http);
        CHECK(h.path);
        CHECK(!h.chunked || h.length == 0);
        if (h.chunked) use_body((const uint8_t *)bytes + end, size - end, step);
    } else {
        CHECK(e.http >= 400);
        CHECK(e.text.text[0]);
    }
    http_head_done(&h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    size_t step = 1 + data[0] % 64u;
    if (data[0] >= 128) {
        use_body(data + 1, size - 1, step);
        return 0;
    }
    /* a copy of its own, so that a byte read in front of it is seen, too */
    char *bytes = xmemdup(data + 1, size - 1);
    use_request(bytes, size - 1, step);
    free(bytes);
    return 0;
}
