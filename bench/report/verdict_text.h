/* verdict_text - the table in words: whether to disaggregate, per workload. */
#ifndef BATON_REPORT_VERDICT_TEXT_H
#define BATON_REPORT_VERDICT_TEXT_H

#include "bench/report/goodput_table.h"

/* Where the best placement that is no baseline stands against the best baseline, under one SLO. */
typedef enum standing {
    STANDING_BETTER,    /* the ratio's interval is above 1 */
    STANDING_WORSE,     /* below 1 */
    STANDING_UNDECIDED, /* it contains 1, is open, or there is none */
    STANDING_NEITHER,   /* every placement fails at the lowest rate that was run */
    STANDING_ALONE      /* there is only one kind */
} standing;

standing verdict_standing(const goodput_table *t, uint32_t workload, uint32_t slo);
/* One or two sentences, plain text, that begin with "Disaggregate", "Do not disaggregate", "It depends",
 * "Undecided", or say why there is no verdict. */
void verdict_text(const goodput_table *t, uint32_t workload, buf *out);

#endif
