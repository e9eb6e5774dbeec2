/* device_thread_test - what a worker's loop may rely on: a job's results, one fatal error, and an engine that
 * is there until nobody uses it. */
#include "tests/unit/engine_scene.h"

#include "base/clock.h"
#include "worker/device_thread.h"

#include <poll.h>

#define WAIT_NS (60 * NS_PER_S)

static device_thread *started(const fixture *f) {
    engine_options opt = options_of("cpu", 1, DT_F16);
    device_thread *d = NULL;
    errbuf eb = {0};
    if (device_thread_new(&d, f->m, &opt, &eb) != ST_OK) fail_msg("%s", eb.text);
    return d;
}

/* Posts the job and waits for its end. */
static status run_job(device_thread *d, const dev_job *j, const step_result **results, uint32_t *count,
                      errbuf *eb) {
    device_thread_post(d, j);
    status st;
    step_span span;
    while ((st = device_thread_next(d, results, count, &span, eb)) == ST_AGAIN) {
        struct pollfd p = {.fd = device_thread_fd(d), .events = POLLIN};
        assert_true(poll(&p, 1, 60000) > 0);
    }
    return st;
}

/* A prompt of `count` tokens into slot 0, in one step; its KV is in page 7 and those after it. */
static status run_prompt(device_thread *d, const fixture *f, uint32_t count, const step_result **results,
                         errbuf *eb) {
    const sampling p = greedy();
    const uint32_t pages[] = {7, 8, 9};
    const dev_open open = {.slot = 0,
                           .init = {.prompt = f->prompt,
                                    .prompt_count = count,
                                    .params = &p,
                                    .pages = pages,
                                    .page_count = ARRAY_LEN(pages)}};
    const step_item item = {.slot = 0, .begin = 0, .count = count, .sample = true, .tag = 42};
    const dev_job job = {.opens = &open, .open_count = 1, .items = &item, .item_count = 1};
    uint32_t results_count = 0;
    status st = run_job(d, &job, results, &results_count, eb);
    if (st == ST_OK) assert_int_equal(results_count, 1);
    return st;
}

static void a_job_gives_what_the_engine_gives(void **state) {
    const fixture *f = *state;
    engine *e = engine_of(f, "cpu", 1, DT_F16);
    const sampling p = greedy();
    open_at(e, 0, f->prompt, 33, &p, 7, 1, 3);
    const token_out want = prefill(e, 0, 33, 33);
    engine_free(e);

    device_thread *d = started(f);
    const step_result *results = NULL;
    assert_int_equal(run_prompt(d, f, 33, &results, NULL), ST_OK);
    assert_int_equal(results[0].tag, 42);
    assert_int_equal(results[0].token.id, want.id);
    agent_progress told = {0};
    device_thread_progress(d, clock_now_ns(), &told);
    assert_int_equal(told.step, 1);
    assert_int_equal(told.step_age_ns, 0);
    assert_int_equal(told.step_bound_ns, 0); /* of none */
    assert_int_equal(told.step_layers, 0);
    assert_true(device_thread_stop(d, WAIT_NS));
    assert_true(device_thread_free(d, WAIT_NS));
}

static void a_sequence_that_is_not_opened_fails_alone(void **state) {
    const fixture *f = *state;
    device_thread *d = started(f);
    const sampling good = greedy();
    sampling bad = good;
    bad.spec = "{\"regex\": \"(\"}";
    bad.spec_len = (uint32_t)strlen(bad.spec);
    const uint32_t pages[2][1] = {{7}, {8}};
    for (uint32_t round = 0; round < 2; round++) { /* the slots can be used again */
        dev_open opens[2];
        step_item items[2];
        for (uint32_t i = 0; i < 2; i++) {
            opens[i] = (dev_open){.slot = i,
                                  .init = {.prompt = f->prompt,
                                           .prompt_count = 9,
                                           .params = i ? &good : &bad,
                                           .pages = pages[i],
                                           .page_count = 1}};
            items[i] = (step_item){.slot = i, .begin = 0, .count = 9, .sample = true, .tag = 40 + i};
        }
        const uint32_t both[] = {0, 1};
        const dev_job job = {.closes = both,
                             .close_count = round ? 2 : 0,
                             .opens = opens,
                             .open_count = 2,
                             .items = items,
                             .item_count = 2};
        const step_result *results = NULL;
        uint32_t count = 0;
        assert_int_equal(run_job(d, &job, &results, &count, NULL), ST_OK);
        assert_int_equal(count, 2);
        assert_int_equal(results[0].tag, 40);
        assert_true(results[0].broken);
        assert_non_null(strstr(results[0].why, "a spec"));
        assert_int_equal(results[1].tag, 41);
        assert_false(results[1].broken);
        assert_true(results[1].sampled);
    }
    assert_true(device_thread_stop(d, WAIT_NS));
    assert_true(device_thread_free(d, WAIT_NS));
}

static void note_bound(void *ctx, uint32_t layer, const step_item *items, uint32_t count) {
    agent_progress *p = ((void **)ctx)[0];
    (void)layer, (void)items, (void)count;
    device_thread_progress(((void **)ctx)[1], clock_now_ns(), p);
}

static void a_step_without_a_refused_sequence_teaches_nothing_about_its_rows(void **state) {
    const fixture *f = *state;
    device_thread *d = started(f);
    agent_progress p = {0};
    void *ctx[] = {&p, d};
    device_thread_hook(d, &(engine_hook){.ctx = ctx, .layer_begin = note_bound});
    const sampling good = greedy();
    sampling bad = good;
    bad.spec = "{}";
    bad.spec_len = 2;
    const uint32_t page = 7, slot = 0;
    for (uint32_t i = 0; i < 3; i++) { /* the first is refused, and the third judged by the second */
        const dev_open open = {.slot = slot,
                               .init = {.prompt = f->prompt,
                                        .prompt_count = 9,
                                        .params = i ? &good : &bad,
                                        .pages = &page,
                                        .page_count = 1}};
        const step_item item = {.slot = slot, .count = 9, .sample = true, .tag = 42};
        const dev_job job = {.closes = &slot,
                             .close_count = i > 0,
                             .opens = &open,
                             .open_count = 1,
                             .items = &item,
                             .item_count = 1,
                             .sums = {.tokens = 9, .chunks = 1, .squares = 81}};
        const step_result *results = NULL;
        uint32_t count = 0;
        assert_int_equal(run_job(d, &job, &results, &count, NULL), ST_OK);
        assert_int_equal(results[0].broken, i == 0);
        assert_int_equal(p.step_bound_ns > 0, i == 2);
    }
    assert_true(device_thread_stop(d, WAIT_NS));
    assert_true(device_thread_free(d, WAIT_NS));
}

typedef struct watch {
    device_thread *d;
    uint64_t began_ns; /* the first layer */
    uint32_t younger;  /* later layers at which the step was younger than that */
    uint32_t behind;   /* layers at which it was told to be through with another number of them */
    uint32_t layers;   /* of the step */
} watch;

static void on_layer(void *ctx, uint32_t layer, const step_item *items, uint32_t count) {
    watch *w = ctx;
    (void)items;
    (void)count;
    uint64_t now_ns = clock_now_ns();
    agent_progress p = {0};
    device_thread_progress(w->d, now_ns, &p);
    w->behind += p.step_layers_done != layer;
    w->layers = p.step_layers;
    if (layer == 0)
        w->began_ns = now_ns;
    else
        w->younger += p.step_age_ns < now_ns - w->began_ns;
}

static void the_age_of_a_step_counts_from_the_last_layer_that_it_did(void **state) {
    const fixture *f = *state;
    device_thread *d = started(f);
    watch w = {.d = d};
    device_thread_hook(d, &(engine_hook){.ctx = &w, .layer_begin = on_layer});
    const step_result *results = NULL;
    assert_int_equal(run_prompt(d, f, 33, &results, NULL), ST_OK);
    assert_true(f->m->layers > 1);
    assert_int_equal(w.younger, f->m->layers - 1);
    assert_int_equal(w.behind, 0);
    assert_int_equal(w.layers, f->m->layers);
    agent_progress p = {0};
    device_thread_progress(d, clock_now_ns(), &p);
    assert_int_equal(p.step_age_ns, 0);
    assert_true(device_thread_stop(d, WAIT_NS));
    assert_true(device_thread_free(d, WAIT_NS));
}

static void pages_can_be_read_after_the_stop_until_the_engine_is_freed(void **state) {
    const fixture *f = *state;
    device_thread *d = started(f);
    const step_result *results = NULL;
    assert_int_equal(run_prompt(d, f, 33, &results, NULL), ST_OK);
    assert_true(device_thread_stop(d, WAIT_NS));
    assert_true(device_thread_stop(d, WAIT_NS)); /* again: nothing to do */
    /* What a transfer thread does that is in the middle of a page. */
    const engine_kv kv = engine_kv_of(device_thread_engine(d));
    size_t page_bytes = kv_page_bytes(&kv.layout);
    uint16_t *page = xcalloc(page_bytes, 1);
    assert_int_equal(kv.ops->mem_read(kv.dev, page, (const char *)kv.base + 7 * page_bytes, page_bytes),
                     ST_OK);
    uint32_t set = 0;
    for (size_t i = 0; i < page_bytes / sizeof *page; i++) set += page[i] != 0;
    assert_true(set > page_bytes / sizeof *page / 2);
    free(page);
    assert_true(device_thread_free(d, WAIT_NS));
}

static void an_engine_that_cannot_be_opened_is_an_error_of_the_start(void **state) {
    const fixture *f = *state;
    engine_options opt = options_of("cpu", 1, DT_F16);
    opt.page_count = 0;
    device_thread *d = NULL;
    errbuf eb = {0};
    assert_int_equal(device_thread_new(&d, f->m, &opt, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "page_count 0"));
    assert_null(d);
}

static void a_job_that_fails_is_told_with_its_reason(void **state) {
    const fixture *f = *state;
    device_thread *d = started(f);
    const step_result *results = NULL;
    uint32_t count = 0;
    errbuf eb = {0};
    assert_int_equal(run_prompt(d, f, 9, &results, &eb), ST_OK);
    const step_item item = {.slot = 0, .begin = 0, .count = 9, .new_pages = {PAGES}, .new_page_count = 1};
    const dev_job job = {.items = &item, .item_count = 1};
    assert_int_equal(run_job(d, &job, &results, &count, &eb), ST_INVALID); /* there is no such page */
    assert_non_null(strstr(eb.text, "page"));
    assert_true(device_thread_stop(d, WAIT_NS));
    assert_true(device_thread_free(d, WAIT_NS));
    assert_true(device_thread_free(NULL, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sequence_that_is_not_opened_fails_alone),
        cmocka_unit_test(a_step_without_a_refused_sequence_teaches_nothing_about_its_rows),
        cmocka_unit_test(a_job_gives_what_the_engine_gives),
        cmocka_unit_test(the_age_of_a_step_counts_from_the_last_layer_that_it_did),
        cmocka_unit_test(pages_can_be_read_after_the_stop_until_the_engine_is_freed),
        cmocka_unit_test(an_engine_that_cannot_be_opened_is_an_error_of_the_start),
        cmocka_unit_test(a_job_that_fails_is_told_with_its_reason),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
