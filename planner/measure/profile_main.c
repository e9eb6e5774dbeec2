#include "planner/measure/profile_main.h"

#include "base/mem.h"
#include "bench/experiment/files.h"
#include "bench/experiment/stop.h"
#include "planner/measure/assemble.h"
#include "planner/measure/measure.h"
#include "planner/profile/profile_file.h"
#include "planner/profile/profile_json.h"

#include <argp.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EXIT_FAILED = 1, EXIT_REFUSED = 2, EXIT_ERROR = 4, EXIT_STOPPED = 130 };

#define SECONDS       60
#define QUICK_SECONDS 12
#define LIMIT_PERCENT 10.0

typedef struct options {
    const char *config, *from, *out;
    spec_texts sets;
    profile_read_options read;
    double seconds, limit_percent;
    bool quick, quiet;
} options;

enum { OPT_FROM = 300, OPT_QUICK, OPT_SECONDS, OPT_LIMIT, OPT_MODEL, OPT_HARDWARE };

static const struct argp_option flags[] = {
    {"output", 'o', "FILE", 0, "Where the profile goes. Required", 1},
    {"set", 's', "KEY=VALUE", 0, "A setting of the config, such as model.path=other.gguf", 1},
    {"quick", OPT_QUICK, NULL, 0, "About 20 s instead of 90: fewer and shorter prompts, fewer repeats", 1},
    {"seconds", OPT_SECONDS, "S", 0, "Of measuring, beside the starts of the clusters; default 60", 1},
    {"max-error", OPT_LIMIT, "PERCENT", 0,
     "Refuse to write a profile with a larger mean leave-one-out error; default 10", 1},
    {"quiet", 'q', NULL, 0, "No progress lines", 1},
    {"from", OPT_FROM, "FILE", 0,
     "Measure nothing: read what others measured (DistServe, Splitwise's perf_model.csv, a simple CSV, a "
     "latency preset or its file)",
     2},
    {"model", OPT_MODEL, "NAME", 0, "With --from: of several models in the file", 2},
    {"hardware", OPT_HARDWARE, "NAME", 0, "With --from: of several machines in the file", 2},
    {0}};

static double number(const char *text, double least, double most, const char *name,
                     const struct argp_state *state) {
    char *end;
    double x = strtod(text, &end);
    if (end == text || *end || !(x >= least && x <= most))
        argp_error(state, "--%s %s: want a number from %g to %g", name, text, least, most);
    return x;
}

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    options *o = state->input;
    switch (key) {
    case 'o':
        o->out = arg;
        return 0;
    case 's':
        spec_texts_addf(&o->sets, "%s", arg);
        return 0;
    case 'q':
        o->quiet = true;
        return 0;
    case OPT_QUICK:
        o->quick = true;
        return 0;
    case OPT_SECONDS:
        o->seconds = number(arg, 1, 3600, "seconds", state);
        return 0;
    case OPT_LIMIT:
        o->limit_percent = number(arg, 0.01, 1000, "max-error", state);
        return 0;
    case OPT_FROM:
        o->from = arg;
        return 0;
    case OPT_MODEL:
        o->read.model = arg;
        return 0;
    case OPT_HARDWARE:
        o->read.hardware = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (o->config) return ARGP_ERR_UNKNOWN;
        o->config = arg;
        return 0;
    case ARGP_KEY_END:
        if (!o->config == !o->from) argp_error(state, "give the CONFIG of a cluster, or --from FILE");
        if (!o->out) argp_error(state, "where does the profile go? (-o FILE)");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void parse(options *o, int argc, char **argv) {
    static const struct argp argp = {
        flags,
        parse_option,
        "CONFIG\n--from FILE",
        "Measures what the engine of CONFIG costs on this machine, in clusters as deploy/up.sh starts them: "
        "a "
        "prefill and a decode worker, a colocated one (with the decode worker's cores if CONFIG has none), "
        "two colocated ones. Coordinator and client run on the same cores as the workers, as they do in "
        "service: leave the machine alone meanwhile."
        "\vExit status: 0 the profile is written; 1 failed; 2 wrong usage, config or file; 4 the "
        "leave-one-out error is above --max-error, and nothing is written.",
        NULL,
        NULL,
        NULL};
    char name[] = "baton-plan profile";
    argv[0] = name;
    argp_err_exit_status = EXIT_REFUSED;
    argp_parse(&argp, argc, argv, 0, NULL, o);
}

static int failed(status st, const errbuf *eb) {
    fprintf(stderr, "baton-plan profile: %s\n", eb->text);
    if (st == ST_CANCELED) return EXIT_STOPPED;
    return st == ST_INVALID ? EXIT_REFUSED : EXIT_FAILED;
}

/* ---- what came out ---- */

static void say_error(const char *phase, const step_cost *cost, const profile_error *e, double cv) {
    if (!cost->count) return;
    printf("  %-8s", phase);
    if (isnan(e->mean))
        printf("leave-one-out error unknown, too few points to tell; %.3f ms and more",
               step_cost_intercept_ns(cost) / 1e6);
    else
        printf(
            "leave-one-out error %5.1f %% (p90 %.1f, max %.1f) of %u points, %u knots; equal steps vary by "
            "%.1f %%",
            100 * e->mean, 100 * e->p90, 100 * e->max, e->points, cost->count, 100 * cv);
    printf("\n");
}

static void say_slowed(const char *phase, const char *by, double part, bool known) {
    if (known)
        printf("  %s steps beside another's %s: %.1f %% slower\n", phase, by, 100 * part);
    else
        printf("  %s steps beside another's %s: not measured, counted as no slower\n", phase, by);
}

/* slowed: NULL: others did not measure it. */
static void say_engine(const profile_engine *e, const assemble_slowed *slowed) {
    for (worker_role role = 0; role < ROLE_COUNT; role++)
        if (e->roles[role]) printf("%s ", worker_role_name(role));
    printf("tp %u pp %u, %u device%s, %u KV pages, %u requests, gap %.0f us\n", e->tp, e->pp, e->devices,
           e->devices == 1 ? "" : "s", e->kv_pages, e->max_seqs, e->gap_ns / 1e3);
    say_error("prefill", &e->prefill, &e->prefill_error, e->prefill_cv);
    say_error("decode", &e->decode, &e->decode_error, e->decode_cv);
    if (!isnan(e->mixed_error.mean) && e->mixed_error.points)
        printf("  mixed   error %5.1f %% (p90 %.1f, max %.1f) of %u points, shared %.2f\n",
               100 * e->mixed_error.mean, 100 * e->mixed_error.p90, 100 * e->mixed_error.max,
               e->mixed_error.points, e->shared);
    else if (e->prefill.count && e->decode.count)
        printf("  mixed   error unknown, too few points to tell; shared %.2f\n", e->shared);
    if (slowed && e->prefill.count) {
        say_slowed("prefill", "prefill", e->slowed_by_prefill, slowed->prefill_by_prefill);
        say_slowed("prefill", "decode", e->slowed_by_decode, slowed->prefill_by_decode);
    }
    if (slowed && e->decode.count) {
        say_slowed("decode", "prefill", e->decode_slowed_by_prefill, slowed->decode_by_prefill);
        say_slowed("decode", "decode", e->decode_slowed_by_decode, slowed->decode_by_decode);
    }
}

/* slowed: [ROLE_COUNT], or NULL. */
static void say(const profile *p, const assemble_slowed *slowed) {
    printf("profile %s of %s\n", p->hash, p->model ? p->model : p->name);
    for (uint32_t i = 0; i < p->engine_count; i++) {
        worker_role role = 0;
        while (role + 1 < ROLE_COUNT && !p->engines[i].roles[role]) role++;
        say_engine(&p->engines[i], slowed ? &slowed[role] : NULL);
    }
    if (p->link.known)
        printf("hand-off %.2f ms + bytes at %.2f GB/s, %.0f bytes per token in %u pieces\n",
               p->link.latency_ns / 1e6, p->link.bytes_per_s / 1e9, p->link.kv_token_bytes, p->link.layers);
    const profile_overheads *o = &p->overheads;
    printf("overheads: arrive %.0f, dispatch %.0f, emit %.0f, into the batch %.0f us\n", o->arrive_ns / 1e3,
           o->dispatch_ns / 1e3, o->emit_ns / 1e3, o->handoff_ns / 1e3);
}

static json_t *json_of_points(const points *pts) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < pts->count; i++) {
        const point *p = &pts->items[i];
        json_t *j = json_pack("{s:s, s:s, s:f, s:f, s:f, s:f, s:I, s:f}", "role", worker_role_name(p->role),
                              "phase", point_phase_name(p->phase), "x", p->x, "y", p->y, "ns", p->ns,
                              "min_ns", p->min_ns, "n", (json_int_t)p->n, "cv", p->cv);
        if (p->phase == POINT_MIXED) {
            json_object_set_new(j, "batch", json_real(p->batch));
            json_object_set_new(j, "context", json_real(p->context));
        }
        json_array_append_new(list, j);
    }
    return list;
}

/* As profile_write, with what the curves were fitted to. */
static status write_out(const profile *p, const points *pts, const char *path, errbuf *eb) {
    json_t *root = profile_json_of(p);
    json_object_set_new(root, "points", json_of_points(pts));
    char *text = json_dumps(root, JSON_INDENT(1));
    json_decref(root);
    CHECK(text);
    status st = files_write(path, text, strlen(text), eb);
    free(text);
    return st;
}

/* Whether the file can be written: minutes of measuring are not to be lost for a name. */
static status try_out(const char *path, errbuf *eb) {
    struct stat at;
    if (stat(path, &at) == 0 && S_ISDIR(at.st_mode)) return errf(eb, ST_IO, "%.200s: is a folder", path);
    char *beside = xasprintf("%s.XXXXXX", path);
    int fd = mkstemp(beside);
    status st = ST_OK;
    if (fd < 0)
        st = errf(eb, ST_IO, "%.200s: cannot be written: %s", path, strerror(errno));
    else {
        close(fd);
        unlink(beside);
    }
    free(beside);
    return st;
}

/* ---- the two ways ---- */

static int judge(const options *o, const profile *p) {
    profile_worst w = profile_worst_error(p);
    if (100 * w.error <= o->limit_percent) return 0;
    worker_role role = 0;
    while (role + 1 < ROLE_COUNT && !w.engine->roles[role]) role++;
    char what[80];
    if (o->from)
        snprintf(what, sizeof what, "%s steps of tp %u, pp %u", w.phase, w.engine->tp, w.engine->pp);
    else
        snprintf(what, sizeof what, "%s steps of %s workers", w.phase, worker_role_name(role));
    fprintf(
        stderr,
        "baton-plan profile: the mean leave-one-out error of %s is %.1f %%, above --max-error %g: nothing is "
        "written. %s\n",
        what, 100 * w.error, o->limit_percent,
        o->from
            ? "No curve of the planner's goes through these points: give more of them, without those that "
              "were disturbed, or allow more"
            : "Was the machine used by others? Measure again, longer (--seconds), or allow more");
    return EXIT_ERROR;
}

static int run_convert(const options *o) {
    errbuf eb = {0};
    profile *p = NULL;
    status st = profile_read(&p, o->from, &o->read, &eb);
    if (st != ST_OK) return failed(st, &eb);
    say(p, NULL);
    int code = judge(o, p);
    if (!code && (st = profile_write(p, o->out, &eb)) != ST_OK) code = failed(st, &eb);
    profile_free(p);
    return code;
}

static int run_measure(const options *o) {
    errbuf eb = {0};
    tools t;
    char base[PATH_MAX];
    const char *tmp = getenv("TMPDIR");
    snprintf(base, sizeof base, "%s/baton-profile-XXXXXX", tmp && tmp[0] == '/' ? tmp : "/tmp");
    status st = try_out(o->out, &eb);
    if (st == ST_OK) st = tools_find(&t, NULL, &eb);
    if (st != ST_OK) return failed(st, &eb);
    if (!mkdtemp(base)) {
        tools_done(&t);
        return failed(errf(&eb, ST_IO, "%s: cannot be made", base), &eb);
    }
    stop_watch();
    measure_options m = {.config = o->config,
                         .sets = &o->sets,
                         .tools = &t,
                         .dir = base,
                         .seconds = o->seconds > 0 ? o->seconds
                                    : o->quick     ? QUICK_SECONDS
                                                   : SECONDS,
                         .repeats = o->quick ? 4 : 8,
                         .quiet = o->quiet};
    profile *p = NULL;
    points pts = {0};
    assemble_slowed slowed[ROLE_COUNT];
    st = measure(&p, &pts, slowed, &m, &eb);
    int code = st == ST_OK ? 0 : failed(st, &eb);
    if (!code) {
        say(p, slowed);
        code = judge(o, p);
        if (!code && (st = write_out(p, &pts, o->out, &eb)) != ST_OK) code = failed(st, &eb);
        points_done(&pts);
        profile_free(p);
    }
    (void)files_remove_dir(base, NULL);
    tools_done(&t);
    return code;
}

int profile_main(int argc, char **argv) {
    options o = {.limit_percent = LIMIT_PERCENT};
    parse(&o, argc, argv);
    signal(SIGPIPE, SIG_IGN); /* whoever read the progress may be gone; clusters are ended all the same */
    int code = o.from ? run_convert(&o) : run_measure(&o);
    spec_texts_done(&o.sets);
    return code;
}
