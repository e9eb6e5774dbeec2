/* jfield - fields of a JSON object with errors that name the field, the wanted type and what came.
 *
 * A reader holds one object and the first error; after a failure every later call does nothing, so parsing is
 * a column of calls and one check at the end. null counts as absent. Strings are borrowed from the JSON
 * document. */
#ifndef BATON_COORDINATOR_JFIELD_H
#define BATON_COORDINATOR_JFIELD_H

#include "coordinator/api.h"

#include <jansson.h>

typedef struct jfields {
    const json_t *object;
    api_error *err;     /* err->http != 0: failed */
    uint32_t depth_max; /* of JSON that comes as a text in it; 0: no bound of ours */
} jfields;

/* "a string", "the number 3.5", "a list", ... of a value, for error texts. Borrowed: out. */
const char *jf_what(const json_t *v, char out[static 48]);
/* Records the first error; later ones are ignored. */
void jf_fail(jfields *f, const char *param, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool jf_ok(const jfields *f);
/* "name: want WANT, got ...". */
void jf_wrong(jfields *f, const char *name, const char *want, const json_t *got);

/* The value, or NULL when absent, null, or something failed before. */
const json_t *jf_get(jfields *f, const char *name);
/* Each returns whether the field was there with the right type; *out is written only then. */
bool jf_bool(jfields *f, const char *name, bool *out);
bool jf_num(jfields *f, const char *name, double *out);
bool jf_int(jfields *f, const char *name, int64_t min, int64_t max, int64_t *out);
bool jf_text(jfields *f, const char *name, const char **out, size_t *len);
bool jf_list(jfields *f, const char *name, size_t max, const json_t **out);
/* Whether v is this string: all of its bytes, so that none after a NUL is overlooked */
bool jf_is(const json_t *v, const char *text);
/* What numbers beyond a double have become (openai_json.c); jf_what says so. */
#define JF_HUGE 1e308
/* Whole numbers written as 3 or 3.0. */
bool jf_whole(const json_t *v, int64_t *out);

#endif
