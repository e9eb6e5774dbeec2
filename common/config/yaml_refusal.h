/* yaml_refusal - what libcyaml says while it refuses a file: it tells so in log lines only, the innermost
 * step first. */
#ifndef BATON_CONFIG_YAML_REFUSAL_H
#define BATON_CONFIG_YAML_REFUSAL_H

#include <cyaml/cyaml.h>
#include <stdint.h>

#define YAML_STEPS_MAX 8u

typedef struct yaml_refusal {
    char cause[128];                /* its first line */
    char keys[YAML_STEPS_MAX][64];  /* "" = a list entry */
    uint32_t index[YAML_STEPS_MAX]; /* of it, from 1 */
    uint32_t steps;                 /* innermost first */
    uint32_t line, column;          /* 0 = it names no place */
} yaml_refusal;

/* For cyaml_load_file and cyaml_free: errors go to r, which must be zero and live as long. */
cyaml_config_t yaml_refusal_config(yaml_refusal *r);
/* libcyaml's words for a value of the wrong shape, in ours. list: an example, "[1, 2]"; otherwise: where it
 * says nothing. Borrowed: valid while r and the arguments are. */
const char *yaml_refusal_shape(const yaml_refusal *r, char *out, size_t size, const char *list,
                               const char *otherwise);

#endif
