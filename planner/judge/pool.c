#include "planner/judge/pool.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct pool {
    judge_task task;
    void *ctx;
    uint32_t count;
    atomic_uint next;
    pthread_mutex_t lock; /* of the three below */
    uint32_t failed;      /* lowest index; count: none */
    status st;
    errbuf text;
} pool;

static void *work(void *arg) {
    pool *p = arg;
    for (;;) {
        uint32_t index = atomic_fetch_add(&p->next, 1);
        if (index >= p->count) return NULL;
        errbuf text = {0};
        status st = p->task(p->ctx, index, &text);
        if (st == ST_OK) continue;
        CHECK(pthread_mutex_lock(&p->lock) == 0);
        if (index < p->failed) {
            p->failed = index;
            p->st = st;
            p->text = text;
        }
        CHECK(pthread_mutex_unlock(&p->lock) == 0);
    }
}

status judge_pool(uint32_t threads, uint32_t count, judge_task task, void *ctx, errbuf *eb) {
    PRE(threads >= 1);
    PRE(threads <= JUDGE_POOL_THREADS_MAX);
    PRE(count <= UINT32_MAX - JUDGE_POOL_THREADS_MAX); /* each thread asks once too often */
    PRE(task);
    pool p = {.task = task, .ctx = ctx, .count = count, .failed = count};
    CHECK(pthread_mutex_init(&p.lock, NULL) == 0);
    pthread_t others[JUDGE_POOL_THREADS_MAX];
    uint32_t n = 0;
    while (n + 1 < threads && n + 1 < count && pthread_create(&others[n], NULL, work, &p) == 0) n++;
    work(&p);
    for (uint32_t i = 0; i < n; i++) CHECK(pthread_join(others[i], NULL) == 0);
    CHECK(pthread_mutex_destroy(&p.lock) == 0);
    if (p.failed == count) return ST_OK;
    if (eb) *eb = p.text;
    return p.st;
}
