/* profile_show - a profile for people: its engines with grid, error and spread, link, overheads, hash. */
#ifndef BATON_PLANNER_PROFILE_SHOW_H
#define BATON_PLANNER_PROFILE_SHOW_H

#include "planner/profile/profile_file.h"

#include <stdio.h>

void profile_show(FILE *out, const profile *p);
/* Of the program, by a status of profile_read: 0, 1 (I/O), 2 (bad input), 4 (its error is above the limit).
 */
int profile_exit_code(status st);

#endif
