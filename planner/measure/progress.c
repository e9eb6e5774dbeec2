#include "planner/measure/progress.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

progress progress_begin(bool quiet) {
    return (progress){
        .begin_ns = clock_now_ns(), .quiet = quiet, .same_line = isatty(STDERR_FILENO) == 1, .part_work = 1};
}

void progress_part(progress *p, double share) {
    PRE(p);
    p->share_done += p->part_share;
    p->part_share = share;
    p->part_done = 0;
    p->part_work = 1;
}

void progress_work(progress *p, double work) {
    PRE(p);
    p->part_work = MAX(work, 1.0);
}

void progress_add(progress *p, double work) {
    PRE(p);
    p->part_done = MIN(p->part_done + work, p->part_work);
}

void progress_say(progress *p, const char *fmt, ...) {
    PRE(p);
    if (p->quiet) return;
    char what[120];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    double spent_s = (double)(clock_now_ns() - p->begin_ns) / 1e9;
    double done = p->share_done + p->part_share * p->part_done / p->part_work;
    fprintf(stderr, "%s%5.1f s", p->same_line ? "\r" : "", spent_s);
    if (done > 0.02) fprintf(stderr, " of about %.0f s", spent_s / done);
    fprintf(stderr, ": %s%s", what, p->same_line ? "\033[K" : "\n");
    p->written = true;
    fflush(stderr);
}

void progress_end(progress *p) {
    PRE(p);
    if (p->written && p->same_line) fprintf(stderr, "\n");
    p->written = false;
}
