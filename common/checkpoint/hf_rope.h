/* hf_rope - how a Hugging Face config says that positions rotate: rope_parameters (transformers 5), or
 * rope_theta and rope_scaling (before). Private to this folder. */
#ifndef BATON_CHECKPOINT_HF_ROPE_H
#define BATON_CHECKPOINT_HF_ROPE_H

#include "base/status.h"
#include "checkpoint/hf_names.h"
#include "checkpoint/key_store.h"

#include <jansson.h>

/* Llama 3's scaling: each frequency is divided by its factor. */
typedef struct hf_rope {
    float *factors; /* [count], or NULL: another scaling or none. Owned */
    uint32_t count;
    uint64_t context; /* tokens that yarn stretches the rotation to; 0: no yarn */
} hf_rope;

/* Sets the rope keys of heads of so many dimensions. ST_UNSUPPORTED names the type. Caller frees the factors
 * with free, on failure, too. */
status hf_rope_read(hf_rope *out, const hf_arch *a, uint64_t head_dim, key_store *to, const json_t *config,
                    errbuf *eb);

#endif
