/* trace - requests of a file: times, lengths, shared prefixes. The format is told from the contents:
 *
 *   Azure      CSV, columns TIMESTAMP, ContextTokens, GeneratedTokens, by their names
 *              (`2023-11-16 18:17:03.9799600`, or `2024-05-10 00:00:00.009930+00:00`)
 *   BurstGPT   CSV, columns Timestamp (seconds), Request tokens, Response tokens, by their names
 *   Mooncake   JSON lines, timestamp (ms), input_length, output_length, hash_ids of 512-token blocks
 *   Bailian    JSON lines, the same with timestamp in seconds, blocks of 16 tokens, and chat_id, turn
 *   ShareGPT   one JSON array of {"conversations": [{"from", "value"}, ...]}: the first two turns are prompt
 * and answer. The lengths are an estimate, characters / chars_per_token, since no tokenizer is at hand. There
 * are no times. our own    JSON lines, {"at_s": 0.5, "prompt_tokens": 100, "output_tokens": 20, "prefix":
 * [[7, 64]]}: at_s, seconds, stands in every line or in none; `prefix`, optional, names what the prompt
 * begins with: pairs of an id and a number of tokens, so that prompts that begin with the same ids share them
 *
 * Times never go back. Requests without prompt or without answer (BurstGPT's failures have 0 response tokens)
 * are left out and counted. Anything else that is not as it should be is refused with file and line. */
#ifndef BATON_WORKLOAD_TRACE_H
#define BATON_WORKLOAD_TRACE_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

#define TRACE_ROWS_MAX        (1u << 25)
#define TRACE_PREFIXES_MAX    (1u << 26)
#define TRACE_TOKENS_MAX      (1u << 24) /* of one prompt or answer */
#define TRACE_CHARS_PER_TOKEN 4.0        /* English text in the usual vocabularies */

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

typedef struct trace_options {
    double spread_s; /* requests at one time are spread evenly over so many seconds, or up to the next time if
                        that is nearer; 0 = as they are */
    double chars_per_token; /* ShareGPT; 0 = TRACE_CHARS_PER_TOKEN */
} trace_options;

/* "azure", ... Borrowed: static. */
const char *trace_format_name(trace_format format);
/* ST_INVALID: file, line and what is wrong there. End with trace_done. */
status trace_read(trace *out, const char *path, const trace_options *opt, errbuf *eb);
/* Frees what it owns and makes it an empty one. */
void trace_done(trace *t);

#endif
