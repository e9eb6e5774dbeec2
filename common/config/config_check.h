/* config_check - combinations of values that cannot work together; private to config.c. */
#ifndef BATON_CONFIG_CONFIG_CHECK_H
#define BATON_CONFIG_CONFIG_CHECK_H

#include "base/status.h"
#include "config/settings.h"

/* ST_INVALID: the text names the keys and the remedy, and *section, *key name the one to point at. Borrowed:
 * static. */
status config_check(const config *c, const char **section, const char **key, errbuf *eb);

#endif
