/* request - one choice of one client request: its ids, its place in the machine, and every token it has
 * emitted.
 *
 *   NEW -> WAIT_PREFILL -> PREFILL -> WAIT_KV -> DECODE -> DONE
 *               ^             |  \______________^    |
 *               +-- replay ---+--------+-------------+        any that is not an end -> FAILED | CANCELED
 *
 * The request's worker pointers say who executes it now: `prefill` computes (or keeps) its prompt, `decode`
 * has reserved, receives or decodes. A colocated worker is `prefill` until its first token and `decode` from
 * then on.
 *
 * Attempts: `attempt` is the newest number; it grows with every replay and every further D, so that nothing
 * old can be mistaken for something new. `tries` counts only what the limit of attempts is about: a
 * preemption or a refusal for lack of room renumbers without being a try.
 *
 * Thread: the coordinator's loop. */
#ifndef BATON_COORDINATOR_REQUEST_H
#define BATON_COORDINATOR_REQUEST_H

#include "base/heap.h"
#include "coordinator/core_types.h"
#include "coordinator/fair_queue.h"
#include "kv/handoff.h"

struct member;

#define TOKEN_LOG_HELD_MAX                                                                                   \
    32u /* tokens that came before an earlier one; workers send in order, so this is slack */

/* Every token of a request, each output index exactly once. `held` are tokens whose predecessors are missing
 * yet. */
typedef struct token_log {
    int32_t *ids;        /* [count] emitted ids; owned */
    uint32_t count;      /* emitted */
    uint32_t capacity;   /* of ids */
    core_token next;     /* held, when it is the only one: nearly always */
    core_token *held;    /* [held_count], allocated when there are more; owned */
    uint32_t held_count; /* <= TOKEN_LOG_HELD_MAX */
} token_log;

typedef enum token_put { TOKEN_NEW, TOKEN_SAME, TOKEN_DIFFERS, TOKEN_FAR } token_put;

/* TOKEN_NEW: kept, token_log_next may give it; TOKEN_SAME, TOKEN_DIFFERS: the index is known already;
 * TOKEN_FAR: too far ahead. */
token_put token_log_put(token_log *log, uint32_t index, const token_out *token);
/* The next token in index order becomes emitted. False when it has not come yet. */
bool token_log_next(token_log *log, core_token *out);
/* A new attempt begins */
void token_log_forget_held(token_log *log);
void token_log_done(token_log *log);

/* The lines of request_table.h */
typedef enum request_line {
    LINE_PARKED,
    LINE_COMPUTING,
    LINE_REPLAYS,
    LINE_NEW,
    LINE_COUNT,
    LINE_NONE = LINE_COUNT
} request_line;

typedef struct request {
    uint64_t id;
    sm sm;           /* request_sm */
    sm handoff;      /* handoff_sm, of the newest offer to a D */
    int32_t *prompt; /* [prompt_count]; owned */
    uint32_t prompt_count;
    sampling params;  /* owned, with its arrays */
    uint64_t salt[2]; /* of the prefix cache */
    int16_t priority; /* in the queue: lower ones first */
    uint64_t client;  /* whose turn it is in the queue */
    token_log log;
    uint64_t *chain;      /* [chain_pages] keys of its whole pages so far (prefix_hints.h); owned */
    uint32_t chain_pages; /* 0 without a prefix cache */
    uint32_t hinted;      /* of these, what `decode` was thought to hold when it was asked */
    uint32_t cached;      /* tokens; see core_times */
    uint32_t scored;      /* first tokens of the prompt whose logprobs are told, or have none; from 1 */

    uint32_t given; /* output ids that this attempt starts from: its k. P and every D get the same */
    struct member *prefill, *decode; /* borrowed from the core's table; NULL = none */
    uint32_t attempt; /* newest number: given to workers now, or to the next one asked; from 1 */
    uint32_t tries;   /* attempts that count against the limit, the present one included; from 1 */
    uint32_t deaths;  /* workers that died while they executed it; not those that were given up or came back
                       */
    uint64_t dead;    /* incarnation of the one that is counted; 0 = none */
    uint32_t replays, preemptions;
    uint64_t avoid; /* incarnation of the D that failed it last; another one is preferred */

    /* When it must have left the queue for the first time, so that its first token comes in time; UINT64_MAX:
     * no matter. first_by_ns is that time, expected_ns when its token was expected; 0: nothing was known. */
    uint64_t leave_by_ns, first_by_ns, expected_ns;
    bool left_queue; /* and pace.h has heard of it; not told again after a worker had no room: it came back */
    uint64_t queue_since_ns; /* start of WAIT_PREFILL's deadline: kept when a worker had no room after all */
    uint64_t
        kv_since_ns;   /* WAIT_KV entered from PREFILL: its deadline and the hand-off time count from here */
    uint64_t token_ns; /* last new token in DECODE, or the entry */
    uint64_t grace_ns; /* in PREFILL, WAIT_KV and DECODE: its deadline is not earlier, since its worker gets
                          on */
    uint64_t handoff_ns; /* of the last finished hand-off */
    uint32_t span_count;
    core_span spans[CORE_SPANS_MAX];
    uint64_t verified_ns, own_token_ns; /* its end; then D's first token of its own. 0 = not yet */

    /* Where it stands in the table; the table's own. */
    uint32_t slot;
    request_line line;
    bool handing_over; /* in WAIT_KV */
    bool aside;        /* in its line, but passed over */
    fair_item turn;    /* by its key in its line; in LINE_NEW among its client's */
    heap_node due;     /* by deadline */
} request;

request *request_new(uint64_t id, const core_request *r, uint32_t max_tokens, uint64_t now_ns);
void request_free(request *r);

req_state request_state(const request *r);
/* Of the newest offer to a D: RESERVED when the D has answered so, COPYING from DEST to VERIFIED */
handoff_state request_handoff(const request *r);
/* Asserts the edge */
void request_move(request *r, req_state next, uint64_t now_ns);
/* Prompt and the output ids given: the T of control.md */
uint32_t request_rows(const request *r);
/* Prompt + max_tokens, or 1 when that is 0: what it can grow to */
uint32_t request_tokens_max(const request *r);
/* Its chain covers the whole pages of the first `rows` tokens of prompt ++ output. */
void request_chain_to(request *r, uint32_t rows);
/* kv_ids_hash of prompt ++ output */
uint64_t request_ids_hash(const request *r);
/* Whether logprobs of its prompt are wanted that no attempt has told yet. No D is asked until then: what P
 * tells would race with what D does. */
bool request_wants_prompt(const request *r);
/* Whether the token that its prefill samples is the last one it may have: then no D is needed (protocol rule
 * 4). */
bool request_ends_with_prefill(const request *r);
/* Goes before the new ones in the queue */
bool request_is_replay(const request *r);
/* Its place in a line of the queue (LINE_REPLAYS, LINE_NEW) is by this: priority, then first come first
 * served; in the other lines its number is. */
uint64_t request_queue_key(const request *r);
/* The same of one that does not exist yet */
uint64_t request_key(int32_t priority, uint64_t id);
/* It enters a stage; when there were too many, the last one goes on. */
void request_enter(request *r, core_stage stage, const struct member *m, uint64_t now_ns);
/* Ended at now_ns */
void request_record(const request *r, uint64_t now_ns, core_record *out);
core_times request_times(const request *r, uint64_t now_ns);
bool request_check(const request *r);

#endif
