#include "bench/workload/lines.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

status lines_open(lines *l, const char *path, errbuf *eb) {
    PRE(l);
    PRE(path);
    *l = (lines){0};
    size_t len = strlen(path);
    if (len < sizeof l->name)
        memcpy(l->name, path, len + 1);
    else
        snprintf(l->name, sizeof l->name, "...%s", path + len - (sizeof l->name - 4));
    FILE *file = fopen(path, "re");
    if (!file) return errf(eb, ST_INVALID, "%s: %s", l->name, strerror(errno));
    struct stat info;
    if (fstat(fileno(file), &info) == 0 && S_ISDIR(info.st_mode)) {
        fclose(file);
        return errf(eb, ST_INVALID, "%s: is a folder, want a file", l->name);
    }
    l->file = file;
    int c = getc(file);
    if (c != 0xEF) {
        ungetc(c, file); /* of EOF: nothing happens */
        return ST_OK;
    }
    int second = getc(file), third = getc(file);
    if (second == 0xBB && third == 0xBF) return ST_OK;
    l->number = 1;
    status st = lines_bad(l, eb, "begins with a byte that is no text");
    lines_close(l);
    return st;
}

void lines_close(lines *l) {
    PRE(l);
    if (l->file) fclose(l->file);
    buf_done(&l->text);
    *l = (lines){0};
}

status lines_next(lines *l, char **text, errbuf *eb) {
    PRE(l);
    PRE(l->file);
    PRE(text);
    for (;;) {
        buf_reset(&l->text);
        l->number++;
        int c;
        while ((c = getc_unlocked(l->file)) != EOF && c != '\n') {
            if (c == 0) return lines_bad(l, eb, "a NUL byte: want text");
            if (l->text.len == LINES_BYTES_MAX)
                return lines_bad(l, eb, "the line is longer than %u bytes", LINES_BYTES_MAX);
            char byte = (char)c;
            buf_add(&l->text, &byte, 1);
        }
        if (c == EOF && ferror(l->file)) return errf(eb, ST_IO, "%s: %s", l->name, strerror(errno));
        if (l->text.len && l->text.data[l->text.len - 1] == '\r') l->text.data[--l->text.len] = 0;
        if (l->text.len) {
            *text = l->text.data;
            return ST_OK;
        }
        if (c == EOF) {
            *text = NULL;
            return ST_OK;
        }
    }
}

status lines_bad(const lines *l, errbuf *eb, const char *fmt, ...) {
    PRE(l);
    char what[sizeof eb->text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return errf(eb, ST_INVALID, "%s:%llu: %s", l->name, (unsigned long long)l->number, what);
}
