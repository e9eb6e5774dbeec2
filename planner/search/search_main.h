/* search_main - `baton-plan search`: the placement with the highest goodput per device, and whether to
 * disaggregate at all. */
#ifndef BATON_PLANNER_SEARCH_MAIN_H
#define BATON_PLANNER_SEARCH_MAIN_H

/* Returns the program's exit status. */
int search_main(int argc, char **argv);

#endif
