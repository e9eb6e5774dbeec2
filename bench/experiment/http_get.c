#include "bench/experiment/http_get.h"

#include "base/clock.h"
#include "base/hostport.h"
#include "base/mem.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BODY_MAX (64u << 20)

/* True: the socket is ready for `events`. */
static bool wait_for(int fd, short events, uint64_t deadline_ns) {
    uint64_t now_ns = clock_now_ns();
    struct pollfd p = {.fd = fd, .events = events};
    int left_ms = deadline_ns > now_ns ? (int)((deadline_ns - now_ns) / NS_PER_MS + 1) : 0;
    return poll(&p, 1, left_ms) > 0;
}

static status open_socket(int *out, const char *at, uint64_t deadline_ns, errbuf *eb) {
    hostport where;
    if (!hostport_parse(&where, at, false)) return errf(eb, ST_INVALID, "\"%s\" is no address", at);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int bad = getaddrinfo(where.host, where.port, &hints, &list);
    if (bad) return errf(eb, ST_PEER, "%s: %s", at, gai_strerror(bad));
    int fd = socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        int code = errno;
        freeaddrinfo(list);
        return errf(eb, ST_IO, "no socket: %s: see ulimit -n", strerror(code));
    }
    int error = connect(fd, list->ai_addr, list->ai_addrlen) == 0 ? 0 : errno;
    freeaddrinfo(list);
    if (error == EINPROGRESS) {
        socklen_t len = sizeof error;
        if (!wait_for(fd, POLLOUT, deadline_ns))
            error = ETIMEDOUT;
        else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
            error = errno;
    }
    if (!error) {
        *out = fd;
        return ST_OK;
    }
    close(fd);
    return errf(eb, error == ETIMEDOUT ? ST_TIMEOUT : ST_PEER, "%s: %s", at, strerror(error));
}

static status exchange(int fd, const char *request, buf *answer, uint64_t deadline_ns, errbuf *eb) {
    size_t len = strlen(request);
    if (send(fd, request, len, MSG_NOSIGNAL) != (ssize_t)len)
        return errf(eb, ST_PEER, "the connection is lost");
    for (;;) {
        if (!wait_for(fd, POLLIN, deadline_ns)) return errf(eb, ST_TIMEOUT, "no answer in time");
        char piece[4096];
        ssize_t n = recv(fd, piece, sizeof piece, 0);
        if (n == 0) return ST_OK;
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (n < 0) return errf(eb, ST_PEER, "the connection is lost: %s", strerror(errno));
        buf_add(answer, piece, (size_t)n);
        if (answer->len > BODY_MAX)
            return errf(eb, ST_PEER, "the answer is longer than %u MiB", BODY_MAX >> 20);
    }
}

status http_get(char **body, int *code, const char *at, const char *path, uint64_t deadline_ns, errbuf *eb) {
    PRE(body);
    PRE(code);
    PRE(at);
    PRE(path);
    int fd = -1;
    status st = open_socket(&fd, at, deadline_ns, eb);
    if (st != ST_OK) return st;
    /* 1.0: no chunks, and the end of the connection is the end of the body. */
    char *request = xasprintf("GET %s HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n", path, at);
    buf answer = {0};
    st = exchange(fd, request, &answer, deadline_ns, eb);
    free(request);
    close(fd);
    const char *text = answer.data ? answer.data : "", *start = strstr(text, "\r\n\r\n");
    if (st == ST_OK && (sscanf(text, "HTTP/%*d.%*d %d", code) != 1 || !start))
        st = errf(eb, ST_PEER, "%s: what answers is no HTTP server", at);
    if (st == ST_OK) *body = xstrdup(start + 4);
    buf_done(&answer);
    return st;
}
