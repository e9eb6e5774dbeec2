/* chunk - one event of an OpenAI stream, as JSON: has it content, how many tokens, why does it end, what does
 * the usage say. Pure.
 *
 * There is one per token, so an ordinary one is scanned once, without a tree: whatever the order of keys and
 * the white space. What the scan does not settle (usage, errors, anything odd) goes to a full parser. */
#ifndef BATON_LOAD_CHUNK_H
#define BATON_LOAD_CHUNK_H

#include "base/status.h"
#include "bench/rows/row.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct chunk {
    bool content;    /* text, reasoning, tool calls or token ids */
    uint32_t tokens; /* of its content: the ids that are listed, else 1; 0 without content */
    char finish[16]; /* "" = none */
    bool failed;     /* an error object */
    char error[160]; /* its text, cut */
    bool usage;      /* the next four are known */
    uint32_t prompt_tokens, output_tokens, cached_tokens;
    row_stages stages; /* Baton's timings; NAN where not told */
} chunk;

/* ST_CORRUPT: no JSON object of this kind. */
status chunk_parse(chunk *out, const char *json, size_t len, errbuf *eb);
/* The same by the full parser alone: what the scan must agree with */
status chunk_parse_full(chunk *out, const char *json, size_t len, errbuf *eb);
/* A whole answer that was not streamed, or an error body: the text of its error, or a part of the body. */
void chunk_error_text(char *out, size_t size, const char *body, size_t len);

#endif
