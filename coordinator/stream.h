/* stream - one client's request in flight: prompts x n choices, each a request of the core, and the log of
 * what may be shown.
 *
 *   core ---token, end---> streams (request number -> choice) ---> choice (text, stop strings) ---> steps
 *   steps ---> a front's cursor
 *
 * Both fronts (HTTP and native) read the same steps with stream_next when their socket has room, so a slow
 * client never holds anything but its own log (protocol rule 21), and stop strings are found once, as tokens
 * come, not as they are shown.
 *
 * The core may be in the middle of its own work when it reports a token, so a matched stop string or a
 * failed sibling is only noted and told to the core by streams_turn. Thread: the loop's. */
#ifndef BATON_COORDINATOR_STREAM_H
#define BATON_COORDINATOR_STREAM_H

#include "coordinator/choice.h"
#include "coordinator/core.h"
#include "coordinator/prompt_scores.h"

typedef struct streams streams;
typedef struct stream stream;
struct meter;

/* Called when there is something new: a step, the end, a failure. It must only note it: the core may be at
 * work. */
typedef struct stream_listener {
    void *ctx;
    void (*wake)(void *ctx);
} stream_listener;

typedef enum stream_step_kind {
    STEP_BEGIN, /* the choice's first token has come (its text may still be held back) */
    STEP_PART,
    STEP_END,
} stream_step_kind;

typedef struct stream_step {
    stream_step_kind kind;
    uint32_t choice;
    choice_part part; /* PART; END: what was left, may be empty */
    bool last; /* PART: the choice ended and this is all; its END has been taken with it (only when asked to)
                */
} stream_step;

/* How a choice ended: "stop" or "length", and vLLM's stop_reason. */
typedef struct stream_finish {
    const char *reason;   /* static; NULL while it runs */
    const api_stop *stop; /* the stop string that matched, or NULL */
    int32_t stop_id;      /* the stop token, or -1 */
} stream_finish;

/* Core and tok are borrowed; m counts what happens. Caller frees with streams_free after the last stream. */
streams *streams_new(core *c, const tokenizer *tok, struct meter *m);
void streams_free(streams *all);
/* For the core's sink. */
void streams_token(streams *all, uint64_t req, const core_token *t, uint64_t now_ns);
void streams_prompt(streams *all, uint64_t req, const core_prompt *p);
/* Its first PREFILL is with a worker's connection, so long after it was submitted. */
void streams_routed(streams *all, uint64_t req, uint64_t ns);
void streams_end(streams *all, uint64_t req, const core_end *e, const core_times *t);
/* Tells the core about matched stop strings and about choices that nobody waits for; true when there were any
 * (the core wants a turn). */
bool streams_turn(streams *all, uint64_t now_ns);
uint32_t streams_alive(const streams *all);
/* Ends with 499 every request that goes by this name: its x-request-id, the id of its answer, or the number
 * that log lines call req. Returns how many choices that ended; 0: nothing that runs is called so. */
uint32_t streams_cancel(streams *all, const char *name, uint64_t now_ns);
/* The x-request-id of a choice's request; NULL: it has none, or is over. Borrowed: until it is closed. */
const char *streams_name(const streams *all, uint64_t req);

/* Submits all choices. Takes ownership of *r on success only (it is zeroed then). On failure nothing runs and
 * *e tells the client why. */
status stream_open(stream **out, streams *all, api_request *r, const stream_listener *l, uint64_t now_ns,
                   api_error *e);
/* Whether its client waits for anything yet. *req: a choice that runs, or the last one; *name as streams_name
 * has it. s may be NULL: nothing was taken on yet. */
bool stream_owes(const stream *s, uint64_t *req, const char **name);
/* Cancels what still runs and frees. The listener is not called any more. */
void stream_close(stream *s, uint64_t now_ns);

const api_request *stream_request(const stream *s);
/* The next step, or false when there is none now. merge: a choice's last PART and its END come as one step.
 */
bool stream_next(stream *s, bool merge, stream_step *out);
bool stream_has_step(const stream *s);
/* The first text is with the client's connection now; later calls change nothing */
void stream_answered(stream *s);
/* Every choice ended well */
bool stream_ended(const stream *s);
/* Not NULL: failed; no step will follow */
const api_error *stream_error(const stream *s);
/* From outside: the coordinator stops, or somebody canceled it */
void stream_fail(stream *s, uint32_t http, const char *why);

uint32_t stream_choice_count(const stream *s);
const choice *stream_choice(const stream *s, uint32_t choice);
/* The prompt of that choice */
const api_prompt *stream_prompt(const stream *s, uint32_t choice);
/* Of that choice's prompt: all of it once the choice has begun, if it was asked for. */
const prompt_scores *stream_scores(const stream *s, uint32_t choice);
const tokenizer *stream_tokenizer(const stream *s);
stream_finish stream_finish_of(const stream *s, uint32_t choice);
/* Tokens: the prompt once for its n choices; completion: `shown` counts only what stream_next gave out. */
uint32_t stream_prompt_tokens(const stream *s);
uint32_t stream_completion_tokens(const stream *s, bool shown);
/* Of the prompt tokens, those that the first choice of each prompt found in a prefix cache; 0 before it
 * ended.
 */
uint32_t stream_cached_tokens(const stream *s);
/* Stage times of a choice; false before it ended. */
bool stream_times(const stream *s, uint32_t choice, core_times *out);
/* The choice that ended last; 0 before one has */
uint32_t stream_last_ended(const stream *s);

#endif
