/* weight_rows - a row of a weight matrix of any storage type as plain numbers of the activations' type. Pure.
 *
 * What is stored in that type already is copied bit for bit; everything else goes through fp32, exactly as
 * ref reads it, and is rounded once, to nearest even. */
#ifndef BATON_KERNELS_CUDA_WEIGHT_ROWS_H
#define BATON_KERNELS_CUDA_WEIGHT_ROWS_H

#include "base/tensor.h"
#include "kernels/cuda/launch.h"

/* Row `row` of `t`, which is not random, to `to`, [cols] of `type`. scratch: [cols]. */
void weight_row_read(const tensor *t, uint32_t row, num_type type, void *to, float *scratch);

#endif
