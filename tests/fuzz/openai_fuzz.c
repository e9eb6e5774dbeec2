/* A JSON body of the OpenAI dialect. The first byte says of which path; what a chat is, is rendered, too. */
#include "base/mem.h"
#include "coordinator/openai.h"
#include "fuzz.h"
#include "tests/unit/key_checkpoint.h"
#include "text/chat.h"

#include <stdlib.h>
#include <string.h>

static const char template_text[] =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}({{ c.function.arguments | tojson }}){% endfor %}"
    "{{ m.name }}{{ m.tool_call_id }}<|im_end|>\n{% endfor %}"
    "{{ tools | tojson if tools }}{{ documents | tojson if documents }}{{ enable_thinking }}";

static void render(const api_chat *chat) {
    static chat_template t;
    if (!t.program) {
        checkpoint *c = key_checkpoint(key_store_new());
        CHECK(chat_template_init(&t, c, template_text, strlen(template_text)) == ST_OK);
        CHECK(t.program);
        checkpoint_close(c);
    }
    chat_input in = {.messages = chat->messages,
                     .tools = chat->tools,
                     .documents = chat->documents,
                     .kwargs = chat->kwargs,
                     .add_generation_prompt = chat->add_generation_prompt,
                     .continue_final_message = chat->continue_final_message};
    buf out = {0};
    text_span *spans = NULL;
    uint32_t count = 0;
    errbuf eb = {0};
    if (chat_render(&t, &in, &out, &spans, &count, &eb) == ST_OK)
        for (uint32_t i = 0; i < count; i++) {
            CHECK(spans[i].begin <= spans[i].end);
            CHECK(spans[i].end <= out.len);
            CHECK(i == 0 || spans[i - 1].end <= spans[i].begin);
        }
    else
        CHECK(eb.text[0]);
    free(spans);
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const api_model m = {.name = "tiny", .max_context = 4096, .vocab = 300};
    if (size < 1) return 0;
    api_request r;
    api_error e = {0};
    api_kind kind = (api_kind)(data[0] % 4u);
    if (openai_parse(&r, kind, (const char *)data + 1, size - 1, &m, &e) == ST_OK) {
        if (api_check(&r, &m, &e) == ST_OK && r.chat.messages) render(&r.chat);
        api_request_done(&r);
    }
    if (e.http) {
        CHECK(e.text.text[0]);
        buf out = {0};
        openai_error(&out, &e);
        json_t *answer = json_loadb(out.data, out.len, 0, NULL);
        CHECK(answer);
        json_decref(answer);
        buf_done(&out);
    }
    return 0;
}
