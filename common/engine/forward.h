/* forward - the forward pass: a step's rows go through the operations of ops.h, in the order that the model's
 * architecture describes (model/arch.h). Internal to the engine.
 *
 * Every row is on its own (ops.h): where it stands in the step, and what stands beside it, changes no bit of
 * it. */
#ifndef BATON_ENGINE_FORWARD_H
#define BATON_ENGINE_FORWARD_H

#include "engine/activations.h"
#include "engine/engine_types.h"
#include "engine/weights.h"

typedef struct forward {
    const model *model;
    const weights *weights;
    const backend_ops *ops;
    device *dev;
    activations act;         /* the parts of `memory` */
    uint8_t *memory;         /* all activations; backend memory */
    void (*mark)(void *ctx, uint32_t layers); /* see engine_options; set after forward_init, or NULL */
    void *mark_ctx;
} forward;

/* Borrows everything until forward_done. */
void forward_init(forward *f, const model *m, const weights *w, const backend_ops *ops, device *dev,
                  uint32_t max_rows);
/* Takes the memory. ST_NOMEM names the size, which is act.bytes. */
status forward_alloc(forward *f, errbuf *eb);
/* Accepts a half-built one */
void forward_done(forward *f);

/* The caller's view of the rows, for hooks. */
typedef struct forward_hook {
    const engine_hook *hook; /* or NULL */
    const step_item *items;  /* [count] */
    uint32_t count;
} forward_hook;

/* Runs `s` from step_begin to step_end: KV is written, s->results too. logits: [s->head_count, vocab] of host
 * memory, or NULL. */
status forward_step(forward *f, const op_step *s, const forward_hook *hook, float *logits, errbuf *eb);

#endif
