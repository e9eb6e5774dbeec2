#include "bench/rows/row_file.h"

#include "base/mem.h"
#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A file and how far it is whole rows. */
typedef struct whole_file {
    char *path;
    int fd;
    off_t whole_bytes;
} whole_file;

struct row_writer {
    whole_file jsonl, csv;
    uint64_t rows;
    bool failed;
    errbuf why; /* of the first failure, which every later call repeats */
    buf line;
};

static const char CSV_HEAD[] =
    "seed,index,phase,outcome,http,error,finish,scheduled_ns,sent_ns,first_ns,last_ns,end_ns,prompt_asked,"
    "output_asked,prompt_tokens,output_tokens,cached_tokens,events,ttft_ms,tpot_ms,e2e_ms,itl_max_ms,"
    "queue_ms,prefill_ms,handoff_ms,decode_wait_ms,decode_ms,first_token_ms,total_ms,attempts,replays,"
    "preemptions\n";

/* JSON text of s; bytes that are no UTF-8 become '?'. */
static void add_json_text(buf *b, const char *s) {
    json_t *text = s ? json_string(s) : json_null();
    if (!text) {
        char *plain = xstrdup(s);
        for (char *c = plain; *c; c++)
            if ((unsigned char)*c >= 0x80) *c = '?';
        text = json_string(plain);
        free(plain);
    }
    char *out = text ? json_dumps(text, JSON_ENCODE_ANY) : NULL;
    buf_adds(b, out ? out : "null");
    free(out);
    json_decref(text);
}

static void add_time(buf *b, const char *name, uint64_t ns) {
    if (ns == ROW_NEVER)
        buf_addf(b, ",\"%s\":null", name);
    else
        buf_addf(b, ",\"%s\":%llu", name, (unsigned long long)ns);
}

static void add_stages(buf *b, const row_stages *s) {
    const struct {
        const char *name;
        double ms;
    } times[] = {{"queue_ms", s->queue_ms},     {"prefill_ms", s->prefill_ms},
                 {"handoff_ms", s->handoff_ms}, {"decode_wait_ms", s->decode_wait_ms},
                 {"decode_ms", s->decode_ms},   {"first_token_ms", s->first_token_ms},
                 {"total_ms", s->total_ms}};
    bool any = s->attempts || s->replays || s->preemptions;
    for (size_t i = 0; i < ARRAY_LEN(times); i++) any |= isfinite(times[i].ms);
    if (!any) {
        buf_adds(b, ",\"stages\":null");
        return;
    }
    buf_addf(b, ",\"stages\":{\"attempts\":%u,\"replays\":%u,\"preemptions\":%u", s->attempts, s->replays,
             s->preemptions);
    for (size_t i = 0; i < ARRAY_LEN(times); i++)
        if (isfinite(times[i].ms)) buf_addf(b, ",\"%s\":%.17g", times[i].name, times[i].ms);
    buf_adds(b, "}");
}

static void jsonl_line(buf *b, const row *r) {
    buf_reset(b);
    buf_addf(b, "{\"seed\":%llu,\"index\":%u,\"phase\":\"%s\",\"outcome\":\"%s\",\"http\":%d,\"error\":",
             (unsigned long long)r->seed, r->index, row_phase_name(r->phase), row_outcome_name(r->outcome),
             r->http);
    add_json_text(b, r->error);
    buf_adds(b, ",\"finish\":");
    add_json_text(b, r->finish);
    add_time(b, "scheduled_ns", r->scheduled_ns);
    add_time(b, "sent_ns", r->sent_ns);
    add_time(b, "first_ns", r->first_ns);
    add_time(b, "last_ns", r->last_ns);
    add_time(b, "end_ns", r->end_ns);
    buf_addf(b,
             ",\"prompt_asked\":%u,\"output_asked\":%u,\"prompt_tokens\":%u,\"output_tokens\":%u,"
             "\"cached_tokens\":%u,\"events\":[",
             r->prompt_asked, r->output_asked, r->prompt_tokens, r->output_tokens, r->cached_tokens);
    for (uint32_t i = 0; i < r->event_count; i++)
        buf_addf(b, "%s[%llu,%u]", i ? "," : "", (unsigned long long)r->events[i].at_ns, r->events[i].tokens);
    buf_adds(b, "]");
    add_stages(b, &r->stages);
    buf_adds(b, "}\n");
}

/* In quotes, on one line: what splits a CSV by lines keeps working. */
static void add_csv_text(buf *b, const char *s) {
    buf_adds(b, ",\"");
    for (; s && *s; s++) {
        if (*s == '"') buf_adds(b, "\"");
        char c = *s == '\n' || *s == '\r' ? ' ' : *s;
        buf_add(b, &c, 1);
    }
    buf_adds(b, "\"");
}

static void add_csv_ms(buf *b, double ms) {
    if (isfinite(ms))
        buf_addf(b, ",%.6f", ms);
    else
        buf_adds(b, ",");
}

static double largest_itl(const row *r) {
    uint64_t before = ROW_NEVER;
    double most = NAN;
    for (uint32_t i = 0; i < r->event_count; i++) {
        if (!r->events[i].tokens) continue;
        double gap = before == ROW_NEVER ? NAN : (double)(r->events[i].at_ns - before) / 1e6;
        most = fmax(most, gap);
        before = r->events[i].at_ns;
    }
    return most;
}

static void csv_line(buf *b, const row *r) {
    buf_reset(b);
    buf_addf(b, "%llu,%u,%s,%s,%d", (unsigned long long)r->seed, r->index, row_phase_name(r->phase),
             row_outcome_name(r->outcome), r->http);
    add_csv_text(b, r->error);
    add_csv_text(b, r->finish);
    const uint64_t times[] = {r->scheduled_ns, r->sent_ns, r->first_ns, r->last_ns, r->end_ns};
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        if (times[i] == ROW_NEVER)
            buf_adds(b, ",");
        else
            buf_addf(b, ",%llu", (unsigned long long)times[i]);
    }
    buf_addf(b, ",%u,%u,%u,%u,%u,%u", r->prompt_asked, r->output_asked, r->prompt_tokens, r->output_tokens,
             r->cached_tokens, r->event_count);
    const row_stages *s = &r->stages;
    const double ms[] = {row_ttft_ms(r), row_tpot_ms(r),    row_e2e_ms(r), largest_itl(r),
                         s->queue_ms,    s->prefill_ms,     s->handoff_ms, s->decode_wait_ms,
                         s->decode_ms,   s->first_token_ms, s->total_ms};
    for (size_t i = 0; i < ARRAY_LEN(ms); i++) add_csv_ms(b, ms[i]);
    buf_addf(b, ",%u,%u,%u\n", s->attempts, s->replays, s->preemptions);
}

static status file_open(whole_file *f, const char *dir, const char *name, errbuf *eb) {
    f->path = xasprintf("%s/%s", dir, name);
    f->fd = open(f->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    f->whole_bytes = 0;
    return f->fd >= 0 ? ST_OK : errf(eb, ST_IO, "%s: %s", f->path, strerror(errno));
}

/* Cuts the file to the rows that are whole. A device or pipe cannot be cut; then nobody reads it again. */
static void file_cut(whole_file *f, off_t bytes) {
    f->whole_bytes = bytes;
    if (ftruncate(f->fd, bytes) == 0) lseek(f->fd, bytes, SEEK_SET);
}

static status file_add(whole_file *f, const buf *b, errbuf *eb) {
    size_t done = 0;
    while (done < b->len) {
        ssize_t n = write(f->fd, b->data + done, b->len - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            int error = n < 0 ? errno : ENOSPC;
            file_cut(f, f->whole_bytes);
            return errf(eb, ST_IO, "%s: %s", f->path, strerror(error));
        }
        done += (size_t)n;
    }
    f->whole_bytes += (off_t)b->len;
    return ST_OK;
}

static void file_done(whole_file *f) {
    if (f->fd >= 0) close(f->fd);
    free(f->path);
}

static void writer_free(row_writer *w) {
    file_done(&w->jsonl);
    file_done(&w->csv);
    buf_done(&w->line);
    free(w);
}

status row_writer_open(row_writer **out, const char *dir, errbuf *eb) {
    PRE(out);
    PRE(dir);
    row_writer *w = xcalloc(1, sizeof *w);
    w->jsonl.fd = w->csv.fd = -1;
    status st = file_open(&w->jsonl, dir, "rows.jsonl", eb);
    if (st == ST_OK) st = file_open(&w->csv, dir, "rows.csv", eb);
    if (st == ST_OK) {
        buf_adds(&w->line, CSV_HEAD);
        st = file_add(&w->csv, &w->line, eb);
    }
    if (st != ST_OK) {
        writer_free(w);
        return st;
    }
    *out = w;
    return ST_OK;
}

status row_writer_add(row_writer *w, const row *r, errbuf *eb) {
    PRE(w);
    PRE(r);
    PRE(r->seed <= INT64_MAX);
    if (w->failed) return errf(eb, ST_IO, "%s", w->why.text);
    off_t before = w->jsonl.whole_bytes;
    jsonl_line(&w->line, r);
    status st = file_add(&w->jsonl, &w->line, &w->why);
    if (st == ST_OK) {
        csv_line(&w->line, r);
        st = file_add(&w->csv, &w->line, &w->why);
        if (st != ST_OK) file_cut(&w->jsonl, before); /* the same rows in both */
    }
    if (st == ST_OK) {
        w->rows++;
        return ST_OK;
    }
    w->failed = true;
    errbuf cause = w->why;
    errf(&w->why, ST_IO, "%.180s: the first %llu rows are kept; make room and run again", cause.text,
         (unsigned long long)w->rows);
    return errf(eb, st, "%s", w->why.text);
}

status row_writer_close(row_writer *w, errbuf *eb) {
    if (!w) return ST_OK;
    status st = w->failed ? errf(eb, ST_IO, "%s", w->why.text) : ST_OK;
    whole_file *files[] = {&w->jsonl, &w->csv};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        /* EINVAL: a pipe or device, which has nothing to flush */
        bool flushed = fsync(files[i]->fd) == 0 || errno == EINVAL;
        bool closed = close(files[i]->fd) == 0;
        files[i]->fd = -1;
        if (st == ST_OK && (!flushed || !closed))
            st = errf(eb, ST_IO, "%s: %s: its last rows may be missing", files[i]->path, strerror(errno));
    }
    writer_free(w);
    return st;
}
