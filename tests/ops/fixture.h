/* fixture - what the op tests share: the paths of the cpu backend, one group of tests per path, random data,
 * comparisons.
 *
 * A test gets its path as initial state. A path that this CPU lacks is reported as skipped under its name.
 * The mock backend has no path here: its operations compute nothing (tests/unit/mock_test.c says what it
 * does). The path "wide16" is no product: it runs the kernels as tiled for AVX-512, over the compiler's
 * vectors (CMakeLists.txt says what that covers). */
#ifndef BATON_TESTS_OPS_FIXTURE_H
#define BATON_TESTS_OPS_FIXTURE_H

#include "base/mem.h"
#include "kernels/host/host.h"
#include "tests/test.h"

typedef struct op_path op_path;

/* Runs the tests once per path, in groups named after the paths. Returns the number of failures. */
int run_on_paths(const struct CMUnitTest *tests, size_t count);
#define TEST_ON_PATH(f)                                                                                      \
    { #f, f, NULL, NULL, NULL }

/* skip() when this CPU lacks the path. First in a test, before it owns anything: skip does not return. */
void need_path(const op_path *p);
/* A cpu device of the path, which is there. Caller closes with cpu_ops()->close. */
device *open_path(const op_path *p, uint32_t threads);
/* Likewise, with weights of 4 and 8 bits repacked unless act_bits is 32. */
device *open_path_bits(const op_path *p, uint32_t threads, uint32_t act_bits);
device *open_ref(void);
const backend_ops *cpu_ops(void);
const backend_ops *ref_ops(void);
/* The small operations of an open device of either. */
const host_kernels *kernels_of(const device *d);

/* Page memory as the cpu backend keeps it from that of kv_layout.h, or back: tiles of keys are transposed.
 * [page_count pages] Caller frees */
uint8_t *cpu_pages(const kv_layout *l, const uint8_t *kv, uint32_t page_count);
uint8_t *plain_pages(const kv_layout *l, const uint8_t *kv, uint32_t page_count);

/* Counter-based random numbers: the same in every run. */
uint64_t random_at(uint64_t seed, uint64_t i);
/* -1..1 */
float random_float(uint64_t seed, uint64_t i);
/* Caller frees */
float *random_floats(uint64_t seed, size_t count);
/* All types of weights; the first PLAIN_TYPES have no blocks. */
enum { PLAIN_TYPES = 3, WEIGHT_TYPES = 14 };
extern const dtype weight_types[WEIGHT_TYPES];
/* cols, or more: whole blocks of the type */
uint32_t whole_blocks(dtype type, uint32_t cols);
/* Caller frees .data with free_weight; cols are whole blocks */
tensor random_matrix(dtype type, uint32_t rows, uint32_t cols, uint64_t seed);
void free_weight(tensor *t);

/* Sum (a - b)^2 / sum b^2. */
double nmse(const float *a, const float *b, size_t count);
void assert_close(const char *what, const float *a, const float *b, size_t count, double bound);
void assert_same(const char *what, const void *a, const void *b, size_t bytes);

#endif
