/* store - where a device's repacked weights lie.
 *
 * Every worker of a model takes the same pieces in the same order, so the whole is one block, which a file
 * can hold: the first one fills it, the others of the host map what it wrote.
 *
 *   open -> take, take, ... (filled: as they lie; else: written by the caller) -> seal -> read only, until
 * close
 *
 * Thread: the device thread. */
#ifndef BATON_KERNELS_CPU_STORE_H
#define BATON_KERNELS_CPU_STORE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct store store;

/* Private memory. Caller frees with store_close. */
store *store_new(void);
void store_close(store *s);
/* The next piece: 64-byte aligned; NULL when there is no memory. Where it is not filled the caller writes all
 * of it. Borrowed until store_close. */
void *store_take(store *s, size_t bytes);
/* Whether pieces come with their contents. */
bool store_filled(const store *s);

#endif
