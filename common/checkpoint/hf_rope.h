/* hf_rope - how a Hugging Face config says that positions rotate: rope_parameters (transformers 5), or
 * rope_theta and rope_scaling (before). Private to this folder. */
#ifndef BATON_CHECKPOINT_HF_ROPE_H
#define BATON_CHECKPOINT_HF_ROPE_H

#include "checkpoint/hf_config.h"

/* Sets the rope keys, and the factors of Llama 3's scaling in `c`. ST_UNSUPPORTED names the type. */
status hf_rope_read(hf_config *c, key_store *to, const json_t *config, errbuf *eb);

#endif
