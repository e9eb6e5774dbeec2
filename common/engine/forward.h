/* forward - the forward pass of the llama architecture: rows of token ids in, hidden states and logits out. Internal to
 * the engine.
 *
 * Every row is on its own (ops.h): where it stands in the step, and what stands beside it, changes no bit of it. */
#ifndef BATON_ENGINE_FORWARD_H
#define BATON_ENGINE_FORWARD_H

#include "engine/engine.h"

/* Activations, cut from one allocation of backend memory, and the host tables that say which row is what. */
typedef struct forward {
    const model *m;
    const backend_ops *ops;
    device *dev;
    kv_layout layout;
    void *kv;           /* page memory */
    uint32_t max_rows;  /* rows of one step */
    uint32_t head_rows; /* rows that the output head takes at once */
    uint8_t *memory;    /* all activations; backend memory */
    size_t memory_bytes;
    float *x;         /* [max_rows, dim] the residual stream */
    float *h;         /* [max_rows, dim] its norm, and what a block adds to it */
    float *q;         /* [max_rows, heads * head_dim] */
    float *k, *v;     /* [max_rows, kv_heads * head_dim] */
    float *att;       /* [max_rows, heads * head_dim] */
    float *gate, *up; /* [max_rows, ffn_dim] */
    float *last;      /* [head_rows, dim] gathered rows of x */
    float *logits;    /* [head_rows, vocab] */
    int32_t *ids;     /* [max_rows] host */
    uint32_t *pos;    /* [max_rows] host */
    kv_ref *refs;     /* [max_rows] host */
} forward;

#define FORWARD_HEAD_ROWS 64u /* bounds the logits to a few dozen MB whatever the batch is */

/* Borrows everything until forward_done. ST_NOMEM names the size. */
status forward_init(forward *f, const model *m, const backend_ops *ops, device *dev, const kv_layout *layout, void *kv,
                    uint32_t max_rows, errbuf *eb);
void forward_done(forward *f); /* accepts a half-built one */

/* Computes rows 0..rows-1 of f->ids, f->pos, f->refs through all layers: KV is written, f->x is the last layer's
 * output. */
status forward_layers(forward *f, uint32_t rows, const engine_hook *hook, const step_item *items, uint32_t item_count);
/* f->logits[i] of f->x[row_idx[i]], count <= head_rows; ready when it returns. row_idx is host memory. */
status forward_head(forward *f, const int32_t *row_idx, uint32_t count, errbuf *eb);

#endif
