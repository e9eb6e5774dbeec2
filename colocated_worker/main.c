/* baton-colocated - both phases in one process: the baseline. */
#include "worker/worker_main.h"

#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    bool stuck;
    int code = worker_main(argc, argv, &colocated_core_ops, getenv("OMPI_COMM_WORLD_RANK"), &stuck);
    if (stuck) _exit(code);
    return code;
}
