/* checkpoint_format - one format of checkpoints: the functions behind checkpoint.h.
 *
 * Private to this folder. `self` is the format's own; every slot up to `has` is filled. */
#ifndef BATON_CHECKPOINT_FORMAT_H
#define BATON_CHECKPOINT_FORMAT_H

#include "base/status.h"
#include "checkpoint/checkpoint_data.h"

/* What makes the bytes of a file into those of a tensor. */
typedef enum change_kind {
    CHANGE_TYPE,      /* the type alone (or nothing: the bytes lie at an odd address) */
    CHANGE_ROTATION,  /* rows of each head: those of the first and second half take turns */
    CHANGE_PLUS_ONE,  /* each number */
    CHANGE_TRANSPOSE, /* the file has [cols, rows] */
} change_kind;

typedef struct tensor_source {
    change_kind change;
    uint32_t type;      /* of the file's bytes: f32, f16 or bf16 */
    uint32_t head_rows; /* of CHANGE_ROTATION: rows of one head, even */
    const void *data;   /* borrowed. NULL: the tensor is as it is in the file */
} tensor_source;

typedef struct checkpoint_format {
    bool (*claims)(const char *path);
    char *(*stem)(const char *path);
    status (*open)(void **self, const char *path, errbuf *eb);
    void (*close)(void *self);
    bool (*u64)(const void *self, const char *key, uint64_t *out);
    bool (*f64)(const void *self, const char *key, double *out);
    bool (*boolean)(const void *self, const char *key, bool *out);
    bool (*string)(const void *self, const char *key, checkpoint_text *out);
    bool (*list)(const void *self, const char *key, checkpoint_kind *kind, uint64_t *count);
    bool (*list_text)(const void *self, const char *key, uint64_t i, checkpoint_text *out);
    bool (*list_i64)(const void *self, const char *key, uint64_t i, int64_t *out);
    bool (*list_f64)(const void *self, const char *key, uint64_t i, double *out);
    uint64_t (*tensor_count)(const void *self);
    const checkpoint_tensor *(*tensor_at)(const void *self, uint64_t i);
    const checkpoint_tensor *(*tensor_find)(const void *self, const char *name);
    bool (*has)(const void *self, const char *name);
    /* NULL where nothing is mapped. */
    void (*drop)(const void *self);
    /* Both NULL where tensors are there. */
    uint64_t (*made_of)(const void *self);
    tensor (*make)(const void *self, const char *name, uint32_t rows, uint32_t cols);
    /* What tensor i is made from; NULL where all tensors are as they are in the file. */
    const tensor_source *(*source)(const void *self, uint64_t i);
    /* Of size and time of change of all files of weights; NULL where the path is the one file. */
    uint64_t (*stamp)(const void *self);
} checkpoint_format;

struct checkpoint {
    const checkpoint_format *format;
    void *self; /* owned */
    char *path; /* owned */
    /* Of checkpoint_prepare; NULL and 0 before. */
    checkpoint_tensor *prepared; /* [tensor count] in place of the format's. Owned */
    void *made;                  /* the bytes of those that are not as in the file. Mapped */
    size_t made_bytes;
};

/* The first that claims a path reads it; the last claims every path. */
#define CHECKPOINT_FORMATS(X) X(checkpoint_random) X(checkpoint_hf) X(checkpoint_gguf)

#define FORMAT_DECLARE(name) extern const checkpoint_format name;
CHECKPOINT_FORMATS(FORMAT_DECLARE)
#undef FORMAT_DECLARE

/* Takes ownership of `self`. */
checkpoint *checkpoint_of(const checkpoint_format *format, void *self, const char *path);

#endif
