/* step_view - what the operations of the running step read: its tables, and how attention is cut. Made by
 * step.c, plain data for everybody else. */
#ifndef BATON_KERNELS_CUDA_STEP_VIEW_H
#define BATON_KERNELS_CUDA_STEP_VIEW_H

#include "kernels/cuda/launch.h"
#include "kernels/ops.h"

/* Rows that lie one after another and are all the prompts', or all generated. */
typedef struct step_run {
    uint32_t begin, count;
    bool prompt;
} step_run;

typedef struct step_view {
    const op_step *op;         /* the caller's. Borrowed: valid until step_end */
    step_tables tables;        /* device memory */
    const step_run *runs;      /* host: [run_count] of all rows, no two of a kind one after the other */
    const decode_item *items;  /* host: [item_count] */
    sample_token *tokens_host; /* pinned twin of tables.tokens */
    uint32_t prompt_rows, run_count, tile_count, item_count;
    bool fused;     /* only generated rows, of different sequences: one launch does all of attention */
    bool recording; /* launches are recorded: what varies from step to step comes from the tables */
    uint32_t grid;  /* when recording: blocks per KV head of decode attention */
} step_view;

#endif
