/* json_file - a JSON file of a model's folder, read whole, and its members by kind. Private to this folder.
 */
#ifndef BATON_CHECKPOINT_JSON_FILE_H
#define BATON_CHECKPOINT_JSON_FILE_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

/* An object. ST_IO: it cannot be opened; ST_CORRUPT: it is no JSON object, has a key twice or is larger than
 * `most` bytes. The text names the file. Caller frees with json_decref. */
status json_file_read(json_t **out, const char *path, size_t most, errbuf *eb);
/* The same of text in memory. */
status json_object_parse(json_t **out, const char *text, size_t len, errbuf *eb);

/* A member that may be absent or null: *out is the fallback then. ST_CORRUPT names it: another kind, or not
 * least..most. */
status json_number_get(const json_t *o, const char *key, uint64_t least, uint64_t most, uint64_t fallback,
                       uint64_t *out, errbuf *eb);
/* A finite number above 0. */
status json_real_get(const json_t *o, const char *key, double fallback, double *out, errbuf *eb);
status json_truth_get(const json_t *o, const char *key, bool fallback, bool *out, errbuf *eb);
/* Whether it is there and not null */
bool json_is_there(const json_t *o, const char *key);

#endif
