/* weights - matrices from the model file into GPU memory, in the activations' type and in the kernels' order.
 * Device thread. */
#ifndef BATON_KERNELS_CUDA_WEIGHTS_H
#define BATON_KERNELS_CUDA_WEIGHTS_H

#include "kernels/cuda/gpu.h"

struct weight {
    weight_form form;
    num_type type;       /* NUM_F32 for vectors, else the device's */
    uint32_t rows, cols; /* of all parts together */
    void *data;          /* [rows, cols]; WEIGHT_GATE_UP in groups (launch.h) */
    const void *bias;    /* [rows] of `type` and zeros (launch.h); of a vector [cols]; or NULL. Behind data */
    size_t bytes;        /* of both */
};

/* Slots of backend_ops. */
status cuda_weight_load(device *d, const weight_parts *from, weight **out, errbuf *eb);
status cuda_weights_ready(device *d, weight_home *out, errbuf *eb);
uint64_t cuda_weight_bytes(dtype act_type, const weight_parts *from);
void cuda_weight_free(device *d, weight *w);
/* The staging of the load, when no more weights come; the next load makes it again. */
void weight_stage_free(device *d);

#endif
