#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The only globals of the program besides const tables and base/fault: how loud, and under which name. */
static _Atomic int log_max = LOG_INFO;
static char log_who[32] = "baton";
static _Thread_local char log_thread[sizeof log_who]; /* "" = the process's */

static const char *const level_names[] = {"error", "warn", "info", "debug", "trace"};

void log_setup(log_level level, const char *who) {
    PRE(who);
    atomic_store_explicit(&log_max, (int)level, memory_order_relaxed);
    snprintf(log_who, sizeof log_who, "%s", who);
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

void log_line(log_level level, const char *subsystem, const char *message, const char *fmt, ...) {
    PRE(level <= LOG_TRACE);
    char line[1024];
    struct timespec ts;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    size_t n = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &tm);
    n += (size_t)snprintf(line + n, sizeof line - n, ".%03ldZ %-5s %-10s %s %s", ts.tv_nsec / 1000000,
                          level_names[level], subsystem, log_name(), message);
    if (n < sizeof line - 1) {
        va_list ap;
        va_start(ap, fmt);
        int more = vsnprintf(line + n, sizeof line - n, fmt, ap);
        va_end(ap);
        if (more > 1) n += (size_t)more;
    }
    if (n > sizeof line - 2) n = sizeof line - 2;
    line[n] = '\n';
    /* A log line that cannot be written has nowhere to be reported. */
    ssize_t ignored = write(STDERR_FILENO, line, n + 1);
    (void)ignored;
}
