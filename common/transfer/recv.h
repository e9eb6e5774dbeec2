/* recv - the receiving half of the transfer thread, as a table: what D does. Thread: the transfer thread. */
#ifndef BATON_TRANSFER_RECV_H
#define BATON_TRANSFER_RECV_H

#include "transfer/xfer_core.h"

extern const xfer_role recv_role;

#endif
