/* openai_fields - groups of fields of a body, one file each: what openai_parse.c is made of.
 *
 * Private to the OpenAI dialect. Each reads its fields off f->object into the request; the first fault stands
 * in f->err, and a group that finds one does nothing. */
#ifndef BATON_COORDINATOR_OPENAI_FIELDS_H
#define BATON_COORDINATOR_OPENAI_FIELDS_H

#include "coordinator/api.h"
#include "coordinator/jfield.h"

/* Fields of the API, and of servers like this one, that are not implemented and would change the answer
 * (openai_refused.c). */
void openai_refuse(jfields *f);
/* null, false, "", [] or {} */
bool openai_is_empty(const json_t *v);
/* messages of a chat (openai_messages.c) */
void openai_messages(jfields *f, api_request *r);

#endif
