#include "bench/experiment/spec_texts.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void spec_texts_addf(spec_texts *t, const char *fmt, ...) {
    PRE(t);
    PRE(fmt);
    char *text = NULL;
    va_list args;
    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    CHECK(n >= 0);
    t->items = xrealloc(t->items, (size_t)t->count + 2, sizeof *t->items);
    t->items[t->count++] = text;
    t->items[t->count] = NULL;
}

void spec_texts_done(spec_texts *t) {
    PRE(t);
    for (uint32_t i = 0; i < t->count; i++) free(t->items[i]);
    free(t->items);
    *t = (spec_texts){0};
}
