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

#endif
