/* A few dozen keys in an array, found by going through it; texts in chunks that never move, so that what was
 * handed out stays where it is while more is added. */
#include "checkpoint/key_store.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES (64u << 10)

typedef enum entry_kind { ENTRY_INTEGER, ENTRY_REAL, ENTRY_BOOL, ENTRY_TEXT, ENTRY_LIST } entry_kind;

typedef struct entry {
    char *key; /* owned */
    entry_kind kind;
    union {
        uint64_t integer;
        double real;
        bool boolean;
        checkpoint_text text; /* in a chunk */
    } value;
    checkpoint_kind elem; /* of a list */
    uint64_t count;
    void *list; /* [count] checkpoint_text, int64_t or double by elem. Owned; NULL when it is no list */
} entry;

typedef struct chunk {
    struct chunk *next;
    size_t used, capacity; /* bytes */
    char bytes[];
} chunk;

struct key_store {
    entry *entries; /* [count] */
    uint32_t count, capacity;
    chunk *chunks; /* the one that is being filled comes first */
};

key_store *key_store_new(void) {
    return xcalloc(1, sizeof(key_store));
}

void key_store_free(key_store *s) {
    if (!s) return;
    for (uint32_t i = 0; i < s->count; i++) {
        free(s->entries[i].key);
        free(s->entries[i].list);
    }
    free(s->entries);
    for (chunk *c = s->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    free(s);
}

static checkpoint_text keep(key_store *s, const char *text, size_t len) {
    PRE(text || len == 0);
    if (len == 0) return (checkpoint_text){"", 0};
    chunk *c = s->chunks;
    if (!c || c->capacity - c->used < len) {
        size_t capacity = MAX(len, (size_t)CHUNK_BYTES);
        c = xmalloc(sizeof *c + capacity);
        *c = (chunk){.next = s->chunks, .capacity = capacity};
        s->chunks = c;
    }
    char *to = c->bytes + c->used;
    memcpy(to, text, len);
    c->used += len;
    return (checkpoint_text){to, len};
}

/* NULL when absent */
static entry *find(const key_store *s, const char *key) {
    PRE(s);
    PRE(key);
    for (uint32_t i = 0; i < s->count; i++)
        if (strcmp(s->entries[i].key, key) == 0) return &s->entries[i];
    return NULL;
}

static entry *find_kind(const key_store *s, const char *key, entry_kind kind) {
    entry *e = find(s, key);
    return e && e->kind == kind ? e : NULL;
}

/* The entry of that key, emptied; a new one when it is absent. */
static entry *set(key_store *s, const char *key, entry_kind kind) {
    entry *e = find(s, key);
    if (!e) {
        if (s->count == s->capacity) {
            s->capacity = MAX(32u, s->capacity * 2);
            s->entries = xrealloc(s->entries, s->capacity, sizeof *s->entries);
        }
        e = &s->entries[s->count++];
        *e = (entry){.key = xstrdup(key)};
    }
    free(e->list);
    *e = (entry){.key = e->key, .kind = kind};
    return e;
}

void key_store_u64(key_store *s, const char *key, uint64_t value) {
    set(s, key, ENTRY_INTEGER)->value.integer = value;
}

void key_store_f64(key_store *s, const char *key, double value) {
    set(s, key, ENTRY_REAL)->value.real = value;
}

void key_store_bool(key_store *s, const char *key, bool value) {
    set(s, key, ENTRY_BOOL)->value.boolean = value;
}

void key_store_text(key_store *s, const char *key, const char *text, size_t len) {
    set(s, key, ENTRY_TEXT)->value.text = keep(s, text, len);
}

void key_store_list(key_store *s, const char *key, checkpoint_kind kind, uint64_t count) {
    PRE(kind != CHECKPOINT_BOOLS);
    entry *e = set(s, key, ENTRY_LIST);
    e->elem = kind;
    e->count = count;
    e->list = xcalloc(MAX(count, 1u), kind == CHECKPOINT_TEXTS ? sizeof(checkpoint_text) : sizeof(int64_t));
    for (uint64_t i = 0; kind == CHECKPOINT_TEXTS && i < count; i++)
        ((checkpoint_text *)e->list)[i].data = "";
}

static entry *find_list(const key_store *s, const char *key, checkpoint_kind kind) {
    entry *e = find_kind(s, key, ENTRY_LIST);
    return e && e->elem == kind ? e : NULL;
}

void key_store_list_text(key_store *s, const char *key, uint64_t i, const char *text, size_t len) {
    entry *e = find_list(s, key, CHECKPOINT_TEXTS);
    PRE(e);
    PRE(i < e->count);
    ((checkpoint_text *)e->list)[i] = keep(s, text, len);
}

void key_store_list_i64(key_store *s, const char *key, uint64_t i, int64_t value) {
    entry *e = find_list(s, key, CHECKPOINT_INTEGERS);
    PRE(e);
    PRE(i < e->count);
    ((int64_t *)e->list)[i] = value;
}

void key_store_list_f64(key_store *s, const char *key, uint64_t i, double value) {
    entry *e = find_list(s, key, CHECKPOINT_REALS);
    PRE(e);
    PRE(i < e->count);
    ((double *)e->list)[i] = value;
}

/* --- reading --- */

bool key_store_get_u64(const key_store *s, const char *key, uint64_t *out) {
    PRE(out);
    const entry *e = find_kind(s, key, ENTRY_INTEGER);
    if (e) *out = e->value.integer;
    return e != NULL;
}

bool key_store_get_f64(const key_store *s, const char *key, double *out) {
    PRE(out);
    const entry *e = find_kind(s, key, ENTRY_REAL);
    if (e) *out = e->value.real;
    return e != NULL;
}

bool key_store_get_bool(const key_store *s, const char *key, bool *out) {
    PRE(out);
    const entry *e = find_kind(s, key, ENTRY_BOOL);
    if (e) *out = e->value.boolean;
    return e != NULL;
}

bool key_store_get_text(const key_store *s, const char *key, checkpoint_text *out) {
    PRE(out);
    const entry *e = find_kind(s, key, ENTRY_TEXT);
    if (e) *out = e->value.text;
    return e != NULL;
}

bool key_store_get_list(const key_store *s, const char *key, checkpoint_kind *kind, uint64_t *count) {
    PRE(kind);
    PRE(count);
    const entry *e = find_kind(s, key, ENTRY_LIST);
    if (!e) return false;
    *kind = e->elem;
    *count = e->count;
    return true;
}

bool key_store_get_list_text(const key_store *s, const char *key, uint64_t i, checkpoint_text *out) {
    PRE(out);
    const entry *e = find_list(s, key, CHECKPOINT_TEXTS);
    if (!e || i >= e->count) return false;
    *out = ((const checkpoint_text *)e->list)[i];
    return true;
}

bool key_store_get_list_i64(const key_store *s, const char *key, uint64_t i, int64_t *out) {
    PRE(out);
    const entry *e = find_list(s, key, CHECKPOINT_INTEGERS);
    if (!e || i >= e->count) return false;
    *out = ((const int64_t *)e->list)[i];
    return true;
}

bool key_store_get_list_f64(const key_store *s, const char *key, uint64_t i, double *out) {
    PRE(out);
    const entry *e = find_list(s, key, CHECKPOINT_REALS);
    if (!e || i >= e->count) return false;
    *out = ((const double *)e->list)[i];
    return true;
}
