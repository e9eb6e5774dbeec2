/* Experiment files, what is wrong with them, and the cells that they make. */
#include "tests/test.h"

#include "base/mem.h"
#include "bench/experiment/cell_state.h"
#include "bench/experiment/cluster_config.h"
#include "bench/experiment/exp_dir.h"
#include "bench/experiment/files.h"
#include "bench/experiment/machine.h"
#include "bench/experiment/plan.h"
#include "bench/experiment/runner.h"
#include "bench/experiment/spec_file.h"
#include "bench/experiment/spec_keys.h"
#include "bench/experiment/spec_quick.h"
#include "bench/experiment/tune.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BASE CONFIG_DIR "/local.yaml"

static char folder[] = "/tmp/baton-experiment-XXXXXX";
static char path[128];

static const char plain[] = "name: small\n"
                            "base: " BASE "\n"
                            "set: [model.path=random:tiny]\n"
                            "placements:\n"
                            "  - {name: split, prefill: {count: 1}, decode: {count: 1}}\n"
                            "  - {name: colo, baseline: true, colocated: {count: 2}}\n"
                            "workloads:\n"
                            "  - {name: w, input_len: 32, output_len: 8, rates: [2, 4]}\n"
                            "slos:\n"
                            "  - {name: loose, ttft: 1000, tpot: 200}\n"
                            "  - {name: tight, ttft: 100}\n"
                            "seeds: [1, 2]\n"
                            "aa: colo\n";

static int make_folder(void **state) {
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/e.yaml", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    return files_remove_dir(folder, NULL) == ST_OK ? 0 : 1;
}

/* plain with `what` (which stands there once) replaced. NULL: as it is. Caller frees. */
static char *with(const char *what, const char *by) {
    const char *at = what ? strstr(plain, what) : NULL;
    if (!what) return xstrdup(plain);
    assert_non_null(at);
    return xasprintf("%.*s%s%s", (int)(at - plain), plain, by, at + strlen(what));
}

static status load(spec **out, char *text, errbuf *eb) {
    assert_int_equal(files_write(path, text, strlen(text), NULL), ST_OK);
    free(text);
    return spec_load(out, path, eb);
}

static void assert_refused(char *text, const char *place, const char *words) {
    spec *s = NULL;
    errbuf eb = {0};
    assert_int_equal(load(&s, text, &eb), ST_INVALID);
    char begin[160];
    snprintf(begin, sizeof begin, "%s:%s", path, place);
    if (strncmp(eb.text, begin, strlen(begin)) != 0)
        fail_msg("'%s' does not begin with '%s'", eb.text, begin);
    if (!strstr(eb.text, words)) fail_msg("'%s' does not have '%s'", eb.text, words);
}

static void every_key_of_a_file_is_read(void **state) {
    (void)state;
    spec *s = NULL;
    assert_int_equal(load(&s, with(NULL, NULL), NULL), ST_OK);
    assert_string_equal(s->name, "small");
    assert_string_equal(s->base, BASE);
    assert_string_equal(s->backend, "baton");
    assert_string_equal(s->order, "interleaved");
    assert_int_equal(s->placement_count, 2);
    assert_int_equal(s->placements[0].prefill.count, 1);
    assert_int_equal(s->placements[0].colocated.count, 0);
    assert_false(s->placements[0].baseline);
    assert_true(s->placements[1].baseline);
    assert_string_equal(s->workloads[0].input_len, "32");
    assert_int_equal(s->workloads[0].rates.count, 2);
    assert_true(s->workloads[0].rates.items[1] == 4);
    assert_true(s->slos[1].ttft == 100 && s->slos[1].tpot == 0);
    assert_true(s->target == 90 && s->window_s == 30);
    assert_int_equal(s->seeds.count, 2);
    assert_string_equal(s->tune.by, "median");
    assert_false(s->quick.given);
    spec_free(s);
}

static void what_cannot_be_read_is_told_with_its_place_and_path(void **state) {
    (void)state;
    assert_refused(with("decode: {count", "decod: {count"), "5:40: placements[1].decod:", "unknown key");
    assert_refused(with("decode: {count: 1}", "decode: {cuont: 1}"),
                   "5:49: placements[1].decode.cuont:", "known here: count, cores, tp, pp");
    assert_refused(with("input_len: 32", "input_len: 32x"), "8:26: workloads[1].input_len:", "no number");
    assert_refused(with("rates: [2, 4]", "rates: [2, -4]"), "8:56: workloads[1].rates[2]:", "out of range");
    assert_refused(with("rates: [2, 4]", "rates: 2"), "8:52: workloads[1].rates:", "want a list");
    assert_refused(with("seeds: [1, 2]", "seeds: [1.5]"), "12:9: seeds[1]:", "no whole number");
    assert_refused(with("baseline: true", "baseline: yes"), "6:28: placements[2].baseline:", "truth value");
    assert_refused(with("aa: colo", "order: random"), "13:8: order:", "interleaved|by_placement");
    assert_refused(with("name: small\n", ""), "1:1: name:", "is missing");
    assert_refused(with("name: small", "name: [small"), "", "");
    assert_refused(xstrdup(""), "1:1: name:", "is missing");
    spec *s = NULL;
    errbuf eb = {0};
    assert_int_equal(spec_load(&s, "/nowhere.yaml", &eb), ST_IO);
    assert_non_null(strstr(eb.text, "/nowhere.yaml"));
}

/* ---- what is wrong ---- */

static void assert_problem(char *text, uint32_t cores, const char *words) {
    spec *s = NULL;
    errbuf eb = {0};
    if (load(&s, text, &eb) != ST_OK) fail_msg("%s", eb.text);
    spec_facts facts[8];
    spec_texts problems = {0};
    spec_check(s, false, (spec_machine){.cores = cores}, facts, &problems);
    bool found = !words && !problems.count;
    for (uint32_t i = 0; i < problems.count; i++)
        found = found || (words && strstr(problems.items[i], words));
    if (!found)
        fail_msg("of %u problems (%s) none has '%s'", problems.count, problems.count ? problems.items[0] : "",
                 words ? words : "nothing");
    spec_texts_done(&problems);
    spec_free(s);
}

static void impossible_placements_are_refused_by_name(void **state) {
    (void)state;
    assert_problem(with(NULL, NULL), 2, NULL);
    assert_problem(with(NULL, NULL), 1, "placement split: ");
    assert_problem(with(NULL, NULL), 1, "placement colo: ");
    assert_problem(with("decode: {count: 1}", "decode: {count: 0}"), 2, "placement split: ");
    assert_problem(with("colocated: {count: 2}", "colocated: {count: 2, tp: 3}"), 8,
                   "placement colo: colocated.tp 3 does not divide the model's ");
    assert_problem(with("colocated: {count: 2}", "colocated: {count: 2, tp: 2}"), 8,
                   "tensor parallelism is not built yet");
    assert_problem(with("colocated: {count: 2}", "colocated: {count: 2, pp: 2}"), 8,
                   "pipeline parallelism is not built yet");
    assert_problem(with("colocated: {count: 2}", "colocated: {count: 2}, set: [colocated.chunk=64]"), 2,
                   "placement colo: --set: unknown key \"colocated.chunk\"");
    assert_problem(
        with("colocated: {count: 2}",
             "colocated: {count: 2}, tune: [{name: a}, {name: b, set: [colocated.chunk_tokens=17]}]"),
        2, "placement colo, variant b: ");
    assert_problem(with("model.path=random:tiny", "model.path=random:tiny, model.backend=cuda"), 8,
                   "asks for 2 GPUs on this machine, which has 0");
}

static void what_the_lists_say_together_is_checked(void **state) {
    (void)state;
    assert_problem(with("name: colo", "name: split"), 2, "placement \"split\" stands twice");
    assert_problem(with("name: split", "name: sp@lit"), 2, "placement \"sp@lit\": want a name");
    assert_problem(with("input_len: 32, ", ""), 2, "workload w: give input_len and output_len");
    assert_problem(with("rates: [2, 4]", "rates: [4, 2]"), 2, "workload w: rates must ascend");
    assert_problem(with(", rates: [2, 4]", ""), 2, "workload w: give rates or rates_per_device");
    assert_problem(with("seeds: [1, 2]", "seeds: [2, 2]"), 2, "seeds: 2 stands twice");
    assert_problem(with("seeds: [1, 2]\n", ""), 2, "seeds is empty");
    assert_problem(with("ttft: 100}", "e2e: 0.5}"), 2, NULL);
    assert_problem(with(", ttft: 100}", "}"), 2, "SLO tight has no limit");
    assert_problem(with("aa: colo", "aa: cola"), 2, "aa: there is no placement \"cola\"");
    assert_problem(with("aa: colo", "tune: {by: best}"), 2, "tune.by: \"best\"");
    assert_problem(with("input_len: 32", "workload: /nowhere/trace.csv"), 2,
                   "cannot read /nowhere/trace.csv");
}

/* ---- cells ---- */

static void plan_of(char *text, spec **s, plan *p, bool quick) {
    spec_facts facts[8];
    spec_texts problems = {0};
    errbuf eb = {0};
    if (load(s, text, &eb) != ST_OK) fail_msg("%s", eb.text);
    if (quick) assert_int_equal(spec_make_quick(*s, NULL), ST_OK);
    spec_check(*s, quick, (spec_machine){.cores = 8}, facts, &problems);
    assert_int_equal(problems.count, 0);
    plan_make(p, *s, facts, quick);
}

static void assert_cells(const plan *p, const char *names) {
    buf all = {0};
    for (uint32_t i = 0; i < p->count; i++) buf_addf(&all, "%s%s", i ? " " : "", p->cells[i].name);
    assert_string_equal(all.data, names);
    buf_done(&all);
}

static void cells_of_a_rate_stand_together_and_each_rate_begins_with_another(void **state) {
    (void)state;
    spec *s;
    plan p;
    plan_of(with(NULL, NULL), &s, &p, false);
    assert_cells(&p, "split@w@2 colo@w@2 colo-again@w@2 colo@w@4 colo-again@w@4 split@w@4");
    assert_true(p.cells[2].again);
    assert_int_equal(p.cells[2].placement, 1);
    assert_int_equal(p.cells[2].devices, 2);
    plan_done(&p);
    spec_free(s);
    plan_of(with("aa: colo", "order: by_placement"), &s, &p, false);
    assert_cells(&p, "split@w@2 split@w@4 colo@w@2 colo@w@4");
    plan_done(&p);
    spec_free(s);
}

static void rates_per_device_grow_with_the_placement(void **state) {
    (void)state;
    spec *s;
    plan p;
    plan_of(with("rates: [2, 4]}", "rates_per_device: [1.5]}\n  - {name: x, workload: code, rates: [9]}"), &s,
            &p, false);
    assert_cells(&p, "split@w@3 colo@w@3 colo-again@w@3 split@x@9 colo@x@9 colo-again@x@9");
    plan_done(&p);
    spec_free(s);
}

static char *tuned(void) {
    return with("colocated: {count: 2}}", "colocated: {count: 2}, tune: [{name: a}, {name: b, set: "
                                          "[colocated.chunk_tokens=64]}]}\n"
                                          "tune: {seeds: [101], warmup_s: 1, window_s: 2}\n"
                                          "quick:\n"
                                          "  placements: [colo]\n"
                                          "  workloads: [{name: w, rates: [3]}]\n"
                                          "  set: [limits.max_queue=7]\n"
                                          "  seeds: [5]\n"
                                          "  window_s: 4");
}

static void variants_are_tried_first_with_seeds_of_their_own(void **state) {
    (void)state;
    spec *s;
    plan p;
    plan_of(tuned(), &s, &p, false);
    assert_cells(&p,
                 "colo~a@w@4 colo~b@w@4 split@w@2 colo@w@2 colo-again@w@2 colo@w@4 colo-again@w@4 split@w@4");
    assert_true(p.cells[1].tuning);
    assert_int_equal(p.cells[1].variant, 1);
    assert_true(plan_measured_s(s, &p.cells[0]) == 3);
    assert_true(plan_measured_s(s, &p.cells[2]) == 90);
    char *dir = plan_cell_dir(&p.cells[1], "/x");
    assert_string_equal(dir, "/x/tune/colo~b@w@4");
    free(dir);
    plan_done(&p);
    spec_free(s);
}

static void quick_replaces_what_it_gives(void **state) {
    (void)state;
    spec *s;
    plan p;
    plan_of(tuned(), &s, &p, true);
    assert_cells(&p, "colo@w@3");
    assert_true(plan_measured_s(s, &p.cells[0]) == 34);
    assert_string_equal(s->workloads[0].input_len, "32");
    config *c = NULL;
    assert_int_equal(cluster_config(&c, s, &s->placements[0], NULL, true, NULL, NULL), ST_OK);
    assert_int_equal(c->limits.max_queue, 7);
    config_free(c);
    plan_done(&p);
    spec_free(s);
    assert_int_equal(load(&s, with(NULL, NULL), NULL), ST_OK);
    errbuf eb = {0};
    assert_int_equal(spec_make_quick(s, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "no quick: section"));
    spec_free(s);
}

/* ---- clusters and serve ---- */

static void later_settings_win_and_roles_without_a_word_have_no_workers(void **state) {
    (void)state;
    spec *s = NULL;
    assert_int_equal(load(&s, tuned(), NULL), ST_OK);
    const cluster_ports ports = {12001, 12002, 12003};
    config *c = NULL;
    const spec_placement *colo = &s->placements[1];
    assert_int_equal(cluster_config(&c, s, colo, &colo->variants[1], false, &ports, NULL), ST_OK);
    assert_string_equal(c->cluster.http, "127.0.0.1:12001");
    assert_string_equal(c->cluster.control, "tcp://127.0.0.1:12002");
    assert_string_equal(c->cluster.client, "tcp://127.0.0.1:12003");
    assert_string_equal(c->model.path, "random:tiny");
    assert_int_equal(c->prefill.count + c->decode.count, 0);
    assert_int_equal(c->colocated.chunk_tokens, 64);
    assert_int_equal(cluster_devices(c), 2);
    assert_int_equal(cluster_workers(c), 2);
    config_free(c);
    spec_free(s);
}

/* The words of serve's command line in one text, without the URLs. */
static char *serve_words(const spec *s, const cell *c) {
    spec_texts args;
    plan_serve_args(&args, s, c, "http://h:1", "tcp://h:2", "/d");
    buf all = {0};
    for (uint32_t i = 0; i < args.count; i++) buf_addf(&all, "%s ", args.items[i]);
    assert_null(args.items[args.count]);
    spec_texts_done(&args);
    return all.data;
}

static void every_placement_is_asked_the_same(void **state) {
    (void)state;
    spec *s;
    plan p;
    plan_of(with(NULL, NULL), &s, &p, false);
    char *words = serve_words(s, &p.cells[0]);
    assert_string_equal(words,
                        "--backend baton --base-url tcp://h:2 --metrics-url http://h:1 --random-input-len 32 "
                        "--random-output-len 8 --request-rate 2 --seeds 1,2 --warmup 30 --window 30 "
                        "--request-timeout 300 --name split@w@2 --out /d ");
    for (uint32_t i = 1; i < 3; i++) { /* the other placements at this rate: all but the name */
        char *other = serve_words(s, &p.cells[i]);
        assert_int_equal(strncmp(words, other, (size_t)(strstr(words, "--name") - words)), 0);
        free(other);
    }
    free(words);
    plan_done(&p);
    spec_free(s);
}

/* ---- files ---- */

static void a_state_is_read_as_it_was_written_whatever_the_log_said(void **state) {
    (void)state;
    spec *s;
    plan p;
    plan_of(with(NULL, NULL), &s, &p, false);
    cell_state st = {.end = CELL_FAILED,
                     .reason = "it \"said\" \xff\xfe",
                     .attempts = 2,
                     .start_s = 1.5,
                     .build = {"1.2", "0123456789abcdef", "v1-2-g3"}},
               back;
    assert_int_equal(cell_state_read(&back, folder, NULL), ST_OK);
    assert_int_equal(back.end, CELL_NONE);
    assert_int_equal(cell_state_write(&st, s, &p.cells[2], folder, NULL), ST_OK);
    assert_int_equal(cell_state_read(&back, folder, NULL), ST_OK);
    assert_int_equal(back.end, CELL_FAILED);
    assert_string_equal(back.reason, "it \"said\" ??");
    assert_int_equal(back.attempts, 2);
    assert_true(back.start_s == 1.5);
    assert_true(build_same(&back.build, &st.build));
    assert_string_equal(back.build.git, "v1-2-g3");
    plan_done(&p);
    spec_free(s);
}

static void cells_of_another_build_are_not_gone_on_with(void **state) {
    (void)state;
    spec *s;
    plan p;
    plan_of(with(NULL, NULL), &s, &p, false);
    char *root = xasprintf("%s/builds", folder), *dir = plan_cell_dir(&p.cells[0], root);
    assert_int_equal(files_make_dir(dir, NULL), ST_OK);
    const build_id now = {"1.2", "0123456789abcdef", "new"};
    cell_state st = {.end = CELL_DONE, .build = {"1.2", "0123456789abcdef", "old"}};
    const runner_options o = {.spec = s, .plan = &p, .dir = root, .build = &now};
    errbuf eb = {0};
    assert_int_equal(runner_check_build(&o, &eb), ST_OK);
    assert_int_equal(cell_state_write(&st, s, &p.cells[0], dir, NULL), ST_OK);
    assert_int_equal(runner_check_build(&o, &eb), ST_OK); /* other sources, the same programs */
    st.build.programs[0] = 'f';
    assert_int_equal(cell_state_write(&st, s, &p.cells[0], dir, NULL), ST_OK);
    assert_int_equal(runner_check_build(&o, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "1 cell is here of another build"));
    assert_non_null(strstr(eb.text, "--force"));
    assert_non_null(strstr(eb.text, "git old, programs f123456789abcdef"));
    st.end = CELL_VOID; /* its rows are not used */
    assert_int_equal(cell_state_write(&st, s, &p.cells[0], dir, NULL), ST_OK);
    assert_int_equal(runner_check_build(&o, &eb), ST_OK);
    free(dir);
    free(root);
    plan_done(&p);
    spec_free(s);
}

static void another_file_in_the_same_directory_is_refused_with_what_differs(void **state) {
    (void)state;
    char *dir = xasprintf("%s/dir", folder);
    exp_dir d, second;
    errbuf eb = {0};
    assert_int_equal(exp_dir_open(&d, dir, &eb), ST_OK);
    assert_int_equal(exp_dir_open(&second, dir, &eb), ST_AGAIN);
    assert_int_equal(exp_dir_keep(&d, "x", "a\nb\nc\n", false, &eb), ST_OK);
    assert_int_equal(exp_dir_keep(&d, "x", "a\nb\nc\n", false, &eb), ST_OK);
    assert_int_equal(exp_dir_keep(&d, "x", "a\nB\nc\n", false, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "in line 2: there \"b\", now \"B\""));
    assert_int_equal(exp_dir_keep(&d, "x", "a\nb\n", false, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "in line 3: there \"c\", now \"\""));
    assert_int_equal(exp_dir_keep(&d, "x", "a\nB\nc\n", true, &eb), ST_OK);
    assert_int_equal(exp_dir_keep(&d, "x", "a\nB\nc\n", false, &eb), ST_OK);
    exp_dir_close(&d);
    assert_int_equal(exp_dir_open(&second, dir, &eb), ST_OK);
    exp_dir_close(&second);
    free(dir);
}

/* ---- tuning ---- */

static void add_row(buf *b, uint32_t index, unsigned ttft_ms) {
    buf_addf(
        b,
        "{\"seed\":1,\"index\":%u,\"phase\":\"window\",\"outcome\":\"ok\",\"http\":200,\"error\":null,"
        "\"finish\":\"length\",\"scheduled_ns\":0,\"sent_ns\":0,\"first_ns\":%u000000,\"last_ns\":%u000000,"
        "\"end_ns\":%u000000,\"prompt_asked\":1,\"output_asked\":1,\"prompt_tokens\":1,\"output_tokens\":1,"
        "\"cached_tokens\":0,\"events\":[[%u000000,1]],\"stages\":null}\n",
        index, ttft_ms, ttft_ms, ttft_ms, ttft_ms);
}

static void the_best_variant_by_the_median_slo_is_chosen_and_stays(void **state) {
    (void)state;
    spec *s;
    plan p;
    plan_of(tuned(), &s, &p, false);
    char *root = xasprintf("%s/tuned", folder), told[256];
    for (uint32_t v = 0; v < 2; v++) { /* at 1000 and 100 ms: a 50 % and 0 %, b 100 % and 50 % */
        char *dir = plan_cell_dir(&p.cells[v], root), *rows = xasprintf("%s/rows.jsonl", dir);
        assert_int_equal(files_make_dir(dir, NULL), ST_OK);
        buf text = {0};
        add_row(&text, 0, v ? 50 : 500);
        add_row(&text, 1, v ? 500 : 5000);
        assert_int_equal(files_write(rows, text.data, text.len, NULL), ST_OK);
        cell_state done = {.end = CELL_DONE};
        assert_int_equal(cell_state_write(&done, s, &p.cells[v], dir, NULL), ST_OK);
        tune_score score;
        assert_int_equal(tune_score_of(&score, s, dir, NULL), ST_OK);
        assert_true(fabs(score.by - (v ? 0.75 : 0.25)) < 1e-12);
        buf_done(&text);
        free(rows);
        free(dir);
    }
    tuning *t = NULL;
    assert_int_equal(tuning_open(&t, s, &p, root, NULL), ST_OK);
    assert_string_equal(tuning_variant(t, &p.cells[3])->name, "a");
    assert_null(tuning_variant(t, &p.cells[2])); /* split has none */
    assert_int_equal(tuning_choose(t, &p.cells[1], told, sizeof told, NULL), ST_OK);
    assert_string_equal(told, "colo for w: b is best (75.0 % attained)");
    tuning_free(t);
    assert_int_equal(tuning_open(&t, s, &p, root, NULL), ST_OK);
    assert_string_equal(tuning_variant(t, &p.cells[3])->name, "b");
    assert_int_equal(tuning_choose(t, &p.cells[1], told, sizeof told, NULL), ST_OK);
    assert_string_equal(told, "");
    tuning_free(t);
    free(root);
    plan_done(&p);
    spec_free(s);
}

/* ---- what comes with Baton ---- */

static void every_key_is_documented(const spec_table *t, const char *text) {
    for (uint32_t i = 0; i < t->count; i++) {
        char *key = xasprintf("%s:", t->keys[i].name);
        if (!strstr(text, key)) fail_msg("%s is not in local-1p1d-vs-colocated.yaml", key);
        free(key);
        if (t->keys[i].table) every_key_is_documented(t->keys[i].table, text);
    }
}

static void the_ready_made_files_can_be_read_and_document_every_key(void **state) {
    (void)state;
    static const char *const files[] = {"local-1p1d-vs-colocated", "ratio-sweep", "mock-64",
                                        "distserve-fig8"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        spec *s = NULL;
        errbuf eb = {0};
        char *file = xasprintf("%s/../experiments/%s.yaml", CONFIG_DIR, files[i]);
        if (spec_load(&s, file, &eb) != ST_OK) fail_msg("%s", eb.text);
        assert_string_equal(s->name, files[i]);
        assert_true(s->quick.given);
        char *base = xasprintf("%s/%s", CONFIG_DIR, strrchr(s->base, '/') + 1);
        free(s->base);
        s->base = base;
        spec_facts facts[16];
        spec_texts problems = {0};
        spec_check(s, false, (spec_machine){.cores = 64, .gpus = 64}, facts, &problems);
        if (problems.count) fail_msg("%s: %s", file, problems.items[0]);
        if (i == 0) {
            char *text = NULL;
            assert_int_equal(files_read(&text, file, NULL), ST_OK);
            every_key_is_documented(&spec_root, text);
            free(text);
        }
        spec_free(s);
        free(file);
    }
}

static void the_machine_is_measured(void **state) {
    (void)state;
    json_t *m = machine_json(NULL);
    assert_true(json_integer_value(json_object_get(m, "cores")) >= 1);
    assert_true(json_number_value(json_object_get(json_object_get(m, "measured"), "read_gb_s_one_core")) > 0);
    assert_true(json_is_string(json_object_get(m, "kernel")));
    json_decref(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_of_a_file_is_read),
        cmocka_unit_test(what_cannot_be_read_is_told_with_its_place_and_path),
        cmocka_unit_test(impossible_placements_are_refused_by_name),
        cmocka_unit_test(what_the_lists_say_together_is_checked),
        cmocka_unit_test(cells_of_a_rate_stand_together_and_each_rate_begins_with_another),
        cmocka_unit_test(rates_per_device_grow_with_the_placement),
        cmocka_unit_test(variants_are_tried_first_with_seeds_of_their_own),
        cmocka_unit_test(quick_replaces_what_it_gives),
        cmocka_unit_test(later_settings_win_and_roles_without_a_word_have_no_workers),
        cmocka_unit_test(every_placement_is_asked_the_same),
        cmocka_unit_test(a_state_is_read_as_it_was_written_whatever_the_log_said),
        cmocka_unit_test(cells_of_another_build_are_not_gone_on_with),
        cmocka_unit_test(another_file_in_the_same_directory_is_refused_with_what_differs),
        cmocka_unit_test(the_best_variant_by_the_median_slo_is_chosen_and_stays),
        cmocka_unit_test(the_ready_made_files_can_be_read_and_document_every_key),
        cmocka_unit_test(the_machine_is_measured),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
