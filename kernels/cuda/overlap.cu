/* overlap - whether this thread's GPU can begin a kernel before the one before it has ended (device.cuh,
 * links).
 *
 * Asked at each launch of a step that is not recorded, so the answer is kept, by thread: a thread that
 * launches serves one GPU. The driver matters because a recording of such launches needs CUDA 12.3. */
#include "kernels/cuda/device.cuh"

#define DRIVER_MIN 12030

static bool unwanted;
static __thread int asked = -1; /* the GPU that `able` is about */
static __thread bool able;

void launch_overlap(bool wanted) {
    __atomic_store_n(&unwanted, !wanted, __ATOMIC_RELAXED);
}

bool launch_overlaps(void) {
    int gpu = 0, major = 0, driver = 0;
    if (__atomic_load_n(&unwanted, __ATOMIC_RELAXED) || cudaGetDevice(&gpu) != cudaSuccess) return false;
    if (gpu == asked) return able;
    cudaError_t e = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, gpu);
    if (e == cudaSuccess) e = cudaDriverGetVersion(&driver);
    if (e != cudaSuccess) return false; /* the launch will say what is wrong */
    asked = gpu;
    able = major >= 9 && driver >= DRIVER_MIN;
    return able;
}
