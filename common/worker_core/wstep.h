/* wstep - the running step of a wtable: a job is filled, goes out once, and is taken back as a whole.
 *
 * One step at a time: wstep_add fills the job, wstep_go hands it over, wstep_end takes it back. The job's
 * arrays belong to the table and are not touched between wstep_go and wstep_end; results are matched by their
 * place, not by request, since a request may have been closed and admitted again meanwhile. */
#ifndef BATON_WORKER_CORE_WSTEP_H
#define BATON_WORKER_CORE_WSTEP_H

#include "worker_core/wtable.h"

/* Rows [begin, begin + count) of a sequence that has a slot and the pages; sample: of the last row. */
void wstep_add(wtable *t, wseq *s, uint32_t begin, uint32_t count, bool sample);
/* False: nothing was added, so no step */
bool wstep_go(wtable *t);
/* The step is over: calls row(t, s, item, result) for each sequence that is still wanted, sends the tokens in
 * one message, lets go of the others. */
void wstep_end(wtable *t, const step_result *results, uint32_t count,
               void (*row)(wtable *t, wseq *s, const step_item *item, const step_result *r));
/* From row(): joins the message. The first one of an attempt tells also what of the prompt was not computed.
 */
void wstep_first_token(wtable *t, const wseq *s, uint32_t index, const token_out *token);
void wstep_token(wtable *t, const wseq *s, uint32_t index, const token_out *token);

#endif
