#include "net/hangups.h"

#include "base/mem.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* In one turn; the rest comes in the next. */
enum { GONE_AT_ONCE = 1024 };

struct hangups {
    void (*gone)(void *who);
    int epoll_fd;
    struct event *ready;
};

/* One by one: what gone() ends may be another's that is next. */
static void on_ready(evutil_socket_t fd, short what, void *ctx) {
    (void)what;
    hangups *h = ctx;
    struct epoll_event e;
    for (int i = 0; i < GONE_AT_ONCE && epoll_wait((int)fd, &e, 1, 0) == 1; i++) h->gone(e.data.ptr);
}

status hangups_new(hangups **out, loop *l, void (*gone)(void *who), errbuf *eb) {
    PRE(out);
    PRE(l);
    PRE(gone);
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0)
        return errf(eb, ST_IO, "epoll: %s: raise the limit of open files (ulimit -n)", strerror(errno));
    hangups *h = xcalloc(1, sizeof *h);
    h->gone = gone;
    h->epoll_fd = fd;
    h->ready = event_new(loop_base(l), fd, EV_READ | EV_PERSIST, on_ready, h);
    CHECK(h->ready);
    CHECK(event_add(h->ready, NULL) == 0);
    *out = h;
    return ST_OK;
}

void hangups_free(hangups *h) {
    if (!h) return;
    event_free(h->ready);
    close(h->epoll_fd);
    free(h);
}

void hangups_add(hangups *h, int fd, void *who) {
    PRE(h);
    PRE(who);
    struct epoll_event e = {.events = EPOLLRDHUP, .data.ptr = who}; /* errors and resets come in any case */
    CHECK(epoll_ctl(h->epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0);
}

void hangups_remove(hangups *h, int fd) {
    PRE(h);
    CHECK(epoll_ctl(h->epoll_fd, EPOLL_CTL_DEL, fd, NULL) == 0);
}
