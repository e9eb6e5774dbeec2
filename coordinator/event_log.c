#include "coordinator/event_log.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/ring.h"
#include "coordinator/openai.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LAST_WORDS_NS NS_PER_S

typedef struct line {
    char *text; /* owned; NULL: the last one, and none */
    size_t len;
} line;

struct event_log {
    char *path, *older; /* FILE, FILE.1 */
    uint64_t bytes_max;
    ring *lines;
    _Atomic uint64_t dropped;
    pthread_t thread;
    bool running;
    /* The thread's, once it runs. */
    int fd;         /* -1: not open */
    bool regular;   /* it has a size */
    uint64_t bytes; /* of it */
};

/* Errors leave errno. A file that nobody reads (a FIFO) must not hold the thread. */
static bool open_file(event_log *l) {
    struct stat st;
    l->fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);
    if (l->fd < 0) return false;
    l->regular = fstat(l->fd, &st) == 0 && S_ISREG(st.st_mode);
    l->bytes = l->regular ? (uint64_t)st.st_size : 0;
    return true;
}

static void close_file(event_log *l) {
    if (l->fd >= 0) (void)close(l->fd);
    l->fd = -1;
}

static bool write_line(event_log *l, const line *one) {
    if (l->fd >= 0 && l->regular && l->bytes && l->bytes + one->len > l->bytes_max) {
        /* Somebody else may have moved it away. */
        if (rename(l->path, l->older) != 0 && errno != ENOENT) return false;
        close_file(l);
    }
    if (l->fd < 0 && !open_file(l)) return false;
    ssize_t wrote = write(l->fd, one->text, one->len);
    if (wrote == (ssize_t)one->len) {
        l->bytes += one->len;
        return true;
    }
    /* A part of a line would spoil the next one. */
    if (wrote > 0 && l->regular && ftruncate(l->fd, (off_t)l->bytes) != 0) l->bytes += (uint64_t)wrote;
    return false;
}

static void *thread_main(void *arg) {
    event_log *l = arg;
    for (;;) {
        (void)ring_wait(l->lines, NS_PER_S);
        ring_ack(l->lines);
        line one;
        while (ring_pop(l->lines, &one) == ST_OK) {
            if (!one.text) return NULL;
            if (!write_line(l, &one)) atomic_fetch_add(&l->dropped, 1);
            free(one.text);
        }
    }
}

status event_log_open(event_log **out, const char *path, uint64_t bytes_max, errbuf *eb) {
    PRE(out);
    PRE(path);
    PRE(bytes_max > 0);
    event_log *l = xcalloc(1, sizeof *l);
    l->path = xstrdup(path);
    l->older = xasprintf("%s.1", path);
    l->bytes_max = bytes_max;
    l->fd = -1;
    status st = ST_OK;
    if (!open_file(l)) st = errf(eb, ST_IO, "%s: %s", path, strerror(errno));
    if (st == ST_OK) st = ring_new(&l->lines, EVENT_LOG_LINES_MAX, sizeof(line), eb);
    if (st != ST_OK) goto fail;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the loop's */
    int rc = pthread_create(&l->thread, NULL, thread_main, l);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0) {
        st = errf(eb, ST_IO, "thread of the event log: %s", strerror(rc));
        goto fail;
    }
    l->running = true;
    *out = l;
    return ST_OK;

fail:
    event_log_free(l);
    return st;
}

/* False: it is still at a write, with everything that it needs. */
static bool thread_ended(event_log *l) {
    if (!l->running) return true;
    struct timespec until;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    until.tv_sec += LAST_WORDS_NS / NS_PER_S;
    /* A full ring: it hangs, or has much to do; the last word is pushed as soon as there is room. */
    line last = {0};
    while (ring_push(l->lines, &last) == ST_AGAIN) {
        struct timespec now;
        CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
        if (now.tv_sec > until.tv_sec) return false;
        (void)nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
    }
    return pthread_clockjoin_np(l->thread, NULL, CLOCK_MONOTONIC, &until) == 0;
}

void event_log_free(event_log *l) {
    if (!l || !thread_ended(l)) return; /* the process ends, and that with it */
    line one;
    while (l->lines && ring_pop(l->lines, &one) == ST_OK) free(one.text);
    close_file(l);
    ring_free(l->lines);
    free(l->path);
    free(l->older);
    free(l);
}

static void add_text(buf *out, const char *key, const char *value) {
    buf_addf(out, ",\"%s\":", key);
    if (value)
        openai_string(out, value, strlen(value));
    else
        buf_adds(out, "null");
}

void event_log_add(event_log *l, const core_event *e, const char *id, uint64_t now_ns) {
    if (!l) return;
    PRE(e);
    char time[CLOCK_TEXT_MAX], session[24];
    clock_wall_text(time);
    snprintf(session, sizeof session, "%016" PRIx64, e->incarnation);
    buf b = {0};
    buf_addf(&b, "{\"time\":\"%s\",\"t_ms\":%.1f", time, (double)now_ns / 1e6);
    add_text(&b, "event", core_event_name(e->kind));
    add_text(&b, "worker", e->worker);
    add_text(&b, "role", e->role);
    add_text(&b, "incarnation", e->incarnation ? session : NULL);
    if (e->req)
        buf_addf(&b, ",\"req\":%" PRIu64, e->req);
    else
        buf_adds(&b, ",\"req\":null");
    add_text(&b, "id", id);
    if (e->attempt)
        buf_addf(&b, ",\"attempt\":%u", e->attempt);
    else
        buf_adds(&b, ",\"attempt\":null");
    add_text(&b, "cause", e->cause);
    add_text(&b, "reason", e->reason && e->reason[0] ? e->reason : NULL);
    buf_adds(&b, "}\n");
    line one = {.text = b.data, .len = b.len};
    if (ring_push(l->lines, &one) == ST_OK) return;
    atomic_fetch_add(&l->dropped, 1);
    buf_done(&b);
}

void event_log_left(event_log *l, const stream *s, const char *cause, const char *reason, uint64_t now_ns) {
    PRE(cause);
    PRE(reason);
    core_event e = {.kind = EVENT_CLIENT_LEFT, .cause = cause, .reason = reason};
    const char *id = NULL;
    if (stream_owes(s, &e.req, &id)) event_log_add(l, &e, id, now_ns);
}

uint64_t event_log_dropped(const event_log *l) {
    return l ? atomic_load(&l->dropped) : 0;
}
