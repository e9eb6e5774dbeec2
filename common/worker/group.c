#include "worker/group.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define FILES_WANTED 65536u /* a pair of workers takes about ten descriptors, a worker about thirty */

typedef struct member {
    struct group *group;
    place place;
    pthread_t thread;
    bool running;  /* the thread was started and not joined */
    int signal_in; /* where the group writes */
    int signal_out;
    status st; /* from here on valid when the thread has ended */
    bool stuck;
    errbuf error;
} member;

typedef struct group {
    const config *config;
    const wcore_ops *role;
    member *members; /* [count] */
    uint32_t count;
    int ended_fd; /* eventfd: one more has ended */
    int signal_fd;
} group;

static void *run(void *ctx) {
    member *m = ctx;
    log_as(m->place.name);
    const runtime_options o = {
        .config = m->group->config, .role = m->group->role, .place = &m->place, .signal_fd = m->signal_out};
    m->st = runtime_run(&o, &m->stuck, &m->error);
    if (m->st != ST_OK)
        log_error("worker", "this worker of the process has ended", "why=\"%s\"", m->error.text);
    uint64_t one = 1;
    CHECK(write(m->group->ended_fd, &one, sizeof one) == sizeof one);
    return NULL;
}

static status start(member *m, errbuf *eb) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return errf(eb, ST_IO, "%s: %s: raise the limit of open files (ulimit -n)", m->place.name,
                    strerror(errno));
    m->signal_out = ends[0];
    m->signal_in = ends[1];
    int rc = pthread_create(&m->thread, NULL, run, m);
    if (rc) return errf(eb, ST_IO, "%s: %s", m->place.name, strerror(rc));
    m->running = true;
    return ST_OK;
}

/* A full pipe means that the worker has more of them than it will ever need. */
static void pass_on(const group *g, int signo) {
    unsigned char byte = (unsigned char)signo;
    for (uint32_t i = 0; i < g->count; i++)
        if (g->members[i].running) CHECK(write(g->members[i].signal_in, &byte, 1) == 1 || errno == EAGAIN);
}

static void wait_for_all(const group *g, uint32_t left) {
    struct pollfd fds[] = {{.fd = g->ended_fd, .events = POLLIN}, {.fd = g->signal_fd, .events = POLLIN}};
    while (left > 0) {
        CHECK(poll(fds, ARRAY_LEN(fds), -1) > 0 || errno == EINTR);
        struct signalfd_siginfo info;
        if (read(g->signal_fd, &info, sizeof info) == sizeof info) pass_on(g, (int)info.ssi_signo);
        uint64_t ended;
        if (read(g->ended_fd, &ended, sizeof ended) == sizeof ended) left -= MIN(left, (uint32_t)ended);
    }
}

static void raise_files(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= FILES_WANTED) return;
    files.rlim_cur = MIN(files.rlim_max, FILES_WANTED);
    (void)setrlimit(RLIMIT_NOFILE, &files);
}

/* The signals stay blocked in every thread that is started from now on; they come by the descriptor. */
static status open_group(group *g, errbuf *eb) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    g->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    g->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (g->signal_fd < 0 || g->ended_fd < 0) return errf(eb, ST_IO, "%s", strerror(errno));
    return ST_OK;
}

/* The first failure of a worker, or `st`. */
static status close_group(group *g, status st, bool *stuck, errbuf *eb) {
    for (uint32_t i = 0; i < g->count; i++) {
        member *m = &g->members[i];
        if (m->running) CHECK(pthread_join(m->thread, NULL) == 0);
        if (m->signal_in >= 0) close(m->signal_in);
        if (m->signal_out >= 0) close(m->signal_out);
        *stuck = *stuck || m->stuck;
        if (st == ST_OK && m->st != ST_OK) st = errf(eb, m->st, "%s: %s", m->place.name, m->error.text);
    }
    if (g->signal_fd >= 0) close(g->signal_fd);
    if (g->ended_fd >= 0) close(g->ended_fd);
    free(g->members);
    return st;
}

status group_run(const config *c, const wcore_ops *role, const place *first, bool *stuck, errbuf *eb) {
    PRE(c);
    PRE(role);
    PRE(first);
    PRE(first->worker_count > 0);
    PRE(stuck);
    group g = {.config = c, .role = role, .count = first->worker_count, .ended_fd = -1, .signal_fd = -1};
    g.members = xcalloc(g.count, sizeof *g.members);
    for (uint32_t i = 0; i < g.count; i++)
        g.members[i] = (member){
            .group = &g, .place = place_member(first, role->role, i), .signal_in = -1, .signal_out = -1};
    *stuck = false;
    raise_files();
    status st = open_group(&g, eb);
    uint32_t started = 0;
    while (st == ST_OK && started < g.count) {
        st = start(&g.members[started], eb);
        started += st == ST_OK;
    }
    if (st != ST_OK) pass_on(&g, SIGINT); /* those that run already */
    wait_for_all(&g, started);
    return close_group(&g, st, stuck, eb);
}
