/* hf_rules - what a tokenizer.json does to text before and after its model: normalizer, pre-tokenizer,
 * decoder and post-processor, recognised by their structure. What is not known is refused by name.
 *
 * Private to this folder. */
#ifndef BATON_CHECKPOINT_HF_RULES_H
#define BATON_CHECKPOINT_HF_RULES_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

typedef struct hf_rules {
    bool byte_level;          /* tokens are written in the characters of byte_chars.h; else with "▁" */
    bool nfc;                 /* text is composed first */
    bool signs;               /* the normalizer writes "▁" for spaces */
    bool prepends;            /* and puts one in front */
    const char *pre;          /* tokenizer.ggml.pre; static */
    const char *space_prefix; /* tokenizer.hf.space_prefix; static */
    const char *strip_space;  /* tokenizer.hf.strip_space; static */
    bool byte_fallback;       /* the decoder makes bytes of "<0x0A>" */
    int64_t bos, eos;         /* the post-processor's; -1 = it adds none */
} hf_rules;

/* Of a tokenizer.json. ST_UNSUPPORTED names the part and what is known, ST_CORRUPT what is impossible. */
status hf_rules_read(hf_rules *out, const json_t *root, errbuf *eb);

/* The text of a member, "" when it is absent or no text. Borrowed. */
const char *hf_text(const json_t *object, const char *key);
/* A member that is true. */
bool hf_flag(const json_t *object, const char *key);

#endif
