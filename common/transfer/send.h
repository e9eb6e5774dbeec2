/* send - the sending half of the transfer thread, as a table: what P does. Thread: the transfer thread. */
#ifndef BATON_TRANSFER_SEND_H
#define BATON_TRANSFER_SEND_H

#include "transfer/xfer_core.h"

extern const xfer_role send_role;

#endif
