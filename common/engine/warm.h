/* warm - steps that nobody asked for, before the first request: those that a backend says cost more the first
 * times (on GPUs: a library chooses its algorithms, decode steps are recorded), so that no request pays for
 * them. Internal to the engine.
 *
 * They compute token 0 in pages that belong to nobody yet; what they leave there is overwritten before it is
 * read. */
#ifndef BATON_ENGINE_WARM_H
#define BATON_ENGINE_WARM_H

#include "engine/forward.h"

/* Runs the decode steps, the prompt steps, or both, of the sizes that fit `o`. */
status warm_run(forward *f, const engine_options *o, errbuf *eb);

#endif
