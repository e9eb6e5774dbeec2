/* plan_verdict - the answer of a search in one line. Pure. */
#ifndef BATON_PLANNER_PLAN_VERDICT_H
#define BATON_PLANNER_PLAN_VERDICT_H

#include "base/mem.h"
#include "bench/stats/bootstrap.h"
#include "planner/search/plan_search.h"

typedef enum plan_answer {
    ANSWER_INFEASIBLE,
    ANSWER_COLOCATED,
    ANSWER_DISAGGREGATE,
    ANSWER_UNDECIDED
} plan_answer;

typedef struct plan_verdict {
    plan_answer answer;
    ratio paired; /* winner to the best of the other kind; mean NAN: there is none */
    char text[512];
} plan_verdict;

/* "infeasible", "colocated", "disaggregate", "undecided". Borrowed: static. */
const char *plan_answer_name(plan_answer a);
/* paired: of the best to the best of the other kind, with common random numbers; mean NAN: the intervals of
 * the two decide. flips: what would turn the answer over, "TPOT <= 31 ms"; "" if nothing that was tried does.
 */
plan_verdict plan_verdict_of(const plan_outcome *o, const plan_input *in, ratio paired, const char *flips);
/* "1.84 +- 0.03": as many digits as the interval deserves. Returns out. */
const char *plan_value_text(interval v, char *out, size_t size);
/* The reasons of those that were rejected, each with how many there are and what the first one's is, in one
 * line: "84 SLO (TPOT: ...), 3 memory (...)". Appends. */
void plan_reasons_text(const plan_outcome *o, buf *out);

#endif
