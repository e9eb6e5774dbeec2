/* dist_table - what the placements of a search are worth, as text, JSON and CSV. */
#ifndef BATON_PLANNER_DIST_TABLE_H
#define BATON_PLANNER_DIST_TABLE_H

#include "planner/distserve/dist_search.h"

#include "base/mem.h"

#include <jansson.h>

/* Which question an answer is to. */
typedef enum dist_way {
    DIST_OWN,    /* DistServe's own rule */
    DIST_STEADY, /* its simulator at steady state */
    DIST_FLEET,  /* the cluster's policies at steady state */
    DIST_WAYS
} dist_way;

typedef struct dist_row {
    dist_config config;
    char why[200];               /* it cannot be; "": it can */
    double own;                  /* requests per second and GPU */
    search_result steady, fleet; /* requests per second, the whole placement */
    bool fleet_infeasible;       /* no rate passes */
    char limit[200];             /* of fleet: what fails first, or why no rate passes */
} dist_row;

typedef struct dist_table {
    const char *title;    /* "Algorithm 1" */
    const char *workload; /* for people */
    const char *profile_hash;
    const dist_case *asked;
    double link_bytes_per_s; /* INFINITY: none is counted */
    uint32_t gpus;
    bool ways[DIST_WAYS]; /* that were computed */
    dist_row *rows;       /* [count] */
    uint32_t count;
} dist_table;

#define DIST_NOBODY UINT32_MAX

/* Goodput per GPU, requests per second; 0: no rate passes, or it cannot be. */
double dist_row_worth(const dist_row *r, dist_way way);
/* The best row: then fewer GPUs, then the first. DIST_NOBODY: no row is worth anything. */
uint32_t dist_table_best(const dist_table *t, dist_way way);
void dist_table_text(const dist_table *t, buf *out);
void dist_table_csv(const dist_table *t, buf *out);
/* Caller frees with json_decref. */
json_t *dist_table_json(const dist_table *t);

#endif
