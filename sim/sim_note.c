/* What is said of a run: the first broken promise, and for --debug each control message as it arrives. */
#include "sim/sim_world.h"

#include "base/log.h"

#include <stdio.h>

void sim_failf(sim *s, const char *fmt, ...) {
    if (s->failure[0]) return; /* the first one is the cause */
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(s->failure, sizeof s->failure, fmt, ap);
    va_end(ap);
}

void sim_trace(const sim *s, const char *who, const ctl_msg *m) {
    if (m->kind == CTL_HEARTBEAT || m->kind == CTL_ACK) return;
    for (uint32_t i = 0; m->kind == CTL_TOKENS && i < m->tokens.count; i++)
        log_trace("sim", "TOKENS", "at=%.6f who=%s req=%" PRIu64 " attempt=%u index=%u fin=%d",
                  (double)s->now_ns / 1e9, who, m->tokens.tokens[i].req, m->tokens.tokens[i].attempt,
                  m->tokens.tokens[i].index, m->tokens.tokens[i].token.fin);
    if (m->kind == CTL_TOKENS) return;
    log_trace("sim", ctl_kind_name(m->kind), "at=%.6f who=%s req=%" PRIu64 " attempt=%u",
              (double)s->now_ns / 1e9, who, m->req, m->attempt);
}

uint32_t sim_first(const sim *s, worker_role role) {
    uint32_t first = 0;
    for (uint32_t r = 0; r < (uint32_t)role; r++) first += s->opt.workers[r];
    return first;
}
