#include "bench/load/http_response.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void http_response_begin(http_response *r) {
    PRE(r);
    buf line = r->line;
    buf_reset(&line);
    *r = (http_response){.line = line};
}

void http_response_done(http_response *r) {
    PRE(r);
    buf_done(&r->line);
}

/* "HTTP/1.1 200 OK" */
static status take_status(http_response *r, const char *line, errbuf *eb) {
    bool known = strncmp(line, "HTTP/1.0 ", 9) == 0 || strncmp(line, "HTTP/1.1 ", 9) == 0;
    char *end = NULL;
    long code = known ? strtol(line + 9, &end, 10) : 0;
    if (!known || code < 100 || code > 999 || (*end != 0 && *end != ' '))
        return errf(eb, ST_CORRUPT, "the answer does not begin with an HTTP/1.x status line but with '%.40s'",
                    line);
    r->status = (int)code;
    r->keep_alive = line[7] == '1';
    r->part = HTTP_HEADERS;
    return ST_OK;
}

static bool has_word(const char *list, const char *word) {
    size_t len = strlen(word);
    for (const char *p = list; *p; p += strcspn(p, ",")) {
        p += strspn(p, ", \t");
        if (strncasecmp(p, word, len) == 0 && strchr(", \t;", p[len])) return true;
    }
    return false;
}

static status take_header(http_response *r, char *line, errbuf *eb) {
    char *value = strchr(line, ':');
    if (!value) return errf(eb, ST_CORRUPT, "a header line of the answer has no colon: '%.40s'", line);
    *value++ = 0;
    value += strspn(value, " \t");
    if (strcasecmp(line, "content-length") == 0) {
        char *end = NULL;
        r->left = strtoull(value, &end, 10);
        if (end == value || *value == '-' || end[strspn(end, " \t")])
            return errf(eb, ST_CORRUPT, "the answer's content-length is '%.40s'", value);
        r->has_length = true;
    } else if (strcasecmp(line, "transfer-encoding") == 0) {
        r->chunked = has_word(value, "chunked");
    } else if (strcasecmp(line, "connection") == 0) {
        if (has_word(value, "close")) r->keep_alive = false;
        if (has_word(value, "keep-alive")) r->keep_alive = true;
    } else if (strcasecmp(line, "content-type") == 0) {
        r->event_stream = strncasecmp(value, "text/event-stream", 17) == 0;
    }
    return ST_OK;
}

static void headers_end(http_response *r) {
    if (r->status < 200) { /* interim: the response itself follows */
        http_response_begin(r);
    } else if (r->status == 204 || r->status == 304) {
        r->part = HTTP_ENDED;
    } else if (r->chunked) {
        r->part = HTTP_CHUNK_SIZE;
    } else if (r->has_length) {
        r->part = r->left > 0 ? HTTP_BODY : HTTP_ENDED;
    } else {
        r->part = HTTP_TO_CLOSE;
        r->keep_alive = false;
    }
}

static status take_chunk_size(http_response *r, const char *line, errbuf *eb) {
    char *end = NULL;
    r->left = strtoull(line, &end, 16);
    if (end == line || *line == '-' || (*end && !strchr("; \t", *end)) || r->left > (uint64_t)1 << 40)
        return errf(eb, ST_CORRUPT, "the size of a chunk of the answer is '%.40s'", line);
    r->part = r->left > 0 ? HTTP_CHUNK_DATA : HTTP_TRAILERS;
    return ST_OK;
}

static status take_line(http_response *r, char *line, errbuf *eb) {
    switch (r->part) {
    case HTTP_STATUS:
        return *line ? take_status(r, line, eb) : ST_OK; /* an empty line before it is allowed */
    case HTTP_HEADERS:
        if (*line) return take_header(r, line, eb);
        headers_end(r);
        return ST_OK;
    case HTTP_CHUNK_SIZE:
        return take_chunk_size(r, line, eb);
    case HTTP_CHUNK_END:
        if (*line) return errf(eb, ST_CORRUPT, "a chunk of the answer is longer than its size says");
        r->part = HTTP_CHUNK_SIZE;
        return ST_OK;
    case HTTP_TRAILERS:
        if (!*line) r->part = HTTP_ENDED;
        return ST_OK;
    case HTTP_BODY:
    case HTTP_CHUNK_DATA:
    case HTTP_TO_CLOSE:
    case HTTP_ENDED:
        break;
    }
    CHECK(!"a line in a part without lines");
    return ST_CORRUPT;
}

/* Adds up to the line's end; takes the line when it is whole. */
static status feed_line(http_response *r, const char *bytes, size_t count, size_t *used, errbuf *eb) {
    const char *end = memchr(bytes, '\n', count);
    size_t len = end ? (size_t)(end - bytes) : count;
    if (r->line.len + len > HTTP_LINE_MAX)
        return errf(eb, ST_CORRUPT, "a line of the answer's head has more than %u bytes", HTTP_LINE_MAX);
    buf_add(&r->line, bytes, len);
    *used = len + (end != NULL);
    if (!end) return ST_OK;
    bool head = r->part == HTTP_STATUS || r->part == HTTP_HEADERS || r->part == HTTP_TRAILERS;
    if (head) r->head_bytes += (uint32_t)r->line.len + 1;
    if (r->head_bytes > HTTP_HEADERS_MAX)
        return errf(eb, ST_CORRUPT, "the answer's headers have more than %u bytes", HTTP_HEADERS_MAX);
    if (r->line.len > 0 && r->line.data[r->line.len - 1] == '\r') r->line.data[--r->line.len] = 0;
    char empty[1] = "";
    status st = take_line(r, r->line.len ? r->line.data : empty, eb);
    buf_reset(&r->line);
    return st;
}

status http_response_feed(http_response *r, const char *bytes, size_t count, size_t *used, http_body_fn body,
                          void *ctx, errbuf *eb) {
    PRE(r);
    PRE(bytes || count == 0);
    PRE(used);
    PRE(body);
    size_t at = 0;
    status st = ST_OK;
    while (st == ST_OK && at < count && r->part != HTTP_ENDED) {
        size_t n = count - at;
        switch (r->part) {
        case HTTP_BODY:
        case HTTP_CHUNK_DATA:
            if (n > r->left) n = (size_t)r->left;
            r->left -= n;
            if (r->left == 0) r->part = r->part == HTTP_BODY ? HTTP_ENDED : HTTP_CHUNK_END;
            body(ctx, bytes + at, n);
            break;
        case HTTP_TO_CLOSE:
            body(ctx, bytes + at, n);
            break;
        case HTTP_STATUS:
        case HTTP_HEADERS:
        case HTTP_CHUNK_SIZE:
        case HTTP_CHUNK_END:
        case HTTP_TRAILERS:
            st = feed_line(r, bytes + at, n, &n, eb);
            break;
        case HTTP_ENDED:
            break;
        }
        at += n;
    }
    *used = at;
    return st;
}

status http_response_close(http_response *r, errbuf *eb) {
    PRE(r);
    if (r->part == HTTP_TO_CLOSE) r->part = HTTP_ENDED;
    if (r->part == HTTP_ENDED) return ST_OK;
    if (r->part == HTTP_STATUS)
        return errf(eb, ST_PEER, "the server closed the connection before it answered");
    return errf(eb, ST_PEER, "the server closed the connection in the middle of its answer");
}
