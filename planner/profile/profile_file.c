#include "planner/profile/profile_file.h"

#include "base/mem.h"
#include "bench/experiment/files.h"
#include "config/latency_file.h"
#include "planner/profile/profile_csv.h"
#include "planner/profile/profile_distserve.h"
#include "planner/profile/profile_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const profile_read_options no_options = {0};

static void set_text(char **slot, const char *text) {
    if (!*slot) *slot = xstrdup(text);
}

static status read_latency(profile **out, const char *path, errbuf *eb) {
    latency_model m;
    status st = latency_file_find(path, &m, eb);
    if (st != ST_OK) return st;
    profile *p = xcalloc(1, sizeof *p);
    p->source = xstrdup("latency model");
    p->engines = xcalloc(1, sizeof *p->engines);
    p->engines[0] = profile_engine_modelled(&m, 1, 1);
    p->engine_count = 1;
    *out = p;
    return ST_OK;
}

static status unknown_json(errbuf *eb) {
    return errf(eb, ST_INVALID,
                "JSON of no profile that we know: want \"format\": \"" PROFILE_JSON_FORMAT
                "\", DistServe's, or a latency model's prefill and decode");
}

static status read_json(profile **out, const char *path, const profile_read_options *opt, errbuf *eb) {
    char *text = NULL;
    status st = files_read(&text, path, eb);
    if (st != ST_OK) return st;
    json_error_t je;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &je);
    free(text);
    if (!root)
        return errf(eb, ST_INVALID, "%.100s:%d:%d: no JSON: %.100s", path, je.line, je.column, je.text);
    if (json_object_get(root, "format")) {
        st = profile_json_read(out, root, eb);
    } else if (profile_distserve_is(root)) {
        st = profile_distserve_make(out, root, opt->model, eb);
        if (st == ST_OK) set_text(&(*out)->source, "DistServe");
    } else if (json_object_get(root, "prefill") && json_object_get(root, "decode")) {
        json_decref(root);
        return read_latency(out, path, eb);
    } else {
        st = unknown_json(eb);
    }
    json_decref(root);
    return st == ST_OK ? ST_OK : err_prefix(eb, st, "%.100s", path);
}

/* Told from its first line. */
static status read_lines(profile **out, lines *l, const char *path, const profile_read_options *opt,
                         errbuf *eb) {
    char *first = NULL;
    status st = lines_next(l, &first, eb);
    if (st != ST_OK) return st;
    if (!first) return errf(eb, ST_INVALID, "%s: the file is empty", l->name);
    while (*first == ' ' || *first == '\t') first++;
    if (*first == '{') return read_json(out, path, opt, eb);
    if (!strchr(first, ',') || strchr(first, ':')) return read_latency(out, path, eb);
    st = profile_csv_read(out, l, first, opt->model, opt->hardware, eb);
    if (st == ST_OK) set_text(&(*out)->source, "measured points");
    return st;
}

static status check_limit(const profile *p, double limit, errbuf *eb) {
    profile_worst w = profile_worst_error(p);
    if (!(limit > 0) || w.error <= limit) return ST_OK;
    return errf(
        eb, ST_CORRUPT,
        "tp %u, pp %u: %s steps are %.1f %% off in the mean where they were not measured: the limit is "
        "%.1f %%: measure more points, or raise it",
        w.engine->tp, w.engine->pp, w.phase, 100 * w.error, 100 * limit);
}

status profile_read(profile **out, const char *path, const profile_read_options *opt, errbuf *eb) {
    PRE(out);
    PRE(path);
    if (!opt) opt = &no_options;
    profile *p = NULL;
    lines l = {0};
    status st;
    if (latency_preset(path)) {
        st = read_latency(&p, path, eb);
    } else if (!files_exist(path)) {
        return errf(eb, ST_INVALID, "%.100s: no such file, and no preset (%s)", path, latency_preset_names());
    } else {
        st = lines_open(&l, path, eb);
        if (st != ST_OK) return st;
        st = read_lines(&p, &l, path, opt, eb);
        lines_close(&l);
    }
    if (st != ST_OK) return st;
    const char *slash = strrchr(path, '/');
    set_text(&p->name, slash ? slash + 1 : path);
    st = profile_check(p, eb);
    if (st == ST_OK) st = check_limit(p, opt->error_limit, eb);
    if (st != ST_OK) {
        profile_free(p);
        return err_prefix(eb, st, "%.100s", path);
    }
    profile_seal(p);
    *out = p;
    return ST_OK;
}

status profile_write(const profile *p, const char *path, errbuf *eb) {
    PRE(p);
    PRE(path);
    json_t *root = profile_json_of(p);
    char *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    CHECK(text);
    size_t len = strlen(text);
    text[len] = '\n'; /* in place of the end: files_write takes a length */
    status st = files_write(path, text, len + 1, eb);
    free(text);
    return st;
}
