#include "ctl/decision.h"

#include "base/log.h"

#include <stdio.h>

const char *decision_name(decision_kind kind) {
    static const char *const names[] = {[DECISION_ROUTE] = "route",
                                        [DECISION_RESERVE] = "reserve",
                                        [DECISION_STEP] = "step",
                                        [DECISION_PREEMPT] = "preempt",
                                        [DECISION_NO_ROOM] = "no-room"};
    return names[kind];
}

static void step_text(const decision *d, uint32_t *next, char *text, size_t size) {
    size_t n = (size_t)snprintf(text, size, "n=%" PRIu64 " rows=", d->step);
    for (const char *comma = ""; *next < d->item_count; comma = ",", ++*next) {
        const step_item *it = &d->items[*next];
        char part[64];
        size_t len =
            (size_t)snprintf(part, sizeof part, "%s%" PRIu64 ":%u+%u", comma, it->tag, it->begin, it->count);
        if (n + len >= size) return;
        n += (size_t)snprintf(text + n, size - n, "%s", part);
    }
}

void decision_text(const decision *d, uint32_t *next, char *text, size_t size) {
    PRE(d);
    PRE(next);
    PRE(size >= 128);
    switch (d->kind) {
    case DECISION_ROUTE:
        snprintf(text, size, "req=%" PRIu64 " attempt=%u worker=%s decode=%s", d->req, d->attempt, d->worker,
                 d->decode ? d->decode : "-");
        break;
    case DECISION_RESERVE:
        snprintf(text, size, "req=%" PRIu64 " attempt=%u decode=%s", d->req, d->attempt, d->decode);
        break;
    case DECISION_STEP:
        step_text(d, next, text, size);
        return;
    case DECISION_PREEMPT:
        snprintf(text, size, "req=%" PRIu64 " attempt=%u", d->req, d->attempt);
        break;
    case DECISION_NO_ROOM:
        snprintf(text, size, "req=%" PRIu64 " attempt=%u why=\"%s\"", d->req, d->attempt, d->why);
        break;
    }
    *next = d->item_count;
}

void decision_log(void *ctx, const decision *d) {
    (void)ctx;
    PRE(d);
    uint32_t next = 0;
    do {
        char text[DECISION_TEXT_MAX];
        decision_text(d, &next, text, sizeof text);
        log_debug("decision", decision_name(d->kind), "%s", text);
    } while (next < d->item_count);
}
