#include "bench/workload/trace_json.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

static status read_whole(const lines *l, const json_t *o, const char *key, int64_t *out, errbuf *eb) {
    const json_t *v = json_object_get(o, key);
    if (!v) return lines_bad(l, eb, "no \"%s\"", key);
    if (!json_is_integer(v)) return lines_bad(l, eb, "\"%s\" is no whole number", key);
    *out = json_integer_value(v);
    return ST_OK;
}

static status read_seconds(const lines *l, const json_t *o, const char *key, double *out, errbuf *eb) {
    const json_t *v = json_object_get(o, key);
    if (!v) return lines_bad(l, eb, "no \"%s\"", key);
    if (!json_is_number(v)) return lines_bad(l, eb, "\"%s\" is no number", key);
    *out = json_number_value(v);
    if (!(*out >= 0)) return lines_bad(l, eb, "\"%s\" is %g: want 0 or more", key, *out);
    return ST_OK;
}

/* Ids of blocks of `block` tokens, of which the last one may be cut by the prompt's end. */
static status read_hashes(trace *t, const lines *l, const json_t *o, uint32_t block, int64_t prompt,
                          errbuf *eb) {
    const json_t *ids = json_object_get(o, "hash_ids");
    if (!ids) return ST_OK; /* nothing is shared */
    if (!json_is_array(ids)) return lines_bad(l, eb, "\"hash_ids\" is no array");
    size_t i, most = prompt > 0 ? ((size_t)prompt + block - 1) / block : 0;
    if (json_array_size(ids) > most)
        return lines_bad(l, eb,
                         "%zu hash ids for a prompt of %lld tokens: want at most %zu of %u tokens each",
                         json_array_size(ids), (long long)prompt, most, block);
    const json_t *v;
    int64_t left = prompt;
    json_array_foreach((json_t *)ids, i, v) {
        if (!json_is_integer(v)) return lines_bad(l, eb, "hash id %zu is no whole number", i);
        trace_prefix p = {.id = (uint64_t)json_integer_value(v), .tokens = (uint32_t)MIN(left, block)};
        status st = trace_add_prefix(t, l, p, eb);
        if (st != ST_OK) return st;
        left -= p.tokens;
    }
    return ST_OK;
}

/* A row of Mooncake or Bailian; they differ in the unit of time and the size of blocks. */
static status add_hashed(trace *t, const lines *l, const json_t *o, errbuf *eb) {
    bool mooncake = t->format == TRACE_MOONCAKE;
    double at = 0;
    int64_t prompt = 0, output = 0;
    status st = read_seconds(l, o, "timestamp", &at, eb);
    if (st == ST_OK) st = read_whole(l, o, "input_length", &prompt, eb);
    if (st == ST_OK) st = read_whole(l, o, "output_length", &output, eb);
    if (st == ST_OK)
        st = read_hashes(t, l, o, mooncake ? TRACE_MOONCAKE_BLOCK : TRACE_BAILIAN_BLOCK, prompt, eb);
    if (st == ST_OK) st = trace_add(t, l, mooncake ? at / 1e3 : at, prompt, output, eb);
    return st;
}

static status read_pairs(trace *t, const lines *l, const json_t *o, errbuf *eb) {
    const json_t *pairs = json_object_get(o, "prefix"), *pair;
    if (!pairs) return ST_OK;
    if (!json_is_array(pairs)) return lines_bad(l, eb, "\"prefix\" is no array");
    size_t i;
    json_array_foreach((json_t *)pairs, i, pair) {
        const json_t *id = json_array_get(pair, 0), *tokens = json_array_get(pair, 1);
        if (json_array_size(pair) != 2 || !json_is_integer(id) || !json_is_integer(tokens))
            return lines_bad(l, eb, "\"prefix\" element %zu is no pair of an id and a number of tokens", i);
        json_int_t n = json_integer_value(tokens);
        if (n < 1 || n > TRACE_TOKENS_MAX)
            return lines_bad(l, eb, "\"prefix\" element %zu has %lld tokens: want 1 to %u", i, (long long)n,
                             TRACE_TOKENS_MAX);
        trace_prefix p = {.id = (uint64_t)json_integer_value(id), .tokens = (uint32_t)n};
        status st = trace_add_prefix(t, l, p, eb);
        if (st != ST_OK) return st;
    }
    return ST_OK;
}

static status add_own(trace *t, const lines *l, const json_t *o, errbuf *eb) {
    static const char *const keys[] = {"at_s", "prompt_tokens", "output_tokens", "prefix"};
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)o, key, v) {
        bool known = false;
        for (size_t i = 0; i < ARRAY_LEN(keys); i++) known |= strcmp(key, keys[i]) == 0;
        if (!known)
            return lines_bad(l, eb, "unknown key \"%.40s\": want at_s, prompt_tokens, output_tokens, prefix",
                             key);
    }
    double at_s = NAN;
    int64_t prompt = 0, output = 0;
    status st = json_object_get(o, "at_s") ? read_seconds(l, o, "at_s", &at_s, eb) : ST_OK;
    if (st == ST_OK) st = read_whole(l, o, "prompt_tokens", &prompt, eb);
    if (st == ST_OK) st = read_whole(l, o, "output_tokens", &output, eb);
    if (st == ST_OK) st = read_pairs(t, l, o, eb);
    if (st == ST_OK) st = trace_add(t, l, at_s, prompt, output, eb);
    return st;
}

static status tell_format(trace *t, const lines *l, const json_t *o, errbuf *eb) {
    if (json_object_get(o, "prompt_tokens") || json_object_get(o, "output_tokens"))
        t->format = TRACE_OWN;
    else if (json_object_get(o, "input_length") || json_object_get(o, "output_length"))
        t->format =
            json_object_get(o, "chat_id") || json_object_get(o, "turn") ? TRACE_BAILIAN : TRACE_MOONCAKE;
    else
        return lines_bad(l, eb,
                         "JSON lines of no trace that we know: want input_length and output_length, or "
                         "prompt_tokens and output_tokens");
    return ST_OK;
}

static status add_line(trace *t, const lines *l, const char *text, bool first, errbuf *eb) {
    json_error_t je;
    json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, &je);
    if (!o) return lines_bad(l, eb, "no JSON: %.100s, byte %d", je.text, je.position);
    status st = json_is_object(o) ? ST_OK : lines_bad(l, eb, "no JSON object");
    if (st == ST_OK && first) st = tell_format(t, l, o, eb);
    if (st == ST_OK) st = t->format == TRACE_OWN ? add_own(t, l, o, eb) : add_hashed(t, l, o, eb);
    json_decref(o);
    return st;
}

status trace_json_read(trace *t, lines *l, const char *first, errbuf *eb) {
    PRE(t);
    PRE(l);
    PRE(first);
    status st = add_line(t, l, first, true, eb);
    char *line = NULL;
    while (st == ST_OK && (st = lines_next(l, &line, eb)) == ST_OK && line)
        st = add_line(t, l, line, false, eb);
    return st;
}
