/* health - the pages that tell how the service is: /health, /v1/models, /version. Thread: the loop's. */
#ifndef BATON_COORDINATOR_HEALTH_H
#define BATON_COORDINATOR_HEALTH_H

#include "base/mem.h"
#include "coordinator/core.h"

/* Facts that do not change after the start. Strings are borrowed. */
typedef struct health_facts {
    const char *model;      /* served name */
    const char *model_root; /* path of the file */
    const char *backend;    /* cpu | ref | cuda: the config's, shown until a worker has joined */
    uint32_t max_context;
    bool mixed_numerics; /* withdraws the promise of same bytes */
    int64_t started;     /* seconds since 1970 */
    uint64_t started_ns; /* clock_now_ns */
    uint64_t stuck_ns;   /* 0: nobody is ever called stuck */
    uint32_t role_wanted[ROLE_COUNT];
} health_facts;

/* A worker is stuck when it has something to compute and did not get on with it for stuck_ns, whether it
 * lives or not; a role is, when a worker of it is and no other of it is ready. */
bool health_stuck(const health_facts *f, const core_worker_info *w);
/* Appends the JSON of /health and returns its HTTP status: 200 while a route is ready (a colocated worker, or
 * a prefill and a decode worker) and no role is stuck, else 503. */
uint32_t health_page(buf *out, const core *c, const health_facts *f, bool stopping, uint64_t now_ns);
/* Its status in a word: "ok", "degraded" (a worker that the config wants is missing), "stuck" (a role is),
 * "unavailable", "stopping" */
const char *health_word(const core *c, const health_facts *f, bool stopping, uint64_t now_ns);
/* The same word as a line, and whether a request could be served: 200 or 503. For probes, which read no more.
 */
uint32_t health_ready(buf *out, const core *c, const health_facts *f, bool stopping, uint64_t now_ns);
/* The list with the one model that is served */
void health_models(buf *out, const health_facts *f);
/* That model's object alone */
void health_model(buf *out, const health_facts *f);
/* What the joined workers compute with, by their numerics; null where none has joined. */
void health_version(buf *out, const core *c, const health_facts *f);
/* HTTP requests that are being answered, as vLLM counts them, and choices at workers and in the queue. */
void health_load(buf *out, const core *c, uint32_t http_requests);

#endif
