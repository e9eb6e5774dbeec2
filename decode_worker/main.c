/* baton-decode - takes KV over and produces the tokens. */
#include "worker/worker_main.h"

#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    bool stuck;
    int code = worker_main(argc, argv, &decode_core_ops, getenv("OMPI_COMM_WORLD_RANK"), &stuck);
    if (stuck) _exit(code);
    return code;
}
