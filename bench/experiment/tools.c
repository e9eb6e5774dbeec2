#include "bench/experiment/tools.h"

#include "base/mem.h"
#include "bench/experiment/files.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The nearest folder at or above `from` with deploy/up.sh in it; NULL = none. */
static char *find_root(const char *from) {
    char *at = xstrdup(from);
    for (;;) {
        char *up = xasprintf("%s/deploy/up.sh", at);
        bool there = files_exist(up);
        free(up);
        if (there) return at;
        char *slash = strrchr(at, '/');
        if (!slash) break;
        *slash = 0;
    }
    free(at);
    return NULL;
}

status tools_find(tools *out, const char *bench, errbuf *eb) {
    PRE(out);
    *out = (tools){0};
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return errf(eb, ST_IO, "/proc/self/exe: cannot be read");
    self[n] = 0;
    char *bin = xstrndup(self, (size_t)(strrchr(self, '/') - self));
    char *root = find_root(bin), *here = root ? NULL : getcwd(NULL, 0);
    if (!root && here) root = find_root(here);
    free(here);
    if (!root) {
        status st = errf(eb, ST_IO, "deploy/up.sh is neither above %s nor above the current folder", bin);
        free(bin);
        return st;
    }
    out->root = root;
    out->bin = bin;
    out->up = xasprintf("%s/deploy/up.sh", root);
    out->bench = xstrdup(bench ? bench : self);
    out->cluster = (cluster_tools){.up = out->up, .bin = out->bin, .bench = out->bench};
    return ST_OK;
}

void tools_done(tools *t) {
    PRE(t);
    free(t->root);
    free(t->up);
    free(t->bin);
    free(t->bench);
    *t = (tools){0};
}
