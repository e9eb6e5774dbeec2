/* cluster_config - the cluster of one placement: the base config with what the experiment changes. */
#ifndef BATON_EXPERIMENT_CLUSTER_CONFIG_H
#define BATON_EXPERIMENT_CLUSTER_CONFIG_H

#include "base/status.h"
#include "bench/experiment/spec.h"
#include "config/config.h"

typedef struct cluster_ports {
    uint16_t http, control, client;
} cluster_ports;

/* The base, then the settings of all, the roles' sizes, the placement's, the variant's (NULL = none) and,
 * when quick, those of the quick section; each later one wins. Roles that the placement does not name have no
 * workers. ports NULL: the base's addresses; else its hosts with these ports. ST_INVALID as config_load, with
 * the setting that is wrong. Caller frees with config_free. */
status cluster_config(config **out, const spec *s, const spec_placement *p, const spec_variant *v, bool quick,
                      const cluster_ports *ports, errbuf *eb);

/* Devices that the workers use together: GPUs with cuda, workers with mock, else cores. */
uint32_t cluster_devices(const config *c);
uint32_t cluster_workers(const config *c);
/* "1 prefill + 2 decode, 1 core each" for people. Caller frees with free. */
char *cluster_words(const config *c);

#endif
