/* mapped_file - a whole file, mapped to be read. */
#ifndef BATON_CHECKPOINT_MAPPED_FILE_H
#define BATON_CHECKPOINT_MAPPED_FILE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mapped_file {
    const uint8_t *bytes; /* [size]; NULL: none is open */
    size_t size;
    uint64_t stamp; /* of size and time of change */
} mapped_file;

/* ST_IO: it cannot be opened, is no regular file; ST_CORRUPT: it is empty. The text names the path. */
status mapped_file_open(mapped_file *f, const char *path, errbuf *eb);
/* Of pages that were read: they are no longer this process's memory and come back when they are read. */
void mapped_file_drop(const mapped_file *f);
/* Also legal for a zeroed one. */
void mapped_file_close(mapped_file *f);
/* Whether there is something of that name. */
bool mapped_file_exists(const char *path);

#endif
