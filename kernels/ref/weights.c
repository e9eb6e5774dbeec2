/* weights - the block formats of tensor.h, read one weight at a time, and the two ops that read weight
 * matrices. */
#include "base/mem.h"
#include "kernels/half.h"
#include "kernels/ref/ref.h"

#include <stdlib.h>

static float nibble(const uint8_t *bytes, uint32_t i) {
    return (float)(i < 16 ? bytes[i] & 15 : bytes[i - 16] >> 4);
}

static float weight_at(dtype type, const uint8_t *row, uint32_t k) {
    const uint8_t *b = row + (size_t)(k / dtype_block_weights(type)) * dtype_block_bytes(type);
    uint32_t i = k % dtype_block_weights(type);
    uint16_t bits;
    float value;
    switch (type) {
    case DT_F32:
        memcpy(&value, b, sizeof value);
        return value;
    case DT_F16:
        return f32_of_half_at(b);
    case DT_BF16:
        memcpy(&bits, b, sizeof bits);
        return f32_of_bf16(bits);
    case DT_Q8_0:
        return f32_of_half_at(b) * (float)(int8_t)b[2 + i];
    case DT_Q4_0:
        return f32_of_half_at(b) * (nibble(b + 2, i) - 8.0f);
    case DT_Q4_1:
        return f32_of_half_at(b) * nibble(b + 4, i) + f32_of_half_at(b + 2);
    }
    check_failed("check", "known dtype", __FILE__, __LINE__, __func__);
}

void ref_weight_row(const tensor *t, uint32_t row, float *out) {
    PRE(row < t->rows);
    const uint8_t *bytes = (const uint8_t *)t->data + row * dtype_row_bytes(t->type, t->cols);
    for (uint32_t k = 0; k < t->cols; k++) out[k] = weight_at(t->type, bytes, k);
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
