/* profile_main - `baton-plan profile`: measures the engine of a cluster's config, or converts what others
 * measured, into a profile file. */
#ifndef BATON_PLANNER_PROFILE_MAIN_H
#define BATON_PLANNER_PROFILE_MAIN_H

int profile_main(int argc, char **argv);

#endif
