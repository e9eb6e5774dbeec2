/* simulate_main - `baton-plan simulate`: a workload through a cluster that is simulated, told as `baton-bench
 * serve` tells what it measures. */
#ifndef BATON_PLANNER_SIMULATE_MAIN_H
#define BATON_PLANNER_SIMULATE_MAIN_H

/* Returns the program's exit status. */
int simulate_main(int argc, char **argv);

#endif
