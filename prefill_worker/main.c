/* baton-prefill - computes prompts and hands their KV over. */
#include "worker/worker_main.h"

#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    bool stuck;
    int code = worker_main(argc, argv, &prefill_core_ops, getenv("OMPI_COMM_WORLD_RANK"), &stuck);
    if (stuck) _exit(code);
    return code;
}
