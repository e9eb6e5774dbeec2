#include "coordinator/api.h"

#include "base/clock.h"
#include "base/mem.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

const char *api_error_type(uint32_t http) {
    PRE(http >= 400);
    switch (http) {
    case 400:
        return "BadRequestError";
    case 404:
        return "NotFoundError";
    case 405:
        return "MethodNotAllowedError";
    case 413:
        return "RequestEntityTooLargeError";
    case 429:
        return "RateLimitError";
    case 499:
        return "RequestCanceledError";
    case 503:
        return "ServiceUnavailableError";
    case 504:
        return "GatewayTimeoutError";
    default:
        return "InternalServerError";
    }
}

status api_fail(api_error *e, uint32_t http, const char *param, const char *fmt, ...) {
    PRE(e);
    PRE(http >= 400);
    PRE(fmt);
    e->http = http;
    snprintf(e->param, sizeof e->param, "%s", param ? param : "");
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->text.text, sizeof e->text.text, fmt, ap);
    va_end(ap);
    return ST_INVALID;
}

uint32_t api_http_of(status st) {
    PRE(st != ST_OK);
    switch (st) {
    case ST_INVALID:
        return 400;
    case ST_AGAIN:
        return 429;
    case ST_PEER:
        return 503;
    case ST_TIMEOUT:
        return 504;
    default:
        return 500;
    }
}

status api_salt(api_request *r, const void *text, size_t len, api_error *e) {
    PRE(r);
    PRE(text || len == 0);
    if (len == 0 || len > API_SALT_BYTES_MAX)
        return api_fail(e, 400, "cache_salt", "cache_salt: %zu bytes, want 1 to %u (leave it out to share)",
                        len, API_SALT_BYTES_MAX);
    XXH128_hash_t h = XXH3_128bits(text, len);
    r->salt[0] = h.low64;
    r->salt[1] = h.high64;
    if (!r->salt[0] && !r->salt[1]) r->salt[0] = 1; /* both 0 would be no salt */
    return ST_OK;
}

void api_request_init(api_request *r, api_kind kind) {
    PRE(r);
    *r = (api_request){
        .kind = kind, .choices = 1, .params = sampling_default(), .prompt_logprobs = -1, .add_special = true};
    r->chat.add_generation_prompt = true;
}

void api_chat_done(api_chat *c) {
    PRE(c);
    json_decref(c->messages);
    json_decref(c->tools);
    json_decref(c->documents);
    json_decref(c->kwargs);
    *c = (api_chat){0};
}

void api_request_done(api_request *r) {
    if (!r) return;
    for (uint32_t i = 0; i < r->prompt_count; i++) {
        free(r->prompts[i].text);
        token_list_done(&r->prompts[i].ids);
    }
    free(r->prompts);
    api_chat_done(&r->chat);
    for (uint32_t i = 0; i < r->stop_count; i++) free(r->stops[i].text);
    free(r->stop_ids);
    free(r->spec);
    free(r->bias);
    free(r->warnings);
    *r = (api_request){0};
}

api_prompt *api_add_prompt(api_request *r) {
    PRE(r);
    r->prompts = xrealloc(r->prompts, r->prompt_count + 1u, sizeof *r->prompts);
    api_prompt *p = &r->prompts[r->prompt_count++];
    *p = (api_prompt){0};
    return p;
}

const char *api_role(const char *text, size_t len) {
    PRE(text);
    static const char *const names[] = {"system", "developer", "user", "assistant", "tool"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (len == strlen(names[i]) && memcmp(text, names[i], len) == 0) return names[i];
    return NULL;
}

static const struct number {
    const char *name;
    size_t at; /* of its float in sampling */
    double min, max;
    bool above_min; /* min itself is out */
} numbers[] = {
    {"temperature", offsetof(sampling, temperature), 0, 100, false},
    {"top_p", offsetof(sampling, top_p), 0, 1, true},
    {"min_p", offsetof(sampling, min_p), 0, 1, false},
    {"presence_penalty", offsetof(sampling, presence_penalty), -2, 2, false},
    {"frequency_penalty", offsetof(sampling, frequency_penalty), -2, 2, false},
    /* Far less would overflow a logit. */
    {"repetition_penalty", offsetof(sampling, repetition_penalty), 0.01, 100, false},
};

static float *number_in(const struct number *n, sampling *s) {
    return (float *)((char *)s + n->at);
}

/* False for NaN, too */
static bool is_in(const struct number *n, double v, double min, double max) {
    return v <= max && (n->above_min ? v > min : v >= min);
}

static status out_of_range(const struct number *n, double v, api_error *e) {
    char text[32];
    /* In so many digits as it needs: 2.00000001 is not "2 is out of range". */
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v) break;
    }
    if (n->above_min)
        return api_fail(e, 400, n->name, "%s: %s is out of range, want more than %g and at most %g", n->name,
                        text, n->min, n->max);
    return api_fail(e, 400, n->name, "%s: %s is out of range, want %g to %g", n->name, text, n->min, n->max);
}

status api_number(api_request *r, const char *name, double v, api_error *e) {
    PRE(r);
    PRE(name);
    PRE(e);
    size_t i = 0;
    while (i < ARRAY_LEN(numbers) && strcmp(numbers[i].name, name) != 0) i++;
    CHECK(i < ARRAY_LEN(numbers));
    const struct number *n = &numbers[i];
    double kept = fabs(v) < (double)FLT_MIN ? 0 : v;
    if (!is_in(n, v, n->min, n->max) || !is_in(n, kept, n->min, n->max)) return out_of_range(n, v, e);
    *number_in(n, &r->params) = (float)kept;
    return ST_OK;
}

/* A limit that is no float (0.01) is the nearest one here. */
static status check_numbers(const api_request *r, api_error *e) {
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        const struct number *n = &numbers[i];
        double v = (double)*number_in(n, (sampling *)&r->params);
        if (!is_in(n, v, (double)(float)n->min, (double)(float)n->max)) return out_of_range(n, v, e);
    }
    return ST_OK;
}

static status check_whole(api_error *e, const char *name, int64_t v, int64_t min, int64_t max) {
    if (v >= min && v <= max) return ST_OK;
    return api_fail(e, 400, name, "%s: %" PRId64 " is out of range, want %" PRId64 " to %" PRId64, name, v,
                    min, max);
}

/* What is said of the limit that min_tokens breaks; limit: as it stands in the request, or follows from it.
 */
static status check_min_tokens(const api_request *r, uint32_t limit, const char *whence, api_error *e) {
    if (r->params.min_tokens <= limit) return ST_OK;
    return api_fail(e, 400, "min_tokens", "min_tokens: %u is more than max_tokens %u%s", r->params.min_tokens,
                    limit, whence);
}

static status check_sampling(const api_request *r, const api_model *m, api_error *e) {
    const sampling *s = &r->params;
    status st = check_numbers(r, e);
    if (st == ST_OK) st = check_whole(e, "top_k", s->top_k, -1, INT32_MAX);
    if (st == ST_OK)
        st = check_whole(e, r->kind == API_CHAT ? "top_logprobs" : "logprobs", s->logprobs, -1,
                         SAMPLING_LOGPROBS_MAX);
    if (st == ST_OK) st = check_whole(e, "n", r->choices, 1, API_N_MAX);
    if (st == ST_OK) st = check_whole(e, "priority", r->priority, API_PRIORITY_MIN, API_PRIORITY_MAX);
    if (st != ST_OK) return st;
    if (s->min_tokens >= m->max_context) {
        return api_fail(e, 400, "min_tokens",
                        "min_tokens: %u is more than the context of %u tokens has room for", s->min_tokens,
                        m->max_context);
    }
    if (r->max_tokens_given) return check_min_tokens(r, s->max_tokens, "", e);
    if (r->kind == API_COMPLETION)
        return check_min_tokens(r, s->max_tokens, ", the default: give max_tokens", e);
    return ST_OK; /* a chat's limit is known when the prompt is */
}

static status check_ids(const api_request *r, const api_model *m, api_error *e) {
    for (uint32_t i = 0; i < r->params.stop_id_count; i++) {
        int32_t id = r->params.stop_ids[i];
        if (id < 0 || (uint32_t)id >= m->vocab) {
            return api_fail(e, 400, "stop_token_ids", "stop_token_ids[%u]: %d is no token id, want 0 to %u",
                            i, id, m->vocab - 1);
        }
    }
    for (uint32_t i = 0; i < r->params.bias_count; i++) {
        const sampling_bias *b = &r->params.bias[i];
        if (b->id < 0 || (uint32_t)b->id >= m->vocab) {
            return api_fail(e, 400, "logit_bias", "logit_bias: %d is no token id, want 0 to %u", b->id,
                            m->vocab - 1);
        }
        if (!(b->bias >= -100 && b->bias <= 100)) {
            return api_fail(e, 400, "logit_bias", "logit_bias[\"%d\"]: %g is out of range, want -100 to 100",
                            b->id, (double)b->bias);
        }
    }
    const char *name = r->kind == API_DETOKENIZE ? "tokens" : "prompt";
    for (uint32_t p = 0; p < r->prompt_count; p++) {
        const token_list *l = &r->prompts[p].ids;
        for (uint32_t i = 0; i < l->count; i++) {
            if (l->ids[i] >= 0 && (uint32_t)l->ids[i] < m->vocab) continue;
            return api_fail(e, 400, name, "%s: %d (number %u) is no token id, want 0 to %u", name, l->ids[i],
                            i, m->vocab - 1);
        }
    }
    return ST_OK;
}

static status check_prompts(const api_request *r, api_error *e) {
    if (r->kind == API_CHAT) {
        if (json_array_size(r->chat.messages) == 0)
            return api_fail(e, 400, "messages", "messages: the list is empty, want at least one");
        return ST_OK;
    }
    if (r->kind != API_COMPLETION) return ST_OK; /* no text is no tokens there, and the other way round */
    if (r->prompt_count == 0)
        return api_fail(e, 400, "prompt", "prompt: the list is empty, want at least one prompt");
    for (uint32_t i = 0; i < r->prompt_count; i++) {
        const api_prompt *p = &r->prompts[i];
        if (p->text ? p->len > 0 : p->ids.count > 0) continue;
        return api_fail(e, 400, "prompt", "prompt: number %u is empty, want at least one %s", i,
                        p->text ? "character" : "token id");
    }
    return ST_OK;
}

/* What of a prompt is wanted besides tokens, and whether that is enough without any. */
static status check_prompt_logprobs(api_request *r, api_error *e) {
    r->params.prompt_logprobs = r->prompt_logprobs;
    if (r->echo) r->params.prompt_logprobs = MAX(r->prompt_logprobs, r->params.logprobs);
    if (r->prompt_logprobs >= 0 && r->stream)
        return api_fail(e, 400, "prompt_logprobs",
                        "prompt_logprobs: not available with stream: set it to false");
    if (r->params.max_tokens > 0 || !r->max_tokens_given || r->echo || r->prompt_logprobs >= 0) return ST_OK;
    return api_fail(e, 400, "max_tokens",
                    "max_tokens: 0 asks for nothing: want at least 1, or echo or prompt_logprobs with it");
}

uint64_t api_scores(const api_request *r) {
    PRE(r);
    uint64_t tokens = 0;
    for (uint32_t i = 0; i < r->prompt_count; i++) tokens += r->prompts[i].ids.count;
    return tokens * r->choices * (uint64_t)(1 + r->params.prompt_logprobs);
}

status api_check(api_request *r, const api_model *m, api_error *e) {
    PRE(r);
    PRE(m);
    PRE(e);
    r->params.stop_ids = r->stop_ids;
    r->params.spec = r->spec;
    r->params.bias = r->bias;
    status st = check_prompts(r, e);
    if (st == ST_OK) st = check_sampling(r, m, e);
    if (st == ST_OK) st = check_ids(r, m, e);
    if (st == ST_OK) st = check_prompt_logprobs(r, e);
    if (st != ST_OK) return st;
    uint32_t prompts = r->kind == API_CHAT ? 1 : r->prompt_count;
    if ((uint64_t)prompts * r->choices > API_CHOICES_MAX) {
        return api_fail(e, 400, "n", "%u prompts x n %u are more than %u choices: send several requests",
                        prompts, r->choices, API_CHOICES_MAX);
    }
    for (uint32_t i = 0; i < r->stop_count; i++) {
        if (r->stops[i].len == 0) return api_fail(e, 400, "stop", "stop: number %u is an empty string", i);
        if (r->stops[i].len > API_STOP_BYTES_MAX) {
            return api_fail(e, 400, "stop", "stop: number %u has %zu bytes, want at most %u", i,
                            r->stops[i].len, API_STOP_BYTES_MAX);
        }
    }
    if (!r->seed_given) r->params.seed = clock_random64();
    return ST_OK;
}

status api_too_long(api_error *e, const char *what, const api_model *m, uint32_t have, bool more,
                    uint32_t max_tokens) {
    PRE(e);
    PRE(what);
    PRE(m);
    const char *above = more ? "more than " : "";
    e->code = "context_length_exceeded";
    if (!max_tokens)
        return api_fail(e, 400, what,
                        "This model's maximum context length is %u tokens. However, your %s resulted in %s%u "
                        "tokens%s. Please reduce the length of the %s.",
                        m->max_context, what, above, have,
                        have == m->max_context && !more ? ", which leave no room for an answer" : "", what);
    return api_fail(e, 400, "max_tokens",
                    "This model's maximum context length is %u tokens. However, you requested %" PRIu64
                    " tokens (%u in the %s, %u in the completion). Please reduce the length of the %s or "
                    "max_tokens.",
                    m->max_context, (uint64_t)have + max_tokens, have, what, max_tokens, what);
}

status api_prompt_too_long(api_error *e, const char *what, const api_model *m, uint32_t have, bool more) {
    PRE(e);
    PRE(what);
    PRE(m);
    e->code = "context_length_exceeded";
    return api_fail(e, 400, what, "%s: %s%u tokens, and at most %u are taken here (limits.max_prompt_tokens)",
                    what, more ? "more than " : "", have, m->max_prompt);
}

status api_check_context(api_request *r, const api_model *m, api_error *e) {
    PRE(r);
    PRE(m);
    PRE(e);
    for (uint32_t i = 0; i < r->prompt_count; i++) {
        uint32_t have = r->prompts[i].ids.count;
        const char *name = r->kind == API_CHAT ? "messages" : "prompt";
        if (have == 0) return api_fail(e, 400, name, "%s: number %u has no token", name, i);
        if (m->max_prompt && have > m->max_prompt) return api_prompt_too_long(e, name, m, have, false);
        /* A prompt that fills the context leaves no room for the first token. */
        if (have >= m->max_context) return api_too_long(e, name, m, have, false, 0);
        uint32_t room = m->max_context - have;
        if (r->max_tokens_given && r->params.max_tokens > room)
            return api_too_long(e, name, m, have, false, r->params.max_tokens);
        if (r->max_tokens_given) continue;
        status st = check_min_tokens(r, room, ", what the context has room for after the prompt", e);
        if (st != ST_OK) return st;
        /* Completions have a default, chat goes on to the end of the context (protocol rule 10). */
        if (r->kind == API_CHAT) r->params.max_tokens = room;
    }
    uint64_t scores = api_scores(r);
    if (scores > API_SCORES_MAX)
        return api_fail(e, 400, r->prompt_logprobs >= 0 ? "prompt_logprobs" : "logprobs",
                        "%" PRIu64
                        " log-probabilities of prompts (tokens x choices x (1 + the best)) are more "
                        "than %u: send several requests, or ask for fewer",
                        scores, API_SCORES_MAX);
    return ST_OK;
}
