/* arg_value - numbers in options of the command line, for argp parsers. A wrong one ends the program by
 * argp_error, which names the option, the word and what is wanted. */
#ifndef BATON_BASE_ARG_VALUE_H
#define BATON_BASE_ARG_VALUE_H

#include <argp.h>
#include <stdint.h>

/* name: of the option, without its dashes. min and max are allowed; INFINITY is, where max is. */
double arg_number(struct argp_state *state, const char *name, const char *arg, double min, double max);
uint64_t arg_whole(struct argp_state *state, const char *name, const char *arg, uint64_t min, uint64_t max);

#endif
