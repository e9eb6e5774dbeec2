/* xfer - the transfer thread: sends KV segments (prefill), receives, verifies and scatters them (decode).
 *
 * The loop thread talks to it by commands and events over two SPSC rings; the device thread of a prefill
 * worker tells it by a third ring which layers of which rows are done. It owns the contents of pages between
 * X_EXPECT and X_VERIFIED (decode) and only reads those between X_OFFER and X_DROPPED (prefill): the loop
 * thread may give pages back only after X_DROPPED.
 *
 * Its commands and events are plain data (kv/xfer_cmd.h): all that pure worker code, and the simulator, which
 * plays this thread, see of it. */
#ifndef BATON_TRANSFER_XFER_H
#define BATON_TRANSFER_XFER_H

#include "base/status.h"
#include "kv/xfer_cmd.h"
#include "transfer/xfer_options.h"

typedef struct xfer xfer;

/* Starts the thread (returns after it runs). Caller frees with xfer_free, which stops it. */
status xfer_new(xfer **out, const xfer_options *opt, errbuf *eb);
void xfer_free(xfer *x);
/* D: bound pair channel. Borrowed */
const char *xfer_endpoint(const xfer *x);
/* D: what a pair's ring takes of the host's memory over shm, of which the sender maps the same pages; 0 for
 * other transports, and at P. */
uint64_t xfer_ring_bytes(const xfer *x);
/* Loop thread; bounded wait for room in the ring */
void xfer_post(xfer *x, const xfer_cmd *cmd);
/* Readable when events wait */
int xfer_fd(const xfer *x);
/* Loop thread; ST_AGAIN = none. When the fd is readable, call until then */
status xfer_next(xfer *x, xfer_event *out);
/* Device thread (P). step: its number (step_pass.step), for which a gather of the rows waits. */
void xfer_layer_done(xfer *x, uint64_t step, const layer_rows *rows);

/* Readable from the loop thread. */
xfer_stats xfer_stats_of(const xfer *x);

#endif
