/* experiment_main - `baton-bench experiment FILE`: runs, or lists, the cells of an experiment file. */
#ifndef BATON_EXPERIMENT_EXPERIMENT_MAIN_H
#define BATON_EXPERIMENT_EXPERIMENT_MAIN_H

/* argv[0] is "experiment". Exit status: 0 every cell is done; 1 a cell failed, or the directory cannot be
 * written; 2 the command line or the file cannot be; 3 no cell failed, some are void; 130 a stop was asked
 * for: started again, it goes on. */
int experiment_main(int argc, char **argv);

#endif
