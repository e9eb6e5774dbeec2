#include "bench/workload/trace.h"

#include "bench/workload/lines.h"
#include "bench/workload/trace_chats.h"
#include "bench/workload/trace_csv.h"
#include "bench/workload/trace_json.h"

#include "base/mem.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>

const char *trace_format_name(trace_format format) {
    static const char *const names[] = {
        [TRACE_AZURE] = "azure",     [TRACE_BURSTGPT] = "burstgpt", [TRACE_MOONCAKE] = "mooncake",
        [TRACE_BAILIAN] = "bailian", [TRACE_SHAREGPT] = "sharegpt", [TRACE_OWN] = "jsonl",
    };
    PRE((size_t)format < ARRAY_LEN(names));
    return names[format];
}

void trace_done(trace *t) {
    PRE(t);
    free(t->rows);
    free(t->prefixes);
    *t = (trace){0};
}

/* A trace that counts in steps of `spread_s` has many requests at one time; they are set apart evenly, no
 * further than to the next time. */
static void spread(trace *t, double spread_s) {
    for (uint32_t i = 0, next; i < t->count; i = next) {
        double at = t->rows[i].at_s, room = spread_s;
        for (next = i + 1; next < t->count && t->rows[next].at_s == at;) next++;
        if (next < t->count) room = fmin(room, t->rows[next].at_s - at);
        for (uint32_t j = i; j < next; j++) t->rows[j].at_s = at + room * (j - i) / (next - i);
    }
}

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
    if (t.has_times && opt->spread_s > 0) spread(&t, opt->spread_s);
    *out = t;
    return ST_OK;
}
