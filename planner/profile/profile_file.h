/* profile_file - profiles as files: our JSON, and what others publish, told from the contents.
 *
 *   baton-profile/1   ours: every field of profile.h; profile_json.h
 *   DistServe         {"facebook/opt-13b": {"1": {"prefill": [a,b,c], "decoding_smallbs": ...}}};
 *                     profile_distserve.h
 *   Splitwise         perf_model.csv: prompt_size, batch_size, token_size, prompt_time, token_time, ...;
 *                     profile_csv.h
 *   simple CSV        phase,tp,pp,x,y,ms (phase prefill, decode or mixed: x2,y2 besides)
 *   mock latency      a preset's name or its YAML: latency/latency.h
 */
#ifndef BATON_PLANNER_PROFILE_FILE_H
#define BATON_PLANNER_PROFILE_FILE_H

#include "planner/profile/profile.h"

typedef struct profile_read_options {
    const char *model;    /* of several in a file; NULL: the only one */
    const char *hardware; /* Splitwise: "a100-80gb"; NULL: the only one */
    double error_limit; /* mean leave-one-out error above which the profile is refused, 0.1 = 10 %; 0: none */
} profile_read_options;

/* path: a file or a preset's name. ST_INVALID names file, key or line, and the remedy; ST_CORRUPT: its
 * error is above the limit; ST_IO. Caller frees with profile_free. */
status profile_read(profile **out, const char *path, const profile_read_options *opt, errbuf *eb);
/* As baton-profile/1, whole or not at all; profile_read of it gives the same hash. PRE: p is sealed */
status profile_write(const profile *p, const char *path, errbuf *eb);

#endif
