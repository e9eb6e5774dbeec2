/* row_file - rows as files: JSONL (everything) and CSV (everything but the events).
 *
 *   {"seed":1,"index":0,"phase":"window","outcome":"ok","http":200,"error":null,"finish":"length",
 *    "scheduled_ns":..,"sent_ns":..,"first_ns":..,"last_ns":..,"end_ns":..,   null = never
 *    "prompt_asked":..,"output_asked":..,"prompt_tokens":..,"output_tokens":..,"cached_tokens":..,
 *    "events":[[at_ns,tokens],...],"stages":{"queue_ms":..,...} or null}
 *
 * The file is written row by row as requests end, so that what was measured is on disk whatever happens; rows
 * stand in the order of their ends. */
#ifndef BATON_ROWS_ROW_FILE_H
#define BATON_ROWS_ROW_FILE_H

#include "base/status.h"
#include "bench/rows/row.h"

#include <stddef.h>

typedef struct row_list {
    row *rows; /* [count]; owned */
    size_t count, capacity;
} row_list;

/* Takes the contents of *r. */
void row_list_add(row_list *l, row *r);
void row_list_done(row_list *l);

typedef struct row_writer row_writer;

/* Creates DIR/rows.jsonl and DIR/rows.csv; ST_IO names the path. */
status row_writer_open(row_writer **out, const char *dir, errbuf *eb);
/* Both files; flushed. ST_IO (disk full): the text says what is kept; the files end with a whole row. */
status row_writer_add(row_writer *w, const row *r, errbuf *eb);
status row_writer_close(row_writer *w, errbuf *eb);

/* Appends the rows of a JSONL file. ST_INVALID names file and line. A last line without its newline (the
 * writer was killed) is left out and told in *cut. */
status row_file_read(row_list *l, const char *path, bool *cut, errbuf *eb);

#endif
