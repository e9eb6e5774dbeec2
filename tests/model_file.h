/* model_file - a model and the checkpoint that it borrows, for tests. Loading that fails ends the test. */
#ifndef BATON_TESTS_MODEL_FILE_H
#define BATON_TESTS_MODEL_FILE_H

#include "tests/test.h"

#include "model/model.h"

typedef struct model_file {
    checkpoint *ckpt;
    model *m;
} model_file;

static inline model_file model_file_open(const char *path) {
    model_file f = {0};
    errbuf eb = {0};
    if (checkpoint_open(&f.ckpt, path, &eb) != ST_OK || model_load(&f.m, f.ckpt, &eb) != ST_OK)
        fail_msg("%s", eb.text);
    return f;
}

static inline void model_file_close(model_file *f) {
    model_free(f->m);
    checkpoint_close(f->ckpt);
    *f = (model_file){0};
}

#endif
