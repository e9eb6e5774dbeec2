/* show_main - `baton-plan show`: what a profile says, whatever kind of file it is. */
#ifndef BATON_PLANNER_SHOW_MAIN_H
#define BATON_PLANNER_SHOW_MAIN_H

int show_main(int argc, char **argv);

#endif
