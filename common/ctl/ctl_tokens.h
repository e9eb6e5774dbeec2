/* ctl_tokens - reads a TOKENS message without protobuf's objects: there is one with every step of every
 * worker, and hundreds of tokens in it.
 *
 * Private to this folder. It takes only what it is sure of: the fields of control.proto with their own wire
 * types, legal values, no alternatives to the tokens. Whatever else comes, hostile bytes included, is left to
 * protobuf-c and its checks, so there is one place that says what is wrong. */
#ifndef BATON_CTL_CTL_TOKENS_H
#define BATON_CTL_CTL_TOKENS_H

#include "ctl/ctl.h"

/* False: *out is untouched, and the message may be anything. True: as ctl_unpack. */
bool ctl_tokens_unpack(const void *bytes, size_t count, ctl_msg *out);

#endif
