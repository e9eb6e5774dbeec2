#include "base/mem.h"

#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *p, size_t bytes) {
    if (p || bytes == 0) return p;
    fprintf(stderr, "out of memory: %zu bytes\n", bytes);
    abort();
}

void *xmalloc(size_t bytes) {
    return must(malloc(bytes ? bytes : 1), bytes);
}

void *xcalloc(size_t count, size_t size) {
    return must(calloc(count ? count : 1, size ? size : 1), count * size);
}

void *xrealloc(void *p, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) must(NULL, SIZE_MAX);
    return must(realloc(p, bytes ? bytes : 1), bytes);
}

void *xmemdup(const void *p, size_t bytes) {
    PRE(p || bytes == 0);
    void *copy = xmalloc(bytes);
    if (bytes) memcpy(copy, p, bytes);
    return copy;
}

char *xstrdup(const char *s) {
    PRE(s);
    return xmemdup(s, strlen(s) + 1);
}

char *xstrndup(const char *s, size_t bytes) {
    PRE(s);
    size_t len = strnlen(s, bytes);
    char *copy = xmalloc(len + 1);
    memcpy(copy, s, len);
    copy[len] = 0;
    return copy;
}

char *xasprintf(const char *fmt, ...) {
    PRE(fmt);
    va_list ap;
    va_start(ap, fmt);
    char *s = NULL;
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    if (n < 0) must(NULL, 1);
    return s;
}

static void buf_room(buf *b, size_t more) {
    size_t want = b->len + more + 1;
    if (want <= b->capacity) return;
    size_t capacity = b->capacity ? b->capacity : 256;
    while (capacity < want) capacity *= 2;
    b->data = xrealloc(b->data, capacity, 1);
    b->capacity = capacity;
}

void buf_add(buf *b, const void *bytes, size_t len) {
    PRE(b);
    PRE((bytes || len == 0));
    buf_room(b, len);
    if (len) memcpy(b->data + b->len, bytes, len);
    b->len += len;
    b->data[b->len] = 0;
}

char *buf_grow(buf *b, size_t len) {
    PRE(b);
    buf_room(b, len);
    char *at = b->data + b->len;
    b->len += len;
    b->data[b->len] = 0;
    return at;
}

void buf_adds(buf *b, const char *s) {
    PRE(s);
    buf_add(b, s, strlen(s));
}

void buf_addf(buf *b, const char *fmt, ...) {
    PRE(b);
    PRE(fmt);
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    CHECK(n >= 0);
    buf_room(b, (size_t)n);
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
    va_end(again);
    b->len += (size_t)n;
}

void buf_reset(buf *b) {
    PRE(b);
    b->len = 0;
    if (b->data) b->data[0] = 0;
}

void buf_done(buf *b) {
    if (!b) return;
    free(b->data);
    *b = (buf){0};
}
