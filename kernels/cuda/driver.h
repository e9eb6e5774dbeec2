/* driver - the functions of CUDA's driver that we call beside its runtime: memory that another process maps.
 *
 * They are asked for by name at run time, so that a program links without libcuda and starts where there is
 * no driver. Internal. */
#ifndef BATON_KERNELS_CUDA_DRIVER_H
#define BATON_KERNELS_CUDA_DRIVER_H

#include "base/status.h"

#include <cuda.h>

#define DRIVER_FUNCTIONS(X)                                                                                  \
    X(DeviceGetAttribute)                                                                                    \
    X(DeviceGetUuid)                                                                                         \
    X(GetErrorName)                                                                                          \
    X(MemAddressFree)                                                                                        \
    X(MemAddressReserve)                                                                                     \
    X(MemCreate)                                                                                             \
    X(MemExportToShareableHandle)                                                                            \
    X(MemGetAllocationGranularity)                                                                           \
    X(MemImportFromShareableHandle)                                                                          \
    X(MemMap)                                                                                                \
    X(MemRelease)                                                                                            \
    X(MemSetAccess)                                                                                          \
    X(MemUnmap)

typedef struct driver {
#define DRIVER_SLOT(name) __typeof__(cu##name) *name;
    DRIVER_FUNCTIONS(DRIVER_SLOT)
#undef DRIVER_SLOT
} driver;

/* After the runtime's first call. ST_UNSUPPORTED names what the driver lacks. Nothing to close. */
status driver_open(driver *out, errbuf *eb);
/* "CUDA_ERROR_OUT_OF_MEMORY"; static */
const char *driver_error(const driver *l, CUresult r);

#endif
