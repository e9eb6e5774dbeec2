/* config - the one cluster file, read by every program: what runs where, with which limits.
 *
 * YAML into `config` (settings.h) by a libcyaml table; unknown keys and values out of range are errors with
 * file, line and column. Every key is documented in deploy/config/local.yaml and has its default in
 * config_keys.c; a test compares the two. In builds with a sanitizer config_load multiplies all time limits
 * but heartbeat_ms by 10. */
#ifndef BATON_CONFIG_CONFIG_H
#define BATON_CONFIG_CONFIG_H

#include "config/config_ranks.h"
#include "config/settings.h"

/* Reads the file, then each "key.path=value" of sets (from --set), fills defaults, checks ranges and
 * combinations. ST_INVALID text starts with "file:line:column: ". Caller frees with config_free. */
status config_load(config **out, const char *path, const char *const *sets, uint32_t set_count, errbuf *eb);
void config_free(config *c);
/* The resolved config as YAML, every key with its value; loading it gives the same config. Caller frees with
 * free. */
char *config_text(const config *c);

/* What --check prints: config_text, then a line "rank=0 role=... host=..." per rank and a line "slots
 * host=... count=..." per host, which deploy/up.sh reads. Refuses as config_ranks. Caller frees *out with
 * free. */
status config_check_text(const config *c, uint32_t local_cores, char **out, errbuf *eb);

#endif
