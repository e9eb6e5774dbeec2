/* safetensors - one .safetensors file, mapped and validated: tensors by position.
 *
 *   u64 N (little endian) | N bytes of JSON: {"name": {"dtype", "shape", "data_offsets": [from, to]}, ...} |
 *   the tensors' bytes, without holes
 *
 * Every length and offset is checked before use; a truncated or hostile file is ST_CORRUPT with the place
 * that is wrong. Tensors point into the mapping. Nothing outside this folder asks for it by name. */
#ifndef BATON_CHECKPOINT_SAFETENSORS_H
#define BATON_CHECKPOINT_SAFETENSORS_H

#include "base/status.h"
#include "checkpoint/checkpoint_data.h"

#include <stddef.h>

typedef struct safetensors safetensors;

typedef struct safetensor {
    checkpoint_tensor t; /* its name is NUL-terminated; its type a dtype, or SAFETENSOR_OTHER */
    const char *dtype;   /* "BF16": as the file calls it. Static */
} safetensor;

/* The type of a tensor of integers, booleans, doubles or 8-bit floats, which no weight has. */
#define SAFETENSOR_OTHER UINT32_MAX

/* ST_IO (cannot open or map), ST_CORRUPT, ST_UNSUPPORTED (a dtype or shape that nothing here knows). Caller
 * frees with safetensors_close, which also unmaps what was borrowed. */
status safetensors_open(safetensors **out, const char *path, errbuf *eb);
/* The same on memory, for tests and fuzzing. Borrowed: `bytes` must outlive it. */
status safetensors_parse(safetensors **out, const void *bytes, size_t count, errbuf *eb);
void safetensors_close(safetensors *s);
/* The pages that were read so far are no longer this process's memory. Nothing of memory that was parsed. */
void safetensors_drop(const safetensors *s);

/* Of the file's size and time of change; 0 of memory. */
uint64_t safetensors_stamp(const safetensors *s);

/* In the order of their bytes. */
uint64_t safetensors_count(const safetensors *s);
const safetensor *safetensors_at(const safetensors *s, uint64_t i);

#endif
