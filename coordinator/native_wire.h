/* native_wire - client.proto to and from plain structs. Pure; not for users of native.h. */
#ifndef BATON_COORDINATOR_NATIVE_WIRE_H
#define BATON_COORDINATOR_NATIVE_WIRE_H

#include "base/mem.h"
#include "coordinator/stream.h"
#include "proto/client.pb-c.h"

/* Fills *r, whose ranges are judged later by api_check. Caller frees with api_request_done, also after a
 * failure. */
status native_wire_request(const Baton__ClientRequest *m, const char *model, uint64_t now_ns, api_request *r,
                           api_error *e);

/* An event of a request of that id, without a body; NULL: of none. */
Baton__ServerEvent native_wire_event(const uint64_t *id);
/* Adds it to the message in *out: the first as it is, a further one to the `more` of the first. */
void native_wire_add(buf *out, const Baton__ServerEvent *ev);
/* Each makes an event and adds it. */
void native_wire_accepted(buf *out, uint64_t id, uint64_t seed, uint32_t prompt_tokens);
void native_wire_error(buf *out, const uint64_t *id, const api_error *e);
void native_wire_pong(buf *out, const uint64_t *id);
void native_wire_keepalive(buf *out, uint64_t id);
/* Token `token` of a choice with its text, which may be NULL. */
void native_wire_token(buf *out, uint64_t id, const stream *s, uint32_t choice, uint32_t token, bool send_id,
                       const char *text, size_t text_len);
/* The end of a choice: how it ended, or canceled. text: what was held back, may be NULL. */
void native_wire_end(buf *out, uint64_t id, const stream *s, uint32_t choice, bool canceled, const char *text,
                     size_t text_len);

#endif
