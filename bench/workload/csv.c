#include "bench/workload/csv.h"

#include "base/status.h"

#include <string.h>

uint32_t csv_split(char *line, char **fields) {
    PRE(line);
    PRE(fields);
    uint32_t n = 0;
    for (char *at = line; at;) {
        char *comma = strchr(at, ',');
        if (n < CSV_COLUMNS_MAX) fields[n] = at;
        n++;
        if (comma) *comma++ = 0;
        at = comma;
    }
    return n;
}

uint32_t csv_column(char *const *fields, uint32_t count, const char *name) {
    PRE(fields);
    PRE(name);
    for (uint32_t i = 0; i < count && i < CSV_COLUMNS_MAX; i++)
        if (strcasecmp(fields[i], name) == 0) return i;
    return CSV_COLUMNS_MAX;
}
