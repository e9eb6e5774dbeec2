/* Traces: every format told by its contents, what is wrong in a file named with its line, shared prefixes,
 * and the published files where they are at hand. */
#include "bench/workload/trace_file.h"

#include "bench/workload/arrivals.h"
#include "bench/workload/draw.h"
#include "bench/workload/workload.h"

#include "base/mem.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A file that holds `bytes`; Caller frees the name and removes the file with drop. */
static char *file_of(const void *bytes, size_t len) {
    char *path = xstrdup("/tmp/baton-trace-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(write(fd, bytes, len) == (ssize_t)len);
    close(fd);
    return path;
}

static void drop(char *path) {
    unlink(path);
    free(path);
}

static trace read_text(const char *text, trace_options opt) {
    char *path = file_of(text, strlen(text));
    trace t = {0};
    errbuf eb = {0};
    status st = trace_read(&t, path, &opt, &eb);
    drop(path);
    if (st != ST_OK) fail_msg("%s", eb.text);
    return t;
}

/* `what`: the message behind the file's name. */
static void assert_bytes_refused(const void *bytes, size_t len, const char *what) {
    char *path = file_of(bytes, len);
    trace t = {0};
    errbuf eb = {0};
    trace_options opt = {0};
    assert_int_equal(trace_read(&t, path, &opt, &eb), ST_INVALID);
    assert_true(strncmp(eb.text, path, strlen(path)) == 0);
    if (strncmp(eb.text + strlen(path), what, strlen(what)) != 0) fail_msg("'%s' is not '%s'", eb.text, what);
    assert_null(t.rows);
    drop(path);
}

static void assert_refused(const char *text, const char *what) {
    assert_bytes_refused(text, strlen(text), what);
}

static void assert_row(const trace *t, uint32_t i, double at_s, uint32_t prompt, uint32_t output) {
    assert_true(i < t->count);
    if (fabs(t->rows[i].at_s - at_s) > 1e-9)
        fail_msg("row %u at %.12f, want %.12f", i, t->rows[i].at_s, at_s);
    assert_int_equal(t->rows[i].prompt_tokens, prompt);
    assert_int_equal(t->rows[i].output_tokens, output);
}

static void azure_of_2023_has_seven_decimals_crlf_and_no_last_line_end(void **state) {
    (void)state;
    trace t = read_text("TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
                        "2023-11-16 23:59:59.9799600,4808,10\r\n"
                        "2023-11-17 00:00:00.0319601,3180,8\r\n"
                        "2023-11-17 00:01:00,110,27",
                        (trace_options){0});
    assert_int_equal(t.format, TRACE_AZURE);
    assert_string_equal(trace_format_name(t.format), "azure");
    assert_true(t.has_times);
    assert_int_equal(t.count, 3);
    assert_row(&t, 0, 0, 4808, 10);
    assert_row(&t, 1, 0.0520001, 3180, 8);
    assert_row(&t, 2, 60.02004, 110, 27);
    trace_done(&t);
    assert_null(t.rows);
}

static void azure_of_2024_has_a_zone_and_six_decimals(void **state) {
    (void)state;
    trace t = read_text("TIMESTAMP,ContextTokens,GeneratedTokens\n"
                        "2024-05-10 00:00:00.009930+00:00,2162,5\n"
                        "2024-05-10 00:00:00.017335+00:00,2399,6\n"
                        "2024-05-10 02:00:01.009930+02:00,76,15\n"
                        "2024-05-10 00:00:02Z,1,1\n",
                        (trace_options){0});
    assert_int_equal(t.format, TRACE_AZURE);
    assert_row(&t, 1, 0.007405, 2399, 6);
    assert_row(&t, 2, 1, 76, 15);
    assert_row(&t, 3, 1.99007, 1, 1);
    trace_done(&t);
}

static void days_are_counted_over_the_end_of_february(void **state) {
    (void)state;
    trace t = read_text("TIMESTAMP,ContextTokens,GeneratedTokens\n"
                        "2024-02-28 12:00:00,1,1\n2024-03-01 12:00:00,1,1\n2025-02-28 12:00:00,1,1\n"
                        "2025-03-01 12:00:00,1,1\n",
                        (trace_options){0});
    assert_row(&t, 1, 2 * 86400.0, 1, 1); /* a leap year */
    assert_row(&t, 3, t.rows[2].at_s + 86400.0, 1, 1);
    trace_done(&t);
}

static void burstgpt_is_read_by_column_names_and_failures_are_left_out(void **state) {
    (void)state;
    trace t = read_text(
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "19440110.0,1722ac82,43,GPT-4,906,446,1352,Conversation log\n"
        "19440161.0,d5983bf9,2,ChatGPT,36,0,36,API log\n"
        "19440192.5,8b74c7d8,8,GPT-4,1779,123,1902,Conversation log\n",
        (trace_options){0});
    assert_int_equal(t.format, TRACE_BURSTGPT);
    assert_int_equal(t.count, 2);
    assert_int_equal(t.left_out, 1);
    assert_row(&t, 0, 0, 906, 446);
    assert_row(&t, 1, 82.5, 1779, 123);
    trace_done(&t);
    t = read_text("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
                  "5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,1087,230,1317,Conversation log\n",
                  (trace_options){0});
    assert_row(&t, 1, 40, 1087, 230);
    trace_done(&t);
}

static void mooncake_has_milliseconds_and_blocks_of_512_tokens(void **state) {
    (void)state;
    trace t =
        read_text("{\"timestamp\": 3000, \"input_length\": 700, \"output_length\": 6, \"hash_ids\": [4, 9]}\n"
                  "{\"timestamp\": 3040, \"input_length\": 512, \"output_length\": 4, \"hash_ids\": [4]}\n"
                  "{\"timestamp\": 3100, \"input_length\": 5, \"output_length\": 4}\n",
                  (trace_options){0});
    assert_int_equal(t.format, TRACE_MOONCAKE);
    assert_row(&t, 0, 0, 700, 6);
    assert_row(&t, 1, 0.04, 512, 4);
    assert_row(&t, 2, 0.1, 5, 4);
    assert_int_equal(t.rows[0].prefix_count, 2);
    assert_int_equal(t.prefixes[1].id, 9);
    assert_int_equal(t.prefixes[1].tokens, 188);
    assert_int_equal(t.rows[1].prefix_first, 2);
    assert_int_equal(t.rows[2].prefix_count, 0);
    trace_done(&t);
}

static void bailian_has_seconds_and_blocks_of_16_tokens(void **state) {
    (void)state;
    trace t =
        read_text("{\"chat_id\": 159, \"parent_chat_id\": -1, \"timestamp\": 61.114, \"input_length\": 30, "
                  "\"output_length\": 132, \"type\": \"text\", \"turn\": 1, \"hash_ids\": [1089, 1090]}\n"
                  "{\"chat_id\": 160, \"parent_chat_id\": 159, \"timestamp\": 62.5, \"input_length\": 33, "
                  "\"output_length\": 1, \"type\": \"text\", \"turn\": 2, \"hash_ids\": [1089, 1091, 7]}\n",
                  (trace_options){0});
    assert_int_equal(t.format, TRACE_BAILIAN);
    assert_row(&t, 1, 1.386, 33, 1);
    assert_int_equal(t.prefixes[0].tokens, 16);
    assert_int_equal(t.prefixes[1].tokens, 14);
    assert_int_equal(t.prefixes[4].tokens, 1);
    trace_done(&t);
}

static void times_that_are_quantised_are_spread(void **state) {
    (void)state;
    const char *text = "{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 1}\n"
                       "{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 1}\n"
                       "{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 1}\n"
                       "{\"timestamp\": 3000, \"input_length\": 1, \"output_length\": 1}\n"
                       "{\"timestamp\": 3000, \"input_length\": 1, \"output_length\": 1}\n"
                       "{\"timestamp\": 4000, \"input_length\": 1, \"output_length\": 1}\n"
                       "{\"timestamp\": 4000, \"input_length\": 1, \"output_length\": 1}\n";
    trace t = read_text(text, (trace_options){.spread_s = 3});
    static const double want[] = {0, 1, 2, 3, 3.5, 4, 5.5};
    for (uint32_t i = 0; i < 7; i++) assert_row(&t, i, want[i], 1, 1);
    trace_done(&t);
}

static void sharegpt_lengths_are_estimated_from_the_first_two_turns(void **state) {
    (void)state;
    const char *text =
        "[{\"id\": \"a\", \"conversations\": [{\"from\": \"human\", \"value\": \"12345678\"},\n"
        "{\"from\": \"gpt\", \"value\": \"[{\\\"\\\\\\\\ }]xyz.\"}, {\"from\": \"human\", \"value\": "
        "\"x\"}]},\n"
        "{\"conversations\": [{\"from\": \"human\", \"value\": \"alone\"}]},\n"
        "{\"conversations\": [{\"from\": \"human\", \"value\": \"\u00e4\u00e4\u00e4\u00e4\"},"
        "{\"from\": \"gpt\", \"value\": \"y\"}]}]\n";
    trace t = read_text(text, (trace_options){0});
    assert_int_equal(t.format, TRACE_SHAREGPT);
    assert_false(t.has_times);
    assert_int_equal(t.count, 2);
    assert_int_equal(t.left_out, 1);
    assert_row(&t, 0, 0, 2, 3); /* 8 and 12 characters */
    assert_row(&t, 1, 0, 1, 1);
    trace_done(&t);
    t = read_text(text, (trace_options){.chars_per_token = 2});
    assert_row(&t, 0, 0, 4, 6);
    assert_row(&t, 1, 0, 2, 1);
    trace_done(&t);
}

static void our_own_lines_may_have_times_and_prefixes(void **state) {
    (void)state;
    trace t = read_text(
        "\n{\"at_s\": 1.5, \"prompt_tokens\": 100, \"output_tokens\": 20, \"prefix\": [[7, 64], [8, 10]]}\n"
        "\n{\"at_s\": 2, \"prompt_tokens\": 64, \"output_tokens\": 1, \"prefix\": [[7, 64]]}\n",
        (trace_options){0});
    assert_int_equal(t.format, TRACE_OWN);
    assert_row(&t, 0, 0, 100, 20);
    assert_row(&t, 1, 0.5, 64, 1);
    assert_int_equal(t.rows[0].prefix_count, 2);
    trace_done(&t);
    t = read_text("{\"prompt_tokens\": 1, \"output_tokens\": 2}\n", (trace_options){0});
    assert_false(t.has_times);
    trace_done(&t);
}

static void bad_csv_is_refused_with_its_line(void **state) {
    (void)state;
#define AZURE "TIMESTAMP,ContextTokens,GeneratedTokens\n"
#define GOOD  "2023-11-16 18:17:03.9799600,4808,10\n"
    assert_refused("", ": the file is empty");
    assert_refused("\n\n", ": the file is empty");
    assert_refused(AZURE, ": no request in it (0 without prompt or answer)");
    assert_refused(AZURE "2023-11-16 18:17:03,1,0\n", ": no request in it (1 without");
    assert_refused(AZURE GOOD "2023-11-16 18:17:04,1\n", ":3: 2 columns, where the first line has 3");
    assert_refused(AZURE GOOD "2023-11-16 18:17:04,1,2,3\n", ":3: 4 columns, where the first line has 3");
    assert_refused(AZURE GOOD "2023-11-16 18:17:04,-1,2\n", ":3: -1 prompt tokens: less than none");
    assert_refused(AZURE GOOD "2023-11-16 18:17:04,1,-2\n", ":3: -2 output tokens: less than none");
    assert_refused(AZURE GOOD "2023-11-16 18:17:04,x,2\n", ":3: prompt tokens 'x': want a whole number");
    assert_refused(AZURE GOOD "2023-11-16 18:17:04,1.5,2\n", ":3: prompt tokens '1.5'");
    assert_refused(AZURE GOOD "2023-11-16 18:17:04,1,\n", ":3: output tokens ''");
    assert_refused(AZURE GOOD "2023-11-16 18:17:04, 1,2\n", ":3: prompt tokens ' 1'");
    assert_refused(AZURE GOOD "2023-11-16 18:17:04,99999999999999999999,2\n", ":3: prompt tokens '9999");
    assert_refused(AZURE GOOD "2023-11-16 18:17:04,16777217,2\n", ":3: 16777217 prompt tokens: want at most");
    assert_refused(AZURE GOOD "2023-11-16 18:17:03.9,1,2\n", ":3: the time goes back by 0.07996 seconds");
    assert_refused(AZURE "yesterday,1,2\n", ":2: time 'yesterday': want one like 2023-11-16");
    assert_refused(AZURE "2023-13-16 18:17:03,1,2\n", ":2: time '2023-13-16 18:17:03'");
    assert_refused(AZURE "2023-11-16 18:17:03.,1,2\n", ":2: time ");
    assert_refused(AZURE "2023-11-16 18:17:03+1,1,2\n", ":2: time ");
    assert_refused("TIMESTAMP,ContextTokens\n",
                   ":1: no column 'GeneratedTokens', which a trace of Azure has");
    assert_refused("ContextTokens,GeneratedTokens\n", ":1: no column 'TIMESTAMP'");
    assert_refused("Timestamp,Request tokens\n1,2\n",
                   ":1: no column 'Response tokens', which a trace of BurstGPT");
    assert_refused("Timestamp,Request tokens,Response tokens\n1e400,2,3\n", ":2: time '1e400': want seconds");
    assert_refused("Timestamp,Request tokens,Response tokens\nnan,2,3\n", ":2: time 'nan': want seconds");
    assert_refused("Timestamp,Request tokens,Response tokens\n-1,2,3\n", ":2: time '-1': want seconds");
    assert_refused("a,b,c\n1,2,3\n", ":1: no trace that we know");
    assert_bytes_refused(AZURE GOOD "2023\0", strlen(AZURE GOOD) + 5, ":3: a NUL byte");
    assert_bytes_refused("\xef\xbb\xbe"
                         "abc",
                         6, ":1: begins with a byte that is no text");
    char *line = xmalloc(LINES_BYTES_MAX + 2);
    memset(line, 'x', LINES_BYTES_MAX + 1);
    line[LINES_BYTES_MAX + 1] = 0;
    assert_refused(line, ":1: the line is longer than 1048576 bytes");
    memset(line, ',', 100);
    line[100] = 0;
    assert_refused(line, ":1: 101 columns: want at most 64");
    free(line);
}

static void bad_json_is_refused_with_its_line(void **state) {
    (void)state;
#define MOON "{\"timestamp\": 5, \"input_length\": 600, \"output_length\": 6, \"hash_ids\": [1, 2]}\n"
    assert_refused("{\"a\": 1}\n", ":1: JSON lines of no trace that we know");
    assert_refused("{\"a\": \n", ":1: no JSON: ");
    assert_refused(MOON "[1]\n", ":2: no JSON object");
    assert_refused(MOON "{\"timestamp\": 5, \"input_length\": 6}\n", ":2: no \"output_length\"");
    assert_refused(MOON "{\"timestamp\": 4, \"input_length\": 6, \"output_length\": 1}\n",
                   ":2: the time goes back by 0.001 seconds");
    assert_refused(MOON "{\"timestamp\": -4, \"input_length\": 6, \"output_length\": 1}\n",
                   ":2: \"timestamp\" is -4: want 0 or more");
    assert_refused(MOON "{\"timestamp\": \"6\", \"input_length\": 6, \"output_length\": 1}\n",
                   ":2: \"timestamp\" is no number");
    assert_refused(MOON "{\"timestamp\": 6, \"input_length\": 6.5, \"output_length\": 1}\n",
                   ":2: \"input_length\" is no whole number");
    assert_refused(MOON
                   "{\"timestamp\": 6, \"input_length\": 6, \"output_length\": 1, \"hash_ids\": [1, 2]}\n",
                   ":2: 2 hash ids for a prompt of 6 tokens: want at most 1 of 512 tokens each");
    assert_refused(MOON
                   "{\"timestamp\": 6, \"input_length\": 6, \"output_length\": 1, \"hash_ids\": [\"x\"]}\n",
                   ":2: hash id 0 is no whole number");
    assert_refused("{\"prompt_tokens\": 5, \"output_tokens\": 1, \"seed\": 1}\n", ":1: unknown key \"seed\"");
    assert_refused("{\"prompt_tokens\": 5, \"output_tokens\": 1}\n"
                   "{\"at_s\": 1, \"prompt_tokens\": 5, \"output_tokens\": 1}\n",
                   ":2: a time, unlike the lines before");
    assert_refused("{\"at_s\": 1, \"prompt_tokens\": 5, \"output_tokens\": 1}\n"
                   "{\"prompt_tokens\": 5, \"output_tokens\": 1}\n",
                   ":2: no time, unlike the lines before");
    assert_refused("{\"prompt_tokens\": 5, \"output_tokens\": 1, \"prefix\": [[1, 6]]}\n",
                   ":1: shared blocks of 6 tokens in a prompt of 5");
    assert_refused("{\"prompt_tokens\": 5, \"output_tokens\": 1, \"prefix\": [[1]]}\n",
                   ":1: \"prefix\" element 0 is no pair");
    assert_refused("{\"prompt_tokens\": 5, \"output_tokens\": 1, \"prefix\": [[1, 0]]}\n",
                   ":1: \"prefix\" element 0 has 0 tokens");
    assert_refused("[", ":1: want an array of conversations");
    assert_refused("\n[1]", ":2: want an array of conversations");
    assert_refused("[]", ": no request in it");
    assert_refused("[{\"conversations\": ", ":1: the file ends within a conversation");
    assert_refused("[\n{\"a\": 1}]", ":2: no array \"conversations\"");
    assert_refused("[{\"conversations\": [{}, {}]}]", ":1: one of the first two turns has no text");
    assert_refused("[{\"conversations\": []} {}]", ":1: want a comma or the array's end");
    assert_refused("[{\"conversations\": []}] x", ":1: text after the array's end");
}

static void what_is_no_file_is_refused(void **state) {
    (void)state;
    trace t = {0};
    errbuf eb = {0};
    trace_options opt = {0};
    assert_int_equal(trace_read(&t, "/nowhere/trace.csv", &opt, &eb), ST_INVALID);
    assert_string_equal(eb.text, "/nowhere/trace.csv: No such file or directory");
    assert_int_equal(trace_read(&t, "/tmp", &opt, &eb), ST_INVALID);
    assert_string_equal(eb.text, "/tmp: is a folder, want a file");
    opt.spread_s = -1;
    assert_int_equal(trace_read(&t, "/tmp", &opt, &eb), ST_INVALID);
    assert_string_equal(eb.text, "times spread over -1 seconds: want 0 or more");
    opt = (trace_options){.chars_per_token = -1};
    assert_int_equal(trace_read(&t, "/tmp", &opt, &eb), ST_INVALID);
    assert_string_equal(eb.text, "-1 characters per token: want 0.1 to 1000");
}

static workload *workload_of(const char *text, workload_options opt) {
    char *path = file_of(text, strlen(text));
    opt.kind = WORKLOAD_TRACE;
    opt.path = path;
    workload *w = NULL;
    errbuf eb = {0};
    status st = workload_new(&w, &opt, &eb);
    drop(path);
    if (st != ST_OK) fail_msg("%s", eb.text);
    return w;
}

static uint32_t shared_tokens(const workload *w, uint64_t seed_a, uint32_t a, uint64_t seed_b, uint32_t b) {
    uint32_t na = workload_at(w, seed_a, a).prompt_tokens, nb = workload_at(w, seed_b, b).prompt_tokens,
             n = 0;
    int32_t *ia = xcalloc(na, sizeof *ia), *ib = xcalloc(nb, sizeof *ib);
    workload_prompt(w, seed_a, a, 100, 49000, ia);
    workload_prompt(w, seed_b, b, 100, 49000, ib);
    while (n < na && n < nb && ia[n] == ib[n]) n++;
    free(ia);
    free(ib);
    return n;
}

static const char MOONCAKE_ROWS[] =
    "{\"timestamp\": 0, \"input_length\": 1200, \"output_length\": 6, \"hash_ids\": [1, 2, 3]}\n"
    "{\"timestamp\": 1000, \"input_length\": 1100, \"output_length\": 4, \"hash_ids\": [1, 2, 4]}\n"
    "{\"timestamp\": 3000, \"input_length\": 600, \"output_length\": 4, \"hash_ids\": [1, 5]}\n"
    "{\"timestamp\": 4000, \"input_length\": 600, \"output_length\": 4, \"hash_ids\": [6, 2]}\n";

static void prompts_share_exactly_the_prefixes_of_the_trace(void **state) {
    (void)state;
    workload *w = workload_of(MOONCAKE_ROWS, (workload_options){0});
    assert_int_equal(shared_tokens(w, 0, 0, 0, 1), 1024);
    assert_int_equal(shared_tokens(w, 0, 0, 0, 2), 512);
    assert_int_equal(shared_tokens(w, 0, 0, 0, 3), 0);
    /* Neither another seed's prompts nor those of the next round of the file. */
    assert_int_equal(shared_tokens(w, 0, 0, 0, 4), 0);
    assert_int_equal(shared_tokens(w, 0, 4, 0, 5), 1024);
    for (uint32_t i = 0; i < 4; i++) assert_int_equal(shared_tokens(w, 0, 0, 77, i), 0);
    workload_free(w);
}

static void shared_blocks_are_scaled_like_the_prompts(void **state) {
    (void)state;
    workload *w = workload_of(MOONCAKE_ROWS, (workload_options){.prompt_scale = 0.125, .prompt_max = 140});
    assert_int_equal(workload_at(w, 0, 0).prompt_tokens, 140);
    assert_int_equal(workload_at(w, 0, 2).prompt_tokens, 75);
    assert_int_equal(shared_tokens(w, 0, 0, 0, 1), 128);
    assert_int_equal(shared_tokens(w, 0, 0, 0, 2), 64);
    workload_free(w);
}

static void prompts_without_shared_blocks_differ(void **state) {
    (void)state;
    workload *w = workload_of("{\"prompt_tokens\": 50, \"output_tokens\": 2, \"prefix\": [[9, 20]]}\n"
                              "{\"prompt_tokens\": 50, \"output_tokens\": 3, \"prefix\": [[9, 20]]}\n"
                              "{\"prompt_tokens\": 50, \"output_tokens\": 3}\n",
                              (workload_options){0});
    assert_int_equal(shared_tokens(w, 0, 0, 0, 1), 20);
    assert_int_equal(shared_tokens(w, 0, 1, 0, 2), 0);
    assert_int_equal(shared_tokens(w, 0, 2, 0, 5), 0);
    workload_free(w);
}

static void a_trace_goes_around_with_a_mean_gap_at_its_end(void **state) {
    (void)state;
    workload *w = workload_of(MOONCAKE_ROWS, (workload_options){0});
    assert_int_equal(workload_count(w), 4);
    assert_true(fabs(workload_trace_rate(w) - 0.75) < 1e-12);
    static const double at_s[] = {0, 1, 3, 4, 4 + 4.0 / 3, 5 + 4.0 / 3};
    for (uint32_t i = 0; i < 6; i++) assert_true(fabs(workload_at(w, 0, i).at_s - at_s[i]) < 1e-9);
    assert_int_equal(workload_at(w, 0, 5).prompt_tokens, 1100);
    workload_free(w);
}

static void a_seed_begins_the_trace_with_a_row_of_its_own(void **state) {
    (void)state;
    workload *w = workload_of(MOONCAKE_ROWS, (workload_options){0});
    bool seen[4] = {0};
    for (uint64_t seed = 1; seed < 30; seed++) {
        workload_item it[4];
        for (uint32_t i = 0; i < 4; i++) it[i] = workload_at(w, seed, i);
        assert_true(it[0].at_s == 0);
        uint32_t total = 0;
        for (uint32_t i = 0; i < 4; i++) total += it[i].prompt_tokens;
        assert_int_equal(total, 3500); /* each row once */
        for (uint32_t i = 1; i < 4; i++) assert_true(it[i].at_s > it[i - 1].at_s);
        for (uint32_t b = 0; b < 4; b++)
            seen[b] |= it[0].prompt_tokens == workload_at(w, 0, b).prompt_tokens &&
                       it[1].prompt_tokens == workload_at(w, 0, (b + 1) % 4).prompt_tokens;
    }
    for (uint32_t b = 0; b < 4; b++) assert_true(seen[b]);
    workload_free(w);
}

static void arrivals_of_a_trace_are_scaled_to_the_rate(void **state) {
    (void)state;
    workload *w = workload_of(MOONCAKE_ROWS, (workload_options){0});
    double at_s[5];
    errbuf eb = {0};
    assert_int_equal(arrivals_of_trace(at_s, 5, w, 7.5, 0, &eb), ST_OK);
    static const double want[] = {0, 0.1, 0.3, 0.4, 0.4 + 0.4 / 3};
    for (uint32_t i = 0; i < 5; i++) assert_true(fabs(at_s[i] - want[i]) < 1e-9);
    assert_int_equal(arrivals_of_trace(at_s, 5, w, NAN, 0, &eb), ST_OK);
    assert_true(fabs(at_s[2] - 3) < 1e-9);
    assert_int_equal(arrivals_of_trace(at_s, 5, w, INFINITY, 0, &eb), ST_OK);
    for (uint32_t i = 0; i < 5; i++) assert_true(at_s[i] == 0);
    assert_int_equal(arrivals_of_trace(at_s, 5, w, 0, 0, &eb), ST_INVALID);
    workload_free(w);
    w = workload_of("{\"prompt_tokens\": 1, \"output_tokens\": 2}\n", (workload_options){0});
    assert_int_equal(arrivals_of_trace(at_s, 5, w, 1, 0, &eb), ST_INVALID);
    assert_string_equal(eb.text, "the workload has no times of its own: want a trace, or other arrivals");
    workload_free(w);
}

/* Bytes of good files changed at random: each file is read or refused, and nothing else happens. */
static void changed_files_are_read_or_refused(void **state) {
    (void)state;
    static const char *const good[] = {
        AZURE GOOD GOOD, "Timestamp,Request tokens,Response tokens\n1.5,2,3\n2.5,3,0\n", MOON MOON,
        "{\"at_s\": 1, \"prompt_tokens\": 9, \"output_tokens\": 1, \"prefix\": [[1, 6], [2, 3]]}\n",
        "[{\"conversations\": [{\"value\": \"a \\\"b\"}, {\"value\": \"c\"}]}, {\"conversations\": []}]"};
    static const char bytes[] = "\0\n,\"{}[]\\-:0129.eE+ x\xff\xc3";
    uint32_t ok = 0, refused = 0;
    for (uint32_t i = 0; i < 1500; i++) {
        draw d = draw_begin(1, i, DRAW_PROMPT);
        char text[400];
        size_t len = strlen(good[i % 5]);
        memcpy(text, good[i % 5], len + 1);
        for (uint64_t n = draw_below(&d, 3); n; n--)
            text[draw_below(&d, len)] = bytes[draw_below(&d, sizeof bytes - 1)];
        if (draw_below(&d, 4) == 0) len = draw_below(&d, len + 1);
        char *path = file_of(text, len);
        trace t = {0};
        errbuf eb = {0};
        trace_options opt = {.spread_s = 1};
        status st = trace_read(&t, path, &opt, &eb);
        assert_true(st == ST_OK || (st == ST_INVALID && eb.text[0]));
        ok += st == ST_OK;
        refused += st == ST_INVALID;
        if (st == ST_OK) trace_done(&t);
        drop(path);
    }
    assert_true(ok > 100 && refused > 100);
}

/* NULL and a reason where the published files are not at hand. Caller frees with workload_free. */
static workload *published(const char *name) {
    const char *folder = getenv("BATON_DATA");
    char *path = xasprintf("%s/%s", folder ? folder : "", name);
    workload *w = NULL;
    errbuf eb = {0};
    if (!folder || access(path, R_OK) != 0)
        print_message("skipped: no %s (BATON_DATA names the folder)\n", path);
    else {
        workload_options opt = {.kind = WORKLOAD_TRACE, .path = path};
        if (workload_new(&w, &opt, &eb) != ST_OK) fail_msg("%s", eb.text);
    }
    free(path);
    return w;
}

static void the_azure_code_trace_of_2023_has_its_published_figures(void **state) {
    (void)state;
    workload *w = published("azure_llm_2023_code.csv");
    if (!w) skip();
    assert_int_equal(workload_count(w), 8819);
    assert_true(fabs(workload_trace_rate(w) - 2.566395) < 1e-6);
    double sum = 0, squares = 0, before = 0, prompts = 0;
    for (uint32_t i = 0; i < 8819; i++) {
        workload_item it = workload_at(w, 0, i);
        prompts += it.prompt_tokens;
        sum += it.at_s - before;
        squares += (it.at_s - before) * (it.at_s - before);
        before = it.at_s;
    }
    double mean = sum / 8818, cv = sqrt(squares / 8818 - mean * mean) / mean;
    assert_true(fabs(cv - 13.151) < 0.001);
    assert_true(fabs(prompts / 8819 - 2047.848282) < 1e-6);
    workload_item last = workload_at(w, 0, 8818);
    assert_int_equal(last.prompt_tokens, 549);
    assert_int_equal(last.output_tokens, 173);
    workload_facts facts;
    assert_true(workload_trace_facts(w, &facts));
    assert_string_equal(facts.format, "azure");
    assert_int_equal(facts.left_out, 0);
    workload_free(w);
}

static void the_synthetic_mooncake_trace_has_its_rows(void **state) {
    (void)state;
    workload *w = published("mooncake_synthetic.jsonl");
    if (!w) skip();
    assert_int_equal(workload_count(w), 3993);
    workload_item it = workload_at(w, 0, 0);
    assert_int_equal(it.prompt_tokens, 40160);
    assert_int_equal(it.output_tokens, 6);
    workload_facts facts;
    assert_true(workload_trace_facts(w, &facts));
    assert_string_equal(facts.format, "mooncake");
    assert_true(facts.has_prefixes);
    workload_free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(azure_of_2023_has_seven_decimals_crlf_and_no_last_line_end),
        cmocka_unit_test(azure_of_2024_has_a_zone_and_six_decimals),
        cmocka_unit_test(days_are_counted_over_the_end_of_february),
        cmocka_unit_test(burstgpt_is_read_by_column_names_and_failures_are_left_out),
        cmocka_unit_test(mooncake_has_milliseconds_and_blocks_of_512_tokens),
        cmocka_unit_test(bailian_has_seconds_and_blocks_of_16_tokens),
        cmocka_unit_test(times_that_are_quantised_are_spread),
        cmocka_unit_test(sharegpt_lengths_are_estimated_from_the_first_two_turns),
        cmocka_unit_test(our_own_lines_may_have_times_and_prefixes),
        cmocka_unit_test(bad_csv_is_refused_with_its_line),
        cmocka_unit_test(bad_json_is_refused_with_its_line),
        cmocka_unit_test(what_is_no_file_is_refused),
        cmocka_unit_test(changed_files_are_read_or_refused),
        cmocka_unit_test(prompts_share_exactly_the_prefixes_of_the_trace),
        cmocka_unit_test(shared_blocks_are_scaled_like_the_prompts),
        cmocka_unit_test(prompts_without_shared_blocks_differ),
        cmocka_unit_test(a_trace_goes_around_with_a_mean_gap_at_its_end),
        cmocka_unit_test(a_seed_begins_the_trace_with_a_row_of_its_own),
        cmocka_unit_test(arrivals_of_a_trace_are_scaled_to_the_rate),
        cmocka_unit_test(the_azure_code_trace_of_2023_has_its_published_figures),
        cmocka_unit_test(the_synthetic_mooncake_trace_has_its_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
