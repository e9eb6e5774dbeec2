/* mini - a model of one layer on one backend, for tests of steps: embedding, norm, q k v, attention, o,
 * output head, sampling, issued as an engine issues them. */
#ifndef BATON_TESTS_CUDA_MINI_H
#define BATON_TESTS_CUDA_MINI_H

#include "tests/cuda/rig.h"

enum { MINI_DIM = 64, MINI_HEADS = 2, MINI_HEAD_DIM = 32, MINI_VOCAB = 120, MINI_PARTS = 7 };

typedef struct mini {
    rig r;
    tensor parts[MINI_PARTS]; /* embed, norm, q, k, v, o, output; host backends borrow them */
    weight *embed, *norm, *qkv, *o, *out;
    float *x;
    void *h, *wide; /* activations [RIG_ROWS, MINI_DIM], [RIG_ROWS, 3 * MINI_DIM] */
    float *logits;  /* [RIG_HEAD, MINI_VOCAB] */
} mini;

mini mini_open(const char *backend, const device_options *opt);
void mini_close(mini *m);
/* One whole step. The status is that of the first call that failed, the text that of step_begin or step_end.
 */
status mini_step(mini *m, const op_step *s, step_pass *pass, errbuf *eb);

#endif
