#include "worker/weight_cache.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Of a variable that names a directory by its whole path; NULL otherwise. */
static const char *whole_path(const char *variable) {
    const char *dir = getenv(variable);
    return dir && dir[0] == '/' ? dir : NULL;
}

static char *usual_dir(void) {
    const char *of_unit = whole_path("CACHE_DIRECTORY"); /* several are separated by colons */
    if (of_unit) return xstrndup(of_unit, strcspn(of_unit, ":"));
    const char *xdg = whole_path("XDG_CACHE_HOME");
    if (xdg) return xasprintf("%s/baton", xdg);
    const char *home = whole_path("HOME");
    return home ? xasprintf("%s/.cache/baton", home) : NULL;
}

/* The hash is of samples of the weights; size and time tell apart files that differ elsewhere. */
static bool name_file(weight_cache *w, const checkpoint *ckpt, const model *m) {
    struct stat info;
    uint64_t stamp = checkpoint_stamp(ckpt);
    if (stamp) snprintf(w->key, sizeof w->key, "%016" PRIx64 "-%016" PRIx64, m->weights_hash, stamp);
    if (stamp) return true;
    if (stat(checkpoint_path(ckpt), &info) != 0) return false;
    snprintf(w->key, sizeof w->key, "%016" PRIx64 "-%jx-%jx.%lx", m->weights_hash, (uintmax_t)info.st_size,
             (uintmax_t)info.st_mtim.tv_sec, (unsigned long)info.st_mtim.tv_nsec);
    return true;
}

weight_cache weight_cache_find(const config *c, const checkpoint *ckpt, const model *m) {
    PRE(c);
    PRE(ckpt);
    PRE(m);
    weight_cache w = {0};
    const char *wanted = c->model.weight_cache;
    if (strcmp(wanted, "off") == 0 || wanted[0] == '\0' || checkpoint_made_of(ckpt)) return w;
    if (!name_file(&w, ckpt, m)) return w;
    w.dir = strcmp(wanted, "auto") == 0 ? usual_dir() : xstrdup(wanted);
    return w;
}

void weight_cache_done(weight_cache *w) {
    PRE(w);
    free(w->dir);
    *w = (weight_cache){0};
}
