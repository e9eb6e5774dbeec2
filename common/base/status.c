#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATUS_NAME(code, text) [code] = #code,
#define STATUS_TEXT(code, text) [code] = (text),
static const char *const names[] = {STATUS_LIST(STATUS_NAME)};
static const char *const texts[] = {STATUS_LIST(STATUS_TEXT)};

const char *status_name(status st) {
    PRE((size_t)st < sizeof names / sizeof names[0]);
    return names[st];
}

const char *status_text(status st) {
    PRE((size_t)st < sizeof texts / sizeof texts[0]);
    return texts[st];
}

/* In parentheses, because these two names are macros as well when the analyzer reads this. */
status(errf)(errbuf *eb, status st, const char *fmt, ...) {
    PRE(fmt);
    if (!eb) return st;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(eb->text, sizeof eb->text, fmt, ap);
    va_end(ap);
    return st;
}

status(err_prefix)(errbuf *eb, status st, const char *fmt, ...) {
    PRE(fmt);
    if (!eb) return st;
    char inner[sizeof eb->text];
    memcpy(inner, eb->text, sizeof inner);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(eb->text, sizeof eb->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof eb->text)
        snprintf(eb->text + n, sizeof eb->text - (size_t)n, ": %s", inner);
    return st;
}

void check_failed(const char *kind, const char *expr, const char *file, int line, const char *func) {
    fprintf(stderr, "%s failed: %s at %s:%d in %s\n", kind, expr, file, line, func);
    abort();
}
