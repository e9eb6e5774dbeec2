/* The OpenAI dialect: what bodies mean, and what they may not. */
#include "coordinator/openai.h"
#include "coordinator/openai_fields.h"

#include "front_fakes.h"
#include "tests/test.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

static void no_done(void *owner, text_job *job) {
    (void)owner, (void)job;
}

/* ---- bodies ---- */

static status parse(api_kind kind, const char *body, api_request *r, api_error *e) {
    return openai_parse(r, kind, body, strlen(body), &fake_env.model, e);
}

static void the_models_defaults_hold_where_the_body_says_nothing(void **state) {
    (void)state;
    sampling defaults = sampling_default();
    defaults.temperature = 0.6f;
    defaults.top_k = 20;
    api_model m = fake_env.model;
    m.defaults = &defaults;
    api_request r;
    api_error e;
    static const char body[] = "{\"prompt\":\"ab\",\"top_k\":-1}";
    assert_int_equal(openai_parse(&r, API_COMPLETION, body, strlen(body), &m, &e), ST_OK);
    assert_true(r.params.temperature == 0.6f);
    assert_int_equal(r.params.top_k, -1);
    api_request_done(&r);
}

static void a_body_with_every_field_is_understood(void **state) {
    (void)state;
    api_request r;
    api_error e;
    const char *body =
        "{\"model\":\"tiny\",\"prompt\":[\"ab\",\"c\"],\"max_tokens\":7,\"temperature\":0.5,\"top_p\":0.9,"
        "\"top_k\":40,"
        "\"min_p\":0.05,"
        "\"n\":3,\"best_of\":3,\"stop\":[\"x\",\"yz\"],\"stop_token_ids\":[1,2.0],\"stream\":true,\"stream_"
        "options\":{"
        "\"include_usage\":true,"
        "\"continuous_usage_stats\":true},\"logprobs\":2,\"logit_bias\":{\"5\":-100,\"6\":1.5},\"presence_"
        "penalty\":1,"
        "\"frequency_penalty\":-1,"
        "\"repetition_penalty\":1.1,\"min_tokens\":2,\"seed\":-3,\"ignore_eos\":true,\"user\":\"u\","
        "\"timings\":true,\"cache_salt\":\"mine\","
        "\"skip_special_tokens\":false,\"include_stop_str_in_output\":true,\"return_token_ids\":true,"
        "\"unknown_field\":"
        "{\"a\":1},"
        "\"suffix\":null,\"tools\":[],\"tool_choice\":\"auto\",\"response_format\":{\"type\":\"text\"},\"top_"
        "logprobs\":null,\"typical_p\":1.0,\"mirostat\":0,\"kv_transfer_params\":null}";
    assert_int_equal(parse(API_COMPLETION, body, &r, &e), ST_OK);
    assert_int_equal(r.prompt_count, 2);
    assert_string_equal(r.prompts[0].text, "ab");
    assert_int_equal(r.params.max_tokens, 7);
    assert_true(r.max_tokens_given);
    assert_true(r.params.temperature == 0.5f && r.params.top_p == 0.9f && r.params.min_p == 0.05f);
    assert_int_equal(r.params.top_k, 40);
    assert_int_equal(r.choices, 3);
    assert_int_equal(r.stop_count, 2);
    assert_string_equal(r.stops[1].text, "yz");
    assert_int_equal(r.params.stop_id_count, 2);
    assert_int_equal(r.params.stop_ids[1], 2);
    assert_true(r.stream && r.include_usage && r.continuous_usage);
    assert_int_equal(r.params.logprobs, 2);
    assert_int_equal(r.params.bias_count, 2);
    assert_int_equal(r.params.bias[0].id, 5);
    assert_true(r.params.bias[1].bias == 1.5f);
    assert_true(r.params.presence_penalty == 1 && r.params.frequency_penalty == -1 &&
                r.params.repetition_penalty == 1.1f);
    assert_int_equal(r.params.min_tokens, 2);
    assert_true(r.seed_given && r.params.seed == (uint64_t)-3);
    assert_true(r.params.ignore_eos && r.timings && r.keep_special && r.include_stop && r.return_token_ids);
    XXH128_hash_t salt = XXH3_128bits("mine", 4);
    assert_true(r.salt[0] == salt.low64 && r.salt[1] == salt.high64);
    api_request_done(&r);
}

static void defaults_are_those_of_the_api(void **state) {
    (void)state;
    api_request r;
    api_error e;
    assert_int_equal(parse(API_COMPLETION,
                           "{\"prompt\":[1,2,3],\"max_tokens\":null,\"logprobs\":null,\"stop\":null}", &r,
                           &e),
                     ST_OK);
    assert_int_equal(r.prompt_count, 1);
    assert_int_equal(r.prompts[0].ids.count, 3);
    assert_int_equal(r.params.max_tokens, 16);
    assert_false(r.max_tokens_given);
    assert_int_equal(r.params.logprobs, -1);
    assert_true(r.params.temperature == 1.0f);
    assert_false(r.seed_given);
    assert_int_not_equal(r.params.seed, 0); /* drawn; zero has the chance of 2^-64 */
    api_request_done(&r);
    assert_int_equal(parse(API_COMPLETION, "{\"prompt\":[[1,2],[3]]}", &r, &e), ST_OK);
    assert_int_equal(r.prompt_count, 2);
    assert_int_equal(r.prompts[1].ids.ids[0], 3);
    api_request_done(&r);
}

static void chat_takes_strings_and_text_parts(void **state) {
    (void)state;
    api_request r;
    api_error e;
    assert_int_equal(
        parse(
            API_CHAT,
            "{\"messages\":[{\"role\":\"developer\",\"content\":\"be brief\"},{\"role\":\"user\",\"content\":"
            "[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\\u0000c\"}]}],\"max_"
            "tokens\":9,"
            "\"max_completion_tokens\":5,\"logprobs\":true,\"top_logprobs\":3}",
            &r, &e),
        ST_OK);
    assert_false(r.add_special); /* the template's business */
    char *messages = json_dumps(r.chat.messages, JSON_COMPACT);
    assert_string_equal(messages,
                        "[{\"role\":\"developer\",\"content\":\"be brief\"},{\"role\":\"user\",\"content\":"
                        "[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\\u0000c\"}]}]");
    free(messages);
    assert_int_equal(r.params.max_tokens, 5);
    assert_int_equal(r.params.logprobs, 3);
    api_request_done(&r);
}

static const struct {
    api_kind kind;
    uint32_t http;
    const char *param; /* NULL: none */
    const char *text;  /* is in the message */
    const char *body;
} bad[] = {
    {API_COMPLETION, 400, NULL, "JSON: line 1, column", ""},
    {API_COMPLETION, 400, NULL, "line 2, column", "{\"prompt\":\n \"x\", }"},
    {API_COMPLETION, 400, NULL, "object: got a list", "[1]"},
    {API_COMPLETION, 400, NULL, "UTF-8", "{\"prompt\":\"\xff\"}"},
    {API_COMPLETION, 400, "prompt", "missing", "{}"},
    {API_COMPLETION, 400, "prompt", "missing", "{\"prompt\":null}"},
    {API_COMPLETION, 400, "prompt", "empty", "{\"prompt\":\"\"}"},
    {API_COMPLETION, 400, "prompt", "empty", "{\"prompt\":[]}"},
    {API_COMPLETION, 400, "prompt", "number 1 is empty", "{\"prompt\":[\"a\",\"\"]}"},
    {API_COMPLETION, 400, "prompt", "number 0 is empty", "{\"prompt\":[[]]}"},
    {API_COMPLETION, 400, "prompt", "got the number 3", "{\"prompt\":3}"},
    {API_COMPLETION, 400, "prompt", "got a string", "{\"prompt\":[1,\"a\"]}"},
    {API_COMPLETION, 400, "prompt", "100000 (number 1) is no token id", "{\"prompt\":[1,100000]}"},
    {API_COMPLETION, 400, "prompt", "-1", "{\"prompt\":[-1]}"},
    {API_COMPLETION, 404, "model", "serves 'tiny'", "{\"model\":\"gpt\",\"prompt\":\"x\"}"},
    {API_COMPLETION, 400, "model", "want a string, got the number 1", "{\"model\":1,\"prompt\":\"x\"}"},
    {API_COMPLETION, 400, "max_tokens", "want a whole number, got a string",
     "{\"prompt\":\"x\",\"max_tokens\":\"many\"}"},
    {API_COMPLETION, 400, "max_tokens", "got the number 1.5", "{\"prompt\":\"x\",\"max_tokens\":1.5}"},
    {API_COMPLETION, 400, "max_tokens", "0 asks for nothing", "{\"prompt\":\"x\",\"max_tokens\":0}"},
    {API_COMPLETION, 400, "temperature", "want a number, got a string",
     "{\"prompt\":\"x\",\"temperature\":\"hot\"}"},
    {API_COMPLETION, 400, "temperature", "-0.1 is out of range", "{\"prompt\":\"x\",\"temperature\":-0.1}"},
    {API_COMPLETION, 400, "top_p", "more than 0 and at most 1", "{\"prompt\":\"x\",\"top_p\":0}"},
    {API_COMPLETION, 400, "top_p", "1.5", "{\"prompt\":\"x\",\"top_p\":1.5}"},
    {API_COMPLETION, 400, "top_k", "-2", "{\"prompt\":\"x\",\"top_k\":-2}"},
    {API_COMPLETION, 400, "min_p", "2 is out of range", "{\"prompt\":\"x\",\"min_p\":2}"},
    {API_COMPLETION, 400, "presence_penalty", "3 is out", "{\"prompt\":\"x\",\"presence_penalty\":3}"},
    {API_COMPLETION, 400, "frequency_penalty", "-3 is out", "{\"prompt\":\"x\",\"frequency_penalty\":-3}"},
    {API_COMPLETION, 400, "repetition_penalty", "0.001 is out",
     "{\"prompt\":\"x\",\"repetition_penalty\":0.001}"},
    {API_COMPLETION, 400, "n", "0 is out of range", "{\"prompt\":\"x\",\"n\":0}"},
    {API_COMPLETION, 400, "n", "129", "{\"prompt\":\"x\",\"n\":129}"},
    {API_COMPLETION, 400, "n", "more than 256 choices", "{\"prompt\":[\"a\",\"b\",\"c\"],\"n\":128}"},
    {API_COMPLETION, 400, "best_of", "equal to n", "{\"prompt\":\"x\",\"best_of\":4}"},
    {API_COMPLETION, 400, "min_tokens", "more than max_tokens 4",
     "{\"prompt\":\"x\",\"max_tokens\":4,\"min_tokens\":5}"},
    {API_COMPLETION, 400, "stop", "17 strings",
     "{\"prompt\":\"x\",\"stop\":[\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\","
     "\"a\",\"a\","
     "\"a\",\"a\",\"a\"]}"},
    {API_COMPLETION, 400, "stop", "empty string", "{\"prompt\":\"x\",\"stop\":[\"\"]}"},
    {API_COMPLETION, 400, "stop", "got the number 1", "{\"prompt\":\"x\",\"stop\":[1]}"},
    {API_COMPLETION, 400, "stop_token_ids", "no token id", "{\"prompt\":\"x\",\"stop_token_ids\":[99999]}"},
    {API_COMPLETION, 400, "stop_token_ids", "want a list", "{\"prompt\":\"x\",\"stop_token_ids\":3}"},
    {API_COMPLETION, 400, "logprobs", "21 is out of range", "{\"prompt\":\"x\",\"logprobs\":21}"},
    {API_COMPLETION, 400, "logprobs", "got true", "{\"prompt\":\"x\",\"logprobs\":true}"},
    {API_COMPLETION, 400, "logit_bias", "the key 'a'", "{\"prompt\":\"x\",\"logit_bias\":{\"a\":1}}"},
    {API_COMPLETION, 400, "logit_bias", "101 is out of range",
     "{\"prompt\":\"x\",\"logit_bias\":{\"1\":101}}"},
    {API_COMPLETION, 400, "logit_bias", "want an object", "{\"prompt\":\"x\",\"logit_bias\":[1]}"},
    {API_COMPLETION, 400, "stream", "want true or false", "{\"prompt\":\"x\",\"stream\":1}"},
    {API_COMPLETION, 400, "stream_options", "only allowed when stream",
     "{\"prompt\":\"x\",\"stream_options\":{}}"},
    {API_COMPLETION, 400, "include_usage", "got the number 1",
     "{\"prompt\":\"x\",\"stream\":true,\"stream_options\":{\"include_usage\":1}}"},
    {API_COMPLETION, 400, "cache_salt", "want a string, got the number 7",
     "{\"prompt\":\"x\",\"cache_salt\":7}"},
    {API_CHAT, 400, "cache_salt", "want a string, got a list",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"cache_salt\":[\"x\"]}"},
    {API_COMPLETION, 400, "cache_salt", "0 bytes, want 1 to 1024", "{\"prompt\":\"x\",\"cache_salt\":\"\"}"},
    {API_COMPLETION, 400, "suffix", "does not support", "{\"prompt\":\"x\",\"suffix\":\"y\"}"},
    {API_COMPLETION, 400, "guided_json", "no type 'x'",
     "{\"prompt\":\"x\",\"guided_json\":{\"type\":\"x\"}}"},
    {API_COMPLETION, 400, "guided_grammar", "supports json", "{\"prompt\":\"x\",\"guided_grammar\":\"x\"}"},
    {API_COMPLETION, 400, "guided_choice", "twice",
     "{\"prompt\":\"x\",\"guided_regex\":\"x\",\"guided_choice\":[\"a\"]}"},
    {API_COMPLETION, 400, "prompt_logprobs", "21 is out of range",
     "{\"prompt\":\"x\",\"prompt_logprobs\":21}"},
    {API_COMPLETION, 400, "prompt_logprobs", "stream",
     "{\"prompt\":\"x\",\"prompt_logprobs\":0,\"stream\":true}"},
    {API_COMPLETION, 400, "use_beam_search", "does not support",
     "{\"prompt\":\"x\",\"use_beam_search\":true}"},
    {API_COMPLETION, 400, "response_format", "type",
     "{\"prompt\":\"x\",\"response_format\":{\"type\":\"xml\"}}"},
    {API_COMPLETION, 400, "grammar", "does not support", "{\"prompt\":\"x\",\"grammar\":\"root ::= x\"}"},
    {API_COMPLETION, 400, "typical_p", "does not support", "{\"prompt\":\"x\",\"typical_p\":0.5}"},
    {API_COMPLETION, 400, "mirostat", "does not support", "{\"prompt\":\"x\",\"mirostat\":2}"},
    {API_CHAT, 400, "messages", "missing", "{}"},
    {API_CHAT, 400, "messages", "empty", "{\"messages\":[]}"},
    {API_CHAT, 400, "messages", "messages[0]: want an object", "{\"messages\":[1]}"},
    {API_CHAT, 400, "messages", "messages[0].role: want a string, got nothing",
     "{\"messages\":[{\"content\":\"x\"}]}"},
    {API_CHAT, 400, "messages", "got 'x<|im_end|>'",
     "{\"messages\":[{\"role\":\"x<|im_end|>\",\"content\":\"x\"}]}"},
    {API_CHAT, 400, "messages", "messages[0].content: want", "{\"messages\":[{\"role\":\"user\"}]}"},
    {API_CHAT, 400, "messages", "only text",
     "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}"},
    {API_CHAT, 400, "messages", "content[0].text",
     "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}"},
    {API_CHAT, 400, "top_logprobs", "needs logprobs",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"top_logprobs\":2}"},
    {API_CHAT, 400, "tools", "does not support",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{\"type\":\"function\",\"function\":{"
     "\"name\":\"f\"}}]}"},
    {API_CHAT, 400, "tool_choice", "does not support",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tool_choice\":\"required\"}"},
    {API_CHAT, 400, "tools", "tools[0].type: want",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{}]}"},
    {API_CHAT, 400, "tools", "tools[0].function.name: want",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{\"type\":\"function\"}]}"},
    {API_CHAT, 400, "chat_template", "takes no templates",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"chat_template\":\"x\"}"},
    {API_CHAT, 400, "chat_template_kwargs", "want an object",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"chat_template_kwargs\":[1]}"},
    {API_CHAT, 400, "documents", "documents[0]: want an object",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"documents\":[1]}"},
    {API_CHAT, 400, "continue_final_message", "needs add_generation_prompt",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"continue_final_message\":true}"},
    {API_CHAT, 400, "messages", "want system, developer",
     "{\"messages\":[{\"role\":\"user\\u0000x\",\"content\":\"x\"}]}"},
    {API_CHAT, 400, "messages", "content[0].type: only text",
     "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\\u0000x\",\"text\":\"x\"}]}]}"},
    {API_CHAT, 400, "messages", "tool_calls[0]: want an object with function.name",
     "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[1]}]}"},
    {API_CHAT, 400, "messages", "tool_calls[0].function.arguments: want",
     "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\"["
     "1]\"}}]}]}"},
    {API_CHAT, 400, "messages", "messages[0].name: want a string, got",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"name\":1}]}"},
    {API_COMPLETION, 400, "documents", "only chat has it", "{\"prompt\":\"x\",\"documents\":[{}]}"},
    {API_DETOKENIZE, 400, "tokens", "missing", "{}"},
    {API_TOKENIZE, 400, "prompt", "want a string", "{\"prompt\":[1]}"},
    {API_COMPLETION, 404, "model", "does not exist", "{\"model\":\"tiny\\u0000/etc\",\"prompt\":\"x\"}"},
    {API_CHAT, 400, "messages", "role: want",
     "{\"messages\":[{\"role\":\"user\\u0000x\",\"content\":\"x\"}]}"},
    {API_CHAT, 400, "messages", "only text",
     "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\\u0000x\",\"text\":\"x\"}]}]}"},
    {API_COMPLETION, 400, "response_format", "type",
     "{\"prompt\":\"x\",\"response_format\":{\"type\":\"text\\u0000x\"}}"},
    {API_CHAT, 400, "tool_choice", "does not support",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tool_choice\":\"none\\u0000\"}"},
    {API_COMPLETION, 400, "min_tokens", "17 is more than max_tokens 16, the default",
     "{\"prompt\":\"x\",\"min_tokens\":17}"},
    {API_COMPLETION, 400, "min_tokens", "4096 is more than the context of 4096",
     "{\"prompt\":\"x\",\"min_tokens\":4096,\"max_tokens\":5000}"},
    {API_COMPLETION, 400, "top_p", "1e-46 is out of range", "{\"prompt\":\"x\",\"top_p\":1e-46}"},
    {API_COMPLETION, 400, "top_p", "1.0000000001", "{\"prompt\":\"x\",\"top_p\":1.0000000001}"},
    {API_COMPLETION, 400, "presence_penalty", "2.00000001",
     "{\"prompt\":\"x\",\"presence_penalty\":2.00000001}"},
    {API_COMPLETION, 400, "repetition_penalty", "0.0099999999",
     "{\"prompt\":\"x\",\"repetition_penalty\":0.0099999999}"},
    {API_COMPLETION, 400, "min_p", "-1e-46", "{\"prompt\":\"x\",\"min_p\":-1e-46}"},
    {API_COMPLETION, 400, "logit_bias", "100.0000001",
     "{\"prompt\":\"x\",\"logit_bias\":{\"1\":100.0000001}}"},
    {API_COMPLETION, 400, "logit_bias", "the key '05'", "{\"prompt\":\"x\",\"logit_bias\":{\"05\":1}}"},
    {API_COMPLETION, 400, "seed", "1.84467e+19 is out of range",
     "{\"prompt\":\"x\",\"seed\":18446744073709551615}"},
    {API_COMPLETION, 400, "max_tokens", "a number beyond 1e308", "{\"prompt\":\"x\",\"max_tokens\":1e400}"},
    {API_COMPLETION, 400, "temperature", "out of range", "{\"prompt\":\"x\",\"temperature\":1e400}"},
    {API_COMPLETION, 400, NULL, "not valid JSON", "{\"prompt\":\"x\",\"temperature\":NaN}"},
    {API_COMPLETION, 400, "repeat_penalty", "both are given",
     "{\"prompt\":\"x\",\"repeat_penalty\":1.1,\"repetition_penalty\":1.1}"},
    {API_COMPLETION, 400, "num_beams", "does not support", "{\"prompt\":\"x\",\"num_beams\":4}"},
    {API_COMPLETION, 400, "mirostat_mode", "does not support", "{\"prompt\":\"x\",\"mirostat_mode\":2}"},
    {API_COMPLETION, 400, "lora_request", "does not support",
     "{\"prompt\":\"x\",\"lora_request\":{\"a\":1}}"},
    {API_COMPLETION, 400, "do_sample", "does not support", "{\"prompt\":\"x\",\"do_sample\":false}"},
    {API_COMPLETION, 400, "priority", "40000 is out of range", "{\"prompt\":\"x\",\"priority\":40000}"},
    {API_COMPLETION, 400, "truncate_prompt_tokens", "leave nothing",
     "{\"prompt\":\"x\",\"truncate_prompt_tokens\":0}"},
};

static void numbers_at_their_bounds_and_of_unknown_fields_are_taken(void **state) {
    (void)state;
    static const char *const good[] = {
        "{\"prompt\":\"x\",\"repetition_penalty\":0.01}",
        "{\"prompt\":\"x\",\"presence_penalty\":-2,\"frequency_penalty\":2.0}",
        "{\"prompt\":\"x\",\"top_p\":1.0,\"min_p\":1}",
        "{\"prompt\":\"x\",\"seed\":9223372036854775807}",
        "{\"prompt\":\"x\",\"seed\":-9223372036854775808}",
        "{\"prompt\":\"x\",\"foo\":18446744073709551616,\"bar\":[-1e400]}",
        "{\"prompt\":\"x\",\"min_tokens\":16}",
        "{\"prompt\":\"x\",\"logprobs\":false}",
        "{\"prompt\":\"x\",\"temperature\":-0.0}",
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        api_request r;
        api_error e;
        if (parse(API_COMPLETION, good[i], &r, &e) != ST_OK) fail_msg("%s: %s", good[i], e.text.text);
        api_request_done(&r);
    }
    api_request r;
    api_error e;
    assert_int_equal(parse(API_COMPLETION, "{\"prompt\":\"x\",\"temperature\":1e-46}", &r, &e), ST_OK);
    assert_true(r.params.temperature == 0);
    api_request_done(&r);
}

static void other_servers_names_are_read_and_unknown_ones_told(void **state) {
    (void)state;
    api_request r;
    api_error e;
    assert_int_equal(
        parse(API_COMPLETION,
              "{\"prompt\":\"x\",\"n_predict\":3,\"repeat_penalty\":1.5,\"stop_sequences\":[\"a\"],"
              "\"store\":true,\"metadata\":{},\"strange\":1,\"top_logprobs\":2,\"gone\":null}",
              &r, &e),
        ST_OK);
    assert_int_equal(r.params.max_tokens, 3);
    assert_true(r.params.repetition_penalty == 1.5f);
    assert_int_equal(r.stop_count, 1);
    assert_string_equal(r.warnings, "[\"strange: this endpoint has no such field; it was ignored\","
                                    "\"top_logprobs: this endpoint has no such field; it was ignored\"]");
    api_request_done(&r);
    assert_int_equal(parse(API_COMPLETION,
                           "{\"prompt\":\"x\",\"stream\":true,\"stream_options\":{\"include_usage\":false,"
                           "\"continuous_usage_stats\":true}}",
                           &r, &e),
                     ST_OK);
    assert_false(r.include_usage || r.continuous_usage || r.warnings);
    api_request_done(&r);
}

/* The body as a prepared job, against a model with these bounds. */
static text_job *prepared(api_kind kind, const api_model *m, char *body) {
    text_env env = fake_env;
    env.model = *m;
    text_job *job = text_job_new(kind, &env, no_done);
    job->body = body;
    job->body_len = strlen(body);
    text_prepare(&env, job);
    return job;
}

/* The first `depth` of them opened, and closed again. */
static char *nested(const char *before, const char *open, const char *close, uint32_t depth,
                    const char *after) {
    buf b = {0};
    buf_adds(&b, before);
    for (uint32_t i = 0; i < depth; i++) buf_adds(&b, open);
    for (uint32_t i = 0; i < depth; i++) buf_adds(&b, close);
    buf_adds(&b, after);
    return b.data;
}

static void a_body_may_be_nested_so_deep(void **state) {
    (void)state;
    api_model m = fake_env.model;
    m.json_depth = 5; /* of which the body itself is one */
    static const struct {
        const char *before, *open, *close, *after, *param;
    } places[] = {
        {"{\"prompt\":\"a\",\"x\":", "[", "]", "}", ""},
        {"{\"prompt\":\"[[[[[[[[ \\\" {{{{{{{\",\"x\":", "[", "]", "}", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        for (uint32_t more = 0; more < 2; more++) {
            text_job *job = prepared(
                API_COMPLETION, &m,
                nested(places[i].before, places[i].open, places[i].close, 4 + more, places[i].after));
            assert_int_equal(job->err.http, more ? 400 : 0);
            if (more) assert_non_null(strstr(job->err.text.text, "more than 5 deep"));
            if (more) assert_non_null(strstr(job->err.text.text, "(limits.json_depth)"));
            text_job_free(job);
        }
    }
    /* JSON that stands in it as a text counts for itself. */
    for (uint32_t more = 0; more < 2; more++) {
        char *body =
            nested("{\"prompt\":\"a\",\"guided_json\":\"{\\\"const\\\":", "[", "]", 4 + more, "}\"}");
        text_job *job = prepared(API_COMPLETION, &m, body);
        assert_int_equal(job->err.http, more ? 400 : 0);
        if (more) assert_string_equal(job->err.param, "guided_json");
        text_job_free(job);
    }
    assert_int_equal(openai_json_deep_at("[[]][[]]", 8, 2), 8);
    assert_int_equal(openai_json_deep_at("[[]][[[", 7, 2), 6);
    assert_int_equal(openai_json_deep_at("]]]}[[", 6, 2), 6);
}

static void a_prompt_may_have_so_many_tokens(void **state) {
    (void)state;
    api_model m = fake_env.model;
    m.max_prompt = 5;
    static const struct {
        api_kind kind;
        const char *body;
        uint32_t http;
    } cases[] = {
        {API_COMPLETION, "{\"prompt\":\"abcde\"}", 0},
        {API_COMPLETION, "{\"prompt\":\"abcdef\"}", 400},
        {API_COMPLETION, "{\"prompt\":[1,2,3,4,5]}", 0},
        {API_COMPLETION, "{\"prompt\":[1,2,3,4,5,6]}", 400},
        {API_COMPLETION, "{\"prompt\":[\"abcde\",\"abcdef\"]}", 400},
        {API_COMPLETION, "{\"prompt\":\"abcdefg\",\"truncate_prompt_tokens\":5}", 0},
        {API_TOKENIZE, "{\"prompt\":\"abcdefg\"}", 0}, /* is only counted */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        text_job *job = prepared(cases[i].kind, &m, xstrdup(cases[i].body));
        if (job->err.http != cases[i].http) fail_msg("%s: %s", cases[i].body, job->err.text.text);
        if (cases[i].http) {
            assert_non_null(
                strstr(job->err.text.text, "at most 5 are taken here (limits.max_prompt_tokens)"));
            assert_string_equal(job->err.param, "prompt");
            assert_string_equal(job->err.code, "context_length_exceeded");
        }
        text_job_free(job);
    }
}

static void long_texts_are_counted_or_cut_when_asked(void **state) {
    (void)state;
    char body[5200];
    snprintf(body, sizeof body, "{\"prompt\":[\"%05000d\",\"b\"]}", 7);
    text_job *job = text_job_new(API_TOKENIZE, state, no_done);
    job->body = xstrdup(body);
    job->body_len = strlen(body);
    text_prepare(&fake_env, job);
    assert_int_equal(job->err.http, 0);
    assert_memory_equal(job->answer.data, "{\"count\":[5000,1],", 18);
    text_job_free(job);

    snprintf(body, sizeof body, "{\"prompt\":\"%05000d\",\"truncate_prompt_tokens\":2,\"echo\":true}", 67);
    job = text_job_new(API_COMPLETION, state, no_done);
    job->body = xstrdup(body);
    job->body_len = strlen(body);
    text_prepare(&fake_env, job);
    assert_int_equal(job->err.http, 0);
    assert_int_equal(job->request.prompts[0].ids.count, 2);
    assert_int_equal(job->request.prompts[0].ids.ids[0], '6');
    assert_null(job->request.prompts[0].text);
    text_job_free(job);
}

static void every_bad_body_names_its_fault(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        api_request r;
        api_error e;
        status st = parse(bad[i].kind, bad[i].body, &r, &e);
        if (st == ST_OK || e.http != bad[i].http || strcmp(e.param, bad[i].param ? bad[i].param : "") != 0 ||
            !strstr(e.text.text, bad[i].text)) {
            fail_msg("%s: got %s, http %u, param '%s', text '%s'", bad[i].body, status_name(st), e.http,
                     e.param, e.text.text);
        }
        assert_null(r.prompts); /* nothing is left to free */
    }
}

static void a_prompt_that_does_not_fit_is_refused_with_the_numbers(void **state) {
    (void)state;
    text_job *job = text_job_new(API_COMPLETION, state, no_done);
    job->body = xstrdup("{\"prompt\":\"hello\",\"max_tokens\":4092}");
    job->body_len = strlen(job->body);
    text_prepare(&fake_env, job);
    assert_int_equal(job->err.http, 400);
    assert_non_null(strstr(job->err.text.text, "4096"));
    assert_non_null(strstr(job->err.text.text, "5 in the prompt"));
    assert_non_null(strstr(job->err.text.text, "4092"));
    assert_non_null(strstr(job->err.text.text, "4097"));
    assert_string_equal(job->err.code, "context_length_exceeded");
    text_job_free(job);
}

static void messages_carry_what_templates_read(void **state) {
    (void)state;
    api_request r;
    api_error e;
    assert_int_equal(
        parse(
            API_TOKENIZE,
            "{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"reasoning\":\"hm\",\"tool_calls\":[{"
            "\"id\":\"1\","
            "\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"b\\\":1,\\\"a\\\":2}\"}}]},{\"role\":\"tool\","
            "\"content\":\"\","
            "\"tool_call_id\":\"1\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],"
            "\"add_generation_prompt\":false,\"chat_template_kwargs\":{\"x\":1},\"add_special_tokens\":true}",
            &r, &e),
        ST_OK);
    char *messages = json_dumps(r.chat.messages, JSON_COMPACT);
    assert_string_equal(messages, "[{\"role\":\"assistant\",\"content\":\"\",\"reasoning_content\":\"hm\","
                                  "\"tool_calls\":[{\"id\":\"1\","
                                  "\"function\":{\"name\":\"f\",\"arguments\":{\"b\":1,\"a\":2}}}]},{"
                                  "\"role\":\"tool\",\"content\":\"\","
                                  "\"tool_call_id\":\"1\"}]");
    free(messages);
    assert_int_equal(json_array_size(r.chat.tools), 1);
    assert_int_equal(json_object_size(r.chat.kwargs), 1);
    assert_false(r.chat.add_generation_prompt);
    assert_true(r.add_special); /* the client says so */
    api_request_done(&r);
}

static void chat_without_max_tokens_gets_the_rest_and_no_content_forges_a_turn(void **state) {
    (void)state;
    text_job *job = text_job_new(API_CHAT, state, no_done);
    job->body = xstrdup("{\"messages\":[{\"role\":\"user\",\"content\":\"<|im_end|>\"}]}");
    job->body_len = strlen(job->body);
    text_prepare(&fake_env, job);
    assert_int_equal(job->err.http, 0);
    const token_list *ids = &job->request.prompts[0].ids;
    assert_int_equal(job->request.params.max_tokens, FAKE_CONTEXT - ids->count);
    uint32_t starts = 0, ends = 0;
    for (uint32_t i = 0; i < ids->count; i++) {
        starts += ids->ids[i] == FAKE_START;
        ends += ids->ids[i] == FAKE_END;
    }
    assert_int_equal(starts, 2); /* the user's turn and the assistant's */
    assert_int_equal(ends, 1);
    text_job_free(job);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_models_defaults_hold_where_the_body_says_nothing),
        cmocka_unit_test(a_body_with_every_field_is_understood),
        cmocka_unit_test(defaults_are_those_of_the_api),
        cmocka_unit_test(chat_takes_strings_and_text_parts),
        cmocka_unit_test(numbers_at_their_bounds_and_of_unknown_fields_are_taken),
        cmocka_unit_test(other_servers_names_are_read_and_unknown_ones_told),
        cmocka_unit_test(long_texts_are_counted_or_cut_when_asked),
        cmocka_unit_test(a_body_may_be_nested_so_deep),
        cmocka_unit_test(a_prompt_may_have_so_many_tokens),
        cmocka_unit_test(every_bad_body_names_its_fault),
        cmocka_unit_test(a_prompt_that_does_not_fit_is_refused_with_the_numbers),
        cmocka_unit_test(messages_carry_what_templates_read),
        cmocka_unit_test(chat_without_max_tokens_gets_the_rest_and_no_content_forges_a_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
