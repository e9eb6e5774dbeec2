#include "bench/load/echo.h"

#include "base/mem.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CONNS_MAX = 64, REQUEST_MAX = 32 << 20, TOKENS_MAX = 1 << 20, READ_BYTES = 65536 };

static const char head[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
/* As large as the events of real servers */
static const char token_event[] =
    "data: "
    "{\"id\":\"cmpl-0123456789abcdef0123456789abcdef\",\"object\":\"text_completion\",\"created\":1700000000,"
    "\"model\":\"echo\",\"choices\":[{\"index\":0,\"text\":\" "
    "token\",\"logprobs\":null,\"finish_reason\":null,"
    "\"stop_reason\":null,\"token_ids\":[1234]}],\"usage\":null}\n\n";

typedef struct conn {
    int fd;
    buf in;
} conn;

static bool send_chunk(int fd, const char *text, size_t len) {
    char bytes[1024];
    int n = snprintf(bytes, sizeof bytes, "%zx\r\n%.*s\r\n", len, (int)len, text);
    return send(fd, bytes, (size_t)n, MSG_NOSIGNAL) == n;
}

static uint32_t number_after(const char *text, const char *key) {
    const char *at = strstr(text, key);
    return at ? (uint32_t)strtoul(at + strlen(key), NULL, 10) : 0;
}

static bool answer(int fd, uint32_t tokens) {
    if (send(fd, head, sizeof head - 1, MSG_NOSIGNAL) != (ssize_t)sizeof head - 1) return false;
    for (uint32_t i = 0; i < tokens; i++)
        if (!send_chunk(fd, token_event, sizeof token_event - 1)) return false;
    char tail[512];
    int n =
        snprintf(tail, sizeof tail,
                 "data: {\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":\"length\"}],\"usage\":"
                 "{\"prompt_tokens\":1,\"completion_tokens\":%u}}\n\ndata: [DONE]\n\n",
                 tokens);
    return send_chunk(fd, tail, (size_t)n) && send_chunk(fd, "", 0);
}

/* Answers what is whole; false: the connection is over. */
static bool serve(conn *c) {
    char bytes[READ_BYTES];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
    if (n <= 0 || c->in.len + (size_t)n > REQUEST_MAX) return false;
    buf_add(&c->in, bytes, (size_t)n);
    const char *end = strstr(c->in.data, "\r\n\r\n");
    if (!end) return true;
    size_t whole = (size_t)(end + 4 - c->in.data) + number_after(c->in.data, "Content-Length: ");
    if (c->in.len < whole) return true;
    uint32_t tokens = number_after(end, "\"max_tokens\":");
    buf_reset(&c->in);
    return answer(c->fd, MIN(tokens, TOKENS_MAX));
}

static void accept_one(int listener, conn *conns, uint32_t *count) {
    int fd = accept(listener, NULL, NULL), one = 1;
    if (fd < 0) return;
    if (*count == CONNS_MAX) {
        close(fd);
        return;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    conns[(*count)++] = (conn){.fd = fd};
}

static void child(int listener) {
    conn conns[CONNS_MAX];
    uint32_t count = 0;
    for (;;) {
        struct pollfd fds[CONNS_MAX + 1] = {{.fd = listener, .events = POLLIN}};
        for (uint32_t i = 0; i < count; i++)
            fds[i + 1] = (struct pollfd){.fd = conns[i].fd, .events = POLLIN};
        if (poll(fds, count + 1, -1) < 0 && errno != EINTR) return;
        for (uint32_t i = count; i-- > 0;) { /* from the end: the last takes the place of one that goes */
            if (!fds[i + 1].revents || serve(&conns[i])) continue;
            close(conns[i].fd);
            buf_done(&conns[i].in);
            conns[i] = conns[--count];
        }
        if (fds[0].revents) accept_one(listener, conns, &count);
    }
}

status echo_start(echo *e, errbuf *eb) {
    PRE(e);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    bool good = listener >= 0 && bind(listener, (struct sockaddr *)&at, size) == 0 &&
                listen(listener, CONNS_MAX) == 0 && getsockname(listener, (struct sockaddr *)&at, &size) == 0;
    pid_t parent = getpid(), pid = good ? fork() : -1;
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent) child(listener);
        _exit(0);
    }
    int code = errno;
    if (listener >= 0) close(listener);
    if (pid < 0) return errf(eb, ST_IO, "the built-in server: %s", strerror(code));
    e->pid = pid;
    snprintf(e->port, sizeof e->port, "%u", ntohs(at.sin_port));
    return ST_OK;
}

void echo_stop(echo *e) {
    PRE(e);
    if (e->pid <= 0) return;
    (void)kill(e->pid, SIGKILL);
    while (waitpid(e->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    e->pid = 0;
}
