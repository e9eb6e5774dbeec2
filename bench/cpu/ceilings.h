/* ceilings - what this machine can do at most, for the share that a kernel reaches: multiply-adds in fp32,
 * dot products of int8, reading memory.
 *
 * Loops without memory or with nothing else, on all threads of a team at once. A machine that is shared
 * changes from minute to minute: measure right beside what is compared. */
#ifndef BATON_BENCH_CPU_CEILINGS_H
#define BATON_BENCH_CPU_CEILINGS_H

#include "kernels/host/team.h"

#include <stdbool.h>

/* Which registers and instructions the loops use. */
typedef enum ceiling_isa { CEILING_PORTABLE, CEILING_AVX2, CEILING_AVX512, CEILING_VNNI } ceiling_isa;

/* The best that this CPU has and a path such as "cpu/avx2" may use. */
ceiling_isa ceiling_isa_of(const char *path);

/* GFLOP/s in fp32, a multiply-add counted as two. */
double ceiling_fp32(team *t, ceiling_isa isa);
/* GOP/s of products of u8 and s8 summed in 32 bits, counted likewise: vpdpbusd, or vpmaddubsw + vpmaddwd +
 * vpaddd. 0 where there is neither. */
double ceiling_int8(team *t, ceiling_isa isa);

/* Memory that no cache holds. */
typedef struct ceiling_buffer {
    uint8_t *bytes;
    size_t count;
} ceiling_buffer;

/* CHECKs that there is memory. Caller frees with ceiling_buffer_done. */
ceiling_buffer ceiling_buffer_new(team *t);
void ceiling_buffer_done(ceiling_buffer *b);
/* GB/s, every thread reads a part of its own from its begin to its end. */
double ceiling_read(team *t, ceiling_isa isa, const ceiling_buffer *b);

#endif
