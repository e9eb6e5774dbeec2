#include "bench/workload/trace_file.h"

#include "bench/workload/trace_chats.h"
#include "bench/workload/trace_csv.h"
#include "bench/workload/trace_json.h"

#include <ctype.h>
#include <math.h>

static status read_rows(trace *t, lines *l, const trace_options *opt, errbuf *eb) {
    int c;
    while (isspace(c = getc(l->file)))
        if (c == '\n') l->number++;
    ungetc(c, l->file); /* of EOF: nothing happens */
    double chars = opt->chars_per_token ? opt->chars_per_token : TRACE_CHARS_PER_TOKEN;
    if (c == '[') return trace_chats_read(t, l, chars, eb);
    char *first = NULL;
    status st = lines_next(l, &first, eb);
    if (st != ST_OK) return st;
    if (!first) return errf(eb, ST_INVALID, "%s: the file is empty", l->name);
    return first[0] == '{' ? trace_json_read(t, l, first, eb) : trace_csv_read(t, l, first, eb);
}

status trace_read(trace *out, const char *path, const trace_options *opt, errbuf *eb) {
    PRE(out);
    PRE(path);
    PRE(opt);
    if (!(opt->spread_s >= 0) || isinf(opt->spread_s))
        return errf(eb, ST_INVALID, "times spread over %g seconds: want 0 or more", opt->spread_s);
    if (opt->chars_per_token != 0 && !(opt->chars_per_token >= 0.1 && opt->chars_per_token <= 1000))
        return errf(eb, ST_INVALID, "%g characters per token: want 0.1 to 1000", opt->chars_per_token);
    lines l;
    trace t = {0};
    status st = lines_open(&l, path, eb);
    if (st != ST_OK) return st;
    st = read_rows(&t, &l, opt, eb);
    if (st == ST_OK && t.count == 0)
        st = errf(eb, ST_INVALID, "%s: no request in it (%u without prompt or answer)", l.name, t.left_out);
    lines_close(&l);
    if (st != ST_OK) {
        trace_done(&t);
        return st;
    }
    if (t.has_times && opt->spread_s > 0) trace_spread(&t, opt->spread_s);
    *out = t;
    return ST_OK;
}
