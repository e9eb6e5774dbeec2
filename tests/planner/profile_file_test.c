/* Profiles as files: ours there and back, those of others, and everything that is refused. */
#include "tests/test.h"

#include "base/mem.h"
#include "planner/profile/profile_csv.h"
#include "planner/profile/profile_distserve.h"
#include "planner/profile/profile_json.h"
#include "planner/profile/profile_show.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/baton-profile-XXXXXX";

static int into_a_folder(void **state) {
    (void)state;
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int out_of_it(void **state) {
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return chdir("/") == 0 && system(command) == 0 ? 0 : -1;
}

static void write_text(const char *name, const char *text) {
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void assert_refused_for(const char *name, const char *text, const profile_read_options *opt,
                               const char *why) {
    if (text) write_text(name, text);
    profile *p = NULL;
    errbuf eb = {{0}};
    assert_int_equal(profile_read(&p, name, opt, &eb), ST_INVALID);
    assert_string_equal(eb.text, why);
    assert_null(p);
}

static void assert_refused(const char *name, const char *text, const char *why) {
    assert_refused_for(name, text, NULL, why);
}

static profile *must_read(const char *name, const profile_read_options *opt) {
    profile *p = NULL;
    errbuf eb = {{0}};
    if (profile_read(&p, name, opt, &eb) != ST_OK) fail_msg("%s", eb.text);
    return p;
}

#define CURVE "{\"knots\": [{\"x\": 0, \"base_ns\": 5, \"slope_ns\": 1}], \"x_max\": 9, \"y_max\": 99}"
/* An engine with one more key in front. */
#define ENGINE(key)                                                                                          \
    "{\"format\": \"baton-profile/1\", \"engines\": [{" key                                                  \
    "\"roles\": [\"colocated\"], \"prefill\": " CURVE ", \"decode\": " CURVE "}]}"
/* A profile with one more key. */
#define WITH(key)                                                                                            \
    "{\"format\": \"baton-profile/1\", " key                                                                 \
    ", \"engines\": [{\"roles\": [\"prefill\"], \"prefill\": " CURVE "}]}"

/* Every field another value, of which some have no short decimals. */
static profile *full_profile(void) {
    profile *p = xcalloc(1, sizeof *p);
    p->name = xstrdup("n");
    p->model = xstrdup("m");
    p->machine = xstrdup("\"quoted\" \xc3\xa9");
    p->engines = xcalloc(2, sizeof *p->engines);
    p->engine_count = 2;
    latency_model m = {.prefill = {1.0 / 3, 2.0 / 7, 1e-300}, .decode = {3, 0.1, 12345678.9}};
    p->engines[0] = profile_engine_modelled(&m, 2, 4);
    profile_engine *e = &p->engines[1];
    const step_cost_knot knots[] = {{0, 1, 2}, {1.5, 2, -1.0 / 3}, {7, 8, 9}};
    *e = (profile_engine){
        .roles = {[ROLE_DECODE] = true},
        .tp = 1,
        .pp = 1,
        .devices = 3,
        .decode = {.knots = xmemdup(knots, sizeof knots), .count = 3, .x_min = 1, .x_max = 64, .y_max = 1e6},
        .shared = 0.25,
        .gap_ns = 7,
        .prefill_cv = 0.1,
        .decode_cv = 0.2,
        .slowed_by_prefill = 0.3,
        .slowed_by_decode = 0.4,
        .decode_slowed_by_prefill = 0.5,
        .decode_slowed_by_decode = 0.6,
        .kv_pages = 11,
        .max_seqs = 12,
        .prefill_error = {.mean = NAN, .p90 = NAN, .max = NAN},
        .decode_error = {.mean = 0.01, .p90 = 0.02, .max = 0.03, .points = 13},
        .mixed_error = {.mean = NAN, .p90 = NAN, .max = NAN}};
    p->link = (profile_link){true, 1e9, 1e3, 4608, 30, 2e9};
    p->overheads = (profile_overheads){1, 2, 3, 4};
    p->max_context = 4096;
    profile_seal(p);
    return p;
}

static void what_is_written_is_read_again(void **state) {
    (void)state;
    profile *p = full_profile();
    assert_int_equal(profile_write(p, "full.json", NULL), ST_OK);
    profile *q = must_read("full.json", NULL);
    assert_string_equal(q->hash, p->hash);
    json_t *a = profile_json_of(p), *b = profile_json_of(q);
    assert_true(json_equal(a, b));
    json_decref(a);
    json_decref(b);
    assert_int_equal(q->engine_count, 2);
    assert_string_equal(q->machine, "\"quoted\" \xc3\xa9");
    assert_true(isinf(q->engines[0].prefill.x_max));
    assert_true(q->engines[1].decode.knots[1].slope_ns == -1.0 / 3);
    assert_true(isnan(q->engines[1].prefill_error.mean));
    assert_int_equal(q->engines[1].decode_error.points, 13);
    assert_null(q->date);
    profile_free(q);
    profile_free(p);
}

static void the_hash_is_of_the_numbers_not_of_how_they_are_written(void **state) {
    (void)state;
    write_text("a.json", WITH("\"name\": \"x\", \"max_context\": 100"));
    write_text("b.json", "{\"engines\": [{\"prefill\": {\"y_max\": 9.9e1, \"x_max\": 9.0, \"knots\": "
                         "[{\"slope_ns\": 1.0, \"base_ns\": 0.5e1, \"x\": -0.0}]}, \"roles\": [\"prefill\"], "
                         "\"devices\": 1}], \"max_context\": 100, \"link\": null, "
                         "\"format\": \"baton-profile/1\"}");
    write_text("c.json", WITH("\"max_context\": 101"));
    profile *a = must_read("a.json", NULL), *b = must_read("b.json", NULL), *c = must_read("c.json", NULL);
    assert_string_equal(a->hash, b->hash);
    assert_string_not_equal(a->hash, c->hash);
    profile_free(a);
    profile_free(b);
    profile_free(c);
}

static void a_slip_in_a_key_is_named_with_the_key_that_was_meant(void **state) {
    (void)state;
    assert_refused("p.json", WITH("\"max_contxt\": 3"),
                   "p.json: max_contxt: unknown key: did you mean max_context?");
    assert_refused("p.json", WITH("\"overheads\": {\"emit\": 3}"),
                   "p.json: overheads.emit: unknown key: did you mean emit_ns?");
    assert_refused("p.json", ENGINE("\"kv_page\": 3, "),
                   "p.json: engines[0].kv_page: unknown key: did you mean kv_pages?");
    assert_refused("p.json", ENGINE("\"temperature\": 3, "), "p.json: engines[0].temperature: unknown key");
    assert_refused("p.json", ENGINE("\"kv_pages\": 3, \"kv_pages\": 4, "),
                   "p.json:1:68: no JSON: duplicate object key near '\"kv_pages\"'");
}

static void values_out_of_range_are_named(void **state) {
    (void)state;
    assert_refused("p.json", WITH("\"link\": {\"bytes_per_s\": 0}"),
                   "p.json: link.bytes_per_s is 0: want more than 0 (a link that carries nothing moves no "
                   "KV)");
    assert_refused("p.json", WITH("\"link\": {\"bytes_per_s\": 5, \"latency_ns\": -1}"),
                   "p.json: link.latency_ns is -1: want a number from 0 to 3.6e+12");
    assert_refused("p.json", WITH("\"link\": {\"bytes_per_s\": 1e-300, \"kv_token_bytes\": 1}"),
                   "p.json: link.bytes_per_s is 1e-300: a token's KV of 1 bytes (link.kv_token_bytes) would "
                   "take more than an hour");
    assert_refused("p.json", WITH("\"link\": {\"bytes_per_s\": 5, \"kv_token_bytes\": 1e300}"),
                   "p.json: link.bytes_per_s is 5: a token's KV of 1e+300 bytes (link.kv_token_bytes) would "
                   "take more than an hour");
    assert_refused("p.json", WITH("\"overheads\": {\"arrive_ns\": 1e300}"),
                   "p.json: overheads.arrive_ns is 1e+300: want a number from 0 to 3.6e+12");
    assert_refused("p.json", ENGINE("\"gap_ns\": 1e300, "),
                   "p.json: engines[0].gap_ns is 1e+300: want a number from 0 to 3.6e+12");
    assert_refused("p.json", WITH("\"overheads\": {\"emit_ns\": NaN}"),
                   "p.json:1:58: no JSON: invalid token near 'NaN'");
    assert_refused("p.json", WITH("\"overheads\": {\"emit_ns\": 1e999}"),
                   "p.json:1:60: no JSON: real number overflow near '1e999'");
    assert_refused("p.json", WITH("\"overheads\": {\"emit_ns\": \"3\"}"),
                   "p.json: overheads.emit_ns: want a number");
    assert_refused("p.json", WITH("\"max_context\": 1.5"),
                   "p.json: max_context: want a whole number from 0 to 4294967295");
    assert_refused("p.json", WITH("\"max_context\": 99999999999"),
                   "p.json: max_context: want a whole number from 0 to 4294967295");
    assert_refused("p.json", WITH("\"hash\": \"0123456789abcdef\""),
                   "p.json: hash: the numbers give 1bbcfdfaccf57dfc: leave the key out, if they were changed "
                   "on purpose");
    assert_refused("p.json", ENGINE("\"shared\": 1.5, "),
                   "p.json: engines[0].shared is 1.5: want a number from 0 to 1");
    assert_refused("p.json", ENGINE("\"gap_ns\": -3, "),
                   "p.json: engines[0].gap_ns is -3: want a number from 0 to 3.6e+12");
    assert_refused("p.json", ENGINE("\"tp\": 0, "), "p.json: engines[0].tp is 0: want 1 or more");
    assert_refused("p.json", ENGINE("\"decode_error\": {\"mean\": -1}, "),
                   "p.json: engines[0].decode_error.mean is -1: want a finite number, 0 or more");
}

#define KNOTS(knots, more)                                                                                   \
    "{\"format\": \"baton-profile/1\", \"engines\": [{\"roles\": [\"decode\"], \"decode\": {\"knots\": "     \
    "[" knots "]" more "}}]}"

static void curves_that_are_none_are_refused(void **state) {
    (void)state;
    assert_refused("p.json", KNOTS("{\"x\": 1}, {\"x\": 1}", ", \"x_max\": 1, \"y_max\": 1"),
                   "p.json: engines[0].decode.knots[1].x is 1: want more than the 1 of the knot before");
    assert_refused("p.json", KNOTS("{\"x\": -1}", ", \"x_max\": 1, \"y_max\": 1"),
                   "p.json: engines[0].decode.knots[0].x is -1: want a finite number, 0 or more");
    assert_refused("p.json", KNOTS("{\"base_ns\": -1}", ", \"x_max\": 1, \"y_max\": 1"),
                   "p.json: engines[0].decode.knots[0].base_ns is -1: want a finite number, 0 or more");
    assert_refused("p.json", KNOTS("{\"bose_ns\": 1}", ", \"x_max\": 1, \"y_max\": 1"),
                   "p.json: engines[0].decode.knots[0].bose_ns: unknown key: did you mean base_ns?");
    assert_refused("p.json", KNOTS("{}", ", \"x_max\": 1"),
                   "p.json: engines[0].decode.y_max: is missing: want a number, or null for no bound");
    assert_refused("p.json", KNOTS("{}", ", \"x_min\": 2, \"x_max\": 1, \"y_max\": 1"),
                   "p.json: engines[0].decode.x_max is 1: want at least x_min, which is 2");
    assert_refused("p.json", KNOTS("{}, {\"x\": 1}", ", \"rise_ns\": 2, \"x_max\": 1, \"y_max\": 1"),
                   "p.json: engines[0].decode.rise_ns is 2: want 0 with more than one knot");
    assert_refused("p.json", KNOTS("", ", \"x_max\": 1, \"y_max\": 1"),
                   "p.json: engines[0].decode.knots: want an array of 1 to 64 knots");
    assert_refused("p.json", "{\"format\": \"baton-profile/1\", \"engines\": [{\"roles\": [\"decode\"]}]}",
                   "p.json: engines[0].decode: no knots, but the roles need them");
    assert_refused("p.json", "{\"format\": \"baton-profile/1\", \"engines\": [{\"roles\": [\"decod\"]}]}",
                   "p.json: engines[0].roles: want prefill, decode or colocated");
    assert_refused("p.json", "{\"format\": \"baton-profile/1\", \"engines\": []}",
                   "p.json: engines: want an array of 1 to 256 engines");
    assert_refused("p.json", "{\"format\": \"baton-profile/2\"}", "p.json: format: want \"baton-profile/1\"");
}

static void an_engine_stands_once(void **state) {
    (void)state;
    profile *p = full_profile();
    p->engines[1].tp = 2;
    p->engines[1].pp = 4;
    errbuf eb = {{0}};
    assert_int_equal(profile_check(p, &eb), ST_INVALID);
    assert_string_equal(eb.text,
                        "engines[1]: decode with tp 2 and pp 4 stands in engines[0] already: delete one");
    profile_free(p);
}

static void a_file_that_ends_early_or_is_none_is_refused(void **state) {
    (void)state;
    profile *p = full_profile();
    assert_int_equal(profile_write(p, "whole.json", NULL), ST_OK);
    profile_free(p);
    assert_int_equal(truncate("whole.json", 700), 0);
    profile *q = NULL;
    errbuf eb = {{0}};
    assert_int_equal(profile_read(&q, "whole.json", NULL, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "no JSON: "));
    assert_refused("empty", "", "empty: the file is empty");
    assert_refused("blank", "\n\n", "blank: the file is empty");
    assert_refused("none", NULL, "none: no such file, and no preset (a100-opt-13b, h200-8b, instant)");
    assert_refused("other.json", "{\"a\": 1}",
                   "other.json: JSON of no profile that we know: want \"format\": \"baton-profile/1\", "
                   "DistServe's, or a latency model's prefill and decode");
    assert_refused("words", "a text\n", "words:1:1: latency model: want the keys prefill and decode here");
    assert_refused(".", NULL, ".: is a folder, want a file");
}

static void a_latency_model_is_a_profile(void **state) {
    (void)state;
    write_text("m.yaml", "prefill: {alpha_ms: 1, beta_ms: 0.1, gamma_ms: 0}\n"
                         "decode: {alpha_ms: 2, beta_ms: 0, gamma_ms: 0.001}\n");
    write_text("m.json", "{\"prefill\": {\"alpha_ms\": 1, \"beta_ms\": 0.1, \"gamma_ms\": 0},\n"
                         " \"decode\": {\"alpha_ms\": 2, \"beta_ms\": 0, \"gamma_ms\": 0.001}}\n");
    profile *p = must_read("m.yaml", NULL), *q = must_read("m.json", NULL);
    latency_step s = {0};
    latency_add_chunk(&s, 0, 10);
    latency_add_decode(&s, 1000);
    assert_true(profile_step_ns(&p->engines[0], &s, NULL) == 2e6 + 1e6 + 1e6);
    assert_string_equal(p->hash, q->hash);
    profile_free(p);
    profile_free(q);
}

static const char *const OWN = "phase,tp,pp,x,y,ms\nprefill,1,1,100,10000,2\nprefill,1,1,200,40000,3\n"
                               "prefill,1,1,300,90000,4\ndecode,1,1,1,100,5\ndecode,1,1,2,200,6\n"
                               "decode,1,1,4,400,8\n";

static void csv_of_points_is_fitted(void **state) {
    (void)state;
    write_text("own.csv", OWN);
    profile *p = must_read("own.csv", NULL);
    assert_int_equal(p->engine_count, 1);
    const profile_engine *e = profile_find(p, ROLE_COLOCATED, 1, 1);
    assert_non_null(e);
    assert_true(fabs(step_cost_ns(&e->prefill, 250, 62500) - 3.5e6) < 1);
    assert_true(fabs(step_cost_ns(&e->decode, 3, 300) - 7e6) < 1);
    assert_true(e->prefill.x_min == 100 && e->prefill.x_max == 300 && e->prefill.y_max == 90000);
    assert_true(e->prefill_cv == 0);
    profile_free(p);
    /* The same once more, one row off by a tenth up and down: the mean stays, the spread shows. */
    char *twice = xasprintf("%sprefill,1,1,200,40000,3.3\nprefill,1,1,200,40000,2.7\n", OWN);
    write_text("own.csv", twice);
    free(twice);
    p = must_read("own.csv", NULL);
    e = profile_find(p, ROLE_PREFILL, 1, 1);
    assert_true(fabs(step_cost_ns(&e->prefill, 200, 40000) - 3e6) < 1);
    assert_true(fabs(e->prefill_cv - 0.1) < 1e-9);
    profile_free(p);
}

static void mixed_rows_say_what_is_shared(void **state) {
    (void)state;
    /* Intercepts 1 and 4 ms: alone 3 + 6 ms, together 8.5, so half of the smaller one is shared. */
    char *text = xasprintf("%s", "phase,tp,pp,x,y,x2,y2,ms\nprefill,1,1,100,0,,,2\nprefill,1,1,200,0,,,3\n"
                                 "prefill,1,1,300,0,,,4\ndecode,1,1,1,0,,,5\ndecode,1,1,2,0,,,6\n"
                                 "decode,1,1,4,0,,,8\nmixed,1,1,200,0,2,0,8.5\n");
    write_text("mixed.csv", text);
    free(text);
    profile *p = must_read("mixed.csv", NULL);
    assert_true(fabs(p->engines[0].shared - 0.5) < 1e-9);
    assert_true(isnan(p->engines[0].mixed_error.mean)); /* one row would be judged by itself */
    profile_free(p);
    assert_refused("mixed.csv", "phase,tp,pp,x,y,x2,y2,ms\nmixed,1,1,200,0,2,0,8.5\n",
                   "mixed.csv: tp 1, pp 1: mixed points, but none of prefill or decode alone: add those");
}

static void csv_that_is_wrong_is_refused_with_its_line(void **state) {
    (void)state;
    assert_refused("c.csv", "phase,tp,pp,x,ms\n", "c.csv:1: no column 'y', which a profile as CSV has");
    assert_refused("c.csv", "phase,tp,pp,x,y,y,ms\n", "c.csv:1: column 'y' stands twice");
    assert_refused("c.csv", "phase,tp,pp,x,y,x2,ms\n",
                   "c.csv:1: no column 'y2', where the other of x2 and y2 is");
    assert_refused("c.csv", "phase,tp,pp,x,y,ms\n", "c.csv: no row below the names");
    assert_refused("c.csv", "phase,tp,pp,x,y,ms\nprefill,1,1,3\n",
                   "c.csv:2: 4 columns, where the first line has 6");
    assert_refused("c.csv", "phase,tp,pp,x,y,ms\nprefil,1,1,3,3,3\n",
                   "c.csv:2: phase 'prefil': want prefill, decode or mixed");
    assert_refused("c.csv", "phase,tp,pp,x,y,ms\nprefill,0,1,3,3,3\n",
                   "c.csv:2: tp '0': want a whole number from 1 to 1024");
    assert_refused("c.csv", "phase,tp,pp,x,y,ms\nprefill,1,1,nan,3,3\n",
                   "c.csv:2: x 'nan': want a number of 0 or more");
    assert_refused("c.csv", "phase,tp,pp,x,y,ms\nprefill,1,1,3,-3,3\n",
                   "c.csv:2: y '-3': want a number of 0 or more");
    assert_refused("c.csv", "phase,tp,pp,x,y,ms\nprefill,1,1,3,3,0\n",
                   "c.csv:2: ms '0': want more than 0 milliseconds");
    assert_refused("c.csv", "phase,tp,pp,x,y,ms\nprefill,1,1,3,3,1e999\n",
                   "c.csv:2: ms '1e999': want a number of 0 or more");
    assert_refused("c.csv", "phase,tp,pp,x,y,ms\nprefill,1,1,3,3,3\nprefill,1,1,3,3,3\n",
                   "c.csv: tp 1, pp 1: prefill: 1 distinct points: want 3 to 1024");
    assert_refused(
        "c.csv", "a,b\n1,2\n",
        "c.csv:1: CSV of no profile that we know: want columns phase,tp,pp,x,y,ms, or those of "
        "Splitwise's perf_model.csv (prompt_size, batch_size, token_size, prompt_time, token_time, "
        "tensor_parallel)");
}

#define SPLITWISE "model,hardware,prompt_size,batch_size,token_size,prompt_time,token_time,tensor_parallel\n"

static void splitwise_columns_are_found_by_name(void **state) {
    (void)state;
    static const char *const rows =
        SPLITWISE "m,a,100,1,10,20,5,2\nm,a,200,1,10,30,5,2\nm,a,300,1,10,40,5,2\n"
                  "m,a,100,2,10,30,6,2\nm,a,100,4,10,50,8,2\n"
                  "m,b,100,4,10,50,8,2\nn,c,100,4,10,50,8,2\n";
    const profile_read_options machine = {.hardware = "a"}, model = {.model = "m"},
                               both = {.model = "m", .hardware = "a"}, wrong = {.model = "o"};
    assert_refused_for("s.csv", rows, &machine,
                       "s.csv: several: choose one with --model, or --profile-model beside --profile: m, n");
    assert_refused_for(
        "s.csv", rows, &model,
        "s.csv: several: choose one with --hardware, or --profile-hardware beside --profile: a, b");
    assert_refused_for("s.csv", rows, &wrong, "s.csv: no model \"o\": there are m, n");
    profile *p = must_read("s.csv", &both);
    assert_int_equal(p->engine_count, 1);
    const profile_engine *e = profile_find(p, ROLE_PREFILL, 2, 1);
    assert_true(fabs(step_cost_ns(&e->prefill, 200, 20000) - 30e6) < 1e3);
    assert_true(e->prefill.x_max == 400 && e->prefill.y_max == 90000);
    assert_true(fabs(step_cost_ns(&e->decode, 3, 315) - 7e6) < 1e3);
    assert_true(e->decode.x_max == 4 && e->decode.y_max == 4 * 105);
    assert_string_equal(p->machine, "a");
    profile_free(p);
    assert_refused("s.csv", "prompt_size,batch_size,token_size,prompt_time,token_time\n",
                   "s.csv:1: no column 'tensor_parallel', which Splitwise's perf_model.csv has");
    assert_refused("s.csv", SPLITWISE "m,a,100,1,10,20,-5,2\n",
                   "s.csv:2: token_time '-5': want a number of 0 or more");
}

static void a_profile_whose_error_is_above_the_limit_is_refused(void **state) {
    (void)state;
    write_text("own.csv", OWN);
    profile_read_options opt = {.error_limit = 0.01};
    profile_free(must_read("own.csv", &opt));
    char *text = xasprintf("%sdecode,1,1,3,300,12\n", OWN);
    write_text("own.csv", text);
    free(text);
    profile *p = NULL;
    errbuf eb = {{0}};
    assert_int_equal(profile_read(&p, "own.csv", &opt, &eb), ST_CORRUPT);
    const char *want = "own.csv: tp 1, pp 1: decode steps are ";
    assert_memory_equal(eb.text, want, strlen(want));
    assert_int_equal(profile_exit_code(ST_CORRUPT), 4);
}

#define DISTSERVE(tp, prefill)                                                                               \
    "{\"m\": {\"" tp "\": {\"decoding_large_small_bs_threshold\": 3, \"prefill\": " prefill                  \
    ", \"decoding_smallbs\": [10, 0.5, 2], \"decoding_largebs\": [20, 0.25, 1]}}}"

static void a_profile_of_distserve_is_read_as_it_is(void **state) {
    (void)state;
    write_text("d.json", DISTSERVE("2", "[8, 0.5, 0.25]"));
    profile *p = must_read("d.json", NULL);
    assert_int_equal(p->engine_count, 5);
    const profile_engine *one = profile_find(p, ROLE_PREFILL, 2, 1),
                         *four = profile_find(p, ROLE_DECODE, 2, 4);
    assert_int_equal(four->devices, 8);
    assert_true(step_cost_ns(&one->prefill, 4, 16) == (8 + 2 + 4 + 1) * 1e6);
    assert_true(step_cost_ns(&four->prefill, 4, 16) == (14.0 / 4 + 4) * 1e6);
    assert_true(step_cost_ns(&one->decode, 2, 8) == (10 + 4 + 4) * 1e6);
    assert_true(step_cost_ns(&one->decode, 3, 8) == (20 + 2 + 3) * 1e6);
    assert_true(step_cost_ns(&one->decode, 300, 8) == (20 + 2 + 300) * 1e6);
    assert_true(step_cost_ns(&four->decode, 3, 8) == 25e6 / 4);
    profile_free(p);
    /* A longer prompt would cost less beyond b / (2 |c|) = 10 tokens. */
    write_text("d.json", DISTSERVE("1", "[8, 0.5, -0.025]"));
    p = must_read("d.json", NULL);
    assert_true(fabs(p->engines[0].prefill.y_max - 100) < 1e-9);
    profile_free(p);
    assert_refused("d.json", DISTSERVE("2", "[8, 0.5]"), "d.json: \"m\".\"2\".prefill: want three numbers");
    assert_refused("d.json", DISTSERVE("0", "[8, 0.5, 1]"),
                   "d.json: \"m\".\"0\": want a tensor parallelism from 1 to 1024");
    assert_refused("d.json", "{\"m\": {\"1\": {\"decoding_smallbs\": 1}}}",
                   "d.json: \"m\".\"1\".decoding_large_small_bs_threshold: want a batch size from 1 to "
                   "1000000");
    const profile_read_options wrong = {.model = "o"}, second = {.model = "n"};
    assert_refused_for("d.json", "{\"n\": 3, \"m\": {\"1\": {\"decoding_smallbs\": 1}}}", &second,
                       "d.json: \"n\": want an object, with a tensor parallelism as each key");
    assert_refused_for("d.json", DISTSERVE("2", "[8, 0.5, 1]"), &wrong,
                       "d.json: no model \"o\": there are m");
}

static void a_profile_of_others_is_made_ours(void **state) {
    (void)state;
    write_text("own.csv", OWN);
    profile *p = must_read("own.csv", NULL);
    assert_int_equal(profile_write(p, "ours.json", NULL), ST_OK);
    profile *q = must_read("ours.json", NULL);
    assert_string_equal(p->hash, q->hash);
    assert_string_equal(q->name, "own.csv");
    profile_free(q);
    errbuf eb = {{0}};
    assert_int_equal(profile_write(p, "no/such/folder/ours.json", &eb), ST_IO);
    profile_free(p);
    assert_int_equal(profile_exit_code(ST_OK), 0);
    assert_int_equal(profile_exit_code(ST_IO), 1);
    assert_int_equal(profile_exit_code(ST_INVALID), 2);
}

static void what_a_profile_says_is_shown(void **state) {
    (void)state;
    profile *p = full_profile();
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    profile_show(out, p);
    assert_int_equal(fclose(out), 0);
    static const char *const wanted[] = {
        "profile n, hash ",
        "prefill decode colocated tp 2, pp 4, 8 devices: KV pages unknown\n",
        "  prefill  tokens 0 to no bound, squares up to no bound; error unknown; cv 0.000\n",
        "decode tp 1, pp 1, 3 devices: 11 KV pages, 12 sequences\n  prefill  no profile\n",
        "  decode   sequences 1 to 64, context up to 1000000; error mean 1.0 %, P90 2.0 %, most 3.0 % (13 "
        "points left out one by one); cv 0.200\n",
        "link 1000 MB/s, latency 1 us, KV 4608 bytes per token in 30 layers, all together 2000 MB/s\n",
        "context at most 4096 tokens\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        if (!strstr(text, wanted[i])) fail_msg("no \"%s\" in\n%s", wanted[i], text);
    free(text);
    profile_free(p);
}

/* --- with published data, where it is --- */

static char *data_file(const char *name) {
    const char *dir = getenv("BATON_DATA");
    char *path = xasprintf("%s/%s", dir ? dir : "", name);
    if (dir && access(path, R_OK) == 0) return path;
    print_message("skipped: no %s in the folder BATON_DATA\n", name);
    free(path);
    skip();
    return NULL;
}

static void distserve_gives_its_own_numbers(void **state) {
    (void)state;
    char *path = data_file("distserve_profiler-a100-80g.distserve.json");
    profile_distserve d = {0};
    assert_int_equal(profile_distserve_read(&d, path, NULL), ST_OK);
    const distserve_engine *e = profile_distserve_find(&d, "facebook/opt-13b", 1);
    assert_non_null(e);
    assert_null(profile_distserve_find(&d, "facebook/opt-13b", 3));
    assert_true(profile_distserve_prefill_ms(e, 0, 512, 512 * 512) == 72.1486810534344);
    assert_true(profile_distserve_prefill_ms(e, 2, 512, 512 * 512) == 38.0743405267172);
    assert_true(profile_distserve_decode_ms(e, 0, 94, 5000) == 26.689036763449444);
    assert_true(profile_distserve_decode_ms(e, 4, 94, 5000) == 6.672259190862361);
    assert_true(profile_distserve_decode_ms(e, 1, 95, 5000) == 25.10473053069923);
    profile *p = must_read(path, &(profile_read_options){.model = "facebook/opt-13b"});
    assert_int_equal(p->engine_count, 3 * 5);
    const profile_engine *one = profile_find(p, ROLE_PREFILL, 1, 1);
    assert_true(fabs(step_cost_ns(&one->prefill, 512, 512 * 512) - 73148681.0534344) < 1e-6);
    assert_true(fabs(step_cost_ns(&one->decode, 94, 5000) - 26689036.763449444) < 1e-6);
    assert_true(fabs(step_cost_ns(&one->decode, 95, 5000) - 25104730.53069923) < 1e-6);
    profile_free(p);
    profile_distserve_done(&d);
    free(path);
}

static void splitwise_gives_engines_with_their_errors(void **state) {
    (void)state;
    char *path = data_file("splitwise_perf_model.csv");
    profile *p = must_read(path, &(profile_read_options){.model = "llama2-70b", .hardware = "h100-80gb"});
    assert_int_equal(p->engine_count, 3);
    const profile_engine *e = profile_find(p, ROLE_COLOCATED, 8, 1);
    assert_non_null(e);
    assert_int_equal(e->prefill_error.points, 11); /* of 13: the shortest and the longest have none beyond */
    assert_int_equal(e->decode_error.points, 18);
    assert_true(e->prefill.x_min == 128 && e->prefill.x_max == 64 * 512);
    assert_true(e->decode.x_min == 1 && e->decode.x_max == 64);
    assert_true(e->prefill_cv > 0.01 && e->prefill_cv < 0.1);
    profile_free(p);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(the_hash_is_of_the_numbers_not_of_how_they_are_written),
        cmocka_unit_test(a_slip_in_a_key_is_named_with_the_key_that_was_meant),
        cmocka_unit_test(values_out_of_range_are_named),
        cmocka_unit_test(curves_that_are_none_are_refused),
        cmocka_unit_test(an_engine_stands_once),
        cmocka_unit_test(a_file_that_ends_early_or_is_none_is_refused),
        cmocka_unit_test(a_latency_model_is_a_profile),
        cmocka_unit_test(csv_of_points_is_fitted),
        cmocka_unit_test(mixed_rows_say_what_is_shared),
        cmocka_unit_test(csv_that_is_wrong_is_refused_with_its_line),
        cmocka_unit_test(splitwise_columns_are_found_by_name),
        cmocka_unit_test(a_profile_whose_error_is_above_the_limit_is_refused),
        cmocka_unit_test(a_profile_of_distserve_is_read_as_it_is),
        cmocka_unit_test(a_profile_of_others_is_made_ours),
        cmocka_unit_test(what_a_profile_says_is_shown),
        cmocka_unit_test(distserve_gives_its_own_numbers),
        cmocka_unit_test(splitwise_gives_engines_with_their_errors),
    };
    return cmocka_run_group_tests(tests, into_a_folder, out_of_it);
}
