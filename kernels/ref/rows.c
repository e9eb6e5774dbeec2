/* rows - the ops that treat each row by itself: norm, rope, activation and add. */
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
    const double magnitude = a->magnitude != 0 ? (double)a->magnitude : 1.0;
    for (uint32_t r = 0; r < a->rows; r++) {
        for (uint32_t h = 0; h < a->heads; h++) {
            float *x = a->x + ((size_t)r * a->heads + h) * a->head_dim;
            for (size_t i = 0; i < a->rope_dim / 2; i++) {
                double angle = a->pos[r] * pow(a->base, -2.0 * (double)i / a->rope_dim);
                if (a->factors) angle /= a->factors[i];
                double even = x[2 * i], odd = x[2 * i + 1];
                double c = cos(angle) * magnitude, s = sin(angle) * magnitude;
                x[2 * i] = (float)(even * c - odd * s);
                x[2 * i + 1] = (float)(even * s + odd * c);
            }
        }
    }
    return ST_OK;
}

static double activate(act_kind act, double x) {
    switch (act) {
    case ACT_SILU:
        return x / (1.0 + exp(-x));
    case ACT_GELU:
        return 0.5 * x * (1.0 + tanh(sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
    case ACT_RELU:
        return x < 0 ? 0 : x; /* what is no number stays none */
    }
    check_failed("check", "known activation", __FILE__, __LINE__, __func__);
}

status ref_act_mul(device *d, const host_act_mul *a) {
    PRE(d);
    for (size_t i = 0; i < (size_t)a->rows * a->dim; i++)
        a->out[i] = (float)(activate(a->act, a->gate[i]) * (a->up ? a->up[i] : 1.0));
    return ST_OK;
}

status ref_add(device *d, const host_add *a) {
    PRE(d);
    for (size_t i = 0; i < (size_t)a->rows * a->dim; i++) a->x[i] += a->y[i];
    return ST_OK;
}
