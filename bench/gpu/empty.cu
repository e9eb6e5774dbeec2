/* empty - a kernel of one warp that does nothing, for the cost of a node in a recorded step: linked, as
 * those are. */
#include "kernels/cuda/device.cuh"

static __global__ void empty() {
    pdl_begin();
}

extern "C" cudaError_t launch_empty(cudaStream_t stream) {
    return launch_linked(empty, dim3(1), 32, 0, stream);
}
