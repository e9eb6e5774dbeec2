#include "bench/report/step_trace.h"

#include "base/mem.h"
#include "bench/report/facts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS_MAX 64u

const char *span_text(span_kind k) {
    static const char *const text[] = {"prefill", "decode", "both in one step", "hand-off"};
    PRE((size_t)k < ARRAY_LEN(text));
    return text[k];
}

/* Steps have the category "step"; slices of requests on a worker are told apart by theirs, and only their
 * hand-offs are taken. */
static bool kind_of(const json_t *event, span_kind *out) {
    static const struct {
        const char *begins;
        span_kind kind;
    } names[] = {{"prefill", SPAN_PREFILL},  {"decode", SPAN_DECODE},   {"mixed", SPAN_MIXED},
                 {"hand-off", SPAN_HANDOFF}, {"handoff", SPAN_HANDOFF}, {"hand_off", SPAN_HANDOFF}};
    const char *name = json_string_value(json_object_get(event, "name"));
    const char *category = json_string_value(json_object_get(event, "cat"));
    for (size_t i = 0; name && i < ARRAY_LEN(names); i++) {
        if (strncmp(name, names[i].begins, strlen(names[i].begins)) != 0) continue;
        *out = names[i].kind;
        return *out == SPAN_HANDOFF || !category || strcmp(category, "step") == 0;
    }
    return false;
}

typedef struct process {
    double pid;
    const char *name; /* borrowed from the JSON; NULL = it was not told */
    uint32_t worker;  /* UINT32_MAX = none of its events is drawn */
} process;

typedef struct reading {
    step_trace *trace;
    process *all; /* [count]; owned */
    uint32_t count;
} reading;

static process *process_of(reading *r, double pid) {
    for (uint32_t i = 0; i < r->count; i++) {
        if (r->all[i].pid == pid) return &r->all[i];
    }
    r->all = xrealloc(r->all, r->count + 1, sizeof *r->all);
    r->all[r->count] = (process){.pid = pid, .worker = UINT32_MAX};
    return &r->all[r->count++];
}

static void take_name(reading *r, const json_t *event) {
    const char *what = json_string_value(json_object_get(event, "name"));
    const char *ph = json_string_value(json_object_get(event, "ph"));
    if (!ph || ph[0] != 'M' || !what || strcmp(what, "process_name") != 0) return;
    process_of(r, json_num(event, "pid", 0))->name =
        json_string_value(json_object_get(json_object_get(event, "args"), "name"));
}

static void take_span(reading *r, const json_t *event) {
    step_trace *t = r->trace;
    span_kind kind;
    const char *ph = json_string_value(json_object_get(event, "ph"));
    if (!ph || ph[0] != 'X' || !kind_of(event, &kind)) return;
    double begin = json_num(event, "ts", NAN) / 1e6, length = json_num(event, "dur", NAN) / 1e6;
    if (isnan(begin) || isnan(length)) return;
    process *p = process_of(r, json_num(event, "pid", 0));
    if (p->name && strcmp(p->name, "coordinator") == 0) return; /* it tells what workers do a second time */
    if (p->worker == UINT32_MAX) {
        if (t->worker_count == WORKERS_MAX) return;
        p->worker = t->worker_count++;
        t->workers[p->worker] = p->name ? xstrdup(p->name) : xasprintf("process %.0f", p->pid);
    }
    t->spans = t->span_count % 1024 ? t->spans : xrealloc(t->spans, t->span_count + 1024, sizeof *t->spans);
    t->spans[t->span_count++] = (span){begin, begin + length, kind, p->worker};
}

/* Rows stand in the order of names, whoever began first. */
static void order_workers(step_trace *t) {
    uint32_t place[WORKERS_MAX];
    char *names[WORKERS_MAX];
    for (uint32_t i = 0; i < t->worker_count; i++) {
        place[i] = 0;
        names[i] = t->workers[i];
        for (uint32_t k = 0; k < t->worker_count; k++) {
            int order = worker_name_order(t->workers[k], t->workers[i]);
            place[i] += order < 0 || (order == 0 && k < i);
        }
    }
    for (uint32_t i = 0; i < t->worker_count; i++) t->workers[place[i]] = names[i];
    for (size_t i = 0; i < t->span_count; i++) t->spans[i].worker = place[t->spans[i].worker];
}

static int by_begin(const void *a, const void *b) {
    const span *x = a, *y = b;
    return (x->begin_s > y->begin_s) - (x->begin_s < y->begin_s);
}

status step_trace_read(step_trace *t, const char *path, errbuf *eb) {
    PRE(t);
    json_t *o = NULL;
    *t = (step_trace){.workers = xcalloc(WORKERS_MAX, sizeof(char *))};
    status st = json_file(&o, path, eb);
    if (st != ST_OK) return st;
    const json_t *events = json_is_array(o) ? o : json_object_get(o, "traceEvents");
    reading r = {.trace = t};
    for (size_t i = 0; i < json_array_size(events); i++) take_name(&r, json_array_get(events, i));
    for (size_t i = 0; i < json_array_size(events); i++) take_span(&r, json_array_get(events, i));
    if (t->span_count == 0) st = errf(eb, ST_INVALID, "%s: there is no step of a worker in it", path);
    order_workers(t);
    if (t->span_count) qsort(t->spans, t->span_count, sizeof *t->spans, by_begin);
    double start = t->span_count ? t->spans[0].begin_s : 0;
    for (size_t i = 0; i < t->span_count; i++) {
        t->spans[i].begin_s -= start;
        t->spans[i].end_s -= start;
        t->end_s = fmax(t->end_s, t->spans[i].end_s);
    }
    free(r.all);
    json_decref(o);
    return st;
}

void step_trace_done(step_trace *t) {
    PRE(t);
    for (uint32_t i = 0; i < t->worker_count; i++) free(t->workers[i]);
    free(t->workers);
    free(t->spans);
    *t = (step_trace){0};
}
