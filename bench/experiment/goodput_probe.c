#include "bench/experiment/goodput_probe.h"

#include "base/clock.h"
#include "base/mem.h"
#include "bench/experiment/files.h"
#include "bench/experiment/proc.h"
#include "bench/rows/run_file.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVE_VOID    3
#define SERVE_SPARE_S 120.0
#define SERVE_LAST_NS (20 * NS_PER_S)
#define SALTS         1000000000u

static void arguments(spec_texts *to, const probe_work *w, const goodput_point *p, uint32_t seeds,
                      const char *dir) {
    spec_texts_addf(to, "%s", w->bench);
    spec_texts_addf(to, "%s", "serve");
    for (uint32_t i = 0; i < w->flags->count; i++) spec_texts_addf(to, "%s", w->flags->items[i]);
    buf list = {0};
    for (uint32_t i = 1; i <= seeds; i++) buf_addf(&list, "%s%u", i > 1 ? "," : "", p->seeds + i);
    spec_texts_addf(to, "--request-rate=%.10g", p->rate);
    spec_texts_addf(to, "--seeds=%s", list.data);
    buf_done(&list);
    spec_texts_addf(to, "--warmup=%.10g", w->warmup_s);
    spec_texts_addf(to, "--window=%.10g", w->window_s);
    spec_texts_addf(to, "--request-timeout=%.10g", w->request_timeout_s);
    /* Drawn, not counted: a run once more, or another search, must not find its prompts in a cache either. */
    spec_texts_addf(to, "--prompt-salt=%u", (unsigned)(clock_random64() % SALTS) + 1);
    spec_texts_addf(to, "--out=%s", dir);
}

static status serve(const probe_work *w, const goodput_point *p, uint32_t seeds, const char *dir,
                    errbuf *eb) {
    status st = files_remove_dir(dir, eb);
    if (st == ST_OK) st = files_make_dir(dir, eb);
    if (st != ST_OK) return st;
    spec_texts argv = {0};
    arguments(&argv, w, p, seeds, dir);
    char *log = xasprintf("%s/serve.log", dir);
    proc child = {0};
    double limit_s = w->warmup_s + seeds * w->window_s + w->request_timeout_s + SERVE_SPARE_S;
    st = proc_start(&child, argv.items, NULL, log, eb);
    if (st == ST_OK) st = proc_wait(&child, clock_now_ns() + (uint64_t)(limit_s * 1e9), 0);
    if (st == ST_CANCELED) {
        proc_signal(&child, SIGINT);
        (void)proc_wait(&child, clock_now_ns() + SERVE_LAST_NS, 1);
        errf(eb, st, "a stop was asked for");
    } else if (st == ST_TIMEOUT) {
        st = errf(eb, ST_PEER, "baton-bench serve did not end within %.0f s", limit_s);
    } else if (st == ST_OK && child.code != 0 && child.code != SERVE_VOID) {
        char words[180];
        files_last_words(words, sizeof words, log, 2);
        st = errf(eb, ST_PEER, "baton-bench serve ended with status %d: %s", child.code, words);
    }
    proc_done(&child);
    spec_texts_done(&argv);
    free(log);
    return st;
}

/* Takes the attainment of each seed of a run that is there. */
static status take(const probe_work *w, goodput_point *p, uint32_t seeds, const char *dir, char *told,
                   size_t size, errbuf *eb) {
    run_info run;
    run_info_init(&run);
    row_list rows = {0};
    bool cut = false;
    char *path = xasprintf("%s/rows.jsonl", dir);
    status st = run_file_read(&run, dir, eb);
    if (st == ST_OK) st = row_file_read(&rows, path, &cut, eb);
    if (st == ST_OK && !run.valid) {
        p->void_ = true;
        snprintf(told, size, "%s", run.reason_count ? run.reasons[0] : "its rules of validity failed");
    }
    if (st == ST_OK) {
        p->unstable = p->unstable || run.steady.unstable;
        p->unsettled = p->unsettled || !run.steady.reached;
        if (p->unsettled && !told[0])
            snprintf(told, size, "not settled after %g s of warm-up%s", run.warmup_s,
                     run.steady.unstable ? "" : ": give a longer --warmup");
        p->attainments = xrealloc(p->attainments, p->seeds + seeds, sizeof *p->attainments);
        for (uint32_t i = 1; i <= seeds; i++) {
            const score s = score_of(&rows, &w->limits, p->seeds + i, w->window_s);
            double a = s.attainment;
            if (a != a) { /* no request was due in a window: nothing can be said */
                p->void_ = true;
                snprintf(told, size, "a window without a request: give a longer --window");
                a = 0;
            }
            p->attainments[p->seeds + i - 1] = a;
            p->good += s.good;
            p->members += s.members;
        }
        p->seeds += seeds;
    }
    free(path);
    row_list_done(&rows);
    run_info_done(&run);
    return st;
}

static char *probe_dir(const probe_work *w, const goodput_point *p) {
    if (!p->seeds) return xasprintf("%s/probe-%g", w->dir, p->rate);
    return xasprintf("%s/probe-%g.%u", w->dir, p->rate, p->seeds + 1);
}

status probe_forget(const probe_work *w, const goodput_point *p, errbuf *eb) {
    PRE(w);
    PRE(p);
    char *dir = probe_dir(w, p);
    status st = files_remove_dir(dir, eb);
    free(dir);
    return st;
}

status probe_run(const probe_work *w, goodput_point *p, uint32_t seeds, char *told, size_t size, errbuf *eb) {
    PRE(w);
    PRE(p);
    PRE(seeds > 0);
    PRE(told);
    told[0] = 0;
    char *dir = probe_dir(w, p);
    char *ended = xasprintf("%s/ended", dir); /* written last: a run that was killed is run again */
    status st = ST_OK;
    if (!files_exist(ended)) {
        st = serve(w, p, seeds, dir, eb);
        if (st == ST_OK) st = files_write(ended, "\n", 1, eb);
    }
    if (st == ST_OK) st = take(w, p, seeds, dir, told, size, eb);
    free(ended);
    free(dir);
    return st;
}
