/* progress - a line on stderr that says what is measured, how long that has taken and will take. */
#ifndef BATON_PLANNER_PROGRESS_H
#define BATON_PLANNER_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct progress {
    uint64_t begin_ns;
    double share_done;              /* of the whole, before the part that runs */
    double part_share;              /* of the whole */
    double part_done, part_work;    /* in units of the part */
    bool quiet, same_line, written; /* same_line: a terminal, which one line is enough for */
} progress;

progress progress_begin(bool quiet);
/* The next part: `share` of the whole, of unknown work. */
void progress_part(progress *p, double share);
/* The part is so much work, in units of its own. */
void progress_work(progress *p, double work);
/* So much more of the part is done. */
void progress_add(progress *p, double work);
void progress_say(progress *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Ends the line. */
void progress_end(progress *p);

#endif
