/* trace - requests of a file in memory: times, lengths, shared prefixes. The readers of the formats add them
 * one by one; bounds, order of time and what is left out are judged here, once. */
#ifndef BATON_WORKLOAD_TRACE_H
#define BATON_WORKLOAD_TRACE_H

#include "bench/workload/lines.h"

#include <stdbool.h>

#define TRACE_ROWS_MAX     (1u << 25)
#define TRACE_PREFIXES_MAX (1u << 26)
#define TRACE_TOKENS_MAX   (1u << 24) /* of one prompt or answer */

typedef enum trace_format {
    TRACE_AZURE,
    TRACE_BURSTGPT,
    TRACE_MOONCAKE,
    TRACE_BAILIAN,
    TRACE_SHAREGPT,
    TRACE_OWN
} trace_format;

/* The next `tokens` ids of the prompt are those of block `id`. */
typedef struct trace_prefix {
    uint64_t id;
    uint32_t tokens;
} trace_prefix;

typedef struct trace_row {
    double at_s; /* since the first row; 0 if the file has no times */
    uint32_t prompt_tokens, output_tokens;
    uint32_t prefix_first, prefix_count; /* in trace.prefixes; together at most prompt_tokens */
} trace_row;

typedef struct trace {
    trace_format format;
    bool has_times;
    trace_row *rows; /* [count], count >= 1; owned */
    uint32_t count, row_capacity;
    trace_prefix *prefixes; /* [prefix_count]; owned */
    uint32_t prefix_count, prefix_capacity;
    uint32_t left_out; /* requests without prompt or answer */
    double first_s;    /* of the first row, by the file's own clock */
} trace;

/* "azure", ... Borrowed: static. */
const char *trace_format_name(trace_format format);
/* Frees what it owns and makes it an empty one, as which it starts (zeroed). */
void trace_done(trace *t);

/* Adds a request at `at_s` by the file's own clock (NAN in a file without times), whose prefixes are those
 * added since the last one; without prompt or answer it is left out and counted. ST_INVALID names the line.
 */
status trace_add(trace *t, const lines *l, double at_s, int64_t prompt_tokens, int64_t output_tokens,
                 errbuf *eb);
status trace_add_prefix(trace *t, const lines *l, trace_prefix prefix, errbuf *eb);
/* Requests at one time are set apart evenly over `seconds`, or up to the next time if that is nearer. */
void trace_spread(trace *t, double seconds);

#endif
