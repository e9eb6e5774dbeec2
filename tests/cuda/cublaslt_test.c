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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_stays_loaded_after_it_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
