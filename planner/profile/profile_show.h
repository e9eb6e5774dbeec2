/* profile_show - a profile for people: its engines with grid, error and spread, link, overheads, hash; and
 * files of others made ours. */
#ifndef BATON_PLANNER_PROFILE_SHOW_H
#define BATON_PLANNER_PROFILE_SHOW_H

#include "planner/profile/profile_file.h"

#include <stdio.h>

void profile_show(FILE *out, const profile *p);
/* Reads `from`, writes it to `to` as baton-profile/1, shows it on stdout. Returns the exit code of the
 * program: 0, 1 (I/O), 2 (bad input), 4 (its error is above the limit); says why on stderr. */
int profile_convert(const char *from, const profile_read_options *opt, const char *to);
/* That exit code, of a status of profile_read. */
int profile_exit_code(status st);

#endif
