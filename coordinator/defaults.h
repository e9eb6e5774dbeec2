/* defaults - what a request's sampling is where the client says nothing: the model's generation.* keys (of
 * generation_config.json), as vLLM takes them; without such keys sampling_default(). */
#ifndef BATON_COORDINATOR_DEFAULTS_H
#define BATON_COORDINATOR_DEFAULTS_H

#include "base/status.h"
#include "checkpoint/checkpoint.h"
#include "token/sampling.h"

/* ST_CORRUPT: a value that no request could have, by its name. */
status defaults_read(sampling *out, const checkpoint *c, errbuf *eb);

#endif
