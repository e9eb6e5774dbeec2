#include "coordinator/openai_fields.h"

#include "base/mem.h"

#include <string.h>

#define TOOLS_MAX     1024u
#define DOCUMENTS_MAX 1024u

/* A list of content parts of type text, as templates know them: the template's needs decide later whether
 * they are joined. */
static json_t *parse_parts(jfields *f, uint32_t message, const json_t *parts) {
    json_t *out = json_array();
    for (size_t i = 0; i < json_array_size(parts) && jf_ok(f); i++) {
        json_t *part = json_array_get(parts, i);
        const json_t *type = json_object_get(part, "type");
        json_t *text = json_object_get(part, "text");
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
        if (jf_ok(f)) json_array_append_new(out, json_pack("{s:s,s:O}", "type", "text", "text", text));
    }
    return out;
}

/* Arguments travel as the text of an object, templates want the object. */
static void parse_arguments(jfields *f, uint32_t message, size_t i, json_t *function) {
    const json_t *text = json_object_get(function, "arguments");
    char what[48];
    if (!text || json_is_null(text) || jf_is(text, "")) {
        json_object_set_new(function, "arguments", json_object());
    } else if (json_is_string(text) && openai_json_depth(f, "messages", text)) {
        json_t *v = json_loadb(json_string_value(text), json_string_length(text),
                               JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
        if (!json_is_object(v)) {
            jf_fail(f, "messages",
                    "messages[%u].tool_calls[%zu].function.arguments: want the JSON text of an object",
                    message, i);
        }
        json_object_set_new(function, "arguments", v ? v : json_null());
    } else if (!json_is_string(text) && !json_is_object(text)) {
        jf_fail(f, "messages",
                "messages[%u].tool_calls[%zu].function.arguments: want the JSON text of an object, got %s",
                message, i, jf_what(text, what));
    }
}

static json_t *parse_calls(jfields *f, uint32_t message, const json_t *calls) {
    json_t *out = json_array();
    char what[48];
    if (!json_is_array(calls))
        jf_fail(f, "messages", "messages[%u].tool_calls: want a list, got %s", message, jf_what(calls, what));
    for (size_t i = 0; i < json_array_size(calls) && jf_ok(f); i++) {
        json_t *call = json_deep_copy(json_array_get(calls, i));
        json_t *function = json_object_get(call, "function");
        if (!json_is_string(json_object_get(function, "name")))
            jf_fail(f, "messages", "messages[%u].tool_calls[%zu]: want an object with function.name", message,
                    i);
        else
            parse_arguments(f, message, i, function);
        json_array_append_new(out, call);
    }
    return out;
}

/* A field of a message that is a string or absent. */
static void copy_text(jfields *f, uint32_t message, const json_t *from, const char *name, json_t *to,
                      const char *as) {
    json_t *v = json_object_get(from, name);
    char what[48];
    if (!v || json_is_null(v)) return;
    if (!json_is_string(v))
        jf_fail(f, "messages", "messages[%u].%s: want a string, got %s", message, name, jf_what(v, what));
    else
        json_object_set(to, as, v);
}

static void parse_content(jfields *f, uint32_t i, const json_t *v, const char *role, json_t *m) {
    json_t *content = json_object_get(v, "content");
    char what[48];
    if (json_is_string(content)) {
        json_object_set(m, "content", content);
    } else if (json_is_array(content)) {
        json_object_set_new(m, "content", parse_parts(f, i, content));
    } else if (strcmp(role, "assistant") == 0 && (!content || json_is_null(content))) {
        json_object_set_new(m, "content", json_string(""));
    } else {
        jf_fail(f, "messages", "messages[%u].content: want a string or a list of text parts, got %s", i,
                jf_what(content, what));
    }
}

static void parse_message(jfields *f, api_request *r, uint32_t i, const json_t *v) {
    char what[48];
    if (!json_is_object(v)) {
        jf_fail(f, "messages", "messages[%u]: want an object, got %s", i, jf_what(v, what));
        return;
    }
    const json_t *text = json_object_get(v, "role");
    if (!json_is_string(text)) {
        jf_fail(f, "messages", "messages[%u].role: want a string, got %s", i, jf_what(text, what));
        return;
    }
    const char *role = api_role(json_string_value(text), json_string_length(text));
    if (!role) {
        jf_fail(f, "messages",
                "messages[%u].role: want system, developer, user, assistant or tool, got '%.60s'", i,
                json_string_value(text));
        return;
    }
    json_t *m = json_pack("{s:s}", "role", role);
    parse_content(f, i, v, role, m);
    copy_text(f, i, v, "name", m, "name");
    copy_text(f, i, v, "tool_call_id", m, "tool_call_id");
    /* The names that templates read, for the names that clients send. */
    copy_text(f, i, v, "reasoning", m, "reasoning_content");
    copy_text(f, i, v, "reasoning_content", m, "reasoning_content");
    const json_t *calls = json_object_get(v, "tool_calls");
    if (calls && !openai_is_empty(calls)) json_object_set_new(m, "tool_calls", parse_calls(f, i, calls));
    json_array_append_new(r->chat.messages, m);
}

static void parse_tools(jfields *f, api_request *r) {
    const json_t *list = NULL;
    if (!jf_list(f, "tools", TOOLS_MAX, &list)) return;
    for (size_t i = 0; i < json_array_size(list) && jf_ok(f); i++) {
        const json_t *tool = json_array_get(list, i);
        const json_t *function = json_object_get(tool, "function");
        const json_t *parameters = json_object_get(function, "parameters");
        if (!jf_is(json_object_get(tool, "type"), "function"))
            jf_fail(f, "tools", "tools[%zu].type: want \"function\"", i);
        else if (!json_is_string(json_object_get(function, "name")) ||
                 json_string_length(json_object_get(function, "name")) == 0)
            jf_fail(f, "tools", "tools[%zu].function.name: want a string", i);
        else if (parameters && !json_is_object(parameters))
            jf_fail(f, "tools", "tools[%zu].function.parameters: want an object", i);
    }
    const json_t *choice = jf_get(f, "tool_choice");
    if (jf_ok(f) && json_array_size(list) > 0 && !jf_is(choice, "none"))
        r->chat.tools = json_incref((json_t *)list);
}

static void parse_template_fields(jfields *f, api_request *r) {
    const json_t *v = NULL;
    if (jf_list(f, "documents", DOCUMENTS_MAX, &v) && json_array_size(v) > 0) {
        for (size_t i = 0; i < json_array_size(v); i++)
            if (!json_is_object(json_array_get(v, i)))
                jf_fail(f, "documents", "documents[%zu]: want an object", i);
        r->chat.documents = json_incref((json_t *)v);
    }
    v = jf_get(f, "chat_template_kwargs");
    if (v && !json_is_object(v)) jf_wrong(f, "chat_template_kwargs", "an object", v);
    if (v && json_object_size(v) > 0) r->chat.kwargs = json_incref((json_t *)v);
    jf_bool(f, "add_generation_prompt", &r->chat.add_generation_prompt);
    jf_bool(f, "continue_final_message", &r->chat.continue_final_message);
    if (r->chat.continue_final_message && r->chat.add_generation_prompt)
        jf_fail(f, "continue_final_message",
                "continue_final_message: needs add_generation_prompt to be false");
    /* A template is a program: those of strangers are not run. */
    if (jf_get(f, "chat_template"))
        jf_fail(f, "chat_template", "chat_template: this server takes no templates from requests");
}

void openai_messages(jfields *f, api_request *r) {
    PRE(f);
    PRE(r);
    const json_t *list = NULL;
    if (!jf_list(f, "messages", API_MESSAGES_MAX, &list)) {
        jf_fail(f, "messages", "messages: the field is missing, want a list of {\"role\", \"content\"}");
        return;
    }
    if (!jf_get(f, "add_special_tokens")) r->add_special = false; /* the template writes the BOS */
    r->chat.messages = json_array();
    for (uint32_t i = 0; i < json_array_size(list) && jf_ok(f); i++)
        parse_message(f, r, i, json_array_get(list, i));
    parse_tools(f, r);
    parse_template_fields(f, r);
}
