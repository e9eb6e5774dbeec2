/* gguf_checkpoint - GGUF files as checkpoints: kinds for types, and nothing else, since the words are GGUF's.
 */
#include "base/mem.h"
#include "base/path.h"
#include "checkpoint/checkpoint_format.h"
#include "checkpoint/gguf.h"

static bool claims(const char *path) {
    PRE(path);
    return true;
}

static status open_file(void **self, const char *path, errbuf *eb) {
    gguf *g = NULL;
    status st = gguf_open(&g, path, eb);
    if (st == ST_OK) *self = g;
    return st;
}

static void close_file(void *self) {
    gguf_close(self);
}

static bool u64(const void *self, const char *key, uint64_t *out) {
    return gguf_u64(self, key, out);
}

static bool f64(const void *self, const char *key, double *out) {
    return gguf_f64(self, key, out);
}

static bool boolean(const void *self, const char *key, bool *out) {
    return gguf_bool(self, key, out);
}

static bool string(const void *self, const char *key, checkpoint_text *out) {
    return gguf_string(self, key, out);
}

static checkpoint_kind kind_of(gguf_type type) {
    switch (type) {
    case GGUF_STRING:
        return CHECKPOINT_TEXTS;
    case GGUF_BOOL:
        return CHECKPOINT_BOOLS;
    case GGUF_F32:
    case GGUF_F64:
        return CHECKPOINT_REALS;
    case GGUF_U8:
    case GGUF_I8:
    case GGUF_U16:
    case GGUF_I16:
    case GGUF_U32:
    case GGUF_I32:
    case GGUF_U64:
    case GGUF_I64:
        return CHECKPOINT_INTEGERS;
    case GGUF_ARRAY: /* the parser refuses arrays of arrays */
        break;
    }
    check_failed("check", "an element's type", __FILE__, __LINE__, __func__);
}

static bool list(const void *self, const char *key, checkpoint_kind *kind, uint64_t *count) {
    gguf_type type;
    if (!gguf_array(self, key, &type, count)) return false;
    *kind = kind_of(type);
    return true;
}

static bool list_text(const void *self, const char *key, uint64_t i, checkpoint_text *out) {
    return gguf_array_string(self, key, i, out);
}

static bool list_i64(const void *self, const char *key, uint64_t i, int64_t *out) {
    return gguf_array_i64(self, key, i, out);
}

static bool list_f64(const void *self, const char *key, uint64_t i, double *out) {
    return gguf_array_f64(self, key, i, out);
}

static uint64_t tensor_count(const void *self) {
    return gguf_tensor_count(self);
}

static const checkpoint_tensor *tensor_at(const void *self, uint64_t i) {
    return gguf_tensor_at(self, i);
}

static const checkpoint_tensor *tensor_find(const void *self, const char *name) {
    return gguf_tensor_find(self, name);
}

static bool has(const void *self, const char *name) {
    return gguf_tensor_find(self, name) != NULL;
}

static void drop(const void *self) {
    gguf_drop(self);
}

const checkpoint_format checkpoint_gguf = {
    .claims = claims,
    .stem = path_stem,
    .open = open_file,
    .close = close_file,
    .u64 = u64,
    .f64 = f64,
    .boolean = boolean,
    .string = string,
    .list = list,
    .list_text = list_text,
    .list_i64 = list_i64,
    .list_f64 = list_f64,
    .tensor_count = tensor_count,
    .tensor_at = tensor_at,
    .tensor_find = tensor_find,
    .has = has,
    .drop = drop,
};

status gguf_parse_checkpoint(checkpoint **out, const void *bytes, size_t count, errbuf *eb) {
    PRE(out);
    gguf *g = NULL;
    status st = gguf_parse(&g, bytes, count, eb);
    if (st == ST_OK) *out = checkpoint_of(&checkpoint_gguf, g, "memory");
    return st;
}
