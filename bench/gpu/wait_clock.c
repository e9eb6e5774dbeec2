#include "bench/gpu/wait_clock.h"

#include "base/clock.h"

#include <cuda_runtime_api.h>

/* Globals, since the linker knows no context. */
static uint64_t first_ns, last_ns;

cudaError_t __real_cudaEventQuery(cudaEvent_t event);
cudaError_t __wrap_cudaEventQuery(cudaEvent_t event);

cudaError_t __wrap_cudaEventQuery(cudaEvent_t event) {
    uint64_t begin_ns = clock_now_ns();
    cudaError_t e = __real_cudaEventQuery(event);
    if (first_ns == 0) first_ns = begin_ns;
    last_ns = clock_now_ns();
    return e;
}

uint64_t wait_clock_take_ns(void) {
    uint64_t waited_ns = last_ns - first_ns;
    first_ns = last_ns = 0;
    return waited_ns;
}
