#include "bench/load/serve.h"

#include "base/clock.h"
#include "bench/load/http_fetch.h"
#include "bench/load/outcome.h"
#include "bench/load/self_test.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EXIT_VALID = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_VOID = 3, EXIT_INTERRUPTED = 130 };
#define REPEATED_MAX    0.01 /* share of prompts; as of what a prefix cache may hold */
#define TRACE_BYTES_MAX (1u << 30)

typedef struct serving {
    serve_options o;
    int argc;
    char **argv;
    target target;
    workload *work;
    schedule plan;
    row_writer *writer;
    measurement run;
    validity validity;
    run_info info;
    int64_t date_s;
    double largest_rate, added_latency_ms;
    bool measured;
} serving;

static int failed(const errbuf *eb, int code) {
    fprintf(stderr, "baton-bench serve: %s\n", eb->text);
    return code;
}

/* ---- before the run ---- */

/* A round-robin real-time process runs as soon as its timer says so; the kernel keeps a part of the time for
 * others. Children and threads do not get it. */
static void take_priority(void) {
    struct sched_param p = {.sched_priority = 1};
    if (sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &p) == 0) return;
    if (setpriority(PRIO_PROCESS, 0, -10) == 0) return;
    fprintf(stderr, "baton-bench serve: --priority: %s: it is for root; going on without\n", strerror(errno));
}

/* Each request in flight is a connection. */
static void take_files(void) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur == r.rlim_max) return;
    r.rlim_cur = r.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &r); /* without it, a failed connection says what to do */
}

static status make_plan(serving *s, errbuf *eb) {
    status st = workload_new(&s->work, &s->o.ask.options, eb);
    return st == ST_OK ? serve_options_schedule(&s->plan, &s->o, s->work, eb) : st;
}

static bool shares_prefixes(const serving *s) {
    workload_facts trace = {0};
    return workload_trace_facts(s->work, &trace) && trace.has_prefixes;
}

/* Equal prompts would be answered from a server's prefix cache. */
static status check_prompts(const serving *s, errbuf *eb) {
    if (shares_prefixes(s)) return ST_OK;
    const target *t = &s->target;
    prompt_range range = {.id_min = t->id_min, .id_max = t->id_max};
    if (t->words) range = (prompt_range){.id_min = 0, .id_max = (int32_t)prompt_text_count(t->words) - 1};
    uint32_t count = 0, repeated = schedule_repeated_prompts(&s->plan, s->work, range);
    for (uint32_t i = 0; i < s->plan.count; i++) count += s->plan.items[i].phase != ROW_TAIL;
    if (repeated <= REPEATED_MAX * count) return ST_OK;
    return errf(eb, ST_INVALID,
                "%u of %u prompts would be equal to others: they are too short to differ in %" PRId64
                " %s; make them longer (--random-input-len, --input-min)%s",
                repeated, count, (int64_t)range.id_max - range.id_min + 1, t->words ? "words" : "token ids",
                t->words ? "" : ", or allow more ids (--prompt-ids)");
}

static status open_out(serving *s, errbuf *eb) {
    if (!s->o.out_dir) return ST_OK;
    if (mkdir(s->o.out_dir, 0777) != 0 && errno != EEXIST)
        return errf(eb, ST_IO, "%s: %s", s->o.out_dir, strerror(errno));
    return row_writer_open(&s->writer, s->o.out_dir, eb);
}

/* With the folders above it. What fails on the way, the last one tells. */
static status make_folder(const char *path, errbuf *eb) {
    char *part = xstrdup(path);
    for (char *slash = part; *slash && (slash = strchr(slash + 1, '/'));) {
        *slash = '\0';
        (void)mkdir(part, 0777);
        *slash = '/';
    }
    bool good = mkdir(path, 0777) == 0 || errno == EEXIST;
    free(part);
    return good ? ST_OK : errf(eb, ST_IO, "--result-dir: %s: %s", path, strerror(errno));
}

/* Before anything is sent: the result file can be written where it is wanted. */
static status try_result(const serve_options *o, errbuf *eb) {
    if (!o->save_result) return ST_OK;
    const char *dir = o->result_dir ? o->result_dir : ".";
    status st = make_folder(dir, eb);
    if (st != ST_OK) return st;
    /* Its own name has a date in it: any name beside it says the same. */
    char *path = o->result_filename ? xasprintf("%s/%s", dir, o->result_filename)
                                    : xasprintf("%s/%s.XXXXXX", dir, o->label ? o->label : ".baton-bench");
    bool there = o->result_filename && access(path, F_OK) == 0;
    int fd = o->result_filename ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666) : mkstemp(path);
    if (fd < 0)
        st = errf(eb, ST_IO, "--save-result: %s: %s: nothing can be written there; see --result-dir", path,
                  strerror(errno));
    else
        close(fd);
    if (fd >= 0 && !there) (void)unlink(path);
    free(path);
    return st;
}

static void show_start(const serving *s) {
    const target *t = &s->target;
    uint32_t members = 0;
    for (uint32_t i = 0; i < s->plan.window_count; i++) members += s->plan.windows[i].count;
    fprintf(stderr, "%s %s, model %s%s\n", serve_backend_name(s->o.backend), t->shown,
            t->model ? t->model : "(the only one)", t->baton ? ", Baton" : "");
    workload_facts f;
    if (workload_trace_facts(s->work, &f))
        fprintf(stderr, "%s: %u requests of format %s%s; %u rows without prompt or answer are left out\n",
                s->o.ask.options.path, f.requests, f.format, f.lengths_estimated ? ", lengths estimated" : "",
                f.left_out);
    if (isnan(s->o.window_s))
        fprintf(stderr, "%u requests\n", members);
    else
        fprintf(stderr, "warm-up %g s, then %u windows of %g s with %u requests\n", s->o.warmup_s,
                s->plan.window_count, s->o.window_s, members);
}

/* ---- after it ---- */

static void judge(serving *s) {
    bool closed = s->o.max_concurrency > 0 || isinf(s->o.rate);
    validity_facts f = {.open_loop = !closed,
                        .interrupted = s->run.interrupted,
                        .ignore_eos = s->o.ignore_eos,
                        .shares_prefixes = shares_prefixes(s),
                        .prompt_extra = s->target.chat_overhead,
                        .cpu_share = s->run.cpu_share,
                        .cached_share = s->run.cached_share};
    validity_judge(&s->validity, &s->run.rows, &s->plan, &f);
}

static status fetch_trace(const serving *s, errbuf *eb) {
    if (!s->target.has_http)
        return errf(eb, ST_INVALID, "--trace needs the server's HTTP address: give --metrics-url");
    char path[64];
    snprintf(path, sizeof path, "/trace?last=%zu", s->run.rows.count);
    buf body = {0};
    int code = 0;
    status st =
        http_fetch_wait(&s->target.metrics, path, NULL, TRACE_BYTES_MAX, 60 * NS_PER_S, &code, &body, eb);
    if (st == ST_OK && code != 200)
        st = errf(eb, ST_UNSUPPORTED, "%s%s answers %d: this server keeps no trace", s->target.metrics.header,
                  path, code);
    FILE *f = st == ST_OK ? fopen(s->o.trace_path, "w") : NULL;
    bool good = f && fwrite(body.data, 1, body.len, f) == body.len;
    if (f && fclose(f) != 0) good = false;
    if (st == ST_OK && !good) st = errf(eb, ST_IO, "--trace: %s: %s", s->o.trace_path, strerror(errno));
    buf_done(&body);
    return st;
}

/* The worse of the two, so that a failed file does not hide that the run is void. */
static void note(int *code, status st, const errbuf *eb) {
    if (st == ST_OK) return;
    fprintf(stderr, "baton-bench serve: %s\n", eb->text);
    *code = EXIT_FAILED;
}

static int finish(serving *s) {
    errbuf eb = {0};
    judge(s);
    outcome_input in = {.options = &s->o,
                        .argc = s->argc,
                        .argv = s->argv,
                        .target = &s->target,
                        .work = s->work,
                        .plan = &s->plan,
                        .run = &s->run,
                        .validity = &s->validity,
                        .largest_rate = s->largest_rate,
                        .added_latency_ms = s->added_latency_ms,
                        .date_s = s->date_s};
    outcome_info(&s->info, &in);
    buf text = {0};
    outcome_text(&text, &in, &s->info);
    fwrite(text.data, 1, text.len, stdout);
    fflush(stdout);
    buf_done(&text);
    int code = s->info.valid ? EXIT_VALID : EXIT_VOID;
    if (s->run.failed) note(&code, ST_IO, &s->run.error);
    if (s->writer) {
        note(&code, row_writer_close(s->writer, &eb), &eb);
        s->writer = NULL;
        note(&code, run_file_write(&s->info, s->o.out_dir, &eb), &eb);
    }
    if (s->o.save_result) {
        char *path = NULL;
        note(&code, outcome_save(&in, &s->info, &path, &eb), &eb);
        free(path);
    }
    if (s->o.trace_path && !s->run.interrupted && !s->run.failed) note(&code, fetch_trace(s, &eb), &eb);
    return s->run.interrupted ? EXIT_INTERRUPTED : code;
}

/* *code: the exit status when the program ends with it. */
static bool test_self(serving *s, int *code) {
    errbuf eb = {0};
    self_test t;
    status st = self_test_run(&t, s->work, &s->plan, &eb);
    *code = st != ST_OK ? failed(&eb, EXIT_FAILED) : t.interrupted ? EXIT_INTERRUPTED : EXIT_VALID;
    if (st != ST_OK || t.interrupted) return false;
    s->largest_rate = t.requests_per_s;
    s->added_latency_ms = t.added_ms;
    if (!s->o.self_test_only) return true;
    printf("This client against its built-in server, over HTTP, with requests of this workload:\n"
           "largest rate      %.0f requests/s, %.0f tokens/s\n"
           "added latency     %.3f ms\n"
           "CPU per token     %.2f us\n",
           t.requests_per_s, t.tokens_per_s, t.added_ms, t.cpu_us_per_token);
    return false;
}

static int run(serving *s) {
    errbuf eb = {0};
    int code = EXIT_VALID;
    status st = make_plan(s, &eb);
    if (st != ST_OK) return failed(&eb, st == ST_INVALID ? EXIT_USAGE : EXIT_FAILED);
    if (s->o.self_test_only) {
        (void)test_self(s, &code);
        return code;
    }
    st = try_result(&s->o, &eb);
    if (st == ST_OK) st = target_find(&s->target, &s->o, &eb);
    if (st == ST_OK && check_prompts(s, &eb) != ST_OK) return failed(&eb, EXIT_USAGE);
    if (st == ST_OK) st = open_out(s, &eb);
    if (st != ST_OK) return failed(&eb, EXIT_FAILED);
    if (!s->o.no_self_test && !test_self(s, &code)) return code;
    if (!s->o.quiet) show_start(s);
    measurement_options mo = {.target = &s->target,
                              .work = s->work,
                              .plan = &s->plan,
                              .writer = s->writer,
                              .max_concurrency = s->o.max_concurrency,
                              .closed = isinf(s->o.rate) && s->o.max_concurrency > 0,
                              .request_timeout_s = s->o.request_timeout_s,
                              .stall_s = s->o.stall_s,
                              .quiet = s->o.quiet};
    s->date_s = clock_wall_s();
    st = measurement_run(&s->run, &mo, &eb);
    s->measured = true;
    return st == ST_OK ? finish(s) : failed(&eb, EXIT_FAILED);
}

int serve_main(int argc, char **argv) {
    PRE(argv);
    char **command = xmemdup(argv, (size_t)argc * sizeof *argv); /* as it was written: argp sorts argv */
    serving s = {.argc = argc, .argv = command, .largest_rate = NAN, .added_latency_ms = NAN};
    serve_options_parse(&s.o, argc, argv);
    run_info_init(&s.info);
    if (s.o.priority) take_priority();
    take_files();
    (void)prctl(PR_SET_TIMERSLACK, 1000ul); /* ns: timers are not grouped with others */
    int code = run(&s);
    errbuf eb = {0};
    if (s.writer) (void)row_writer_close(s.writer, &eb);
    if (s.measured) measurement_done(&s.run);
    validity_done(&s.validity);
    run_info_done(&s.info);
    schedule_done(&s.plan);
    workload_free(s.work);
    target_done(&s.target);
    serve_options_done(&s.o);
    free(command);
    return code;
}
