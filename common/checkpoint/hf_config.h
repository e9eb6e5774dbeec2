/* hf_config - config.json and generation_config.json of a Hugging Face folder, in the vocabulary of
 * checkpoint.h.
 *
 * What is in config.json, would change the computation and is not computed here is refused by name. Private
 * to this folder. */
#ifndef BATON_CHECKPOINT_HF_CONFIG_H
#define BATON_CHECKPOINT_HF_CONFIG_H

#include "base/status.h"
#include "checkpoint/hf_names.h"
#include "checkpoint/hf_rope.h"
#include "checkpoint/key_store.h"

#include <jansson.h>

typedef struct hf_config {
    const hf_arch *arch;
    uint64_t layers, heads, kv_heads, dim, head_dim, ffn_dim, vocab, context;
    bool tied;   /* the head is the embedding, whatever the files hold */
    bool untied; /* it is said that the head is another matrix */
    hf_rope rope;
} hf_config;

/* Sets the keys of the architecture and fills in `c`, which is zeroed; freed with hf_config_done on failure,
 * too. ST_CORRUPT, ST_UNSUPPORTED name what is wrong and what is read. */
status hf_config_read(hf_config *c, key_store *to, const json_t *config, errbuf *eb);
void hf_config_done(hf_config *c);

/* Ends of generations and defaults of requests: of generation_config.json (NULL: there is none), and the ends
 * of config.json where that names none. The tokenizer's keys are set. */
status hf_generation_read(key_store *to, const json_t *generation, const json_t *config, uint64_t vocab,
                          errbuf *eb);

#endif
