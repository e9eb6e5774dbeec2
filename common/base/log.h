/* log - one line per event: time, level, subsystem, message, then key=value pairs.
 *
 *   log_info("kv.xfer", "segment verified", "req=%" PRIu64 " bytes=%zu", req, bytes);
 *
 * prints   2026-11-21T10:00:00.123Z info  kv.xfer prefill-0 segment verified req=7 bytes=4096
 *
 * Lower case, cause at the end, ids always under the same key (req, seq, peer, worker, page). Volume:
 * error/warn = someone must act / might; info grows with the process's life; debug with requests; trace with
 * tokens. Thread-safe: one write(2) per line; one that fails, as on a full disk, is counted. Library code
 * never logs an error that it returns; the loop that swallows it does. */
#ifndef BATON_BASE_LOG_H
#define BATON_BASE_LOG_H

#include "base/status.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE } log_level;

/* Set once by main before threads start. `who` ("decode-1") is copied, 31 bytes kept. */
void log_setup(log_level level, const char *who);
/* The name of the calling thread's lines, where a process hosts several workers; copied likewise. A thread
 * that it starts goes by the process's name until it says otherwise. */
void log_as(const char *who);
/* The name of the calling thread's lines. Borrowed: valid until the thread ends or calls log_as. */
const char *log_name(void);
bool log_on(log_level level);
/* "error" ... "trace" to a level; ST_INVALID names the choices. */
status log_level_parse(const char *text, log_level *out, errbuf *eb);

/* For processes that serve, once, after log_setup: whatever becomes of standard error, a full disk, a pipe
 * that nobody reads, one that nobody has open, neither ends the process nor holds it. (A regular file on a
 * disk that hangs still does.) */
void log_outlives_stderr(void);
/* Lines of this process that were not written. The next one that is tells of them: log_lines_lost=N. */
uint64_t log_dropped(void);

void log_line(log_level level, const char *subsystem, const char *message, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#define LOG_(level, sub, msg, ...) (log_on(level) ? log_line(level, sub, msg, __VA_ARGS__) : (void)0)
/* The pairs may be left out: log_info("net", "listening"). */
#define LOG_PICK_(level, sub, msg, ...) LOG_(level, sub, msg, " " __VA_ARGS__)
#define log_error(sub, ...)             LOG_PICK_(LOG_ERROR, sub, __VA_ARGS__)
#define log_warn(sub, ...)              LOG_PICK_(LOG_WARN, sub, __VA_ARGS__)
#define log_info(sub, ...)              LOG_PICK_(LOG_INFO, sub, __VA_ARGS__)
#define log_debug(sub, ...)             LOG_PICK_(LOG_DEBUG, sub, __VA_ARGS__)
#define log_trace(sub, ...)             LOG_PICK_(LOG_TRACE, sub, __VA_ARGS__)

#endif
