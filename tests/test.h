/* test.h - cmocka with what it needs before it, in the right order. Include this, never <cmocka.h>. */
#ifndef BATON_TESTS_TEST_H
#define BATON_TESTS_TEST_H

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdbool.h>
#include <stdlib.h>

/* Under valgrind (tests/valgrind.py sets it), which takes some 100 times as long: what is made large, or is
 * repeated many times, may be less. */
static inline bool test_small(void) {
    return getenv("BATON_TEST_SMALL") != NULL;
}

#endif
