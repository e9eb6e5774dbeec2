#include "kernels/host/team.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Ops of a step follow each other within microseconds: a helper stays awake that long. Longer would take the
 * CPU from other processes when there are more threads than CPUs. */
enum { SPINS = 2000 };

typedef struct helper {
    team *team;
    pthread_t thread;
    uint32_t index; /* 1..threads-1 */
} helper;

struct team {
    uint32_t threads;
    uint32_t helpers_begun; /* how many to join */
    team_fn fn;             /* of the running call; written only while no task is left to take */
    void *ctx;
    uint32_t count;
    helper helpers[TEAM_THREADS_MAX];
    _Alignas(64) _Atomic uint64_t ticket; /* epoch << 32 | tasks that nobody took yet */
    _Alignas(64) _Atomic uint32_t done;   /* tasks finished; the caller sleeps on it */
    _Atomic uint32_t caller_sleeps;
    _Alignas(64) _Atomic uint32_t epoch; /* calls so far; helpers sleep on it */
    _Atomic uint32_t sleepers;           /* helpers asleep or about to be */
    _Atomic bool stop;
};

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void futex_wait(_Atomic uint32_t *word, uint32_t seen) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake_all(_Atomic uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static void take_tasks(team *t, uint32_t thread) {
    uint64_t seen = atomic_load_explicit(&t->ticket, memory_order_acquire);
    while ((uint32_t)seen != 0) {
        if (!atomic_compare_exchange_weak_explicit(&t->ticket, &seen, seen - 1, memory_order_acq_rel,
                                                   memory_order_acquire))
            continue;
        /* The task is ours, so the call cannot end before `done` rises: fn, ctx and count stand still. */
        t->fn(t->ctx, t->count - (uint32_t)seen, thread);
        uint32_t count = t->count;
        if (atomic_fetch_add(&t->done, 1) + 1 == count && atomic_load(&t->caller_sleeps))
            futex_wake_all(&t->done);
        seen = atomic_load_explicit(&t->ticket, memory_order_acquire);
    }
}

static void wait_for_call(team *t, uint32_t seen) {
    for (uint32_t i = 0; i < SPINS; i++) {
        if (atomic_load(&t->epoch) != seen) return;
        relax();
    }
    atomic_fetch_add(&t->sleepers, 1);
    while (atomic_load(&t->epoch) == seen) futex_wait(&t->epoch, seen);
    atomic_fetch_sub(&t->sleepers, 1);
}

static void *helper_main(void *arg) {
    helper *h = arg;
    team *t = h->team;
    uint32_t seen = 0;
    while (!atomic_load(&t->stop)) {
        take_tasks(t, h->index);
        wait_for_call(t, seen);
        seen = atomic_load(&t->epoch);
    }
    return NULL;
}

/* Moves on the epoch, which wakes the helpers. */
static void call_helpers(team *t) {
    atomic_fetch_add(&t->epoch, 1);
    if (atomic_load(&t->sleepers)) futex_wake_all(&t->epoch);
}

static void wait_for_tasks(team *t, uint32_t count) {
    for (uint32_t i = 0; i < SPINS; i++) {
        if (atomic_load(&t->done) == count) return;
        relax();
    }
    atomic_store(&t->caller_sleeps, 1);
    for (;;) {
        uint32_t done = atomic_load(&t->done);
        if (done == count) break;
        futex_wait(&t->done, done);
    }
    atomic_store(&t->caller_sleeps, 0);
}

void team_run(team *t, uint32_t count, team_fn fn, void *ctx) {
    PRE(t);
    PRE(fn);
    if (t->threads == 1 || count <= 1) {
        for (uint32_t i = 0; i < count; i++) fn(ctx, i, 0);
        return;
    }
    t->fn = fn;
    t->ctx = ctx;
    t->count = count;
    atomic_store(&t->done, 0);
    uint64_t epoch = atomic_load_explicit(&t->epoch, memory_order_relaxed) + 1;
    atomic_store_explicit(&t->ticket, epoch << 32 | count, memory_order_release);
    call_helpers(t);
    take_tasks(t, 0);
    wait_for_tasks(t, count);
}

static status pin(pthread_t thread, uint32_t cpu, errbuf *eb) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (cpu < CPU_SETSIZE) CPU_SET(cpu, &set);
    int rc = pthread_setaffinity_np(thread, sizeof set, &set);
    if (rc != 0) return errf(eb, ST_INVALID, "cannot pin a thread to cpu %u: %s", cpu, strerror(rc));
    return ST_OK;
}

status team_new(team **out, uint32_t threads, const uint32_t *cpus, errbuf *eb) {
    PRE(out);
    if (threads == 0 || threads > TEAM_THREADS_MAX)
        return errf(eb, ST_INVALID, "threads: %u, want 1..%u", threads, TEAM_THREADS_MAX);
    team *t = aligned_alloc(64, sizeof *t);
    if (!t) return errf(eb, ST_NOMEM, "no memory for a team of %u threads", threads);
    memset(t, 0, sizeof *t);
    t->threads = threads;
    status st = cpus ? pin(pthread_self(), cpus[0], eb) : ST_OK;
    for (uint32_t i = 1; i < threads && st == ST_OK; i++) {
        helper *h = &t->helpers[i];
        *h = (helper){.team = t, .index = i};
        int rc = pthread_create(&h->thread, NULL, helper_main, h);
        if (rc != 0) {
            st = errf(eb, ST_NOMEM, "cannot start thread %u of %u: %s", i + 1, threads, strerror(rc));
            break;
        }
        t->helpers_begun++;
        if (cpus) st = pin(h->thread, cpus[i], eb);
    }
    if (st != ST_OK) {
        team_free(t);
        return st;
    }
    *out = t;
    return ST_OK;
}

void team_free(team *t) {
    if (!t) return;
    atomic_store(&t->stop, true);
    call_helpers(t);
    for (uint32_t i = 1; i <= t->helpers_begun; i++) pthread_join(t->helpers[i].thread, NULL);
    free(t);
}

uint32_t team_threads(const team *t) {
    PRE(t);
    return t->threads;
}
