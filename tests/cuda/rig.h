/* rig - one opened backend for tests of the contract: memory and weights from floats, steps, and back to
 * floats. Every failure of the backend fails the test with the backend's text. */
#ifndef BATON_TESTS_CUDA_RIG_H
#define BATON_TESTS_CUDA_RIG_H

#include "base/mem.h"
#include "kernels/backend.h"
#include "tests/test.h"

typedef struct rig {
    const backend_ops *ops;
    device *d;
    dtype act; /* of activations */
    kv_layout layout;
    void *kv;
    size_t kv_bytes;
} rig;

enum { RIG_ROWS = 160, RIG_SEQS = 8, RIG_PAGES = 96, RIG_SEQ_PAGES = 64, RIG_HEAD = 4 };

/* BATON_TEST_DETERMINISTIC in the environment makes every case a deterministic one: under compute-sanitizer
 * the matrix library's kernels would take the time that is there for ours, and so it is left out. */
bool rig_deterministic(bool wanted);
bool rig_own_products(void);
device_options rig_options(dtype act, bool deterministic);
rig rig_open(const char *backend, const device_options *opt);
/* Pages of zeros and attention over them. */
void rig_attention(rig *r, const kv_layout *layout, uint32_t heads, uint32_t rope_dim);
/* The same with all that a model can ask for; s->kv is the rig's. */
void rig_setup(rig *r, const attend_setup *s);
void rig_close(rig *r);
/* Fails the test unless ST_OK */
void rig_check(const rig *r, status st, const char *what);

/* Memory of the backend. Caller frees with rig_free. */
/* Rounded to the type of activations; NULL = zeros */
void *rig_acts(const rig *r, const float *values, size_t count);
void *rig_floats(const rig *r, const float *values, size_t count);
void rig_free(const rig *r, void *p, size_t bytes);
size_t rig_act_bytes(const rig *r, size_t count);
/* Caller frees. */
float *rig_read_acts(const rig *r, const void *p, size_t count);
float *rig_read_floats(const rig *r, const void *p, size_t count);
weight *rig_weight(const rig *r, weight_form form, const tensor *const *parts);
weight *rig_weight_of(const rig *r, const weight_parts *from);

/* Counter-based numbers in -1..1, rounded to `type`, so that every backend is given the same. Caller frees.
 */
float *numbers(uint64_t seed, size_t count, dtype type);
float number_at(uint64_t seed, uint64_t i);
/* A tensor of any type with random weights of about 1 / sqrt(cols). Caller frees .data. */
tensor random_tensor(dtype type, uint32_t rows, uint32_t cols, uint64_t seed);
/* Sum (a - b)^2 / sum b^2 must be below the bound. */
void assert_near(const char *what, const float *a, const float *b, size_t count, double bound);

/* An op_step of rows without sequences is none: a step of `rows` prompt rows of one sequence, for ops that
 * look at no sequence. ids: [rows] */
op_step plain_step(const step_seq *seq, const int32_t *ids, uint32_t rows);

#endif
