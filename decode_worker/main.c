/* baton-decode - takes KV over and produces the tokens. */
#include "worker/place.h"
#include "worker/worker_main.h"

#include <unistd.h>

int main(int argc, char **argv) {
    bool stuck;
    int code = worker_main(argc, argv, &decode_core_ops, place_launch_rank(), &stuck);
    if (stuck) _exit(code);
    return code;
}
