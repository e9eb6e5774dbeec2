#include "coordinator/openai.h"

#include "coordinator/openai_fields.h"
#include <limits.h>
#include <string.h>

static void parse_model(jfields *f, const api_model *m) {
    const char *name = NULL;
    size_t len = 0;
    if (!jf_text(f, "model", &name, &len) || jf_is(jf_get(f, "model"), m->name)) return;
    api_fail(f->err, 404, "model", "the model '%.100s' does not exist; this server serves '%s'", name,
             m->name);
}

/* A list of token ids; name and number are for the error text. */
static void parse_ids(jfields *f, const char *name, const json_t *list, token_list *out) {
    for (size_t i = 0; i < json_array_size(list) && jf_ok(f); i++) {
        int64_t id = 0;
        const json_t *v = json_array_get(list, i);
        char what[48];
        if (!jf_whole(v, &id)) {
            jf_fail(f, name, "%s: entry %zu: want a token id, got %s", name, i, jf_what(v, what));
        } else if (id < 0 || id > INT32_MAX) {
            jf_fail(f, name, "%s: entry %zu: %s is no token id", name, i, jf_what(v, what));
        } else {
            token_list_add(out, (int32_t)id);
        }
    }
}

static void add_text_prompt(api_request *r, const json_t *v) {
    api_prompt *p = api_add_prompt(r);
    p->len = json_string_length(v);
    p->text = xmemdup(json_string_value(v), p->len + 1);
}

static bool too_many_prompts(jfields *f, const json_t *list) {
    if (json_array_size(list) <= API_CHOICES_MAX) return false;
    jf_fail(f, "prompt", "prompt: %zu prompts, want at most %u", json_array_size(list), API_CHOICES_MAX);
    return true;
}

/* "text", ["text", ...], [1, 2, ...] or [[1, 2], ...]. */
static void parse_prompt(jfields *f, api_request *r) {
    static const char want[] = "a string, a list of strings, a list of token ids or a list of such lists";
    const json_t *v = jf_get(f, "prompt");
    if (!jf_ok(f)) return;
    if (!v) {
        jf_fail(f, "prompt", "prompt: the field is missing, want %s", want);
    } else if (json_is_string(v)) {
        add_text_prompt(r, v);
    } else if (!json_is_array(v)) {
        jf_wrong(f, "prompt", want, v);
    } else if (json_is_number(json_array_get(v, 0))) {
        parse_ids(f, "prompt", v, &api_add_prompt(r)->ids);
    } else if (!too_many_prompts(f, v)) {
        for (size_t i = 0; i < json_array_size(v) && jf_ok(f); i++) {
            const json_t *p = json_array_get(v, i);
            if (json_is_string(p))
                add_text_prompt(r, p);
            else if (json_is_array(p))
                parse_ids(f, "prompt", p, &api_add_prompt(r)->ids);
            else
                jf_wrong(f, "prompt", want, p);
        }
    }
}

static void add_stop(jfields *f, api_request *r, const json_t *v) {
    if (!json_is_string(v)) {
        jf_wrong(f, "stop", "a string or a list of strings", v);
        return;
    }
    size_t len = json_string_length(v);
    r->stops[r->stop_count++] = (api_stop){.text = xmemdup(json_string_value(v), len + 1), .len = len};
}

static void parse_stops(jfields *f, api_request *r) {
    const json_t *v = jf_get(f, "stop");
    if (json_is_array(v)) {
        if (json_array_size(v) > API_STOPS_MAX) {
            jf_fail(f, "stop", "stop: %zu strings, want at most %u", json_array_size(v), API_STOPS_MAX);
        }
        for (size_t i = 0; i < json_array_size(v) && jf_ok(f); i++) add_stop(f, r, json_array_get(v, i));
    } else if (v) {
        add_stop(f, r, v);
    }
    const json_t *ids = NULL;
    if (!jf_list(f, "stop_token_ids", SAMPLING_STOP_IDS_MAX, &ids)) return;
    token_list l = {0};
    parse_ids(f, "stop_token_ids", ids, &l);
    r->stop_ids = l.ids;
    r->params.stop_id_count = l.count;
}

/* "17": no sign, no space, no leading zero, so that no two keys are the same id. -1: it is none. */
static int32_t id_of_key(const char *key) {
    size_t len = strspn(key, "0123456789");
    if (len == 0 || key[len] || len > 10 || (key[0] == '0' && len > 1)) return -1;
    int64_t id = 0;
    for (size_t i = 0; i < len; i++) id = id * 10 + (key[i] - '0');
    return id <= INT32_MAX ? (int32_t)id : -1;
}

static void parse_bias(jfields *f, api_request *r) {
    const json_t *v = jf_get(f, "logit_bias");
    if (!v) return;
    if (!json_is_object(v)) {
        jf_wrong(f, "logit_bias", "an object of token id to number", v);
        return;
    }
    if (json_object_size(v) > SAMPLING_BIAS_MAX) {
        jf_fail(f, "logit_bias", "logit_bias: %zu entries, want at most %u", json_object_size(v),
                SAMPLING_BIAS_MAX);
        return;
    }
    r->bias = xcalloc(json_object_size(v) + 1, sizeof *r->bias);
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)v, key, value) {
        int32_t id = id_of_key(key);
        double bias = json_number_value(value);
        char what[48];
        if (id < 0) {
            jf_fail(f, "logit_bias", "logit_bias: the key '%.60s' is no token id", key);
        } else if (!json_is_number(value)) {
            jf_fail(f, "logit_bias", "logit_bias[\"%d\"]: want a number, got %s", id, jf_what(value, what));
        } else if (!(bias >= -100 && bias <= 100)) {
            jf_fail(f, "logit_bias", "logit_bias[\"%d\"]: %.15g is out of range, want -100 to 100", id, bias);
        } else {
            r->bias[r->params.bias_count++] = (sampling_bias){id, (float)bias};
        }
    }
}

static void parse_logprobs(jfields *f, api_request *r) {
    int64_t count = 0;
    if (jf_int(f, "prompt_logprobs", 0, SAMPLING_LOGPROBS_MAX, &count)) r->prompt_logprobs = (int32_t)count;
    count = 0;
    if (r->kind == API_COMPLETION) {
        if (json_is_false(jf_get(f, "logprobs"))) return;
        if (jf_int(f, "logprobs", 0, SAMPLING_LOGPROBS_MAX, &count)) r->params.logprobs = (int32_t)count;
        return;
    }
    bool on = false;
    jf_bool(f, "logprobs", &on);
    jf_int(f, "top_logprobs", 0, SAMPLING_LOGPROBS_MAX, &count);
    if (count > 0 && !on) jf_fail(f, "top_logprobs", "top_logprobs: needs logprobs to be true");
    if (on) r->params.logprobs = (int32_t)count;
}

static void parse_limits(jfields *f, api_request *r, const api_model *m) {
    int64_t v = 0;
    if (jf_int(f, "max_tokens", 0, UINT32_MAX, &v)) {
        r->params.max_tokens = (uint32_t)v;
        r->max_tokens_given = true;
    }
    if (jf_int(f, "max_completion_tokens", 0, UINT32_MAX, &v)) {
        r->params.max_tokens = (uint32_t)v;
        r->max_tokens_given = true;
    }
    if (jf_int(f, "min_tokens", 0, UINT32_MAX, &v)) r->params.min_tokens = (uint32_t)v;
    if (jf_int(f, "n", 1, API_N_MAX, &v)) r->choices = (uint32_t)v;
    if (jf_int(f, "best_of", 1, API_N_MAX, &v) && (uint32_t)v != r->choices) {
        jf_fail(f, "best_of", "best_of: only best_of equal to n is supported, got %d and n %u", (int)v,
                r->choices);
    }
    if (jf_int(f, "seed", INT64_MIN, INT64_MAX, &v)) {
        r->params.seed = (uint64_t)v;
        r->seed_given = true;
    }
    if (jf_int(f, "top_k", -1, INT32_MAX, &v)) r->params.top_k = (int32_t)v;
    if (jf_int(f, "priority", API_PRIORITY_MIN, API_PRIORITY_MAX, &v)) r->priority = (int32_t)v;
    if (jf_int(f, "truncate_prompt_tokens", -1, m->max_context - 1, &r->truncate) && r->truncate == 0)
        jf_fail(
            f, "truncate_prompt_tokens",
            "truncate_prompt_tokens: 0 would leave nothing, want 1 to %u, or -1 for what there is room for",
            m->max_context - 1);
}

static void parse_generation(jfields *f, api_request *r, const api_model *m) {
    openai_refuse(f);
    openai_form(f, r, m);
    static const char *const numbers[] = {
        "temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        double v = 0;
        if (jf_num(f, numbers[i], &v)) (void)api_number(r, numbers[i], v, f->err);
    }
    parse_limits(f, r, m);
    parse_logprobs(f, r);
    parse_stops(f, r);
    parse_bias(f, r);
    jf_bool(f, "ignore_eos", &r->params.ignore_eos);
    jf_bool(f, "stream", &r->stream);
    jf_bool(f, "timings", &r->timings);
    jf_bool(f, "include_stop_str_in_output", &r->include_stop);
    jf_bool(f, "return_token_ids", &r->return_token_ids);
    bool skip_special = true;
    jf_bool(f, "skip_special_tokens", &skip_special);
    r->keep_special = !skip_special;
    const char *user = NULL;
    size_t user_len = 0;
    jf_text(f, "user", &user, &user_len); /* accepted for its type only: nothing here is kept per user */
    const char *salt = NULL;
    size_t salt_len = 0;
    if (jf_text(f, "cache_salt", &salt, &salt_len)) (void)api_salt(r, salt, salt_len, f->err);
    if (jf_bool(f, "echo", &r->echo) && r->echo && r->kind == API_CHAT)
        jf_fail(f, "echo", "echo: not supported in chat");
    const json_t *options = jf_get(f, "stream_options");
    if (!options) return;
    if (!json_is_object(options)) {
        jf_wrong(f, "stream_options", "an object", options);
        return;
    }
    if (!r->stream) jf_fail(f, "stream_options", "stream_options: only allowed when stream is true");
    jfields sub = {.object = options, .err = f->err};
    jf_bool(&sub, "continuous_usage_stats", &r->continuous_usage);
    r->include_usage = r->continuous_usage; /* who asks for more of it wants it */
    jf_bool(&sub, "include_usage", &r->include_usage);
    r->continuous_usage = r->continuous_usage && r->include_usage;
}

/* "text" or ["text", ...] */
static void parse_texts(jfields *f, api_request *r, const json_t *v) {
    r->want_lists = json_is_array(v);
    if (json_is_string(v)) add_text_prompt(r, v);
    if (!json_is_string(v) && !json_is_array(v)) jf_wrong(f, "prompt", "a string or a list of strings", v);
    if (!r->want_lists || too_many_prompts(f, v)) return;
    for (size_t i = 0; i < json_array_size(v) && jf_ok(f); i++) {
        const json_t *text = json_array_get(v, i);
        if (json_is_string(text))
            add_text_prompt(r, text);
        else
            jf_wrong(f, "prompt", "a string or a list of strings", text);
    }
}

static void parse_tokenize(jfields *f, api_request *r) {
    if (jf_get(f, "messages")) {
        r->kind = API_CHAT;
        openai_messages(f, r);
        r->kind = API_TOKENIZE;
    } else {
        const json_t *v = jf_get(f, "prompt");
        if (!v)
            jf_fail(f, "prompt", "prompt: the field is missing, want a string (or messages)");
        else
            parse_texts(f, r, v);
    }
    jf_bool(f, "return_token_strs", &r->want_token_strs);
}

static void parse_detokenize(jfields *f, api_request *r) {
    const json_t *list = NULL;
    if (!jf_list(f, "tokens", SIZE_MAX, &list))
        jf_fail(f, "tokens", "tokens: the field is missing, want a list of ids");
    parse_ids(f, "tokens", list, &api_add_prompt(r)->ids);
}

static void parse_fields(jfields *f, api_request *r, const api_model *m) {
    openai_rename(f);
    parse_model(f, m);
    jf_bool(f, "add_special_tokens", &r->add_special);
    switch (r->kind) {
    case API_COMPLETION:
        parse_prompt(f, r);
        break;
    case API_CHAT:
        openai_messages(f, r);
        break;
    case API_TOKENIZE:
        parse_tokenize(f, r);
        openai_warn(f, r);
        return;
    case API_DETOKENIZE:
        parse_detokenize(f, r);
        openai_warn(f, r);
        return;
    }
    parse_generation(f, r, m);
    openai_warn(f, r);
}

status openai_parse(api_request *r, api_kind kind, const char *body, size_t len, const api_model *m,
                    api_error *e) {
    PRE(r);
    PRE(body);
    PRE(m);
    PRE(e);
    api_request_init(r, kind);
    if (m->defaults) r->params = *m->defaults;
    *e = (api_error){0};
    json_t *root = openai_json(body, len, m->json_depth, e);
    if (!root) return ST_INVALID;
    jfields f = {.object = root, .err = e, .depth_max = m->json_depth};
    char what[48];
    if (!json_is_object(root))
        jf_fail(&f, NULL, "the body is not a JSON object: got %s", jf_what(root, what));
    else
        parse_fields(&f, r, m);
    json_decref(root);
    if (jf_ok(&f) && api_check(r, m, e) == ST_OK) return ST_OK;
    api_request_done(r);
    return ST_INVALID;
}
