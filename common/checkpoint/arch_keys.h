/* arch_keys - the keys of a checkpoint that stand under its architecture's name: "<arch>.<name>". */
#ifndef BATON_CHECKPOINT_ARCH_KEYS_H
#define BATON_CHECKPOINT_ARCH_KEYS_H

#include "checkpoint/checkpoint.h"

/* A whole number. */
typedef struct arch_number {
    const char *name;     /* "block_count" */
    uint32_t least, most; /* what it may be */
    uint32_t fallback;    /* when it is absent; 0 = it must be there */
} arch_number;

/* The name of the architecture, "" when the checkpoint has none. */
checkpoint_text arch_name(const checkpoint *c);
/* ST_CORRUPT names the key and what it may be. */
status arch_number_get(const checkpoint *c, arch_number key, uint32_t *out, errbuf *eb);
/* A number above 0 and at most `most`. A fallback of 0 means that it must be there. */
status arch_real_get(const checkpoint *c, const char *name, double most, double fallback, float *out,
                     errbuf *eb);
/* A number that may be absent, whole or real: ST_OK with *out as it is then. ST_CORRUPT when the key is there
 * and is no finite number. */
status arch_real_find(const checkpoint *c, const char *name, double *out, errbuf *eb);
/* A text that may be absent; likewise. */
status arch_text_find(const checkpoint *c, const char *name, checkpoint_text *out, errbuf *eb);
/* Tokens the model was trained for. */
status arch_context(const checkpoint *c, uint32_t *out, errbuf *eb);

#endif
