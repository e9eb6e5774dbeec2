#include "text/jinja_heap.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES ((size_t)32 * 1024)
#define ALIGN       16u

typedef struct jinja_block {
    struct jinja_block *next;
    size_t used, size;
    _Alignas(ALIGN) unsigned char data[];
} jinja_block;

void jinja_heap_init(jinja_heap *h, size_t bytes_max) {
    PRE(h);
    memset(h, 0, sizeof *h);
    h->bytes_max = bytes_max;
}

void jinja_heap_done(jinja_heap *h) {
    while (h->blocks) {
        jinja_block *next = h->blocks->next;
        free(h->blocks);
        h->blocks = next;
    }
}

void jinja_fail(jinja_heap *h, status st, const char *fmt, ...) {
    char text[sizeof h->err.text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    h->st = st;
    if (h->line)
        errf(&h->err, st, "line %u: %s", h->line, text);
    else
        errf(&h->err, st, "%s", text);
    longjmp(h->fault, 1);
}

void jinja_steps(jinja_heap *h, size_t count) {
    h->steps += count;
    if (h->steps > JINJA_STEPS_MAX)
        jinja_fail(h, ST_INVALID, "the template takes more than %u steps (the limit)", JINJA_STEPS_MAX);
}

void *jinja_alloc(jinja_heap *h, size_t count, size_t size) {
    if (count > h->bytes_max / size || (count * size + ALIGN) > h->bytes_max - h->bytes)
        jinja_fail(h, ST_INVALID, "the template takes more than %zu MiB of memory (the limit)",
                   h->bytes_max >> 20);
    size_t bytes = (count * size + ALIGN - 1) / ALIGN * ALIGN;
    h->bytes += bytes;
    jinja_steps(h, bytes / 64);
    if (!h->blocks || h->blocks->size - h->blocks->used < bytes) {
        size_t room = MAX(bytes, BLOCK_BYTES);
        jinja_block *b = xmalloc(sizeof *b + room);
        *b = (jinja_block){.size = room, .next = h->blocks};
        h->blocks = b;
    }
    void *p = h->blocks->data + h->blocks->used;
    h->blocks->used += bytes;
    memset(p, 0, bytes);
    return p;
}
