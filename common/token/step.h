/* step - what is asked of an engine about tokens, and what it answers: sequences to open, the shares of a
 * step, the tokens that were chosen. Plain data.
 *
 * The roles' pure cores write these, the device thread hands them to the engine; neither needs the other's
 * header. */
#ifndef BATON_TOKEN_STEP_H
#define BATON_TOKEN_STEP_H

#include "latency/latency.h"
#include "token/sampling.h"

/* What a sequence starts with. */
typedef struct seq_start {
    const int32_t *prompt; /* copied */
    uint32_t prompt_count;
    const int32_t *output; /* tokens already generated (replay, or what D got): copied */
    uint32_t output_count;
    const sampling *params; /* copied, with its arrays */
    const uint32_t *pages;  /* copied: page table so far */
    uint32_t page_count;
} seq_start;

/* One sequence's share of a step: rows [begin, begin + count) of (prompt ++ output), whose KV is written; the
 * rows before have theirs already. */
typedef struct step_item {
    uint32_t slot;
    uint32_t begin, count;
    bool sample; /* the last row's logits choose the next output token, which the engine appends to the
                    sequence */
    uint32_t new_page_count; /* pages appended to the table before the step, 0..8 */
    uint32_t new_pages[8];
    uint64_t tag; /* the caller's: comes back in the hook and the result */
} step_item;

typedef struct step_result {
    uint64_t tag;
    bool sampled;
    token_out token; /* when sampled; fin is left FINISH_NONE: the worker's pure part decides the end */
    bool broken; /* its logits leave no token to choose: this sequence is over, the others of the step are not
                  */
    char why[120]; /* when broken */
    /* What the model thought of the prompt's tokens that follow the item's rows, when the sequence's params
     * ask for prompt_logprobs: [prompt_count], of the tokens after row begin, begin + 1, ... that the prompt
     * has. Borrowed until the next step. */
    const token_out *prompt;
    uint32_t prompt_count;
} step_result;

/* One job for the device thread: closes, then opens, then one engine step of the items (item_count may be 0).
 */
typedef struct dev_open {
    uint32_t slot;
    seq_start init; /* arrays borrowed from the core until `stepped` */
} dev_open;

typedef struct dev_job {
    const uint32_t *closes;
    uint32_t close_count;
    const dev_open *opens;
    uint32_t open_count;
    const step_item *items; /* tag = request id */
    uint32_t item_count;
    latency_step sums; /* of the items: what the step's time depends on */
} dev_job;

/* When a step ran, on the clock of its process. */
typedef struct step_span {
    uint64_t begin_ns, duration_ns;
} step_span;

/* What a worker is busy with while a step runs. */
typedef enum busy_kind { BUSY_PREFILL, BUSY_DECODE, BUSY_MIXED, BUSY_KIND_COUNT } busy_kind;

busy_kind busy_kind_of(uint32_t prefill_rows, uint32_t decode_rows);
/* "prefill", "decode", "mixed" */
const char *busy_kind_name(busy_kind kind);

#endif
