/* compare_text - a comparison as text for people, JSON and CSV. */
#ifndef BATON_PLANNER_COMPARE_TEXT_H
#define BATON_PLANNER_COMPARE_TEXT_H

#include "base/mem.h"
#include "planner/replay/compare.h"

#include <jansson.h>

/* What it was made with; strings borrowed. */
typedef struct compare_source {
    const char *dir, *profile_hash, *profile_name, *simulator;
    uint64_t noise_seed;
} compare_source;

/* Appends. */
void compare_text(buf *out, const compare *c, const compare_source *from);
/* CELL,PLACEMENT,WORKLOAD,RATE,LOAD,WHAT,PREDICTED,MEASURED,LOW,HIGH,ERROR */
void compare_csv(buf *out, const compare *c);
/* A new reference. */
json_t *compare_json(const compare *c, const compare_source *from);

/* "12.3" with about three digits; "-" for NAN. Returns out. */
const char *compare_number(double x, char *out, size_t size);
/* "+3.1 %", "-0.4 points"; "-". Returns out. */
const char *compare_error(double error, bool points, char *out, size_t size);
/* Sentences: how far the predictions are off, and whether the winners agree. */
void compare_verdict(buf *out, const compare *c);

#endif
