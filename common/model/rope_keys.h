/* rope_keys - the keys of a checkpoint about rotation, as numbers of the model: base, rotated dimensions, and
 * what stretches the angles.
 *
 * Every way to stretch is a divisor per pair and a magnitude:
 *   linear   all divisors are rope.scaling.factor. Also without a type, and as rope.scale_linear, its old
 * name yarn     fast pairs stay, slow ones are divided by the factor, in between a ramp; the magnitude is 0.1
 * ln(factor) + 1 (Peng et al., "YaRN", 2023) Llama 3  the divisors are a tensor, rope_freqs.weight and
 * rope.scaling.attn_factor multiplies the magnitude. What is not among these is refused by name. */
#ifndef BATON_MODEL_ROPE_KEYS_H
#define BATON_MODEL_ROPE_KEYS_H

#include "model/model.h"

/* Sets rope_dim, rope_base, rope_factors and rope_magnitude of m, whose head_dim and context are set. */
status rope_keys_read(model *m, const checkpoint *ckpt, errbuf *eb);

#endif
