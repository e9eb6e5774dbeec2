#include "bench/rows/run_file.h"

#include "base/mem.h"
#include "base/status.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One table says for both directions where a key stands in the file and in the struct. */
typedef enum field_kind {
    FIELD_NUMBER, /* double; null when it is not finite */
    FIELD_BOOL,
    FIELD_TEXT, /* char *, owned */
    FIELD_NAME, /* char[32] in a slo */
    FIELD_SEED  /* uint64_t below 2^63 */
} field_kind;

typedef struct field {
    const char *path; /* "client.cpu_share" */
    field_kind kind;
    size_t offset;
} field;

#define NUMBER(path, member)                                                                                 \
    { path, FIELD_NUMBER, offsetof(run_info, member) }
#define BOOL(path, member)                                                                                   \
    { path, FIELD_BOOL, offsetof(run_info, member) }
#define TEXT(path, member)                                                                                   \
    { path, FIELD_TEXT, offsetof(run_info, member) }

static const field RUN[] = {
    TEXT("date", date),
    TEXT("version", version),
    TEXT("name", name),
    TEXT("target.kind", target.kind),
    TEXT("target.url", target.url),
    TEXT("target.model", target.model),
    TEXT("workload.name", workload.name),
    TEXT("workload.kind", workload.kind),
    TEXT("workload.path", workload.path),
    NUMBER("workload.prompt_mean", workload.prompt_mean),
    NUMBER("workload.output_mean", workload.output_mean),
    NUMBER("workload.prompt_range", workload.prompt_range),
    NUMBER("workload.output_range", workload.output_range),
    NUMBER("workload.prompt_cv", workload.prompt_cv),
    NUMBER("workload.output_cv", workload.output_cv),
    NUMBER("workload.prompt_scale", workload.prompt_scale),
    NUMBER("workload.output_scale", workload.output_scale),
    NUMBER("workload.prompt_min", workload.prompt_min),
    NUMBER("workload.prompt_max", workload.prompt_max),
    NUMBER("workload.output_min", workload.output_min),
    NUMBER("workload.output_max", workload.output_max),
    TEXT("arrivals.kind", arrivals_kind),
    NUMBER("arrivals.burstiness", burstiness),
    NUMBER("rate", rate),
    NUMBER("max_concurrency", max_concurrency),
    NUMBER("warmup_s", warmup_s),
    NUMBER("window_s", window_s),
    NUMBER("client.cpu_share", client.cpu_share),
    NUMBER("client.lateness_ms.p50", client.lateness_p50_ms),
    NUMBER("client.lateness_ms.p99", client.lateness_p99_ms),
    NUMBER("client.lateness_ms.max", client.lateness_max_ms),
    NUMBER("client.achieved_rate", client.achieved_rate),
    NUMBER("client.largest_rate", client.largest_rate),
    NUMBER("client.added_latency_ms", client.added_latency_ms),
    BOOL("validity.valid", valid),
    BOOL("steady.reached", steady.reached),
    NUMBER("steady.warmup_needed_s", steady.warmup_needed_s),
    BOOL("steady.unstable", steady.unstable),
    NUMBER("steady.g", steady.g),
    NUMBER("steady.g_limit", steady.g_limit),
    NUMBER("steady.drift_ttft_p", steady.drift_ttft_p),
    NUMBER("steady.drift_tpot_p", steady.drift_tpot_p),
    BOOL("steady.drift", steady.drift),
    NUMBER("server.preemptions", preemptions),
    NUMBER("server.replays", replays),
    NUMBER("server.coordinator_cpu_share", coordinator_cpu_share),
    BOOL("interrupted", interrupted),
    NUMBER("duration_s", duration_s),
};

static const field SEGMENT[] = {{"seed", FIELD_SEED, offsetof(run_segment, seed)},
                                {"begin_s", FIELD_NUMBER, offsetof(run_segment, begin_s)},
                                {"end_s", FIELD_NUMBER, offsetof(run_segment, end_s)}};

static const field WORKER[] = {{"name", FIELD_TEXT, offsetof(run_worker, name)},
                               {"role", FIELD_TEXT, offsetof(run_worker, role)},
                               {"prefill_share", FIELD_NUMBER, offsetof(run_worker, prefill_share)},
                               {"decode_share", FIELD_NUMBER, offsetof(run_worker, decode_share)},
                               {"mixed_share", FIELD_NUMBER, offsetof(run_worker, mixed_share)},
                               {"pages_used_max", FIELD_NUMBER, offsetof(run_worker, pages_used_max)},
                               {"pages_total", FIELD_NUMBER, offsetof(run_worker, pages_total)}};

static const field SLO[] = {{"name", FIELD_NAME, offsetof(run_slo, limits.name)},
                            {"ttft_ms", FIELD_NUMBER, offsetof(run_slo, limits.ttft_ms)},
                            {"tpot_ms", FIELD_NUMBER, offsetof(run_slo, limits.tpot_ms)},
                            {"itl_p99_ms", FIELD_NUMBER, offsetof(run_slo, limits.itl_p99_ms)},
                            {"itl_max_ms", FIELD_NUMBER, offsetof(run_slo, limits.itl_max_ms)},
                            {"e2e_ms", FIELD_NUMBER, offsetof(run_slo, limits.e2e_ms)},
                            {"attainment", FIELD_NUMBER, offsetof(run_slo, attainment)},
                            {"low", FIELD_NUMBER, offsetof(run_slo, low)},
                            {"high", FIELD_NUMBER, offsetof(run_slo, high)},
                            {"good_per_s", FIELD_NUMBER, offsetof(run_slo, good_per_s)}};

/* A list of structs: where it stands, what its elements are. */
typedef struct list_kind {
    const char *path;
    const field *fields;
    size_t field_count, size;
    size_t array_offset, count_offset;
    void (*init)(void *element);
} list_kind;

static void segment_init(void *element) {
    *(run_segment *)element = (run_segment){0, NAN, NAN};
}

static void worker_init(void *element) {
    *(run_worker *)element = (run_worker){NULL, NULL, NAN, NAN, NAN, NAN, NAN};
}

static void slo_init(void *element) {
    *(run_slo *)element = (run_slo){slo_none(), NAN, NAN, NAN, NAN};
}

#define LIST(path, FIELDS, type, array, count, init)                                                         \
    {                                                                                                        \
        path, FIELDS, ARRAY_LEN(FIELDS), sizeof(type), offsetof(run_info, array), offsetof(run_info, count), \
            init                                                                                             \
    }

static const list_kind LISTS[] = {
    LIST("segments", SEGMENT, run_segment, segments, segment_count, segment_init),
    LIST("workers", WORKER, run_worker, workers, worker_count, worker_init),
    LIST("slo", SLO, run_slo, slos, slo_count, slo_init),
};

/* A list of strings */
typedef struct words_kind {
    const char *path;
    size_t array_offset, count_offset;
} words_kind;

static const words_kind WORDS[] = {
    {"command", offsetof(run_info, command), offsetof(run_info, command_count)},
    {"validity.reasons", offsetof(run_info, reasons), offsetof(run_info, reason_count)},
};

/* Whole objects of other people's keys */
typedef struct object_kind {
    const char *path;
    size_t offset;
} object_kind;

static const object_kind OBJECTS[] = {
    {"target.server", offsetof(run_info, target.server)},
    {"result", offsetof(run_info, result)},
    {"compat", offsetof(run_info, compat)},
};

#define AT(type, base, offset) ((type *)(void *)((char *)(base) + (offset)))

void run_info_init(run_info *r) {
    PRE(r);
    *r = (run_info){0};
    for (size_t i = 0; i < ARRAY_LEN(RUN); i++)
        if (RUN[i].kind == FIELD_NUMBER) *AT(double, r, RUN[i].offset) = NAN;
    r->rate = INFINITY;
    r->valid = true;
}

static void free_texts(void *base, const field *fields, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (fields[i].kind == FIELD_TEXT) free(*AT(char *, base, fields[i].offset));
}

void run_info_done(run_info *r) {
    if (!r) return;
    free_texts(r, RUN, ARRAY_LEN(RUN));
    for (size_t i = 0; i < ARRAY_LEN(LISTS); i++) {
        const list_kind *k = &LISTS[i];
        char *array = *AT(char *, r, k->array_offset);
        for (size_t n = 0; n < *AT(size_t, r, k->count_offset); n++)
            free_texts(array + n * k->size, k->fields, k->field_count);
        free(array);
    }
    for (size_t i = 0; i < ARRAY_LEN(WORDS); i++) {
        char **array = *AT(char **, r, WORDS[i].array_offset);
        for (size_t n = 0; n < *AT(size_t, r, WORDS[i].count_offset); n++) free(array[n]);
        free(array);
    }
    for (size_t i = 0; i < ARRAY_LEN(OBJECTS); i++) json_decref(*AT(json_t *, r, OBJECTS[i].offset));
    run_info_init(r);
}

double run_window_s(const run_info *r) {
    PRE(r);
    double sum = 0;
    for (size_t i = 0; i < r->segment_count; i++) sum += r->segments[i].end_s - r->segments[i].begin_s;
    return sum;
}

/* Writing */

/* Takes the reference to value. The objects on the way are made. */
static void put(json_t *object, const char *path, json_t *value) {
    for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) {
        char *name = xstrndup(path, (size_t)(dot - path));
        json_t *inner = json_object_get(object, name);
        if (!inner) {
            inner = json_object();
            json_object_set_new(object, name, inner);
        }
        free(name);
        object = inner;
    }
    CHECK(json_object_set_new(object, path, value) == 0);
}

static json_t *text(const char *s) {
    json_t *out = s ? json_string(s) : json_null();
    return out ? out : json_string("?"); /* no UTF-8 */
}

static json_t *number(double x) {
    if (!isfinite(x)) return json_null();
    return x == trunc(x) && fabs(x) < 9e15 ? json_integer((json_int_t)x) : json_real(x);
}

static void put_field(json_t *object, const field *f, const void *base) {
    json_t *value = NULL;
    switch (f->kind) {
    case FIELD_NUMBER:
        value = number(*AT(const double, base, f->offset));
        break;
    case FIELD_BOOL:
        value = json_boolean(*AT(const bool, base, f->offset));
        break;
    case FIELD_TEXT:
        value = text(*AT(char *const, base, f->offset));
        break;
    case FIELD_NAME:
        value = text(AT(const char, base, f->offset));
        break;
    case FIELD_SEED:
        PRE(*AT(const uint64_t, base, f->offset) <= INT64_MAX);
        value = json_integer((json_int_t)*AT(const uint64_t, base, f->offset));
        break;
    }
    put(object, f->path, value);
}

json_t *run_json(const run_info *r) {
    PRE(r);
    json_t *out = json_object();
    put(out, "schema", json_string(RUN_SCHEMA));
    for (size_t i = 0; i < ARRAY_LEN(WORDS); i++) {
        json_t *words = json_array();
        char *const *array = *AT(char **const, r, WORDS[i].array_offset);
        for (size_t n = 0; n < *AT(const size_t, r, WORDS[i].count_offset); n++)
            json_array_append_new(words, text(array[n]));
        put(out, WORDS[i].path, words);
    }
    for (size_t i = 0; i < ARRAY_LEN(RUN); i++) put_field(out, &RUN[i], r);
    for (size_t i = 0; i < ARRAY_LEN(LISTS); i++) {
        const list_kind *k = &LISTS[i];
        json_t *list = json_array();
        const char *array = *AT(char *const, r, k->array_offset);
        for (size_t n = 0; n < *AT(const size_t, r, k->count_offset); n++) {
            json_t *element = json_object();
            for (size_t f = 0; f < k->field_count; f++)
                put_field(element, &k->fields[f], array + n * k->size);
            json_array_append_new(list, element);
        }
        put(out, k->path, list);
    }
    for (size_t i = 0; i < ARRAY_LEN(OBJECTS); i++) {
        json_t *object = *AT(json_t *const, r, OBJECTS[i].offset);
        bool server = OBJECTS[i].offset == offsetof(run_info, target.server);
        put(out, OBJECTS[i].path, object ? json_incref(object) : server ? json_null() : json_object());
    }
    return out;
}

static status write_file(const char *path, const char *bytes, errbuf *eb) {
    FILE *f = fopen(path, "we");
    if (!f) return errf(eb, ST_IO, "%s: %s", path, strerror(errno));
    bool written = fputs(bytes, f) >= 0 && fputs("\n", f) >= 0 && fflush(f) == 0 && fsync(fileno(f)) == 0;
    int error = errno;
    if (fclose(f) != 0 && written) {
        written = false;
        error = errno;
    }
    return written ? ST_OK : errf(eb, ST_IO, "%s: %s", path, strerror(error));
}

status run_file_write(const run_info *r, const char *dir, errbuf *eb) {
    PRE(r);
    PRE(dir);
    char *path = xasprintf("%s/run.json", dir), *half = xasprintf("%s/run.json.half", dir);
    json_t *json = run_json(r);
    char *bytes = json_dumps(json, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
    json_decref(json);
    status st = bytes ? write_file(half, bytes, eb) : errf(eb, ST_INVALID, "%s: no JSON", path);
    if (st == ST_OK && rename(half, path) != 0) st = errf(eb, ST_IO, "%s: %s", path, strerror(errno));
    if (st != ST_OK) unlink(half);
    free(bytes);
    free(half);
    free(path);
    return st;
}

/* Reading */

/* Borrowed; NULL: it is not there. */
static json_t *get(const json_t *object, const char *path) {
    for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) {
        char *name = xstrndup(path, (size_t)(dot - path));
        object = json_object_get(object, name);
        free(name);
    }
    return json_object_get(object, path);
}

/* What the field should be, when it is not; else NULL. */
static const char *take_field(const json_t *object, const field *f, void *base) {
    const json_t *v = get(object, f->path);
    if (!v || json_is_null(v)) return NULL;
    switch (f->kind) {
    case FIELD_NUMBER:
        if (!json_is_number(v)) return "a number";
        *AT(double, base, f->offset) = json_number_value(v);
        return NULL;
    case FIELD_BOOL:
        if (!json_is_boolean(v)) return "true or false";
        *AT(bool, base, f->offset) = json_is_true(v);
        return NULL;
    case FIELD_TEXT:
        if (!json_is_string(v)) return "a text";
        free(*AT(char *, base, f->offset));
        *AT(char *, base, f->offset) = xstrdup(json_string_value(v));
        return NULL;
    case FIELD_NAME:
        if (!json_is_string(v)) return "a text";
        snprintf(AT(char, base, f->offset), sizeof((slo *)0)->name, "%s", json_string_value(v));
        return NULL;
    case FIELD_SEED:
        if (!json_is_integer(v) || json_integer_value(v) < 0) return "a whole number";
        *AT(uint64_t, base, f->offset) = (uint64_t)json_integer_value(v);
        return NULL;
    }
    return NULL;
}

static status take_list(const json_t *json, const list_kind *k, run_info *r, errbuf *eb) {
    const json_t *list = get(json, k->path);
    if (!list || json_is_null(list)) return ST_OK;
    if (!json_is_array(list)) return errf(eb, ST_INVALID, "'%s' is not a list", k->path);
    char *array = xcalloc(json_array_size(list) + 1, k->size);
    size_t *count = AT(size_t, r, k->count_offset);
    *AT(char *, r, k->array_offset) = array;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *element = json_array_get(list, i);
        char *into = array + i * k->size;
        k->init(into);
        (*count)++;
        if (!json_is_object(element)) return errf(eb, ST_INVALID, "'%s[%zu]' is not an object", k->path, i);
        for (size_t f = 0; f < k->field_count; f++) {
            const char *want = take_field(element, &k->fields[f], into);
            if (want)
                return errf(eb, ST_INVALID, "'%s[%zu].%s' is not %s", k->path, i, k->fields[f].path, want);
        }
    }
    return ST_OK;
}

static status take_words(const json_t *json, const words_kind *k, run_info *r, errbuf *eb) {
    const json_t *list = get(json, k->path);
    if (!list || json_is_null(list)) return ST_OK;
    if (!json_is_array(list)) return errf(eb, ST_INVALID, "'%s' is not a list", k->path);
    char **array = xcalloc(json_array_size(list) + 1, sizeof *array);
    size_t *count = AT(size_t, r, k->count_offset);
    *AT(char **, r, k->array_offset) = array;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *word = json_array_get(list, i);
        if (!json_is_string(word)) return errf(eb, ST_INVALID, "'%s[%zu]' is not a text", k->path, i);
        array[(*count)++] = xstrdup(json_string_value(word));
    }
    return ST_OK;
}

static status take_run(run_info *r, const json_t *json, errbuf *eb) {
    const json_t *schema = json_object_get(json, "schema");
    if (!json_is_string(schema) || strcmp(json_string_value(schema), RUN_SCHEMA) != 0)
        return errf(eb, ST_INVALID, "its schema is not \"" RUN_SCHEMA "\": was it written by baton-bench?");
    for (size_t i = 0; i < ARRAY_LEN(RUN); i++) {
        const char *want = take_field(json, &RUN[i], r);
        if (want) return errf(eb, ST_INVALID, "'%s' is not %s", RUN[i].path, want);
    }
    status st = ST_OK;
    for (size_t i = 0; i < ARRAY_LEN(LISTS) && st == ST_OK; i++) st = take_list(json, &LISTS[i], r, eb);
    for (size_t i = 0; i < ARRAY_LEN(WORDS) && st == ST_OK; i++) st = take_words(json, &WORDS[i], r, eb);
    for (size_t i = 0; i < ARRAY_LEN(OBJECTS) && st == ST_OK; i++) {
        json_t *object = get(json, OBJECTS[i].path);
        if (!object || json_is_null(object)) continue;
        if (!json_is_object(object)) return errf(eb, ST_INVALID, "'%s' is not an object", OBJECTS[i].path);
        *AT(json_t *, r, OBJECTS[i].offset) = json_incref(object);
    }
    return st;
}

status run_file_read(run_info *r, const char *dir, errbuf *eb) {
    PRE(r);
    PRE(dir);
    char *path = xasprintf("%s/run.json", dir);
    status st = ST_OK;
    FILE *f = fopen(path, "re");
    if (!f) st = errf(eb, ST_IO, "%s: %s", path, strerror(errno));
    json_error_t error;
    json_t *json = f ? json_loadf(f, 0, &error) : NULL;
    if (f && !json) st = errf(eb, ST_INVALID, "%s:%d: no JSON: %s", path, error.line, error.text);
    if (json) {
        run_info got;
        run_info_init(&got);
        st = take_run(&got, json, eb);
        if (st != ST_OK) {
            err_prefix(eb, st, "%s", path);
            run_info_done(&got);
        } else {
            *r = got;
        }
    }
    json_decref(json);
    if (f) fclose(f);
    free(path);
    return st;
}
