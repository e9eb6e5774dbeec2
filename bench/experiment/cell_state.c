#include "bench/experiment/cell_state.h"

#include "base/mem.h"
#include "bench/experiment/files.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {
    [CELL_NONE] = "none", [CELL_DONE] = "done", [CELL_VOID] = "void", [CELL_FAILED] = "failed"};

const char *cell_end_name(cell_end e) {
    PRE(e <= CELL_FAILED);
    return names[e];
}

status cell_state_write(const cell_state *st, const spec *s, const cell *c, const char *dir, errbuf *eb) {
    PRE(st);
    PRE(s);
    PRE(c);
    PRE(dir);
    PRE(st->end != CELL_NONE);
    const spec_placement *p = &s->placements[c->placement];
    json_t *j = json_pack(
        "{s:s, s:s, s:s, s:s, s:f, s:i, s:b, s:i, s:s, s:b, s:s?, s:i, s:{s:f, s:f, s:f}, s:{s:s, s:s, s:s}}",
        "state", cell_end_name(st->end), "reason", st->reason, "placement", c->shown, "workload",
        s->workloads[c->workload].name, "rate", c->rate, "devices", (int)c->devices, "baseline", p->baseline,
        "attempts", (int)st->attempts, "variant", st->variant, "tuning", c->tuning, "again_of",
        c->again ? p->name : NULL, "rate_index", (int)c->rate_index, "seconds", "start", st->start_s, "serve",
        st->serve_s, "stop", st->stop_s, "build", "version", st->build.version, "programs",
        st->build.programs, "git", st->build.git);
    if (!j) { /* bytes of a log that are no UTF-8 */
        cell_state plain = *st;
        for (char *at = plain.reason; *at; at++)
            if ((unsigned char)*at >= 0x80) *at = '?';
        CHECK(strcmp(plain.reason, st->reason) != 0);
        return cell_state_write(&plain, s, c, dir, eb);
    }
    char *text = json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(10));
    CHECK(text);
    char *path = xasprintf("%s/state.json", dir);
    status result = files_write(path, text, strlen(text), eb);
    free(path);
    free(text);
    json_decref(j);
    return result;
}

status cell_state_read(cell_state *out, const char *dir, errbuf *eb) {
    PRE(out);
    PRE(dir);
    *out = (cell_state){0};
    char *path = xasprintf("%s/state.json", dir);
    status st = ST_OK;
    if (files_exist(path)) {
        json_error_t why;
        json_t *j = json_load_file(path, 0, &why);
        const char *state = "", *reason = "", *variant = "", *version = "", *programs = "", *git = "";
        int attempts = 0;
        if (!j || json_unpack(j, "{s:s, s?s, s?s, s?i, s?{s?F, s?F, s?F}, s?{s?s, s?s, s?s}}", "state",
                              &state, "reason", &reason, "variant", &variant, "attempts", &attempts,
                              "seconds", "start", &out->start_s, "serve", &out->serve_s, "stop", &out->stop_s,
                              "build", "version", &version, "programs", &programs, "git", &git) != 0)
            st = errf(eb, ST_INVALID, "%s: %s: remove the cell's folder to run it again", path,
                      j ? "not what a state is" : why.text);
        for (cell_end e = CELL_DONE; st == ST_OK && e <= CELL_FAILED; e++)
            if (strcmp(state, names[e]) == 0) out->end = e;
        snprintf(out->reason, sizeof out->reason, "%s", reason);
        snprintf(out->variant, sizeof out->variant, "%s", variant);
        snprintf(out->build.version, sizeof out->build.version, "%s", version);
        snprintf(out->build.programs, sizeof out->build.programs, "%s", programs);
        snprintf(out->build.git, sizeof out->build.git, "%s", git);
        out->attempts = attempts > 0 ? (uint32_t)attempts : 0;
        json_decref(j);
    }
    free(path);
    return st;
}
