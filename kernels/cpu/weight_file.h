/* weight_file - repacked weights on disk, so that the workers of a host have one copy in memory (the page
 * cache's) and the next start repacks nothing.
 *
 *   DIR/KEY.baton.weights   bytes, in whole pages | trailer: magic, version, key, bytes, XXH3 of them
 *   DIR/KEY.baton.part      who fills it holds its lock; renamed when it is whole
 *
 * Nothing here fails for good: without a file a worker keeps private memory. A file is read only when its
 * trailer and the sum of all its bytes are right, so one that is torn, damaged or foreign is written anew.
 * Its bytes begin at 0 and are mapped at a multiple of 2 MiB, and written in large pieces: where the file
 * system has large folios (ext4, xfs) the kernel maps it in huge pages.
 *
 * The lock on a .baton.weights file (shared, while it is mapped) tells weight_file_prune what is in use. It
 * is no more than a hint: a file that is removed stays with those who have mapped it.
 *
 * Thread: any, one per object. */
#ifndef BATON_KERNELS_CPU_WEIGHT_FILE_H
#define BATON_KERNELS_CPU_WEIGHT_FILE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEIGHT_FILE_KEY_MAX 95u /* bytes of a key: letters, digits, '.', '_' and '-' */
#define WEIGHT_FILES_KEPT   4u  /* in a directory, the newest ones; those in use are kept besides */

typedef struct weight_file {
    char *path, *part; /* owned */
    char key[WEIGHT_FILE_KEY_MAX + 1];
    int fd; /* of .baton.weights, open while mapped; or of .baton.part, while this process fills it; -1 */
    bool filling;       /* fd is that of .baton.part */
    size_t bytes;       /* mapped; 0: not */
    bool huge;          /* most of it is mapped in huge pages */
    const void *mapped; /* borrowed: the reservation's */
    void *reserved;     /* what weight_file_find mapped it in; NULL: the caller's memory */
    size_t reserved_bytes;
} weight_file;

/* Makes the directory, and says where the file is to be. ST_IO when there can be no such directory. Caller
 * ends with weight_file_done, in any case. */
status weight_file_init(weight_file *f, const char *dir, const char *key, errbuf *eb);
/* Unmaps, unless it lies in the caller's memory; gives up what was being filled. Accepts a zeroed one. */
void weight_file_done(weight_file *f);

/* ST_OK: it is mapped, read only, at a multiple of 2 MiB (f->mapped, f->bytes). ST_AGAIN: there is none, and
 * this process is the one to fill it (weight_file_write). Otherwise why neither can be: ST_TIMEOUT when
 * another process has been filling it until now + wait_ns, ST_IO. Blocks up to wait_ns. */
status weight_file_find(weight_file *f, uint64_t wait_ns, errbuf *eb);
/* After ST_AGAIN: writes `bytes` (whole pages of 4 KiB, at a multiple of 2 MiB) and, when told so, maps the
 * file in their place, read only: pointers into them stay good. On failure (no room, no right) they stay as
 * they are, and there is no file. */
status weight_file_write(weight_file *f, void *memory, size_t bytes, bool map_it, errbuf *eb);
/* After ST_OK of weight_file_find: the file is no longer needed here. */
void weight_file_unmap(weight_file *f);
/* Removes the directory's other files beyond WEIGHT_FILES_KEPT, those that were not used for longest first,
 * and what processes that died were filling. */
void weight_file_prune(const weight_file *f);

#endif
