#include "config/settings.h"

#include "base/status.h"

const config_role *config_role_of(const config *c, worker_role role) {
    PRE(c);
    PRE(role < ROLE_COUNT);
    const config_role *const roles[ROLE_COUNT] = {
        [ROLE_PREFILL] = &c->prefill, [ROLE_DECODE] = &c->decode, [ROLE_COLOCATED] = &c->colocated};
    return roles[role];
}
