/* host_device - how a small function of a header is declared that C code and CUDA kernels share: one source,
 * the same bits. */
#ifndef BATON_BASE_HOST_DEVICE_H
#define BATON_BASE_HOST_DEVICE_H

#ifdef __CUDACC__
#define HOST_DEVICE static __host__ __device__ __forceinline__
#else
#define HOST_DEVICE static inline
#endif

#endif
