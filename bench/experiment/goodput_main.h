/* goodput_main - `baton-bench goodput`: the highest rate at which a running server attains its limits. */
#ifndef BATON_EXPERIMENT_GOODPUT_MAIN_H
#define BATON_EXPERIMENT_GOODPUT_MAIN_H

/* argv[0] is "goodput". Exit status: 0 there is a PASS or a FAIL; 1 the server or the disk failed; 2 the
 * command line is wrong; 3 nothing could be decided; 130 a stop was asked for: started again, it goes on. */
int goodput_main(int argc, char **argv);

#endif
