/* op_bench - one operation of the backend cpu, timed and set beside what the machine can do at most.
 *
 * A line's share is that of the nearer ceiling: reading memory, or computing. Whole numbers of 16 bits are
 * two products of int8. Weights, keys and values are rotated through several copies, so that few rows meet
 * them in memory, as in a model. */
#ifndef BATON_BENCH_CPU_OP_BENCH_H
#define BATON_BENCH_CPU_OP_BENCH_H

#include "bench/cpu/ceilings.h"
#include "kernels/backend.h"

/* What an operation computes with. */
typedef enum op_unit { OP_FP32, OP_INT8, OP_NOTHING } op_unit;

typedef struct op_shape {
    const char *name;
    uint32_t dim, heads, kv_heads, head_dim, ffn_dim, vocab;
} op_shape;

typedef struct op_bench {
    const backend_ops *ops;
    device *dev;
    device_options opt;
    const op_shape *shape;
    team *team; /* for the ceilings */
    ceiling_isa isa;
    double read, fp32, int8; /* GB/s, GFLOP/s, GOP/s, when op_bench_open was called */
} op_bench;

/* Opens a device and measures the ceilings. Caller closes with op_bench_close. */
status op_bench_open(op_bench *b, const device_options *opt, const op_shape *shape, errbuf *eb);
void op_bench_close(op_bench *b);

/* Memory of the device, of numbers that slow no loop. CHECKs that there is some. Caller frees with mem_free.
 */
void *op_bench_fill(const op_bench *b, size_t bytes);

/* One call; `turn` counts them: which copy it takes. */
typedef void (*op_call)(op_bench *b, void *arg, uint32_t turn);

typedef struct op_line {
    const char *what;
    op_call call;
    void *arg;
    op_unit unit;
    double ops, bytes; /* of a call */
} op_line;

/* Times and prints it. */
void op_bench_line(op_bench *b, const op_line *l);

/* A step of `rows` rows: of one prompt that begins at `pos`, or of a sequence each, at that position. */
typedef struct op_rows {
    uint32_t rows, pos;
    bool decode;
} op_rows;

/* op_products.c: all matrix products of a layer and the head */
void op_bench_products(op_bench *b, dtype type, uint32_t rows);
/* op_rows.c: norm, attention, sampling; hand-off copies */
void op_bench_norm(op_bench *b, uint32_t rows);
void op_bench_attend(op_bench *b, const op_rows *r);
void op_bench_sample(op_bench *b, uint32_t rows);
void op_bench_copies(op_bench *b);

/* Between step_begin and step_end of such a step; `body` issues ops. */
typedef void (*op_body)(op_bench *b, void *arg);
void op_bench_step(op_bench *b, const op_rows *r, op_body body, void *arg);

#endif
