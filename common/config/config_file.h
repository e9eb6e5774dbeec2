/* config_file - one YAML file as texts per key, read by libcyaml; private to config.c.
 *
 * libcyaml checks structure and key names. Values are read as texts, since it takes "12x" for 12 and "maybe"
 * for true; config_keys.c parses them, for the file and for --set alike. */
#ifndef BATON_CONFIG_CONFIG_FILE_H
#define BATON_CONFIG_CONFIG_FILE_H

#include "config/config_keys.h"

typedef struct config_file config_file;

/* ST_IO: the file cannot be read. ST_INVALID: "path:line:column: what". Caller frees with config_file_close.
 */
status config_file_open(config_file **out, const char *path, errbuf *eb);
void config_file_close(config_file *f);
/* The text of a scalar, or NULL when the file does not have the key. Borrowed: valid while the file is open.
 */
const char *config_file_text(const config_file *f, const config_key *k);
/* The texts of a list, or NULL likewise. */
const char *const *config_file_list(const config_file *f, const config_key *k, uint32_t *count);
/* Whether the file has the key (an empty list counts as none). */
bool config_file_has(const config_file *f, const config_key *k);
/* Where the value of a key stands; false when the file does not have it. */
bool config_file_locate(const config_file *f, const config_key *k, uint32_t *line, uint32_t *column);

#endif
