/* trace_chats - ShareGPT's file: one JSON array of conversations, often on one line of hundreds of megabytes,
 * so it is cut into its elements and read one by one. */
#ifndef BATON_WORKLOAD_TRACE_CHATS_H
#define BATON_WORKLOAD_TRACE_CHATS_H

#include "bench/workload/trace.h"

#define TRACE_CHAT_BYTES_MAX (64u << 20) /* of one conversation */

/* From the array's "[" on, which is the next byte. A conversation of fewer than two turns, or with an empty
 * one of these, is left out and counted. */
status trace_chats_read(trace *t, lines *l, double chars_per_token, errbuf *eb);

#endif
