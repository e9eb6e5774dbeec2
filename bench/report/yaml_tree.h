/* yaml_tree - a YAML file as a JSON tree, all scalars as texts. For what a report wants to know of an
 * experiment's file without knowing all its keys: names, SLOs, the title. */
#ifndef BATON_REPORT_YAML_TREE_H
#define BATON_REPORT_YAML_TREE_H

#include "base/status.h"

#include <jansson.h>

/* ST_IO when it cannot be opened, ST_INVALID with file and line. Anchors are followed; depth is bounded.
 * Caller frees with json_decref. */
status yaml_tree_read(json_t **out, const char *path, errbuf *eb);

#endif
