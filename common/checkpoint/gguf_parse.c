/* gguf - reading and validating the header of a GGUF file.
 *
 *   magic version tensor_count kv_count | kv... | tensor infos... | padding | tensor data
 *
 * One pass with a cursor that cannot leave the file: every read asks take() for bytes first, so there is
 * exactly one place where a length meets the file's size. Counts are bounded by what is left of the file
 * before anything is allocated for them. Arrays of strings get a table of their elements' places, so that
 * the accessors need no state (any thread may read) and no walk. Keys and names go into hash indexes, which
 * also find duplicates.
 *
 * Version 2 has the layout of version 3 and is accepted; version 1 (32-bit counts) and big-endian files are
 * not. */
#include "base/mem.h"
#include "base/tensor.h"
#include "checkpoint/gguf_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC            0x46554747u /* "GGUF" */
#define KV_MAX           65536u      /* real files have some dozens */
#define TENSORS_MAX      (1u << 20)
#define NAME_BYTES_MAX   65535u /* the format's limit for keys */
#define ALIGNMENT_USUAL  32u
#define ALIGNMENT_MAX    (1u << 20)
#define KV_BYTES_MIN     14u /* length, a key of one byte, type, a value of one byte */
#define TENSOR_BYTES_MIN 33u /* length, a name of one byte, count, one dimension, type, offset */

typedef struct cursor {
    const uint8_t *base;
    size_t size;
    size_t at;
} cursor;

/* --- reading --- */

/* The next n bytes, or NULL when the file ends before. */
static const uint8_t *take(cursor *c, uint64_t n) {
    if (n > c->size - c->at) return NULL;
    const uint8_t *p = c->base + c->at;
    c->at += n;
    return p;
}

static bool take_u32(cursor *c, uint32_t *out) {
    const uint8_t *p = take(c, sizeof *out);
    if (p) memcpy(out, p, sizeof *out);
    return p != NULL;
}

static bool take_u64(cursor *c, uint64_t *out) {
    const uint8_t *p = take(c, sizeof *out);
    if (p) memcpy(out, p, sizeof *out);
    return p != NULL;
}

static bool take_string(cursor *c, checkpoint_text *out) {
    size_t begin = c->at;
    uint64_t len;
    const uint8_t *p = NULL;
    if (take_u64(c, &len)) p = take(c, len);
    if (!p) {
        c->at = begin; /* errors name where the string starts */
        return false;
    }
    *out = (checkpoint_text){(const char *)p, len};
    return true;
}

/* A name from the file, made safe for a log line: cut, and without control characters. */
typedef struct shown {
    char text[68];
} shown;

static shown show(checkpoint_text s) {
    shown out = {{0}};
    size_t len = MIN(s.len, 64u);
    for (size_t i = 0; i < len; i++)
        out.text[i] = (unsigned char)s.data[i] < 0x20 || s.data[i] == 0x7F ? '?' : s.data[i];
    if (s.len > len) memcpy(out.text + len, "...", 3);
    return out;
}

/* --- the hash index --- */

static void index_init(gguf_index *x, uint64_t count) {
    uint32_t slots = 8;
    while (slots < count * 2) slots *= 2;
    x->slots = xcalloc(slots, sizeof *x->slots);
    x->mask = slots - 1;
}

/* --- metadata --- */

static status parse_strings(gguf *g, cursor *c, gguf_kv *e, errbuf *eb) {
    e->string_at = malloc(MAX(e->count, 1u) * sizeof *e->string_at);
    if (!e->string_at)
        return errf(eb, ST_NOMEM, "gguf: no memory for the %" PRIu64 " strings of '%s'", e->count,
                    show(e->key).text);
    for (uint64_t i = 0; i < e->count; i++) {
        checkpoint_text s;
        e->string_at[i] = c->at;
        if (!take_string(c, &s))
            return errf(eb, ST_CORRUPT,
                        "gguf: key '%s': string %" PRIu64
                        " at byte %zu runs past the end of the file (%zu bytes)",
                        show(e->key).text, i, c->at, g->size);
    }
    return ST_OK;
}

static status parse_array(gguf *g, cursor *c, gguf_kv *e, errbuf *eb) {
    uint32_t elem;
    if (!take_u32(c, &elem) || !take_u64(c, &e->count))
        return errf(eb, ST_CORRUPT, "gguf: key '%s': the file ends inside the array's head at byte %zu",
                    show(e->key).text, c->at);
    if (elem == GGUF_ARRAY)
        return errf(eb, ST_UNSUPPORTED, "gguf: key '%s' is an array of arrays, which is not supported",
                    show(e->key).text);
    if (elem >= GGUF_TYPE_COUNT)
        return errf(eb, ST_CORRUPT, "gguf: key '%s': unknown element type %u", show(e->key).text, elem);
    e->elem = (gguf_type)elem;

    uint64_t elem_bytes = e->elem == GGUF_STRING ? sizeof(uint64_t) : gguf_value_bytes(e->elem);
    if (e->count > (c->size - c->at) / elem_bytes)
        return errf(eb, ST_CORRUPT,
                    "gguf: key '%s': %" PRIu64 " elements do not fit into the %zu bytes that are left",
                    show(e->key).text, e->count, c->size - c->at);
    if (e->elem == GGUF_STRING) return parse_strings(g, c, e, eb);
    e->value = take(c, e->count * elem_bytes);
    return ST_OK;
}

static status parse_value(gguf *g, cursor *c, gguf_kv *e, errbuf *eb) {
    checkpoint_text s;
    size_t begin = c->at;
    e->count = 1;
    e->value = c->base + c->at;
    if (e->type == GGUF_ARRAY) {
        status st = parse_array(g, c, e, eb);
        if (st != ST_OK) return st;
    } else if (e->type == GGUF_STRING ? !take_string(c, &s) : !take(c, gguf_value_bytes(e->type))) {
        return errf(eb, ST_CORRUPT,
                    "gguf: key '%s': the value at byte %zu runs past the end of the file (%zu bytes)",
                    show(e->key).text, begin, g->size);
    }
    bool bools = e->type == GGUF_BOOL || (e->type == GGUF_ARRAY && e->elem == GGUF_BOOL);
    for (uint64_t i = 0; bools && i < e->count; i++)
        if (e->value[i] > 1)
            return errf(eb, ST_CORRUPT, "gguf: key '%s': a bool is %u", show(e->key).text, e->value[i]);
    return ST_OK;
}

static status parse_kvs(gguf *g, cursor *c, uint64_t count, errbuf *eb) {
    if (count > KV_MAX || count > (c->size - c->at) / KV_BYTES_MIN)
        return errf(eb, ST_CORRUPT,
                    "gguf: %" PRIu64 " keys do not fit into a file of %zu bytes (or are over %u)", count,
                    g->size, KV_MAX);
    g->kvs = xcalloc(count, sizeof *g->kvs);
    index_init(&g->kv_index, count);

    for (uint64_t i = 0; i < count; i++) {
        gguf_kv *e = &g->kvs[i];
        uint32_t type;
        if (!take_string(c, &e->key) || !take_u32(c, &type))
            return errf(eb, ST_CORRUPT,
                        "gguf: key %" PRIu64 " at byte %zu runs past the end of the file (%zu bytes)", i,
                        c->at, g->size);
        if (e->key.len == 0 || e->key.len > NAME_BYTES_MAX)
            return errf(eb, ST_CORRUPT, "gguf: key %" PRIu64 " has a name of %" PRIu64 " bytes, want 1..%u",
                        i, e->key.len, NAME_BYTES_MAX);
        if (type >= GGUF_TYPE_COUNT)
            return errf(eb, ST_CORRUPT, "gguf: key '%s' has the unknown type %u", show(e->key).text, type);
        e->type = (gguf_type)type;
        g->kv_count = i + 1; /* gguf_close frees what parse_value takes, also when it fails */

        status st = parse_value(g, c, e, eb);
        if (st != ST_OK) return st;
        uint32_t *slot = gguf_index_slot(&g->kv_index, g->kvs, sizeof *g->kvs, e->key.data, e->key.len);
        if (*slot) return errf(eb, ST_CORRUPT, "gguf: key '%s' is there twice", show(e->key).text);
        *slot = (uint32_t)i + 1;
    }
    return ST_OK;
}

/* --- tensors --- */

/* Bytes of a tensor whose type is known; ST_CORRUPT when its rows are no whole blocks or the product
 * overflows. */
static status tensor_bytes(checkpoint_tensor *t, errbuf *eb) {
    uint64_t weights = 1;
    for (uint32_t d = 0; d < t->dim_count; d++)
        if (t->dims[d] == 0 || __builtin_mul_overflow(weights, t->dims[d], &weights) || weights > INT64_MAX)
            return errf(eb, ST_CORRUPT,
                        "gguf: tensor '%s': dimension %u is %" PRIu64 ", which is zero or too large",
                        show(t->name).text, d, t->dims[d]);
    if (!dtype_known(t->type)) return ST_OK;

    uint64_t block = dtype_block_weights((dtype)t->type);
    if (t->dims[0] % block != 0)
        return errf(eb, ST_CORRUPT,
                    "gguf: tensor '%s': rows of %" PRIu64
                    " weights are no multiple of %s's blocks of %" PRIu64,
                    show(t->name).text, t->dims[0], dtype_name(t->type), block);
    if (__builtin_mul_overflow(weights / block, (uint64_t)dtype_block_bytes((dtype)t->type), &t->bytes))
        return errf(eb, ST_CORRUPT, "gguf: tensor '%s': its size overflows", show(t->name).text);
    return ST_OK;
}

/* Reads one tensor's entry; its offset goes to *offset, because where the data starts is known only after the
 * last entry. */
static status parse_tensor(gguf *g, cursor *c, checkpoint_tensor *t, uint64_t i, uint64_t *offset,
                           errbuf *eb) {
    if (!take_string(c, &t->name) || !take_u32(c, &t->dim_count))
        return errf(eb, ST_CORRUPT,
                    "gguf: tensor %" PRIu64 " at byte %zu runs past the end of the file (%zu bytes)", i,
                    c->at, g->size);
    if (t->name.len == 0 || t->name.len > NAME_BYTES_MAX)
        return errf(eb, ST_CORRUPT, "gguf: tensor %" PRIu64 " has a name of %" PRIu64 " bytes, want 1..%u", i,
                    t->name.len, NAME_BYTES_MAX);
    if (t->dim_count < 1 || t->dim_count > ARRAY_LEN(t->dims))
        return errf(eb, ST_CORRUPT, "gguf: tensor '%s' has %u dimensions, want 1..%zu", show(t->name).text,
                    t->dim_count, ARRAY_LEN(t->dims));
    for (uint32_t d = 0; d < ARRAY_LEN(t->dims); d++) t->dims[d] = 1;

    bool whole = true;
    for (uint32_t d = 0; d < t->dim_count; d++) whole = whole && take_u64(c, &t->dims[d]);
    if (!whole || !take_u32(c, &t->type) || !take_u64(c, offset))
        return errf(eb, ST_CORRUPT, "gguf: tensor '%s': the file ends inside its entry at byte %zu",
                    show(t->name).text, c->at);
    return tensor_bytes(t, eb);
}

static status place_tensors(gguf *g, const uint64_t *offsets, size_t header_bytes, uint64_t alignment,
                            errbuf *eb) {
    uint64_t data_at = (header_bytes + alignment - 1) / alignment * alignment;
    uint64_t data_bytes = data_at <= g->size ? g->size - data_at : 0;
    for (uint64_t i = 0; i < g->tensor_count; i++) {
        checkpoint_tensor *t = &g->tensors[i];
        if (offsets[i] % alignment != 0)
            return errf(eb, ST_CORRUPT, "gguf: tensor '%s': offset %" PRIu64 " is not aligned to %" PRIu64,
                        show(t->name).text, offsets[i], alignment);
        /* A tensor of unknown size must at least begin inside the file. */
        uint64_t least = t->bytes ? t->bytes : 1;
        if (offsets[i] > data_bytes || least > data_bytes - offsets[i])
            return errf(eb, ST_CORRUPT,
                        "gguf: tensor '%s': %" PRIu64 " bytes at offset %" PRIu64
                        " do not fit into the %" PRIu64 " bytes of tensor data",
                        show(t->name).text, t->bytes, offsets[i], data_bytes);
        t->data = g->base + data_at + offsets[i];
    }
    return ST_OK;
}

static status parse_tensors(gguf *g, cursor *c, uint64_t count, uint64_t alignment, errbuf *eb) {
    if (count > TENSORS_MAX || count > (c->size - c->at) / TENSOR_BYTES_MIN)
        return errf(eb, ST_CORRUPT,
                    "gguf: %" PRIu64 " tensors do not fit into a file of %zu bytes (or are over %u)", count,
                    g->size, TENSORS_MAX);
    g->tensors = xcalloc(count, sizeof *g->tensors);
    index_init(&g->tensor_index, count);
    uint64_t *offsets = xcalloc(count, sizeof *offsets);

    status st = ST_OK;
    for (uint64_t i = 0; i < count && st == ST_OK; i++) {
        checkpoint_tensor *t = &g->tensors[i];
        st = parse_tensor(g, c, t, i, &offsets[i], eb);
        if (st != ST_OK) break;
        uint32_t *slot = gguf_index_slot(&g->tensor_index, g->tensors, sizeof *t, t->name.data, t->name.len);
        if (*slot) st = errf(eb, ST_CORRUPT, "gguf: tensor '%s' is there twice", show(t->name).text);
        *slot = (uint32_t)i + 1;
        g->tensor_count = i + 1;
    }
    if (st == ST_OK) st = place_tensors(g, offsets, c->at, alignment, eb);
    free(offsets);
    return st;
}

/* --- the file --- */

static status read_alignment(const gguf *g, uint64_t *out, errbuf *eb) {
    uint64_t alignment = ALIGNMENT_USUAL;
    if (!gguf_u64(g, "general.alignment", &alignment) && gguf_kv_find(g, "general.alignment"))
        return errf(eb, ST_CORRUPT, "gguf: general.alignment is no whole number");
    /* At least 8, as the format asks: weights and rope factors are read in place. */
    if (alignment < 8 || alignment > ALIGNMENT_MAX || (alignment & (alignment - 1)) != 0)
        return errf(eb, ST_CORRUPT, "gguf: general.alignment is %" PRIu64 ", want a power of two, 8..%u",
                    alignment, ALIGNMENT_MAX);
    *out = alignment;
    return ST_OK;
}

static status parse_head(cursor *c, uint64_t *tensor_count, uint64_t *kv_count, errbuf *eb) {
    uint32_t magic, version;
    if (!take_u32(c, &magic) || magic != MAGIC)
        return errf(eb, ST_CORRUPT, "gguf: not a GGUF file (it does not begin with 'GGUF')");
    if (!take_u32(c, &version)) return errf(eb, ST_CORRUPT, "gguf: the file ends before its version");
    if ((version & 0xFFFFu) == 0 && version != 0)
        return errf(eb, ST_UNSUPPORTED, "gguf: the file is big endian; convert it to little endian");
    if (version != 2 && version != 3)
        return errf(eb, ST_UNSUPPORTED, "gguf: version %u; versions 2 and 3 are supported", version);
    if (!take_u64(c, tensor_count) || !take_u64(c, kv_count))
        return errf(eb, ST_CORRUPT, "gguf: the file ends inside its header");
    return ST_OK;
}

status gguf_parse(gguf **out, const void *bytes, size_t count, errbuf *eb) {
    PRE(out);
    PRE(bytes || count == 0);
    gguf *g = xcalloc(1, sizeof *g);
    g->base = bytes;
    g->size = count;

    cursor c = {bytes, count, 0};
    uint64_t tensor_count = 0, kv_count = 0, alignment = 0;
    status st = parse_head(&c, &tensor_count, &kv_count, eb);
    if (st == ST_OK) st = parse_kvs(g, &c, kv_count, eb);
    if (st == ST_OK) st = read_alignment(g, &alignment, eb);
    if (st == ST_OK) st = parse_tensors(g, &c, tensor_count, alignment, eb);
    if (st != ST_OK) goto fail;
    *out = g;
    return ST_OK;

fail:
    gguf_close(g);
    return st;
}

status gguf_open(gguf **out, const char *path, errbuf *eb) {
    PRE(out);
    PRE(path);
    mapped_file file = {0};
    status st = mapped_file_open(&file, path, eb);
    if (st != ST_OK) return st;
    st = gguf_parse(out, file.bytes, file.size, eb);
    if (st == ST_OK)
        (*out)->file = file;
    else
        mapped_file_close(&file);
    return st == ST_OK ? ST_OK : err_prefix(eb, st, "%s", path);
}

void gguf_drop(const gguf *g) {
    PRE(g);
    mapped_file_drop(&g->file);
}

void gguf_close(gguf *g) {
    if (!g) return;
    for (uint64_t i = 0; i < g->kv_count; i++) free(g->kvs[i].string_at);
    free(g->kvs);
    free(g->kv_index.slots);
    free(g->tensors);
    free(g->tensor_index.slots);
    mapped_file_close(&g->file);
    free(g);
}
