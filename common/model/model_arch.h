/* model_arch - one architecture: how its file's keys and tensors become a model.
 *
 * Private to common/model. A new architecture is a file that fills one of these and a line in model.c's
 * table. */
#ifndef BATON_MODEL_ARCH_H
#define BATON_MODEL_ARCH_H

#include "checkpoint/arch_keys.h"
#include "model/model.h"

/* Where tensors come from. */
typedef struct model_source {
    const checkpoint *ckpt;
    bool *taken;            /* [tensors of the checkpoint]: which ones have found their place */
    uint64_t *weight_count; /* of those that were taken */
} model_source;

typedef struct model_arch {
    const char *name; /* value of general.architecture */
    /* Sets the dimensions and constants of m and checks them. */
    status (*dims)(model *m, const checkpoint *ckpt, errbuf *eb);
    /* Sets the weights of m from w, tensor by tensor. */
    status (*weights)(model *m, const model_source *w, errbuf *eb);
} model_arch;

extern const model_arch model_arch_llama;

/* The tensor `name` as a matrix [rows, cols]: ST_CORRUPT when absent or of another shape, ST_UNSUPPORTED for
 * a type that is no dtype. Marks it as taken. */
status model_tensor(const model_source *w, const char *name, uint32_t rows, uint32_t cols, tensor *out,
                    errbuf *eb);
/* The same for a vector [1, cols] that must be f32: norms and factors. */
status model_vector(const model_source *w, const char *name, uint32_t cols, tensor *out, errbuf *eb);

#endif
