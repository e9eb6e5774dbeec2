#include "planner/measure/seen.h"

#include "base/clock.h"
#include "base/mem.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const stage_names[SEEN_STAGES] = {"queue", "prefill", "hand-off", "decode wait", "decode"};

typedef struct reader {
    seen *out;
    uint32_t step_room, request_room;
    json_int_t pids[SEEN_WORKERS_MAX];
    json_int_t hub; /* the coordinator's pid */
} reader;

static uint64_t ns_of(const json_t *event, const char *key) {
    double us = json_number_value(json_object_get(event, key));
    return us > 0 && us < 1e16 ? (uint64_t)(us * 1e3 + 0.5) : 0;
}

static uint64_t whole(const json_t *args, const char *key) {
    json_int_t n = json_integer_value(json_object_get(args, key));
    return n > 0 ? (uint64_t)n : 0;
}

static worker_role role_of(const char *name) {
    for (worker_role role = 0; role < ROLE_COUNT; role++) {
        const char *word = worker_role_name(role);
        if (strncmp(name, word, strlen(word)) == 0) return role;
    }
    return ROLE_COUNT;
}

static status take_process(reader *r, json_int_t pid, const json_t *args, errbuf *eb) {
    const char *name = json_string_value(json_object_get(args, "name"));
    if (!name) return ST_OK;
    if (strcmp(name, "coordinator") == 0) {
        r->hub = pid;
        return ST_OK;
    }
    seen *s = r->out;
    if (s->worker_count == SEEN_WORKERS_MAX)
        return errf(eb, ST_INVALID, "more than %u workers", SEEN_WORKERS_MAX);
    seen_worker *w = &s->workers[s->worker_count];
    *w = (seen_worker){.role = role_of(name), .steps_left_out = whole(args, "steps_left_out")};
    snprintf(w->name, sizeof w->name, "%s", name);
    r->pids[s->worker_count++] = pid;
    return ST_OK;
}

static status take_step(reader *r, json_int_t pid, const json_t *event, const json_t *args, errbuf *eb) {
    seen *s = r->out;
    uint32_t worker = 0;
    while (worker < s->worker_count && r->pids[worker] != pid) worker++;
    if (worker == s->worker_count) return errf(eb, ST_INVALID, "a step of a worker without a name");
    if (!json_is_integer(json_object_get(args, "squares")) ||
        !json_is_integer(json_object_get(args, "context")))
        return errf(eb, ST_INVALID, "its steps do not tell squares and context: the server is too old");
    if (s->step_count == r->step_room) {
        r->step_room = MAX(256u, 2 * r->step_room);
        s->steps = xrealloc(s->steps, r->step_room, sizeof *s->steps);
    }
    uint64_t begin_ns = ns_of(event, "ts");
    s->steps[s->step_count++] = (seen_step){.worker = worker,
                                            .begin_ns = begin_ns,
                                            .end_ns = begin_ns + ns_of(event, "dur"),
                                            .sum = {.chunks = (uint32_t)whole(args, "chunks"),
                                                    .tokens = whole(args, "prefill_rows"),
                                                    .squares = whole(args, "squares"),
                                                    .batch = (uint32_t)whole(args, "decode_rows"),
                                                    .context = whole(args, "context")}};
    return ST_OK;
}

/* Its slices follow each other in the trace's order of begins, that of others between them. */
static seen_request *request_of(reader *r, uint64_t req) {
    seen *s = r->out;
    for (uint32_t i = s->request_count; i > 0; i--)
        if (s->requests[i - 1].req == req) return &s->requests[i - 1];
    if (s->request_count == r->request_room) {
        r->request_room = MAX(64u, 2 * r->request_room);
        s->requests = xrealloc(s->requests, r->request_room, sizeof *s->requests);
    }
    seen_request *q = &s->requests[s->request_count++];
    *q = (seen_request){.req = req, .born_ns = SEEN_NEVER};
    for (uint32_t i = 0; i < SEEN_STAGES; i++) q->begin_ns[i] = SEEN_NEVER;
    return q;
}

static void take_slice(reader *r, const char *name, const json_t *event, const json_t *args) {
    seen_request *q = request_of(r, whole(args, "req"));
    if (strncmp(name, "request ", 8) == 0) {
        q->born_ns = ns_of(event, "ts");
        q->end_ns = q->born_ns + ns_of(event, "dur");
        q->prompt_tokens = (uint32_t)whole(args, "prompt_tokens");
        q->output_tokens = (uint32_t)whole(args, "output_tokens");
        q->attempts = (uint32_t)whole(args, "attempts");
    }
    for (uint32_t i = 0; i < SEEN_STAGES; i++)
        if (strcmp(name, stage_names[i]) == 0) q->begin_ns[i] = ns_of(event, "ts");
}

static status take_event(reader *r, const json_t *event, errbuf *eb) {
    const char *ph = json_string_value(json_object_get(event, "ph"));
    const char *name = json_string_value(json_object_get(event, "name"));
    const char *cat = json_string_value(json_object_get(event, "cat"));
    const json_t *args = json_object_get(event, "args");
    json_int_t pid = json_integer_value(json_object_get(event, "pid"));
    if (!ph || !name) return errf(eb, ST_INVALID, "an event without ph or name");
    if (ph[0] == 'M' && strcmp(name, "process_name") == 0) return take_process(r, pid, args, eb);
    if (ph[0] != 'X' || !cat) return ST_OK;
    if (strcmp(cat, "step") == 0) return take_step(r, pid, event, args, eb);
    if (strcmp(cat, "request") == 0 && pid == r->hub) take_slice(r, name, event, args);
    return ST_OK;
}

static int by_worker_and_begin(const void *a, const void *b) {
    const seen_step *x = a, *y = b;
    if (x->worker != y->worker) return x->worker < y->worker ? -1 : 1;
    return (x->begin_ns > y->begin_ns) - (x->begin_ns < y->begin_ns);
}

static int by_req(const void *a, const void *b) {
    const seen_request *x = a, *y = b;
    return (x->req > y->req) - (x->req < y->req);
}

/* Adds to the steps of `mine` the shares of their time in which `other` computed: two runs, both ascending.
 */
static void add_shares(seen *s, uint32_t mine, uint32_t mine_end, uint32_t other, uint32_t other_end) {
    for (; mine < mine_end; mine++) {
        seen_step *a = &s->steps[mine];
        while (other < other_end && s->steps[other].end_ns <= a->begin_ns) other++;
        for (uint32_t i = other; i < other_end && s->steps[i].begin_ns < a->end_ns; i++) {
            const seen_step *b = &s->steps[i];
            double both = (double)(MIN(a->end_ns, b->end_ns) - MAX(a->begin_ns, b->begin_ns));
            *(b->sum.chunks ? &a->by_prefill : &a->by_decode) += both / (double)(a->end_ns - a->begin_ns);
        }
    }
}

static void find_shares(seen *s) {
    uint32_t begin[SEEN_WORKERS_MAX + 1];
    for (uint32_t w = 0, i = 0; w <= s->worker_count; w++) {
        while (i < s->step_count && s->steps[i].worker < w) i++;
        begin[w] = i;
    }
    for (uint32_t a = 0; a < s->worker_count; a++)
        for (uint32_t b = 0; b < s->worker_count; b++)
            if (a != b) add_shares(s, begin[a], begin[a + 1], begin[b], begin[b + 1]);
}

status seen_read(seen *out, const char *json, errbuf *eb) {
    PRE(out);
    PRE(json);
    *out = (seen){0};
    json_error_t why;
    json_t *all = json_loads(json, 0, &why);
    if (!all) return errf(eb, ST_INVALID, "the trace is no JSON: line %d: %s", why.line, why.text);
    reader r = {.out = out};
    const json_t *events = json_object_get(all, "traceEvents");
    status st = json_is_array(events) ? ST_OK : errf(eb, ST_INVALID, "the trace has no traceEvents");
    for (size_t i = 0; st == ST_OK && i < json_array_size(events); i++)
        st = take_event(&r, json_array_get(events, i), eb);
    json_decref(all);
    if (st != ST_OK) {
        seen_done(out);
        return st;
    }
    if (out->step_count) qsort(out->steps, out->step_count, sizeof *out->steps, by_worker_and_begin);
    if (out->request_count) qsort(out->requests, out->request_count, sizeof *out->requests, by_req);
    find_shares(out);
    return ST_OK;
}

void seen_done(seen *s) {
    PRE(s);
    free(s->steps);
    free(s->requests);
    *s = (seen){0};
}

uint64_t seen_left_out(const seen *s) {
    PRE(s);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->worker_count; i++) sum += s->workers[i].steps_left_out;
    return sum;
}

worker_role seen_role(const seen *s, const seen_step *step) {
    PRE(s);
    PRE(step);
    PRE(step->worker < s->worker_count);
    return s->workers[step->worker].role;
}
