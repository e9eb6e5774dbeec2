/* rows - the ops that treat each row by itself: norm, rope, silu and add. */
#include "kernels/ref/ref.h"

#include <math.h>

status ref_rmsnorm(device *d, const host_rmsnorm *a) {
    PRE(d);
    PRE(a->weight->type == DT_F32);
    PRE(a->weight->cols == a->dim);
    const float *w = a->weight->data;
    for (uint32_t r = 0; r < a->rows; r++) {
        const float *x = a->x + (size_t)r * a->dim;
        float *out = a->out + (size_t)r * a->dim;
        double sum = 0;
        for (uint32_t i = 0; i < a->dim; i++) sum += (double)x[i] * x[i];
        double inverse = 1.0 / sqrt(sum / a->dim + (double)a->eps);
        for (uint32_t i = 0; i < a->dim; i++) out[i] = (float)(x[i] * inverse * w[i]);
    }
    return ST_OK;
}

status ref_rope(device *d, const host_rope *a) {
    PRE(d);
    PRE(a->rope_dim <= a->head_dim);
    PRE(a->rope_dim % 2 == 0);
    for (uint32_t r = 0; r < a->rows; r++) {
        for (uint32_t h = 0; h < a->heads; h++) {
            float *x = a->x + ((size_t)r * a->heads + h) * a->head_dim;
            for (size_t i = 0; i < a->rope_dim / 2; i++) {
                double angle = a->pos[r] * pow(a->base, -2.0 * (double)i / a->rope_dim);
                if (a->factors) angle /= a->factors[i];
                double even = x[2 * i], odd = x[2 * i + 1];
                x[2 * i] = (float)(even * cos(angle) - odd * sin(angle));
                x[2 * i + 1] = (float)(even * sin(angle) + odd * cos(angle));
            }
        }
    }
    return ST_OK;
}

status ref_silu_mul(device *d, const host_silu_mul *a) {
    PRE(d);
    for (size_t i = 0; i < (size_t)a->rows * a->dim; i++) {
        double gate = a->gate[i];
        a->out[i] = (float)(gate / (1.0 + exp(-gate)) * a->up[i]);
    }
    return ST_OK;
}

status ref_add(device *d, const host_add *a) {
    PRE(d);
    for (size_t i = 0; i < (size_t)a->rows * a->dim; i++) a->x[i] += a->y[i];
    return ST_OK;
}
