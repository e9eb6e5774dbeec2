/* chat - messages to prompt text, by the template that the model file carries, run as it stands (jinja.h).
 *
 * A template that cannot be run is no error until somebody chats; completions work without one. */
#ifndef BATON_TEXT_CHAT_H
#define BATON_TEXT_CHAT_H

#include "base/mem.h"
#include "base/status.h"
#include "text/jinja.h"
#include "text/tokenizer.h"

typedef struct chat_template {
    jinja *program;   /* NULL: there is none, or it cannot be run */
    errbuf why;       /* then: the reason */
    json_t *specials; /* bos_token, eos_token, ... of the file: what templates call them */
} chat_template;

typedef struct chat_input {
    /* List of objects: role (a word), content (a string, or a list of {"type": "text", "text": ...}), and
     * what else templates read: name, tool_calls (with arguments as objects), tool_call_id,
     * reasoning_content. All borrowed; NULL = not given. */
    const json_t *messages;
    const json_t *tools, *documents; /* lists */
    const json_t *kwargs;            /* object: more variables */
    bool add_generation_prompt;      /* the assistant's turn is opened */
    bool continue_final_message;     /* the last message is left open */
    struct tm now;                   /* what strftime_now tells */
} chat_input;

/* Reads tokenizer.chat_template, or text [len] in its place when it is not NULL. ST_OK whatever it is. Free
 * with chat_template_done. */
status chat_template_init(chat_template *out, const checkpoint *ckpt, const char *text, size_t len);
void chat_template_done(chat_template *c);
/* Whether the template reads a variable of that name: tools for one that does not would be lost. */
bool chat_template_reads(const chat_template *c, const char *name);
/* Appends the prompt. ST_UNSUPPORTED without a template that can be run, ST_INVALID for no messages, a role
 * that is not 1..64 letters, digits, '_' or '-' (roles stand outside the spans), and what the template
 * refuses. *spans gets the bytes of the prompt that came from the request, [*count], ascending: the caller
 * encodes with parse_special and these as `plain`, so that no user can forge a turn, and frees them.
 *
 * A template that does not know the role developer gets system. Lists of text parts are joined by line
 * breaks for a template that has no loop over a content; one that has, and does not ask whether it is a
 * string, gets lists only. */
status chat_render(const chat_template *c, const chat_input *in, buf *out, text_span **spans, uint32_t *count,
                   errbuf *eb);

#endif
