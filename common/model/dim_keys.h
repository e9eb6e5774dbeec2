/* dim_keys - the keys of a checkpoint that nearly all architectures have: sizes, heads, windows; and those
 * that would change the computation and that none here obeys.
 *
 * Anything in the file that would change the computation and is not implemented is refused by name, because a
 * model that runs and answers nonsense is worse than one that does not start. */
#ifndef BATON_MODEL_DIM_KEYS_H
#define BATON_MODEL_DIM_KEYS_H

#include "model/model.h"

/* Sets dim, layers, heads, kv_heads, head_dim, ffn_dim, context, attend_scale and norm_eps (whose key is
 * attention.`eps`) of m, whose vocab and arch are set; refuses what nobody obeys. */
status dim_keys_read(model *m, const checkpoint *ckpt, const char *eps, errbuf *eb);
/* Sets window: attention.sliding_window in all layers, or in all but every pattern-th when pattern > 0
 * (attention.sliding_window_pattern comes before it). Without the key there is none. */
status dim_keys_window(model *m, const checkpoint *ckpt, uint32_t pattern, errbuf *eb);

#endif
