/* files - whole files and folders of an experiment's directory. */
#ifndef BATON_EXPERIMENT_FILES_H
#define BATON_EXPERIMENT_FILES_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The folder and those above it. ST_IO names the path. */
status files_make_dir(const char *path, errbuf *eb);
/* Removes the folder with all that is in it; none is fine. Links are removed, not followed. */
status files_remove_dir(const char *path, errbuf *eb);
/* Replaces the file at once (a temporary one beside it is synced and renamed): it is old or new, never half.
 */
status files_write(const char *path, const void *bytes, size_t len, errbuf *eb);
/* The text of a file of at most 16 MiB. ST_IO names the path. Caller frees *out with free. */
status files_read(char **out, const char *path, errbuf *eb);
bool files_exist(const char *path);
/* The last lines of a file, at most `bytes`, in one line with " | " between; "" when it cannot be read. */
void files_last_words(char *out, size_t size, const char *path, uint32_t lines);
/* Bytes that the disk of the path has left; UINT64_MAX: unknown. */
uint64_t files_disk_left(const char *path);

#endif
