/* checkpoint_data - what a checkpoint hands out: texts, lists and tensors as plain data. For checkpoint.h and
 * for the formats behind it. */
#ifndef BATON_CHECKPOINT_DATA_H
#define BATON_CHECKPOINT_DATA_H

#include "base/tensor.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct checkpoint checkpoint;

typedef struct checkpoint_text {
    const char *data; /* not NUL-terminated; borrowed */
    uint64_t len;     /* bytes */
} checkpoint_text;

/* What a list holds. Numbers of any width are one kind. */
typedef enum checkpoint_kind {
    CHECKPOINT_TEXTS,
    CHECKPOINT_INTEGERS,
    CHECKPOINT_REALS,
    CHECKPOINT_BOOLS,
} checkpoint_kind;

/* How a token that is looked for in the text is looked for; tokenizer.hf.added_flags. */
typedef enum checkpoint_added {
    ADDED_LSTRIP = 1,      /* white space before it goes with it */
    ADDED_RSTRIP = 2,      /* white space after it */
    ADDED_SINGLE_WORD = 4, /* not beside a letter, digit or underscore */
    ADDED_PREFIXED = 8,    /* with the space that a text gets in front: where there is none it is no match */
} checkpoint_added;

typedef struct checkpoint_tensor {
    checkpoint_text name;
    uint32_t type;      /* a dtype's number, or another one: the reader decides what it supports */
    uint32_t dim_count; /* 1..4 */
    uint64_t dims[4];   /* dims[0] is contiguous */
    const void *data;   /* borrowed. NULL: checkpoint_prepare makes it */
    uint64_t bytes;     /* 0 when the type's size is not known here */
} checkpoint_tensor;

/* What checkpoint_prepare did. */
typedef struct checkpoint_prepared {
    uint64_t converted; /* tensors of another type than their file's */
    uint64_t kept;      /* matrices that stay quantised though another type is wanted */
    uint64_t bytes;     /* of memory, beside the file */
} checkpoint_prepared;

#endif
