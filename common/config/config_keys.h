/* config_keys - the table of all keys: one row per key, from which the libcyaml schema, the ranges, --set and
 * config_text are made. */
#ifndef BATON_CONFIG_CONFIG_KEYS_H
#define BATON_CONFIG_CONFIG_KEYS_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* KEY_SHARE: a number above 0 and at most 1. */
typedef enum key_type { KEY_UINT, KEY_INT, KEY_SHARE, KEY_BOOL, KEY_STRING, KEY_LIST } key_type;

typedef struct config_key {
    const char *section; /* "limits" */
    const char *name;    /* "max_queue" */
    key_type type;
    size_t offset;       /* of the field in config: uint32_t, int32_t, double, bool, char * or char ** */
    size_t count_offset; /* KEY_LIST: of its uint32_t count */
    const char *text;    /* default, as it is written in a file; "" for strings, "[]" for lists */
    int64_t min, max;    /* KEY_UINT, KEY_INT */
    const char *choices; /* KEY_STRING: "a|b|c"; NULL = any */
    bool secret;         /* KEY_LIST: not to be shown */
    bool time_limit;     /* slower machines need more: x10 under sanitizers */
} config_key;

extern const config_key config_keys[];
extern const uint32_t config_key_count;

/* NULL when there is none. Borrowed: static. */
const config_key *config_key_find(const char *section, const char *name);
/* How many letters to change, add or leave out (Levenshtein); of names of more than 40 letters: 40. Less than
 * CONFIG_NAME_NEAR: one was meant to be the other. */
#define CONFIG_NAME_NEAR 4u
uint32_t config_name_distance(const char *a, const char *b);
/* The key of the section (section "": the section) most like `name`; NULL when none is close. Borrowed:
 * static. */
const char *config_key_like(const char *section, const char *name);
/* Writes the value into the config that starts at base: ST_INVALID names what is wanted. Strings are copied.
 */
status config_key_assign(const config_key *k, void *base, const char *text, errbuf *eb);
status config_key_assign_list(const config_key *k, void *base, const char *const *texts, uint32_t count,
                              errbuf *eb);
/* Frees the field */
void config_key_release(const config_key *k, void *base);

/* Whether text is one of "a|b|c". */
bool config_is_choice(const char *choices, const char *text);

#endif
