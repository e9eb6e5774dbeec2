#include "worker/device_thread.h"

#include "base/clock.h"
#include "base/fault.h"
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
    bool whole; /* no sequence was refused */
    step_span span;
} job_done;

struct device_thread {
    /* written before the thread starts, or while it waits */
    const model *model;
    engine_options opt;
    engine_hook hook;
    bool has_hook;
    fault_point in_step; /* the device thread's: FAULT_NONE while it starts */
    char log_name[32];   /* of the worker */

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
    char **refused; /* [max_seqs] the device thread's: why the sequence of a slot was not opened; owned */
    uint32_t refused_count;
    step_item *sound; /* [max_seqs] scratch */
    uint32_t result_count;
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
    (void)fault_at(d->in_step);
}

/* What the engine does not open fails that request alone. */
static void open_seq(device_thread *d, const dev_open *o) {
    errbuf eb = {0};
    if (engine_seq_open(d->engine, o->slot, &o->init, &eb) == ST_OK) return;
    d->refused_count++;
    d->refused[o->slot] = xasprintf("%s", eb.text);
}

static void close_seq(device_thread *d, uint32_t slot) {
    if (!d->refused[slot]) {
        engine_seq_close(d->engine, slot);
        return;
    }
    d->refused_count--;
    free(d->refused[slot]);
    d->refused[slot] = NULL;
}

static status step(device_thread *d, const step_item *items, uint32_t count) {
    if (count == 0) return ST_OK;
    return engine_step(d->engine, items, count, d->has_hook ? &d->hook : NULL, d->results, &d->error);
}

/* The step without the sequences that were refused, whose results say why. */
static status step_without_refused(device_thread *d, const dev_job *j) {
    uint32_t sound = 0;
    for (uint32_t i = 0; i < j->item_count; i++)
        if (!d->refused[j->items[i].slot]) d->sound[sound++] = j->items[i];
    status st = step(d, d->sound, sound);
    for (uint32_t i = j->item_count; st == ST_OK && i-- > 0;) { /* from the back: they move there */
        const step_item *it = &j->items[i];
        const char *why = d->refused[it->slot];
        if (!why) {
            d->results[i] = d->results[--sound];
            continue;
        }
        d->results[i] = (step_result){.tag = it->tag, .broken = true};
        snprintf(d->results[i].why, sizeof d->results[i].why, "%s", why);
    }
    return st;
}

static status run_job(device_thread *d, const dev_job *j) {
    for (uint32_t i = 0; i < j->close_count; i++) close_seq(d, j->closes[i]);
    for (uint32_t i = 0; i < j->open_count; i++) open_seq(d, &j->opens[i]);
    d->result_count = j->item_count;
    return d->refused_count ? step_without_refused(d, j) : step(d, j->items, j->item_count);
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
        job_done done = {.st = run_job(d, j)};
        atomic_store_explicit(&d->marked_ns, 0, memory_order_relaxed);
        done.whole = d->refused_count == 0;
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
    d->in_step = d->opt.warm_decode ? FAULT_D_DECODE : FAULT_P_PREFILL;
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
    d->sound = xcalloc(opt->max_seqs, sizeof *d->sound);
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
    for (uint32_t i = 0; i < d->opt.max_seqs; i++) free(d->refused[i]);
    free(d->refused);
    free(d->sound);
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
    /* Less than the sums was computed: others, judged by it, would seem to stand still. */
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
