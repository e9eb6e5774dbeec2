/* backend - one table of functions per way to compute: ref (plain loops, the oracle), cpu (vectorised), cuda,
 * mock (computes nothing, takes as long as a model says).
 *
 * Code above asks backend_find("cpu") (backends.h) once and never says which it is. Every slot but `share`
 * and `link` is filled; backend_complete checks that at start and in a test.
 *
 * Thread: a device is used by the thread that opened it (the device thread), except kv_gather and kv_scatter,
 * which one other thread may call at the same time as ops run, as long as the rows they touch are not written
 * meanwhile. */
#ifndef BATON_KERNELS_BACKEND_H
#define BATON_KERNELS_BACKEND_H

#include "kernels/link.h"
#include "kernels/ops.h"
#include "kernels/share.h"
#include "latency/latency.h"

typedef struct device_options {
    uint32_t threads; /* cpu: size of the thread team, 1..64; cuda: threads that convert weights as they are
                         loaded, 1 = as many as it may use, up to 8; ref ignores it */
    /* Host backends. */
    const uint32_t *cpus; /* [threads] CPU numbers to pin to (thread 0 is the opener), or NULL: not pinned */
    const char *isa;      /* cpu: "auto", "avx512", "avx2", "portable" */
    uint32_t act_bits;    /* cpu: activations that meet weights of 4 or 8 bits are rounded to 16 or 8 bits; 32
                             (and 0): they stay fp32 */
    const char
        *weight_dir; /* cpu: where repacked weights lie in a file that workers share; NULL: none. Copied */
    const char *weight_key;       /* what tells apart the weights of one model from others'. Copied */
    uint64_t weight_room;         /* bytes of all weights by weight_bytes */
    bool weight_alone;            /* no other worker of this host uses that file */
    const latency_model *latency; /* mock: how long steps take; copied. NULL: no time */
    /* cuda. */
    uint32_t gpu;           /* index among the visible devices, taken modulo their number */
    dtype act_type;         /* DT_BF16, DT_F16, or DT_F32 (slow kernels, for checking); weights get it too */
    bool deterministic;     /* batch invariance (ops.h); host backends always have it */
    bool own_products;      /* deterministic: no library multiplies */
    double memory_fraction; /* of the GPU's memory: allocations beyond it are refused; 0 = no bound of ours */
    bool check_ops;         /* wait after every op, so that an error names it (slow) */
    /* Sizes of the largest step: bounds of every table. 0 is taken as 1. */
    uint32_t max_rows, max_seqs, max_seq_pages;
    uint32_t max_head; /* rows of one sample op */
    uint32_t page_count;
} device_options;

typedef struct device_memory {
    bool host;            /* the host's own memory is used: total and free are 0 and bound nothing */
    uint64_t total, free; /* bytes of the device */
    uint32_t gpu, gpus;   /* its number among so many visible ones; 0 of 0 where the host computes */
} device_memory;

/* Where weights lie on a host backend; zeroed on others. The rest of them is read in place. */
typedef struct weight_home {
    uint64_t repacked; /* bytes in the layout of the kernels */
    const char *file;  /* that holds them, mapped by all workers of the host; NULL: private memory. Borrowed
                          until close */
    bool huge;         /* that mapping is in huge pages */
    bool found;        /* the file was there: nothing was repacked */
} weight_home;

/* A step that costs more the first times (algorithms are chosen, a recording is made): worth running before
 * there are requests. */
typedef enum warm_kind {
    WARM_DECODE, /* a repeatable step of so many sequences */
    WARM_PROMPT, /* rows of one prompt */
    WARM_REPLAY, /* likewise, all but the first generated */
    WARM_PATH,   /* as WARM_PROMPT, wanted of every worker, whatever it computes: `path` is complete after it
                  */
} warm_kind;

typedef struct warm_step {
    warm_kind kind;
    uint32_t rows;
    uint32_t times;
} warm_step;

typedef struct backend_ops {
    const char *name;  /* "ref" */
    bool masks;        /* sample_input.mask is obeyed; else it must be NULL */
    uint32_t features; /* set of feature: what it computes besides what Llama needs */
    /* ST_UNSUPPORTED with the reason when this machine cannot run it (an ISA that the CPU lacks, no GPU).
     * Caller closes with close, after every memory and weight was freed. */
    status (*open)(device **out, const device_options *opt, errbuf *eb);
    void (*close)(device *d);
    /* "cpu/avx2", "cuda/sm_90/bf16/fast-timed": part of the numerics id, complete after the warm-up. A last
     * part that ends in "-timed" says that algorithms are chosen by timing: equal paths then promise no equal
     * bits. Borrowed until close. */
    const char *(*path)(const device *d);
    /* KV dtype when the config says `auto` */
    dtype (*kv_default)(dtype act_type);
    dtype (*act_type)(const device *d);
    /* Of GPU number `gpu`, before or after open. ST_UNSUPPORTED like open. */
    status (*memory)(uint32_t gpu, device_memory *out, errbuf *eb);

    /* Zeroed, 64-byte aligned memory of the device. NULL when there is none left (the caller reports
     * ST_NOMEM). */
    void *(*mem_alloc)(device *d, size_t bytes);
    void (*mem_free)(device *d, void *p, size_t bytes);
    /* Blocking copies between host and device memory. */
    status (*mem_read)(device *d, void *host, const void *mem, size_t bytes);
    status (*mem_write)(device *d, void *mem, const void *host, size_t bytes);
    /* Makes host memory known to the device, so that hand-offs copy there without staging: MEMORY_PINNED, and
     * host_unpin undoes it; or MEMORY_HOST where that gains nothing or cannot be had. Any thread. */
    memory_kind (*host_pin)(device *d, void *memory, size_t bytes);
    void (*host_unpin)(device *d, void *memory);
    /* ST_NOMEM when the device is full. Host backends borrow the parts' data until weight_free. */
    status (*weight_load)(device *d, const weight_parts *parts, weight **out, errbuf *eb);
    void (*weight_free)(device *d, weight *w);
    /* After the last weight_load. */
    status (*weights_ready)(device *d, weight_home *out, errbuf *eb);
    /* What weight_load takes of the device's memory, exactly; on host backends what it reads. Pure. */
    uint64_t (*weight_bytes)(dtype act_type, const weight_parts *parts);
    status (*attend_setup)(device *d, const attend_setup *s, errbuf *eb);
    /* After attend_setup: the i-th step to warm up with; false when there are no more. */
    bool (*warm)(const device *d, uint32_t i, warm_step *out);

    status (*step_begin)(device *d, const op_step *s, step_pass *out, errbuf *eb);
    status (*embed)(device *d, const op_embed *a);
    status (*norm)(device *d, const op_norm *a);
    status (*linear)(device *d, const op_linear *a);
    status (*attend)(device *d, const op_attend *a);
    status (*gate_up)(device *d, const op_gate_up *a);
    /* The ops of this step so far are what a kv_gather of this layer waits for. */
    status (*layer_mark)(device *d, uint32_t layer);
    status (*head_norm)(device *d, const op_head_norm *a);
    status (*sample)(device *d, const op_sample *a);
    /* Waits; results are written */
    status (*step_end)(device *d, errbuf *eb);
    status (*sync)(device *d, errbuf *eb);
    /* Text of the last ST_DEVICE: names the op and the cause */
    void (*device_error)(const device *d, errbuf *eb);

    /* May be called by the transfer thread */
    status (*kv_gather)(device *d, const op_kv_copy *a);
    /* Likewise */
    status (*kv_scatter)(device *d, const op_kv_copy *a);

    /* Ways from one device's memory to another's that do not pass through the host; NULL: there is none. */
    const share_ops *share;
    const link_ops *link;
} backend_ops;

#endif
