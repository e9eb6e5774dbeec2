#include "coordinator/http_head.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LEADING_MAX    8u /* bytes of empty lines before a head */
#define CHUNK_LINE_MAX ((size_t)8 * 1024)

static const char *const method_names[HTTP_METHOD_COUNT] = {
    [HTTP_GET] = "GET",         [HTTP_HEAD] = "HEAD",   [HTTP_POST] = "POST",       [HTTP_PUT] = "PUT",
    [HTTP_DELETE] = "DELETE",   [HTTP_PATCH] = "PATCH", [HTTP_OPTIONS] = "OPTIONS", [HTTP_TRACE] = "TRACE",
    [HTTP_CONNECT] = "CONNECT", [HTTP_QUERY] = "QUERY"};

const char *http_method_name(http_method m) {
    PRE(m < HTTP_METHOD_COUNT);
    return method_names[m];
}

void http_head_init(http_head *h) {
    PRE(h);
    *h = (http_head){0};
    TAILQ_INIT(&h->fields);
}

void http_head_done(http_head *h) {
    PRE(h);
    free(h->path);
    free(h->query);
    evhttp_clear_headers(&h->fields);
    http_head_init(h);
}

static bool is_token_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static size_t token_len(const char *text, size_t len) {
    size_t n = 0;
    while (n < len && is_token_char(text[n])) n++;
    return n;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

static size_t leading(const char *bytes, size_t len) {
    size_t n = 0;
    while (n < len && n < LEADING_MAX && (bytes[n] == '\r' || bytes[n] == '\n')) n++;
    return n;
}

size_t http_head_end(const char *bytes, size_t len, size_t from, size_t max, api_error *e) {
    PRE(bytes || !len);
    PRE(e);
    size_t begin = leading(bytes, len);
    if (begin == len) return 0;
    if (!is_token_char(bytes[begin])) {
        const char *hint = bytes[begin] == 0x16 ? ": this looks like TLS, and http:// is spoken here" : "";
        (void)api_fail(e, 400, NULL, "this is no HTTP request%s", hint);
        return 0;
    }
    /* The blank line is LF LF or LF CR LF; what was seen before may have ended with its first bytes. */
    size_t i = MAX(begin, from > 2 ? from - 2 : 0);
    for (const char *p; i < len && (p = memchr(bytes + i, '\n', len - i)); i = (size_t)(p - bytes) + 1) {
        size_t at = (size_t)(p - bytes) + 1;
        if (at < len && bytes[at] == '\r') at++;
        if (at < len && bytes[at] == '\n' && at < max) return at + 1;
    }
    if (len - begin > HTTP_TARGET_MAX + 64 && !memchr(bytes + begin, '\n', HTTP_TARGET_MAX + 64))
        (void)api_fail(e, 414, NULL, "the request line has more than %zu bytes", HTTP_TARGET_MAX);
    else if (len >= max)
        (void)api_fail(e, 431, NULL, "the header fields have more than %zu bytes (limits.max_header_kb)",
                       max);
    return 0;
}

void http_path_tidy(char *path) {
    PRE(path);
    char *out = path;
    for (const char *in = path; *in; in++)
        if (*in != '/' || out == path || out[-1] != '/') *out++ = *in;
    if (out - path > 1 && out[-1] == '/') out--;
    *out = 0;
}

/* ---- the request line ---- */

static status read_target(http_head *h, const char *target, size_t len, api_error *e) {
    if (len > HTTP_TARGET_MAX)
        return api_fail(e, 414, NULL, "the request's target has %zu bytes, want at most %zu", len,
                        HTTP_TARGET_MAX);
    for (size_t i = 0; i < len; i++)
        if (target[i] < 0x21 || target[i] > 0x7e || target[i] == '#')
            return api_fail(e, 400, NULL, "byte %zu of the request's target must be percent-encoded", i);
    if (h->method == HTTP_OPTIONS && len == 1 && *target == '*') {
        h->path = xstrdup("*");
        return ST_OK;
    }
    if (*target != '/') { /* http://host/path, as proxies are sent it */
        size_t scheme = len > 7 && strncasecmp(target, "http://", 7) == 0    ? 7
                        : len > 8 && strncasecmp(target, "https://", 8) == 0 ? 8
                                                                             : 0;
        if (!scheme) return api_fail(e, 400, NULL, "the request's target must begin with /");
        target += scheme, len -= scheme;
        while (len && *target != '/' && *target != '?') target++, len--;
    }
    const char *mark = memchr(target, '?', len);
    size_t path_len = mark ? (size_t)(mark - target) : len;
    if (mark) h->query = xstrndup(mark + 1, len - path_len - 1);
    char *raw = path_len ? xstrndup(target, path_len) : xstrdup("/");
    size_t decoded = 0;
    h->path = evhttp_uridecode(raw, 0, &decoded);
    free(raw);
    CHECK(h->path);
    if (strlen(h->path) != decoded) return api_fail(e, 400, NULL, "the path has a NUL (%%00)");
    http_path_tidy(h->path);
    return ST_OK;
}

static status read_version(http_head *h, const char *text, size_t len, api_error *e) {
    bool form = len == 8 && memcmp(text, "HTTP/", 5) == 0 && text[5] >= '0' && text[5] <= '9' &&
                text[6] == '.' && text[7] >= '0' && text[7] <= '9';
    if (!form) return api_fail(e, 400, NULL, "want a request line such as: GET /health HTTP/1.1");
    if (text[5] != '1')
        return api_fail(e, 505, NULL, "HTTP/%c is not spoken here, but HTTP/1.1%s", text[5],
                        text[5] == '2' ? ": start without HTTP/2 (prior knowledge)" : "");
    h->http10 = text[7] == '0';
    return ST_OK;
}

static status read_request_line(http_head *h, const char *line, size_t len, api_error *e) {
    size_t name = token_len(line, len);
    const char *target = line + name + 1;
    const char *last = memrchr(line, ' ', len);
    if (!name || name == len || line[name] != ' ' || last < target)
        return api_fail(e, 400, NULL, "want a request line such as: GET /health HTTP/1.1");
    /* The version first: the preface of HTTP/2 (PRI * HTTP/2.0) is to be told about that. */
    status st = read_version(h, last + 1, len - (size_t)(last + 1 - line), e);
    if (st != ST_OK) return st;
    uint32_t m = 0;
    while (m < HTTP_METHOD_COUNT &&
           (strlen(method_names[m]) != name || memcmp(method_names[m], line, name) != 0))
        m++;
    if (m == HTTP_METHOD_COUNT)
        return api_fail(e, 501, NULL, "method %.*s is not known here", (int)MIN(name, 32u), line);
    h->method = (http_method)m;
    if (h->method == HTTP_CONNECT) return api_fail(e, 405, NULL, "CONNECT: this is no proxy");
    return read_target(h, target, (size_t)(last - target), e);
}

/* ---- the fields ---- */

static status read_field(http_head *h, const char *line, size_t len, api_error *e) {
    size_t name = token_len(line, len);
    if (!name || name == len || line[name] != ':')
        return api_fail(e, 400, NULL, "a header field is not NAME: VALUE");
    const char *value = line + name + 1, *end = line + len;
    while (value < end && is_blank(*value)) value++;
    while (end > value && is_blank(end[-1])) end--;
    for (const char *p = value; p < end; p++)
        if ((*p >= 0 && *p < 0x20 && *p != '\t') || *p == 0x7f)
            return api_fail(e, 400, NULL, "header field %.*s has a control character", (int)MIN(name, 64u),
                            line);
    char *key = xstrndup(line, name), *text = xstrndup(value, (size_t)(end - value));
    CHECK(evhttp_add_header(&h->fields, key, text) == 0);
    free(key);
    free(text);
    return ST_OK;
}

/* The value of a field that may come once; *count: how often it came. */
static const char *only(const http_head *h, const char *name, uint32_t *count) {
    const char *value = NULL;
    *count = 0;
    struct evkeyval *f;
    TAILQ_FOREACH(f, &h->fields, next) {
        if (strcasecmp(f->key, name) != 0) continue;
        value = f->value;
        (*count)++;
    }
    return value;
}

/* name is an item of a list of tokens such as "keep-alive, Upgrade". */
static bool lists(const char *list, const char *name) {
    size_t want = strlen(name);
    while (list && *list) {
        while (*list == ',' || is_blank(*list)) list++;
        size_t len = token_len(list, strlen(list));
        if (len == want && strncasecmp(list, name, len) == 0) return true;
        list += len;
        if (*list && *list != ',' && !is_blank(*list)) list++;
    }
    return false;
}

static status read_framing(http_head *h, api_error *e) {
    uint32_t hosts, lengths, codings, expects;
    (void)only(h, "Host", &hosts);
    const char *length = only(h, "Content-Length", &lengths);
    const char *coding = only(h, "Transfer-Encoding", &codings);
    const char *expect = only(h, "Expect", &expects);
    if (hosts > 1 || (!hosts && !h->http10)) return api_fail(e, 400, NULL, "want one Host field");
    if (lengths > 1) return api_fail(e, 400, NULL, "want one Content-Length");
    if (lengths && codings) return api_fail(e, 400, NULL, "Transfer-Encoding and Content-Length: want one");
    if (codings && h->http10) return api_fail(e, 400, NULL, "HTTP/1.0 has no Transfer-Encoding");
    if (codings && (codings > 1 || strcasecmp(coding, "chunked") != 0))
        return api_fail(e, 501, NULL, "Transfer-Encoding: %.40s is not known here, but chunked", coding);
    h->chunked = codings == 1;
    if (lengths) {
        size_t digits = strspn(length, "0123456789");
        if (!digits || length[digits]) return api_fail(e, 400, NULL, "Content-Length must be a number");
        /* Longer than any body that is taken; no number can overflow then. */
        h->length = digits > 15 ? SIZE_MAX : (size_t)strtoull(length, NULL, 10);
    }
    if (expects && strcasecmp(expect, "100-continue") != 0)
        return api_fail(e, 417, NULL, "Expect: %.40s is not known here, but 100-continue", expect);
    h->expects_continue = expects && !h->http10 && (h->chunked || h->length);
    const char *connection = evhttp_find_header(&h->fields, "Connection");
    h->keep = h->http10 ? lists(connection, "keep-alive") : !lists(connection, "close");
    return ST_OK;
}

status http_head_parse(http_head *h, const char *bytes, size_t len, api_error *e) {
    PRE(h);
    PRE(bytes);
    PRE(e);
    size_t at = leading(bytes, len);
    uint32_t line_count = 0;
    while (at < len) {
        const char *lf = memchr(bytes + at, '\n', len - at);
        size_t end = lf ? (size_t)(lf - bytes) : len, next = end + 1;
        if (end > at && bytes[end - 1] == '\r') end--;
        if (end == at) break;
        if (line_count > HTTP_FIELDS_MAX)
            return api_fail(e, 431, NULL, "more than %u header fields", HTTP_FIELDS_MAX);
        status st = line_count ? read_field(h, bytes + at, end - at, e)
                               : read_request_line(h, bytes + at, end - at, e);
        if (st != ST_OK) return st;
        line_count++;
        at = next;
    }
    if (!line_count) return api_fail(e, 400, NULL, "want a request line such as: GET /health HTTP/1.1");
    return read_framing(h, e);
}

/* ---- chunks ---- */

status http_body_too_long(size_t bytes, bool over, size_t body_max, api_error *e) {
    return api_fail(e, 413, NULL, "the body has %s%zu bytes, want at most %zu (limits.max_body_kb)",
                    over ? "more than " : "", over ? body_max : bytes, body_max);
}

static status read_size(http_chunks *c, const char *line, size_t body_len, size_t body_max, api_error *e) {
    size_t digits = strspn(line, "0123456789abcdefABCDEF"), at = digits;
    while (is_blank(line[at])) at++;
    if (!digits || (line[at] && line[at] != ';'))
        return api_fail(e, 400, NULL, "the size of a chunk must be a hexadecimal number");
    unsigned long long size = digits > 12 ? SIZE_MAX : strtoull(line, NULL, 16);
    if (size > body_max - body_len) return http_body_too_long(0, true, body_max, e);
    c->left = (size_t)size;
    c->at = size ? CHUNK_DATA : CHUNK_TRAILER;
    return ST_OK;
}

/* One line of a size or of the trailer. */
static status read_line(http_chunks *c, struct evbuffer *in, size_t body_len, size_t body_max, api_error *e) {
    size_t len = 0;
    char *line = evbuffer_readln(in, &len, EVBUFFER_EOL_CRLF_STRICT);
    if (!line && evbuffer_get_length(in) <= CHUNK_LINE_MAX) return ST_AGAIN;
    status st = ST_OK;
    /* With its CR: what came in pieces is refused before the LF is there. */
    if (!line || len >= CHUNK_LINE_MAX) {
        st = api_fail(e, 400, NULL, "a line between chunks has %zu bytes or more", CHUNK_LINE_MAX);
    } else if (strlen(line) != len || strchr(line, '\n') || strchr(line, '\r')) {
        st = api_fail(e, 400, NULL, "a line between chunks has a NUL, CR or LF in it");
    } else if (c->at == CHUNK_SIZE) {
        st = read_size(c, line, body_len, body_max, e);
    } else if (!len) {
        c->at = CHUNK_DONE;
    } else {
        c->trailer += len;
        if (c->trailer > HTTP_TRAILER_MAX)
            st = api_fail(e, 431, NULL, "the trailer has more than %zu bytes", HTTP_TRAILER_MAX);
    }
    free(line);
    return st;
}

status http_chunks_read(http_chunks *c, struct evbuffer *in, struct evbuffer *body, size_t body_max,
                        api_error *e) {
    PRE(c);
    PRE(in);
    PRE(body);
    PRE(e);
    while (c->at != CHUNK_DONE) {
        size_t here = evbuffer_get_length(in);
        if (c->at == CHUNK_DATA) {
            if (!here) return ST_AGAIN;
            size_t take = MIN(here, c->left);
            CHECK(evbuffer_remove_buffer(in, body, take) == (int)take);
            c->left -= take;
            if (!c->left) c->at = CHUNK_DATA_END;
        } else if (c->at == CHUNK_DATA_END) {
            char end[2];
            if (here < 2) return ST_AGAIN;
            CHECK(evbuffer_remove(in, end, 2) == 2);
            if (end[0] != '\r' || end[1] != '\n')
                return api_fail(e, 400, NULL, "a chunk is longer than its size says");
            c->at = CHUNK_SIZE;
        } else {
            status st = read_line(c, in, evbuffer_get_length(body), body_max, e);
            if (st != ST_OK) return st;
        }
    }
    return ST_OK;
}
