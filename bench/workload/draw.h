/* draw - random numbers as a function of (seed, index, stream): one short generator per drawn thing, so that
 * the thing does not depend on what was drawn before it, nor on how many there are.
 *
 * A generator is a splitmix64 whose begin is a hash of the three. Uniform, normal, gamma are computed in
 * double precision with the C library's log, cos and sqrt. Pure. No source of secrets. */
#ifndef BATON_WORKLOAD_DRAW_H
#define BATON_WORKLOAD_DRAW_H

#include <stdint.h>

/* What is drawn; part of the key, so that no two use the same numbers. */
typedef enum draw_stream {
    DRAW_GAP = 1, /* the gap before arrival `index` */
    DRAW_PROMPT_LENGTH,
    DRAW_OUTPUT_LENGTH,
    DRAW_PROMPT,      /* tokens of prompt `index` */
    DRAW_OFFSET,      /* of the first tokens of a seed's prompts */
    DRAW_BLOCK,       /* tokens of a shared block */
    DRAW_SEED,        /* seeds made of seeds */
    DRAW_TRACE_BEGIN, /* the row with which a seed begins a trace */
    DRAW_ROUND,       /* the seed of a trace's blocks when it begins anew */
    DRAW_SALT         /* what a salt does to the seeds of prompts */
} draw_stream;

typedef struct draw {
    uint64_t state;
} draw;

draw draw_begin(uint64_t seed, uint64_t index, draw_stream stream);
uint64_t draw_bits(draw *d);
/* In (0, 1), never an end: 53 bits. */
double draw_uniform(draw *d);
/* In 0 .. n - 1, without bias; n >= 1. */
uint64_t draw_below(draw *d, uint64_t n);
/* Mean 0, deviation 1 (Box and Muller, the cosine half). */
double draw_normal(draw *d);
/* Mean 1 and that shape, > 0: 1 is the exponential distribution (Marsaglia and Tsang: A simple method for
 * generating gamma variables, 2000). The squared coefficient of variation is 1 / shape. */
double draw_gamma(draw *d, double shape);

#endif
