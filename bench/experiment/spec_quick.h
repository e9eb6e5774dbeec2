/* spec_quick - what --quick makes of an experiment. Pure. */
#ifndef BATON_EXPERIMENT_SPEC_QUICK_H
#define BATON_EXPERIMENT_SPEC_QUICK_H

#include "base/status.h"
#include "bench/experiment/spec.h"

/* Changes s in place: what the quick section gives replaces what was there. ST_INVALID when there is no such
 * section, or it names a placement or workload that is not in the file; s is then good for spec_free only. */
status spec_make_quick(spec *s, errbuf *eb);

#endif
