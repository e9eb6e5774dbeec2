/* The emulated runtime: memory, its budget and its checks, captures and graphs, and the sticky fault. */
#include "emulation.h"
#include "probe.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

static cudaStream_t stream_new(void) {
    cudaStream_t s = NULL;
    assert_int_equal(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), cudaSuccess);
    return s;
}

static uint32_t *words(size_t count) {
    void *p = NULL;
    assert_int_equal(cudaMalloc(&p, count * 4), cudaSuccess);
    assert_int_equal(cudaMemset(p, 0, count * 4), cudaSuccess);
    return p;
}

static void memory_beyond_the_budget_is_refused(void **state) {
    (void)state;
    setenv("BATON_EMU_MEMORY_MB", "4", 1);
    size_t left, total;
    assert_int_equal(cudaMemGetInfo(&left, &total), cudaSuccess);
    assert_int_equal(total, 4 << 20);
    assert_int_equal(left, 4 << 20);
    void *a = NULL, *b = &left;
    assert_int_equal(cudaMalloc(&a, 3 << 20), cudaSuccess);
    assert_int_equal(((uint32_t *)a)[100], 0xffffffff); /* nothing is zero by luck */
    assert_int_equal(cudaMalloc(&b, (1 << 20) + 1), cudaErrorMemoryAllocation);
    assert_null(b);
    assert_int_equal(cudaGetLastError(), cudaErrorMemoryAllocation);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    assert_int_equal(cudaMalloc(&b, 1 << 20), cudaSuccess);
    assert_int_equal(cudaMemGetInfo(&left, &total), cudaSuccess);
    assert_int_equal(left, 0);
    assert_int_equal(cudaFree(a), cudaSuccess);
    assert_int_equal(cudaFree(a), cudaErrorInvalidValue);
    assert_int_equal(cudaFree(b), cudaSuccess);
    assert_int_equal(emulation_allocations(NULL), 0);
    unsetenv("BATON_EMU_MEMORY_MB");
}

static void copies_outside_live_memory_are_refused(void **state) {
    (void)state;
    uint32_t *d = words(4), host[4] = {1, 2, 3, 4};
    void *pinned = NULL;
    assert_int_equal(cudaMallocHost(&pinned, 16), cudaSuccess);
    assert_int_equal(cudaMemcpy(d, host, 16, cudaMemcpyHostToDevice), cudaSuccess);
    assert_int_equal(cudaMemcpy(pinned, d, 16, cudaMemcpyDeviceToHost), cudaSuccess);
    assert_memory_equal(pinned, host, 16);
    assert_int_equal(cudaMemcpy(d + 1, host, 16, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpy(d, host, 16, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpy(host, pinned, 16, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    assert_int_equal(cudaMemset(host, 0, 16), cudaErrorInvalidValue);
    assert_int_equal(cudaFree(pinned), cudaErrorInvalidValue);
    assert_int_equal(cudaFreeHost(pinned), cudaSuccess);
    assert_int_equal(cudaFree(d), cudaSuccess);
}

static void registered_memory_is_pinned_until_it_is_unregistered(void **state) {
    (void)state;
    uint32_t *d = words(4), host[8] = {1, 2, 3, 4};
    assert_int_equal(cudaHostUnregister(host), cudaErrorHostMemoryNotRegistered);
    assert_int_equal(cudaHostRegister(host, 16, cudaHostRegisterDefault), cudaSuccess);
    assert_int_equal(cudaHostRegister(host + 3, 16, cudaHostRegisterDefault),
                     cudaErrorHostMemoryAlreadyRegistered);
    assert_int_equal(cudaHostUnregister(host + 1), cudaErrorHostMemoryNotRegistered);
    assert_int_equal(cudaFreeHost(host), cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpy(d, host, 16, cudaMemcpyHostToDevice), cudaSuccess);
    assert_int_equal(cudaMemcpy(host + 1, d, 16, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    assert_int_equal(cudaHostUnregister(host), cudaSuccess);
    assert_int_equal(cudaHostUnregister(host), cudaErrorHostMemoryNotRegistered);
    cudaGetLastError();
    assert_int_equal(cudaFree(d), cudaSuccess);
}

static void a_captured_step_runs_at_each_launch_of_its_graph(void **state) {
    (void)state;
    cudaStream_t s = stream_new();
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    uint32_t *sum = words(2), host = 7;
    enum cudaStreamCaptureStatus status;

    assert_int_equal(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    assert_int_equal(cudaStreamIsCapturing(s, &status), cudaSuccess);
    assert_int_equal(status, cudaStreamCaptureStatusActive);
    assert_int_equal(probe_add(sum, 1, s), cudaSuccess);
    assert_int_equal(cudaMemcpyAsync(sum + 1, sum, 4, cudaMemcpyDeviceToDevice, s), cudaSuccess);
    assert_int_equal(cudaMemsetAsync(sum, 0, 1, s), cudaSuccess);
    assert_int_equal(cudaMemcpyAsync(&host, sum, 4, cudaMemcpyDeviceToHost, s), cudaSuccess);
    assert_int_equal(cudaStreamEndCapture(s, &graph), cudaSuccess);
    assert_int_equal(sum[0], 0);
    assert_int_equal(host, 7);

    size_t nodes = 0;
    assert_int_equal(cudaGraphGetNodes(graph, NULL, &nodes), cudaSuccess);
    assert_int_equal(nodes, 4);
    assert_int_equal(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
    assert_int_equal(cudaGraphDestroy(graph), cudaSuccess);
    uint64_t kernels = emulation_kernels();
    sum[0] = 0x1000;
    for (uint32_t i = 1; i <= 3; i++) { /* each adds 64, copies, clears the lowest byte */
        assert_int_equal(cudaGraphLaunch(exec, s), cudaSuccess);
        assert_int_equal(cudaStreamSynchronize(s), cudaSuccess);
        assert_int_equal(sum[1], 0x1040);
        assert_int_equal(host, 0x1000);
    }
    assert_int_equal(emulation_kernels(), kernels + 3);
    assert_int_equal(cudaGraphExecDestroy(exec), cudaSuccess);
    assert_int_equal(cudaStreamDestroy(s), cudaSuccess);
    assert_int_equal(cudaFree(sum), cudaSuccess);
}

typedef cudaError_t forbidden_call(cudaStream_t s, void *p);
static cudaError_t call_synchronize(cudaStream_t s, void *p) {
    (void)p;
    return cudaStreamSynchronize(s);
}
static cudaError_t call_device_synchronize(cudaStream_t s, void *p) {
    (void)s, (void)p;
    return cudaDeviceSynchronize();
}
static cudaError_t call_malloc(cudaStream_t s, void *p) {
    (void)s, (void)p;
    void *q;
    return cudaMalloc(&q, 16);
}
static cudaError_t call_memcpy(cudaStream_t s, void *p) {
    (void)s;
    uint32_t host = 0;
    return cudaMemcpy(p, &host, 4, cudaMemcpyHostToDevice);
}
static cudaError_t call_wait_foreign(cudaStream_t s, void *p) {
    (void)p;
    cudaEvent_t ev = NULL;
    cudaError_t e = cudaEventCreateWithFlags(&ev, cudaEventDisableTiming);
    if (e == cudaSuccess) e = cudaStreamWaitEvent(s, ev, 0);
    cudaEventDestroy(ev);
    return e;
}

static cudaError_t call_query_event(cudaStream_t s, void *p) {
    (void)s, (void)p;
    cudaEvent_t ev = NULL;
    cudaError_t e = cudaEventCreateWithFlags(&ev, cudaEventDisableTiming);
    if (e == cudaSuccess) e = cudaEventQuery(ev);
    cudaEventDestroy(ev);
    return e;
}

static void what_a_capture_forbids_spoils_it(void **state) {
    (void)state;
    const struct {
        forbidden_call *call;
        cudaError_t want;
    } cases[] = {
        {call_synchronize, cudaErrorStreamCaptureUnsupported},
        {call_device_synchronize, cudaErrorStreamCaptureUnsupported},
        {call_malloc, cudaErrorStreamCaptureUnsupported},
        {call_query_event, cudaErrorStreamCaptureUnsupported},
        {call_memcpy, cudaErrorStreamCaptureImplicit},
        {call_wait_foreign, cudaErrorStreamCaptureIsolation},
    };
    uint32_t *sum = words(1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cudaStream_t s = stream_new();
        cudaGraph_t graph = NULL;
        assert_int_equal(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal), cudaSuccess);
        assert_int_equal(cases[i].call(s, sum), cases[i].want);
        assert_int_equal(probe_add(sum, 1, s), cudaErrorStreamCaptureInvalidated);
        assert_int_equal(cudaStreamEndCapture(s, &graph), cudaErrorStreamCaptureInvalidated);
        assert_null(graph);
        assert_int_equal(probe_add(sum, 1, s), cudaSuccess); /* the stream itself is whole */
        assert_int_equal(sum[0], 64 * (i + 1));
        assert_int_equal(cudaStreamDestroy(s), cudaSuccess);
    }
    assert_int_equal(cudaFree(sum), cudaSuccess);
    cudaGetLastError();
}

static void a_relaxed_capture_allows_memory_to_be_made(void **state) {
    (void)state;
    cudaStream_t s = stream_new();
    cudaGraph_t graph = NULL;
    assert_int_equal(cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed), cudaSuccess);
    uint32_t *p = words(1);
    assert_int_equal(cudaFree(p), cudaSuccess);
    assert_int_equal(cudaStreamEndCapture(s, &graph), cudaSuccess);
    assert_int_equal(cudaGraphDestroy(graph), cudaSuccess);
    assert_int_equal(cudaStreamDestroy(s), cudaSuccess);
}

static void a_fault_is_seen_by_the_next_call_and_stays(void **state) {
    (void)state;
    cudaStream_t s = stream_new();
    uint32_t *sum = words(1), host = 0;
    emulation_fault_after(2);
    assert_int_equal(probe_add(sum, 1, s), cudaSuccess);
    assert_int_equal(probe_add(sum, 1, s), cudaSuccess); /* this one faults, which is not known yet */
    assert_int_equal(cudaStreamSynchronize(s), cudaErrorIllegalAddress);
    assert_int_equal(probe_add(sum, 1, s), cudaErrorIllegalAddress);
    assert_int_equal(cudaMemcpy(&host, sum, 4, cudaMemcpyDeviceToHost), cudaErrorIllegalAddress);
    void *p;
    assert_int_equal(cudaMalloc(&p, 4), cudaErrorIllegalAddress);
    assert_int_equal(cudaGetLastError(), cudaErrorIllegalAddress);
    assert_int_equal(cudaGetLastError(), cudaErrorIllegalAddress);
    assert_string_equal(cudaGetErrorName(cudaErrorIllegalAddress), "cudaErrorIllegalAddress");
    emulation_fault_after(0);
    assert_int_equal(sum[0], 64);
    assert_int_equal(probe_add(sum, 1, s), cudaSuccess);
    assert_int_equal(sum[0], 128);
    assert_int_equal(cudaStreamDestroy(s), cudaSuccess);
    assert_int_equal(cudaFree(sum), cudaSuccess);
}

static void set_streams(const char *how) {
    assert_int_equal(setenv("BATON_EMU_STREAMS", how, 1), 0);
}

static void a_pinned_buffer_reused_before_its_copy_ran_shows_when_lazy(void **state) {
    (void)state;
    cudaStream_t s = stream_new();
    uint32_t *d = words(2), pageable = 1, out[2] = {0};
    void *memory = NULL;
    assert_int_equal(cudaMallocHost(&memory, 4), cudaSuccess);
    uint32_t *pinned = memory;
    *pinned = 1;
    set_streams("lazy");
    assert_int_equal(cudaMemcpyAsync(d, pinned, 4, cudaMemcpyHostToDevice, s), cudaSuccess);
    assert_int_equal(cudaMemcpyAsync(d + 1, &pageable, 4, cudaMemcpyHostToDevice, s), cudaSuccess);
    *pinned = pageable = 2;
    assert_int_equal(cudaMemcpyAsync(out, d, 8, cudaMemcpyDeviceToHost, s),
                     cudaSuccess); /* pageable: waits */
    set_streams("eager");
    assert_int_equal(out[0], 2);
    assert_int_equal(out[1], 1);
    assert_int_equal(cudaStreamDestroy(s), cudaSuccess);
    assert_int_equal(cudaFreeHost(memory), cudaSuccess);
    assert_int_equal(cudaFree(d), cudaSuccess);
}

static void a_missing_event_between_streams_shows_when_lazy(void **state) {
    (void)state;
    cudaStream_t a = stream_new(), b = stream_new();
    cudaEvent_t done = NULL;
    assert_int_equal(cudaEventCreateWithFlags(&done, cudaEventDisableTiming), cudaSuccess);
    set_streams("lazy");
    for (int with_event = 0; with_event < 2; with_event++) {
        uint32_t *d = words(1), out = 7;
        assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
        assert_int_equal(probe_add(d, 1, a), cudaSuccess);
        assert_int_equal(cudaEventRecord(done, a), cudaSuccess);
        if (with_event) assert_int_equal(cudaStreamWaitEvent(b, done, 0), cudaSuccess);
        assert_int_equal(cudaMemcpyAsync(&out, d, 4, cudaMemcpyDeviceToHost, b), cudaSuccess);
        assert_int_equal(out, with_event ? 64 : 0);
        assert_int_equal(cudaEventSynchronize(done), cudaSuccess);
        assert_int_equal(*d, 64);
        assert_int_equal(cudaFree(d), cudaSuccess);
    }
    set_streams("eager");
    assert_int_equal(cudaEventDestroy(done), cudaSuccess);
    assert_int_equal(cudaStreamDestroy(a), cudaSuccess);
    assert_int_equal(cudaStreamDestroy(b), cudaSuccess);
}

static void a_query_of_lazy_work_is_not_ready_and_gets_there(void **state) {
    (void)state;
    cudaStream_t s = stream_new();
    cudaEvent_t done = NULL;
    float ms;
    uint32_t *d = words(1);
    assert_int_equal(cudaEventCreate(&done), cudaSuccess);
    assert_int_equal(cudaEventQuery(done), cudaSuccess); /* never recorded */
    set_streams("lazy");
    for (int i = 0; i < 2; i++) assert_int_equal(probe_add(d, 1, s), cudaSuccess);
    assert_int_equal(cudaEventRecord(done, s), cudaSuccess);
    assert_int_equal(*d, 0);
    assert_int_equal(cudaEventQuery(done), cudaErrorNotReady);
    assert_int_equal(*d, 64);
    assert_int_equal(cudaStreamQuery(s), cudaErrorNotReady);
    assert_int_equal(*d, 128);
    assert_int_equal(cudaEventQuery(done), cudaSuccess);
    assert_int_equal(cudaStreamQuery(s), cudaSuccess);
    assert_int_equal(cudaEventElapsedTime(&ms, done, done), cudaSuccess);
    assert_true(ms == 0);
    assert_int_equal(cudaGetLastError(), cudaSuccess); /* not ready is no error */
    set_streams("eager");
    assert_int_equal(cudaEventDestroy(done), cudaSuccess);
    assert_int_equal(cudaStreamDestroy(s), cudaSuccess);
    assert_int_equal(cudaFree(d), cudaSuccess);
}

static void there_is_one_device(void **state) {
    (void)state;
    int count = 0, value = 0;
    cudaDeviceProp prop;
    assert_int_equal(cudaGetDeviceCount(&count), cudaSuccess);
    assert_int_equal(count, 1);
    assert_int_equal(cudaSetDevice(1), cudaErrorInvalidDevice);
    assert_int_equal(cudaSetDevice(0), cudaSuccess);
    assert_int_equal(cudaGetDeviceProperties(&prop, 0), cudaSuccess);
    assert_string_equal(prop.name, "host emulation");
    assert_int_equal(prop.major * 10 + prop.minor, 90);
    assert_int_equal(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0), cudaSuccess);
    assert_int_equal(value, prop.multiProcessorCount);
    cudaGetLastError();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_beyond_the_budget_is_refused),
        cmocka_unit_test(copies_outside_live_memory_are_refused),
        cmocka_unit_test(registered_memory_is_pinned_until_it_is_unregistered),
        cmocka_unit_test(a_captured_step_runs_at_each_launch_of_its_graph),
        cmocka_unit_test(what_a_capture_forbids_spoils_it),
        cmocka_unit_test(a_relaxed_capture_allows_memory_to_be_made),
        cmocka_unit_test(a_fault_is_seen_by_the_next_call_and_stays),
        cmocka_unit_test(a_pinned_buffer_reused_before_its_copy_ran_shows_when_lazy),
        cmocka_unit_test(a_missing_event_between_streams_shows_when_lazy),
        cmocka_unit_test(a_query_of_lazy_work_is_not_ready_and_gets_there),
        cmocka_unit_test(there_is_one_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
