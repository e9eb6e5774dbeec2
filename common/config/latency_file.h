/* latency_file - a latency model by the name of a preset, or from a YAML or JSON file:
 *
 *   prefill: {alpha_ms: 18.1, beta_ms: 0.102, gamma_ms: 0.0000071}
 *   decode: {alpha_ms: 19.9, beta_ms: 0.0385, gamma_ms: 0.00063}
 *
 * All six are wanted; a key that is none of them is a slip and refused. */
#ifndef BATON_CONFIG_LATENCY_FILE_H
#define BATON_CONFIG_LATENCY_FILE_H

#include "latency/latency.h"

/* name: of a preset, or a path. ST_INVALID: no preset, and no file that can be read; or "file:line:column:
 * prefill.beta_ms: what". */
status latency_file_find(const char *name, latency_model *out, errbuf *eb);

#endif
