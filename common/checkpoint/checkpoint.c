#include "checkpoint/checkpoint.h"

#include "base/mem.h"
#include "checkpoint/checkpoint_format.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FORMAT_ENTRY(name) &name,
static const checkpoint_format *const formats[] = {CHECKPOINT_FORMATS(FORMAT_ENTRY)};

static const checkpoint_format *format_of(const char *path) {
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (formats[i]->claims(path)) return formats[i];
    check_failed("check", "the last format claims every path", __FILE__, __LINE__, __func__);
}

checkpoint *checkpoint_of(const checkpoint_format *format, void *self, const char *path) {
    PRE(format);
    PRE(self);
    PRE(path);
    checkpoint *c = xcalloc(1, sizeof *c);
    *c = (checkpoint){.format = format, .self = self, .path = xstrdup(path)};
    return c;
}

status checkpoint_open(checkpoint **out, const char *path, errbuf *eb) {
    PRE(out);
    PRE(path);
    const checkpoint_format *format = format_of(path);
    void *self = NULL;
    status st = format->open(&self, path, eb);
    if (st == ST_OK) *out = checkpoint_of(format, self, path);
    return st;
}

void checkpoint_close(checkpoint *c) {
    if (!c) return;
    c->format->close(c->self);
    free(c->prepared);
    if (c->made) munmap(c->made, c->made_bytes);
    free(c->path);
    free(c);
}

const char *checkpoint_path(const checkpoint *c) {
    PRE(c);
    return c->path;
}

char *checkpoint_stem(const char *path) {
    PRE(path);
    return format_of(path)->stem(path);
}

bool checkpoint_u64(const checkpoint *c, const char *key, uint64_t *out) {
    PRE(c);
    PRE(key);
    return c->format->u64(c->self, key, out);
}

bool checkpoint_f64(const checkpoint *c, const char *key, double *out) {
    PRE(c);
    PRE(key);
    return c->format->f64(c->self, key, out);
}

bool checkpoint_bool(const checkpoint *c, const char *key, bool *out) {
    PRE(c);
    PRE(key);
    return c->format->boolean(c->self, key, out);
}

bool checkpoint_string(const checkpoint *c, const char *key, checkpoint_text *out) {
    PRE(c);
    PRE(key);
    return c->format->string(c->self, key, out);
}

bool checkpoint_list(const checkpoint *c, const char *key, checkpoint_kind *kind, uint64_t *count) {
    PRE(c);
    PRE(key);
    return c->format->list(c->self, key, kind, count);
}

bool checkpoint_list_text(const checkpoint *c, const char *key, uint64_t i, checkpoint_text *out) {
    PRE(c);
    PRE(key);
    return c->format->list_text(c->self, key, i, out);
}

bool checkpoint_list_i64(const checkpoint *c, const char *key, uint64_t i, int64_t *out) {
    PRE(c);
    PRE(key);
    return c->format->list_i64(c->self, key, i, out);
}

bool checkpoint_list_f64(const checkpoint *c, const char *key, uint64_t i, double *out) {
    PRE(c);
    PRE(key);
    return c->format->list_f64(c->self, key, i, out);
}

void checkpoint_drop(const checkpoint *c) {
    PRE(c);
    if (c->format->drop) c->format->drop(c->self);
}

uint64_t checkpoint_tensor_count(const checkpoint *c) {
    PRE(c);
    return c->format->tensor_count(c->self);
}

const checkpoint_tensor *checkpoint_tensor_at(const checkpoint *c, uint64_t i) {
    PRE(c);
    PRE(i < c->format->tensor_count(c->self));
    return c->prepared ? &c->prepared[i] : c->format->tensor_at(c->self, i);
}

const checkpoint_tensor *checkpoint_tensor_find(const checkpoint *c, const char *name) {
    PRE(c);
    PRE(name);
    const checkpoint_tensor *t = c->format->tensor_find(c->self, name);
    return t && c->prepared ? &c->prepared[t - c->format->tensor_at(c->self, 0)] : t;
}

bool checkpoint_has(const checkpoint *c, const char *name) {
    PRE(c);
    PRE(name);
    return c->format->has(c->self, name);
}

uint64_t checkpoint_stamp(const checkpoint *c) {
    PRE(c);
    return c->format->stamp ? c->format->stamp(c->self) : 0;
}

uint64_t checkpoint_made_of(const checkpoint *c) {
    PRE(c);
    return c->format->made_of ? c->format->made_of(c->self) : 0;
}

tensor checkpoint_make(const checkpoint *c, const char *name, uint32_t rows, uint32_t cols) {
    PRE(c);
    PRE(c->format->make);
    PRE(name);
    PRE(rows > 0);
    PRE(cols > 0);
    return c->format->make(c->self, name, rows, cols);
}
