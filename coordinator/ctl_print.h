/* ctl_print - the answers that baton-ctl gets, on standard output: for people, or as one JSON object. */
#ifndef BATON_COORDINATOR_CTL_PRINT_H
#define BATON_COORDINATOR_CTL_PRINT_H

#include "proto/client.pb-c.h"

#include <stdbool.h>

/* {"workers":[...]}, as in ctl_print_status */
void ctl_print_workers(const Baton__ServerWorkers *all, bool json);
/* The keys are those of ServerStatus, the requests' under "requests" and those of a worker as /health has
 * them */
void ctl_print_status(const Baton__ServerStatus *s, bool json);
/* {"choices":N} */
void ctl_print_aborted(const Baton__ServerAborted *a, bool json);

#endif
