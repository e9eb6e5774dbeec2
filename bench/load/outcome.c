#include "bench/load/outcome.h"

#include "bench/rows/settled.h"
#include "bench/stats/steady.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCHED_MIN   200u /* requests: at least 10 in a batch */
#define WORKERS_SHOWN 16u
#define FEW           200u /* requests, below which a P99 needs an interval */

static bool is_steady(const outcome_input *in) {
    return !isnan(in->options->window_s);
}

static char *copy(const char *text) {
    return text ? xstrdup(text) : NULL;
}

/* ---- the numbers of vLLM ---- */

static summary_options summary_of_run(const outcome_input *in, const run_info *info, bool vllm) {
    summary_options o = in->options->summary;
    o.vllm = vllm;
    o.duration_s = is_steady(in) ? run_window_s(info) : in->run->duration_s;
    return o;
}

typedef struct dates {
    char compact[32], iso[32];
} dates;

static dates dates_of(int64_t seconds) {
    if (seconds == OUTCOME_NO_DATE) return (dates){.compact = "simulated"};
    time_t t = (time_t)seconds;
    struct tm local, utc;
    dates d;
    localtime_r(&t, &local);
    gmtime_r(&t, &utc);
    strftime(d.compact, sizeof d.compact, "%Y%m%d-%H%M%S", &local);
    strftime(d.iso, sizeof d.iso, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return d;
}

static uint32_t members_planned(const outcome_input *in) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < in->plan->window_count; i++) count += in->plan->windows[i].count;
    return count;
}

static summary_setup setup_of(const outcome_input *in, const dates *d) {
    const serve_options *o = in->options;
    return (summary_setup){
        .date = d->compact,
        .backend = serve_backend_name(o->backend),
        .label = o->label,
        .model = in->target->model,
        .tokenizer = in->target->model,
        .num_prompts = members_planned(in),
        .burstiness = o->ask.arrivals.kind == ARRIVALS_CONSTANT ? INFINITY : o->ask.arrivals.burstiness,
        .metadata = o->metadata,
        .metadata_count = o->metadata_count,
        .ramp_strategy = o->ramp_strategy,
        .ramp_from = o->ask.arrivals.ramp_from,
        .ramp_to = o->ask.arrivals.ramp_to,
        .detailed = o->save_detailed};
}

/* ---- run.json ---- */

static void take_segments(run_info *info, const outcome_input *in) {
    const schedule *s = in->plan;
    info->segments = xcalloc(s->window_count + 1, sizeof *info->segments);
    for (uint32_t i = 0; i < s->window_count; i++) {
        const schedule_window *w = &s->windows[i];
        info->segments[info->segment_count++] =
            (run_segment){.seed = w->seed,
                          .begin_s = (double)w->begin_ns / 1e9,
                          .end_s = w->end_ns == ROW_NEVER ? in->run->duration_s : (double)w->end_ns / 1e9};
    }
}

static void take_steady(run_info *info, const outcome_input *in) {
    const schedule *s = in->plan;
    info->steady = (run_steady){
        .warmup_needed_s = NAN, .g = NAN, .g_limit = NAN, .drift_ttft_p = NAN, .drift_tpot_p = NAN};
    if (s->window_count == 0) return;
    const schedule_window *last = &s->windows[s->window_count - 1];
    uint64_t end_ns = last->end_ns != ROW_NEVER ? last->end_ns : s->end_ns;
    info->steady = settled_of(&in->run->rows, (double)s->windows[0].begin_ns / 1e9, (double)end_ns / 1e9);
}

static void take_workload(run_info *info, const outcome_input *in) {
    static const char *const kinds[] = {"fixed", "uniform", "lognormal", "trace"};
    const workload_options *w = &in->options->ask.options;
    bool trace = w->kind == WORKLOAD_TRACE;
    info->workload = (run_workload){.name = copy(in->options->ask.name),
                                    .kind = copy(kinds[w->kind]),
                                    .path = copy(w->path),
                                    .prompt_mean = trace ? NAN : w->prompt_mean,
                                    .output_mean = trace ? NAN : w->output_mean,
                                    .prompt_range = w->prompt_range,
                                    .output_range = w->output_range,
                                    .prompt_cv = w->prompt_cv,
                                    .output_cv = w->output_cv,
                                    .prompt_scale = w->prompt_scale > 0 ? w->prompt_scale : 1,
                                    .output_scale = w->output_scale > 0 ? w->output_scale : 1,
                                    .prompt_min = w->prompt_min,
                                    .prompt_max = w->prompt_max,
                                    .output_min = w->output_min,
                                    .output_max = w->output_max};
}

typedef struct attained {
    interval over; /* of attainment: over seeds, or, of one long window, over 20 batches in the order of
                      arrival; Wilson's where there are too few requests for that, or all
                      are alike */
    batches one;   /* of the only window; n_eff NAN: there are several, or it is too short */
    interval independent; /* Wilson's */
    bool alike;           /* the seeds are: `over` is Wilson's of their requests */
} attained;

static int by_scheduled(const void *a, const void *b) {
    uint64_t x = (*(const row *const *)a)->scheduled_ns, y = (*(const row *const *)b)->scheduled_ns;
    return (x > y) - (x < y);
}

static batches batches_of(const row_list *l, const slo *limits) {
    const row **members = xcalloc(l->count + 1, sizeof(const row *));
    double *good = xcalloc(l->count + 1, sizeof *good);
    size_t n = 0;
    for (size_t i = 0; i < l->count; i++)
        if (l->rows[i].phase == ROW_WINDOW) members[n++] = &l->rows[i];
    qsort(members, n, sizeof(const row *), by_scheduled);
    for (size_t i = 0; i < n; i++) good[i] = slo_good(limits, members[i]);
    batches b = steady_batches(good, n);
    free(good);
    free(members);
    return b;
}

static attained attained_of(const outcome_input *in, const run_info *info, const score *all) {
    const slo *limits = &in->options->limits;
    attained a = {.one = {.n_eff = NAN}, .independent = stats_wilson(all->good, all->members)};
    a.over = a.independent;
    if (info->segment_count > 1) {
        double *each = xcalloc(info->segment_count, sizeof *each);
        for (size_t i = 0; i < info->segment_count; i++)
            each[i] = score_of(&in->run->rows, limits, info->segments[i].seed, 0).attainment;
        a.alike = stats_alike(each, info->segment_count);
        a.over = stats_seeds(each, (uint32_t)info->segment_count, all->good, all->members);
        free(each);
    } else if (all->members >= BATCHED_MIN && all->good > 0 && all->good < all->members) {
        a.one = batches_of(&in->run->rows, limits);
        a.over = a.one.mean;
    }
    return a;
}

static void take_goodput(run_info *info, const outcome_input *in) {
    const slo *limits = &in->options->limits;
    if (!in->options->goodput) return;
    score s = score_of(&in->run->rows, limits, SCORE_ALL, run_window_s(info));
    interval v = attained_of(in, info, &s).over;
    info->slos = xcalloc(1, sizeof *info->slos);
    info->slos[info->slo_count++] = (run_slo){.limits = *limits,
                                              .attainment = s.attainment,
                                              .low = v.low,
                                              .high = v.high,
                                              .good_per_s = s.good_per_s};
}

static void take_server(run_info *info, const run_info *server) {
    info->preemptions = server->preemptions;
    info->replays = server->replays;
    info->coordinator_cpu_share = server->coordinator_cpu_share;
    info->workers = xcalloc(server->worker_count + 1, sizeof *info->workers);
    for (size_t i = 0; i < server->worker_count; i++) {
        run_worker w = server->workers[i];
        w.name = copy(w.name);
        w.role = copy(w.role);
        info->workers[info->worker_count++] = w;
    }
}

/* A word of the command, without the value of a header: it may be a key, and results are given to others.
 * Headers point into the words. Caller frees with free. */
static char *word_of(const serve_options *o, const char *word) {
    for (uint32_t i = 0; i < o->header_count; i++) {
        const char *header = o->headers[i];
        if (header < word || header > word + strlen(word)) continue;
        size_t kept = (size_t)(header - word) + strcspn(header, "=:") + 1;
        return xasprintf("%.*s***", (int)kept, word);
    }
    return xstrdup(word);
}

static void take_setup(run_info *info, const outcome_input *in, const dates *d) {
    const serve_options *o = in->options;
    const target *t = in->target;
    info->command = xcalloc((size_t)in->argc + 1, sizeof *info->command);
    info->command[info->command_count++] = xstrdup(in->program ? in->program : "baton-bench");
    for (int i = 0; i < in->argc; i++) info->command[info->command_count++] = word_of(o, in->argv[i]);
    info->date = d->iso[0] ? xstrdup(d->iso) : NULL;
    info->version = xstrdup(BATON_VERSION);
    info->name = xstrdup(o->name ? o->name : "");
    info->target = (run_target){.kind = xstrdup(serve_backend_name(o->backend)),
                                .url = copy(t->shown),
                                .model = copy(t->model),
                                .server = t->version ? json_incref(t->version) : NULL};
    info->arrivals_kind = xstrdup(o->ask.arrivals_name);
    info->burstiness = o->ask.arrivals.burstiness;
    info->rate = isnan(o->rate) ? workload_trace_rate(in->work) : o->rate;
    info->max_concurrency = o->max_concurrency ? o->max_concurrency : NAN;
    info->warmup_s = is_steady(in) ? o->warmup_s : 0;
    info->window_s = o->window_s;
}

void outcome_info(run_info *info, const outcome_input *in) {
    PRE(info);
    PRE(in);
    dates d = dates_of(in->date_s);
    const validity *v = in->validity;
    take_setup(info, in, &d);
    take_workload(info, in);
    take_segments(info, in);
    take_server(info, &in->run->server);
    info->client = (run_client){.cpu_share = in->run->cpu_share,
                                .lateness_p50_ms = v->late.p50_ms,
                                .lateness_p99_ms = v->late.p99_ms,
                                .lateness_max_ms = v->late.max_ms,
                                .achieved_rate = v->achieved_rate,
                                .largest_rate = in->largest_rate,
                                .added_latency_ms = in->added_latency_ms};
    info->valid = v->reason_count == 0;
    info->reasons = xcalloc(v->reason_count + 1, sizeof *info->reasons);
    for (size_t i = 0; i < v->reason_count; i++) info->reasons[info->reason_count++] = xstrdup(v->reasons[i]);
    take_steady(info, in);
    info->interrupted = in->run->interrupted;
    info->duration_s = in->run->duration_s;
    take_goodput(info, in);
    summary_options ours = summary_of_run(in, info, false), theirs = summary_of_run(in, info, true);
    summary_setup setup = setup_of(in, &d);
    setup.detailed = false; /* the rows are beside it */
    info->result = summary_json(&in->run->rows, &ours, &setup);
    info->compat = summary_numbers_json(&in->run->rows, &theirs);
}

/* ---- text ---- */

static void add_share(buf *out, const char *name, double share) {
    if (!isnan(share)) buf_addf(out, ", %s %.0f %%", name, share * 100);
}

static void add_worker(buf *out, const run_worker *w) {
    buf_addf(out, "Worker %-16s pages %.0f of %.0f", w->name, w->pages_used_max, w->pages_total);
    add_share(out, "prefill", w->prefill_share);
    add_share(out, "decode", w->decode_share);
    add_share(out, "both", w->mixed_share);
    buf_adds(out, "\n");
}

/* Many workers: the means of each role. All are in run.json. */
static void add_role(buf *out, const run_info *info, const char *role) {
    double count = 0, pages = 0, share[3] = {0};
    for (size_t i = 0; i < info->worker_count; i++) {
        const run_worker *w = &info->workers[i];
        if (strcmp(w->role, role) != 0) continue;
        count++;
        pages = fmax(pages, w->pages_used_max);
        share[0] += w->prefill_share;
        share[1] += w->decode_share;
        share[2] += w->mixed_share;
    }
    buf_addf(out, "%.0f %s workers: pages up to %.0f", count, role, pages);
    add_share(out, "prefill", share[0] / count);
    add_share(out, "decode", share[1] / count);
    add_share(out, "both", share[2] / count);
    buf_adds(out, "\n");
}

static bool first_of_role(const run_info *info, size_t i) {
    for (size_t k = 0; k < i; k++)
        if (strcmp(info->workers[k].role, info->workers[i].role) == 0) return false;
    return true;
}

static void add_workers(buf *out, const run_info *info) {
    for (size_t i = 0; i < info->worker_count; i++) {
        if (info->worker_count <= WORKERS_SHOWN)
            add_worker(out, &info->workers[i]);
        else if (first_of_role(info, i))
            add_role(out, info, info->workers[i].role);
    }
    if (!isnan(info->preemptions)) buf_addf(out, "Preemptions %.0f", info->preemptions);
    if (!isnan(info->replays)) buf_addf(out, ", replays %.0f", info->replays);
    if (!isnan(info->coordinator_cpu_share))
        buf_addf(out, ", coordinator %.1f %% of a core", info->coordinator_cpu_share * 100);
    if (!isnan(info->preemptions)) buf_adds(out, "\n");
}

static void add_steady(buf *out, const run_info *info) {
    const run_steady *s = &info->steady;
    if (isnan(s->warmup_needed_s))
        buf_adds(out, "Steady state: not reached within half of the run");
    else
        buf_addf(out, "Steady state: %s (warm-up needed %.1f s, was %.1f s)",
                 s->reached ? "reached" : "not reached", s->warmup_needed_s, info->warmup_s);
    if (!isnan(s->g))
        buf_addf(out, "; %s (growth %.3f, limit %.3f)", s->unstable ? "UNSTABLE" : "stable", s->g,
                 s->g_limit);
    buf_adds(out, s->drift ? "; latencies DRIFT\n" : "\n");
}

static void add_client(buf *out, const outcome_input *in, const run_info *info) {
    const run_client *c = &info->client;
    if (isnan(c->cpu_share)) return; /* nobody was asked: it is a simulation */
    buf_addf(out, "Client: lateness P50 %.2f, P99 %.2f, max %.2f ms; %.1f %% of its core", c->lateness_p50_ms,
             c->lateness_p99_ms, c->lateness_max_ms, c->cpu_share * 100);
    if (!isnan(c->achieved_rate)) buf_addf(out, "; %.3f requests/s sent in time", c->achieved_rate);
    buf_adds(out, "\n");
    if (!isnan(c->largest_rate))
        buf_addf(out, "Client against its own server%s: up to %.0f requests/s of this kind, %.3f ms added\n",
                 in->options->backend == SERVE_NATIVE ? " (over HTTP, as a bound)" : "", c->largest_rate,
                 c->added_latency_ms);
    if (in->options->max_concurrency)
        buf_addf(out, "At most %u requests at a time: a closed loop while that is reached\n",
                 in->options->max_concurrency);
}

/* What the interval of the table is, and what it would be if requests were independent. */
static void add_attained(buf *out, const run_info *info, const attained *a) {
    double low = a->independent.low * 100, high = a->independent.high * 100;
    if (a->alike)
        buf_addf(out,
                 "Attainment interval: the %zu seeds are alike: of their requests together (Wilson), as if "
                 "they were independent\n",
                 info->segment_count);
    else if (info->segment_count > 1)
        buf_addf(out, "Attainment interval: over %zu seeds; if requests were independent: %.2f to %.2f %%\n",
                 info->segment_count, low, high);
    else if (!isnan(a->one.n_eff))
        buf_addf(out,
                 "Attainment interval: over %u batches (VIF %.1f, %.0f effective requests); if requests were "
                 "independent: %.2f to %.2f %%\n",
                 STEADY_BATCHES, a->one.vif, a->one.n_eff, low, high);
    else
        buf_adds(
            out,
            "Attainment interval: as if requests were independent (too few for another, or all alike)\n");
}

/* A P99 of few requests is hardly known: the order statistics around it. */
static void add_p99(buf *out, const row_list *l, const char *name, double (*value)(const row *)) {
    double *v = xcalloc(l->count + 1, sizeof *v), low, high;
    size_t n = 0;
    for (size_t i = 0; i < l->count; i++) {
        const row *r = &l->rows[i];
        double x = r->phase == ROW_WINDOW && r->outcome == ROW_OK ? value(r) : NAN;
        if (!isnan(x)) v[n++] = x;
    }
    stats_sort(v, n);
    if (n > 0 && n < FEW) {
        buf_addf(out, "P99 %s %.2f ms is of only %zu requests", name, stats_percentile(v, n, 99), n);
        if (stats_percentile_interval(v, n, 99, &low, &high))
            buf_addf(out, "; 95 %% interval >= %.2f, open above\n", low); /* so few have no upper bound */
        else
            buf_adds(out, ": too few for an interval\n");
    }
    free(v);
}

void outcome_text(buf *out, const outcome_input *in, const run_info *info) {
    PRE(out);
    PRE(in);
    PRE(info);
    summary_options o = summary_of_run(in, info, false);
    summary_limits limits = {.limits = in->options->limits};
    attained a = {0};
    bool goodput = in->options->goodput;
    if (goodput) {
        limits.result = score_of(&in->run->rows, &limits.limits, SCORE_ALL, run_window_s(info));
        a = attained_of(in, info, &limits.result);
        limits.attainment = a.over;
    }
    summary_table(out, &in->run->rows, &o, &limits, goodput ? 1 : 0);
    if (goodput) add_attained(out, info, &a);
    add_p99(out, &in->run->rows, "TTFT", row_ttft_ms);
    add_p99(out, &in->run->rows, "TPOT", row_tpot_ms);
    add_client(out, in, info);
    add_workers(out, info);
    if (is_steady(in)) add_steady(out, info);
    for (size_t i = 0; i < info->reason_count; i++) buf_addf(out, "VOID: %s\n", info->reasons[i]);
    if (info->interrupted) buf_adds(out, "INTERRUPTED: the numbers are of what was measured until then\n");
}

/* ---- the result file ---- */

/* The blocks of run.json that say whether the numbers may be believed, and what they are by other rules */
static void add_ours(json_t *json, const run_info *info) {
    static const char *const keys[] = {"validity", "slo", "compat"};
    json_t *all = run_json(info);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        json_object_set(json, keys[i], json_object_get(all, keys[i]));
    json_decref(all);
}

status outcome_save(const outcome_input *in, const run_info *info, char **path, errbuf *eb) {
    PRE(in);
    PRE(info);
    PRE(path);
    const serve_options *o = in->options;
    dates d = dates_of(in->date_s);
    summary_options s = summary_of_run(in, info, false);
    summary_setup setup = setup_of(in, &d);
    char *own = summary_file_name(&s, &setup);
    const char *name = o->result_filename ? o->result_filename : own;
    *path = o->result_dir ? xasprintf("%s/%s", o->result_dir, name) : xstrdup(name);
    free(own);
    json_t *json = summary_json(&in->run->rows, &s, &setup);
    json_object_set_new(json, "valid", json_boolean(info->valid));
    add_ours(json, info);
    FILE *f = fopen(*path, "w");
    bool good =
        f && json_dumpf(json, f, JSON_COMPACT | JSON_REAL_PRECISION(15)) == 0 && fputc('\n', f) != EOF;
    if (f && fclose(f) != 0) good = false;
    json_decref(json);
    return good ? ST_OK : errf(eb, ST_IO, "%s: %s", *path, strerror(errno));
}
