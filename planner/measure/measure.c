#include "planner/measure/measure.h"

#include "base/clock.h"
#include "base/mem.h"
#include "bench/experiment/files.h"
#include "bench/experiment/machine.h"
#include "planner/measure/course.h"
#include "planner/measure/progress.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Shares of the time. */
#define DISAGGREGATED 0.52
#define COLOCATED     0.36
#define CROWD         0.12

typedef struct measuring {
    const measure_options *opt;
    config *base; /* as the user's settings make it */
    progress progress;
    samples steps, crowd;
    overheads overheads;
    assemble_input found;
    profile *profile;
} measuring;

/* Steps are told with heartbeats, which have room for 256 each; and nobody is given up while measured. Plain
 * prompts are all computed. Waits of a machine that is busy are no deaths. */
static void own_sets(const measuring *m, course_kind kind, spec_texts *out) {
    const config *b = m->base;
    *out = (spec_texts){0};
    spec_texts_addf(out, "model.prefix_cache=false");
    spec_texts_addf(out, "limits.heartbeat_ms=%u", MIN(b->limits.heartbeat_ms, 25u));
    spec_texts_addf(out, "limits.suspect_ms=%u", MAX(b->limits.suspect_ms, 10000u));
    spec_texts_addf(out, "limits.gone_ms=%u", MAX(b->limits.gone_ms, 30000u));
    spec_texts_addf(out, "limits.step_age_ms=%u", MAX(b->limits.step_age_ms, 60000u));
    spec_texts_addf(out, "limits.lease_ms=%u", MAX(b->limits.lease_ms, 60000u));
    spec_texts_addf(out, "mock.workers_per_process=1");
    if (kind == COURSE_DISAGGREGATED) return;
    /* Whatever chunks a search may choose between. */
    uint32_t chunk = MAX(b->colocated.chunk_tokens, b->prefill.chunk_tokens);
    spec_texts_addf(out, "colocated.policy=chunked");
    spec_texts_addf(out, "colocated.chunk_tokens=%u", chunk);
    spec_texts_addf(out, "colocated.token_budget=%u", MAX(b->colocated.token_budget, chunk));
    if (!b->colocated.count) spec_texts_addf(out, "colocated.cores=%u", b->decode.cores);
}

static assemble_role shape_of(const rig *r, worker_role role) {
    const config_role *c = config_role_of(r->cfg, role);
    if (!c->count) return (assemble_role){0};
    bool whole = strcmp(r->cfg->model.backend, "cuda") == 0 || strcmp(r->cfg->model.backend, "mock") == 0;
    return (assemble_role){.tp = c->tp,
                           .pp = c->pp,
                           .devices = c->tp * c->pp * (whole ? 1 : c->cores),
                           .kv_pages = r->roles[role].pages,
                           .max_seqs = c->max_seqs};
}

static void replace(char **to, const char *text) {
    if (*to || !text) return;
    *to = xstrdup(text);
}

static void take_facts(measuring *m, const rig *r, course_kind kind) {
    if (kind == COURSE_CROWD) return;
    for (worker_role role = 0; role < ROLE_COUNT; role++)
        if (config_role_of(r->cfg, role)->count) m->found.roles[role] = shape_of(r, role);
    profile *p = m->profile;
    p->max_context = MAX(p->max_context, r->max_context);
    replace(&p->model, r->model);
    replace(&p->version, r->version);
    if (!p->source) p->source = xasprintf("measured; arithmetic: %s", r->path ? r->path : "unknown");
}

/* From hand-offs of a chunk each, as the engine counted them: both workers of the pair do. */
static void take_link(measuring *m, const rig *r) {
    double twice = 2.0 * r->counted;
    double bytes = (r->after.bytes - r->before.bytes) / twice;
    double segments = (r->after.segments - r->before.segments) / twice;
    m->found.pair_bytes_per_s = r->after.pair_bytes_per_s;
    m->found.kv_token_bytes = bytes / r->counted_tokens;
    m->found.layers = r->cfg->handoff.overlap ? (uint32_t)MAX(segments + 0.5, 1.0) : 0;
}

/* The log goes with its folder. One that ended by itself has been quoted. */
static void say_last_words(measuring *m, rig *r) {
    if (!r->ask || proc_ended(&r->cluster.up)) return;
    char words[600];
    files_last_words(words, sizeof words, r->cluster.log, 3);
    progress_end(&m->progress);
    if (words[0]) fprintf(stderr, "the cluster's last words: %s\n", words);
}

static status run_kind(measuring *m, course_kind kind, double share, errbuf *eb) {
    static const char *const what[] = {"a prefill and a decode worker", "a colocated worker",
                                       "two colocated workers"};
    const measure_options *o = m->opt;
    rig_options ro = {.config = o->config, .sets = o->sets, .dir = o->dir};
    if (kind == COURSE_DISAGGREGATED)
        ro.count[ROLE_PREFILL] = ro.count[ROLE_DECODE] = 1;
    else
        ro.count[ROLE_COLOCATED] = kind == COURSE_CROWD ? 2 : 1;
    own_sets(m, kind, &ro.own);
    progress_part(&m->progress, share);
    progress_say(&m->progress, "starting %s", what[kind]);
    rig r;
    status st = rig_start(&r, o->tools, &ro, eb);
    spec_texts_done(&ro.own);
    course c = {.rig = &r,
                .steps = kind == COURSE_CROWD ? &m->crowd : &m->steps,
                .overheads = kind == COURSE_DISAGGREGATED ? &m->overheads : NULL,
                .progress = &m->progress,
                .seconds = share * o->seconds,
                .repeats = o->repeats};
    if (st == ST_OK) take_facts(m, &r, kind);
    if (st == ST_OK) st = course_run(&c, kind, eb);
    if (st == ST_OK && kind == COURSE_DISAGGREGATED) take_link(m, &r);
    if (st == ST_PEER || st == ST_TIMEOUT) say_last_words(m, &r);
    rig_stop(&r);
    return st == ST_OK ? ST_OK : err_prefix(eb, st, "%s", what[kind]);
}

/* Whether the machine has the cores for two of them. */
static bool has_room(const config *c) {
    bool sleeps = strcmp(c->model.backend, "mock") == 0;
    uint32_t cores = c->colocated.count ? c->colocated.cores : c->decode.cores;
    return sleeps || c->cluster.hosts_count || (long)(2 * cores) <= sysconf(_SC_NPROCESSORS_ONLN);
}

static char *date_now(void) {
    char text[32];
    time_t now = (time_t)clock_wall_s();
    struct tm utc;
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    return xstrdup(text);
}

static char *machine_now(void) {
    char cpu[128];
    machine_cpu(cpu, sizeof cpu);
    return xasprintf("%s, %ld cores", cpu[0] ? cpu : "unknown CPU", sysconf(_SC_NPROCESSORS_ONLN));
}

status measure(profile **out, points *pts, assemble_slowed *slowed, const measure_options *opt, errbuf *eb) {
    PRE(out);
    PRE(pts);
    PRE(opt);
    measuring m = {.opt = opt, .progress = progress_begin(opt->quiet)};
    *pts = (points){0};
    status st =
        config_load(&m.base, opt->config, (const char *const *)opt->sets->items, opt->sets->count, eb);
    if (st != ST_OK) return st;
    m.profile = xcalloc(1, sizeof *m.profile);
    m.found = (assemble_input){
        .steps = &m.steps, .crowd = &m.crowd, .overheads = &m.overheads, .pair_bytes_per_s = NAN};
    st = run_kind(&m, COURSE_DISAGGREGATED, DISAGGREGATED, eb);
    if (st == ST_OK) st = run_kind(&m, COURSE_COLOCATED, COLOCATED, eb);
    if (st == ST_OK && has_room(m.base)) st = run_kind(&m, COURSE_CROWD, CROWD, eb);
    progress_end(&m.progress);
    if (st == ST_OK) st = assemble(m.profile, pts, slowed, &m.found, eb);
    if (st == ST_OK) {
        m.profile->name = xstrdup(m.base->cluster.name);
        m.profile->date = date_now();
        m.profile->machine = machine_now();
        profile_seal(m.profile);
        st = profile_check(m.profile, eb);
    }
    config_free(m.base);
    samples_done(&m.steps);
    samples_done(&m.crowd);
    overheads_done(&m.overheads);
    if (st == ST_OK)
        *out = m.profile;
    else {
        profile_free(m.profile);
        points_done(pts);
    }
    return st;
}
