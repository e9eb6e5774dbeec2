/* samples - from the requests' wishes to what the sampling kernel reads, and from what it chose to results.
 * Device thread. */
#ifndef BATON_KERNELS_CUDA_SAMPLES_H
#define BATON_KERNELS_CUDA_SAMPLES_H

#include "kernels/cuda/gpu.h"

/* Makes d->samples. */
void samples_new(device *d);
void samples_free(device *d);
/* Room for `rows` rows of `vocab` logits, once the output matrix is known. ST_NOMEM without text. */
status samples_reserve(device *d, uint32_t vocab);
/* Room for the lists of any step of the device's options. */
status samples_lists_new(device *d, errbuf *eb);
/* Fills rows [count] (host; `bucket` entries are written) from the step's samples and uploads the lists they
 * point to. */
status samples_begin(device *d, const op_step *s, uint32_t bucket, sample_row *rows);
/* backend_ops.sample */
status cuda_sample(device *d, const op_sample *a);
/* Turns what the device chose into the step's results. */
void samples_end(const op_step *s, const sample_token *tokens);

#endif
