#include "bench/report/facts.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double json_num(const json_t *o, const char *key, double otherwise) {
    PRE(key);
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}

bool json_flag(const json_t *o, const char *key, bool otherwise) {
    PRE(key);
    const json_t *v = json_object_get(o, key);
    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

void json_text(const json_t *o, const char *key, char *out, size_t size) {
    PRE(key);
    PRE(out);
    PRE(size > 0);
    const char *text = json_string_value(json_object_get(o, key));
    snprintf(out, size, "%s", text ? text : "");
}

status json_file(json_t **out, const char *path, errbuf *eb) {
    PRE(out);
    PRE(path);
    FILE *f = fopen(path, "re");
    if (!f) return errf(eb, ST_IO, "%s: %s", path, strerror(errno));
    json_error_t e;
    json_t *o = json_loadf(f, 0, &e);
    fclose(f);
    if (!o) return errf(eb, ST_INVALID, "%s:%d: %s", path, e.line, e.text);
    *out = o;
    return ST_OK;
}

static void read_segments(facts *f, const json_t *list) {
    size_t n = json_array_size(list);
    f->segments = xcalloc(n + 1, sizeof *f->segments);
    for (size_t i = 0; i < n; i++) {
        const json_t *s = json_array_get(list, i);
        f->segments[f->segment_count++] = (segment){.seed = (uint64_t)json_num(s, "seed", 0),
                                                    .begin_s = json_num(s, "begin_s", NAN),
                                                    .end_s = json_num(s, "end_s", NAN)};
    }
}

static int name_rank(const char *name) {
    return strncmp(name, "prefill", 7) == 0 ? 0 : strncmp(name, "decode", 6) == 0 ? 1 : 2;
}

int worker_name_order(const char *a, const char *b) {
    PRE(a);
    PRE(b);
    int x = name_rank(a), y = name_rank(b);
    return x != y ? x - y : strverscmp(a, b);
}

static int by_name(const void *a, const void *b) {
    return worker_name_order(((const worker_facts *)a)->name, ((const worker_facts *)b)->name);
}

static void read_workers(facts *f, const json_t *list) {
    size_t n = json_array_size(list);
    f->workers = xcalloc(n + 1, sizeof *f->workers);
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(list, i);
        worker_facts *w = &f->workers[f->worker_count++];
        json_text(o, "name", w->name, sizeof w->name);
        json_text(o, "role", w->role, sizeof w->role);
        w->prefill_share = json_num(o, "prefill_share", NAN);
        w->decode_share = json_num(o, "decode_share", NAN);
        w->mixed_share = json_num(o, "mixed_share", NAN);
        w->pages_used_max = json_num(o, "pages_used_max", NAN);
        w->pages_total = json_num(o, "pages_total", NAN);
    }
    qsort(f->workers, f->worker_count, sizeof *f->workers, by_name);
}

static void read_validity(facts *f, const json_t *o) {
    f->valid = json_flag(o, "valid", true);
    const json_t *reasons = json_object_get(o, "reasons");
    for (size_t i = 0; i < json_array_size(reasons); i++) {
        const char *text = json_string_value(json_array_get(reasons, i));
        if (text) buf_addf(&f->reasons, "%s%s", f->reasons.len ? "; " : "", text);
    }
}

status facts_read(facts *f, const char *path, errbuf *eb) {
    PRE(f);
    json_t *o;
    *f = (facts){.valid = true};
    status st = json_file(&o, path, eb);
    if (st != ST_OK) return st;
    f->present = true;
    json_text(o, "date", f->date, sizeof f->date);
    json_text(o, "version", f->version, sizeof f->version);
    json_text(json_object_get(o, "target"), "model", f->model, sizeof f->model);
    json_text(json_object_get(o, "target"), "url", f->url, sizeof f->url);
    f->rate = json_num(o, "rate", INFINITY);
    f->warmup_s = json_num(o, "warmup_s", NAN);
    f->duration_s = json_num(o, "duration_s", NAN);
    read_segments(f, json_object_get(o, "segments"));
    const json_t *client = json_object_get(o, "client"), *late = json_object_get(client, "lateness_ms");
    f->client_cpu_share = json_num(client, "cpu_share", NAN);
    f->lateness_p50_ms = json_num(late, "p50", NAN);
    f->lateness_p99_ms = json_num(late, "p99", NAN);
    f->achieved_rate = json_num(client, "achieved_rate", NAN);
    f->largest_rate = json_num(client, "largest_rate", NAN);
    f->added_latency_ms = json_num(client, "added_latency_ms", NAN);
    read_validity(f, json_object_get(o, "validity"));
    const json_t *steady = json_object_get(o, "steady");
    f->steady_reached = json_flag(steady, "reached", true);
    f->unstable = json_flag(steady, "unstable", false);
    f->drift = json_flag(steady, "drift", false);
    f->warmup_needed_s = json_num(steady, "warmup_needed_s", NAN);
    f->g = json_num(steady, "g", NAN);
    f->g_limit = json_num(steady, "g_limit", NAN);
    read_workers(f, json_object_get(o, "workers"));
    const json_t *server = json_object_get(o, "server");
    f->preemptions = json_num(server, "preemptions", NAN);
    f->replays = json_num(server, "replays", NAN);
    f->coordinator_cpu_share = json_num(server, "coordinator_cpu_share", NAN);
    f->interrupted = json_flag(o, "interrupted", false);
    json_decref(o);
    return ST_OK;
}

void facts_done(facts *f) {
    PRE(f);
    free(f->segments);
    free(f->workers);
    buf_done(&f->reasons);
    *f = (facts){0};
}

double worker_busy_share(const worker_facts *w) {
    PRE(w);
    double sum = 0;
    const double parts[] = {w->prefill_share, w->decode_share, w->mixed_share};
    bool known = false;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (isnan(parts[i])) continue;
        known = true;
        sum += parts[i];
    }
    return known ? sum : NAN;
}
