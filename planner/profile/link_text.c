#include "planner/profile/link_text.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

status link_text_take(profile *p, const char *text, errbuf *eb) {
    PRE(p);
    PRE(text);
    static const struct {
        const char *what;
        double least, most;
    } parts[] = {{"bytes per second", 1, 1e15},
                 {"KV bytes of a token", 1, 1e9},
                 {"milliseconds", 0, 1e6},
                 {"pieces", 0, 1000}};
    double v[] = {NAN, NAN, 0, 1};
    const char *at = text;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        char *end = NULL;
        v[i] = strtod(at, &end);
        bool last = !*end;
        if (end == at || !(last || *end == ',') || !(v[i] >= parts[i].least && v[i] <= parts[i].most))
            return errf(eb, ST_INVALID, "link '%.60s': %s: want a number of %g to %g", text, parts[i].what,
                        parts[i].least, parts[i].most);
        if (i == 3 && v[i] != floor(v[i]))
            return errf(eb, ST_INVALID, "link '%.60s': pieces: want a whole number", text);
        if (last) break;
        if (i + 1 == ARRAY_LEN(parts)) return errf(eb, ST_INVALID, "link '%.60s': too many numbers", text);
        at = end + 1;
    }
    if (isnan(v[1]))
        return errf(eb, ST_INVALID, "link '%.60s': want the KV bytes of a token, too: " LINK_TEXT_FORM, text);
    if (v[1] / v[0] * 1e9 > PROFILE_LONGEST_NS)
        return errf(eb, ST_INVALID, "link '%.60s': the KV of a token would take %.3g hours, want one at most",
                    text, v[1] / v[0] / 3600);
    p->link = (profile_link){.known = true,
                             .bytes_per_s = v[0],
                             .kv_token_bytes = v[1],
                             .latency_ns = v[2] * 1e6,
                             .layers = (uint32_t)v[3]};
    profile_seal(p);
    return ST_OK;
}
