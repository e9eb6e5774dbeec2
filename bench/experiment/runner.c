#include "bench/experiment/runner.h"

#include "base/clock.h"
#include "base/mem.h"
#include "bench/experiment/cell_run.h"
#include "bench/experiment/files.h"
#include "bench/experiment/stop.h"
#include "bench/experiment/tune.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ATTEMPTS      2u /* of a cell in one run */
#define DISK_LEAST    (64ull << 20)
#define STRAYS_NS     (45 * NS_PER_S) /* an orderly stop after we were killed */
#define EVIDENCE_KEPT 4u              /* folders of failed attempts per cell */

typedef struct running {
    const runner_options *o;
    runner_result *result;
    tuning *tuning;
    uint32_t asked, seen;      /* cells asked for; of them, those behind us */
    double todo_s;             /* estimate of what is left */
    double over_s, over_cells; /* what the cells of this run took beside warm-up and windows */
} running;

static bool matches(const runner_options *o, const cell *c) {
    for (uint32_t i = 0; i < o->only_count; i++)
        if (fnmatch(o->only[i], c->name, 0) == 0) return true;
    return !o->only_count;
}

bool runner_wants(const runner_options *o, const cell *c) {
    PRE(o);
    PRE(c);
    if (matches(o, c) || !c->tuning) return matches(o, c);
    for (uint32_t i = 0; i < o->plan->count; i++) {
        const cell *grid = &o->plan->cells[i];
        if (!grid->tuning && grid->placement == c->placement && grid->workload == c->workload &&
            matches(o, grid))
            return true;
    }
    return false;
}

double runner_estimate_s(const spec *s, const cell *c) {
    return plan_measured_s(s, c) + s->overhead_s;
}

/* "1 h 05 min", "4 min", "40 s" */
static const char *duration(double s, char *out, size_t size) {
    if (s >= 3600)
        snprintf(out, size, "%d h %02d min", (int)(s / 3600), (int)(s / 60) % 60);
    else if (s >= 90)
        snprintf(out, size, "%.0f min", s / 60);
    else
        snprintf(out, size, "%.0f s", s);
    return out;
}

/* What is left, by what the cells of this run took beside their windows. */
static double left_s(const running *r) {
    double cells = r->asked - r->seen, over_s = r->over_cells > 0 ? r->over_s / r->over_cells : 0;
    double planned = r->o->spec->overhead_s;
    return r->over_cells > 0 ? r->todo_s + cells * (over_s - planned) : r->todo_s;
}

static void say(const running *r, const cell *c, const char *what, const char *more) {
    char left[32];
    printf("[%u/%u] %-44s %s%s%s", r->seen, r->asked, c->name, what, more[0] ? ": " : "", more);
    if (r->asked > r->seen) printf("  (about %s left)", duration(left_s(r), left, sizeof left));
    printf("\n");
    fflush(stdout);
}

/* The folder of an attempt that failed, out of the way of the next one: DIR/failed/CELL.N */
static status keep_evidence(const running *r, const cell *c, const char *dir, uint32_t attempt, errbuf *eb) {
    if (!files_exist(dir)) return ST_OK;
    char *to = xasprintf("%s/failed", r->o->dir);
    status st = files_make_dir(to, eb);
    free(to);
    to = xasprintf("%s/failed/%s.%u", r->o->dir, c->name, attempt % EVIDENCE_KEPT);
    if (st == ST_OK) st = files_remove_dir(to, eb);
    if (st == ST_OK && rename(dir, to) != 0) st = files_remove_dir(dir, eb);
    free(to);
    return st;
}

static void count(running *r, cell_end end) {
    r->result->done += end == CELL_DONE;
    r->result->void_ += end == CELL_VOID;
    r->result->failed += end == CELL_FAILED;
}

static status disk_has_room(const running *r, errbuf *eb) {
    uint64_t left = files_disk_left(r->o->dir);
    if (left >= DISK_LEAST) return ST_OK;
    return errf(eb, ST_IO,
                "%s: the disk has %u MiB left: make room and start again, what is finished is kept",
                r->o->dir, (unsigned)(left >> 20));
}

/* Runs until the cell is done or void, or has failed often enough. */
static status attempt_cell(running *r, const cell *c, const char *dir, cell_state *state, errbuf *eb) {
    cell_work w = {.tools = r->o->tools,
                   .spec = r->o->spec,
                   .cell = c,
                   .variant = tuning_variant(r->tuning, c),
                   .quick = r->o->quick,
                   .dir = dir};
    uint32_t before = state->attempts;
    for (uint32_t i = 1; i <= ATTEMPTS; i++) {
        status st = disk_has_room(r, eb);
        if (st == ST_OK && (i > 1 || before)) st = keep_evidence(r, c, dir, before + i - 1, eb);
        if (st == ST_OK) st = cell_run(&w, state, eb);
        if (st != ST_OK) return st;
        state->attempts = before + i;
        state->build = *r->o->build;
        st = cell_state_write(state, r->o->spec, c, dir, eb);
        if (st != ST_OK) return st;
        if (state->end != CELL_FAILED) return ST_OK;
        if (i < ATTEMPTS) say(r, c, "failed, once more", state->reason);
        if (stop_asked()) return errf(eb, ST_CANCELED, "a stop was asked for");
    }
    return ST_OK;
}

static status choose_variant(running *r, const cell *c, errbuf *eb) {
    char told[512];
    status st = tuning_choose(r->tuning, c, told, sizeof told, eb);
    if (st == ST_OK && told[0]) printf("tuned: %s\n", told);
    return st;
}

static status take_cell(running *r, const cell *c, errbuf *eb) {
    char *dir = plan_cell_dir(c, r->o->dir);
    cell_state state = {0};
    status st = cell_state_read(&state, dir, eb);
    bool finished = state.end == CELL_DONE || (state.end != CELL_NONE && !r->o->retry);
    if (st == ST_OK && finished) {
        r->seen++;
        r->todo_s -= runner_estimate_s(r->o->spec, c);
        count(r, state.end);
        say(r, c, "is there", cell_end_name(state.end));
    } else if (st == ST_OK) {
        uint64_t begin_ns = clock_now_ns();
        st = attempt_cell(r, c, dir, &state, eb);
        if (st == ST_OK) {
            r->seen++;
            r->todo_s -= runner_estimate_s(r->o->spec, c);
            r->over_s += (double)(clock_now_ns() - begin_ns) / 1e9 - plan_measured_s(r->o->spec, c);
            r->over_cells++;
            count(r, state.end);
            say(r, c, cell_end_name(state.end), state.reason);
        }
    }
    free(dir);
    if (st == ST_OK && c->tuning) st = choose_variant(r, c, eb);
    return st;
}

status runner_check_build(const runner_options *o, errbuf *eb) {
    PRE(o);
    PRE(o->build);
    cell_state first = {0};
    uint32_t others = 0;
    for (uint32_t i = 0; i < o->plan->count; i++) {
        cell_state state;
        char *dir = plan_cell_dir(&o->plan->cells[i], o->dir);
        status st = cell_state_read(&state, dir, eb);
        free(dir);
        if (st != ST_OK) return st;
        if (state.end != CELL_DONE || build_same(&state.build, o->build)) continue;
        if (!others++) first = state;
    }
    if (!others) return ST_OK;
    char was[128], is[128];
    return errf(eb, ST_INVALID,
                "%u cell%s here of another build: give another --out, or --force to mix them (there %s; now "
                "%s)",
                others, others > 1 ? "s are" : " is", build_text(&first.build, was, sizeof was),
                build_text(o->build, is, sizeof is));
}

/* Of a run that was killed: its clusters stop by themselves, or are stopped. */
static void end_strays(const char *dir, const char *folder) {
    char *prefix = xasprintf("%s/%s/", dir, folder);
    proc_end_strays(prefix, clock_now_ns() + STRAYS_NS);
    free(prefix);
}

status runner_run(const runner_options *o, runner_result *out, errbuf *eb) {
    PRE(o);
    PRE(out);
    PRE(o->dir);
    PRE(o->dir[0] == '/');
    *out = (runner_result){0};
    running r = {.o = o, .result = out};
    for (uint32_t i = 0; i < o->plan->count; i++) {
        if (!runner_wants(o, &o->plan->cells[i])) continue;
        r.asked++;
        r.todo_s += runner_estimate_s(o->spec, &o->plan->cells[i]);
    }
    status st = tuning_open(&r.tuning, o->spec, o->plan, o->dir, eb);
    if (st != ST_OK) return st;
    end_strays(o->dir, "cells");
    end_strays(o->dir, "tune");
    for (uint32_t i = 0; st == ST_OK && i < o->plan->count; i++) {
        const cell *c = &o->plan->cells[i];
        if (!runner_wants(o, c)) continue;
        st = stop_asked() ? errf(eb, ST_CANCELED, "a stop was asked for") : take_cell(&r, c, eb);
    }
    out->left = r.asked - r.seen;
    tuning_free(r.tuning);
    return st;
}
