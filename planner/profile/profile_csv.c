#include "planner/profile/profile_csv.h"

#include "bench/workload/csv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS        1e6 /* ns */
#define TP_MAX    1024u
#define NAMES_MAX 32u
#define NONE      CSV_COLUMNS_MAX

/* The columns of either kind, in the order of their names below. */
enum { PHASE, TP, PP, X, Y, TIME, X2, Y2, OWN_COUNT };
enum { PROMPT, BATCH, TOKENS, PROMPT_TIME, TOKEN_TIME, PARALLEL, MODEL, HARDWARE, SPLITWISE_COUNT };
static const char *const own_names[OWN_COUNT] = {"phase", "tp", "pp", "x", "y", "ms", "x2", "y2"};
static const char *const splitwise_names[SPLITWISE_COUNT] = {"prompt_size", "batch_size", "token_size",
                                                             "prompt_time", "token_time", "tensor_parallel",
                                                             "model",       "hardware"};

/* What a file is read into. */
typedef struct reading {
    lines *l;
    errbuf *eb;
    bool splitwise;
    uint32_t width;     /* columns of the header */
    uint32_t column[8]; /* of each name; NONE: not there */
    char *fields[CSV_COLUMNS_MAX];
    const char *model, *hardware; /* to be taken; NULL: the only one */
    char models[NAMES_MAX][48], machines[NAMES_MAX][48];
    uint32_t model_count, machine_count;
    profile_points points;
} reading;

/* --- the header --- */

static status read_columns(reading *r, const char *const *names, size_t count, size_t needed,
                           const char *kind) {
    for (size_t i = 0; i < count; i++) {
        r->column[i] = csv_column(r->fields, r->width, names[i]);
        if (r->column[i] == NONE && i < needed)
            return lines_bad(r->l, r->eb, "no column '%s', which %s has", names[i], kind);
        for (uint32_t k = r->column[i] + 1; k < r->width; k++)
            if (strcasecmp(r->fields[k], names[i]) == 0)
                return lines_bad(r->l, r->eb, "column '%s' stands twice", names[i]);
    }
    return ST_OK;
}

static bool has(const reading *r, const char *name) {
    return csv_column(r->fields, r->width, name) != NONE;
}

static status read_header(reading *r, char *header) {
    r->width = csv_split(header, r->fields);
    if (r->width > CSV_COLUMNS_MAX)
        return lines_bad(r->l, r->eb, "%u columns: want at most %u", r->width, CSV_COLUMNS_MAX);
    r->splitwise = has(r, "prompt_time") || has(r, "token_time") || has(r, "prompt_size");
    if (r->splitwise)
        return read_columns(r, splitwise_names, SPLITWISE_COUNT, MODEL, "Splitwise's perf_model.csv");
    if (!has(r, "phase") && !has(r, "ms"))
        return lines_bad(r->l, r->eb,
                         "CSV of no profile that we know: want columns phase,tp,pp,x,y,ms, or those of "
                         "Splitwise's perf_model.csv (prompt_size, batch_size, token_size, prompt_time, "
                         "token_time, tensor_parallel)");
    status st = read_columns(r, own_names, OWN_COUNT, X2, "a profile as CSV");
    if (st == ST_OK && (r->column[X2] == NONE) != (r->column[Y2] == NONE))
        st = lines_bad(r->l, r->eb, "no column '%s', where the other of x2 and y2 is",
                       r->column[X2] == NONE ? "x2" : "y2");
    return st;
}

/* --- rows --- */

static const char *field_at(const reading *r, uint32_t which) {
    return r->column[which] == NONE ? "" : r->fields[r->column[which]];
}

/* A finite number from `least`; strtod alone would also take 0x10, nan and inf. */
static status read_number(reading *r, uint32_t which, double least, double *out) {
    const char *text = field_at(r, which);
    const char *name = (r->splitwise ? splitwise_names : own_names)[which];
    char *end = NULL;
    bool plain = text[0] && strspn(text, "0123456789.eE+-") == strlen(text);
    double v = plain ? strtod(text, &end) : 0;
    if (!plain || *end || !isfinite(v) || v < least)
        return lines_bad(r->l, r->eb, "%s '%.40s': want a number of %g or more", name, text, least);
    *out = v;
    return ST_OK;
}

static status read_count(reading *r, uint32_t which, uint32_t most, uint32_t *out) {
    const char *text = field_at(r, which);
    const char *name = (r->splitwise ? splitwise_names : own_names)[which];
    bool plain = text[0] && strlen(text) < 10 && strspn(text, "0123456789") == strlen(text);
    unsigned long v = plain ? strtoul(text, NULL, 10) : 0;
    if (!v || v > most)
        return lines_bad(r->l, r->eb, "%s '%.40s': want a whole number from 1 to %u", name, text, most);
    *out = (uint32_t)v;
    return ST_OK;
}

static status read_time(reading *r, uint32_t which, double *ns) {
    double ms = 0;
    status st = read_number(r, which, 0, &ms);
    if (st == ST_OK && ms <= 0)
        return lines_bad(r->l, r->eb, "%s '%.40s': want more than 0 milliseconds",
                         (r->splitwise ? splitwise_names : own_names)[which], field_at(r, which));
    *ns = ms * MS;
    return st;
}

static status add_own(reading *r) {
    static const char *const phases[] = {"prefill", "decode", "mixed"};
    const char *phase = field_at(r, PHASE);
    uint32_t which = 0;
    while (which < 3 && strcmp(phase, phases[which]) != 0) which++;
    if (which == 3) return lines_bad(r->l, r->eb, "phase '%.40s': want prefill, decode or mixed", phase);
    profile_point p = {.phase = (point_phase)which};
    bool decode = which == POINT_DECODE;
    status st = read_count(r, TP, TP_MAX, &p.tp);
    if (st == ST_OK) st = read_count(r, PP, TP_MAX, &p.pp);
    if (st == ST_OK) st = read_number(r, X, 0, decode ? &p.at.decode_x : &p.at.prefill_x);
    if (st == ST_OK) st = read_number(r, Y, 0, decode ? &p.at.decode_y : &p.at.prefill_y);
    if (st == ST_OK && which == POINT_MIXED) st = read_number(r, X2, 0, &p.at.decode_x);
    if (st == ST_OK && which == POINT_MIXED) st = read_number(r, Y2, 0, &p.at.decode_y);
    if (st == ST_OK) st = read_time(r, TIME, &p.at.ns);
    return st == ST_OK ? profile_points_add(&r->points, p, r->eb) : st;
}

/* Notes the name; *taken false: the row is of another one than was asked for. */
static status note_name(reading *r, uint32_t which, const char *wanted, bool *taken) {
    const char *name = field_at(r, which);
    char(*names)[48] = which == MODEL ? r->models : r->machines;
    uint32_t *count = which == MODEL ? &r->model_count : &r->machine_count;
    if (r->column[which] == NONE) return ST_OK;
    if (strlen(name) >= sizeof names[0])
        return lines_bad(r->l, r->eb, "%s '%.40s...': want at most 47 letters", splitwise_names[which], name);
    if (wanted && strcmp(name, wanted) != 0) *taken = false;
    for (uint32_t i = 0; i < *count; i++)
        if (strcmp(names[i], name) == 0) return ST_OK;
    if (*count == NAMES_MAX)
        return lines_bad(r->l, r->eb, "more than %u names of %s", NAMES_MAX, splitwise_names[which]);
    snprintf(names[(*count)++], sizeof names[0], "%s", name);
    return ST_OK;
}

static status add_splitwise(reading *r) {
    bool taken = true;
    uint32_t prompt = 0, batch = 0, tokens = 0, tp = 0;
    double prompt_ns = 0, token_ns = 0;
    status st = note_name(r, MODEL, r->model, &taken);
    /* Of the machines, only those that measured this model matter. */
    if (st == ST_OK && taken) st = note_name(r, HARDWARE, r->hardware, &taken);
    if (st == ST_OK) st = read_count(r, PROMPT, 100000000, &prompt);
    if (st == ST_OK) st = read_count(r, BATCH, 1000000, &batch);
    if (st == ST_OK) st = read_count(r, TOKENS, 100000000, &tokens);
    if (st == ST_OK) st = read_count(r, PARALLEL, TP_MAX, &tp);
    if (st == ST_OK) st = read_time(r, PROMPT_TIME, &prompt_ns);
    if (st == ST_OK) st = read_time(r, TOKEN_TIME, &token_ns);
    if (st != ST_OK || !taken) return st;
    double n = batch, length = prompt;
    profile_point p = {.tp = tp, .pp = 1, .phase = POINT_PREFILL};
    p.at = (fit_mixed_point){.prefill_x = n * length, .prefill_y = n * length * length, .ns = prompt_ns};
    st = profile_points_add(&r->points, p, r->eb);
    if (st != ST_OK) return st;
    p.phase = POINT_DECODE;
    p.at = (fit_mixed_point){.decode_x = n, .decode_y = n * (length + tokens / 2.0), .ns = token_ns};
    return profile_points_add(&r->points, p, r->eb);
}

static status read_rows(reading *r) {
    char *line = NULL;
    status st = ST_OK;
    while (st == ST_OK && (st = lines_next(r->l, &line, r->eb)) == ST_OK && line) {
        uint32_t n = csv_split(line, r->fields);
        if (n != r->width)
            return lines_bad(r->l, r->eb, "%u columns, where the first line has %u", n, r->width);
        st = r->splitwise ? add_splitwise(r) : add_own(r);
    }
    return st;
}

/* Of several names one must be asked for, and be there. */
static status check_name(const reading *r, uint32_t which, const char *wanted) {
    const char(*names)[48] = which == MODEL ? r->models : r->machines;
    uint32_t count = which == MODEL ? r->model_count : r->machine_count;
    const char *option = splitwise_names[which];
    char list[160] = "";
    size_t at = 0;
    bool found = false;
    for (uint32_t i = 0; i < count; i++) {
        found |= wanted && strcmp(names[i], wanted) == 0;
        if (at < sizeof list)
            at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", names[i]);
    }
    if (wanted && count && !found)
        return errf(r->eb, ST_INVALID, "%s: no %s \"%.47s\": there are %s", r->l->name, option, wanted, list);
    if (!wanted && count > 1)
        return errf(r->eb, ST_INVALID,
                    "%s: several: choose one with --%s, or --profile-%s beside --profile: %s", r->l->name,
                    option, option, list);
    return ST_OK;
}

status profile_csv_read(profile **out, lines *l, char *header, const char *model, const char *hardware,
                        errbuf *eb) {
    PRE(out);
    PRE(l);
    PRE(header);
    reading *r = xcalloc(1, sizeof *r);
    *r = (reading){.l = l, .eb = eb, .model = model, .hardware = hardware};
    profile *p = xcalloc(1, sizeof *p);
    status st = read_header(r, header);
    if (st == ST_OK) st = read_rows(r);
    if (st == ST_OK) st = check_name(r, MODEL, model);
    if (st == ST_OK) st = check_name(r, HARDWARE, hardware);
    if (st == ST_OK && !r->points.count) st = errf(eb, ST_INVALID, "%s: no row below the names", l->name);
    if (st == ST_OK) {
        st = profile_points_fit(&r->points, p, eb);
        if (st != ST_OK) st = err_prefix(eb, st, "%s", l->name);
    }
    if (r->model_count) p->model = xstrdup(model ? model : r->models[0]);
    if (r->machine_count) p->machine = xstrdup(hardware ? hardware : r->machines[0]);
    profile_points_done(&r->points);
    free(r);
    if (st == ST_OK)
        *out = p;
    else
        profile_free(p);
    return st;
}
