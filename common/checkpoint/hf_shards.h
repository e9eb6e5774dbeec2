/* hf_shards - the safetensors files of a Hugging Face folder, as one list of tensors: model.safetensors, or
 * what model.safetensors.index.json names. Private to this folder. */
#ifndef BATON_CHECKPOINT_HF_SHARDS_H
#define BATON_CHECKPOINT_HF_SHARDS_H

#include "base/status.h"
#include "checkpoint/safetensors.h"

typedef struct hf_shards {
    safetensors **files; /* [file_count]. Owned */
    uint32_t file_count;
    const safetensor **tensors; /* [count] of all files, by name. Owned */
    uint64_t count;
} hf_shards;

/* ST_IO: a file is missing; ST_CORRUPT: one is broken, a name stands twice, the index names a file outside of
 * the folder or a tensor that its file has not. Freed with hf_shards_close on failure, too. */
status hf_shards_open(hf_shards *s, const char *folder, errbuf *eb);
void hf_shards_close(hf_shards *s);
void hf_shards_drop(const hf_shards *s);

uint64_t hf_shards_count(const hf_shards *s);
const safetensor *hf_shards_at(const hf_shards *s, uint64_t i);
/* Of sizes and times of change of all files */
uint64_t hf_shards_stamp(const hf_shards *s);

#endif
