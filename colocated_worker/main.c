/* baton-colocated - both phases in one process: the baseline. */
#include "worker/place.h"
#include "worker/worker_main.h"

#include <unistd.h>

int main(int argc, char **argv) {
    bool stuck;
    int code = worker_main(argc, argv, &colocated_core_ops, place_launch_rank(), &stuck);
    if (stuck) _exit(code);
    return code;
}
