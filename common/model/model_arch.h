/* model_arch - one architecture: how its file's keys and tensors become a model.
 *
 * Private to common/model. A new architecture is a file that fills one of these and a line in model.c's table. */
#ifndef BATON_MODEL_ARCH_H
#define BATON_MODEL_ARCH_H

#include "model/gguf.h"
#include "model/model.h"

typedef struct model_arch {
    const char *name; /* value of general.architecture */
    /* Sets the dimensions and constants of m from m->file and checks them. */
    status (*dims)(model *m, errbuf *eb);
    /* Sets the weights. Marks each tensor that it takes by model_tensor. */
    status (*weights)(model *m, bool *taken, errbuf *eb);
} model_arch;

extern const model_arch model_arch_llama;

/* The tensor `name` as a matrix [rows, cols]: ST_CORRUPT when absent or of another shape, ST_UNSUPPORTED for a type that is no
 * dtype. Marks it in taken[index in the file]. */
status model_tensor(const model *m, bool *taken, const char *name, uint32_t rows, uint32_t cols, tensor *out, errbuf *eb);
/* The same for a vector [1, cols] that must be f32: norms and factors. */
status model_vector(const model *m, bool *taken, const char *name, uint32_t cols, tensor *out, errbuf *eb);
bool model_has(const model *m, const char *name);

/* "<arch>.<key>" as a whole number in least..most. fallback is taken when absent; a negative one means required. */
status model_key(const model *m, const char *key, uint32_t least, uint32_t most, int64_t fallback, uint32_t *out, errbuf *eb);
/* The same for a number above 0 and at most `most`. */
status model_real(const model *m, const char *key, double most, double fallback, float *out, errbuf *eb);

#endif
