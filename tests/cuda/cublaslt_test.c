/* cublaslt_test - the real library, which can be opened without a GPU; skipped where it is not. */
#include "kernels/cuda/cublaslt.h"
#include "tests/test.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

/* The loaded library that holds an address. */
static void library_of(const void *function, char path[512]) {
    Dl_info info = {0};
    assert_int_not_equal(dladdr(function, &info), 0);
    snprintf(path, 512, "%s", info.dli_fname);
}

static void it_stays_loaded_after_it_is_closed(void **state) {
    (void)state;
    errbuf eb = {0};
    cublaslt library;
    if (cublaslt_open(&library, &eb) != ST_OK) {
        assert_non_null(strstr(eb.text, "LD_LIBRARY_PATH"));
        print_message("skipped: %s\n", eb.text);
        skip();
    }
    char path[512];
    library_of((const void *)library.Matmul, path);
    cublaslt_close(&library);
    void *again = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    assert_non_null(again);
    assert_int_equal(dlclose(again), 0);
}

/* gemm_lt asks for an algorithm's traits with these sizes, and the library refuses any other. */
static void traits_of_algorithms_have_the_sizes_that_the_header_names(void **state) {
    (void)state;
    static const struct {
        cublasLtMatmulAlgoConfigAttributes_t name;
        size_t bytes;
    } traits[] = {{CUBLASLT_ALGO_CONFIG_ID, 4},
                  {CUBLASLT_ALGO_CONFIG_SPLITK_NUM, 4},
                  {CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, 4},
                  {CUBLASLT_ALGO_CONFIG_STAGES_ID, 4},
                  {CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID, 2},
                  {CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, 2}};
    errbuf eb = {0};
    cublaslt library;
    if (cublaslt_open(&library, &eb) != ST_OK) {
        print_message("skipped: %s\n", eb.text);
        skip();
    }
    assert_int_equal(library.GetVersion() / 10000, CUBLAS_VER_MAJOR);
    const cublasLtMatmulAlgo_t none = {0};
    for (size_t i = 0; i < sizeof traits / sizeof *traits; i++) {
        uint32_t value = 0;
        size_t written = 0;
        assert_int_equal(
            library.MatmulAlgoConfigGetAttribute(&none, traits[i].name, &value, traits[i].bytes, &written),
            CUBLAS_STATUS_SUCCESS);
        assert_int_equal(written, traits[i].bytes);
    }
    cublaslt_close(&library);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_stays_loaded_after_it_is_closed),
        cmocka_unit_test(traits_of_algorithms_have_the_sizes_that_the_header_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
