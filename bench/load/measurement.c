#include "bench/load/measurement.h"

#include "base/clock.h"
#include "bench/load/facts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define FACTS_WAIT_NS (2 * NS_PER_S) /* for the last answers about the server */

typedef struct session {
    const measurement_options *o;
    measurement *m;
    loop *loop;
    runner *runner;
    target_link link;
    facts *facts; /* NULL: nothing can be asked */
    int32_t *ids; /* [id_capacity]: the prompt that is being prepared */
    uint32_t id_capacity;
    char *text; /* likewise, of a chat; owned */
    bool over;  /* only facts are waited for, until facts_deadline_ns */
    uint64_t facts_deadline_ns;
    uint64_t last_ns; /* end of the last member, since the run's start */
    uint64_t progress_ns, begun_ns;
    uint32_t progress_done;
    uint32_t planned; /* requests without the tail, of which nobody knows how many are sent */
    bool tty;
} session;

/* ---- what the runner asks and tells ---- */

static void on_ask(void *ctx, const planned *p, client_request *out) {
    session *s = ctx;
    const target *t = s->o->target;
    out->output_tokens = p->output_tokens;
    if (t->words) {
        free(s->text);
        out->text = s->text =
            prompt_text_make(t->words, workload_prompt_seed(s->o->work, p->seed), p->index, p->prompt_tokens);
        return;
    }
    if (p->prompt_tokens > s->id_capacity) {
        s->id_capacity = p->prompt_tokens;
        s->ids = xrealloc(s->ids, s->id_capacity, sizeof *s->ids);
    }
    workload_prompt(s->o->work, p->seed, p->index, t->id_min, t->id_max, s->ids);
    out->ids = s->ids;
    out->id_count = p->prompt_tokens;
}

static void on_row(void *ctx, row *r) {
    session *s = ctx;
    measurement *m = s->m;
    if (r->phase == ROW_WINDOW && r->end_ns != ROW_NEVER) s->last_ns = MAX(s->last_ns, r->end_ns);
    if (s->o->writer && !m->failed && row_writer_add(s->o->writer, r, &m->error) != ST_OK) {
        m->failed = true; /* the turn stops the run */
        loop_wake(s->loop);
    }
    row_list_add(&m->rows, r);
}

static void on_window(void *ctx, uint32_t window, bool end) {
    session *s = ctx;
    const schedule *plan = s->o->plan;
    if (!s->facts) return;
    if (!end && window == 0) facts_begin(s->facts);
    bool timed = plan->windows[window].end_ns != ROW_NEVER; /* else the window is over when all have ended */
    if (end && timed && window + 1 == plan->window_count) facts_end(s->facts);
}

static void on_over(void *ctx, runner_state how) {
    session *s = ctx;
    s->m->how = how;
    s->over = true;
    s->facts_deadline_ns = clock_now_ns() + FACTS_WAIT_NS;
    if (s->facts && !s->m->interrupted) facts_end(s->facts);
    loop_wake(s->loop);
}

/* ---- progress ---- */

static void show_progress(session *s, uint64_t now_ns, bool last) {
    runner_counts c = runner_counts_of(s->runner);
    double elapsed = (double)(now_ns - s->begun_ns) / 1e9, span = (double)(now_ns - s->progress_ns) / 1e9;
    double rate = span > 0 ? (c.done - s->progress_done) / span : 0;
    fprintf(stderr, "%s%.0f s: %u of %u sent, %u in flight, %u done, %u failed, %.1f done/s%s",
            s->tty ? "\r\x1b[K" : "", elapsed, c.sent, s->planned, c.in_flight, c.done, c.failed, rate,
            s->tty && !last ? "" : "\n");
    fflush(stderr);
    s->progress_ns = now_ns;
    s->progress_done = c.done;
}

/* ---- the loop ---- */

/* The first Ctrl-C ends the run and keeps what was measured; signals are then as they were, and a second one
 * ends the program. */
static void on_signal(void *ctx, int signo) {
    (void)signo;
    session *s = ctx;
    if (s->m->interrupted) _exit(130);
    s->m->interrupted = true;
    runner_stop(s->runner, "the run was interrupted");
    loop_wake(s->loop);
}

static uint64_t on_turn(void *ctx, uint64_t now_ns) {
    session *s = ctx;
    if (s->over) {
        bool wait = s->facts && !s->m->interrupted && !facts_idle(s->facts) && now_ns < s->facts_deadline_ns;
        if (!wait) loop_stop(s->loop);
        return s->facts_deadline_ns;
    }
    if (s->m->failed) {
        runner_stop(s->runner, "the run was given up: its rows cannot be written");
        return now_ns;
    }
    uint64_t next = target_link_turn(&s->link, now_ns); /* first: what is lost ends before more is sent */
    next = MIN(next, runner_turn(s->runner, now_ns));
    if (s->facts) next = MIN(next, facts_turn(s->facts, now_ns));
    uint64_t every = (s->tty ? 1 : 10) * NS_PER_S;
    if (!s->o->quiet && now_ns >= s->progress_ns + every) show_progress(s, now_ns, false);
    return s->over ? now_ns : next;
}

static double cpu_seconds(void) {
    struct rusage u;
    CHECK(getrusage(RUSAGE_SELF, &u) == 0);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static status begin(session *s, errbuf *eb) {
    const measurement_options *o = s->o;
    runner_options ro = {.plan = o->plan,
                         .max_concurrency = o->max_concurrency,
                         .closed = o->closed,
                         .request_timeout_ns = (uint64_t)(o->request_timeout_s * 1e9),
                         .stall_ns = (uint64_t)(o->stall_s * 1e9)};
    runner_handler rh = {.ctx = s, .ask = on_ask, .row = on_row, .window = on_window, .over = on_over};
    status st = loop_new(&s->loop, on_turn, s, eb);
    if (st == ST_OK) st = runner_new(&s->runner, s->loop, &ro, &rh, eb);
    if (st != ST_OK) return st;
    client_handler ch = runner_client_handler(s->runner);
    st = target_connect(o->target, s->loop, &ch, &s->link, eb);
    if (st == ST_OK && o->target->has_http) st = facts_new(&s->facts, s->loop, &o->target->metrics, eb);
    if (st != ST_OK) return st;
    for (uint32_t i = 0; i < o->plan->count; i++) s->planned += o->plan->items[i].phase != ROW_TAIL;
    loop_signals(s->loop, on_signal, s);
    return ST_OK;
}

status measurement_run(measurement *m, const measurement_options *o, errbuf *eb) {
    PRE(m);
    PRE(o);
    PRE(o->target);
    PRE(o->work);
    PRE(o->plan);
    *m = (measurement){.cached_share = NAN};
    run_info_init(&m->server);
    session s = {.o = o, .m = m, .tty = isatty(STDERR_FILENO) != 0};
    status st = begin(&s, eb);
    if (st == ST_OK) {
        s.begun_ns = s.progress_ns = clock_now_ns();
        double cpu = cpu_seconds();
        runner_start(s.runner, s.link.client);
        loop_run(s.loop);
        uint64_t now = clock_now_ns();
        m->wall_s = (double)(now - s.begun_ns) / 1e9;
        m->cpu_share = (cpu_seconds() - cpu) / m->wall_s;
        m->duration_s = (double)s.last_ns / 1e9;
        if (!o->quiet) show_progress(&s, now, true);
        if (s.facts && !m->interrupted) {
            facts_fill(s.facts, &m->server);
            m->cached_share = facts_cached_share(s.facts);
        }
        if (m->how == RUNNER_STALLED) {
            m->failed = true;
            errf(&m->error, ST_PEER,
                 "%s: nothing succeeded for %g s: the run was given up; the rows so far are kept",
                 o->target->shown, o->stall_s);
        }
    }
    target_link_done(&s.link);
    facts_free(s.facts);
    runner_free(s.runner);
    loop_free(s.loop);
    free(s.ids);
    free(s.text);
    return st;
}

void measurement_done(measurement *m) {
    PRE(m);
    row_list_done(&m->rows);
    run_info_done(&m->server);
}
