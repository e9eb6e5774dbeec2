/* role - what a worker of the cluster does. The names stand in the config, in messages for people and in
 * metrics; the numbers on the wire (proto/control.proto). */
#ifndef BATON_BASE_ROLE_H
#define BATON_BASE_ROLE_H

typedef enum worker_role { ROLE_PREFILL, ROLE_DECODE, ROLE_COLOCATED, ROLE_COUNT } worker_role;

/* Workers of one cluster: the most that limits.max_workers may say. Nothing else bounds them. */
#define WORKERS_MAX 4096u

/* "prefill", "decode", "colocated". Borrowed: static. */
const char *worker_role_name(worker_role role);

#endif
