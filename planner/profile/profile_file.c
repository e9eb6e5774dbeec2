#include "planner/profile/profile_file.h"

#include "base/mem.h"
#include "config/latency_file.h"

static profile *of_model(const char *name, const latency_model *m) {
    profile *p = xcalloc(1, sizeof *p);
    p->name = xstrdup(name);
    p->source = xstrdup("latency model");
    p->engines = xcalloc(1, sizeof *p->engines);
    p->engines[0] = profile_engine_modelled(m, 1, 1);
    p->engine_count = 1;
    return p;
}

status profile_read(profile **out, const char *path, const profile_read_options *opt, errbuf *eb) {
    PRE(out);
    PRE(path);
    (void)opt;
    latency_model m;
    status st = latency_file_find(path, &m, eb);
    if (st != ST_OK) return st;
    profile *p = of_model(path, &m);
    st = profile_check(p, eb);
    if (st != ST_OK) {
        profile_free(p);
        return err_prefix(eb, st, "%s", path);
    }
    profile_seal(p);
    *out = p;
    return ST_OK;
}

status profile_write(const profile *p, const char *path, errbuf *eb) {
    PRE(p);
    return errf(eb, ST_UNSUPPORTED, "%s: profiles cannot be written yet", path);
}
