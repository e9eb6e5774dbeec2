/* runtime_device - the emulated devices: their properties and errors, and the fault that a test may ask
 * for. */
#include "runtime_stream.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SHARED_OPTIN (227 * 1024)
#define GPUS_MAX     8

static _Thread_local cudaError_t last_error;
static atomic_int fault;       /* cudaError_t */
static atomic_ullong kernels;  /* run so far */
static atomic_ullong fault_at; /* number of the kernel that faults; 0: none */
static pthread_once_t read_once = PTHREAD_ONCE_INIT;

static void read_environment(void) {
    const char *number = getenv("BATON_EMU_FAULT");
    if (number) atomic_store(&fault_at, strtoull(number, NULL, 10));
}

cudaError_t runtime_result(cudaError_t e) {
    if (e != cudaSuccess && e != cudaErrorNotReady) last_error = e;
    return e;
}

cudaError_t runtime_fault(void) {
    cudaError_t e = (cudaError_t)atomic_load(&fault);
    return e == cudaSuccess ? e : runtime_result(e);
}

bool runtime_kernel_runs(void) {
    pthread_once(&read_once, read_environment);
    if (runtime_fault() != cudaSuccess) return false;
    unsigned long long number = atomic_fetch_add(&kernels, 1) + 1;
    unsigned long long at = atomic_load(&fault_at);
    if (at == 0 || number < at) return true;
    atomic_store(&fault, (int)cudaErrorIllegalAddress);
    return false;
}

void emulation_fault_after(uint64_t number) {
    pthread_once(&read_once, read_environment);
    atomic_store(&fault_at, number ? atomic_load(&kernels) + number : 0);
    if (number == 0) {
        atomic_store(&fault, (int)cudaSuccess);
        last_error = cudaSuccess;
    }
}

uint64_t emulation_kernels(void) {
    return atomic_load(&kernels);
}

/* --- errors --- */

cudaError_t cudaGetLastError(void) {
    cudaError_t e = last_error;
    last_error = (cudaError_t)atomic_load(&fault); /* a sticky error stays */
    return e;
}

typedef struct error_text {
    cudaError_t error;
    const char *name, *text;
} error_text;
static const error_text error_texts[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection", "invalid copy direction for memcpy"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver", "CUDA driver version is insufficient"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorHostMemoryAlreadyRegistered, "cudaErrorHostMemoryAlreadyRegistered",
     "part or all of the requested memory range is already mapped"},
    {cudaErrorHostMemoryNotRegistered, "cudaErrorHostMemoryNotRegistered",
     "pointer does not correspond to a registered memory region"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorNotPermitted, "cudaErrorNotPermitted", "operation not permitted"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched",
     "capture was not initiated in this stream"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation",
     "dependency created on uncaptured work in another stream"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent",
     "operation not permitted on an event last recorded in a capturing stream"},
    {cudaErrorStreamCaptureWrongThread, "cudaErrorStreamCaptureWrongThread",
     "attempt to terminate a thread-local capture sequence from another thread"},
    {cudaErrorInvalidClusterSize, "cudaErrorInvalidClusterSize", "cluster misconfiguration"},
    {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
};

static const error_text *find_text(cudaError_t e) {
    for (size_t i = 0; i < sizeof error_texts / sizeof error_texts[0]; i++)
        if (error_texts[i].error == e) return &error_texts[i];
    return NULL;
}

const char *cudaGetErrorName(cudaError_t e) {
    const error_text *t = find_text(e);
    return t ? t->name : "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t e) {
    const error_text *t = find_text(e);
    return t ? t->text : "unrecognized error code";
}

/* --- the device --- */

int runtime_gpus(void) {
    const char *count = getenv("BATON_EMU_GPUS");
    int n = count ? atoi(count) : 1;
    return n < 1 ? 1 : n > GPUS_MAX ? GPUS_MAX : n;
}

bool runtime_peers(void) {
    const char *how = getenv("BATON_EMU_PEERS");
    return !(how && strcmp(how, "none") == 0);
}

void runtime_uuid(int device, char out[16]) {
    memcpy(out, "emulated GPU   ", 15);
    out[15] = (char)('0' + device);
}

static cudaError_t device_result(int device) {
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    return runtime_result(device >= 0 && device < runtime_gpus() ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaGetDeviceCount(int *count) {
    cudaError_t e = runtime_fault();
    if (e == cudaSuccess) *count = runtime_gpus();
    return e;
}

cudaError_t cudaGetDevice(int *device) {
    cudaError_t e = runtime_fault();
    if (e == cudaSuccess) *device = 0;
    return e;
}

cudaError_t cudaSetDevice(int device) {
    return device_result(device);
}

cudaError_t cudaDriverGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

static int emulated_major(void) {
    const char *major = getenv("BATON_EMU_MAJOR");
    return major ? atoi(major) : 9;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attr, int device) {
    cudaError_t e = device_result(device);
    if (e != cudaSuccess) return e;
    switch (attr) {
    case cudaDevAttrMaxThreadsPerBlock:
        *value = 1024;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
        *value = 48 * 1024;
        break;
    case cudaDevAttrWarpSize:
        *value = 32;
        break;
    case cudaDevAttrClockRate:
        *value = 1000000;
        break;
    case cudaDevAttrMultiProcessorCount:
        *value = 4;
        break;
    case cudaDevAttrIntegrated:
        *value = 0;
        break;
    case cudaDevAttrMemoryClockRate:
        *value = 1000000;
        break;
    case cudaDevAttrGlobalMemoryBusWidth:
        *value = 64;
        break;
    case cudaDevAttrL2CacheSize:
        *value = 1 << 20;
        break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
        *value = 2048;
        break;
    case cudaDevAttrComputeCapabilityMajor:
        *value = emulated_major();
        break;
    case cudaDevAttrComputeCapabilityMinor:
        *value = 0;
        break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
        *value = 228 * 1024;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = SHARED_OPTIN;
        break;
    }
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *prop, int device) {
    cudaError_t e = device_result(device);
    if (e != cudaSuccess) return e;
    cudaDeviceProp p = {
        .name = "host emulation",
        .sharedMemPerBlock = 48 * 1024,
        .regsPerBlock = 65536,
        .warpSize = 32,
        .maxThreadsPerBlock = 1024,
        .maxThreadsDim = {1024, 1024, 64},
        .maxGridSize = {0x7fffffff, 65535, 65535},
        .major = emulated_major(),
        .multiProcessorCount = 4,
        .memoryBusWidth = 64,
        .l2CacheSize = 1 << 20,
        .maxThreadsPerMultiProcessor = 2048,
        .sharedMemPerMultiprocessor = 228 * 1024,
        .sharedMemPerBlockOptin = SHARED_OPTIN,
    };
    size_t left;
    runtime_uuid(device, p.uuid.bytes);
    runtime_memory_info(&left, &p.totalGlobalMem);
    *prop = p;
    return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer) {
    cudaError_t e = device_result(device);
    if (e == cudaSuccess) e = device_result(peer);
    if (e == cudaSuccess) *can = device != peer && runtime_peers();
    return e;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    if (least) *least = 0;
    if (greatest) *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attr, int value) {
    cudaError_t e = runtime_fault();
    if (e != cudaSuccess) return e;
    bool fits = attr != cudaFuncAttributeMaxDynamicSharedMemorySize || (value >= 0 && value <= SHARED_OPTIN);
    return runtime_result(function && fits ? cudaSuccess : cudaErrorInvalidValue);
}
