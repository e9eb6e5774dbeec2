/* Rows as files: what is written is read back, a file that was cut or has no room keeps whole rows. */
#include "bench/rows/row_file.h"

#include "base/mem.h"
#include "base/mix.h"
#include "base/status.h"
#include "tests/test.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/baton-rows-XXXXXX";

static int make_dir(void **state) {
    (void)state;
    memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
    return mkdtemp(dir) ? 0 : -1;
}

static const char *path_of(const char *name) {
    static char path[4][96];
    static unsigned at;
    char *out = path[at++ % 4];
    snprintf(out, sizeof path[0], "%s/%s", dir, name);
    return out;
}

static int remove_dir(void **state) {
    (void)state;
    unlink(path_of("rows.jsonl"));
    unlink(path_of("rows.csv"));
    return rmdir(dir);
}

static char *slurp(const char *name, size_t *len) {
    FILE *f = fopen(path_of(name), "re");
    assert_non_null(f);
    buf b = {0};
    char piece[4096];
    size_t n;
    while ((n = fread(piece, 1, sizeof piece, f)) > 0) buf_add(&b, piece, n);
    fclose(f);
    *len = b.len;
    return b.data;
}

static void spill(const char *text) {
    FILE *f = fopen(path_of("rows.jsonl"), "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static row full_row(void) {
    row r;
    row_init(&r);
    r.seed = INT64_MAX;
    r.index = UINT32_MAX;
    r.phase = ROW_WINDOW;
    r.outcome = ROW_FAILED;
    r.http = 500;
    r.error = xstrdup("a \"quoted\"\nline, \xc3\xa4");
    strcpy(r.finish, "length");
    r.scheduled_ns = 1;
    r.sent_ns = 2;
    row_add_event(&r, 3, 0);
    row_add_event(&r, 1000000003, 1);
    row_add_event(&r, 2000000003, 3);
    r.end_ns = ROW_MOST_NS;
    r.prompt_asked = 10;
    r.output_asked = 11;
    r.prompt_tokens = 12;
    r.output_tokens = 4;
    r.cached_tokens = 14;
    r.stages = (row_stages){0.1, 1.0 / 3, NAN, 2, 3, 4, 5, 6, 7, 8};
    return r;
}

static void assert_same(const row *a, const row *b) {
    assert_true(a->seed == b->seed);
    assert_int_equal(a->index, b->index);
    assert_int_equal(a->phase, b->phase);
    assert_int_equal(a->outcome, b->outcome);
    assert_int_equal(a->http, b->http);
    assert_string_equal(a->error ? a->error : "", b->error ? b->error : "");
    assert_string_equal(a->finish, b->finish);
    assert_true(a->scheduled_ns == b->scheduled_ns);
    assert_true(a->sent_ns == b->sent_ns);
    assert_true(a->first_ns == b->first_ns);
    assert_true(a->last_ns == b->last_ns);
    assert_true(a->end_ns == b->end_ns);
    assert_int_equal(a->prompt_asked, b->prompt_asked);
    assert_int_equal(a->output_asked, b->output_asked);
    assert_int_equal(a->prompt_tokens, b->prompt_tokens);
    assert_int_equal(a->output_tokens, b->output_tokens);
    assert_int_equal(a->cached_tokens, b->cached_tokens);
    assert_int_equal(a->event_count, b->event_count);
    for (uint32_t i = 0; i < a->event_count; i++) {
        assert_true(a->events[i].at_ns == b->events[i].at_ns);
        assert_int_equal(a->events[i].tokens, b->events[i].tokens);
    }
    assert_true(a->stages.queue_ms == b->stages.queue_ms);
    assert_true(a->stages.prefill_ms == b->stages.prefill_ms);
    assert_true(isnan(b->stages.handoff_ms));
    assert_true(a->stages.total_ms == b->stages.total_ms);
    assert_int_equal(a->stages.preemptions, b->stages.preemptions);
}

static void a_row_comes_back_as_it_was(void **state) {
    (void)state;
    row_writer *w;
    assert_int_equal(row_writer_open(&w, dir, NULL), ST_OK);
    row r = full_row();
    assert_int_equal(row_writer_add(w, &r, NULL), ST_OK);
    row empty;
    row_init(&empty);
    empty.outcome = ROW_UNSENT;
    assert_int_equal(row_writer_add(w, &empty, NULL), ST_OK);
    assert_int_equal(row_writer_close(w, NULL), ST_OK);
    row_list l = {0};
    bool cut = true;
    assert_int_equal(row_file_read(&l, path_of("rows.jsonl"), &cut, NULL), ST_OK);
    assert_false(cut);
    assert_int_equal(l.count, 2);
    assert_same(&r, &l.rows[0]);
    row_add_event(&l.rows[0], 2000000004, 1); /* and goes on */
    assert_true(l.rows[1].scheduled_ns == ROW_NEVER);
    assert_true(isnan(l.rows[1].stages.queue_ms));
    row_list_done(&l);
    row_done(&r);
}

static void the_line_of_a_row(void **state) {
    (void)state;
    row_writer *w;
    assert_int_equal(row_writer_open(&w, dir, NULL), ST_OK);
    row r;
    row_init(&r);
    r.seed = 1;
    r.phase = ROW_WINDOW;
    r.http = 200;
    r.scheduled_ns = 5;
    row_add_event(&r, 1000005, 2);
    r.output_tokens = 2;
    assert_int_equal(row_writer_add(w, &r, NULL), ST_OK);
    assert_int_equal(row_writer_close(w, NULL), ST_OK);
    size_t len;
    char *json = slurp("rows.jsonl", &len);
    assert_string_equal(
        json, "{\"seed\":1,\"index\":0,\"phase\":\"window\",\"outcome\":\"ok\",\"http\":200,\"error\":null,"
              "\"finish\":\"\",\"scheduled_ns\":5,\"sent_ns\":null,\"first_ns\":1000005,\"last_ns\":1000005,"
              "\"end_ns\":null,\"prompt_asked\":0,\"output_asked\":0,\"prompt_tokens\":0,\"output_tokens\":2,"
              "\"cached_tokens\":0,\"events\":[[1000005,2]],\"stages\":null}\n");
    free(json);
    char *csv = slurp("rows.csv", &len);
    const char *line = strchr(csv, '\n') + 1;
    assert_string_equal(line, "1,0,window,ok,200,\"\",\"\",5,,1000005,1000005,,0,0,0,2,0,1,1.000000,0.000000,"
                              "1.000000,,,,,,,,,0,0,0\n");
    free(csv);
    row_done(&r);
}

/* Fields of a line of the CSV, quotes heeded. */
static uint32_t fields_of(const char *line) {
    uint32_t n = 1;
    for (bool quoted = false; *line && *line != '\n'; line++) {
        if (*line == '"') quoted = !quoted;
        n += *line == ',' && !quoted;
    }
    return n;
}

static void every_line_of_the_csv_has_the_fields_of_its_head(void **state) {
    (void)state;
    row_writer *w;
    assert_int_equal(row_writer_open(&w, dir, NULL), ST_OK);
    row r = full_row();
    assert_int_equal(row_writer_add(w, &r, NULL), ST_OK);
    assert_int_equal(row_writer_close(w, NULL), ST_OK);
    size_t len;
    char *csv = slurp("rows.csv", &len);
    char *line = strchr(csv, '\n') + 1;
    assert_int_equal(fields_of(line), fields_of(csv));
    assert_non_null(strstr(line, "\"a \"\"quoted\"\" line, \xc3\xa4\""));
    assert_ptr_equal(strchr(line, '\n'), csv + len - 1);
    free(csv);
    row_done(&r);
}

static void bytes_that_are_no_text_become_question_marks(void **state) {
    (void)state;
    row_writer *w;
    assert_int_equal(row_writer_open(&w, dir, NULL), ST_OK);
    row r;
    row_init(&r);
    r.error = xstrdup("bad \xff\xfe byte");
    assert_int_equal(row_writer_add(w, &r, NULL), ST_OK);
    assert_int_equal(row_writer_close(w, NULL), ST_OK);
    row_list l = {0};
    bool cut;
    assert_int_equal(row_file_read(&l, path_of("rows.jsonl"), &cut, NULL), ST_OK);
    assert_string_equal(l.rows[0].error, "bad ?? byte");
    row_list_done(&l);
    row_done(&r);
}

static void a_line_without_its_end_is_left_out_and_told(void **state) {
    (void)state;
    row_writer *w;
    assert_int_equal(row_writer_open(&w, dir, NULL), ST_OK);
    row r = full_row();
    for (int i = 0; i < 3; i++) assert_int_equal(row_writer_add(w, &r, NULL), ST_OK);
    assert_int_equal(row_writer_close(w, NULL), ST_OK);
    size_t len;
    free(slurp("rows.jsonl", &len));
    for (size_t cut_bytes = 1; cut_bytes < len / 3; cut_bytes += 41) {
        assert_int_equal(truncate(path_of("rows.jsonl"), (off_t)(len - cut_bytes)), 0);
        row_list l = {0};
        bool cut = false;
        assert_int_equal(row_file_read(&l, path_of("rows.jsonl"), &cut, NULL), ST_OK);
        assert_true(cut);
        assert_int_equal(l.count, 2);
        row_list_done(&l);
    }
    row_done(&r);
}

#define GOOD                                                                                                 \
    "{\"seed\":1,\"index\":0,\"phase\":\"window\",\"outcome\":\"ok\",\"http\":200,\"error\":null,"           \
    "\"finish\":\"stop\",\"scheduled_ns\":1,\"sent_ns\":1,\"first_ns\":1,\"last_ns\":1,\"end_ns\":1,"        \
    "\"prompt_asked\":1,\"output_asked\":1,\"prompt_tokens\":1,\"output_tokens\":1,\"cached_tokens\":0,"     \
    "\"events\":[[1,1]],\"stages\":null}\n"

static void bad_lines_are_named_by_file_line_and_field(void **state) {
    (void)state;
    const struct {
        const char *from, *to, *names;
    } bad[] = {{"\"seed\":1", "\"seed\":-1", "'seed'"},
               {"\"seed\":1", "\"seed\":1.5", "'seed'"},
               {"\"index\":0", "\"index\":4294967296", "'index'"},
               {"\"phase\":\"window\"", "\"phase\":\"windows\"", "'phase'"},
               {"\"outcome\":\"ok\"", "\"outcome\":7", "'outcome'"},
               {"\"http\":200", "\"http\":1000", "'http'"},
               {"\"events\":[[1,1]]", "\"events\":[[1]]", "'events'"},
               {"\"events\":[[1,1]]", "\"events\":[1]", "'events'"},
               {"\"events\":[[1,1]]", "\"events\":null", "'events'"},
               {"\"events\":[[1,1]]", "\"events\":[[-1,1]]", "'events'"},
               {"\"events\":[[1,1]]", "\"events\":[[1,4294967296]]", "'events'"},
               {"\"events\":[[1,1]]", "\"events\":[[1,16777216],[2,1]]", "'events'"},
               {"\"output_tokens\":1", "\"output_tokens\":16777217", "'output_tokens'"},
               {"\"prompt_tokens\":1", "\"prompt_tokens\":4294967295", "'prompt_tokens'"},
               {"\"end_ns\":1,", "", "'end_ns'"},
               {"\"end_ns\":1,", "\"end_ns\":10000000000000001,", "'end_ns'"},
               {"\"stages\":null", "\"stages\":7", "'stages'"},
               {"\"finish\":\"stop\"", "\"finish\":[]", "'finish'"},
               {"{\"seed\":1", "{\"seed\":1,\"seed\":1", "no JSON"},
               {"null}", "null", "no JSON"},
               {GOOD, "[]\n", "not an object"},
               {GOOD, "\n", "no JSON"}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const char *at = strstr(GOOD, bad[i].from);
        assert_non_null(at);
        char *text =
            xasprintf(GOOD "%.*s%s%s" GOOD, (int)(at - GOOD), GOOD, bad[i].to, at + strlen(bad[i].from));
        spill(text);
        free(text);
        row_list l = {0};
        bool cut = false;
        errbuf eb = {0};
        assert_int_equal(row_file_read(&l, path_of("rows.jsonl"), &cut, &eb), ST_INVALID);
        assert_non_null(strstr(eb.text, "rows.jsonl:2: "));
        assert_non_null(strstr(eb.text, bad[i].names));
        assert_int_equal(l.count, 0);
        row_list_done(&l);
    }
}

/* Whatever a byte is changed to: rows, or a text that names the line. */
static void a_changed_byte_is_read_or_refused(void **state) {
    (void)state;
    uint64_t x = 1;
    uint32_t refused = 0;
    for (uint32_t i = 0; i < 3000; i++) {
        char text[] = GOOD GOOD;
        for (uint32_t k = 0; k < 1 + i % 3; k++) {
            x += MIX64_STEP;
            uint64_t bits = mix64(x);
            text[(bits >> 8) % (sizeof text - 1)] = (char)(1 + (bits & 0xff) % 255);
        }
        spill(text);
        row_list l = {0};
        bool cut;
        errbuf eb = {0};
        status st = row_file_read(&l, path_of("rows.jsonl"), &cut, &eb);
        if (st != ST_OK) {
            refused++;
            assert_int_equal(st, ST_INVALID);
            assert_non_null(strstr(eb.text, "rows.jsonl:"));
            assert_int_equal(l.count, 0);
        }
        row_list_done(&l);
    }
    assert_in_range(refused, 1000, 2999);
}

static void a_missing_file_or_folder_is_named(void **state) {
    (void)state;
    row_list l = {0};
    bool cut;
    errbuf eb = {0};
    assert_int_equal(row_file_read(&l, "/nowhere/rows.jsonl", &cut, &eb), ST_IO);
    assert_non_null(strstr(eb.text, "/nowhere/rows.jsonl"));
    row_writer *w;
    assert_int_equal(row_writer_open(&w, "/nowhere", &eb), ST_IO);
    assert_non_null(strstr(eb.text, "/nowhere/rows.jsonl"));
}

static void lower_file_limit(rlim_t bytes, struct rlimit *before) {
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, before), 0);
    struct rlimit now = *before;
    now.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
}

static void without_room_both_files_keep_the_same_whole_rows(void **state) {
    (void)state;
    row_writer *w;
    assert_int_equal(row_writer_open(&w, dir, NULL), ST_OK);
    struct rlimit before;
    lower_file_limit(4000, &before);
    row r = full_row();
    errbuf eb = {0}, again = {0}, last = {0};
    uint32_t written = 0;
    while (row_writer_add(w, &r, &eb) == ST_OK) written++;
    status second = row_writer_add(w, &r, &again), closed = row_writer_close(w, &last);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(written > 2);
    char *want = xasprintf("the first %u rows are kept", written);
    assert_non_null(strstr(eb.text, want));
    assert_non_null(strstr(eb.text, "rows.jsonl"));
    free(want);
    assert_int_equal(second, ST_IO);
    assert_string_equal(again.text, eb.text);
    assert_int_equal(closed, ST_IO);
    assert_string_equal(last.text, eb.text);
    row_list l = {0};
    bool cut = true;
    assert_int_equal(row_file_read(&l, path_of("rows.jsonl"), &cut, NULL), ST_OK);
    assert_false(cut);
    assert_int_equal(l.count, written);
    row_list_done(&l);
    row_done(&r);
    size_t len, lines = 0;
    char *csv = slurp("rows.csv", &len);
    for (size_t i = 0; i < len; i++) lines += csv[i] == '\n';
    free(csv);
    assert_int_equal(lines, written + 1);
}

static void a_csv_that_cannot_be_begun_is_named(void **state) {
    (void)state;
    assert_int_equal(symlink("/dev/full", path_of("rows.csv")), 0);
    row_writer *w = NULL;
    errbuf eb = {0};
    assert_int_equal(row_writer_open(&w, dir, &eb), ST_IO);
    assert_non_null(strstr(eb.text, "rows.csv: No space left on device"));
    assert_null(w);
}

static void when_the_csv_fails_the_jsonl_takes_its_row_back(void **state) {
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(mkfifo(path_of("rows.csv"), 0600), 0);
    int reader = open(path_of("rows.csv"), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(reader >= 0);
    row_writer *w;
    assert_int_equal(row_writer_open(&w, dir, NULL), ST_OK);
    row r = full_row();
    assert_int_equal(row_writer_add(w, &r, NULL), ST_OK);
    close(reader);
    errbuf eb = {0};
    assert_int_equal(row_writer_add(w, &r, &eb), ST_IO);
    assert_non_null(strstr(eb.text, "rows.csv: Broken pipe: the first 1 rows are kept"));
    assert_int_equal(row_writer_close(w, NULL), ST_IO);
    row_done(&r);
    row_list l = {0};
    bool cut;
    assert_int_equal(row_file_read(&l, path_of("rows.jsonl"), &cut, NULL), ST_OK);
    assert_int_equal(l.count, 1);
    row_list_done(&l);
}

static void a_full_disk_is_named_at_the_first_row(void **state) {
    (void)state;
    assert_int_equal(symlink("/dev/full", path_of("rows.jsonl")), 0);
    row_writer *w;
    assert_int_equal(row_writer_open(&w, dir, NULL), ST_OK);
    row r = full_row();
    errbuf eb = {0};
    assert_int_equal(row_writer_add(w, &r, &eb), ST_IO);
    assert_non_null(strstr(eb.text, "rows.jsonl: No space left on device: the first 0 rows are kept"));
    assert_int_equal(row_writer_close(w, NULL), ST_IO);
    row_done(&r);
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_DIR(a_row_comes_back_as_it_was),
        IN_DIR(the_line_of_a_row),
        IN_DIR(every_line_of_the_csv_has_the_fields_of_its_head),
        IN_DIR(bytes_that_are_no_text_become_question_marks),
        IN_DIR(a_line_without_its_end_is_left_out_and_told),
        IN_DIR(bad_lines_are_named_by_file_line_and_field),
        IN_DIR(a_changed_byte_is_read_or_refused),
        IN_DIR(a_missing_file_or_folder_is_named),
        IN_DIR(without_room_both_files_keep_the_same_whole_rows),
        IN_DIR(a_csv_that_cannot_be_begun_is_named),
        IN_DIR(when_the_csv_fails_the_jsonl_takes_its_row_back),
        IN_DIR(a_full_disk_is_named_at_the_first_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
