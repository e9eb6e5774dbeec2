/* step - what a step tells the kernels, and steps that are recorded and played back. Device thread. */
#ifndef BATON_KERNELS_CUDA_STEP_H
#define BATON_KERNELS_CUDA_STEP_H

#include "kernels/cuda/gpu.h"

/* Makes d->step, at attend_setup, since attention decides on the sizes; ST_NOMEM names the bytes. */
status step_new(device *d, errbuf *eb);
void step_free(device *d);
/* backend_ops.warm, step_begin and step_end */
bool cuda_warm(const device *d, uint32_t i, warm_step *out);
status cuda_step_begin(device *d, const op_step *s, step_pass *out, errbuf *eb);
status cuda_step_end(device *d, errbuf *eb);
/* Nodes of the recorded step that serves `rows` rows; 0 while none was recorded. */
size_t step_nodes(const device *d, uint32_t rows);

#endif
