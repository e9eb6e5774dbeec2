#include "kernels/host/host_kinds.h"

#include <math.h>

void host_layer_norm(const host_rmsnorm *a) {
    PRE(a);
    PRE(a->weight->type == DT_F32);
    PRE(a->weight->cols == a->dim);
    const float *w = a->weight->data;
    for (uint32_t r = 0; r < a->rows; r++) {
        const float *x = a->x + (size_t)r * a->dim;
        float *out = a->out + (size_t)r * a->dim;
        double sum = 0, squares = 0;
        for (uint32_t i = 0; i < a->dim; i++) sum += x[i];
        const double mean = sum / a->dim;
        for (uint32_t i = 0; i < a->dim; i++) squares += (x[i] - mean) * (x[i] - mean);
        const double inverse = 1.0 / sqrt(squares / a->dim + (double)a->eps);
        for (uint32_t i = 0; i < a->dim; i++) out[i] = (float)((x[i] - mean) * inverse * w[i]);
    }
}

void host_add_bias(float *x, const float *bias, uint32_t rows, uint32_t dim) {
    PRE(x);
    PRE(bias);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < dim; i++) x[(size_t)r * dim + i] += bias[i];
}

void host_rope_halves(const host_rope *a) {
    PRE(a);
    PRE(a->rope_dim <= a->head_dim);
    PRE(a->rope_dim % 2 == 0);
    const uint32_t half = a->rope_dim / 2;
    const double magnitude = a->magnitude != 0 ? (double)a->magnitude : 1.0;
    for (uint32_t r = 0; r < a->rows; r++) {
        for (uint32_t i = 0; i < half; i++) {
            double angle = a->pos[r] * pow(a->base, -2.0 * i / a->rope_dim);
            if (a->factors) angle /= a->factors[i];
            const double c = cos(angle) * magnitude, s = sin(angle) * magnitude;
            for (uint32_t h = 0; h < a->heads; h++) {
                float *x = a->x + ((size_t)r * a->heads + h) * a->head_dim;
                const double first = x[i], second = x[i + half];
                x[i] = (float)(first * c - second * s);
                x[i + half] = (float)(first * s + second * c);
            }
        }
    }
}
