/* hf_lists - the two long lists of a tokenizer.json, model.vocab and model.merges: a quarter of a million
 * texts and twice as many pairs of them. They are read straight from the file's bytes; a tree of JSON values
 * takes several times as long. All that is around them is for the JSON library.
 *
 * Private to this folder. */
#ifndef BATON_CHECKPOINT_HF_LISTS_H
#define BATON_CHECKPOINT_HF_LISTS_H

#include "base/status.h"
#include "checkpoint/checkpoint_data.h"

#include <stddef.h>

typedef struct hf_word {
    const char *text; /* in the lists' own memory, unescaped */
    uint32_t len;     /* bytes */
    int32_t id;
} hf_word;

typedef struct hf_lists {
    checkpoint_text vocab,
        merges; /* where they stand in the file; empty when they do not. Borrowed from it */
    char *rest; /* the file with {} and [] in their places. Owned */
    size_t rest_len;
    hf_word *words; /* [count]; owned */
    uint32_t count;
    uint32_t *slots; /* open addressing text -> word + 1; at most half full. Owned */
    uint32_t slot_mask;
    char *texts;        /* owned */
    int32_t *merge_ids; /* [3 * merge_count] left, right, merged. Owned */
    uint32_t merge_count;
} hf_lists;

/* Sets vocab, merges and rest. What is no JSON is left as it is: the library says what is wrong. */
void hf_lists_find(hf_lists *out, const char *json, size_t len);
/* Reads the two. ST_CORRUPT names the token or merge; ids are below id_end. */
status hf_lists_read(hf_lists *l, uint32_t id_end, errbuf *eb);
void hf_lists_done(hf_lists *l);

/* The id of a text; -1 = none */
int32_t hf_lists_id(const hf_lists *l, const char *text, size_t len);

#endif
