/* mock - a backend that computes nothing and takes as long as a modelled engine would: for trying placements,
 * policies and loads without the hardware.
 *
 * What is real: pages, page tables, steps, hand-offs and the bytes in them. The KV row of (layer, position)
 * is a link of a hash chain over the ids up to there, made of the row before it and of one earlier row, both
 * read from the pages; a token is chosen by the last position's rows of all layers. So the same ids give the
 * same tokens whatever the batch, the chunks and the route. KV that was handed over wrongly, lies in a wrong
 * page, or was overwritten gives other tokens from the time on when it is read again: the last row with the
 * next token, a page while the sequence grows by an eighth, a single row of a long prompt perhaps not before
 * a short answer ends (mock_kv_earlier).
 *
 * What is not: weights are never read, activations never written (their memory is address space that stays
 * untouched), logits do not exist (whoever asks for them reads zeros). Sampling parameters choose nothing but
 * what is allowed: see mock_sample.h.
 *
 * Time: a step ends `latency_ns` (latency/latency.h) after it began. The device thread sleeps until then, so
 * that many such workers fit a core. Reported layers are spread evenly over the step. Waking up takes the
 * kernel some 50 us more on an idle machine; that is part of a step, and is not made up for. A step whose
 * hashing takes longer than the model allows takes that long.
 *
 * Thread: that of the backend's contract. */
#ifndef BATON_KERNELS_MOCK_MOCK_H
#define BATON_KERNELS_MOCK_MOCK_H

#include "kernels/backend.h"

extern const backend_ops mock_backend;

#endif
