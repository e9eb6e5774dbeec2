/* chat - messages to prompt text, by the template that the model file carries.
 *
 * Templates are recognised from their text, not interpreted: so far ChatML
 * ("<|im_start|>role\ncontent<|im_end|>\n", and the default system prompt that the file's template adds when
 * the first message is not a system one). Any other is CHAT_UNKNOWN: a clear error for chat, while
 * completions still work. */
#ifndef BATON_TEXT_CHAT_H
#define BATON_TEXT_CHAT_H

#include "base/mem.h"
#include "base/status.h"
#include "text/tokenizer.h"

typedef enum chat_kind { CHAT_UNKNOWN, CHAT_CHATML } chat_kind;

typedef struct chat_template {
    chat_kind kind;
    char *default_system; /* NULL = none. Owned */
} chat_template;

typedef struct chat_message {
    const char *role;    /* NUL-terminated: system, user, assistant, ... */
    const char *content; /* content_len bytes of UTF-8 */
    size_t content_len;
} chat_message;

/* Reads tokenizer.chat_template; absent or unknown gives CHAT_UNKNOWN and ST_OK. Free with
 * chat_template_done. */
status chat_template_init(chat_template *out, const checkpoint *ckpt, errbuf *eb);
void chat_template_done(chat_template *c);
/* Appends the prompt with the assistant's turn opened. ST_UNSUPPORTED for CHAT_UNKNOWN, ST_INVALID for no
 * messages or a role that is not 1..64 letters, digits, '_' or '-' (roles stand outside the spans). spans[i]
 * gets the bytes of the prompt that came from message i's content, [count]: the caller encodes the result
 * with parse_special and these as `plain`, so that no user can forge a turn. */
status chat_render(const chat_template *c, const chat_message *msgs, uint32_t count, buf *out,
                   text_span *spans, errbuf *eb);

#endif
