/* distserve_main - `baton-plan distserve`: DistServe's own answer on its own assumptions, and beside it what
 * holds at steady state. */
#ifndef BATON_PLANNER_DISTSERVE_MAIN_H
#define BATON_PLANNER_DISTSERVE_MAIN_H

int distserve_main(int argc, char **argv);

#endif
