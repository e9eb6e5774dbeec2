/* A request is cut into runs: the whole of it on the coordinator, and each stretch of spans that one worker
 * had. Lanes are given to runs in the order of their begin, the first lane that is free; so slices of one
 * lane never overlap but where one is inside another. A lane is named before its first slice, so that no
 * piece is about many of them. */
#include "coordinator/trace_json.h"

#include "base/clock.h"
#include "base/heap.h"
#include "base/u64_map.h"
#include "coordinator/openai.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COORDINATOR   0u     /* the number that stands for it among those of the workers */
#define STEPS_AT_ONCE 16384u /* looked at for one piece */

typedef struct run {
    uint64_t begin_ns, end_ns;
    uint32_t record; /* index behind first; from `ended` on: into alive */
    uint32_t worker; /* number, or COORDINATOR */
    uint32_t lane;   /* from 1 */
    uint8_t span_begin, span_end;
} run;

typedef struct lane {
    heap_node node; /* first: a lane is where its node is */
    uint32_t number;
    bool told;
} lane;

typedef struct process {
    uint32_t number;
    lane **lanes; /* [lane_count]; owned */
    uint32_t lane_count;
    heap busy, free; /* lanes, by the end of their last run; by number */
    bool told;
} process;

struct trace_json {
    const trace *trace;
    uint64_t first;            /* number of the oldest request */
    uint32_t ended;            /* from there on */
    core_record *alive;        /* owned */
    uint64_t begin_ns, end_ns; /* from the first birth to the last end */
    run *runs;                 /* [run_count] by begin */
    uint32_t run_count, run_next;
    process **processes; /* in the order of coming */
    uint32_t process_count;
    u64_map by_number; /* number + 1 -> process */
    uint64_t step_next, step_end;
    bool opened, comma;
};

/* ---- the plan ---- */

static process *process_of(trace_json *j, uint32_t number) {
    process *p = u64_map_get(&j->by_number, number + 1ull);
    if (p) return p;
    p = xcalloc(1, sizeof *p);
    p->number = number;
    heap_init(&p->busy, 0);
    heap_init(&p->free, 0);
    j->processes = xrealloc(j->processes, j->process_count + 1, sizeof(process *));
    j->processes[j->process_count++] = p;
    u64_map_put(&j->by_number, number + 1ull, p);
    return p;
}

static uint64_t span_end(const core_record *r, uint32_t i) {
    return i + 1 < r->span_count ? r->spans[i + 1].begin_ns : r->end_ns;
}

static void add_run(trace_json *j, const core_record *r, uint32_t record, uint32_t begin, uint32_t end) {
    bool whole = begin == 0 && end == r->span_count;
    j->runs[j->run_count++] = (run){.begin_ns = whole ? r->born_ns : r->spans[begin].begin_ns,
                                    .end_ns = whole ? r->end_ns : span_end(r, end - 1),
                                    .record = record,
                                    .worker = whole ? COORDINATOR : r->spans[begin].worker,
                                    .span_begin = (uint8_t)begin,
                                    .span_end = (uint8_t)end};
}

static void add_runs(trace_json *j, const core_record *r, uint32_t record) {
    j->begin_ns = MIN(j->begin_ns, r->born_ns);
    j->end_ns = MAX(j->end_ns, r->end_ns);
    add_run(j, r, record, 0, r->span_count);
    for (uint32_t i = 0; i < r->span_count;) {
        uint32_t end = i + 1;
        while (end < r->span_count && r->spans[end].worker == r->spans[i].worker) end++;
        if (r->spans[i].worker) add_run(j, r, record, i, end);
        i = end;
    }
}

/* A longer one first, so that what is inside another comes after it; else as they are numbered. */
static int by_begin(const void *a, const void *b) {
    const run *x = a, *y = b;
    if (x->begin_ns != y->begin_ns) return x->begin_ns < y->begin_ns ? -1 : 1;
    if (x->record != y->record) return x->record < y->record ? -1 : 1;
    return (int)x->span_begin - (int)y->span_begin;
}

static void process_free(process *p) {
    for (uint32_t i = 0; i < p->lane_count; i++) free(p->lanes[i]);
    free(p->lanes);
    heap_done(&p->busy);
    heap_done(&p->free);
    free(p);
}

static void add_lane(process *p) {
    lane *l = xcalloc(1, sizeof *l);
    p->lanes = xrealloc(p->lanes, p->lane_count + 1, sizeof(lane *));
    p->lanes[p->lane_count++] = l;
    l->number = p->lane_count;
    heap_put(&p->free, &l->node, l->number);
}

static void give_lane(trace_json *j, run *r) {
    process *p = process_of(j, r->worker);
    for (heap_node *n; (n = heap_first(&p->busy)) && n->key <= r->begin_ns;) {
        heap_take(&p->busy, n);
        heap_put(&p->free, n, ((const lane *)n)->number);
    }
    if (!heap_first(&p->free)) add_lane(p);
    heap_node *n = heap_first(&p->free);
    heap_take(&p->free, n);
    heap_put(&p->busy, n, r->end_ns);
    r->lane = ((const lane *)n)->number;
}

/* NULL: it was overwritten. */
static const core_record *record_at(const trace_json *j, uint32_t index) {
    return index < j->ended ? trace_request_at(j->trace, j->first + index) : &j->alive[index - j->ended];
}

trace_json *trace_json_new(const trace *t, uint32_t last, const core_record *alive, uint32_t alive_count) {
    PRE(t);
    PRE(alive || alive_count == 0);
    PRE(last > 0);
    trace_json *j = xcalloc(1, sizeof *j);
    uint64_t end = trace_requests_end(t), oldest = trace_requests_begin(t);
    j->trace = t;
    j->first = end - oldest > last ? end - last : oldest;
    j->begin_ns = UINT64_MAX;
    u64_map_init(&j->by_number, 64);
    j->ended = (uint32_t)(end - j->first);
    if (alive_count) j->alive = xmemdup(alive, alive_count * sizeof *alive);
    uint32_t count = j->ended + alive_count, most = 0;
    for (uint32_t i = 0; i < count; i++) most += 1 + record_at(j, i)->span_count;
    j->runs = xcalloc(MAX(most, 1u), sizeof *j->runs);
    for (uint32_t i = 0; i < count; i++) add_runs(j, record_at(j, i), i);
    CHECK(j->run_count <= most);
    qsort(j->runs, j->run_count, sizeof *j->runs, by_begin);
    (void)process_of(j, COORDINATOR);
    for (uint32_t i = 0; i < j->run_count; i++) give_lane(j, &j->runs[i]);
    j->step_next = trace_steps_begin(t);
    j->step_end = j->run_count ? trace_steps_end(t) : j->step_next;
    return j;
}

void trace_json_free(trace_json *j) {
    if (!j) return;
    for (uint32_t i = 0; i < j->process_count; i++) process_free(j->processes[i]);
    free(j->processes);
    u64_map_done(&j->by_number);
    free(j->runs);
    free(j->alive);
    free(j);
}

/* ---- text ---- */

/* Opens an event of the process: {"ph":"X","pid":2,"tid":0 */
static void event(trace_json *j, buf *out, char ph, uint32_t worker, uint32_t tid) {
    buf_addf(out, "%s{\"ph\":\"%c\",\"pid\":%u,\"tid\":%u", j->comma ? ",\n" : "\n", ph, worker + 1, tid);
    j->comma = true;
}

static void time_us(buf *out, const char *key, uint64_t ns) {
    uint64_t us = ns / NS_PER_US;
    buf_addf(out, ",\"%s\":%" PRIu64 ".%03u", key, us, (unsigned)(ns % NS_PER_US));
}

static void slice_times(buf *out, uint64_t begin_ns, uint64_t end_ns) {
    time_us(out, "ts", begin_ns);
    time_us(out, "dur", end_ns - begin_ns);
}

static void add_name(const trace_json *j, buf *out, uint32_t number) {
    const trace_worker *w = trace_worker_of(j->trace, number);
    if (number == COORDINATOR)
        buf_adds(out, "\"coordinator\"");
    else if (w)
        openai_string(out, w->name, strlen(w->name));
    else
        buf_addf(out, "\"worker %u\"", number);
}

static void tell_name(trace_json *j, buf *out, const process *p, uint32_t tid, const char *what) {
    event(j, out, 'M', p->number, tid);
    buf_addf(out, ",\"name\":\"%s\",\"args\":{\"name\":", what);
}

/* Before its first event. */
static void tell_process(trace_json *j, buf *out, process *p) {
    if (p->told) return;
    p->told = true;
    tell_name(j, out, p, 0, "process_name");
    add_name(j, out, p->number);
    const trace_worker *w = trace_worker_of(j->trace, p->number);
    if (w && w->steps_left_out) buf_addf(out, ",\"steps_left_out\":%" PRIu64, w->steps_left_out);
    buf_adds(out, "}}");
    event(j, out, 'M', p->number, 0);
    buf_addf(out, ",\"name\":\"process_sort_index\",\"args\":{\"sort_index\":%u}}", p->number);
    if (p->number != COORDINATOR) {
        tell_name(j, out, p, 0, "thread_name");
        buf_adds(out, "\"steps\"}}");
    }
}

static void tell_lane(trace_json *j, buf *out, const process *p, uint32_t number) {
    lane *l = p->lanes[number - 1];
    if (l->told) return;
    l->told = true;
    tell_name(j, out, p, number, "thread_name");
    buf_addf(out, "\"requests %u\"}}", number);
}

/* The worker of the last span of that stage, as a value: "decode-0" or null. */
static void add_site(const trace_json *j, buf *out, const core_record *r, core_stage stage) {
    uint32_t number = 0;
    for (uint32_t i = 0; i < r->span_count; i++)
        if (r->spans[i].stage == stage) number = r->spans[i].worker;
    if (number)
        add_name(j, out, number);
    else
        buf_adds(out, "null");
}

static void whole_request(trace_json *j, buf *out, const run *n, const core_record *r) {
    static const char *const ends[] = {
        [REQ_DONE] = "done", [REQ_FAILED] = "failed", [REQ_CANCELED] = "canceled"};
    event(j, out, 'X', n->worker, n->lane);
    slice_times(out, n->begin_ns, n->end_ns);
    buf_addf(out,
             ",\"name\":\"request %" PRIu64 "\",\"cat\":\"request\",\"args\":{\"req\":%" PRIu64
             ",\"prompt_tokens\":%u,\"output_tokens\":%u,\"attempts\":%u,\"replays\":%u,\"preemptions\":%u,"
             "\"end\":\"%s\",\"prefill\":",
             r->req, r->req, r->prompt_tokens, r->output_tokens, r->attempts, r->replays, r->preemptions,
             ends[r->state] ? ends[r->state] : "alive");
    add_site(j, out, r, STAGE_PREFILL);
    buf_adds(out, ",\"decode\":");
    add_site(j, out, r, STAGE_DECODE);
    buf_adds(out, "}}");
}

static bool hands_over(const core_record *r, uint32_t i) {
    return i > 0 && r->spans[i].stage == STAGE_DECODE_WAIT && r->spans[i - 1].stage == STAGE_HANDOFF;
}

/* Arrows bind to the slice in which their end lies: at P the hand-off, a little before it ends. */
static void arrows(trace_json *j, buf *out, const run *n, const core_record *r, uint32_t i) {
    bool comes = hands_over(r, i), goes = i + 1 < r->span_count && hands_over(r, i + 1);
    if (!comes && !goes) return;
    uint64_t begin_ns = r->spans[i].begin_ns, end_ns = span_end(r, i);
    event(j, out, goes ? 's' : 'f', n->worker, n->lane);
    time_us(out, "ts", comes ? begin_ns : MAX(begin_ns, end_ns - 1));
    buf_addf(out, ",\"name\":\"hand-off\",\"cat\":\"hand-off\",\"id\":%" PRIu64 "%s}",
             r->req * CORE_SPANS_MAX + i + goes, comes ? ",\"bp\":\"e\"" : "");
}

static void run_events(trace_json *j, buf *out, const run *n) {
    const core_record *r = record_at(j, n->record);
    if (!r) return;
    process *p = process_of(j, n->worker);
    tell_process(j, out, p);
    tell_lane(j, out, p, n->lane);
    if (n->worker == COORDINATOR) whole_request(j, out, n, r);
    for (uint32_t i = n->span_begin; i < n->span_end; i++) {
        const core_span *s = &r->spans[i];
        event(j, out, 'X', n->worker, n->lane);
        slice_times(out, s->begin_ns, span_end(r, i));
        buf_addf(out, ",\"name\":\"%s\",\"cat\":\"request\",\"args\":{\"req\":%" PRIu64,
                 core_stage_name(s->stage), r->req);
        if (n->worker == COORDINATOR && s->worker) {
            buf_adds(out, ",\"worker\":");
            add_name(j, out, s->worker);
        }
        buf_adds(out, "}}");
        if (n->worker != COORDINATOR) arrows(j, out, n, r, i);
    }
}

static void step_event(trace_json *j, buf *out, const trace_step *s) {
    uint64_t end_ns = s->begin_ns + s->duration_us * NS_PER_US;
    if (s->begin_ns > j->end_ns || end_ns < j->begin_ns) return;
    tell_process(j, out, process_of(j, s->worker));
    event(j, out, 'X', s->worker, 0);
    slice_times(out, s->begin_ns, end_ns);
    const latency_step *n = &s->sums;
    buf_addf(out,
             ",\"name\":\"%s\",\"cat\":\"step\",\"args\":{\"prefill_rows\":%" PRIu64
             ",\"decode_rows\":%u,\"chunks\":%u,"
             "\"squares\":%" PRIu64 ",\"context\":%" PRIu64 ",\"duration_us\":%u}}",
             busy_kind_name(busy_kind_of(n->tokens, n->batch)), n->tokens, n->batch, n->chunks, n->squares,
             n->context, s->told_us);
}

bool trace_json_next(trace_json *j, buf *out) {
    PRE(j);
    PRE(out);
    size_t full = out->len + TRACE_PIECE;
    if (!j->opened) {
        buf_adds(out, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[");
        j->opened = true;
        tell_process(j, out, process_of(j, COORDINATOR));
    }
    while (j->run_next < j->run_count && out->len < full) run_events(j, out, &j->runs[j->run_next++]);
    if (j->run_next < j->run_count) return true;
    j->step_next = MAX(j->step_next, trace_steps_begin(j->trace));
    for (uint32_t i = 0; j->step_next < j->step_end && out->len < full; i++) {
        if (i == STEPS_AT_ONCE) return true;
        step_event(j, out, trace_step_at(j->trace, j->step_next++));
    }
    if (j->step_next < j->step_end) return true;
    buf_adds(out, "\n]}\n");
    return false;
}
