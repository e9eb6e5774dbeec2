/* latency - how long a step of a modelled engine takes: six coefficients, and what the step computes. Pure.
 *
 *   prefill   alpha + beta * tokens + gamma * tokens^2
 *   decode    alpha + beta * batch + gamma * context       (context: of all sequences together)
 *
 * A chunk of n tokens behind c computed ones counts gamma * ((c + n)^2 - c^2), so that the chunks of a prompt
 * add up to the whole prompt but for the alphas. A step that does both reads the weights once: it pays the
 * larger of the two alphas, once, and the sum of everything else. A step of several prompts pays alpha once,
 * too.
 *
 * The mock backend sleeps so long, the simulator lets so much virtual time pass, and a planner may ask the
 * same function. */
#ifndef BATON_LATENCY_LATENCY_H
#define BATON_LATENCY_LATENCY_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

/* Not negative, finite; nanoseconds per unit. */
typedef struct latency_terms {
    double alpha_ns; /* per step */
    double beta_ns;  /* per token of a prompt, or per sequence that decodes */
    double gamma_ns; /* per token^2 of a prompt, or per token of context */
} latency_terms;

typedef struct latency_model {
    latency_terms prefill, decode;
} latency_model;

/* What a step computes, as sums: starts zeroed, and the order in which things are added does not matter. */
typedef struct latency_step {
    uint32_t chunks;
    uint32_t batch;   /* sequences that decode */
    uint64_t tokens;  /* of all chunks */
    uint64_t squares; /* sum of (before + tokens)^2 - before^2 */
    uint64_t context; /* tokens that the sequences of the batch see together */
} latency_step;

/* `tokens` of a prompt, of which `before` are computed already. In line: every worker sums up every step. */
static inline void latency_add_chunk(latency_step *s, uint32_t before, uint32_t tokens) {
    uint64_t c = before, n = tokens;
    s->chunks++;
    s->tokens += n;
    s->squares += n * (2 * c + n); /* (c + n)^2 - c^2 */
}

/* A sequence that decodes; context: tokens it sees, its newest one included. */
static inline void latency_add_decode(latency_step *s, uint32_t context) {
    s->batch++;
    s->context += context;
}

/* To the nearest nanosecond; 0 for an empty step; at most an hour, so that a slip in a file cannot hang. */
uint64_t latency_ns(const latency_model *m, const latency_step *s);

/* ST_INVALID names the coefficient ("prefill.beta_ms") that is negative or no number. */
status latency_check(const latency_model *m, errbuf *eb);

/* The preset of that name, or NULL. Borrowed: static. */
const latency_model *latency_preset(const char *name);
/* "a100-opt-13b, h200-8b, instant", for error texts. Borrowed: static. */
const char *latency_preset_names(void);

#endif
