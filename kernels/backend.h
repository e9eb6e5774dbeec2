/* backend - one table of functions per way to compute: ref (plain loops, the oracle), cpu (vectorised), later cuda.
 *
 * Code above asks backend_find("cpu") once and never says which it is. Every slot is filled; backend_complete checks
 * that at start and in a test. A `device` is one opened backend: its memory, its thread team.
 *
 * Thread: a device is used by the thread that opened it (the device thread), except kv_gather and kv_scatter, which any
 * thread may call at the same time as ops run, as long as the rows they touch are not written meanwhile. */
#ifndef BATON_KERNELS_BACKEND_H
#define BATON_KERNELS_BACKEND_H

#include "kernels/ops.h"

typedef struct device device;

typedef struct device_options {
    uint32_t threads;     /* size of the thread team, 1..64; ref ignores it */
    const uint32_t *cpus; /* [threads] CPU numbers to pin to (thread 0 is the opener), or NULL: not pinned */
    const char *isa;      /* cpu: "auto", "avx512", "avx2", "portable"; ref ignores it */
} device_options;

typedef struct backend_ops {
    const char *name; /* "ref" */
    /* ST_UNSUPPORTED with the reason when this machine cannot run it (an ISA that the CPU lacks, no GPU).
     * Caller closes with close. */
    status (*open)(device **out, const device_options *opt, errbuf *eb);
    void (*close)(device *d);
    const char *(*path)(const device *d); /* "cpu/avx2": part of the numerics id. Borrowed: static */
    dtype (*kv_default)(void);            /* KV dtype when the config says `auto` */
    /* Zeroed, 64-byte aligned. NULL when there is no memory (the caller reports ST_NOMEM with the size). */
    void *(*mem_alloc)(device *d, size_t bytes);
    void (*mem_free)(device *d, void *p, size_t bytes);
    status (*sync)(device *d, errbuf *eb);
    status (*embed)(device *d, const op_embed *a);
    status (*rmsnorm)(device *d, const op_rmsnorm *a);
    status (*linear)(device *d, const op_linear *a);
    status (*rope)(device *d, const op_rope *a);
    status (*kv_write)(device *d, const op_kv_write *a);
    status (*attention)(device *d, const op_attention *a);
    status (*silu_mul)(device *d, const op_silu_mul *a);
    status (*add)(device *d, const op_add *a);
    status (*kv_gather)(device *d, const op_kv_copy *a);  /* thread-safe */
    status (*kv_scatter)(device *d, const op_kv_copy *a); /* thread-safe */
} backend_ops;

/* NULL when there is none of that name. Borrowed: static. */
const backend_ops *backend_find(const char *name);
/* Names of all backends built in, comma-separated, for error texts. Borrowed: static. */
const char *backend_names(void);
/* True when every slot is filled. */
bool backend_complete(const backend_ops *b);

#endif
