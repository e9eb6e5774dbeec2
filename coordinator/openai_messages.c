#include "coordinator/openai_fields.h"

#include "base/mem.h"

#include <string.h>

/* A list of content parts of type text, joined by newlines as vLLM does. */
static void parse_parts(jfields *f, uint32_t message, const json_t *parts, buf *out) {
    for (size_t i = 0; i < json_array_size(parts) && jf_ok(f); i++) {
        const json_t *part = json_array_get(parts, i);
        const json_t *type = json_object_get(part, "type");
        const json_t *text = json_object_get(part, "text");
        char what[48];
        if (json_is_string(part)) {
            text = part;
        } else if (!json_is_string(type)) {
            jf_fail(f, "messages", "messages[%u].content[%zu]: want an object with a type, got %s", message,
                    i, jf_what(part, what));
        } else if (!jf_is(type, "text")) {
            jf_fail(f, "messages", "messages[%u].content[%zu].type: only text is supported, got '%.60s'",
                    message, i, json_string_value(type));
        }
        if (jf_ok(f) && !json_is_string(text)) {
            jf_fail(f, "messages", "messages[%u].content[%zu].text: want a string, got %s", message, i,
                    jf_what(text, what));
        }
        if (!jf_ok(f)) return;
        if (i > 0) buf_adds(out, "\n");
        buf_add(out, json_string_value(text), json_string_length(text));
    }
}

static void parse_message(jfields *f, api_request *r, uint32_t i, const json_t *v) {
    char what[48];
    if (!json_is_object(v)) {
        jf_fail(f, "messages", "messages[%u]: want an object, got %s", i, jf_what(v, what));
        return;
    }
    const json_t *role = json_object_get(v, "role");
    const json_t *content = json_object_get(v, "content");
    if (!json_is_string(role)) {
        jf_fail(f, "messages", "messages[%u].role: want a string, got %s", i, jf_what(role, what));
        return;
    }
    api_message *m = &r->messages[r->message_count];
    *m = (api_message){.role = api_role(json_string_value(role), json_string_length(role))};
    if (!m->role) {
        jf_fail(f, "messages",
                "messages[%u].role: want system, developer, user, assistant or tool, got '%.60s'", i,
                json_string_value(role));
    } else if (!openai_is_empty(json_object_get(v, "tool_calls")) && json_object_get(v, "tool_calls")) {
        jf_fail(f, "messages", "messages[%u].tool_calls: this server does not support tools", i);
    } else if (json_is_string(content)) {
        m->len = json_string_length(content);
        m->content = xmemdup(json_string_value(content), m->len + 1);
    } else if (json_is_array(content)) {
        buf text = {0};
        buf_adds(&text, "");
        parse_parts(f, i, content, &text);
        m->len = text.len;
        m->content = text.data;
    } else {
        jf_fail(f, "messages", "messages[%u].content: want a string or a list of text parts, got %s", i,
                jf_what(content, what));
    }
    if (m->content) r->message_count++;
}

void openai_messages(jfields *f, api_request *r) {
    PRE(f);
    PRE(r);
    const json_t *list = NULL;
    if (!jf_list(f, "messages", API_MESSAGES_MAX, &list)) {
        jf_fail(f, "messages", "messages: the field is missing, want a list of {\"role\", \"content\"}");
        return;
    }
    r->messages = xcalloc(json_array_size(list) + 1, sizeof *r->messages);
    for (uint32_t i = 0; i < json_array_size(list) && jf_ok(f); i++)
        parse_message(f, r, i, json_array_get(list, i));
}
