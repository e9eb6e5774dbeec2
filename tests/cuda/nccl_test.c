/* nccl_test - the real library, which can be opened without a GPU; and what nccl.h declares of it beside the
 * header that comes with it. Skipped where there is no library. */
#include "kernels/cuda/nccl.h"
#include "tests/test.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#if __has_include(<nccl.h>)
#include <nccl.h>

#define SAME(what) static_assert(what, #what)
SAME(sizeof(nccl_id) == sizeof(ncclUniqueId));
SAME(NCCL_ID_BYTES == NCCL_UNIQUE_ID_BYTES);
SAME((int)NCCL_SUCCESS == (int)ncclSuccess);
SAME((int)NCCL_CUDA_ERROR == (int)ncclUnhandledCudaError);
SAME((int)NCCL_SYSTEM_ERROR == (int)ncclSystemError);
SAME((int)NCCL_INTERNAL_ERROR == (int)ncclInternalError);
SAME((int)NCCL_INVALID_ARGUMENT == (int)ncclInvalidArgument);
SAME((int)NCCL_INVALID_USAGE == (int)ncclInvalidUsage);
SAME((int)NCCL_REMOTE_ERROR == (int)ncclRemoteError);
SAME((int)NCCL_IN_PROGRESS == (int)ncclInProgress);
SAME((int)NCCL_BYTE == (int)ncclInt8);
SAME(NCCL_DEFAULT == NCCL_CONFIG_UNDEF_INT);
#define FIELD(own, theirs)                                                                                   \
    SAME(offsetof(nccl_config, own) == offsetof(ncclConfig_t, theirs));                                      \
    SAME(sizeof((nccl_config){0}.own) == sizeof((ncclConfig_t){0}.theirs))
FIELD(size, size);
FIELD(magic, magic);
FIELD(version, version);
FIELD(blocking, blocking);
FIELD(cga_cluster_size, cgaClusterSize);
FIELD(min_ctas, minCTAs);
FIELD(max_ctas, maxCTAs);
FIELD(net_name, netName);
FIELD(split_share, splitShare);
SAME(NCCL_VERSION_CODE >= NCCL_VERSION_MIN);

static void the_header_and_the_declarations_here_agree(void **state) {
    (void)state;
    ncclConfig_t theirs = NCCL_CONFIG_INITIALIZER;
    assert_int_equal(theirs.magic, NCCL_CONFIG_MAGIC);
    assert_true(theirs.size >= sizeof(nccl_config) - sizeof(int)); /* ours may end with padding */
}
#else
static void the_header_and_the_declarations_here_agree(void **state) {
    (void)state;
    print_message("skipped: there was no nccl.h to build with\n");
    skip();
}
#endif

static void the_library_has_every_function_and_tells_its_version(void **state) {
    (void)state;
    errbuf eb = {0};
    nccl library;
    if (nccl_open(&library, &eb) != ST_OK) {
        assert_non_null(strstr(eb.text, "LD_LIBRARY_PATH"));
        print_message("skipped: %s\n", eb.text);
        skip();
    }
#define THERE(result, name, args) assert_non_null(library.name);
    NCCL_FUNCTIONS(THERE)
#undef THERE
    int code = 0;
    assert_int_equal(library.GetVersion(&code), NCCL_SUCCESS);
    assert_int_equal(code, library.code);
    assert_true(code >= NCCL_VERSION_MIN);
    char text[16];
    snprintf(text, sizeof text, "%d.%d.%d", code / 10000, code / 100 % 100, code % 100);
    assert_string_equal(library.version, text);
    assert_non_null(strstr(library.GetErrorString(NCCL_REMOTE_ERROR), "remote"));
    print_message("NCCL %s\n", library.version);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_header_and_the_declarations_here_agree),
        cmocka_unit_test(the_library_has_every_function_and_tells_its_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
