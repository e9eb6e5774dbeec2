/* A turn = one batch of libevent callbacks, then the turn function once.
 *
 * event_base_loop(EVLOOP_ONCE) returns after the batch of events that was ready has run, so decisions are
 * taken at the loop's own pace however many events came. Two priorities: loop_watch and bus events (control)
 * run before everything else (HTTP), which libevent puts at the lower one by itself. The only call that is
 * legal from another thread is loop_wake, a write to an eventfd. */
#include "net/loop.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define TURN_MAX_NS  (250 * NS_PER_MS)
#define GATHER_TURNS 16u

typedef struct watch {
    struct event *event;
    void (*fn)(void *ctx);
    void *ctx;
    struct watch *next;
} watch;

typedef struct hook {
    void (*fn)(void *ctx);
    void *ctx;
    struct hook *next;
} hook;

struct loop {
    struct event_base *base;
    loop_turn_fn turn;
    void *ctx;
    watch *watches;      /* newest first */
    hook *hooks;         /* before each wait; newest first */
    struct event *timer; /* the next turn at the latest */
    struct event *wake;
    struct event *signals[2];
    void (*signal_fn)(void *ctx, int signo);
    void *signal_ctx;
    struct event *hangup;
    void (*hangup_fn)(void *ctx);
    void *hangup_ctx;
    int wake_fd;                    /* eventfd */
    uint64_t rest_ns;               /* loop_gather */
    uint64_t turn_ns[GATHER_TURNS]; /* when the last turns began, a ring */
    uint32_t turns;
    bool stop;
};

static void on_timer(evutil_socket_t fd, short what, void *ctx) {
    (void)fd, (void)what, (void)ctx; /* its only use is that a turn follows */
}

static void on_wake(evutil_socket_t fd, short what, void *ctx) {
    (void)what, (void)ctx;
    uint64_t n;
    while (read(fd, &n, sizeof n) == sizeof n) {
    }
}

static void on_watch(evutil_socket_t fd, short what, void *ctx) {
    (void)fd, (void)what;
    watch *w = ctx;
    w->fn(w->ctx);
}

static void on_signal(evutil_socket_t signo, short what, void *ctx) {
    (void)what;
    loop *l = ctx;
    l->signal_fn(l->signal_ctx, (int)signo);
}

static void on_hangup(evutil_socket_t signo, short what, void *ctx) {
    (void)signo, (void)what;
    loop *l = ctx;
    l->hangup_fn(l->hangup_ctx);
}

status loop_new(loop **out, loop_turn_fn turn, void *ctx, errbuf *eb) {
    PRE(out);
    PRE(turn);
    loop *l = xcalloc(1, sizeof *l);
    l->turn = turn;
    l->ctx = ctx;
    l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->wake_fd < 0) goto fail;
    l->base = event_base_new();
    if (!l->base || event_base_priority_init(l->base, 2) != 0) goto fail;
    l->timer = evtimer_new(l->base, on_timer, NULL);
    l->wake = event_new(l->base, l->wake_fd, EV_READ | EV_PERSIST, on_wake, NULL);
    if (!l->timer || !l->wake || event_add(l->wake, NULL) != 0) goto fail;
    *out = l;
    return ST_OK;

fail:
    errf(eb, ST_IO, "event loop: %s: raise the limit of open files (ulimit -n)", strerror(errno));
    loop_free(l);
    return ST_IO;
}

void loop_free(loop *l) {
    if (!l) return;
    while (l->watches) {
        watch *w = l->watches;
        l->watches = w->next;
        event_free(w->event);
        free(w);
    }
    CHECK(!l->hooks);
    for (size_t i = 0; i < ARRAY_LEN(l->signals); i++)
        if (l->signals[i]) event_free(l->signals[i]);
    if (l->hangup) event_free(l->hangup);
    if (l->wake) event_free(l->wake);
    if (l->timer) event_free(l->timer);
    if (l->base) event_base_free(l->base);
    if (l->wake_fd >= 0) close(l->wake_fd);
    free(l);
}

struct event_base *loop_base(loop *l) {
    PRE(l);
    return l->base;
}

void loop_watch(loop *l, int fd, void (*fn)(void *ctx), void *ctx) {
    PRE(l);
    PRE(fn);
    PRE(fd >= 0);
    watch *w = xcalloc(1, sizeof *w);
    w->fn = fn;
    w->ctx = ctx;
    w->event = event_new(l->base, fd, EV_READ | EV_PERSIST, on_watch, w);
    CHECK(w->event);
    event_priority_set(w->event, 0);
    CHECK(event_add(w->event, NULL) == 0);
    w->next = l->watches;
    l->watches = w;
}

void loop_before_wait(loop *l, void (*fn)(void *ctx), void *ctx) {
    PRE(l);
    PRE(fn);
    hook *h = xcalloc(1, sizeof *h);
    *h = (hook){.fn = fn, .ctx = ctx, .next = l->hooks};
    l->hooks = h;
}

void loop_before_wait_end(loop *l, const void *ctx) {
    PRE(l);
    for (hook **at = &l->hooks; *at; at = &(*at)->next) {
        if ((*at)->ctx != ctx) continue;
        hook *h = *at;
        *at = h->next;
        free(h);
        return;
    }
}

void loop_signals(loop *l, void (*fn)(void *ctx, int signo), void *ctx) {
    PRE(l);
    PRE(fn);
    PRE(!l->signal_fn);
    static const int signos[] = {SIGINT, SIGTERM};
    l->signal_fn = fn;
    l->signal_ctx = ctx;
    for (size_t i = 0; i < ARRAY_LEN(signos); i++) {
        l->signals[i] = evsignal_new(l->base, signos[i], on_signal, l);
        CHECK(l->signals[i]);
        CHECK(event_add(l->signals[i], NULL) == 0);
    }
}

void loop_on_hangup(loop *l, void (*fn)(void *ctx), void *ctx) {
    PRE(l);
    PRE(fn);
    PRE(!l->hangup);
    l->hangup_fn = fn;
    l->hangup_ctx = ctx;
    l->hangup = evsignal_new(l->base, SIGHUP, on_hangup, l);
    CHECK(l->hangup);
    CHECK(event_add(l->hangup, NULL) == 0);
}

void loop_wake(loop *l) {
    PRE(l);
    uint64_t one = 1;
    /* EAGAIN: the counter is full, so the loop wakes anyway. */
    ssize_t n = write(l->wake_fd, &one, sizeof one);
    (void)n;
}

void loop_batch(loop *l) {
    PRE(l);
    for (hook *h = l->hooks; h; h = h->next) h->fn(h->ctx);
    CHECK(event_base_loop(l->base, EVLOOP_ONCE) >= 0);
}

void loop_gather(loop *l, uint64_t rest_ns) {
    PRE(l);
    PRE(rest_ns < NS_PER_S);
    l->rest_ns = rest_ns;
}

/* Turns come so thick that the next one can as well take in what comes meanwhile. */
static void gather(loop *l, uint64_t turn_ns) {
    uint64_t *oldest = &l->turn_ns[l->turns++ % GATHER_TURNS];
    bool thick = turn_ns - *oldest < GATHER_TURNS * 2 * l->rest_ns;
    *oldest = turn_ns;
    if (!thick) return;
    const struct timespec rest = {.tv_nsec = (long)l->rest_ns};
    (void)nanosleep(&rest, NULL); /* a signal ends it, which is right */
}

void loop_run(loop *l) {
    PRE(l);
    l->stop = false;
    for (;;) {
        uint64_t now = clock_now_ns();
        uint64_t next = l->turn(l->ctx, now);
        if (l->stop) return;
        if (l->rest_ns) gather(l, now);
        now = clock_now_ns();
        uint64_t wait = next > now ? MIN(next - now, TURN_MAX_NS) : 0;
        wait += 999; /* rounded up, or the last microsecond is spent spinning */
        struct timeval tv = {.tv_sec = (time_t)(wait / NS_PER_S),
                             .tv_usec = (suseconds_t)(wait % NS_PER_S / NS_PER_US)};
        CHECK(event_add(l->timer, &tv) == 0);
        loop_batch(l);
        if (l->stop) return;
    }
}

void loop_stop(loop *l) {
    PRE(l);
    l->stop = true;
    loop_wake(l);
}
