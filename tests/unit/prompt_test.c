/* Prompts differ by construction, as ids and as words. */
#include "bench/workload/prompt.h"

#include "bench/workload/prompt_text.h"

#include "base/mem.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

static const prompt_range IDS = {.id_min = 100, .id_max = 49099}; /* 49,000 of them */

static void eight_of_49000_ids_make_all_prompts_differ(void **state) {
    (void)state;
    assert_int_equal(prompt_unique_tokens(IDS), 3 + 5);
    assert_int_equal(prompt_unique_tokens((prompt_range){0, 255}), 4 + 8);
    assert_int_equal(prompt_unique_tokens((prompt_range){0, 1}), 32 + 64);
    assert_int_equal(prompt_unique_tokens((prompt_range){INT32_MIN, INT32_MAX}), 1 + 2);
    assert_int_equal(prompt_unique_tokens((prompt_range){5, 5}), UINT32_MAX);
}

static void the_first_ids_spell_the_index(void **state) {
    (void)state;
    int32_t zero[3], ids[3];
    prompt_fill(zero, 3, IDS, 9, 0);
    for (uint32_t index = 1; index < 200000; index += 997) {
        prompt_fill(ids, 3, IDS, 9, index);
        uint64_t spelt = 0, place = 1;
        for (uint32_t k = 0; k < 3; k++, place *= 49000)
            spelt += place * (uint64_t)((ids[k] - zero[k] + 49000) % 49000);
        assert_true(spelt == index);
    }
}

static void neighbours_differ_in_their_first_id(void **state) {
    (void)state;
    int32_t first[1000];
    for (uint32_t i = 0; i < 1000; i++) prompt_fill(&first[i], 1, IDS, 3, i);
    for (uint32_t i = 0; i < 1000; i++)
        for (uint32_t j = 0; j < i; j++) assert_true(first[i] != first[j]);
}

static int by_ids(const void *a, const void *b) {
    return memcmp(a, b, 8 * sizeof(int32_t));
}

static void prompts_of_many_seeds_and_few_ids_all_differ(void **state) {
    (void)state;
    const prompt_range few = {.id_min = 0, .id_max = 2999};
    assert_int_equal(prompt_unique_tokens(few), 3 + 6);
    int32_t(*ids)[8] = xcalloc(10000, sizeof *ids);
    const prompt_range many = IDS;
    for (uint32_t seed = 0; seed < 100; seed++)
        for (uint32_t i = 0; i < 100; i++) prompt_fill(ids[seed * 100 + i], 8, many, seed, i);
    qsort(ids, 10000, sizeof *ids, by_ids);
    for (uint32_t i = 1; i < 10000; i++) assert_true(by_ids(ids[i - 1], ids[i]) != 0);
    free(ids);
}

static void a_shorter_prompt_is_the_begin_of_a_longer_one_of_the_same_request(void **state) {
    (void)state;
    int32_t longer[300], shorter[17];
    prompt_fill(longer, 300, IDS, 4, 5);
    prompt_fill(shorter, 17, IDS, 4, 5);
    assert_memory_equal(longer, shorter, sizeof shorter);
    for (uint32_t i = 0; i < 300; i++) assert_in_range(longer[i], 100, 49099);
}

static void one_id_alone_is_repeated(void **state) {
    (void)state;
    int32_t ids[4];
    prompt_fill(ids, 4, (prompt_range){7, 7}, 1, 2);
    for (uint32_t i = 0; i < 4; i++) assert_int_equal(ids[i], 7);
    prompt_fill_block(ids, 4, (prompt_range){7, 7}, 1, 2);
    for (uint32_t i = 0; i < 4; i++) assert_int_equal(ids[i], 7);
}

static void blocks_are_equal_for_equal_seed_and_hash_alone(void **state) {
    (void)state;
    int32_t a[512], b[512];
    prompt_fill_block(a, 512, IDS, 1, 77);
    prompt_fill_block(b, 512, IDS, 1, 77);
    assert_memory_equal(a, b, sizeof a);
    prompt_fill_block(b, 100, IDS, 1, 77);
    assert_memory_equal(a, b, sizeof a);
    prompt_fill_block(b, 512, IDS, 1, 78);
    assert_true(a[0] != b[0]);
    prompt_fill_block(b, 512, IDS, 2, 77);
    assert_memory_not_equal(a, b, 8 * sizeof *a);
}

static void candidates_are_different_plain_words(void **state) {
    (void)state;
    uint32_t count;
    const char *const *words = prompt_text_candidates(&count);
    assert_true(count >= 256);
    for (uint32_t i = 0; i < count; i++) {
        size_t len = strlen(words[i]);
        assert_in_range(len, 1, 16);
        assert_int_equal(strspn(words[i], "abcdefghijklmnopqrstuvwxyz"), len);
        for (uint32_t j = 0; j < i; j++) assert_string_not_equal(words[i], words[j]);
    }
}

/* Every third candidate is no token with a blank before it, every fifth none without. */
static prompt_text *some_words(bool *usable) {
    uint32_t count;
    prompt_text_candidates(&count);
    bool *spaced = xcalloc(count, sizeof *spaced), *bare = xcalloc(count, sizeof *bare);
    for (uint32_t i = 0; i < count; i++) {
        spaced[i] = i % 3 != 0;
        bare[i] = i % 5 != 0;
        usable[i] = spaced[i] && bare[i];
    }
    prompt_text *p = NULL;
    errbuf eb = {0};
    if (prompt_text_new(&p, spaced, bare, &eb) != ST_OK) fail_msg("%s", eb.text);
    free(spaced);
    free(bare);
    return p;
}

static void a_text_has_exactly_so_many_words_that_are_one_token(void **state) {
    (void)state;
    bool usable[1000] = {0};
    uint32_t count, found = 0;
    const char *const *words = prompt_text_candidates(&count);
    prompt_text *p = some_words(usable);
    for (uint32_t i = 0; i < count; i++) found += usable[i];
    assert_int_equal(prompt_text_count(p), found);
    for (uint32_t n = 1; n < 200; n = n * 2 + 1) {
        char *text = prompt_text_make(p, 6, n, n), *rest = text;
        uint32_t seen = 0;
        for (char *word; (word = strsep(&rest, " ")); seen++) {
            uint32_t i = 0;
            while (i < count && strcmp(words[i], word) != 0) i++;
            assert_true(i < count && usable[i]);
        }
        assert_int_equal(seen, n);
        free(text);
    }
    prompt_text_free(p);
    prompt_text_free(NULL);
}

static void texts_are_the_same_for_the_same_request_and_differ_for_others(void **state) {
    (void)state;
    bool usable[1000] = {0};
    prompt_text *p = some_words(usable);
    uint32_t n = prompt_text_unique(p);
    assert_in_range(n, 12, 14);
    char *text = prompt_text_make(p, 1, 2, n), *same = prompt_text_make(p, 1, 2, n);
    assert_string_equal(text, same);
    free(same);
    for (uint32_t i = 0; i < 100; i++) {
        char *other = prompt_text_make(p, i < 50 ? 1 : 10 + i, i == 2 ? 1000 : i, n);
        assert_string_not_equal(text, other);
        free(other);
    }
    free(text);
    prompt_text_free(p);
}

static void too_few_words_are_refused_with_the_way_out(void **state) {
    (void)state;
    uint32_t count;
    prompt_text_candidates(&count);
    bool *none = xcalloc(count, sizeof *none);
    for (uint32_t i = 0; i < 15; i++) none[i] = true;
    prompt_text *p = NULL;
    errbuf eb = {0};
    assert_int_equal(prompt_text_new(&p, none, none, &eb), ST_UNSUPPORTED);
    assert_non_null(strstr(eb.text, "use prompts of token ids"));
    assert_null(p);
    free(none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_of_49000_ids_make_all_prompts_differ),
        cmocka_unit_test(the_first_ids_spell_the_index),
        cmocka_unit_test(neighbours_differ_in_their_first_id),
        cmocka_unit_test(prompts_of_many_seeds_and_few_ids_all_differ),
        cmocka_unit_test(a_shorter_prompt_is_the_begin_of_a_longer_one_of_the_same_request),
        cmocka_unit_test(one_id_alone_is_repeated),
        cmocka_unit_test(blocks_are_equal_for_equal_seed_and_hash_alone),
        cmocka_unit_test(candidates_are_different_plain_words),
        cmocka_unit_test(a_text_has_exactly_so_many_words_that_are_one_token),
        cmocka_unit_test(texts_are_the_same_for_the_same_request_and_differ_for_others),
        cmocka_unit_test(too_few_words_are_refused_with_the_way_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
