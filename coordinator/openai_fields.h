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
bool openai_is_refused(const char *name);
/* Other servers' names of fields become ours (openai_known.c). Comes before all that read. */
void openai_rename(jfields *f);
/* Fields that nobody knows go into r->warnings (openai_known.c). */
void openai_warn(jfields *f, api_request *r);
/* The body as JSON, or NULL with *e set (openai_json.c). A number too large for its kind is a real there, so
 * that the one who reads the field refuses it. Of equal keys the last counts. depth_max: limits.json_depth;
 * 0: no bound of ours. Caller owns. */
json_t *openai_json(const char *body, size_t len, uint32_t depth_max, api_error *e);
/* Where in the text objects and lists lie more than `max` deep in each other; len: nowhere. Looks at strings
 * and brackets only: any bytes will do. */
size_t openai_json_deep_at(const char *text, size_t len, uint32_t max);
/* A text that stands in the body, as JSON of its own: false when it lies too deep, which is told of field. */
bool openai_json_depth(jfields *f, const char *field, const json_t *text);
/* null, false, "", [] or {} */
bool openai_is_empty(const json_t *v);
/* messages of a chat (openai_messages.c) */
void openai_messages(jfields *f, api_request *r);

/* response_format, structured_outputs and guided_*: the spec of the answer (openai_form.c) */
void openai_form(jfields *f, api_request *r, const api_model *m);

#endif
