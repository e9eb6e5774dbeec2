/* plan_text - a search for people and for programs: a text table, CSV, JSON. Profile hash, seed and version
 * stand in each. The same bytes for the same answer. */
#ifndef BATON_PLANNER_PLAN_TEXT_H
#define BATON_PLANNER_PLAN_TEXT_H

#include "planner/search/plan_verdict.h"
#include "planner/search/sensitivity.h"

#include <jansson.h>

/* What a search found, whole; borrowed. */
typedef struct plan_report {
    const plan_input *in;
    const plan_outcome *found;
    const plan_verdict *verdict;
    const sensitivity *sensitivity;  /* NULL: not asked for */
    const char *workload, *arrivals; /* names */
    const char *profile_path;
} plan_report;

#define PLAN_TABLE_ROWS 12u /* of the text table */

/* Append */
void plan_table_text(const plan_report *r, buf *out);
void plan_table_csv(const plan_report *r, buf *out);
/* Caller frees with json_decref. */
json_t *plan_json(const plan_report *r);

/* Of list, what was simulated, best first. [found->list.count]; returns how many. */
uint32_t plan_ranking(const plan_outcome *o, uint32_t *out);
/* The point that tells what a placement is like at its goodput: the highest that passed; NULL: none. */
const judge_point *plan_point_at_goodput(const candidate *c);

#endif
