#include "bench/load/chunk.h"

#include "base/mem.h"
#include "bench/load/json_scan.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static chunk no_chunk(void) {
    return (chunk){.stages = row_stages_none()};
}

/* ---- the scan ---- */

typedef struct scan {
    chunk *out;
    uint32_t ids; /* token ids that are listed */
    bool odd;     /* the full parser decides */
} scan;

static void content_value(json_scan *j, scan *s) {
    char kind = json_scan_kind(j);
    if (kind == '"') {
        if (json_scan_string(j, NULL, 0) > 0) s->out->content = true;
        return;
    }
    if (kind == '[' || kind == '{') s->odd = true; /* content parts */
    json_scan_skip(j);
}

static void scan_delta(json_scan *j, scan *s) {
    char key[32];
    if (json_scan_kind(j) != '{') {
        json_scan_skip(j);
        return;
    }
    for (json_scan_enter(j); json_scan_key(j, key, sizeof key);) {
        if (strcmp(key, "content") == 0 || strcmp(key, "reasoning_content") == 0 ||
            strcmp(key, "reasoning") == 0) {
            content_value(j, s);
        } else {
            if (strcmp(key, "tool_calls") == 0 && json_scan_kind(j) == '[') s->odd = true;
            json_scan_skip(j);
        }
    }
}

static void scan_choice(json_scan *j, scan *s) {
    char key[32];
    if (json_scan_kind(j) != '{') {
        s->odd = true;
        json_scan_skip(j);
        return;
    }
    for (json_scan_enter(j); json_scan_key(j, key, sizeof key);) {
        if (strcmp(key, "text") == 0) {
            content_value(j, s);
        } else if (strcmp(key, "delta") == 0) {
            scan_delta(j, s);
        } else if (strcmp(key, "finish_reason") == 0 && json_scan_kind(j) == '"') {
            size_t n = json_scan_string(j, s->out->finish, sizeof s->out->finish);
            if (n >= sizeof s->out->finish || (n > 0 && !s->out->finish[0])) s->odd = true;
        } else if (strcmp(key, "token_ids") == 0 && json_scan_kind(j) == '[') {
            for (json_scan_enter(j); json_scan_item(j); json_scan_skip(j)) s->ids++;
        } else {
            json_scan_skip(j);
        }
    }
}

static void settle_tokens(chunk *c, uint32_t ids) {
    if (ids > 0) c->content = true;
    c->tokens = ids > 0 ? ids : c->content;
}

/* False: the full parser decides. */
static bool scan_chunk(chunk *out, const char *json, size_t len) {
    json_scan j = json_scan_of(json, len);
    scan s = {.out = out};
    char key[32];
    bool choices = false; /* what has none is an error, or of another kind */
    if (json_scan_kind(&j) != '{') return false;
    for (json_scan_enter(&j); !s.odd && json_scan_key(&j, key, sizeof key);) {
        if (strcmp(key, "choices") == 0 && json_scan_kind(&j) == '[') {
            choices = true;
            for (json_scan_enter(&j); json_scan_item(&j);) scan_choice(&j, &s);
        } else if (strcmp(key, "usage") == 0 || strcmp(key, "error") == 0) {
            if (json_scan_kind(&j) != 'n') return false;
            json_scan_skip(&j);
        } else {
            json_scan_skip(&j);
        }
    }
    settle_tokens(out, s.ids);
    return choices && !s.odd && json_scan_whole(&j);
}

/* ---- the full parser ---- */

static void copy_text(char *out, size_t size, const char *text) {
    snprintf(out, size, "%s", text);
}

static uint32_t count_of(const json_t *object, const char *key) {
    json_int_t v = json_integer_value(json_object_get(object, key));
    return v < 0 ? 0 : v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

static double ms_of(const json_t *object, const char *key) {
    const json_t *v = json_object_get(object, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static void take_usage(chunk *c, const json_t *usage) {
    c->usage = true;
    c->prompt_tokens = count_of(usage, "prompt_tokens");
    c->output_tokens = count_of(usage, "completion_tokens");
    c->cached_tokens = count_of(json_object_get(usage, "prompt_tokens_details"), "cached_tokens");
    const json_t *t = json_object_get(usage, "timings");
    if (!t) return;
    c->stages = (row_stages){.queue_ms = ms_of(t, "queue_ms"),
                             .prefill_ms = ms_of(t, "prefill_ms"),
                             .handoff_ms = ms_of(t, "handoff_ms"),
                             .decode_wait_ms = ms_of(t, "decode_wait_ms"),
                             .decode_ms = ms_of(t, "decode_ms"),
                             .first_token_ms = ms_of(t, "first_token_ms"),
                             .total_ms = ms_of(t, "total_ms"),
                             .attempts = count_of(t, "attempts"),
                             .replays = count_of(t, "replays"),
                             .preemptions = count_of(t, "preemptions")};
}

static bool content_of(const json_t *v) {
    if (json_is_string(v)) return json_string_length(v) > 0;
    return json_array_size(v) > 0; /* parts; a list of tool calls */
}

static void take_choice(chunk *c, const json_t *choice, uint32_t *ids) {
    const json_t *delta = json_object_get(choice, "delta");
    static const char *const keys[] = {"content", "reasoning_content", "reasoning", "tool_calls"};
    if (content_of(json_object_get(choice, "text"))) c->content = true;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (content_of(json_object_get(delta, keys[i]))) c->content = true;
    const char *finish = json_string_value(json_object_get(choice, "finish_reason"));
    if (finish) copy_text(c->finish, sizeof c->finish, finish);
    *ids += (uint32_t)json_array_size(json_object_get(choice, "token_ids"));
}

static void take_error(char *out, size_t size, const json_t *root) {
    const json_t *error = json_object_get(root, "error"), *object = json_is_object(error) ? error : root;
    const char *text = json_string_value(json_object_get(object, "message"));
    if (!text) text = json_string_value(error);
    if (!text) text = json_string_value(json_object_get(object, "detail"));
    copy_text(out, size, text ? text : "an error without a text");
}

status chunk_parse_full(chunk *out, const char *json, size_t len, errbuf *eb) {
    PRE(out);
    PRE(json || len == 0);
    json_error_t e;
    json_t *root = json_loadb(json, len, JSON_ALLOW_NUL, &e);
    if (!json_is_object(root)) {
        json_decref(root);
        return errf(eb, ST_CORRUPT, "an event of the stream is no JSON object but '%.*s'",
                    (int)(len < 60 ? len : 60), json);
    }
    *out = no_chunk();
    const json_t *error = json_object_get(root, "error"), *object = json_object_get(root, "object");
    const json_t *choices = json_object_get(root, "choices"), *usage = json_object_get(root, "usage");
    if ((error && !json_is_null(error)) ||
        (json_is_string(object) && strcmp(json_string_value(object), "error") == 0)) {
        out->failed = true;
        take_error(out->error, sizeof out->error, root);
    }
    uint32_t ids = 0;
    for (size_t i = 0; i < json_array_size(choices); i++) take_choice(out, json_array_get(choices, i), &ids);
    settle_tokens(out, ids);
    if (json_is_object(usage)) take_usage(out, usage);
    json_decref(root);
    return ST_OK;
}

status chunk_parse(chunk *out, const char *json, size_t len, errbuf *eb) {
    PRE(out);
    PRE(json || len == 0);
    *out = no_chunk();
    if (scan_chunk(out, json, len)) return ST_OK;
    *out = no_chunk();
    return chunk_parse_full(out, json, len, eb);
}

void chunk_error_text(char *out, size_t size, const char *body, size_t len) {
    PRE(out);
    PRE(size > 0);
    PRE(body || len == 0);
    json_t *root = json_loadb(body, len, 0, NULL);
    if (json_is_object(root))
        take_error(out, size, root);
    else
        snprintf(out, size, "%.*s", (int)(len == 0 || len > 120 ? 120 : len), len ? body : "no text");
    for (char *p = out; *p; p++)
        if ((unsigned char)*p < 0x20) *p = ' ';
    json_decref(root);
}
