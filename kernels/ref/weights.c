/* weights - rows of weights as floats, and the two ops that read weight matrices. */
#include "base/mem.h"
#include "kernels/blocks.h"
#include "kernels/ref/ref.h"

#include <stdlib.h>

void ref_weight_row(const tensor *t, uint32_t row, float *out) {
    PRE(row < t->rows);
    const uint8_t *bytes = (const uint8_t *)t->data + row * dtype_row_bytes(t->type, t->cols);
    const uint32_t block = dtype_block_weights(t->type), block_bytes = dtype_block_bytes(t->type);
    for (uint32_t k = 0; block > 1 && k < t->cols; k += BLOCK_GROUP)
        block_floats(t->type, bytes + (size_t)(k / block) * block_bytes, k % block / BLOCK_GROUP, out + k);
    if (t->type == DT_F32) memcpy(out, bytes, t->cols * sizeof *out);
    if (t->type == DT_F16)
        for (uint32_t k = 0; k < t->cols; k++) out[k] = f32_of_half_at(bytes + (size_t)k * 2);
    if (t->type == DT_BF16)
        for (uint32_t k = 0; k < t->cols; k++) out[k] = f32_of_bf16_at(bytes + (size_t)k * 2);
}

status ref_embed(device *d, const host_embed *a) {
    PRE(d);
    for (uint32_t r = 0; r < a->rows; r++) {
        PRE(a->ids[r] >= 0);
        ref_weight_row(a->table, (uint32_t)a->ids[r], a->out + (size_t)r * a->table->cols);
    }
    return ST_OK;
}

status ref_linear(device *d, const host_linear *a) {
    PRE(d);
    uint32_t inner = a->weight->cols;
    float *w = xcalloc(inner, sizeof *w);
    for (uint32_t n = 0; n < a->weight->rows; n++) {
        ref_weight_row(a->weight, n, w);
        for (uint32_t r = 0; r < a->rows; r++) {
            double sum = 0;
            for (uint32_t k = 0; k < inner; k++) sum += (double)a->x[(size_t)r * inner + k] * w[k];
            a->out[(size_t)r * a->weight->rows + n] = (float)sum;
        }
    }
    free(w);
    return ST_OK;
}
