#include "text/chat.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define ROLE_MAX   64u
#define KWARGS_MAX 64u
/* As transformers does it: the tag goes where the message ends, and the prompt is cut where it comes out. */
#define OPEN_END "CONTINUE_FINAL_MESSAGE_TAG "

/* --- the template --- */

static json_t *special_tokens(const checkpoint *ckpt) {
    static const char *const names[][2] = {{"bos_token", "tokenizer.ggml.bos_token_id"},
                                           {"eos_token", "tokenizer.ggml.eos_token_id"},
                                           {"unk_token", "tokenizer.ggml.unknown_token_id"},
                                           {"pad_token", "tokenizer.ggml.padding_token_id"}};
    json_t *all = json_object();
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        uint64_t id = 0;
        checkpoint_text text;
        if (checkpoint_u64(ckpt, names[i][1], &id) &&
            checkpoint_list_text(ckpt, "tokenizer.ggml.tokens", id, &text))
            json_object_set_new(all, names[i][0], json_stringn_nocheck(text.data, text.len));
    }
    return all;
}

status chat_template_init(chat_template *out, const checkpoint *ckpt, const char *text, size_t len) {
    PRE(out);
    PRE(ckpt);
    chat_template c = {.specials = special_tokens(ckpt)};
    checkpoint_text own;
    if (!text && checkpoint_string(ckpt, "tokenizer.chat_template", &own)) {
        text = own.data;
        len = own.len;
    }
    if (text)
        (void)jinja_new(&c.program, text, len, &c.why); /* the reason waits for somebody who chats */
    else
        (void)errf(&c.why, ST_UNSUPPORTED, "the model file has none");
    *out = c;
    return ST_OK;
}

void chat_template_done(chat_template *c) {
    jinja_free(c->program);
    json_decref(c->specials);
    *c = (chat_template){0};
}

bool chat_template_reads(const chat_template *c, const char *name) {
    PRE(c);
    PRE(name);
    return c->program && jinja_reads(c->program, name);
}

/* --- messages as the template wants them --- */

/* Roles are written outside the plain spans, so nothing that could be read as a special token may be in
 * them. */
static bool is_role(const json_t *role) {
    const char *text = json_string_value(role);
    size_t len = json_string_length(role);
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && text[i] != '_' && text[i] != '-') return false;
    return len >= 1 && len <= ROLE_MAX;
}

static json_t *joined(const json_t *parts) {
    buf text = {0};
    buf_adds(&text, "");
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_object_get(json_array_get(parts, i), "text");
        if (i) buf_adds(&text, "\n");
        buf_add(&text, part ? json_string_value(part) : "", json_string_length(part));
    }
    json_t *out = json_stringn_nocheck(text.data, text.len);
    buf_done(&text);
    return out;
}

static json_t *message_for(const jinja *program, const json_t *m) {
    json_t *out = json_copy((json_t *)m);
    const json_t *content = json_object_get(m, "content");
    bool lists = jinja_loops_over_content(program);
    if (json_is_array(content) && !lists) {
        json_object_set_new(out, "content", joined(content));
    } else if (json_is_string(content) && lists && !jinja_asks_for_strings(program)) {
        json_object_set_new(out, "content", json_pack("[{s:s,s:O}]", "type", "text", "text", content));
    }
    if (strcmp(json_string_value(json_object_get(m, "role")), "developer") == 0 &&
        !jinja_mentions(program, "developer"))
        json_object_set_new(out, "role", json_string("system"));
    return out;
}

static json_t *with_tag(const json_t *text) {
    buf b = {0};
    buf_add(&b, json_string_value(text), json_string_length(text));
    buf_adds(&b, OPEN_END);
    json_t *out = json_stringn_nocheck(b.data, b.len);
    buf_done(&b);
    return out;
}

/* Marks the end of the last message's text; false when it has none. */
static bool leave_open(json_t *messages) {
    json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    json_t *content = json_object_get(last, "content");
    if (json_is_string(content)) {
        json_object_set_new(last, "content", with_tag(content));
        return true;
    }
    size_t count = json_array_size(content);
    json_t *part = count ? json_array_get(content, count - 1) : NULL;
    if (!json_is_string(json_object_get(part, "text"))) return false;
    json_t *parts = json_copy(content); /* the request's own stay as they are */
    part = json_copy(part);
    json_object_set_new(part, "text", with_tag(json_object_get(part, "text")));
    json_array_set_new(parts, count - 1, part);
    json_object_set_new(last, "content", parts);
    return true;
}

static status prepare(const chat_template *c, const chat_input *in, json_t **out, errbuf *eb) {
    if (!c->program)
        return errf(eb, ST_UNSUPPORTED, "the model's chat template cannot be used: %.180s; use completions",
                    c->why.text);
    size_t count = json_array_size(in->messages);
    if (count == 0) return errf(eb, ST_INVALID, "there are no messages");
    for (size_t i = 0; i < count; i++)
        if (!is_role(json_object_get(json_array_get(in->messages, i), "role")))
            return errf(eb, ST_INVALID, "message %zu: the role must be 1..%u letters, digits, '_' or '-'", i,
                        ROLE_MAX);
    json_t *messages = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(messages, message_for(c->program, json_array_get(in->messages, i)));
    if (in->continue_final_message && !leave_open(messages)) {
        json_decref(messages);
        return errf(eb, ST_INVALID, "continue_final_message: the last message has no text to continue");
    }
    *out = messages;
    return ST_OK;
}

/* --- rendering --- */

/* Cuts the prompt where the last message's text ends. */
static status cut_open_end(size_t begin, buf *out, text_span *spans, uint32_t *count, errbuf *eb) {
    const size_t len = strlen(OPEN_END) - 1; /* its blank may have been trimmed */
    size_t at = out->len >= len ? out->len - len + 1 : 0;
    while (at > begin && memcmp(out->data + at - 1, OPEN_END, len) != 0) at--;
    if (at <= begin)
        return errf(eb, ST_INVALID, "continue_final_message: the template leaves out the last message");
    size_t end = at - 1;
    if (end + len >= out->len || out->data[end + len] != ' ')
        while (end > begin && isspace((unsigned char)out->data[end - 1])) end--;
    out->len = end;
    out->data[end] = 0;
    while (*count && spans[*count - 1].begin >= end) (*count)--;
    if (*count) spans[*count - 1].end = MIN(spans[*count - 1].end, end);
    return ST_OK;
}

static status add_kwargs(const json_t *kwargs, jinja_variable *vars, size_t *count, errbuf *eb) {
    const char *key = NULL;
    json_t *value = NULL;
    if (json_object_size(kwargs) > KWARGS_MAX)
        return errf(eb, ST_INVALID, "chat_template_kwargs: %zu entries, want at most %u",
                    json_object_size(kwargs), KWARGS_MAX);
    json_object_foreach((json_t *)kwargs, key, value) {
        if (strcmp(key, "messages") == 0 || strcmp(key, "tools") == 0 || strcmp(key, "documents") == 0)
            return errf(eb, ST_INVALID, "chat_template_kwargs: %s is a field of the request itself", key);
        vars[(*count)++] = (jinja_variable){key, value, true};
    }
    return ST_OK;
}

status chat_render(const chat_template *c, const chat_input *in, buf *out, text_span **spans, uint32_t *count,
                   errbuf *eb) {
    PRE(c);
    PRE(in);
    PRE(out);
    PRE(spans);
    PRE(count);
    json_t *messages = NULL;
    status st = prepare(c, in, &messages, eb);
    if (st != ST_OK) return st;
    jinja_variable vars[KWARGS_MAX + 12];
    size_t n = 0;
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(c->specials, key, value) vars[n++] = (jinja_variable){key, value, false};
    vars[n++] = (jinja_variable){"add_generation_prompt", json_boolean(in->add_generation_prompt), false};
    vars[n++] = (jinja_variable){"messages", messages, true};
    vars[n++] = (jinja_variable){"tools", in->tools ? in->tools : json_null(), true};
    vars[n++] = (jinja_variable){"documents", in->documents ? in->documents : json_null(), true};
    if (in->kwargs) st = add_kwargs(in->kwargs, vars, &n, eb);
    size_t begin = out->len;
    text_span *found = NULL;
    uint32_t found_count = 0;
    if (st == ST_OK) st = jinja_render(c->program, vars, n, &in->now, out, &found, &found_count, eb);
    if (st == ST_OK && in->continue_final_message) st = cut_open_end(begin, out, found, &found_count, eb);
    json_decref(messages);
    if (st != ST_OK) {
        free(found);
        out->len = begin;
        return st;
    }
    *spans = found;
    *count = found_count;
    return ST_OK;
}
