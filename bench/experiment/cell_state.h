/* cell_state - state.json of a cell: what became of it. Written last, whole or not at all, so that a cell
 * without one was never finished. */
#ifndef BATON_EXPERIMENT_CELL_STATE_H
#define BATON_EXPERIMENT_CELL_STATE_H

#include "base/status.h"
#include "bench/experiment/build.h"
#include "bench/experiment/plan.h"

typedef enum cell_end {
    CELL_NONE, /* no state.json: not run, or not to the end */
    CELL_DONE,
    CELL_VOID,  /* it ran, and its rules of validity failed */
    CELL_FAILED /* no rows that count */
} cell_end;

typedef struct cell_state {
    cell_end end;
    char reason[1024]; /* void, failed; "" else */
    char variant[96];  /* with which the placement was set; "" = none */
    uint32_t attempts;
    double start_s, serve_s, stop_s; /* how long it took */
    build_id build;                  /* that measured it; empty: one that did not say */
} cell_state;

/* "done", "void", "failed", "none". Borrowed: static. */
const char *cell_end_name(cell_end e);

/* DIR/state.json. ST_IO names the path (a full disk says so). */
status cell_state_write(const cell_state *st, const spec *s, const cell *c, const char *dir, errbuf *eb);
/* CELL_NONE where there is none. ST_INVALID: it is there and cannot be read. */
status cell_state_read(cell_state *out, const char *dir, errbuf *eb);

#endif
