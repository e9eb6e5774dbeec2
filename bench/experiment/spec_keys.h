/* spec_keys - the tables of all keys of an experiment file, from which the libcyaml schema, the checks of
 * single values and the freeing are made; private to spec_file.c. */
#ifndef BATON_EXPERIMENT_SPEC_KEYS_H
#define BATON_EXPERIMENT_SPEC_KEYS_H

#include "bench/experiment/spec.h"

#include <stddef.h>

typedef enum spec_type {
    SPEC_TEXT,        /* char * */
    SPEC_NUMBER,      /* double */
    SPEC_NUMBER_TEXT, /* char *: a number that is handed on as it stands */
    SPEC_COUNT,       /* uint32_t */
    SPEC_BOOL,        /* bool */
    SPEC_TEXTS,       /* spec_texts */
    SPEC_NUMBERS,     /* spec_numbers */
    SPEC_MAP,         /* a struct of `table` in place */
    SPEC_MAPS         /* pointer to an array of them, and its uint32_t count */
} spec_type;

typedef struct spec_table spec_table;

typedef struct spec_key {
    const char *name; /* as it stands in the file */
    spec_type type;
    size_t offset;
    size_t count_offset;     /* SPEC_MAPS */
    const spec_table *table; /* SPEC_MAP, SPEC_MAPS */
    const char *text;        /* default of scalars; NULL = zero, none */
    double min, max;         /* numbers and counts */
    bool whole;              /* numbers: no fraction */
    bool required;
    const char *choices; /* SPEC_TEXT: "a|b"; NULL = any */
} spec_key;

struct spec_table {
    const spec_key *keys;
    uint32_t count;
    size_t size;       /* of the struct */
    size_t given;      /* offset of a bool that says whether the map is there; 0 = none */
    const char *title; /* "a placement" */
};

extern const spec_table spec_root;
extern const spec_table spec_placement_table, spec_workload_table;

/* Frees what a map holds, and what its maps hold; not base. */
void spec_map_done(const spec_table *t, void *base);

#endif
