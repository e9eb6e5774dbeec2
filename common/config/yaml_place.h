/* yaml_place - where in a YAML file a key or value stands, for errors that libcyaml gives no place for. */
#ifndef BATON_CONFIG_YAML_PLACE_H
#define BATON_CONFIG_YAML_PLACE_H

#include <stdbool.h>
#include <stdint.h>

/* One step from a map or list to what is in it; the list of steps goes from the innermost outwards. */
typedef struct yaml_step {
    const char *key; /* NULL: entry `index` of a list */
    uint32_t index;
    const struct yaml_step *outer; /* NULL: the document */
} yaml_step;

/* The value at the end of the steps, or its key. Line and column from 1. False: it is not there. */
bool yaml_place(const char *path, const yaml_step *inner, bool of_key, uint32_t *line, uint32_t *column);

#endif
