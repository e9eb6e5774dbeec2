/* row - what became of one scheduled request: times, counts, outcome. A row carries no limit: the same rows
 * are scored for any SLO afterwards (score.h).
 *
 * Times are nanoseconds since the run's start, on the client's monotonic clock; NEVER = it did not happen.
 * Latency is judged from `scheduled_ns`, the arrival that was planned, not from when the client came to send
 * it. */
#ifndef BATON_ROWS_ROW_H
#define BATON_ROWS_ROW_H

#include <stdbool.h>
#include <stdint.h>

#define ROW_NEVER UINT64_MAX
/* A time beyond this (115 days) is a mistake; files with one are refused. */
#define ROW_MOST_NS 10000000000000000ull

/* Tokens of one prompt or answer beyond this are a mistake, too: of a server that counts wrong, or a file. */
#define ROW_MOST_TOKENS (1u << 24)

typedef enum row_phase {
    ROW_WARMUP, /* before the first window */
    ROW_WINDOW, /* a member: it is scored */
    ROW_TAIL    /* load that is kept on until the last member has ended */
} row_phase;

typedef enum row_outcome {
    ROW_OK,         /* ended as asked */
    ROW_REFUSED,    /* 429 or 503 */
    ROW_FAILED,     /* any other error: status, broken connection, stream that ends early */
    ROW_TIMED_OUT,  /* the client's own deadline */
    ROW_UNFINISHED, /* the run was ended (Ctrl-C) while it ran */
    ROW_UNSENT      /* and before it was sent */
} row_outcome;

/* One event of the stream. tokens: of its content; 0 for an event without content (a role chunk, the finish).
 * A server that does not say how many tokens an event has counts 1 for any content. */
typedef struct row_event {
    uint64_t at_ns;
    uint32_t tokens;
} row_event;

/* The server's own stage times, ms; NAN = it did not say, or the stage was not entered. */
typedef struct row_stages {
    double queue_ms;       /* arrival to a prefill worker's taking it */
    double prefill_ms;     /* to the end of its prompt */
    double handoff_ms;     /* end of prefill to KV verified at the decode worker */
    double decode_wait_ms; /* KV verified to the first token of the decode worker */
    double decode_ms;      /* first token to last */
    double first_token_ms, total_ms;
    uint32_t attempts, replays, preemptions;
} row_stages;

typedef struct row {
    uint64_t seed;  /* of its stream of arrivals; below 2^63 */
    uint32_t index; /* in that stream; (seed, index) names its prompt */
    row_phase phase;
    row_outcome outcome;
    int http;        /* status; 0 = none came, or the native socket */
    char *error;     /* NULL = none; owned */
    char finish[16]; /* "length", "stop", ... ; "" = none came */
    uint64_t scheduled_ns, sent_ns;
    uint64_t first_ns, last_ns; /* events with content */
    uint64_t end_ns;            /* everything read, or given up */
    uint32_t prompt_asked, output_asked;
    uint32_t prompt_tokens, output_tokens, cached_tokens; /* from usage; 0 = unknown */
    row_event *events;                                    /* [event_count] in order; owned */
    uint32_t event_count;
    row_stages stages;
} row;

/* "window", "timed_out": as files have them. Borrowed: static. */
const char *row_phase_name(row_phase p);
const char *row_outcome_name(row_outcome o);

/* Of a server that says nothing: all NAN. */
row_stages row_stages_none(void);
/* Nothing has happened yet: times NEVER, stages NAN, the rest zero. */
void row_init(row *r);
/* Frees what it owns, not r, which is as after row_init. */
void row_done(row *r);
/* Appends an event, in order of time; one with content is the last token so far, and perhaps the first. */
void row_add_event(row *r, uint64_t at_ns, uint32_t tokens);
/* output_tokens, or, where the server sent no usage, what its events say. */
uint32_t row_tokens(const row *r);

/* ms. TTFT: scheduled to first content. NAN without one. */
double row_ttft_ms(const row *r);
/* (last - first) / (output_tokens - 1); 0 for one token; NAN without a token. */
double row_tpot_ms(const row *r);
/* Scheduled to last content; NAN without one. */
double row_e2e_ms(const row *r);
/* ITLs, ms: the gaps between events with content, and zeros for the tokens that came together: output_tokens
 * - 1 values in all when usage is known. Returns their number, writes at most `max`. */
uint32_t row_itls_ms(const row *r, double *out, uint32_t max);

/* As `vllm bench serve` has them, from sent_ns: the first event of any kind is the first token, each event is
 * a gap, the last event ends the request. */
double row_vllm_ttft_ms(const row *r);
double row_vllm_tpot_ms(const row *r);
double row_vllm_e2e_ms(const row *r);
uint32_t row_vllm_itls_ms(const row *r, double *out, uint32_t max);

#endif
