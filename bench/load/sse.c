#include "bench/load/sse.h"

#include <string.h>

void sse_begin(sse *s) {
    PRE(s);
    buf_reset(&s->line);
    buf_reset(&s->data);
    s->has_data = s->error = s->after_cr = false;
}

void sse_done(sse *s) {
    PRE(s);
    buf_done(&s->line);
    buf_done(&s->data);
}

bool sse_pending(const sse *s) {
    PRE(s);
    return s->line.len > 0 || s->has_data;
}

/* The value after "name:" and one space; NULL: another field */
static const char *field(const char *line, size_t len, const char *name, size_t *value_len) {
    size_t n = strlen(name);
    if (len < n || memcmp(line, name, n) != 0) return NULL;
    if (len == n) { /* a field without a colon has an empty value */
        *value_len = 0;
        return line + n;
    }
    if (line[n] != ':') return NULL;
    n++;
    if (n < len && line[n] == ' ') n++;
    *value_len = len - n;
    return line + n;
}

static void dispatch(sse *s, sse_event_fn event, void *ctx) {
    bool had = s->has_data, error = s->error;
    s->has_data = s->error = false;
    if (had) event(ctx, s->data.len ? s->data.data : "", s->data.len, error);
    buf_reset(&s->data);
}

static status take_line(sse *s, const char *line, size_t len, sse_event_fn event, void *ctx, errbuf *eb) {
    if (len == 0) {
        dispatch(s, event, ctx);
        return ST_OK;
    }
    size_t value_len = 0;
    const char *value = field(line, len, "data", &value_len);
    if (value) {
        if (s->data.len + value_len + 1 > SSE_EVENT_MAX)
            return errf(eb, ST_CORRUPT, "an event of the answer's stream has more than %u bytes",
                        SSE_EVENT_MAX);
        if (s->has_data) buf_adds(&s->data, "\n");
        buf_add(&s->data, value, value_len);
        s->has_data = true;
        return ST_OK;
    }
    value = field(line, len, "event", &value_len);
    if (value) s->error = value_len == 5 && memcmp(value, "error", 5) == 0;
    return ST_OK;
}

/* "data: {...}\n\n" whole, at the beginning of an event: its length; 0: anything else. */
static size_t whole_event(const sse *s, const char *bytes, size_t count, sse_event_fn event, void *ctx) {
    if (s->line.len || s->has_data || s->error || s->after_cr) return 0;
    if (count < 8 || memcmp(bytes, "data: ", 6) != 0) return 0;
    const char *end = memchr(bytes, '\n', count);
    if (!end || end + 1 == bytes + count || end[1] != '\n' || end[-1] == '\r') return 0;
    if (memchr(bytes, '\r', (size_t)(end - bytes))) return 0; /* CR ends a line too */
    event(ctx, bytes + 6, (size_t)(end - bytes) - 6, false);
    return (size_t)(end - bytes) + 2;
}

/* The first LF or CR, or NULL */
static const char *line_end(const char *bytes, size_t count) {
    const char *lf = memchr(bytes, '\n', count);
    const char *cr = memchr(bytes, '\r', lf ? (size_t)(lf - bytes) : count);
    return cr ? cr : lf;
}

status sse_feed(sse *s, const char *bytes, size_t count, sse_event_fn event, void *ctx, errbuf *eb) {
    PRE(s);
    PRE(bytes || count == 0);
    PRE(event);
    size_t at = 0;
    while (at < count) {
        size_t whole = whole_event(s, bytes + at, count - at, event, ctx);
        if (whole > 0) {
            at += whole;
            continue;
        }
        if (s->after_cr && bytes[at] == '\n') at++;
        s->after_cr = false;
        if (at == count) break;
        const char *end = line_end(bytes + at, count - at);
        size_t len = end ? (size_t)(end - bytes) - at : count - at;
        if (s->line.len + len > SSE_EVENT_MAX)
            return errf(eb, ST_CORRUPT, "a line of the answer's stream has more than %u bytes",
                        SSE_EVENT_MAX);
        bool copy = s->line.len > 0 || !end;
        if (copy) buf_add(&s->line, bytes + at, len);
        if (!end) break;
        status st = copy ? take_line(s, s->line.data, s->line.len, event, ctx, eb)
                         : take_line(s, bytes + at, len, event, ctx, eb);
        buf_reset(&s->line);
        if (st != ST_OK) return st;
        s->after_cr = *end == '\r';
        at += len + 1;
    }
    return ST_OK;
}
