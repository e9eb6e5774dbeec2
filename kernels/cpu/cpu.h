/* cpu - the vectorised host backend: a thread team, and one set of op kernels per instruction set, chosen
 * when a device is opened.
 *
 *   backend_ops slot -> layer.c or host.c -> cpu_kernels (portable, avx2 or avx512) -> team_run
 *
 * Weights of 4 and 8 bits are repacked when they are loaded and multiplied with whole numbers (pack.h,
 * quant.h, layer.c), unless act_bits is 32; all others are read as the file has them, in fp32 (host.c).
 *
 * What is not worth vectorising (rope, the walk of hand-off copies) exists once, outside of the sets. This
 * header is for the folder and for the tests that open a device on a set of kernels of their own.
 */
#ifndef BATON_KERNELS_CPU_CPU_H
#define BATON_KERNELS_CPU_CPU_H

#include "kernels/cpu/pack.h"
#include "kernels/cpu/quant.h"
#include "kernels/cpu/store.h"
#include "kernels/host/host.h"
#include "kernels/host/team.h"

extern const backend_ops cpu_backend;

/* x += delta (when there is one), then out = norm(x) * weight (+ bias), and that as whole numbers. */
typedef struct cpu_norm_rows {
    float *x;             /* [.., dim] */
    const float *delta;   /* [.., dim] or NULL */
    const uint32_t *pick; /* [rows] rows of x and delta; x stays then. NULL: 0..rows - 1 */
    norm_kind kind;
    const float *weight; /* [dim] */
    const float *bias;   /* [dim] or NULL */
    uint32_t rows, dim;
    float eps;
    float *out;              /* [rows, dim] */
    const quant_rows *quant; /* rows 0..rows - 1, or NULL */
} cpu_norm_rows;

typedef struct cpu_product_part {
    const packed *w;
    const float *bias; /* [w->rows] or NULL */
    float *out;        /* [rows, w->rows] */
} cpu_product_part;

/* Products of quantised rows with one to three packed weights of the same columns. acted: of two with the
 * same rows, part[0].out = act(first) * second; of one, act(first); and that as whole numbers. */
typedef struct cpu_product {
    const quant_rows *x;
    uint32_t rows;
    cpu_product_part part[WEIGHT_PARTS_MAX + 1]; /* one more, that is never read */
    uint32_t parts;
    act_kind act;            /* of acted */
    const quant_rows *acted; /* or NULL */
} cpu_product;

struct cpu_attention;
struct sample_loops;

/* The kernels of one instruction set. */
typedef struct cpu_kernels {
    host_kernels host;
    bool pairs; /* its products want quant_rows.pairs_at */
    status (*norm_rows)(device *d, const cpu_norm_rows *a);
    status (*product)(device *d, const cpu_product *a);
    /* rope, kv_write and attention of host at once (attend.h) */
    status (*attend)(device *d, const struct cpu_attention *a);
    const struct sample_loops *sample; /* NULL: the plain ones */
    /* `count` numbers of row `row` from column `begin` on: whole groups */
    void (*quantise)(const quant_rows *to, uint32_t row, uint32_t begin, const float *x, uint32_t count);
} cpu_kernels;

extern const cpu_kernels cpu_kernels_portable;
extern const cpu_kernels cpu_kernels_avx2;   /* x86-64 only */
extern const cpu_kernels cpu_kernels_avx512; /* x86-64 only */

/* The rows that the next product reads, when an op has left them as whole numbers already. */
typedef struct cpu_quant_slot {
    const void *of; /* the floats they were made of; NULL: none */
    quant_rows rows;
    size_t bytes; /* of rows.data */
} cpu_quant_slot;

/* The rotations of a step's rows by one base. */
typedef struct cpu_turn_table {
    double *frequency; /* [rope_dim / 2] radians per position; NULL until the first step */
    double magnitude;
    float *values; /* [capacity, rope_dim] */
    uint32_t *pos; /* [capacity] the positions that they are of */
    uint32_t rows, capacity, rope_dim;
} cpu_turn_table;

struct device {
    host_device host;
    const cpu_kernels *kernels;
    team *team;
    uint32_t act_bits; /* 8, 16 or 32 */
    char path[32];
    store *store;                        /* of packed weights */
    cpu_quant_slot slots[2];             /* an op reads one and may write the other */
    uint32_t slot;                       /* the one that was written last */
    void *scratch[TEAM_THREADS_MAX + 2]; /* per thread, then two that all share; 64-byte aligned, contents do
                                            not outlive an op */
    size_t scratch_bytes[TEAM_THREADS_MAX + 2];
    cpu_turn_table turns[2];             /* of the running step (cpu_turns): by attend_setup.rope_base, and
                                            by rope_local_base */
    sampler *samplers[TEAM_THREADS_MAX]; /* per thread; NULL until its first row */
    uint32_t vocab;                      /* theirs */
};

/* Opens a device on `k` whatever the CPU. Caller closes with cpu_backend.close. */
status cpu_open_kernels(device **out, const cpu_kernels *k, const device_options *opt, errbuf *eb);

/* Makes the scratch of every thread, or a shared one (for the plan of an op, and for results of its parts),
 * at least `bytes` long. It grows to the largest op and then stays: no allocation on the token path. False
 * when there is no memory. */
bool cpu_scratch_threads(device *d, size_t bytes);
void *cpu_scratch_shared(device *d, size_t bytes);
void *cpu_scratch_parts(device *d, size_t bytes);

status cpu_attend_setup(device *d, const attend_setup *s, errbuf *eb);
status cpu_attend(device *d, const op_attend *a);
/* The rotations of the running step's first `rows` rows (attend.h), made at its first layer and kept until
 * the positions change. local: those by rope_local_base. NULL when there is no memory. */
const float *cpu_turns(device *d, uint32_t rows, bool local);
void cpu_turns_done(device *d);
/* host_sample with the rows of a step spread over the team */
status cpu_sample(device *d, const op_sample *a);
void cpu_samplers_free(device *d);

/* The slots of backend_ops that know packed weights (layer.c). */
/* As packed, where that takes more: codes of 2 and 3 bits do. */
uint64_t cpu_weight_bytes(dtype act_type, const weight_parts *parts);
status cpu_weight_load(device *d, const weight_parts *parts, weight **out, errbuf *eb);
void cpu_weight_free(device *d, weight *w);
status cpu_embed_op(device *d, const op_embed *a);
status cpu_norm_op(device *d, const op_norm *a);
status cpu_linear_op(device *d, const op_linear *a);
status cpu_gate_up_op(device *d, const op_gate_up *a);
status cpu_head_norm_op(device *d, const op_head_norm *a);
status cpu_step_begin(device *d, const op_step *s, step_pass *out, errbuf *eb);
void cpu_slots_free(device *d);

/* The ops that are the same for all sets. The copies use nothing of the device that changes, hence any
 * thread may call them. */
status cpu_rope(device *d, const host_rope *a);
status cpu_kv_gather(device *d, const op_kv_copy *a);
status cpu_kv_scatter(device *d, const op_kv_copy *a);

#endif
