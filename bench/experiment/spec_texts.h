/* spec_texts - a list of texts that grows: settings, command lines, sentences. */
#ifndef BATON_EXPERIMENT_SPEC_TEXTS_H
#define BATON_EXPERIMENT_SPEC_TEXTS_H

#include <stdint.h>

typedef struct spec_texts {
    char *
        *items; /* [count], after which the functions below keep a NULL, as exec wants it; owned, and each */
    uint32_t count;
} spec_texts;

/* Adds one. */
void spec_texts_addf(spec_texts *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Frees what it owns; an empty list again. */
void spec_texts_done(spec_texts *t);

#endif
