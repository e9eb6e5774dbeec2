/* openai - the OpenAI dialect: JSON bodies in, JSON answers and SSE events out, in the shapes that vLLM's
 * clients expect.
 *
 * Parsing refuses what would silently change the answer (fields this server does not implement) by name;
 * fields that nobody here knows are ignored as vLLM does, and named in `warnings` of the answer. Rendering
 * writes JSON by hand into a buf: it runs per token, and jansson would build a tree for each. Any thread. */
#ifndef BATON_COORDINATOR_OPENAI_H
#define BATON_COORDINATOR_OPENAI_H

#include "base/mem.h"
#include "coordinator/api.h"
#include "coordinator/stream.h"

/* Fills *r (init'ed here) from a body. On failure *e has status, field and text, and *r is empty.
 * Caller frees *r with api_request_done. */
status openai_parse(api_request *r, api_kind kind, const char *body, size_t len, const api_model *m,
                    api_error *e);

/* {"error":{...}} without a newline. */
void openai_error(buf *out, const api_error *e);
/* Appends text as a JSON string with its quotes; bytes that are no UTF-8 become U+FFFD. */
void openai_string(buf *out, const char *text, size_t len);

/* Answer of a request that is not streamed; all choices have ended. */
void openai_body(buf *out, const stream *s, const char *model);
/* Answer of /tokenize and /detokenize: count, tokens and token_strs are lists of lists when a list of prompts
 * came. */
void openai_tokens(buf *out, const api_request *r, const tokenizer *tok, const api_model *m);
/* One SSE event ("data: ...\n\n") of a step that stream_next gave; nothing for a step that has no shape in
 * this API. */
void openai_event(buf *out, const stream *s, const stream_step *step, const char *model);
/* What follows the last step: the usage event when asked for, or the error event; then [DONE]. */
void openai_tail(buf *out, const stream *s, const char *model);

#endif
