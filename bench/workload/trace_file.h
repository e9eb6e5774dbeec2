/* trace_file - a file of requests, read as a trace. The format is told from the contents:
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
#ifndef BATON_WORKLOAD_TRACE_FILE_H
#define BATON_WORKLOAD_TRACE_FILE_H

#include "bench/workload/trace.h"

#define TRACE_CHARS_PER_TOKEN 4.0 /* English text in the usual vocabularies */

typedef struct trace_options {
    double spread_s; /* requests at one time are spread evenly over so many seconds, or up to the next time if
                        that is nearer; 0 = as they are */
    double chars_per_token; /* ShareGPT; 0 = TRACE_CHARS_PER_TOKEN */
} trace_options;

/* ST_INVALID: file, line and what is wrong there. End with trace_done. */
status trace_read(trace *out, const char *path, const trace_options *opt, errbuf *eb);

#endif
