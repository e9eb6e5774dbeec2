/* mem - small host allocations, which abort when they fail, and arenas that are freed at once.
 *
 * Large memory (KV pool, rings, request bodies) is not taken here: its owner calls malloc or mmap, returns
 * ST_NOMEM. */
#ifndef BATON_BASE_MEM_H
#define BATON_BASE_MEM_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* Like malloc, calloc, realloc (by element), strdup, asprintf; print and abort on failure or overflow.
 * Caller frees with free. */
void *xmalloc(size_t bytes);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *p, size_t count, size_t size);
void *xmemdup(const void *p, size_t bytes);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t bytes);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A growing byte buffer, NUL after the last byte, for text and bodies. Start it zeroed. buf_done frees. */
typedef struct buf {
    char *data;      /* NULL while empty */
    size_t len;      /* bytes, without the NUL */
    size_t capacity; /* bytes allocated */
} buf;
void buf_add(buf *b, const void *bytes, size_t len);
/* Lengthens it by so many bytes and returns where they begin: the caller writes them. */
char *buf_grow(buf *b, size_t len);
void buf_adds(buf *b, const char *s);
void buf_addf(buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Keeps the memory */
void buf_reset(buf *b);
void buf_done(buf *b);

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)    ((a) < (b) ? (a) : (b))
#define MAX(a, b)    ((a) > (b) ? (a) : (b))

#endif
