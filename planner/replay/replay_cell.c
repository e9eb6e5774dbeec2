#include "planner/replay/replay_cell.h"

#include "base/clock.h"
#include "base/mem.h"
#include "bench/experiment/files.h"
#include "bench/rows/settled.h"
#include "planner/replay/config_placement.h"
#include "planner/replay/simulated_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_S   600.0 /* of baton-bench serve, where its command does not say */
#define CAPACITY_OF 600u  /* requests */

/* ---- what was measured ---- */

typedef struct measured {
    config *config;
    run_info info;
    row_list rows;
    schedule plan;
    bool cut;
} measured;

static int by_schedule(const void *a, const void *b) {
    const row *x = a, *y = b;
    if (x->scheduled_ns != y->scheduled_ns) return x->scheduled_ns < y->scheduled_ns ? -1 : 1;
    if (x->seed != y->seed) return x->seed < y->seed ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static uint64_t ns_of(double s) {
    return s > 0 ? (uint64_t)llround(s * (double)NS_PER_S) : 0;
}

/* What it had, where it is known, else what was asked. */
static planned planned_of(const row *r) {
    bool known = r->outcome == ROW_OK && r->prompt_tokens > 0 && r->output_tokens > 0;
    return (planned){.seed = r->seed,
                     .at_ns = r->scheduled_ns,
                     .index = r->index,
                     .prompt_tokens = MAX(known ? r->prompt_tokens : r->prompt_asked, 1u),
                     .output_tokens = MAX(known ? r->output_tokens : r->output_asked, 1u),
                     .phase = r->phase};
}

/* Windows as a run has them: one after the other, each of a seed of its own. */
static status check_segments(const run_info *info, errbuf *eb) {
    bool open = isnan(info->window_s); /* counted: the window ends with its last request */
    for (size_t w = 0; w < info->segment_count; w++) {
        const run_segment *g = &info->segments[w];
        double before_s = w ? g[-1].end_s : 0;
        if (!(g->begin_s >= before_s && g->begin_s <= SCHEDULE_SECONDS_MAX) ||
            !(open || (g->end_s > g->begin_s && g->end_s <= SCHEDULE_SECONDS_MAX)))
            return errf(
                eb, ST_INVALID,
                "segments[%zu] of run.json is %g to %g s: want windows of at most %g s that follow each "
                "other",
                w, g->begin_s, g->end_s, SCHEDULE_SECONDS_MAX);
        for (size_t k = 0; k < w; k++)
            if (info->segments[k].seed == g->seed)
                return errf(eb, ST_INVALID, "segments[%zu] and [%zu] of run.json have the same seed", k, w);
    }
    return ST_OK;
}

status replay_schedule(schedule *out, row_list *rows, const run_info *info, errbuf *eb) {
    PRE(out);
    PRE(rows);
    PRE(info);
    if (rows->count > SCHEDULE_COUNT_MAX)
        return errf(eb, ST_INVALID, "%zu rows: want at most %u", rows->count, SCHEDULE_COUNT_MAX);
    status st = check_segments(info, eb);
    if (st != ST_OK) return st;
    if (rows->count) qsort(rows->rows, rows->count, sizeof *rows->rows, by_schedule);
    schedule s = {.count = (uint32_t)rows->count, .window_count = (uint32_t)info->segment_count};
    s.items = xcalloc(rows->count + 1, sizeof *s.items);
    s.windows = xcalloc(info->segment_count + 1, sizeof *s.windows);
    uint32_t members = 0;
    for (uint32_t w = 0; w < s.window_count; w++) {
        const run_segment *g = &info->segments[w];
        s.windows[w] = (schedule_window){.seed = g->seed,
                                         .begin_ns = ns_of(g->begin_s),
                                         .end_ns = isnan(info->window_s) ? ROW_NEVER : ns_of(g->end_s)};
    }
    for (uint32_t i = 0; i < s.count; i++) {
        s.items[i] = planned_of(&rows->rows[i]);
        for (uint32_t w = 0; w < s.window_count && s.items[i].phase == ROW_WINDOW; w++) {
            schedule_window *in = &s.windows[w];
            if (in->seed != s.items[i].seed) continue;
            if (in->count++ == 0) in->first = i;
            members++;
        }
    }
    if (s.count) s.end_ns = s.items[s.count - 1].at_ns;
    if (members == 0) {
        schedule_done(&s);
        return errf(eb, ST_INVALID, "no row is a request of a window");
    }
    *out = s;
    return ST_OK;
}

static status read_measured(measured *m, const char *from, const replay_options *o, errbuf *eb) {
    *m = (measured){0};
    run_info_init(&m->info);
    char *yaml = xasprintf("%s/cluster.yaml", from), *rows = xasprintf("%s/rows.jsonl", from);
    status st = config_load(&m->config, yaml, o->sets, o->set_count, eb);
    if (st == ST_OK) st = run_file_read(&m->info, from, eb);
    if (st == ST_OK) st = row_file_read(&m->rows, rows, &m->cut, eb);
    if (st == ST_OK && !isnan(m->info.max_concurrency))
        st = errf(eb, ST_INVALID, "%s: a closed loop (--max-concurrency): only open loops are simulated",
                  from);
    if (st == ST_OK) {
        st = replay_schedule(&m->plan, &m->rows, &m->info, eb);
        if (st != ST_OK) st = err_prefix(eb, st, "%s", rows);
    }
    free(yaml);
    free(rows);
    return st == ST_IO ? ST_INVALID : st; /* what is not there is wrong with the cell, not with the disk */
}

static void measured_done(measured *m) {
    schedule_done(&m->plan);
    row_list_done(&m->rows);
    run_info_done(&m->info);
    config_free(m->config);
}

static uint64_t timeout_ns(const run_info *info) {
    double s = NAN;
    for (size_t i = 0; i + 1 < info->command_count; i++)
        if (strcmp(info->command[i], "--request-timeout") == 0) s = strtod(info->command[i + 1], NULL);
    return ns_of(s > 0 && s <= 86400 ? s : TIMEOUT_S);
}

/* ---- what is written ---- */

static void replace(char **text, char *with) {
    free(*text);
    *text = with;
}

/* The measured run's, but for what was measured. Whether the windows were settled stays: the same windows are
 * compared. */
static void simulated_info(run_info *info, const replay_options *o, const measurement *m, const validity *v) {
    target t;
    simulated_target(&t, o->profile, o->noise_seed, "fleet");
    run_steady was = info->steady;
    for (size_t i = 0; i < info->command_count; i++) free(info->command[i]);
    info->command_count = 0;
    replace(&info->date, NULL);
    replace(&info->version, xstrdup(BATON_VERSION));
    replace(&info->target.url, xstrdup(t.shown));
    replace(&info->target.model, t.model ? xstrdup(t.model) : NULL);
    json_decref(info->target.server);
    info->target.server = json_incref(t.version);
    info->client = (run_client){.cpu_share = NAN,
                                .lateness_p50_ms = v->late.p50_ms,
                                .lateness_p99_ms = v->late.p99_ms,
                                .lateness_max_ms = v->late.max_ms,
                                .achieved_rate = v->achieved_rate,
                                .largest_rate = NAN,
                                .added_latency_ms = NAN};
    for (size_t i = 0; i < info->reason_count; i++) free(info->reasons[i]);
    info->reason_count = 0;
    info->valid = true;
    const run_segment *g = info->segments;
    info->steady = settled_of(&m->rows, g[0].begin_s, g[info->segment_count - 1].end_s);
    info->steady.reached = was.reached;
    info->steady.warmup_needed_s = was.warmup_needed_s;
    info->preemptions = m->server.preemptions;
    info->replays = m->server.replays;
    info->coordinator_cpu_share = NAN;
    info->duration_s = m->duration_s;
    info->slo_count = 0;
    json_decref(info->result);
    json_decref(info->compat);
    info->result = info->compat = NULL;
    target_done(&t);
}

static void take_workers(run_info *info, run_info *server) {
    for (size_t i = 0; i < info->worker_count; i++) {
        free(info->workers[i].name);
        free(info->workers[i].role);
    }
    free(info->workers);
    info->workers = server->workers;
    info->worker_count = server->worker_count;
    server->workers = NULL;
    server->worker_count = 0;
}

/* The measured cell's, as one that is done. */
static status write_state(const char *from, const char *to, errbuf *eb) {
    char *path = xasprintf("%s/state.json", from), *text = NULL;
    status st = files_read(&text, path, eb);
    if (st != ST_OK) {
        free(path);
        return st;
    }
    json_error_t why;
    json_t *json = json_loads(text, 0, &why);
    if (!json_is_object(json)) {
        st = errf(eb, ST_INVALID, "%s:%d: %s", path, why.line, json ? "no JSON object" : why.text);
    } else {
        json_object_set_new(json, "state", json_string("done"));
        json_object_set_new(json, "reason", json_string(""));
        char *out = json_dumps(json, JSON_INDENT(1)), *name = xasprintf("%s/state.json", to);
        CHECK(out);
        st = files_write(name, out, strlen(out), eb);
        free(name);
        free(out);
    }
    json_decref(json);
    free(text);
    free(path);
    return st;
}

/* ---- the simulations ---- */

/* The cell's requests, again and again, all there from the start and without bounds on the queue: so many
 * that what begins and ends the run is little of it. */
static schedule crowd_of(const schedule *plan, schedule_window *window) {
    uint32_t count = MAX(plan->count, CAPACITY_OF);
    schedule s = {.count = count, .windows = window, .window_count = 1};
    s.items = xcalloc(count, sizeof *s.items);
    for (uint32_t i = 0; i < count; i++) {
        s.items[i] = plan->items[i % plan->count];
        s.items[i].at_ns = 0;
        s.items[i].phase = ROW_WINDOW;
    }
    *window = (schedule_window){.seed = 1, .end_ns = ROW_NEVER, .count = count};
    return s;
}

static status find_capacity(double *out, const simulation_options *of, errbuf *eb) {
    schedule_window window;
    schedule crowd = crowd_of(of->plan, &window);
    simulation_options so = {.fleet = of->fleet, .plan = &crowd, .request_timeout_ns = ROW_MOST_NS};
    so.fleet.max_requests = so.fleet.max_queue = 0;
    so.fleet.extrapolate = true; /* its steps are larger than any of the cell */
    simulation s;
    status st = simulation_run(&s, &so, eb);
    uint32_t ok = 0;
    for (size_t i = 0; st == ST_OK && i < s.rows.count; i++) ok += s.rows.rows[i].outcome == ROW_OK;
    if (st == ST_OK) *out = s.duration_s > 0 ? ok / s.duration_s : NAN;
    simulation_done(&s);
    free(crowd.items);
    return st;
}

static status simulate(replay_cell *out, measured *m, const char *to, const replay_options *o, errbuf *eb) {
    simulation_options so = {.plan = &m->plan, .request_timeout_ns = timeout_ns(&m->info)};
    status st = config_placement(&out->placement, &so.fleet, m->config, o->profile, eb);
    if (st != ST_OK) return st;
    so.fleet.seed = o->noise_seed;
    so.fleet.extrapolate = o->extrapolate;
    st = find_capacity(&out->capacity, &so, eb);
    if (st == ST_OK) st = row_writer_open(&so.writer, to, eb);
    if (st != ST_OK) return st;
    simulation s;
    st = simulation_run(&s, &so, eb);
    errbuf close_eb = {0};
    status closed = row_writer_close(so.writer, &close_eb);
    if (st == ST_OK && closed != ST_OK) st = errf(eb, closed, "%s", close_eb.text);
    out->totals = s.totals;
    if (st == ST_OK) {
        measurement as;
        validity v;
        simulated_measurement(&as, &v, &s, &m->plan);
        simulated_info(&m->info, o, &as, &v);
        take_workers(&m->info, &as.server);
        st = run_file_write(&m->info, to, eb);
        validity_done(&v);
        measurement_done(&as);
    }
    simulation_done(&s);
    return st;
}

status replay_cell_run(replay_cell *out, const char *from, const char *to, const replay_options *o,
                       errbuf *eb) {
    PRE(out);
    PRE(from);
    PRE(to);
    PRE(o);
    *out = (replay_cell){.capacity = NAN};
    measured m;
    status st = read_measured(&m, from, o, eb);
    if (st == ST_OK) st = files_make_dir(to, eb);
    if (st == ST_OK) {
        out->cut = m.cut;
        out->requests = m.plan.count;
        st = simulate(out, &m, to, o, eb);
    }
    if (st == ST_OK) st = write_state(from, to, eb);
    measured_done(&m);
    return st;
}
