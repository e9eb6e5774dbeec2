/* gguf_get - values and tensors of a parsed GGUF file, by name.
 *
 * Everything was checked when the file was parsed; what is left to check is the caller's: the kind of a value
 * and the place in an array. No state, so any thread may read. */
#include "base/mem.h"
#include "checkpoint/gguf_file.h"

#include <string.h>

#include <xxhash.h>

size_t gguf_value_bytes(gguf_type type) {
    static const uint8_t sizes[] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,  [GGUF_U16] = 2,  [GGUF_I16] = 2,    [GGUF_U32] = 4,
        [GGUF_I32] = 4, [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_STRING] = 0, [GGUF_ARRAY] = 0,
        [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
    };
    _Static_assert(ARRAY_LEN(sizes) == GGUF_TYPE_COUNT, "one size for each type");
    PRE((size_t)type < ARRAY_LEN(sizes));
    return sizes[type];
}

uint32_t *gguf_index_slot(const gguf_index *x, const void *array, size_t stride, const char *name,
                          size_t len) {
    uint32_t i = (uint32_t)XXH3_64bits(name, len) & x->mask;
    for (;; i = (i + 1) & x->mask) {
        if (x->slots[i] == 0) return &x->slots[i];
        const checkpoint_text *s = (const void *)((const char *)array + (size_t)(x->slots[i] - 1) * stride);
        if (s->len == len && memcmp(s->data, name, len) == 0) return &x->slots[i];
    }
}

const gguf_kv *gguf_kv_find(const gguf *g, const char *key) {
    PRE(g);
    PRE(key);
    uint32_t slot = *gguf_index_slot(&g->kv_index, g->kvs, sizeof *g->kvs, key, strlen(key));
    return slot ? &g->kvs[slot - 1] : NULL;
}

/* A whole number at p, as sign and 64 bits: false for a type that is none. */
static bool read_integer(gguf_type type, const uint8_t *p, uint64_t *bits, bool *negative) {
    int64_t v = 0;
    *negative = false;
    switch (type) {
    case GGUF_U8:
        *bits = p[0];
        return true;
    case GGUF_U16: {
        uint16_t x;
        memcpy(&x, p, sizeof x);
        *bits = x;
        return true;
    }
    case GGUF_U32: {
        uint32_t x;
        memcpy(&x, p, sizeof x);
        *bits = x;
        return true;
    }
    case GGUF_U64:
        memcpy(bits, p, sizeof *bits);
        return true;
    case GGUF_I8:
        v = (int8_t)p[0];
        break;
    case GGUF_I16: {
        int16_t x;
        memcpy(&x, p, sizeof x);
        v = x;
        break;
    }
    case GGUF_I32: {
        int32_t x;
        memcpy(&x, p, sizeof x);
        v = x;
        break;
    }
    case GGUF_I64:
        memcpy(&v, p, sizeof v);
        break;
    case GGUF_F32:
    case GGUF_F64:
    case GGUF_BOOL:
    case GGUF_STRING:
    case GGUF_ARRAY:
        return false;
    }
    *bits = (uint64_t)v;
    *negative = v < 0;
    return true;
}

static bool read_float(gguf_type type, const uint8_t *p, double *out) {
    float f;
    if (type == GGUF_F64) {
        memcpy(out, p, sizeof *out);
        return true;
    }
    if (type != GGUF_F32) return false;
    memcpy(&f, p, sizeof f);
    *out = f;
    return true;
}

/* A string that parsing has already found to lie inside the file. */
static checkpoint_text string_at(const uint8_t *p) {
    uint64_t len;
    memcpy(&len, p, sizeof len);
    return (checkpoint_text){(const char *)p + sizeof len, len};
}

bool gguf_u64(const gguf *g, const char *key, uint64_t *out) {
    PRE(out);
    const gguf_kv *e = gguf_kv_find(g, key);
    uint64_t bits;
    bool negative;
    if (!e || !read_integer(e->type, e->value, &bits, &negative) || negative) return false;
    *out = bits;
    return true;
}

bool gguf_f64(const gguf *g, const char *key, double *out) {
    const gguf_kv *e = gguf_kv_find(g, key);
    return e && read_float(e->type, e->value, out);
}

bool gguf_bool(const gguf *g, const char *key, bool *out) {
    PRE(g);
    PRE(key);
    PRE(out);
    const gguf_kv *e = gguf_kv_find(g, key);
    if (!e || e->type != GGUF_BOOL) return false;
    *out = e->value[0] != 0;
    return true;
}

bool gguf_string(const gguf *g, const char *key, checkpoint_text *out) {
    PRE(g);
    PRE(key);
    PRE(out);
    const gguf_kv *e = gguf_kv_find(g, key);
    if (!e || e->type != GGUF_STRING) return false;
    *out = string_at(e->value);
    return true;
}

bool gguf_array(const gguf *g, const char *key, gguf_type *type, uint64_t *count) {
    PRE(type);
    PRE(count);
    const gguf_kv *e = gguf_kv_find(g, key);
    if (!e || e->type != GGUF_ARRAY) return false;
    *type = e->elem;
    *count = e->count;
    return true;
}

bool gguf_array_string(const gguf *g, const char *key, uint64_t i, checkpoint_text *out) {
    PRE(out);
    const gguf_kv *e = gguf_kv_find(g, key);
    if (!e || e->type != GGUF_ARRAY || e->elem != GGUF_STRING || i >= e->count) return false;
    *out = string_at(g->base + e->string_at[i]);
    return true;
}

bool gguf_array_i64(const gguf *g, const char *key, uint64_t i, int64_t *out) {
    PRE(out);
    const gguf_kv *e = gguf_kv_find(g, key);
    uint64_t bits;
    bool negative;
    if (!e || e->type != GGUF_ARRAY || i >= e->count) return false;
    if (!read_integer(e->elem, e->value + i * gguf_value_bytes(e->elem), &bits, &negative)) return false;
    if (!negative && bits > INT64_MAX) return false;
    *out = (int64_t)bits;
    return true;
}

bool gguf_array_f64(const gguf *g, const char *key, uint64_t i, double *out) {
    PRE(out);
    const gguf_kv *e = gguf_kv_find(g, key);
    if (!e || e->type != GGUF_ARRAY || i >= e->count) return false;
    return read_float(e->elem, e->value + i * gguf_value_bytes(e->elem), out);
}

uint64_t gguf_tensor_count(const gguf *g) {
    PRE(g);
    return g->tensor_count;
}

const checkpoint_tensor *gguf_tensor_at(const gguf *g, uint64_t i) {
    PRE(g);
    PRE(i < g->tensor_count);
    return &g->tensors[i];
}

const checkpoint_tensor *gguf_tensor_find(const gguf *g, const char *name) {
    PRE(g);
    PRE(name);
    uint32_t slot = *gguf_index_slot(&g->tensor_index, g->tensors, sizeof *g->tensors, name, strlen(name));
    return slot ? &g->tensors[slot - 1] : NULL;
}
