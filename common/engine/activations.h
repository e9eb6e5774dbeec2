/* activations - the memory of a step between its operations: what the architecture's buffers, the residual
 * stream and the output head take, cut from one allocation. Pure.
 *
 * Both the engine, which takes it, and the planner, which makes room for it, ask here. */
#ifndef BATON_ENGINE_ACTIVATIONS_H
#define BATON_ENGINE_ACTIVATIONS_H

#include "model/model.h"

#include <stddef.h>

#define HEAD_ROWS_MAX 64u /* bounds the logits to a few dozen MB whatever the batch is */

typedef enum activation_part {
    ACTIVATION_RESIDUAL = ARCH_BUFFERS, /* f32 [max_rows, dim] */
    ACTIVATION_LAST,                    /* act [head_rows, dim] norm of the rows whose logits are wanted */
    ACTIVATION_LOGITS,                  /* f32 [head_rows, vocab] */
} activation_part;
enum { ACTIVATION_PARTS = ACTIVATION_LOGITS + 1 };

/* Below ACTIVATION_RESIDUAL an index is an arch_buffer: act [max_rows, model_width]. */
typedef struct activations {
    uint32_t max_rows;  /* rows of one step */
    uint32_t head_rows; /* rows that the output head takes at once */
    struct {
        size_t offset, bytes; /* in the allocation; multiples of 64 */
    } part[ACTIVATION_PARTS];
    size_t bytes; /* of the allocation */
} activations;

/* act_bytes: of one number of the backend's type of activations. */
activations activations_of(const model *m, size_t act_bytes, uint32_t max_rows);
/* "qkv", for logs. Borrowed: static. */
const char *activation_name(uint32_t part);

#endif
