#include "kernels/cuda/weight_rows.h"

#include "kernels/half.h"
#include "kernels/ref/ref.h"

#include <string.h>

static void convert(const float *from, num_type type, void *to, uint32_t count) {
    uint16_t *half = to;
    switch (type) {
    case NUM_F32:
        memcpy(to, from, count * sizeof *from);
        return;
    case NUM_F16:
        for (uint32_t i = 0; i < count; i++) half[i] = half_of_f32(from[i]);
        return;
    case NUM_BF16:
        for (uint32_t i = 0; i < count; i++) half[i] = bf16_of_f32(from[i]);
        return;
    }
}

void weight_row_read(const tensor *t, uint32_t row, num_type type, void *to, float *scratch) {
    bool same = (t->type == DT_F32 && type == NUM_F32) || (t->type == DT_F16 && type == NUM_F16) ||
                (t->type == DT_BF16 && type == NUM_BF16);
    if (same) {
        size_t bytes = dtype_row_bytes(t->type, t->cols);
        memcpy(to, (const char *)t->data + row * bytes, bytes);
        return;
    }
    ref_weight_row(t, row, scratch);
    convert(scratch, type, to, t->cols);
}
