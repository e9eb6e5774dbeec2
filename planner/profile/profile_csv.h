/* profile_csv - measured steps in comma-separated files, columns found by their names: ours and Splitwise's.
 *
 *   phase,tp,pp,x,y,ms           phase prefill: x tokens of all prompts, y sum of (before + tokens)^2 -
 * before^2 decode: x sequences, y tokens of context of all of them; step_cost.h phase,tp,pp,x,y,x2,y2,ms
 * phase mixed besides: x, y of its prompts, x2, y2 of what it decodes; empty in rows of other phases
 *
 *   prompt_size,batch_size,token_size,prompt_time,token_time,model,hardware,tensor_parallel
 *                                Splitwise's perf_model.csv (Patel et al., ISCA 2024): batch_size prompts of
 *                                prompt_size tokens took prompt_time ms; then token_size tokens each, one per
 *                                token_time ms, at a mean context of prompt_size + token_size / 2
 *
 * Rows of the same point are measurements of the same: their mean is fitted, their spread is the cv. */
#ifndef BATON_PLANNER_PROFILE_CSV_H
#define BATON_PLANNER_PROFILE_CSV_H

#include "bench/workload/lines.h"
#include "planner/profile/profile_points.h"

/* `header`: the first line, just read; the rest is read to the end. Its text is written to. ST_INVALID names
 * file and line. Caller frees *out with profile_free. */
status profile_csv_read(profile **out, lines *l, char *header, const char *model, const char *hardware,
                        errbuf *eb);

#endif
