/* native_look - the answers of client.proto to those who look after the cluster. Pure; not for users of
 * native.h. */
#ifndef BATON_COORDINATOR_NATIVE_LOOK_H
#define BATON_COORDINATOR_NATIVE_LOOK_H

#include "base/mem.h"
#include "coordinator/event_log.h"
#include "coordinator/health.h"

#define NATIVE_ALL_WORKERS UINT32_MAX

/* What they look at. All borrowed. */
typedef struct native_look {
    const core *core;
    const health_facts *facts;
    const event_log *events; /* NULL: none is kept */
    bool stopping;
} native_look;

/* Each adds one ServerEvent to the message in *out, as in native_wire.h. */

/* The worker at `index` alone, or all of them when it is NATIVE_ALL_WORKERS. */
void native_look_workers(buf *out, uint64_t id, const native_look *at, uint32_t index, uint64_t now_ns);
void native_look_status(buf *out, uint64_t id, const native_look *at, uint64_t now_ns);
void native_look_aborted(buf *out, uint64_t id, uint32_t choices);

#endif
