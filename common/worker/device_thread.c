#include "worker/device_thread.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/ring.h"
#include "worker_core/step_pace.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define IDLE_WAIT_NS NS_PER_S

typedef struct job_done {
    status st;
    bool whole; /* no sequence of it was refused */
    step_span span;
} job_done;

struct device_thread {
    /* written before the thread starts, or while it waits */
    const model *model;
    engine_options opt;
    engine_hook hook;
    bool has_hook;
    char log_name[32]; /* of the worker */

    ring *jobs; /* const dev_job *; NULL = stop */
    ring *done; /* job_done */
    pthread_t thread;
    bool running; /* the thread was started and not joined */
    bool stopped; /* it serves no more */
    sem_t started, served, leave, ended;
    status start_status; /* valid after `started` */
    errbuf error;        /* of the start, or of the job that failed */
    engine *engine;      /* the device thread's; read by others only through engine_kv_of and engine_path */

    step_result *results; /* [max_seqs] */
    uint32_t result_count;
    /* the device thread's: [max_seqs] each */
    bool *refused;   /* by slot: the engine did not open it, so there is nothing to close */
    step_item *kept; /* of a job with refused sequences, the items of the others */
    step_result *kept_results;
    _Atomic uint64_t step;      /* number of the last step begun */
    _Atomic uint64_t marked_ns; /* when the running step last did something; 0 = idle */
    _Atomic uint32_t layers;    /* that it is through with */

    /* the loop thread's */
    step_pace pace;
    latency_step sums; /* of the job that is out */
    uint64_t bound_ns; /* of it */
};

/* ---- device thread ---- */

static void mark(void *ctx, uint32_t layers) {
    device_thread *d = ctx;
    atomic_store_explicit(&d->layers, layers, memory_order_relaxed);
    atomic_store_explicit(&d->marked_ns, clock_now_ns(), memory_order_relaxed);
}

/* What the engine says of a sequence is about that one alone. False: the device failed, and it is fatal. */
static bool opened(device_thread *d, const dev_open *o, char *why, size_t size) {
    errbuf eb = {0};
    status st = engine_seq_open(d->engine, o->slot, &o->init, &eb);
    d->refused[o->slot] = st != ST_OK;
    if (st == ST_OK) return true;
    int length = snprintf(why, size, "%s", eb.text);
    if (length >= (int)size) memcpy(why + size - 4, "...", 4);
    if (st != ST_DEVICE) return true;
    errf(&d->error, st, "opening a sequence: %s", eb.text);
    return false;
}

/* The sequences of the job; *refused: how many were. What their items answer is in results then. */
static status open_all(device_thread *d, const dev_job *j, uint32_t *refused) {
    *refused = 0;
    for (uint32_t i = 0; i < j->close_count; i++) {
        uint32_t slot = j->closes[i];
        if (!d->refused[slot]) engine_seq_close(d->engine, slot);
        d->refused[slot] = false;
    }
    for (uint32_t i = 0; i < j->open_count; i++) {
        char why[sizeof d->results->why];
        if (!opened(d, &j->opens[i], why, sizeof why)) return ST_DEVICE;
        if (!d->refused[j->opens[i].slot]) continue;
        ++*refused;
        for (uint32_t k = 0; k < j->item_count; k++) {
            if (j->items[k].slot != j->opens[i].slot) continue;
            d->results[k] = (step_result){.tag = j->items[k].tag, .broken = true};
            memcpy(d->results[k].why, why, sizeof why);
        }
    }
    return ST_OK;
}

/* The step without the sequences that were refused. */
static status step_others(device_thread *d, const dev_job *j, const engine_hook *hook) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < j->item_count; i++)
        if (!d->refused[j->items[i].slot]) d->kept[kept++] = j->items[i];
    if (kept == 0) return ST_OK;
    status st = engine_step(d->engine, d->kept, kept, hook, d->kept_results, &d->error);
    if (st != ST_OK) return st;
    kept = 0;
    for (uint32_t i = 0; i < j->item_count; i++)
        if (!d->refused[j->items[i].slot]) d->results[i] = d->kept_results[kept++];
    return ST_OK;
}

static status run_job(device_thread *d, const dev_job *j, bool *whole) {
    uint32_t refused;
    status st = open_all(d, j, &refused);
    if (st != ST_OK) return st;
    *whole = refused == 0;
    d->result_count = j->item_count;
    if (j->item_count == 0) return ST_OK;
    const engine_hook *hook = d->has_hook ? &d->hook : NULL;
    if (refused) return step_others(d, j, hook);
    return engine_step(d->engine, j->items, j->item_count, hook, d->results, &d->error);
}

static void serve(device_thread *d) {
    for (;;) {
        const dev_job *j = NULL;
        if (ring_pop(d->jobs, &j) != ST_OK) {
            ring_wait(d->jobs, IDLE_WAIT_NS);
            continue;
        }
        if (!j) return;
        uint64_t begin_ns = clock_now_ns();
        atomic_store_explicit(&d->layers, 0, memory_order_relaxed);
        atomic_store_explicit(&d->marked_ns, begin_ns, memory_order_relaxed);
        atomic_fetch_add_explicit(&d->step, 1, memory_order_relaxed);
        job_done done = {0};
        done.st = run_job(d, j, &done.whole);
        atomic_store_explicit(&d->marked_ns, 0, memory_order_relaxed);
        done.span = (step_span){.begin_ns = begin_ns, .duration_ns = clock_now_ns() - begin_ns};
        CHECK(ring_push(d->done, &done) == ST_OK); /* one job is out at most, so there is room */
    }
}

static void *run(void *ctx) {
    device_thread *d = ctx;
    log_as(d->log_name);
    d->start_status = engine_new(&d->engine, d->model, &d->opt, &d->error);
    atomic_store_explicit(&d->marked_ns, 0, memory_order_relaxed); /* its first steps made marks, too */
    bool ok = d->start_status == ST_OK;
    sem_post(&d->started);
    if (!ok) return NULL;
    serve(d);
    sem_post(&d->served);
    while (sem_wait(&d->leave)) CHECK(errno == EINTR);
    engine_free(d->engine); /* by the thread that opened it */
    d->engine = NULL;
    sem_post(&d->ended);
    return NULL;
}

/* ---- loop thread ---- */

status device_thread_new(device_thread **out, const model *m, const engine_options *opt, errbuf *eb) {
    PRE(out);
    PRE(m);
    PRE(opt);
    device_thread *d = xcalloc(1, sizeof *d);
    d->model = m;
    d->opt = *opt;
    d->opt.mark = mark;
    d->opt.mark_ctx = d;
    snprintf(d->log_name, sizeof d->log_name, "%s", log_name());
    d->results = xcalloc(opt->max_seqs, sizeof *d->results);
    d->refused = xcalloc(opt->max_seqs, sizeof *d->refused);
    d->kept = xcalloc(opt->max_seqs, sizeof *d->kept);
    d->kept_results = xcalloc(opt->max_seqs, sizeof *d->kept_results);
    sem_t *sems[] = {&d->started, &d->served, &d->leave, &d->ended};
    for (size_t i = 0; i < ARRAY_LEN(sems); i++) CHECK(sem_init(sems[i], 0, 0) == 0);
    status st = ring_new(&d->jobs, 2, sizeof(const dev_job *), eb);
    if (st != ST_OK) goto fail;
    st = ring_new(&d->done, 2, sizeof(job_done), eb);
    if (st != ST_OK) goto fail;
    int rc = pthread_create(&d->thread, NULL, run, d);
    if (rc) {
        st = errf(eb, ST_IO, "device thread: %s", strerror(rc));
        goto fail;
    }
    d->running = true;
    while (sem_wait(&d->started)) CHECK(errno == EINTR);
    if (d->start_status) {
        st = errf(eb, d->start_status, "%s", d->error.text);
        goto fail;
    }
    *out = d;
    return ST_OK;

fail:
    if (d->running) pthread_join(d->thread, NULL); /* it has ended: it could not open the engine */
    d->running = false;
    (void)device_thread_free(d, 0);
    return st;
}

/* False when that takes longer than wait_ns. */
static bool wait_for(sem_t *sem, uint64_t wait_ns) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + wait_ns;
    until.tv_sec += (time_t)(ns / NS_PER_S);
    until.tv_nsec = (long)(ns % NS_PER_S);
    while (sem_clockwait(sem, CLOCK_MONOTONIC, &until)) {
        if (errno == ETIMEDOUT) return false;
        CHECK(errno == EINTR);
    }
    return true;
}

bool device_thread_stop(device_thread *d, uint64_t wait_ns) {
    PRE(d);
    if (!d->running || d->stopped) return true;
    const dev_job *stop = NULL;
    CHECK(ring_push(d->jobs, &stop) == ST_OK);
    d->stopped = wait_for(&d->served, wait_ns);
    return d->stopped;
}

bool device_thread_free(device_thread *d, uint64_t wait_ns) {
    if (!d) return true;
    if (d->running) {
        PRE(d->stopped);
        sem_post(&d->leave);
        if (!wait_for(&d->ended, wait_ns)) return false;
        CHECK(pthread_join(d->thread, NULL) == 0);
    }
    ring_free(d->jobs);
    ring_free(d->done);
    sem_t *sems[] = {&d->started, &d->served, &d->leave, &d->ended};
    for (size_t i = 0; i < ARRAY_LEN(sems); i++) sem_destroy(sems[i]);
    free(d->kept_results);
    free(d->kept);
    free(d->refused);
    free(d->results);
    free(d);
    return true;
}

const engine *device_thread_engine(const device_thread *d) {
    PRE(d);
    return d->engine;
}

void device_thread_hook(device_thread *d, const engine_hook *hook) {
    PRE(d);
    PRE(hook);
    PRE(atomic_load(&d->step) == 0);
    d->hook = *hook;
    d->has_hook = true;
}

void device_thread_post(device_thread *d, const dev_job *j) {
    PRE(d);
    PRE(j);
    d->sums = j->sums;
    d->bound_ns = step_pace_bound(&d->pace, &d->sums);
    CHECK(ring_push(d->jobs, &j) == ST_OK); /* one job is out at most */
}

int device_thread_fd(const device_thread *d) {
    PRE(d);
    return ring_fd(d->done);
}

status device_thread_next(device_thread *d, const step_result **results, uint32_t *count, step_span *span,
                          errbuf *eb) {
    PRE(d);
    PRE(results);
    PRE(count);
    PRE(span);
    job_done done;
    ring_ack(d->done);
    if (ring_pop(d->done, &done) != ST_OK) return ST_AGAIN;
    if (done.st) return errf(eb, done.st, "%s", d->error.text);
    /* Less was computed than the sums say: such a step would make others look slow. */
    if (done.whole) step_pace_learn(&d->pace, &d->sums, done.span.duration_ns);
    *span = done.span;
    *results = d->results;
    *count = d->result_count;
    return ST_OK;
}

void device_thread_progress(const device_thread *d, uint64_t now_ns, agent_progress *out) {
    PRE(d);
    PRE(out);
    device_thread *m = (device_thread *)d; /* C17 atomics are not read through pointers to const */
    uint64_t marked_ns = atomic_load_explicit(&m->marked_ns, memory_order_relaxed);
    out->step = atomic_load_explicit(&m->step, memory_order_relaxed);
    out->step_age_ns = marked_ns && now_ns > marked_ns ? now_ns - marked_ns : 0;
    out->step_bound_ns = marked_ns ? d->bound_ns : 0;
    out->step_layers_done = marked_ns ? atomic_load_explicit(&m->layers, memory_order_relaxed) : 0;
    out->step_layers = marked_ns ? d->model->layers : 0;
}
