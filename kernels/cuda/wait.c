#include "kernels/cuda/wait.h"

#include "base/clock.h"

#include <sched.h>
#include <time.h>

#define SPIN_NS 20000000u /* a decode step is shorter: no time is lost in waking up */
#define NAP_NS  50000u

status wait_event(cudaEvent_t event, cudaError_t *error) {
    PRE(error);
    const uint64_t begin_ns = clock_now_ns();
    for (;;) {
        cudaError_t e = cudaEventQuery(event);
        if (e == cudaSuccess) return ST_OK;
        if (e != cudaErrorNotReady) {
            *error = e;
            return ST_DEVICE;
        }
        (void)cudaGetLastError(); /* a launch asks for it, and must not find that something was not ready */
        uint64_t waited_ns = clock_now_ns() - begin_ns;
        if (waited_ns > (uint64_t)WAIT_MAX_S * NS_PER_S) return ST_TIMEOUT;
        if (waited_ns < SPIN_NS)
            sched_yield();
        else
            nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
    }
}
