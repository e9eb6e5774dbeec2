/* arch_llama - Llama, and what has its shape: RMS norms, grouped queries, rotation, a gated feed-forward. */
#ifndef BATON_MODEL_ARCH_LLAMA_H
#define BATON_MODEL_ARCH_LLAMA_H

#include "model/arch.h"

extern const arch arch_llama;

#endif
