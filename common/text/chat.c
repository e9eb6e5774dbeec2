/* chat - the chat templates that are known by their text.
 *
 * A template is a program (Jinja). Running it would need an interpreter for untrusted text inside the
 * coordinator; instead its text is brought to one form (blanks inside tags, kinds of quotes and joined
 * literals do not matter) and compared with what we can do ourselves. A template that is nearly ChatML
 * (tools, trimming, other defaults) is not taken for it: a prompt one token off from what the model was
 * trained on costs quality that nobody sees. */
#include "text/chat.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define TEMPLATE_MAX 65536u /* bytes; longer ones are no ChatML */
#define ROLE_MAX     64u

/* --- one form --- */

typedef struct cut {
    const char *at, *end;
} cut;

static bool eat(cut *c, const char *what) {
    size_t len = strlen(what);
    if ((size_t)(c->end - c->at) < len || memcmp(c->at, what, len) != 0) return false;
    c->at += len;
    return true;
}

/* A string literal: real line breaks become \n, quotes become ', and 'a' + 'b' becomes 'ab'. False when it
 * does not end. */
static bool form_literal(cut *c, buf *out) {
    char quote = *c->at++;
    if (out->len >= 2 && memcmp(out->data + out->len - 2, "'+", 2) == 0) {
        out->len -= 2;
    } else {
        buf_adds(out, "'");
    }
    for (; c->at < c->end && *c->at != quote; c->at++) {
        if (*c->at == '\n') {
            buf_adds(out, "\\n");
        } else {
            if (*c->at == '\\' && c->end - c->at > 1) buf_add(out, c->at++, 1);
            buf_add(out, c->at, 1);
        }
    }
    if (c->at == c->end) return false;
    c->at++;
    buf_adds(out, "'");
    return true;
}

/* From after "{%" or "{{" to after the closing pair. */
static bool form_tag(cut *c, const char *close, buf *out) {
    if (c->at < c->end && *c->at == '-') c->at++;
    while (c->at < c->end) {
        if (*c->at == '-' && c->end - c->at > 2 && memcmp(c->at + 1, close, 2) == 0) {
            c->at++;
        } else if (eat(c, close)) {
            buf_adds(out, close);
            return true;
        } else if (*c->at == '\'' || *c->at == '"') {
            if (!form_literal(c, out)) return false;
        } else if (isspace((unsigned char)*c->at)) {
            c->at++;
        } else {
            buf_add(out, c->at++, 1);
        }
    }
    return false;
}

/* White space between two tags. False when it would be output: templates are run with trim_blocks (the line
 * break after a block tag goes) and lstrip_blocks (so does the indentation before one); a dash in a tag takes
 * all of it on its side. */
static bool skip_gap(cut *c, bool after_block, bool after_dash) {
    bool line_start = after_block && c->at < c->end && *c->at == '\n';
    if (line_start) c->at++;
    const char *begin = c->at;
    bool one_line = true;
    for (; c->at < c->end && isspace((unsigned char)*c->at); c->at++) one_line = one_line && *c->at != '\n';
    if (c->at == begin || after_dash) return true;
    bool before_tag = c->end - c->at > 2 && c->at[0] == '{';
    if (before_tag && c->at[2] == '-') return true;
    return before_tag && c->at[1] == '%' && line_start && one_line;
}

/* The template in its one form, or false when it has text of its own between the tags, which would be output.
 */
static bool form_template(const char *text, size_t len, buf *out) {
    cut c = {text, text + len};
    while (c.at < c.end) {
        bool block = eat(&c, "{%");
        if (!block && !eat(&c, "{{")) return false;
        buf_adds(out, block ? "{%" : "{{");
        if (!form_tag(&c, block ? "%}" : "}}", out)) return false;
        if (!skip_gap(&c, block, c.at[-3] == '-')) return false;
    }
    return true;
}

/* --- ChatML --- */

static const char loop[] = "{%formessageinmessages%}";
static const char default_begin[] =
    "{%ifloop.firstandmessages[0]['role']!='system'%}{{'<|im_start|>system\\n";
static const char default_end[] = "<|im_end|>\\n'}}{%endif%}";
static const char *const turns[] = {
    "{{'<|im_start|>'+message['role']+'\\n'+message['content']+'<|im_end|>\\n'}}{%endfor%}",
    "{{'<|im_start|>'+message.role+'\\n'+message.content+'<|im_end|>\\n'}}{%endfor%}",
};
static const char opening[] = "{%ifadd_generation_prompt%}{{'<|im_start|>assistant\\n'}}{%endif%}";

/* The text of a literal's body: \n, \', \\ and the like undone. */
static char *unescape(const char *text, size_t len) {
    char *s = xmalloc(len + 1);
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\\' && i + 1 < len) {
            i++;
            s[n++] = text[i] == 'n' ? '\n' : text[i] == 't' ? '\t' : text[i];
        } else {
            s[n++] = text[i];
        }
    }
    s[n] = 0;
    return s;
}

static bool match_chatml(const char *form, size_t len, char **system) {
    cut c = {form, form + len};
    const char *begin = NULL, *end = NULL;
    if (!eat(&c, loop)) return false;
    if (eat(&c, default_begin)) {
        begin = c.at;
        end = memmem(begin, (size_t)(c.end - begin), default_end, strlen(default_end));
        /* A quote would end the literal: what lies between would be code, not text. */
        if (!end || memchr(begin, '\'', (size_t)(end - begin))) return false;
        c.at = end + strlen(default_end);
    }
    bool turn = false;
    for (size_t i = 0; i < ARRAY_LEN(turns) && !turn; i++) turn = eat(&c, turns[i]);
    if (!turn || !eat(&c, opening) || c.at != c.end) return false;
    *system = begin ? unescape(begin, (size_t)(end - begin)) : NULL;
    return true;
}

status chat_template_init(chat_template *out, const checkpoint *ckpt, errbuf *eb) {
    PRE(out);
    PRE(ckpt);
    (void)eb; /* an unknown template is no error until somebody chats */
    chat_template c = {.kind = CHAT_UNKNOWN};
    checkpoint_text text;
    buf form = {0};
    if (checkpoint_string(ckpt, "tokenizer.chat_template", &text) && text.len <= TEMPLATE_MAX &&
        form_template(text.data, text.len, &form) &&
        match_chatml(form.data ? form.data : "", form.len, &c.default_system))
        c.kind = CHAT_CHATML;
    buf_done(&form);
    *out = c;
    return ST_OK;
}

void chat_template_done(chat_template *c) {
    free(c->default_system);
    *c = (chat_template){.kind = CHAT_UNKNOWN};
}

/* --- rendering --- */

/* Roles are written outside the plain spans, so nothing that could be read as a special token may be in them.
 */
static bool is_role(const char *role) {
    size_t len = strnlen(role, ROLE_MAX + 1);
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)role[i]) && role[i] != '_' && role[i] != '-') return false;
    return len >= 1 && len <= ROLE_MAX;
}

static void open_turn(buf *out, const char *role) {
    buf_addf(out, "<|im_start|>%s\n", role);
}

status chat_render(const chat_template *c, const chat_message *msgs, uint32_t count, buf *out,
                   text_span *spans, errbuf *eb) {
    PRE(c);
    PRE(out);
    PRE(msgs || count == 0);
    PRE(spans || count == 0);
    if (c->kind == CHAT_UNKNOWN)
        return errf(
            eb, ST_UNSUPPORTED,
            "the model file has no chat template that is supported (ChatML is); use completions instead");
    if (count == 0) return errf(eb, ST_INVALID, "there are no messages");
    for (uint32_t i = 0; i < count; i++)
        if (!msgs[i].role || !is_role(msgs[i].role))
            return errf(eb, ST_INVALID, "message %u: the role must be 1..%u letters, digits, '_' or '-'", i,
                        ROLE_MAX);

    if (c->default_system && strcmp(msgs[0].role, "system") != 0) {
        open_turn(out, "system");
        buf_adds(out, c->default_system);
        buf_adds(out, "<|im_end|>\n");
    }
    for (uint32_t i = 0; i < count; i++) {
        open_turn(out, msgs[i].role);
        spans[i].begin = out->len;
        buf_add(out, msgs[i].content_len ? msgs[i].content : "", msgs[i].content_len);
        spans[i].end = out->len;
        buf_adds(out, "<|im_end|>\n");
    }
    open_turn(out, "assistant");
    return ST_OK;
}
