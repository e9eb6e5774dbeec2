/* choice - the text of one choice: tokens go in, stretches that may be shown come out.
 *
 *   text    "The answer is 42\nUser"          bytes so far, cut at a stop string
 *            ^shown          ^     ^held: could still become the stop string "\nUser:"
 *
 * A part is a stretch of text with its tokens. Text that could be the beginning of a stop string, and the
 * bytes of an unfinished UTF-8 character, make no part until the doubt is gone; their tokens go out with the
 * next part. Stop strings are judged as if bytes came one by one (the match that ends first wins, then the
 * longest), so the result does not depend on where tokens end.
 *
 * Pure: no socket, clock or core. Thread: the loop's. */
#ifndef BATON_COORDINATOR_CHOICE_H
#define BATON_COORDINATOR_CHOICE_H

#include "base/mem.h"
#include "coordinator/api.h"

#define CHOICE_TOKEN_BYTES 512u /* of one token's text in logprobs; no vocabulary comes near */

typedef struct choice_rules {
    const tokenizer *tok;
    const api_stop *stops; /* [stop_count] */
    uint32_t stop_count;
    uint32_t min_tokens; /* text of the first tokens is not searched for stop strings */
    bool include_stop;   /* a match, and the text of a stop token, stay in the text */
    bool keep_special;   /* special tokens are text */
    bool logprobs;
} choice_rules;

typedef struct choice_part {
    size_t text_begin, text_end;     /* bytes of choice.text */
    uint32_t token_begin, token_end; /* of choice.ids */
} choice_part;

typedef struct choice_logprob {
    float logprob;
    uint32_t top_begin, top_count; /* of choice.tops */
    uint32_t text_offset;          /* characters of the tokens before it */
} choice_logprob;

typedef struct choice {
    const choice_rules *rules; /* borrowed: lives as long as the choice */
    detok pending;             /* bytes of an unfinished character */
    buf text;
    size_t floor; /* a match must begin at or after this byte */
    int32_t *ids; /* [count] */
    uint32_t count, capacity;
    choice_logprob *probs; /* [capacity] when logprobs are asked for, else NULL */
    token_logprob *tops;   /* [top_count] */
    uint32_t top_count, top_capacity;
    uint32_t chars;    /* characters that begin in the tokens so far; counted when logprobs are asked for */
    choice_part shown; /* begin = 0; ends: how far parts have gone */
    int32_t matched;   /* index of the stop string that ended the text; -1 = none */
} choice;

void choice_init(choice *c, const choice_rules *rules);
void choice_done(choice *c);
/* Its text will be shown behind the prompt's (echo): text offsets count on from there. Before the first
 * token.
 */
void choice_behind(choice *c, const api_prompt *prompt);
/* Characters that token `at` of the prompt has in the text that echo shows: a start token that was put before
 * a text has none. */
uint32_t choice_prompt_chars(const tokenizer *tok, const api_prompt *prompt, uint32_t at);
/* Takes the next token. True: *part may be shown now. After a match tokens are dropped. */
bool choice_add(choice *c, const token_out *t, choice_part *part);
/* No token will follow: true when *part is left to be shown. */
bool choice_end(choice *c, choice_part *part);

#endif
