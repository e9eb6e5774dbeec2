/* spec_file - an experiment file (YAML) into a spec. */
#ifndef BATON_EXPERIMENT_SPEC_FILE_H
#define BATON_EXPERIMENT_SPEC_FILE_H

#include "base/status.h"
#include "bench/experiment/spec.h"

/* Reads the file; unknown keys, wrong shapes and single values out of range are ST_INVALID with
 * "path:line:column: key: what". What several keys say together is spec_check's. Caller frees with spec_free.
 */
status spec_load(spec **out, const char *path, errbuf *eb);
void spec_free(spec *s);

#endif
