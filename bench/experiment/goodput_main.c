#include "bench/experiment/goodput_main.h"

#include "base/mem.h"
#include "bench/experiment/exp_dir.h"
#include "bench/experiment/files.h"
#include "bench/experiment/goodput_probe.h"
#include "bench/experiment/spec_check.h"
#include "bench/experiment/stop.h"

#include <argp.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_FAILED = 1, EXIT_REFUSED = 2, EXIT_UNDECIDED = 3, EXIT_STOPPED = 130 };
#define TRIES       2u /* of a probe that is void */
#define SEEDS_LEAST 5  /* an interval over fewer is too wide to decide anything */
enum {
    OPT_GOODPUT = 300,
    OPT_TARGET,
    OPT_DEVICES,
    OPT_START,
    OPT_MAX,
    OPT_RESOLUTION,
    OPT_SEED_COUNT,
    OPT_SEED_CAP,
    OPT_PROBES,
    OPT_WINDOW,
    OPT_WARMUP,
    OPT_TIMEOUT,
    OPT_OUT,
    OPT_BENCH,
    OPT_SERVE /* and above: handed on */
};

static const struct argp_option own[] = {
    {"goodput", OPT_GOODPUT, "K:MS...", 0, "Limits, as ttft:500 tpot:50; also itl_p99, itl_max, e2el", 1},
    {"target", OPT_TARGET, "PERCENT", 0, "Of all scheduled requests, within all limits; default 90", 1},
    {"devices", OPT_DEVICES, "N", 0, "Devices of the server: rates are told per device too; default 1", 1},
    {"out", OPT_OUT, "DIR", 0, "Where probes go; a search that is there goes on. Required", 1},
    {"start-rate", OPT_START, "R", 0, "The first rate, requests per second; default 1", 2},
    {"max-rate", OPT_MAX, "R", 0, "No higher one; default 1000000", 2},
    {"resolution", OPT_RESOLUTION, "PERCENT", 0, "Ends when PASS and FAIL are so close; default 5", 2},
    {"seed-count", OPT_SEED_COUNT, "N", 0, "Windows of each probe, a seed each; default 5, at least 5", 2},
    {"seed-cap", OPT_SEED_CAP, "N", 0, "With more seeds while the interval is wide; default 15, at least 5",
     2},
    {"max-probes", OPT_PROBES, "N", 0, "Rates that are tried; default 20", 2},
    {"window", OPT_WINDOW, "SECONDS", 0, "Length of a window; default 30", 2},
    {"warmup", OPT_WARMUP, "SECONDS", 0, "Load before the first window; default 30", 2},
    {"request-timeout", OPT_TIMEOUT, "SECONDS", 0, "For one request; default 300", 2},
    {"bench", OPT_BENCH, "PROGRAM", OPTION_HIDDEN, "Use this program's serve (for tests)", 2},
};

/* Flags of serve that say what is asked, and of whom. */
static const struct handed {
    const char *name, *arg;
} handed[] = {
    {"backend", "KIND"},
    {"base-url", "URL"},
    {"host", "HOST"},
    {"port", "PORT"},
    {"endpoint", "PATH"},
    {"model", "NAME"},
    {"metrics-url", "URL"},
    {"header", "K=V"},
    {"temperature", "T"},
    {"ignore-eos", NULL},
    {"no-ignore-eos", NULL},
    {"workload", "NAME|FILE"},
    {"dataset-name", "NAME"},
    {"dataset-path", "FILE"},
    {"random-input-len", "TOKENS"},
    {"random-output-len", "TOKENS"},
    {"random-range-ratio", "R"},
    {"input-cv", "CV"},
    {"output-cv", "CV"},
    {"input-scale", "F"},
    {"output-scale", "F"},
    {"input-min", "TOKENS"},
    {"input-max", "TOKENS"},
    {"output-min", "TOKENS"},
    {"output-max", "TOKENS"},
    {"spread", "SECONDS"},
    {"prompt-ids", "MIN:MAX"},
    {"burstiness", "B"},
    {"arrivals", "KIND"},
    {"ready-check-timeout-sec", "S"},
    {"stall-timeout", "S"},
    {"priority", NULL},
    {"no-self-test", NULL},
};

typedef struct options {
    goodput_rules rules;
    slo limits;
    bool limited;
    double devices, window_s, warmup_s, timeout_s;
    const char *out, *bench;
    spec_texts flags; /* of serve; owned */
} options;

/* ---- the command line ---- */

static double number(struct argp_state *state, const char *name, const char *text, double low, double high) {
    char *rest;
    double v = strtod(text, &rest);
    if (!text[0] || *rest || !(v >= low && v <= high))
        argp_error(state, "--%s %s: want a number from %g to %g", name, text, low, high);
    return v;
}

static void take_limit(struct argp_state *state, options *o, const char *text) {
    errbuf eb = {0};
    if (slo_parse(&o->limits, text, &eb) != ST_OK) argp_error(state, "--goodput: %s", eb.text);
    o->limited = true;
}

static void hand_on(options *o, const struct handed *h, const char *arg) {
    if (h->arg)
        spec_texts_addf(&o->flags, "--%s=%s", h->name, arg);
    else
        spec_texts_addf(&o->flags, "--%s", h->name);
}

static void take_rule(struct argp_state *state, options *o, int key, const char *arg) {
    goodput_rules *r = &o->rules;
    const char *name = "";
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (own[i].key == key) name = own[i].name;
    if (key == OPT_TARGET) r->target = number(state, name, arg, 1, 100) / 100;
    if (key == OPT_DEVICES) o->devices = number(state, name, arg, 1, 1e6);
    if (key == OPT_START) r->start = number(state, name, arg, 1e-4, 1e6);
    if (key == OPT_MAX) r->max_rate = number(state, name, arg, 1e-4, 1e6);
    if (key == OPT_RESOLUTION) r->resolution = number(state, name, arg, 0.1, 100) / 100;
    if (key == OPT_SEED_COUNT) r->seeds = (uint32_t)number(state, name, arg, SEEDS_LEAST, 1000);
    if (key == OPT_SEED_CAP) r->seeds_cap = (uint32_t)number(state, name, arg, SEEDS_LEAST, 1000);
    if (key == OPT_PROBES) r->probes_max = (uint32_t)number(state, name, arg, 1, 1000);
    if (key == OPT_WINDOW) o->window_s = number(state, name, arg, 0.1, 86400);
    if (key == OPT_WARMUP) o->warmup_s = number(state, name, arg, 0, 86400);
    if (key == OPT_TIMEOUT) o->timeout_s = number(state, name, arg, 0.1, 86400);
}

static error_t on_option(int key, char *arg, struct argp_state *state) {
    options *o = state->input;
    if (key == OPT_GOODPUT || key == ARGP_KEY_ARG) { /* as vLLM: the limits follow as words of their own */
        take_limit(state, o, arg);
        return 0;
    }
    if (key >= OPT_SERVE && key < OPT_SERVE + (int)ARRAY_LEN(handed)) {
        hand_on(o, &handed[key - OPT_SERVE], arg);
        return 0;
    }
    if (key == OPT_OUT) o->out = arg;
    if (key == OPT_BENCH) o->bench = arg;
    if (key >= OPT_GOODPUT && key < OPT_SERVE) {
        take_rule(state, o, key, arg);
        return 0;
    }
    if (key != ARGP_KEY_END) return ARGP_ERR_UNKNOWN;
    if (!o->limited) argp_error(state, "--goodput is missing, such as --goodput ttft:500 tpot:50");
    if (!o->out) argp_error(state, "--out is missing: where the probes' rows go");
    return 0;
}

static void parse(options *o, int argc, char **argv) {
    struct argp_option all[ARRAY_LEN(own) + ARRAY_LEN(handed) + 2] = {0};
    memcpy(all, own, sizeof own);
    all[ARRAY_LEN(own)] =
        (struct argp_option){.doc = "Handed on to serve (baton-bench serve --help):", .group = 3};
    for (size_t i = 0; i < ARRAY_LEN(handed); i++)
        all[ARRAY_LEN(own) + 1 + i] = (struct argp_option){
            .name = handed[i].name, .key = OPT_SERVE + (int)i, .arg = handed[i].arg, .group = 3};
    const struct argp argp = {
        .options = all,
        .parser = on_option,
        .args_doc = "--goodput K:MS... --out DIR",
        .doc =
            "Searches the highest rate at which a running server keeps the limits for the target's share of "
            "all requests: doubles the rate until it is certainly too high, then bisects. PASS and FAIL are "
            "by the 95 % interval over seeds; each rate gets seeds until half of its width is 2 points, or "
            "up "
            "to --seed-cap. Each run of serve has a --prompt-salt of its own, so that no prompt was seen by "
            "the server before."};
    argp_err_exit_status = EXIT_REFUSED;
    char name[] = "baton-bench goodput";
    char *first = argv[0];
    argv[0] = name; /* for usage and errors */
    argp_parse(&argp, argc, argv, 0, NULL, o);
    argv[0] = first;
    o->rules.seeds_cap = MAX(o->rules.seeds_cap, o->rules.seeds);
}

/* ---- the search ---- */

typedef struct search {
    const options *o;
    probe_work work;
    goodput_point *points; /* [count] */
    uint32_t count;
} search;

static void say(const search *s, const goodput_point *p, const char *told) {
    static const char *const why[] = {[GOODPUT_SEEDS_MORE] = ", more follow",
                                      [GOODPUT_SEEDS_WIDTH] = ", narrow enough",
                                      [GOODPUT_SEEDS_CAP] = ", the cap",
                                      [GOODPUT_SEEDS_FEW] = ""};
    interval i = goodput_interval(p);
    printf("%8g /s  ", p->rate);
    if (p->void_)
        printf("void, not used: %s\n", told);
    else
        printf("%5.1f %% (%.1f to %.1f%s; %u seeds%s)%s  %s%s%s\n", i.mean * 100, i.low * 100, i.high * 100,
               stats_alike(p->attainments, p->seeds) ? " by Wilson, seeds are all alike" : "", p->seeds,
               why[goodput_seeds_of(&s->o->rules, p)], p->unstable ? " unstable" : "",
               verdict_name(goodput_judge(&s->o->rules, p)), told[0] ? ": " : "", told);
    fflush(stdout);
}

/* The point anew: the runs that counted, and the void one once more. */
static status again(search *s, goodput_point *p, uint32_t counted, uint32_t seeds, char *told, size_t size,
                    errbuf *eb) {
    status st = ST_OK;
    while (st == ST_OK && p->seeds < counted)
        st = probe_run(&s->work, p, MIN(s->o->rules.seeds, counted - p->seeds), told, size, eb);
    if (st == ST_OK) st = probe_forget(&s->work, p, eb);
    return st == ST_OK ? probe_run(&s->work, p, seeds, told, size, eb) : st;
}

/* A rate of which nothing is known. */
static void drop(search *s, uint32_t at) {
    free(s->points[at].attainments);
    memmove(&s->points[at], &s->points[at + 1], (--s->count - at) * sizeof *s->points);
}

static status take_step(search *s, const goodput_next *next, errbuf *eb) {
    uint32_t at = next->point, seeds = s->o->rules.seeds;
    if (next->step == GOODPUT_PROBE) {
        s->points = xrealloc(s->points, s->count + 1, sizeof *s->points);
        at = s->count++;
        s->points[at] = (goodput_point){.rate = next->rate};
    } else {
        seeds = MIN(seeds, s->o->rules.seeds_cap - s->points[at].seeds);
    }
    char told[256];
    const goodput_point before = s->points[at];
    status st = probe_run(&s->work, &s->points[at], seeds, told, sizeof told, eb);
    for (uint32_t i = 1; st == ST_OK && s->points[at].void_ && i < TRIES; i++) {
        say(s, &s->points[at], told);
        free(s->points[at].attainments); /* those from before are read again below */
        s->points[at] = (goodput_point){.rate = before.rate};
        st = again(s, &s->points[at], before.seeds, seeds, told, sizeof told, eb);
    }
    if (st == ST_OK) say(s, &s->points[at], told);
    if (st != ST_OK && !s->points[at].seeds) drop(s, at);
    return st;
}

static int by_rate(const void *a, const void *b) {
    const rate_point *x = a, *y = b;
    return (x->rate > y->rate) - (x->rate < y->rate);
}

static json_t *real(double v) {
    return isfinite(v) ? json_real(v) : json_null();
}

static status save(const search *s, const search_result *r, const char *text, const char *why, bool whole,
                   errbuf *eb) {
    json_t *points = json_array();
    for (uint32_t i = 0; i < s->count; i++) {
        const goodput_point *p = &s->points[i];
        interval v = goodput_interval(p);
        json_array_append_new(points,
                              json_pack("{s:f, s:o, s:o, s:o, s:i, s:s, s:i, s:i, s:b, s:b, s:b, s:s}",
                                        "rate", p->rate, "attainment", real(v.mean), "low", real(v.low),
                                        "high", real(v.high), "seeds", (int)p->seeds, "seeds_ended",
                                        goodput_seeds_name(goodput_seeds_of(&s->o->rules, p)), "good",
                                        (int)p->good, "members", (int)p->members, "unstable", p->unstable,
                                        "settled", !p->unsettled, "void", p->void_, "verdict",
                                        p->void_ ? "void" : verdict_name(goodput_judge(&s->o->rules, p))));
    }
    json_t *j = json_pack("{s:s, s:f, s:f, s:s, s:b, s:o, s:o, s:o, s:s, s:o}", "schema", "baton-goodput/1",
                          "target", s->o->rules.target, "devices", s->o->devices, "ended", why, "whole",
                          whole, "highest_pass", real(r->pass), "lowest_fail", real(r->fail), "crossing",
                          real(r->crossing), "per_device", text, "points", points);
    char *out = json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(8));
    char *path = xasprintf("%s/goodput.json", s->work.dir);
    status st = files_write(path, out, strlen(out), eb);
    free(path);
    free(out);
    json_decref(j);
    return st;
}

/* Prints and keeps what was found; `whole`: the search ended by itself. The exit status, were it so. */
static int conclude(const search *s, const char *why, bool whole, errbuf *eb) {
    rate_point *points = xcalloc(s->count + 1, sizeof *points);
    size_t n = 0;
    for (uint32_t i = 0; i < s->count; i++)
        if (goodput_counts(&s->o->rules, &s->points[i])) points[n++] = goodput_rate_point(&s->points[i]);
    qsort(points, n, sizeof *points, by_rate);
    search_result r = {.pass = NAN, .fail = NAN, .crossing = NAN};
    if (n) r = search_goodput(points, n, s->o->rules.target);
    free(points);
    char all[64] = "unknown", each[64] = "unknown";
    if (n) {
        (void)search_text(&r, 1, all, sizeof all);
        (void)search_text(&r, s->o->devices, each, sizeof each);
    }
    printf("ended: %s\n", why);
    char pass[32] = "none", fail[32] = "none";
    if (!isnan(r.pass)) snprintf(pass, sizeof pass, "%g", r.pass);
    if (!isnan(r.fail)) snprintf(fail, sizeof fail, "%g", r.fail);
    printf("goodput at %g %%: %s requests/s (highest PASS %s, lowest FAIL %s)\n", s->o->rules.target * 100,
           all, pass, fail);
    if (s->o->devices > 1) printf("per device (%g): %s requests/s\n", s->o->devices, each);
    if (n && r.contradiction)
        printf("a rate passed above one that failed: noise, or more load helps this server\n");
    if (save(s, &r, each, why, whole, eb) != ST_OK) {
        fprintf(stderr, "baton-bench goodput: %s\n", eb->text);
        return EXIT_FAILED;
    }
    return isnan(r.pass) && isnan(r.fail) ? EXIT_UNDECIDED : 0;
}

static int run(search *s, errbuf *eb) {
    for (;;) {
        const goodput_next next = goodput_decide(&s->o->rules, s->points, s->count);
        if (next.step == GOODPUT_END) return conclude(s, next.why, true, eb);
        status st = take_step(s, &next, eb);
        if (st == ST_OK) continue;
        bool stopped = st == ST_CANCELED;
        errbuf other = {0};
        if (!stopped) fprintf(stderr, "baton-bench goodput: %s\n", eb->text);
        if (s->count) (void)conclude(s, stopped ? "it was stopped" : "a probe failed", false, &other);
        printf("not finished: the same command goes on\n");
        return stopped ? EXIT_STOPPED : EXIT_FAILED;
    }
}

/* What probes depend on: another search does not go on with these. */
static status keep_command(const exp_dir *dir, const options *o, errbuf *eb) {
    buf text = {0};
    for (uint32_t i = 0; i < o->flags.count; i++) {
        const char *flag = o->flags.items[i];
        if (strncmp(flag, "--header=", 9) == 0) /* its value may be a key: it stands in no file */
            buf_addf(&text, "%.*s=***\n", 9 + (int)strcspn(flag + 9, "=:"), flag);
        else
            buf_addf(&text, "%s\n", flag);
    }
    buf_addf(&text, "--seed-count=%u\n--window=%g\n--warmup=%g\n--request-timeout=%g\n", o->rules.seeds,
             o->window_s, o->warmup_s, o->timeout_s);
    status st = exp_dir_keep(dir, "command", text.data, false, eb);
    buf_done(&text);
    return st;
}

int goodput_main(int argc, char **argv) {
    options o = {.rules = {.target = 0.9,
                           .start = 1,
                           .max_rate = 1e6,
                           .resolution = 0.05,
                           .seeds = 5,
                           .seeds_cap = 15,
                           .probes_max = 20},
                 .limits = slo_none(),
                 .devices = 1,
                 .window_s = 30,
                 .warmup_s = 30,
                 .timeout_s = 300};
    parse(&o, argc, argv);
    char self[PATH_MAX] = "";
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    errbuf eb = {0};
    exp_dir dir = {0};
    status st = n > 0 || o.bench ? ST_OK : errf(&eb, ST_IO, "cannot find this program: is /proc mounted?");
    if (st == ST_OK) st = exp_dir_open(&dir, o.out, &eb);
    if (st == ST_OK) st = keep_command(&dir, &o, &eb);
    int code = EXIT_REFUSED;
    if (st == ST_OK) {
        stop_watch();
        search s = {.o = &o,
                    .work = {.bench = o.bench ? o.bench : self,
                             .dir = dir.path,
                             .flags = &o.flags,
                             .limits = o.limits,
                             .warmup_s = o.warmup_s,
                             .window_s = o.window_s,
                             .request_timeout_s = o.timeout_s}};
        code = run(&s, &eb);
        for (uint32_t i = 0; i < s.count; i++) free(s.points[i].attainments);
        free(s.points);
    } else {
        fprintf(stderr, "baton-bench goodput: %s\n", eb.text);
    }
    exp_dir_close(&dir);
    spec_texts_done(&o.flags);
    return code;
}
