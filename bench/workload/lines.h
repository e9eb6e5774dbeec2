/* lines - a text file line by line, every line bounded, for messages that say file and line.
 *
 * What is no text for a trace is refused here: a file that is not there, a folder, a NUL byte, a line that is
 * too long. */
#ifndef BATON_WORKLOAD_LINES_H
#define BATON_WORKLOAD_LINES_H

#include "base/mem.h"
#include "base/status.h"

#include <stdint.h>
#include <stdio.h>

#define LINES_BYTES_MAX (1u << 20) /* of one line */

typedef struct lines {
    FILE *file;      /* owned */
    char name[104];  /* for messages: the path, or its end */
    uint64_t number; /* of the line read last, from 1 */
    buf text;        /* that line, without its end */
} lines;

/* ST_INVALID: no such file, or a folder. A byte order mark at the begin is skipped. End with lines_close. */
status lines_open(lines *l, const char *path, errbuf *eb);
void lines_close(lines *l);
/* The next line that is not empty, without LF or CR LF; *text NULL = the end. Borrowed: valid until the next
 * call. */
status lines_next(lines *l, char **text, errbuf *eb);
/* "NAME:LINE: ..." into eb, and ST_INVALID. */
status lines_bad(const lines *l, errbuf *eb, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
