/* link_text - the link of hand-offs as an option says it: what latency models, DistServe's and Splitwise's
 * profiles do not have. Pure. */
#ifndef BATON_PLANNER_LINK_TEXT_H
#define BATON_PLANNER_LINK_TEXT_H

#include "planner/profile/profile.h"

#define LINK_TEXT_FORM "BYTES/S,KV_BYTES[,MS[,LAYERS]]"
#define LINK_TEXT_HELP                                                                                       \
    "The link of hand-offs, in place of the profile's: bytes per second, KV bytes of a token, milliseconds " \
    "besides (default 0), pieces that a chunk's KV leaves in (default 1: all at its end)"

/* Replaces p's link and seals p again. ST_INVALID says which number is wrong, and what it should be. */
status link_text_take(profile *p, const char *text, errbuf *eb);

#endif
