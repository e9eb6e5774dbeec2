/* secret_file - a small file that only its owner (and its group) may read: keys, passwords. */
#ifndef BATON_BASE_SECRET_FILE_H
#define BATON_BASE_SECRET_FILE_H

#include "base/mem.h"
#include "base/status.h"

#define SECRET_FILE_MAX ((size_t)1024 * 1024)

/* Appends the whole file. ST_IO: it cannot be read; ST_INVALID: everyone may read it, or its group write it;
 * it is no plain file, has a NUL, or is longer than SECRET_FILE_MAX. The text names the path and the remedy;
 * out is unchanged then. Never waits for a writer. */
status secret_file_read(buf *out, const char *path, errbuf *eb);
/* Overwrites what out holds and frees it. */
void secret_file_forget(buf *out);

#endif
