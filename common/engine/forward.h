/* forward - the forward pass of the llama architecture: a step's rows go through the operations of ops.h.
 * Internal to the engine.
 *
 * Every row is on its own (ops.h): where it stands in the step, and what stands beside it, changes no bit of
 * it. */
#ifndef BATON_ENGINE_FORWARD_H
#define BATON_ENGINE_FORWARD_H

#include "engine/engine.h"
#include "engine/weights.h"

/* Activations, cut from one allocation of backend memory. "act" is the backend's type of activations. */
typedef struct forward {
    const model *m;
    const weights *w;
    const backend_ops *ops;
    device *dev;
    uint32_t max_rows;  /* rows of one step */
    uint32_t head_rows; /* rows that the output head takes at once */
    uint8_t *memory;    /* all activations; backend memory */
    size_t memory_bytes;
    void *x;       /* f32 [max_rows, dim] the residual stream */
    void *normed;  /* act [max_rows, dim] its norm */
    void *delta;   /* act [max_rows, dim] what a block adds to it; the next norm does the adding */
    void *qkv;     /* act [max_rows, (heads + 2 * kv_heads) * head_dim] */
    void *att;     /* act [max_rows, heads * head_dim] */
    void *gate_up; /* act [max_rows, 2 * ffn_dim] scratch */
    void *gated;   /* act [max_rows, ffn_dim] */
    void *last;    /* act [head_rows, dim] norm of the rows whose logits are wanted */
    void *logits;  /* f32 [head_rows, vocab] */
} forward;

#define FORWARD_HEAD_ROWS 64u /* bounds the logits to a few dozen MB whatever the batch is */

/* Borrows everything until forward_done. */
void forward_init(forward *f, const model *m, const weights *w, const backend_ops *ops, device *dev,
                  uint32_t max_rows);
/* Takes the memory. ST_NOMEM names the size, which is memory_bytes. */
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
