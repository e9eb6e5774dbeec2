/* gguf - a GGUF file (version 3, or 2: the same layout), mapped and validated: metadata by key, tensors by
 * name.
 *
 * Every length, count, offset and type is checked against the file's size before use; a truncated or hostile
 * file is ST_CORRUPT with the place that is wrong. Nothing is copied: strings and tensors point into the
 * mapping. It is one of the formats behind checkpoint.h (gguf_checkpoint.c); nothing outside this folder asks
 * for it by name. */
#ifndef BATON_CHECKPOINT_GGUF_H
#define BATON_CHECKPOINT_GGUF_H

#include "base/status.h"
#include "checkpoint/checkpoint_data.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64
} gguf_type;

typedef struct gguf gguf;

/* ST_IO (cannot open or map), ST_CORRUPT (not GGUF, truncated, impossible), ST_UNSUPPORTED (other version,
 * big endian). Caller frees with gguf_close, which also unmaps everything that was borrowed. */
status gguf_open(gguf **out, const char *path, errbuf *eb);
/* The same on memory, for tests and fuzzing. Borrowed: `bytes` must outlive the gguf. */
status gguf_parse(gguf **out, const void *bytes, size_t count, errbuf *eb);
/* The same as a checkpoint. Caller frees with checkpoint_close. */
status gguf_parse_checkpoint(checkpoint **out, const void *bytes, size_t count, errbuf *eb);
void gguf_close(gguf *g);
/* The pages of the file that were read so far are no longer this process's memory; they come back when they
 * are read. Nothing of memory that was parsed. */
void gguf_drop(const gguf *g);

/* Metadata. False when the key is absent or of another kind (integers convert between widths when the value
 * fits). */
bool gguf_u64(const gguf *g, const char *key, uint64_t *out);
bool gguf_f64(const gguf *g, const char *key, double *out);
bool gguf_bool(const gguf *g, const char *key, bool *out);
bool gguf_string(const gguf *g, const char *key, checkpoint_text *out);
/* Length and element type of an array; false when absent or not an array. */
bool gguf_array(const gguf *g, const char *key, gguf_type *type, uint64_t *count);
/* Element i of an array of strings / integers / reals. Access in ascending i is O(1) amortised. */
bool gguf_array_string(const gguf *g, const char *key, uint64_t i, checkpoint_text *out);
bool gguf_array_i64(const gguf *g, const char *key, uint64_t i, int64_t *out);
bool gguf_array_f64(const gguf *g, const char *key, uint64_t i, double *out);

uint64_t gguf_tensor_count(const gguf *g);
const checkpoint_tensor *gguf_tensor_at(const gguf *g, uint64_t i);
/* NULL when absent */
const checkpoint_tensor *gguf_tensor_find(const gguf *g, const char *name);

#endif
