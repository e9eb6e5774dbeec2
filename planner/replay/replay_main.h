/* replay_main - `baton-plan replay`: the cells of an experiment that was measured beside what the simulator
 * says of them. */
#ifndef BATON_PLANNER_REPLAY_MAIN_H
#define BATON_PLANNER_REPLAY_MAIN_H

/* Returns the program's exit status. */
int replay_main(int argc, char **argv);

#endif
