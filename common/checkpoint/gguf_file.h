/* gguf_file - what gguf_parse.c and gguf_get.c (access) share: the parsed file.
 *
 * Private to these two. Read-only once gguf_parse has returned. */
#ifndef BATON_CHECKPOINT_GGUF_FILE_H
#define BATON_CHECKPOINT_GGUF_FILE_H

#include "checkpoint/gguf.h"
#include "checkpoint/mapped_file.h"

#include <stddef.h>

#define GGUF_TYPE_COUNT 13u

typedef struct gguf_kv {
    checkpoint_text key;
    gguf_type type;
    gguf_type elem;       /* of an array */
    uint64_t count;       /* elements of an array; 1 otherwise */
    const uint8_t *value; /* first byte of the value, or of the first element; in the file */
    /* [count]: offset of each string's length in the file; arrays of strings only. Owned */
    uint64_t *string_at;
} gguf_kv;

/* name -> position in an array: open addressing, at most half full. Slots hold position + 1; 0 is free. */
typedef struct gguf_index {
    uint32_t *slots;
    uint32_t mask;
} gguf_index;

struct gguf {
    const uint8_t *base; /* the file */
    size_t size;
    mapped_file file; /* zeroed for gguf_parse */
    gguf_kv *kvs;
    uint64_t kv_count;
    checkpoint_tensor *tensors;
    uint64_t tensor_count;
    gguf_index kv_index, tensor_index;
};

/* Bytes of one value of a type; 0 for strings and arrays. */
size_t gguf_value_bytes(gguf_type type);
/* The slot that holds `name`, or the free one where it belongs. The array's structs are `stride` bytes and
 * start with their name. */
uint32_t *gguf_index_slot(const gguf_index *x, const void *array, size_t stride, const char *name,
                          size_t len);
/* NULL when absent */
const gguf_kv *gguf_kv_find(const gguf *g, const char *key);

#endif
