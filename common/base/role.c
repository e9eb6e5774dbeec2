#include "base/role.h"

#include "base/status.h"

const char *worker_role_name(worker_role role) {
    PRE(role < ROLE_COUNT);
    static const char *const names[ROLE_COUNT] = {
        [ROLE_PREFILL] = "prefill", [ROLE_DECODE] = "decode", [ROLE_COLOCATED] = "colocated"};
    return names[role];
}
