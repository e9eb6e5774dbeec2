/* exact_math - exp and log whose result is the same on every machine, for the sampler.
 *
 * libm picks its code by CPU at run time (with or without FMA), so its last bit is not a property of the program. These use
 * plain double additions and multiplications in a written order (-ffp-contract=off): IEEE 754 fixes every bit. Relative error < 1e-15 for exp;
 * log is accurate to < 1e-15 of max(1, |result|). */
#ifndef BATON_ENGINE_EXACT_MATH_H
#define BATON_ENGINE_EXACT_MATH_H

/* e^x for x <= 0. 0 below -708; x may be -infinity. */
double exact_exp(double x);
/* Natural logarithm of a normal x > 0. */
double exact_log(double x);

#endif
