/* fuzz - what every fuzzer defines. libFuzzer calls it with bytes of its own; replay.c, in the tests, with
 * files. Whatever the bytes are, it returns 0; a crash, a failed CHECK, a leak, a hang is the finding. */
#ifndef BATON_TESTS_FUZZ_H
#define BATON_TESTS_FUZZ_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
