/* meter - what /metrics tells: series of our own (baton_) and those of vLLM's names that can be filled
 * truthfully.
 *
 * Events of requests are counted as they happen; what the core and the workers count themselves is copied
 * when somebody asks. Stage times come from the core's stamps and are observed when a request ends. Thread:
 * the loop's. */
#ifndef BATON_COORDINATOR_METER_H
#define BATON_COORDINATOR_METER_H

#include "base/mem.h"
#include "coordinator/core.h"

typedef struct meter meter;

/* Model: the label model_name. Copied. */
meter *meter_new(const char *model);
void meter_free(meter *m);

/* A worker told its facts */
void meter_joined(meter *m, const ctl_join *join);
/* For the core's sink */
void meter_event(meter *m, const core_event *e);
/* Lines that the event log could not write, in all */
void meter_events_dropped(meter *m, uint64_t count);
/* max_tokens: of each choice */
void meter_admitted(meter *m, uint32_t prompt_tokens, uint32_t choices, uint32_t max_tokens);
/* A request is over; output_tokens: of its longest choice. */
void meter_request(meter *m, uint32_t output_tokens);
/* A prompt was computed but for what was in a prefix cache. */
void meter_prompt(meter *m, uint32_t tokens, uint32_t cached);
/* A token reached its stream. first: of its choice; gap_ns: since the one before. */
void meter_token(meter *m, uint64_t gap_ns, bool first);
/* What the coordinator adds to the time to first token, without tokenising: from ids to the first PREFILL,
 * the queue included, and from the first token to the client's connection. */
void meter_routed(meter *m, uint64_t ns);
/* routed_ns: of the same choice. */
void meter_answered(meter *m, uint64_t routed_ns, uint64_t ns);
/* A choice ended: reason "stop", "length", "abort" or "error". */
void meter_finished(meter *m, const char *reason, const core_times *t, uint32_t output_tokens);
/* method: "GET" ... */
void meter_http(meter *m, const char *handler, const char *method, uint32_t code);
/* The answer's last byte was made, ns after the request's last had come. */
void meter_http_done(meter *m, const char *handler, const char *method, uint64_t ns);
/* Of HTTP clients now: their connections, and the bytes of what they upload. */
void meter_http_crowd(meter *m, uint32_t connections, size_t held);
/* A worker told of steps. */
void meter_steps(meter *m, const core_steps *s);
/* Copies the core's counters and the workers' last words, and appends the Prometheus text. */
void meter_print(meter *m, const core *c, uint64_t now_ns, buf *out);

#endif
