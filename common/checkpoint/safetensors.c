#include "checkpoint/safetensors.h"

#include "base/mem.h"
#include "checkpoint/mapped_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#define HEADER_MAX  (100u << 20) /* bytes; what the format's own library allows */
#define TENSORS_MAX (1u << 20)
#define NAME_SHOWN  64 /* characters of a name in an error's text */

struct safetensors {
    mapped_file file;
    safetensor *tensors; /* [count]. Names are owned */
    uint64_t count;
};

typedef struct dtype_name_of {
    const char *name;
    uint32_t type;
    uint32_t bytes;
} dtype_name_of;

static const dtype_name_of dtypes[] = {
    {"F32", DT_F32, 4},
    {"F16", DT_F16, 2},
    {"BF16", DT_BF16, 2},
    {"F64", SAFETENSOR_OTHER, 8},
    {"I64", SAFETENSOR_OTHER, 8},
    {"U64", SAFETENSOR_OTHER, 8},
    {"I32", SAFETENSOR_OTHER, 4},
    {"U32", SAFETENSOR_OTHER, 4},
    {"I16", SAFETENSOR_OTHER, 2},
    {"U16", SAFETENSOR_OTHER, 2},
    {"I8", SAFETENSOR_OTHER, 1},
    {"U8", SAFETENSOR_OTHER, 1},
    {"BOOL", SAFETENSOR_OTHER, 1},
    {"F8_E4M3", SAFETENSOR_OTHER, 1},
    {"F8_E5M2", SAFETENSOR_OTHER, 1},
};

static const dtype_name_of *find_dtype(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(dtypes); i++)
        if (strcmp(dtypes[i].name, name) == 0) return &dtypes[i];
    return NULL;
}

/* The dimensions, the last of the file's first, and how many numbers they make. */
static status read_shape(safetensor *s, const char *name, const json_t *shape, uint64_t *numbers,
                         errbuf *eb) {
    size_t dims = json_array_size(shape);
    if (!json_is_array(shape) || dims > ARRAY_LEN(s->t.dims))
        return errf(eb, json_is_array(shape) ? ST_UNSUPPORTED : ST_CORRUPT,
                    "tensor '%.*s': shape is no list of at most 4 numbers", NAME_SHOWN, name);
    *numbers = 1;
    s->t.dim_count = (uint32_t)MAX(dims, 1u);
    for (size_t i = 0; i < ARRAY_LEN(s->t.dims); i++) s->t.dims[i] = 1;
    for (size_t i = 0; i < dims; i++) {
        const json_t *d = json_array_get(shape, dims - 1 - i);
        if (!json_is_integer(d) || json_integer_value(d) < 0)
            return errf(eb, ST_CORRUPT, "tensor '%.*s': a dimension is no whole number from 0", NAME_SHOWN,
                        name);
        s->t.dims[i] = (uint64_t)json_integer_value(d);
        if (__builtin_mul_overflow(*numbers, s->t.dims[i], numbers))
            return errf(eb, ST_CORRUPT, "tensor '%.*s': its shape has more numbers than 64 bits count",
                        NAME_SHOWN, name);
    }
    return ST_OK;
}

/* data: the bytes behind the header, `size` of them. */
static status read_tensor(safetensor *s, const char *name, const json_t *entry, const uint8_t *data,
                          uint64_t size, errbuf *eb) {
    const char *text = json_string_value(json_object_get(entry, "dtype"));
    if (!text) return errf(eb, ST_CORRUPT, "tensor '%.*s' has no dtype", NAME_SHOWN, name);
    const dtype_name_of *type = find_dtype(text);
    if (!type)
        return errf(eb, ST_UNSUPPORTED, "tensor '%.*s' has dtype '%.32s'; weights are F32, F16 or BF16",
                    NAME_SHOWN, name, text);
    uint64_t numbers = 0, bytes;
    status st = read_shape(s, name, json_object_get(entry, "shape"), &numbers, eb);
    if (st != ST_OK) return st;
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *from = json_array_get(offsets, 0), *to = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(from) || !json_is_integer(to))
        return errf(eb, ST_CORRUPT, "tensor '%.*s': data_offsets are no two whole numbers", NAME_SHOWN, name);
    int64_t begin = json_integer_value(from), end = json_integer_value(to);
    if (begin < 0 || end < begin || (uint64_t)end > size)
        return errf(eb, ST_CORRUPT,
                    "tensor '%.*s': bytes %" PRId64 "..%" PRId64 " are outside of the file's %" PRIu64
                    " (is it cut off?)",
                    NAME_SHOWN, name, begin, end, size);
    if (__builtin_mul_overflow(numbers, type->bytes, &bytes) || bytes != (uint64_t)(end - begin))
        return errf(eb, ST_CORRUPT, "tensor '%.*s': %" PRIu64 " numbers of %s do not make %" PRId64 " bytes",
                    NAME_SHOWN, name, numbers, text, end - begin);
    s->dtype = type->name;
    s->t.type = type->type;
    s->t.data = data + begin;
    s->t.bytes = bytes;
    s->t.name = (checkpoint_text){xstrdup(name), strlen(name)};
    return ST_OK;
}

static int by_place(const void *a, const void *b) {
    const checkpoint_tensor *x = &((const safetensor *)a)->t, *y = &((const safetensor *)b)->t;
    if (x->data != y->data) return (const uint8_t *)x->data < (const uint8_t *)y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* Each tensor begins where the one before it ends, as the format wants it: nothing lies in two tensors, and
 * nothing hides between them. */
static status check_places(const safetensors *s, const uint8_t *data, uint64_t size, errbuf *eb) {
    const uint8_t *at = data;
    for (uint64_t i = 0; i < s->count; i++) {
        const checkpoint_tensor *t = &s->tensors[i].t;
        if (t->data != at)
            return errf(eb, ST_CORRUPT, "tensor '%.*s' %s", NAME_SHOWN, t->name.data,
                        (const uint8_t *)t->data < at ? "overlaps the one before it"
                                                      : "does not begin where the one before it ends");
        at += t->bytes;
    }
    if (at != data + size)
        return errf(eb, ST_CORRUPT, "%zu bytes after the last tensor belong to none",
                    (size_t)(data + size - at));
    return ST_OK;
}

static status read_header(safetensors *s, json_t *header, const uint8_t *data, uint64_t size, errbuf *eb) {
    if (!json_is_object(header)) return errf(eb, ST_CORRUPT, "the header is no JSON object");
    size_t entries = json_object_size(header);
    if (entries > TENSORS_MAX)
        return errf(eb, ST_CORRUPT, "%zu tensors; at most %u are read", entries, TENSORS_MAX);
    s->tensors = xcalloc(MAX(entries, 1u), sizeof *s->tensors);
    const char *name;
    json_t *entry;
    json_object_foreach(header, name, entry) {
        if (strcmp(name, "__metadata__") == 0) continue;
        status st = read_tensor(&s->tensors[s->count], name, entry, data, size, eb);
        if (st != ST_OK) return st;
        s->count++;
    }
    qsort(s->tensors, s->count, sizeof *s->tensors, by_place);
    return check_places(s, data, size, eb);
}

status safetensors_parse(safetensors **out, const void *bytes, size_t count, errbuf *eb) {
    PRE(out);
    PRE(bytes || count == 0);
    uint64_t len = 0;
    const uint8_t *base = bytes;
    if (count < sizeof len)
        return errf(eb, ST_CORRUPT, "safetensors: %zu bytes are too few for a header", count);
    memcpy(&len, base, sizeof len);
    if (len > HEADER_MAX || len > count - sizeof len)
        return errf(eb, ST_CORRUPT,
                    "safetensors: a header of %" PRIu64 " bytes in a file of %zu: it is cut off, or not "
                    "safetensors",
                    len, count);
    json_error_t why;
    json_t *header = json_loadb((const char *)base + sizeof len, len, JSON_REJECT_DUPLICATES, &why);
    if (!header)
        return errf(eb, ST_CORRUPT, "safetensors: the header is no JSON: %.120s (line %d)", why.text,
                    why.line);
    safetensors *s = xcalloc(1, sizeof *s);
    status st = read_header(s, header, base + sizeof len + len, count - sizeof len - len, eb);
    json_decref(header);
    if (st != ST_OK) {
        safetensors_close(s);
        return err_prefix(eb, st, "safetensors");
    }
    *out = s;
    return ST_OK;
}

status safetensors_open(safetensors **out, const char *path, errbuf *eb) {
    PRE(out);
    PRE(path);
    mapped_file file = {0};
    status st = mapped_file_open(&file, path, eb);
    if (st != ST_OK) return st;
    st = safetensors_parse(out, file.bytes, file.size, eb);
    if (st == ST_OK)
        (*out)->file = file;
    else
        mapped_file_close(&file);
    return st == ST_OK ? ST_OK : err_prefix(eb, st, "%s", path);
}

void safetensors_close(safetensors *s) {
    if (!s) return;
    for (uint64_t i = 0; i < s->count; i++) free((void *)(uintptr_t)s->tensors[i].t.name.data);
    free(s->tensors);
    mapped_file_close(&s->file);
    free(s);
}

void safetensors_drop(const safetensors *s) {
    PRE(s);
    mapped_file_drop(&s->file);
}

uint64_t safetensors_stamp(const safetensors *s) {
    PRE(s);
    return s->file.stamp;
}

uint64_t safetensors_count(const safetensors *s) {
    PRE(s);
    return s->count;
}

const safetensor *safetensors_at(const safetensors *s, uint64_t i) {
    PRE(s);
    PRE(i < s->count);
    return &s->tensors[i];
}
