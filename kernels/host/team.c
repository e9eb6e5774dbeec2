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

/* Ops of a step follow each other within microseconds: who waits stays awake that long. At first it only
 * looks; then it lets others have the CPU between looks, which on a machine with more threads than CPUs is
 * what the awaited thread may need; then it sleeps. */
enum { LOOKS = 200, YIELDS = 100 };

typedef struct helper {
    team *team;
    pthread_t thread;
    uint32_t index; /* 1..threads-1 */
} helper;

struct team {
    uint32_t threads;
    uint32_t helpers_begun; /* how many to join */
    helper helpers[TEAM_THREADS_MAX];
    /* What a call is, in one cache line. Of the running call; written only while no task is left to take. */
    _Alignas(64) _Atomic uint64_t ticket; /* epoch << 32 | tasks that nobody took yet */
    team_fn fn;
    void *ctx;
    uint32_t count;
    _Atomic uint32_t epoch;    /* calls so far, as in the ticket; helpers sleep on it */
    _Atomic uint32_t sleepers; /* helpers asleep or about to be */
    _Atomic bool stop;
    _Alignas(64) _Atomic uint32_t done; /* tasks finished by helpers; the caller sleeps on it */
    _Atomic uint32_t caller_sleeps;
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

/* Whether to look again, for the n-th time. */
static bool wait_a_little(uint32_t n) {
    if (n >= LOOKS + YIELDS) return false;
    if (n < LOOKS)
        relax();
    else
        sched_yield();
    return true;
}

/* Takes tasks while there are some; returns how many. A task that was taken is ours, so the call cannot end
 * before it is done: fn, ctx and count stand still. */
static uint32_t take_tasks(team *t, uint32_t thread) {
    uint32_t taken = 0;
    uint64_t seen = atomic_load_explicit(&t->ticket, memory_order_acquire);
    while ((uint32_t)seen != 0) {
        if (!atomic_compare_exchange_weak_explicit(&t->ticket, &seen, seen - 1, memory_order_acq_rel,
                                                   memory_order_acquire))
            continue;
        t->fn(t->ctx, t->count - (uint32_t)seen, thread);
        taken++;
        if (thread != 0) {
            atomic_fetch_add(&t->done, 1);
            if (atomic_load(&t->caller_sleeps)) futex_wake_all(&t->done);
        }
        seen = atomic_load_explicit(&t->ticket, memory_order_acquire);
    }
    return taken;
}

/* Waits for a call after number `seen`; returns its number. */
static uint32_t wait_for_call(team *t, uint32_t seen) {
    uint32_t now;
    for (uint32_t n = 0; (now = (uint32_t)(atomic_load(&t->ticket) >> 32)) == seen;) {
        if (wait_a_little(n++)) continue;
        atomic_fetch_add(&t->sleepers, 1);
        while ((now = (uint32_t)(atomic_load(&t->ticket) >> 32)) == seen) futex_wait(&t->epoch, seen);
        atomic_fetch_sub(&t->sleepers, 1);
    }
    return now;
}

static void *helper_main(void *arg) {
    helper *h = arg;
    team *t = h->team;
    uint32_t seen = 0;
    for (;;) {
        seen = wait_for_call(t, seen);
        if (atomic_load(&t->stop)) return NULL;
        take_tasks(t, h->index);
    }
}

/* A call of `tasks` that are left to take. The epoch changes first: a helper that saw no new ticket and is
 * about to sleep on it is either counted among the sleepers by now, or finds that it has changed. */
static void publish(team *t, uint32_t tasks) {
    uint32_t epoch = atomic_load_explicit(&t->epoch, memory_order_relaxed) + 1;
    atomic_store_explicit(&t->epoch, epoch, memory_order_relaxed);
    atomic_store(&t->ticket, (uint64_t)epoch << 32 | tasks);
    if (atomic_load(&t->sleepers)) futex_wake_all(&t->epoch);
}

/* Until the helpers have finished `tasks`. */
static void wait_for_tasks(team *t, uint32_t tasks) {
    for (uint32_t n = 0; atomic_load(&t->done) != tasks;) {
        if (wait_a_little(n++)) continue;
        atomic_store(&t->caller_sleeps, 1);
        for (uint32_t done; (done = atomic_load(&t->done)) != tasks;) futex_wait(&t->done, done);
        atomic_store(&t->caller_sleeps, 0);
    }
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
    atomic_store_explicit(&t->done, 0, memory_order_relaxed);
    publish(t, count - 1);
    fn(ctx, 0, 0);
    uint32_t mine = 1 + take_tasks(t, 0);
    if (mine < count) wait_for_tasks(t, count - mine);
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
    publish(t, 0);
    for (uint32_t i = 1; i <= t->helpers_begun; i++) pthread_join(t->helpers[i].thread, NULL);
    free(t);
}

uint32_t team_threads(const team *t) {
    PRE(t);
    return t->threads;
}
