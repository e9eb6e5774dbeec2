#include "bench/workload/draw.h"

#include "base/mix.h"
#include "base/status.h"

#include <math.h>

draw draw_begin(uint64_t seed, uint64_t index, draw_stream stream) {
    uint64_t key = mix64(seed + MIX64_STEP);
    key = mix64(key + (uint64_t)stream * MIX64_STEP);
    return (draw){.state = mix64(key + index)};
}

uint64_t draw_bits(draw *d) {
    PRE(d);
    d->state += MIX64_STEP;
    return mix64(d->state);
}

double draw_uniform(draw *d) {
    return ((double)(draw_bits(d) >> 11) + 0.5) * 0x1p-53;
}

uint64_t draw_below(draw *d, uint64_t n) {
    PRE(n >= 1);
    /* 2^64 mod n values at the low end would make the first residues more likely than the others. */
    uint64_t unfair = -n % n, bits;
    do bits = draw_bits(d);
    while (bits < unfair);
    return bits % n;
}

double draw_normal(draw *d) {
    double radius = sqrt(-2 * log(draw_uniform(d)));
    return radius * cos(2 * M_PI * draw_uniform(d));
}

/* Of mean `shape`, shape >= 1. */
static double gamma_of(draw *d, double shape) {
    double a = shape - 1.0 / 3, c = 1 / sqrt(9 * a);
    for (;;) { /* 95 % of the tries or more succeed */
        double x = draw_normal(d), v = 1 + c * x;
        if (v <= 0) continue;
        v = v * v * v;
        if (log(draw_uniform(d)) < x * x / 2 + a * (1 - v + log(v))) return a * v;
    }
}

double draw_gamma(draw *d, double shape) {
    PRE(shape > 0);
    if (shape == 1) return -log(draw_uniform(d));
    if (shape > 1) return gamma_of(d, shape) / shape;
    double above = gamma_of(d, shape + 1);
    return above * pow(draw_uniform(d), 1 / shape) / shape;
}
