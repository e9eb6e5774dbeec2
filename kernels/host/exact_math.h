/* exact_math - exp and log whose result is the same on every machine, for the sampler.
 *
 * libm picks its code by CPU at run time (with or without FMA), so its last bit is not a property of the
 * program. These use plain additions and multiplications in a written order (-ffp-contract=off): IEEE 754
 * fixes every bit, however the compiler vectorises. */
#ifndef BATON_KERNELS_HOST_EXACT_MATH_H
#define BATON_KERNELS_HOST_EXACT_MATH_H

#include <stdint.h>

/* out[i] = e^x[i] for x[i] <= 0 (-infinity too); 0 below -87. Relative error < 2e-7. out may be x. */
void exact_exp(const float *x, float *out, uint32_t count);
/* Natural logarithm of a normal x > 0, within 1e-15 of max(1, |result|). */
double exact_log(double x);

#endif
