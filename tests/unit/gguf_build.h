/* gguf_build - makes small GGUF files in memory, for the tests of common/checkpoint.
 *
 *   gguf_build b = {0};
 *   build_u32(&b, "llama.block_count", 1);
 *   build_tensor(&b, "output_norm.weight", DT_F32, 1, 32, 0);
 *   buf file = build_file(&b);    frees b; the caller frees file with buf_done
 *
 * Nothing is checked: hostile files are made with it too. */
#ifndef BATON_TESTS_GGUF_BUILD_H
#define BATON_TESTS_GGUF_BUILD_H

#include "base/mem.h"
#include "base/tensor.h"
#include "checkpoint/gguf.h"

#include <string.h>

#define BUILD_ALIGNMENT 32u

typedef struct gguf_build {
    buf kvs, tensors, data;
    uint64_t kv_count, tensor_count;
} gguf_build;

static inline void put_u32(buf *b, uint32_t v) {
    buf_add(b, &v, sizeof v);
}

static inline void put_u64(buf *b, uint64_t v) {
    buf_add(b, &v, sizeof v);
}

static inline void put_string(buf *b, const char *s) {
    put_u64(b, strlen(s));
    buf_adds(b, s);
}

static inline void build_key(gguf_build *b, const char *key, uint32_t type) {
    put_string(&b->kvs, key);
    put_u32(&b->kvs, type);
    b->kv_count++;
}

static inline void build_u32(gguf_build *b, const char *key, uint32_t v) {
    build_key(b, key, GGUF_U32);
    put_u32(&b->kvs, v);
}

static inline void build_f32(gguf_build *b, const char *key, float v) {
    build_key(b, key, GGUF_F32);
    buf_add(&b->kvs, &v, sizeof v);
}

static inline void build_bool(gguf_build *b, const char *key, bool v) {
    build_key(b, key, GGUF_BOOL);
    buf_add(&b->kvs, &(char){v}, 1);
}

static inline void build_string(gguf_build *b, const char *key, const char *s) {
    build_key(b, key, GGUF_STRING);
    put_string(&b->kvs, s);
}

static inline void build_strings(gguf_build *b, const char *key, const char *const *s, uint64_t count) {
    build_key(b, key, GGUF_ARRAY);
    put_u32(&b->kvs, GGUF_STRING);
    put_u64(&b->kvs, count);
    for (uint64_t i = 0; i < count; i++) put_string(&b->kvs, s[i]);
}

static inline void build_i32s(gguf_build *b, const char *key, const int32_t *v, uint64_t count) {
    build_key(b, key, GGUF_ARRAY);
    put_u32(&b->kvs, GGUF_I32);
    put_u64(&b->kvs, count);
    buf_add(&b->kvs, v, count * sizeof *v);
}

static inline void build_f32s(gguf_build *b, const char *key, const float *v, uint64_t count) {
    build_key(b, key, GGUF_ARRAY);
    put_u32(&b->kvs, GGUF_F32);
    put_u64(&b->kvs, count);
    buf_add(&b->kvs, v, count * sizeof *v);
}

/* The entry alone, with any numbers. */
static inline void build_entry(gguf_build *b, const char *name, uint32_t type, uint32_t dim_count,
                               const uint64_t *dims, uint64_t offset) {
    put_string(&b->tensors, name);
    put_u32(&b->tensors, dim_count);
    for (uint32_t d = 0; d < dim_count; d++) put_u64(&b->tensors, dims[d]);
    put_u32(&b->tensors, type);
    put_u64(&b->tensors, offset);
    b->tensor_count++;
}

/* A tensor [rows, cols] whose bytes are all `fill`; aligned to the next place behind the last one. */
static inline void build_tensor(gguf_build *b, const char *name, dtype type, uint32_t rows, uint32_t cols,
                                char fill) {
    while (b->data.len % BUILD_ALIGNMENT) buf_add(&b->data, "", 1);
    build_entry(b, name, type, rows == 1 ? 1 : 2, (uint64_t[]){cols, rows}, b->data.len);
    for (size_t i = 0; i < rows * dtype_row_bytes(type, cols); i++) buf_add(&b->data, &fill, 1);
}

static inline buf build_file_as(gguf_build *b, uint32_t version) {
    buf f = {0};
    buf_adds(&f, "GGUF");
    put_u32(&f, version);
    put_u64(&f, b->tensor_count);
    put_u64(&f, b->kv_count);
    buf_add(&f, b->kvs.data, b->kvs.len);
    buf_add(&f, b->tensors.data, b->tensors.len);
    while (b->data.len && f.len % BUILD_ALIGNMENT) buf_add(&f, "", 1);
    buf_add(&f, b->data.data, b->data.len);
    buf_done(&b->kvs);
    buf_done(&b->tensors);
    buf_done(&b->data);
    *b = (gguf_build){0};
    return f;
}

static inline buf build_file(gguf_build *b) {
    return build_file_as(b, 3);
}

#endif
