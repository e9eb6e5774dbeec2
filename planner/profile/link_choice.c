#include "planner/profile/link_choice.h"

#include <math.h>

#define LINK_FREE 1e15 /* bytes per second */

link_choice link_choice_none(void) {
    return (link_choice){.bytes_per_s = NAN, .latency_ms = NAN, .kv_token_bytes = NAN};
}

status link_choice_take(profile *p, const link_choice *c, errbuf *eb) {
    PRE(p);
    PRE(c);
    profile_link *l = &p->link;
    if (!isnan(c->kv_token_bytes)) l->kv_token_bytes = c->kv_token_bytes;
    if (!isnan(c->latency_ms)) l->latency_ns = c->latency_ms * 1e6;
    if (!isnan(c->bytes_per_s)) {
        bool free_of_cost = isinf(c->bytes_per_s);
        if (!free_of_cost && !(l->kv_token_bytes > 0))
            return errf(eb, ST_INVALID,
                        "--link-bandwidth: the profile does not say how large KV is: give --kv-token-bytes");
        l->known = true;
        l->bytes_per_s = free_of_cost ? LINK_FREE : c->bytes_per_s;
        if (free_of_cost && !(l->kv_token_bytes > 0)) l->kv_token_bytes = 1;
        if (!l->layers) l->layers = 1;
    }
    profile_seal(p);
    return ST_OK;
}
