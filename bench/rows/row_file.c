#include "bench/rows/row_file.h"

#include "base/mem.h"
#include "base/status.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void row_list_add(row_list *l, row *r) {
    PRE(l);
    PRE(r);
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? l->capacity * 2 : 64;
        l->rows = xrealloc(l->rows, l->capacity, sizeof *l->rows);
    }
    l->rows[l->count++] = *r;
    row_init(r);
}

void row_list_done(row_list *l) {
    PRE(l);
    for (size_t i = 0; i < l->count; i++) row_done(&l->rows[i]);
    free(l->rows);
    *l = (row_list){0};
}

/* Reads fields of one object; the first that is wrong is kept in `bad`. */
typedef struct fields {
    json_t *object;
    const char *bad;
} fields;

static uint64_t take_u64(fields *f, const char *name, uint64_t max) {
    const json_t *v = json_object_get(f->object, name);
    if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) > max) {
        if (!f->bad) f->bad = name;
        return 0;
    }
    return (uint64_t)json_integer_value(v);
}

static uint32_t take_u32(fields *f, const char *name) {
    return (uint32_t)take_u64(f, name, UINT32_MAX);
}

static uint32_t take_tokens(fields *f, const char *name) {
    return (uint32_t)take_u64(f, name, ROW_MOST_TOKENS);
}

static uint64_t take_time(fields *f, const char *name) {
    return json_is_null(json_object_get(f->object, name)) ? ROW_NEVER : take_u64(f, name, ROW_MOST_NS);
}

/* Borrowed: valid until the object goes. "" for null. */
static const char *take_text(fields *f, const char *name) {
    const json_t *v = json_object_get(f->object, name);
    if (json_is_null(v)) return "";
    if (!json_is_string(v) && !f->bad) f->bad = name;
    return json_is_string(v) ? json_string_value(v) : "";
}

static void take_events(fields *f, row *r) {
    const json_t *events = json_object_get(f->object, "events");
    size_t i;
    const json_t *e;
    json_int_t left = ROW_MOST_TOKENS; /* of the whole answer */
    if (!json_is_array(events) && !f->bad) f->bad = "events";
    json_array_foreach(events, i, e) {
        const json_t *at = json_array_get(e, 0), *tokens = json_array_get(e, 1);
        bool good = json_array_size(e) == 2 && json_is_integer(at) && json_is_integer(tokens) &&
                    json_integer_value(at) >= 0 && (uint64_t)json_integer_value(at) <= ROW_MOST_NS &&
                    json_integer_value(tokens) >= 0 && json_integer_value(tokens) <= left;
        if (!good) {
            if (!f->bad) f->bad = "events";
            return;
        }
        left -= json_integer_value(tokens);
        row_add_event(r, (uint64_t)json_integer_value(at), (uint32_t)json_integer_value(tokens));
    }
}

static double stage_ms(const json_t *stages, const char *name) {
    const json_t *v = json_object_get(stages, name);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static uint32_t stage_count(const json_t *stages, const char *name) {
    const json_t *v = json_object_get(stages, name);
    json_int_t n = json_is_integer(v) ? json_integer_value(v) : 0;
    return n > 0 && n <= UINT32_MAX ? (uint32_t)n : 0;
}

static void take_stages(fields *f, row_stages *s) {
    const json_t *o = json_object_get(f->object, "stages");
    if (!json_is_object(o)) {
        if (o && !json_is_null(o) && !f->bad) f->bad = "stages";
        return;
    }
    *s = (row_stages){.queue_ms = stage_ms(o, "queue_ms"),
                      .prefill_ms = stage_ms(o, "prefill_ms"),
                      .handoff_ms = stage_ms(o, "handoff_ms"),
                      .decode_wait_ms = stage_ms(o, "decode_wait_ms"),
                      .decode_ms = stage_ms(o, "decode_ms"),
                      .first_token_ms = stage_ms(o, "first_token_ms"),
                      .total_ms = stage_ms(o, "total_ms"),
                      .attempts = stage_count(o, "attempts"),
                      .replays = stage_count(o, "replays"),
                      .preemptions = stage_count(o, "preemptions")};
}

static bool phase_of(const char *name, row_phase *out) {
    for (row_phase p = ROW_WARMUP; p <= ROW_TAIL; p++)
        if (strcmp(name, row_phase_name(p)) == 0) {
            *out = p;
            return true;
        }
    return false;
}

static bool outcome_of(const char *name, row_outcome *out) {
    for (row_outcome o = ROW_OK; o <= ROW_UNSENT; o++)
        if (strcmp(name, row_outcome_name(o)) == 0) {
            *out = o;
            return true;
        }
    return false;
}

/* The name of the first field that is missing or no such thing; NULL: none. */
static const char *row_take(row *r, json_t *object) {
    fields f = {object, NULL};
    r->seed = take_u64(&f, "seed", INT64_MAX);
    r->index = take_u32(&f, "index");
    if (!phase_of(take_text(&f, "phase"), &r->phase) && !f.bad) f.bad = "phase";
    if (!outcome_of(take_text(&f, "outcome"), &r->outcome) && !f.bad) f.bad = "outcome";
    r->http = (int)take_u64(&f, "http", 999);
    const char *error = take_text(&f, "error");
    r->error = *error ? xstrdup(error) : NULL;
    snprintf(r->finish, sizeof r->finish, "%s", take_text(&f, "finish"));
    take_events(&f, r);
    r->scheduled_ns = take_time(&f, "scheduled_ns");
    r->sent_ns = take_time(&f, "sent_ns");
    r->first_ns = take_time(&f, "first_ns");
    r->last_ns = take_time(&f, "last_ns");
    r->end_ns = take_time(&f, "end_ns");
    r->prompt_asked = take_tokens(&f, "prompt_asked");
    r->output_asked = take_tokens(&f, "output_asked");
    r->prompt_tokens = take_tokens(&f, "prompt_tokens");
    r->output_tokens = take_tokens(&f, "output_tokens");
    r->cached_tokens = take_tokens(&f, "cached_tokens");
    take_stages(&f, &r->stages);
    return f.bad;
}

static status row_parse(row *r, const char *line, size_t len, errbuf *eb) {
    json_error_t error;
    json_t *object = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
    if (!object) return errf(eb, ST_INVALID, "no JSON: %s", error.text);
    status st = ST_OK;
    if (!json_is_object(object)) {
        st = errf(eb, ST_INVALID, "not an object, as a row is");
    } else {
        const char *bad = row_take(r, object);
        if (bad) st = errf(eb, ST_INVALID, "'%s' is missing or not what a row has there", bad);
    }
    json_decref(object);
    return st;
}

status row_file_read(row_list *l, const char *path, bool *cut, errbuf *eb) {
    PRE(l);
    PRE(path);
    PRE(cut);
    FILE *f = fopen(path, "re");
    if (!f) return errf(eb, ST_IO, "%s: %s", path, strerror(errno));
    char *line = NULL;
    size_t capacity = 0, number = 0, before = l->count;
    bool torn = false;
    status st = ST_OK;
    ssize_t len;
    while (st == ST_OK && (len = getline(&line, &capacity, f)) > 0) {
        number++;
        if (line[len - 1] != '\n') {
            torn = true;
            break;
        }
        row r;
        row_init(&r);
        st = row_parse(&r, line, (size_t)len, eb);
        if (st == ST_OK)
            row_list_add(l, &r);
        else
            err_prefix(eb, st, "%s:%zu", path, number);
        row_done(&r);
    }
    if (st == ST_OK && ferror(f)) st = errf(eb, ST_IO, "%s: %s", path, strerror(errno));
    free(line);
    fclose(f);
    if (st != ST_OK) { /* none of a bad file's rows */
        while (l->count > before) row_done(&l->rows[--l->count]);
        return st;
    }
    *cut = torn;
    return ST_OK;
}
