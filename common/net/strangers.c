#include "net/strangers.h"

#include "base/clock.h"
#include "base/log.h"

void strangers_note(strangers *s, const char *at, const char *from, const char *why) {
    PRE(s);
    PRE(at);
    PRE(why);
    s->count++;
    uint64_t now_ns = clock_now_ns();
    if (now_ns < s->next_ns) return;
    s->next_ns = now_ns + NS_PER_S;
    log_warn("net", "peer refused", "at=%s from=%s refused_so_far=%" PRIu64 " why=\"%s\"", at,
             from ? from : "?", s->count, why);
}
