/* link_choice - the link of hand-offs as options say it, in place of the profile's: latency models,
 * DistServe's and Splitwise's profiles have none. Pure. */
#ifndef BATON_PLANNER_LINK_CHOICE_H
#define BATON_PLANNER_LINK_CHOICE_H

#include "planner/profile/profile.h"

/* NAN: the profile's. */
typedef struct link_choice {
    double bytes_per_s; /* INFINITY: hand-offs cost nothing */
    double latency_ms;
    double kv_token_bytes;
} link_choice;

link_choice link_choice_none(void);
/* Changes p's link and seals p again. ST_INVALID: nobody says how large KV is. */
status link_choice_take(profile *p, const link_choice *c, errbuf *eb);

#endif
