/* build - which build measures: cells of two builds are not to be compared as if they were of one. */
#ifndef BATON_EXPERIMENT_BUILD_H
#define BATON_EXPERIMENT_BUILD_H

#include "base/status.h"

#include <stdbool.h>

typedef struct build_id {
    char version[32];
    char programs[17]; /* hexadecimal hash of the programs that take part, byte by byte */
    char git[64];      /* of the sources, as they are now; "" = unknown. Only told: the programs decide */
} build_id;

/* Of the programs in the folder `bin` (a program that is not there is left out) and the sources in `root`
 * (NULL = not asked). ST_IO names the program that cannot be read. */
status build_id_of(build_id *out, const char *bin, const char *root, errbuf *eb);
bool build_same(const build_id *a, const build_id *b);
/* "0.1.0, git v0.1-3-gabc, programs 0123456789abcdef"; "an unknown one" for an empty one. Returns out. */
const char *build_text(const build_id *b, char *out, size_t size);

#endif
