/* attend_rig - sequences with paged KV on the device, steps over them, and attention in double, for tests of
 * the attention kernels.
 *
 * Row (seq, pos) always has the same q, k and v, a function of the three numbers, so that any step can be put
 * together anew in another way. Page memory begins as 0xff, which is NaN in every type: a kernel that reads
 * what no row has written makes NaN of its result. The page tables are shuffled. Every step has one row of
 * padding that belongs to no sequence and whose tables point nowhere. */
#ifndef BATON_TESTS_CUDA_ATTEND_RIG_H
#define BATON_TESTS_CUDA_ATTEND_RIG_H

#include "tests/cuda/gpu.h"

enum {
    ATTEND_RIG_SEQS = 10,
    ATTEND_RIG_SEQ_PAGES = 20,   /* of every sequence but the last */
    ATTEND_RIG_LONG_PAGES = 140, /* of the last one */
    ATTEND_RIG_TABLE = (ATTEND_RIG_SEQS - 1) * ATTEND_RIG_SEQ_PAGES + ATTEND_RIG_LONG_PAGES,
    ATTEND_RIG_POSITIONS = ATTEND_RIG_LONG_PAGES * 16,
    ATTEND_RIG_PAGES = 331, /* a prime above ATTEND_RIG_TABLE */
};

typedef struct attend_rig {
    attend_args a; /* without a step's tables; tests may set kind, window and the norms */
    size_t elem, kv_bytes;
} attend_rig;

/* Two layers, of which the second is used. */
attend_rig attend_rig_open(num_type type, uint32_t heads, uint32_t kv_heads, uint32_t head_dim);
void attend_rig_close(attend_rig *r);
/* All pages to NaN again */
void attend_rig_clear(attend_rig *r);
/* [kv_bytes] what the pages hold. Caller frees */
void *attend_rig_pages(const attend_rig *r);
double attend_rig_number(num_type type, const void *values, size_t i);
/* Element i of row (seq, pos) of qkv before rotation, already rounded to the type. */
double attend_rig_qkv(const attend_rig *r, uint32_t seq, uint32_t pos, uint32_t i);
/* Element of page memory, in elements, of position pos of seq. */
size_t attend_rig_place(const attend_rig *r, uint32_t seq, uint32_t pos, uint32_t is_v, uint32_t kv_head);

/* Rows [pos, pos + rows) of a sequence. */
typedef struct part {
    uint32_t seq, pos, rows;
} part;

/* The rows of some parts, one part after another. Tiles cover each part in steps of tile_rows; items cover
 * the keys of each row in splits of `split` keys. */
typedef struct attend_step {
    const attend_rig *rig;
    attend_args a;
    uint32_t rows, tiles, items;
    size_t out_bytes; /* of the rows, without padding */
    uint32_t seq[ATTEND_RIG_POSITIONS], pos[ATTEND_RIG_POSITIONS];
} attend_step;
attend_step *attend_step_new(const attend_rig *r, const part *parts, uint32_t count, uint32_t tile_rows,
                             uint32_t split);
void attend_step_free(attend_step *s);
/* [rows] of qkv. Caller frees */
void *attend_step_qkv(const attend_step *s);
/* [rows, heads * head_dim]. Caller frees */
void *attend_step_out(const attend_step *s);
/* Fails the test unless all are 0 */
void attend_step_zero_counters(const attend_step *s);

/* Writes the k and v of a part. */
void attend_rig_write(attend_rig *r, part p);

/* Compares out with attention in double over the rotated q of the step and the pages as they are now. */
void attend_step_near(const attend_step *s, const void *out);

#endif
