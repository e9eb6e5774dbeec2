/* ask_print - an answer as people and programs read it: text as it comes, or one line of JSON at its end. */
#ifndef BATON_COORDINATOR_ASK_PRINT_H
#define BATON_COORDINATOR_ASK_PRINT_H

#include "coordinator/ask_session.h"

typedef struct ask_print ask_print;

/* For one question, asked at now. Caller frees with ask_print_free. Borrows o. */
ask_print *ask_print_new(const ask_options *o);
void ask_print_free(ask_print *p);
/* For ask_session_run. Choice 0 goes to stdout as it comes, further ones after it; logprobs go to stderr. */
ask_sink ask_print_sink(ask_print *p);
/* What is left: the other choices, the stats, the JSON, or what went wrong (why). */
void ask_print_end(ask_print *p, ask_result result, const char *why);
/* The text of choice 0. Borrowed. */
const buf *ask_print_text(const ask_print *p);

#endif
