/* baton-prefill - computes prompts and hands their KV over. */
#include "worker/place.h"
#include "worker/worker_main.h"

#include <unistd.h>

int main(int argc, char **argv) {
    bool stuck;
    int code = worker_main(argc, argv, &prefill_core_ops, place_launch_rank(), &stuck);
    if (stuck) _exit(code);
    return code;
}
