/* hf_names - architectures of Hugging Face folders: what their tensors are called here, and what has to be
 * done to them.
 *
 * One table entry per architecture (hf_archs in hf_names.c); hf_config.c has what its config.json means.
 * Private to this folder. Pure. */
#ifndef BATON_CHECKPOINT_HF_NAMES_H
#define BATON_CHECKPOINT_HF_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What makes a tensor of the folder into one of ours. Vectors become f32 as well. */
typedef enum hf_change {
    HF_PLAIN,
    HF_ROTATED_Q, /* rows of each head: from halves to interleaved pairs, as "llama" rotates them */
    HF_ROTATED_K, /* likewise, of the key heads */
    HF_PLUS_ONE,  /* a norm's weight, kept as its difference from 1 */
    HF_CONV1D,    /* [in, out] becomes [out, in]; a Linear of a nanoGPT is that already */
    HF_FROM_ROW_2 /* OPT's positions begin with two rows that no token has */
} hf_change;

typedef struct hf_name {
    const char *from; /* without prefixes ("model.") and ending (".weight") */
    const char *to;   /* NULL ends a list */
    hf_change change;
} hf_name;

typedef struct hf_arch {
    const char *class; /* in config.json's "architectures" */
    const char *arch;  /* general.architecture */
    const char *list;  /* what layers are under: "layers." */
    bool tied;         /* where config.json does not say: is the head the embedding? */
    bool biased;       /* every weight of a layer and the last norm has a bias; one that is absent is zero */
    hf_name whole[6];  /* tensors of the model */
    hf_name layer[16]; /* tensors of a layer, after "layers.N." */
} hf_arch;

/* NULL when there is none of that class. Borrowed: static. */
const hf_arch *hf_arch_find(const char *class);
/* The classes of all, comma-separated. Caller frees with free. */
char *hf_arch_classes(void);

typedef enum hf_found {
    HF_TENSOR,
    HF_IGNORED, /* a table that is computed: inverse frequencies, a mask */
    HF_UNKNOWN,
} hf_found;

typedef struct hf_place {
    char name[96]; /* "blk.3.attn_q.weight" */
    hf_change change;
    bool vector; /* a bias */
} hf_place;

/* Where the tensor `name` of the folder goes. */
hf_found hf_place_of(const hf_arch *a, const char *name, hf_place *out);

#endif
