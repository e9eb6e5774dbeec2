/* host - the contract of backend.h for backends that compute in the host's memory, composed once out of a
 * table of small operations (host_ops.h).
 *
 *   backend_ops slot (ops.h) -> host_NAME -> one to five host_kernels -> ref's loops, or cpu's vectors
 *
 * A backend's `struct device` begins with a host_device, fills its own open, close, name and hand-off
 * copies, and takes the rest with HOST_SLOTS. Everything is done when an op returns, so that marks, sync and
 * step_end wait for nothing.
 *
 * Kinds of operations that Llama does not have (layer norm, biases, rotation of halves) are plain loops here
 * (host_kinds.h), for `ref` and where a backend has nothing faster; they cost nothing where they are not
 * asked for.
 *
 * What a stacked product writes is read by the backend itself only, so here it is one block per part, which
 * small operations can read without strides: q [rows, heads * head_dim], k, v [rows, kv_heads * head_dim];
 * gate, up [rows, ffn_dim].
 *
 * Thread: the device thread. */
#ifndef BATON_KERNELS_HOST_HOST_H
#define BATON_KERNELS_HOST_HOST_H

#include "kernels/backend.h"
#include "kernels/host/host_ops.h"
#include "kernels/host/sampler.h"

typedef struct host_device {
    const host_kernels *kernels;
    attend_setup attention;
    const op_step *step;   /* between step_begin and step_end; borrowed */
    uint32_t *pos;         /* [row_capacity] of the running step */
    kv_ref *refs;          /* [row_capacity] likewise */
    uint32_t row_capacity; /* rows of the largest step, or more */
    float *row;            /* [row_dim] one learned position; NULL until the first */
    uint32_t row_dim;
    sampler *sampler;   /* NULL until the first sample */
    uint32_t vocab;     /* of the sampler */
    const char *failed; /* the small operation that returned ST_DEVICE, or NULL */
} host_device;

/* Starts a device that is zeroed. `k` is static. */
void host_init(host_device *h, const host_kernels *k, const device_options *opt);
/* Accepts a zeroed one */
void host_done(host_device *h);

const char *host_path(const device *d);
dtype host_act_type(const device *d);
status host_memory(uint32_t gpu, device_memory *out, errbuf *eb);
void *host_mem_alloc(device *d, size_t bytes);
void host_mem_free(device *d, void *p, size_t bytes);
status host_mem_read(device *d, void *host, const void *mem, size_t bytes);
status host_mem_write(device *d, void *mem, const void *host, size_t bytes);
memory_kind host_pin_memory(device *d, void *memory, size_t bytes);
void host_unpin_memory(device *d, void *memory);
status host_weight_load(device *d, const weight_parts *parts, weight **out, errbuf *eb);
uint64_t host_weight_bytes(dtype act_type, const weight_parts *parts);
void host_weight_free(device *d, weight *w);
/* All are read in place. */
status host_weights_ready(device *d, weight_home *out, errbuf *eb);
status host_attend_setup(device *d, const attend_setup *s, errbuf *eb);
/* None: all steps cost the same */
bool host_warm(const device *d, uint32_t i, warm_step *out);
status host_step_begin(device *d, const op_step *s, step_pass *out, errbuf *eb);
status host_embed_op(device *d, const op_embed *a);
/* What embed does after the rows of the table: scale, positions */
status host_embed_rest(device *d, const op_embed *a);
status host_norm(device *d, const op_norm *a);
status host_linear_op(device *d, const op_linear *a);
status host_attend(device *d, const op_attend *a);
status host_gate_up(device *d, const op_gate_up *a);
status host_layer_mark(device *d, uint32_t layer);
status host_head_norm(device *d, const op_head_norm *a);
status host_sample(device *d, const op_sample *a);
status host_step_end(device *d, errbuf *eb);
status host_sync(device *d, errbuf *eb);
void host_device_error(const device *d, errbuf *eb);

/* Every slot of backend_ops but name, open, close, kv_default, weights_ready, attend_setup, kv_gather and
 * kv_scatter. */
#define HOST_SLOTS                                                                                           \
    .path = host_path, .act_type = host_act_type, .memory = host_memory, .mem_alloc = host_mem_alloc,        \
    .mem_free = host_mem_free, .mem_read = host_mem_read, .mem_write = host_mem_write,                       \
    .host_pin = host_pin_memory, .host_unpin = host_unpin_memory, .weight_load = host_weight_load,           \
    .weight_free = host_weight_free, .weight_bytes = host_weight_bytes, .warm = host_warm,                   \
    .step_begin = host_step_begin, .embed = host_embed_op, .norm = host_norm, .linear = host_linear_op,      \
    .attend = host_attend, .gate_up = host_gate_up, .layer_mark = host_layer_mark,                           \
    .head_norm = host_head_norm, .sample = host_sample, .step_end = host_step_end, .sync = host_sync,        \
    .device_error = host_device_error

#endif
