#include "base/log.h"

#include "base/clock.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The only globals of the program besides const tables and base/fault: how loud, under which name, where to,
 * and what got lost. */
static _Atomic int log_max = LOG_INFO;
static int log_fd = STDERR_FILENO;
static bool log_polls;                      /* a write may wait: ask before */
static _Atomic uint64_t log_lost, log_told; /* told: of them, by lines since */
static char log_who[32] = "baton";
static _Thread_local char log_thread[sizeof log_who]; /* "" = the process's */

static const char *const level_names[] = {"error", "warn", "info", "debug", "trace"};

void log_setup(log_level level, const char *who) {
    PRE(who);
    atomic_store_explicit(&log_max, (int)level, memory_order_relaxed);
    snprintf(log_who, sizeof log_who, "%s", who);
}

void log_outlives_stderr(void) {
    signal(SIGPIPE, SIG_IGN); /* its reader is gone */
    signal(SIGXFSZ, SIG_IGN); /* its file is as long as it may be */
    struct stat st;
    if (fstat(STDERR_FILENO, &st) != 0 || S_ISREG(st.st_mode)) return;
    log_polls = true;
    if (!S_ISFIFO(st.st_mode)) return;
    /* A way of our own into the pipe, that does not wait. O_NONBLOCK on the descriptor itself would be on it
     * in every process that has it, too. Where this is not allowed, asking before is nearly as good: only who
     * shares the pipe could fill it in between. */
    int fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return;
    log_fd = fd;
    log_polls = false;
}

uint64_t log_dropped(void) {
    return atomic_load_explicit(&log_lost, memory_order_relaxed);
}

void log_as(const char *who) {
    PRE(who);
    snprintf(log_thread, sizeof log_thread, "%s", who);
}

const char *log_name(void) {
    return log_thread[0] ? log_thread : log_who;
}

bool log_on(log_level level) {
    return (int)level <= atomic_load_explicit(&log_max, memory_order_relaxed);
}

status log_level_parse(const char *text, log_level *out, errbuf *eb) {
    PRE(text);
    PRE(out);
    for (size_t i = 0; i < sizeof level_names / sizeof level_names[0]; i++) {
        if (strcmp(text, level_names[i]) != 0) continue;
        *out = (log_level)i;
        return ST_OK;
    }
    return errf(eb, ST_INVALID, "log level '%s': want error, warn, info, debug or trace", text);
}

static bool write_now(const char *line, size_t len) {
    struct pollfd p = {.fd = log_fd, .events = POLLOUT};
    if (log_polls && (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))) return false;
    return write(log_fd, line, len) == (ssize_t)len;
}

void log_line(log_level level, const char *subsystem, const char *message, const char *fmt, ...) {
    PRE(level <= LOG_TRACE);
    char line[1024], time[CLOCK_TEXT_MAX], gap[48] = "";
    clock_wall_text(time);
    uint64_t lost = atomic_load_explicit(&log_lost, memory_order_relaxed),
             told = atomic_exchange_explicit(&log_told, lost, memory_order_relaxed);
    if (lost > told) snprintf(gap, sizeof gap, " log_lines_lost=%" PRIu64, lost - told);
    size_t n = (size_t)snprintf(line, sizeof line, "%s %-5s %-10s %s %s", time, level_names[level], subsystem,
                                log_name(), message);
    size_t end = sizeof line - strlen(gap);
    if (n < end - 1) {
        va_list ap;
        va_start(ap, fmt);
        int more = vsnprintf(line + n, end - n, fmt, ap);
        va_end(ap);
        if (more > 1) n += (size_t)more;
    }
    if (n > end - 2) n = end - 2;
    n += (size_t)snprintf(line + n, sizeof line - n, "%s\n", gap);
    if (write_now(line, n)) return;
    /* It has nowhere to be reported but in the next one. */
    atomic_fetch_add_explicit(&log_lost, 1, memory_order_relaxed);
    if (lost > told) atomic_fetch_sub_explicit(&log_told, lost - told, memory_order_relaxed);
}
