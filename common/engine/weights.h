/* weights - a model's weights as the backend keeps them. Internal to the engine, but for weights_bytes.
 *
 * Loaded once, in the order of the layers, before anything else takes the device's memory; borrowed by the
 * steps. */
#ifndef BATON_ENGINE_WEIGHTS_H
#define BATON_ENGINE_WEIGHTS_H

#include "kernels/backend.h"
#include "model/model.h"

typedef struct layer_weights {
    weight *weights[LAYER_ROLES]; /* NULL: the architecture has none */
} layer_weights;

typedef struct weights {
    const backend_ops *ops;
    device *dev;
    const model *model;
    layer_weights *layer; /* [layers of the model] */
    weight *embed, *output_norm;
    weight *positions; /* NULL: none are learned */
    weight *output;    /* the embedding when tied */
    weight_home home;
} weights;

/* ST_NOMEM when the device is full. Borrows everything until weights_done. */
status weights_load(weights *w, const model *m, const backend_ops *ops, device *dev, errbuf *eb);
/* Accepts a half-loaded one */
void weights_done(weights *w);
/* What weights_load takes of the device's memory, exactly; on host backends what they read. Needs the shapes
 * of `m` alone. */
uint64_t weights_bytes(const model *m, const backend_ops *ops, dtype act_type);

#endif
