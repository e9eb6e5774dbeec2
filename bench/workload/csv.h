/* csv - lines of comma-separated values whose columns are found by their names in the first line, so that
 * others may stand between them. No quotes. Pure. */
#ifndef BATON_WORKLOAD_CSV_H
#define BATON_WORKLOAD_CSV_H

#include <stdint.h>

#define CSV_COLUMNS_MAX 64u

/* Cuts the line into fields, in place; returns how many there are, of which the first CSV_COLUMNS_MAX are in
 * `fields`. */
uint32_t csv_split(char *line, char **fields);
/* CSV_COLUMNS_MAX: not there. Case does not matter. */
uint32_t csv_column(char *const *fields, uint32_t count, const char *name);

#endif
