#include "bench/experiment/cell_run.h"

#include "base/clock.h"
#include "base/mem.h"
#include "bench/experiment/files.h"
#include "bench/experiment/stop.h"

#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVE_VOID        3   /* exit status of serve: the rules of validity failed */
#define SERVE_INTERRUPTED 130 /* what was measured was kept */
#define SERVE_SPARE_S     120.0
#define SERVE_LAST_NS     (20 * NS_PER_S) /* after Ctrl-C, to write what it has */

static uint64_t after(double seconds) {
    return clock_now_ns() + (uint64_t)(seconds * 1e9);
}

static double since(uint64_t begin_ns) {
    return (double)(clock_now_ns() - begin_ns) / 1e9;
}

double cell_serve_limit_s(const spec *s, const cell *c) {
    return plan_measured_s(s, c) + s->request_timeout_s + SERVE_SPARE_S;
}

static void fail(cell_state *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fail(cell_state *out, const char *fmt, ...) {
    out->end = CELL_FAILED;
    va_list args;
    va_start(args, fmt);
    vsnprintf(out->reason, sizeof out->reason, fmt, args);
    va_end(args);
}

/* Why a run is void, from its run.json. */
static void void_reasons(const char *dir, char *out, size_t size) {
    char *path = xasprintf("%s/run.json", dir);
    json_t *run = json_load_file(path, 0, NULL);
    free(path);
    const json_t *list = json_object_get(json_object_get(run, "validity"), "reasons");
    buf text = {0};
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *reason = json_string_value(json_array_get(list, i));
        buf_addf(&text, "%s%s", text.len ? "; " : "", reason ? reason : "?");
    }
    snprintf(out, size, "%s", text.len ? text.data : "its rules of validity failed: see serve.log");
    buf_done(&text);
    json_decref(run);
}

/* serve has ended with `code`. */
static void judge(const cell_work *w, int code, cell_state *out) {
    char words[600];
    char *log = xasprintf("%s/serve.log", w->dir), *run = xasprintf("%s/run.json", w->dir);
    char *rows = xasprintf("%s/rows.jsonl", w->dir);
    files_last_words(words, sizeof words, log, 4);
    if (code != 0 && code != SERVE_VOID)
        fail(out, "baton-bench serve ended with status %d: %s", code, words);
    else if (!files_exist(run) || !files_exist(rows))
        fail(out, "baton-bench serve left no run.json or rows.jsonl: %s", words);
    else if (code == SERVE_VOID) {
        out->end = CELL_VOID;
        void_reasons(w->dir, out->reason, sizeof out->reason);
    } else {
        out->end = CELL_DONE;
    }
    free(log);
    free(run);
    free(rows);
}

/* ST_CANCELED or ST_OK: *out says what came of it. */
static status serve(const cell_work *w, cluster *c, cell_state *out) {
    spec_texts args;
    plan_serve_args(&args, w->spec, w->cell, c->url, c->native, w->dir);
    char **argv = xcalloc(args.count + 3, sizeof *argv);
    argv[0] = (char *)w->tools->bench;
    argv[1] = (char *)"serve";
    for (uint32_t i = 0; i < args.count; i++) argv[i + 2] = args.items[i];
    char *log = xasprintf("%s/serve.log", w->dir);
    proc p = {0};
    errbuf eb = {0};
    status st = proc_start(&p, argv, NULL, log, &eb);
    free(log);
    free(argv);
    spec_texts_done(&args);
    if (st != ST_OK) {
        fail(out, "%s", eb.text);
        return ST_OK;
    }
    double limit_s = cell_serve_limit_s(w->spec, w->cell);
    st = proc_wait(&p, after(limit_s), 0);
    if (st == ST_CANCELED) {
        proc_signal(&p, SIGINT);
        (void)proc_wait(&p, clock_now_ns() + SERVE_LAST_NS, 1);
    } else if (st == ST_TIMEOUT) {
        fail(out, "baton-bench serve did not end within %.0f s and was killed", limit_s);
        st = ST_OK;
    } else if (p.code == SERVE_INTERRUPTED) {
        fail(out, "baton-bench serve was interrupted");
    } else {
        judge(w, p.code, out);
    }
    proc_done(&p);
    return st;
}

/* From the ready cluster to what came of the cell. */
static status measure(const cell_work *w, cluster *c, cell_state *out) {
    uint64_t begin_ns = clock_now_ns();
    status st = serve(w, c, out);
    out->serve_s = since(begin_ns);
    errbuf eb = {0};
    if (st == ST_OK && w->spec->trace && !w->cell->tuning) (void)cluster_keep_trace(c, w->dir);
    /* What died has more to say than the client that noticed; and rows of fewer workers do not count. */
    if (st == ST_OK && cluster_check(c, &eb) != ST_OK) fail(out, "%s", eb.text);
    return st;
}

status cell_run(const cell_work *w, cell_state *out, errbuf *eb) {
    PRE(w);
    PRE(w->dir);
    PRE(w->dir[0] == '/');
    PRE(out);
    *out = (cell_state){0};
    snprintf(out->variant, sizeof out->variant, "%s", w->variant ? w->variant->name : "");
    status st = files_remove_dir(w->dir, eb);
    if (st == ST_OK) st = files_make_dir(w->dir, eb);
    if (st != ST_OK) return st;
    cluster c;
    uint64_t begin_ns = clock_now_ns();
    const spec_placement *p = &w->spec->placements[w->cell->placement];
    errbuf why = {0};
    st = cluster_start(&c, w->tools, w->spec, p, w->variant, w->quick, w->dir, &why);
    if (st == ST_OK) st = cluster_wait_ready(&c, after(w->spec->start_timeout_s), &why);
    out->start_s = since(begin_ns);
    if (st == ST_OK)
        st = measure(w, &c, out);
    else if (st != ST_CANCELED)
        fail(out, "start: %s", why.text);
    begin_ns = clock_now_ns();
    errbuf stop = {0};
    if (cluster_stop(&c, after(w->spec->stop_timeout_s), 1, &stop) != ST_OK && out->end == CELL_DONE)
        snprintf(out->reason, sizeof out->reason, "%s (after it was measured)", stop.text);
    out->stop_s = since(begin_ns);
    if (st == ST_CANCELED) return errf(eb, ST_CANCELED, "a stop was asked for");
    POST(out->end != CELL_NONE);
    return ST_OK;
}
