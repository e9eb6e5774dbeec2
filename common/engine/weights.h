/* weights - a model's weights as the backend keeps them. Internal to the engine.
 *
 * Loaded once, in the order of the layers, before anything else takes the device's memory; borrowed by the
 * steps. */
#ifndef BATON_ENGINE_WEIGHTS_H
#define BATON_ENGINE_WEIGHTS_H

#include "kernels/backend.h"
#include "model/model.h"

typedef struct layer_weights {
    weight *attn_norm, *qkv, *wo, *ffn_norm, *gate_up, *down;
} layer_weights;

typedef struct weights {
    const backend_ops *ops;
    device *dev;
    uint32_t layer_count;
    layer_weights *layer; /* [layer_count] */
    weight *embed, *output_norm;
    weight *output; /* the embedding when tied */
} weights;

/* ST_NOMEM when the device is full. Borrows everything until weights_done. */
status weights_load(weights *w, const model *m, const backend_ops *ops, device *dev, errbuf *eb);
/* Accepts a half-loaded one */
void weights_done(weights *w);
/* Bytes on the device. Host backends compute from the file; others keep all weights in the type of
 * activations. */
uint64_t weights_bytes(const model *m, const backend_ops *ops, const device *dev, bool host_memory);

#endif
