/* quantize - rows of f32 as a storage type. Q8_0 and Q4_0 have the bytes that ggml's reference makes. Pure.
 */
#ifndef BATON_CHECKPOINT_QUANTIZE_H
#define BATON_CHECKPOINT_QUANTIZE_H

#include "base/tensor.h"

/* f32, f16, bf16, q8_0, q4_0 */
bool quantize_knows(uint32_t type);
/* count: a multiple of the type's block; to: dtype_row_bytes(type, count) bytes. False: a number is too
 * large for f16, or not finite and blocks cannot hold it. */
bool quantize_row(dtype type, const float *x, uint32_t count, void *to);
/* The other way, of f32, f16 and bf16. */
void dequantize_row(dtype type, const void *from, uint32_t count, float *x);

#endif
