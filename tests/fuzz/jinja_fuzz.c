/* A chat template, rendered for two conversations. */
#include "fuzz.h"
#include "text/jinja.h"

#include <stdlib.h>

static json_t *parsed(const char *text) {
    json_t *v = json_loads(text, JSON_DECODE_ANY, NULL);
    CHECK(v);
    return v;
}

/* Everything that a conversation may have, and a plain one, which no template refuses. */
static const char everything[] =
    "[{\"role\":\"system\",\"content\":\"Be {{brief}}.\"},"
    "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Hi \\u00e9<\"}]},"
    "{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"hm\",\"tool_calls\":"
    "[{\"id\":\"call_123456\",\"type\":\"function\",\"function\":{\"name\":\"f\","
    "\"arguments\":{\"a\":[1,-2.5,true,null,\"x\"]}}}]},"
    "{\"role\":\"tool\",\"content\":\"7\",\"tool_call_id\":\"call_123456\"},"
    "{\"role\":\"assistant\",\"content\":\" <think>a</think> b \"},"
    "{\"role\":\"user\",\"content\":\"bye\"}]";
static const char plain[] = "[{\"role\":\"user\",\"content\":\" Hi \\u00e9<\"},"
                            "{\"role\":\"assistant\",\"content\":\"a</think>b\"},"
                            "{\"role\":\"user\",\"content\":\"bye\"}]";
static const char tools[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\","
    "\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"number\"}}}}}]";

static void render(const jinja *t, const jinja_variable *vars, size_t var_count) {
    struct tm now = {.tm_year = 125, .tm_mon = 6, .tm_mday = 26, .tm_wday = 6, .tm_yday = 206};
    buf out = {0};
    text_span *marks = NULL;
    uint32_t count = 0;
    errbuf eb = {0};
    if (jinja_render(t, vars, var_count, &now, &out, &marks, &count, &eb) == ST_OK)
        for (uint32_t i = 0; i < count; i++) {
            CHECK(marks[i].begin < marks[i].end);
            CHECK(marks[i].end <= out.len);
            CHECK(i == 0 || marks[i - 1].end < marks[i].begin);
        }
    else
        CHECK(eb.text[0]);
    free(marks);
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static jinja_variable rich[6], simple[3];
    if (!rich[0].name) {
        rich[0] = (jinja_variable){"messages", parsed(everything), true};
        rich[1] = (jinja_variable){"bos_token", parsed("\"<s>\""), false};
        rich[2] = (jinja_variable){"add_generation_prompt", parsed("true"), false};
        rich[3] = (jinja_variable){"eos_token", parsed("\"</s>\""), false};
        rich[4] = (jinja_variable){"documents", parsed("[{\"title\":\"t\",\"text\":\"x\"}]"), true};
        rich[5] = (jinja_variable){"tools", parsed(tools), true};
        simple[0] = (jinja_variable){"messages", parsed(plain), true};
        simple[1] = rich[1];
        simple[2] = rich[2];
    }
    jinja *t = NULL;
    errbuf eb = {0};
    if (jinja_new(&t, (const char *)data, size, &eb) != ST_OK) {
        CHECK(eb.text[0]);
        return 0;
    }
    (void)jinja_reads(t, "tools");
    (void)jinja_loops_over_content(t);
    render(t, simple, 3);
    render(t, rich, 6);
    jinja_free(t);
    return 0;
}
