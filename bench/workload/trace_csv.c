#include "bench/workload/trace_csv.h"

#include "bench/workload/csv.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct csv_columns {
    uint32_t count; /* of the header */
    uint32_t time, prompt, output;
    int64_t
        day0; /* Azure: the day of the first row, so that seconds keep their decimals; INT64_MAX = none yet */
} csv_columns;

static status missing(const lines *l, trace_format format, const csv_columns *c, errbuf *eb) {
    bool azure = format == TRACE_AZURE;
    const char *name = c->time == CSV_COLUMNS_MAX     ? "TIMESTAMP"
                       : c->prompt == CSV_COLUMNS_MAX ? (azure ? "ContextTokens" : "Request tokens")
                                                      : (azure ? "GeneratedTokens" : "Response tokens");
    return lines_bad(l, eb, "no column '%s', which a trace of %s has", name, azure ? "Azure" : "BurstGPT");
}

static status read_header(trace *t, csv_columns *c, const lines *l, char *header, errbuf *eb) {
    char *fields[CSV_COLUMNS_MAX];
    c->count = csv_split(header, fields);
    if (c->count > CSV_COLUMNS_MAX)
        return lines_bad(l, eb, "%u columns: want at most %u", c->count, CSV_COLUMNS_MAX);
    uint32_t context = csv_column(fields, c->count, "ContextTokens");
    uint32_t generated = csv_column(fields, c->count, "GeneratedTokens");
    uint32_t request = csv_column(fields, c->count, "Request tokens");
    uint32_t response = csv_column(fields, c->count, "Response tokens");
    c->time = csv_column(fields, c->count, "TIMESTAMP");
    if (context != CSV_COLUMNS_MAX || generated != CSV_COLUMNS_MAX) {
        t->format = TRACE_AZURE;
        c->prompt = context;
        c->output = generated;
    } else if (request != CSV_COLUMNS_MAX || response != CSV_COLUMNS_MAX) {
        t->format = TRACE_BURSTGPT;
        c->prompt = request;
        c->output = response;
    } else {
        return lines_bad(
            l, eb,
            "no trace that we know: want CSV with columns TIMESTAMP,ContextTokens,GeneratedTokens or "
            "Timestamp,Request tokens,Response tokens; JSON lines; or a JSON array of conversations");
    }
    if (c->time == CSV_COLUMNS_MAX || c->prompt == CSV_COLUMNS_MAX || c->output == CSV_COLUMNS_MAX)
        return missing(l, t->format, c, eb);
    return ST_OK;
}

/* Digits alone, a sign in front. */
static status read_tokens(const lines *l, const char *field, const char *what, int64_t *out, errbuf *eb) {
    char *end;
    errno = 0;
    const char *digits = field[0] == '-' ? field + 1 : field;
    long long n = digits[0] >= '0' && digits[0] <= '9' ? strtoll(field, &end, 10) : (end = NULL, 0);
    if (!end || *end || errno) return lines_bad(l, eb, "%s tokens '%.40s': want a whole number", what, field);
    *out = n;
    return ST_OK;
}

/* `n` digits at *at, which moves on; -1 = no digits. */
static int digits(const char **at, int n) {
    int value = 0;
    for (; n; n--, ++*at) {
        if (**at < '0' || **at > '9') return -1;
        value = value * 10 + (**at - '0');
    }
    return value;
}

static bool skip(const char **at, char c) {
    if (**at != c) return false;
    ++*at;
    return true;
}

/* Days since 1970-01-01 in the Gregorian calendar (Hinnant: chrono-compatible low-level date algorithms). */
static int64_t days_of(int year, int month, int day) {
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = y / 400, of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* "+00:00", "-07:30", "Z" or nothing: the seconds that the clock is ahead; false = something else. */
static bool zone_of(const char *at, int *seconds) {
    *seconds = 0;
    if (*at == 0 || strcmp(at, "Z") == 0) return true;
    int sign = *at == '+' ? 1 : *at == '-' ? -1 : 0;
    if (!sign) return false;
    at++;
    int hours = digits(&at, 2);
    if (hours < 0 || hours > 14 || !skip(&at, ':')) return false;
    int minutes = digits(&at, 2);
    if (minutes < 0 || minutes > 59 || *at) return false;
    *seconds = sign * (hours * 3600 + minutes * 60);
    return true;
}

/* "2023-11-16 18:17:03.9799600[+00:00]" as day and seconds of it; up to nine decimals, "T" for the blank. */
static bool clock_of(const char *text, int64_t *day, double *second) {
    const char *at = text;
    int year = digits(&at, 4), month = skip(&at, '-') ? digits(&at, 2) : -1;
    int mday = skip(&at, '-') ? digits(&at, 2) : -1;
    if (year < 1970 || month < 1 || month > 12 || mday < 1 || mday > 31) return false;
    if (!skip(&at, ' ') && !skip(&at, 'T')) return false;
    int hour = digits(&at, 2), minute = skip(&at, ':') ? digits(&at, 2) : -1;
    int sec = skip(&at, ':') ? digits(&at, 2) : -1;
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || sec < 0 || sec > 60) return false;
    int64_t fraction = 0, unit = 1;
    if (skip(&at, '.')) {
        int digit;
        while (unit < 1000000000 && *at >= '0' && *at <= '9') {
            digit = digits(&at, 1);
            fraction = fraction * 10 + digit;
            unit *= 10;
        }
        if (unit == 1) return false;
    }
    int zone;
    if (!zone_of(at, &zone)) return false;
    *day = days_of(year, month, mday);
    *second = (double)(hour * 3600 + minute * 60 + sec - zone) + (double)fraction / (double)unit;
    return true;
}

static status read_time(csv_columns *c, const lines *l, trace_format format, const char *field, double *at_s,
                        errbuf *eb) {
    if (format == TRACE_AZURE) {
        int64_t day;
        double second;
        if (!clock_of(field, &day, &second))
            return lines_bad(l, eb, "time '%.40s': want one like 2023-11-16 18:17:03.9799600", field);
        if (c->day0 == INT64_MAX) c->day0 = day;
        *at_s = (double)(day - c->day0) * 86400 + second;
        return ST_OK;
    }
    char *end;
    *at_s = strtod(field, &end);
    if (end == field || *end || !isfinite(*at_s) || *at_s < 0)
        return lines_bad(l, eb, "time '%.40s': want seconds, 0 or more", field);
    return ST_OK;
}

status trace_csv_read(trace *t, lines *l, char *header, errbuf *eb) {
    PRE(t);
    PRE(l);
    PRE(header);
    csv_columns c = {.day0 = INT64_MAX};
    status st = read_header(t, &c, l, header, eb);
    char *line = NULL;
    while (st == ST_OK && (st = lines_next(l, &line, eb)) == ST_OK && line) {
        char *fields[CSV_COLUMNS_MAX] = {0};
        uint32_t n = csv_split(line, fields);
        if (n != c.count) return lines_bad(l, eb, "%u columns, where the first line has %u", n, c.count);
        double at_s = 0;
        int64_t prompt = 0, output = 0;
        st = read_time(&c, l, t->format, fields[c.time], &at_s, eb);
        if (st == ST_OK) st = read_tokens(l, fields[c.prompt], "prompt", &prompt, eb);
        if (st == ST_OK) st = read_tokens(l, fields[c.output], "output", &output, eb);
        if (st == ST_OK) st = trace_add(t, l, at_s, prompt, output, eb);
    }
    return st;
}
