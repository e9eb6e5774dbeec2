/* engine_types - what an engine is made with, and how the steps of its files and the transfer thread meet it.
 * Plain data, for engine.h and for the files behind it. */
#ifndef BATON_ENGINE_ENGINE_TYPES_H
#define BATON_ENGINE_ENGINE_TYPES_H

#include "grammar/grammar.h"
#include "kernels/backend.h"
#include "token/step.h"

typedef struct engine_options {
    const char *backend;   /* "cpu" */
    device_options device; /* its sizes are filled in from what follows */
    dtype kv_type;         /* DT_F16, DT_BF16 or DT_F32; the backend may refuse one */
    uint32_t page_count;   /* pages of KV_PAGE_TOKENS */
    uint32_t max_rows;     /* rows of one step */
    uint32_t max_seqs;     /* slots */
    uint32_t max_context;  /* tokens of one sequence; <= model context unless the config forces more */
    const int32_t *eog;    /* [eog_count] end-of-generation ids; borrowed until engine_free */
    uint32_t eog_count;
    /* For sequences with a spec; NULL: they are refused. Called on the device thread until engine_free. */
    grammar_token_bytes *token_bytes;
    void *token_ctx;
    /* Backends may have costs of the first time: decode steps, prompts, that engine_new runs for them. */
    bool warm_decode, warm_prompts;
    /* Called on the thread that runs a step after each of its operations was issued (those of the cpu
     * backends have ended then): the step goes on, and is through with so many layers. It changes nothing
     * else, unlike a hook. May be NULL. */
    void (*mark)(void *ctx, uint32_t layers);
    void *mark_ctx;
} engine_options;

/* Page memory for hand-offs, usable from the transfer thread. */
typedef struct engine_kv {
    const backend_ops *ops;
    device *dev;
    kv_layout layout;
    void *base; /* page memory */
    uint32_t page_count;
    uint32_t spare_page;    /* one more, which never holds a sequence: pairs are tried with it */
    uint32_t seq_pages_max; /* of one copy */
} engine_kv;

/* Called on the device thread before the ops of layer `layer` are issued, and after they were: from then on
 * kv_gather of that layer with this step's number, by any thread, waits for the KV rows of all items. May be
 * NULL. */
typedef struct engine_hook {
    void *ctx;
    void (*layer_begin)(void *ctx, uint32_t layer, const step_item *items, uint32_t count);
    void (*layer_end)(void *ctx, uint64_t step, uint32_t layer, const step_item *items, uint32_t count);
} engine_hook;

#endif
