/* cost - instructions per event of a pure part that holds little, and of the same one that holds much.
 *
 * A case builds a world that holds so many requests and does one kind of event in it. The program runs itself
 * under callgrind, once per case and number, which counts what cost_measured calls and nothing else:
 *
 *   valgrind --tool=callgrind --collect-atstart=no --toggle-collect=cost_measured \
 *            --callgrind-out-file=/dev/null PROGRAM CASE HELD
 *
 * A count of instructions is the same on every run of the same program, so a ratio can be a promise: an event
 * may cost at most COST_RATIO_MAX times as much with many as with few.
 *
 *   PROGRAM               the table; exit 1 when a promise is broken, 77 where there is no valgrind
 *   PROGRAM --here        each case with few, once, without callgrind: that it runs
 *   PROGRAM CASE HELD     one case, for callgrind */
#ifndef BATON_BENCH_COST_H
#define BATON_BENCH_COST_H

#include <stdint.h>

#define COST_RATIO_MAX 1.3
#define COST_EVENTS    64u /* measured, after COST_WARM that are not */
#define COST_WARM      16u

typedef struct cost_case {
    const char *name;   /* of the event, no spaces */
    const char *counts; /* "parked prompts": what there are few or many of */
    uint32_t few, many;
    /* A world; freed by `done` */
    void *(*build)(uint32_t held);
    /* Measured */
    void (*event)(void *world);
    /* What must happen between two events and does not count; NULL: nothing. */
    void (*between)(void *world);
    void (*done)(void *world);
    uint32_t units;          /* of what the table shows, per event: rows of a step; 0 counts as 1 */
    uint32_t units_per_held; /* likewise, for each request held */
} cost_case;

/* main of the program. */
int cost_main(int argc, char **argv, const cost_case *cases, uint32_t count);

#endif
