#include "bench/experiment/exp_dir.h"

#include "base/mem.h"
#include "bench/experiment/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

status exp_dir_open(exp_dir *out, const char *path, errbuf *eb) {
    PRE(out);
    PRE(path);
    status st = files_make_dir(path, eb);
    if (st != ST_OK) return st;
    char *absolute = realpath(path, NULL);
    if (!absolute) return errf(eb, ST_IO, "%s: %s", path, strerror(errno));
    char *name = xasprintf("%s/lock", absolute);
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) {
        st = errf(eb, ST_IO, "%s: %s", name, strerror(errno));
    } else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        st = errf(eb, ST_AGAIN,
                  "%s: another experiment runs in this directory: wait for it, or give another --out", path);
        close(fd);
    }
    free(name);
    if (st == ST_OK)
        *out = (exp_dir){.path = absolute, .lock = fd};
    else
        free(absolute);
    return st;
}

void exp_dir_close(exp_dir *d) {
    PRE(d);
    if (!d->path) return;
    close(d->lock);
    free(d->path);
    *d = (exp_dir){0};
}

/* The first line in which they differ. */
static status differs(const char *path, const char *old, const char *new, errbuf *eb) {
    unsigned line = 1;
    const char *a = old, *b = new; /* beginnings of the line */
    for (;;) {
        size_t n = strcspn(a, "\n"), m = strcspn(b, "\n");
        if (n != m || strncmp(a, b, n) != 0 || !a[n] || !b[m])
            return errf(
                eb, ST_INVALID,
                "%s differs from what is asked for now in line %u: there \"%.*s\", now \"%.*s\": give "
                "another --out, or --force to go on with the cells that are there",
                path, line, (int)MIN(n, 40u), a, (int)MIN(m, 40u), b);
        a += n + 1;
        b += m + 1;
        line++;
    }
}

status exp_dir_keep(const exp_dir *d, const char *name, const char *text, bool force, errbuf *eb) {
    PRE(d);
    PRE(d->path);
    PRE(name);
    PRE(text);
    char *path = xasprintf("%s/%s", d->path, name), *old = NULL;
    status st = ST_OK;
    if (files_exist(path) && !force) {
        st = files_read(&old, path, eb);
        if (st == ST_OK && strcmp(old, text) != 0) st = differs(path, old, text, eb);
    } else {
        st = files_write(path, text, strlen(text), eb);
    }
    free(old);
    free(path);
    return st;
}
