/* store - where a device's repacked weights lie: one block of memory, in huge pages; its own, or one that a
 * file gives to all workers of the host.
 *
 * Every worker of a model takes the same pieces in the same order, so a file can hold the whole block: the
 * first one fills it, the others, and the next start, map what it wrote (weight_file.h).
 *
 *   open -> take, take, ... (filled: as they lie; else: written by the caller) -> seal -> read only, until
 *   close
 *
 * Without a file, for whatever reason, it is private memory: a line in the log says why, and nothing fails.
 *
 * Thread: the device thread. */
#ifndef BATON_KERNELS_CPU_STORE_H
#define BATON_KERNELS_CPU_STORE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct store store;

typedef struct store_options {
    uint64_t room;    /* bytes of all pieces together, about; 0: not known */
    const char *dir;  /* of the file; NULL: private memory */
    const char *key;  /* the file's name: what the bytes follow from, layout and room included */
    uint64_t wait_ns; /* for another process that fills it */
    bool alone;       /* no other worker of this host uses it: where a file is mapped in small pages only, a
                         private copy in huge pages is read faster */
} store_options;

typedef struct store_state {
    uint64_t bytes;    /* of all pieces so far */
    bool filled;       /* they came from the file */
    const char *file;  /* that is mapped; NULL: private memory. Borrowed until store_close */
    bool huge;         /* that mapping is in huge pages */
    const char *alone; /* why there is no file although one was asked for; NULL. Likewise */
} store_state;

/* Private memory of no known size. Caller frees with store_close. */
store *store_new(void);
/* Copies dir and key, and asks for the file with the first piece. Caller frees with store_close. */
store *store_open(const store_options *opt);
void store_close(store *s);
/* The next piece: 64-byte aligned; NULL when there is no memory. Where it is not filled the caller writes all
 * of it, before store_seal. The first one may block up to wait_ns. Pieces that are taken after store_seal are
 * private. Borrowed until store_close. */
void *store_take(store *s, size_t bytes);
/* Whether the piece that was taken last came with its contents. */
bool store_filled(const store *s);
/* After the last piece was written: makes the file, and all of it read only. */
void store_seal(store *s);
store_state store_state_of(const store *s);

#endif
