/* What a tokenizer.json's tokenizer makes of hard texts equals what Hugging Face's library makes of them,
 * both ways.
 *
 *   hf_tokens_test FOLDER ...
 *
 * A folder has tokenizer.json and vectors.json, and texts.json beside it (tests/golden/make_vocab.py). Where
 * scores.json is there too, the same is asked of the vocabulary by scores, as GGUF files of SentencePiece's
 * have it; everywhere of merges as GGUF files have them. */
#include "tests/test.h"

#include "base/mem.h"
#include "checkpoint/hf_tokenizer.h"
#include "key_checkpoint.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

static json_t *load(const char *folder, const char *name, bool must) {
    char *path = xasprintf("%s/%s", folder, name);
    json_error_t error;
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (!root && must) fail_msg("%s: %s", path, error.text);
    free(path);
    return root;
}

/* One of the ways in which a vocabulary can stand in a checkpoint. */
typedef enum form { FORM_HF, FORM_MERGES, FORM_SCORES } form;
static const char *const form_names[] = {"tokenizer.json", "merges as texts", "scores"};

static void merges_as_texts(key_store *keys) {
    static const char merges[] = "tokenizer.ggml.merges", tokens[] = "tokenizer.ggml.tokens";
    checkpoint_kind kind;
    uint64_t count;
    assert_true(key_store_get_list(keys, merges, &kind, &count));
    buf *texts = xcalloc(count / 3 + 1, sizeof *texts);
    for (uint64_t i = 0; i < count / 3; i++) {
        for (uint64_t k = 0; k < 2; k++) {
            int64_t id;
            checkpoint_text text;
            assert_true(key_store_get_list_i64(keys, merges, i * 3 + k, &id));
            assert_true(key_store_get_list_text(keys, tokens, (uint64_t)id, &text));
            buf_add(&texts[i], text.data, text.len);
            if (k == 0) buf_adds(&texts[i], " ");
        }
    }
    key_store_list(keys, merges, CHECKPOINT_TEXTS, count / 3);
    for (uint64_t i = 0; i < count / 3; i++) {
        key_store_list_text(keys, merges, i, texts[i].data, texts[i].len);
        buf_done(&texts[i]);
    }
    free(texts);
}

/* A store with the keys of `from` that GGUF files of that kind have, and scores instead of merges. */
static key_store *as_scores(const key_store *from, const json_t *scores) {
    static const char tokens[] = "tokenizer.ggml.tokens", kinds[] = "tokenizer.ggml.token_type",
                      to[] = "tokenizer.ggml.scores";
    key_store *keys = key_store_new();
    checkpoint_kind kind;
    uint64_t count, id;
    assert_true(key_store_get_list(from, tokens, &kind, &count));
    key_store_text(keys, "tokenizer.ggml.model", "llama", 5);
    key_store_list(keys, tokens, CHECKPOINT_TEXTS, count);
    key_store_list(keys, kinds, CHECKPOINT_INTEGERS, count);
    key_store_list(keys, to, CHECKPOINT_REALS, count);
    for (uint64_t i = 0; i < count; i++) {
        checkpoint_text text;
        int64_t value;
        assert_true(key_store_get_list_text(from, tokens, i, &text));
        assert_true(key_store_get_list_i64(from, kinds, i, &value));
        key_store_list_text(keys, tokens, i, text.data, text.len);
        key_store_list_i64(keys, kinds, i, value);
        key_store_list_f64(keys, to, i, json_real_value(json_array_get(scores, i)));
    }
    if (key_store_get_u64(from, "tokenizer.ggml.bos_token_id", &id))
        key_store_u64(keys, "tokenizer.ggml.bos_token_id", id);
    return keys;
}

typedef struct subject {
    const char *folder;
    form form;
    checkpoint *ckpt;
    tokenizer *tok;
    uint32_t compared, wrong;
} subject;

static void open_subject(subject *s, const json_t *scores) {
    key_store *keys = key_store_new();
    errbuf eb = {0};
    if (hf_tokenizer_read(keys, s->folder, 0, &eb) != ST_OK) fail_msg("%s", eb.text);
    if (s->form == FORM_MERGES) merges_as_texts(keys);
    if (s->form == FORM_SCORES) {
        key_store *scored = as_scores(keys, scores);
        key_store_free(keys);
        keys = scored;
    }
    s->ckpt = key_checkpoint(keys);
    if (tokenizer_new(&s->tok, s->ckpt, &eb) != ST_OK) fail_msg("%s: %s", s->folder, eb.text);
}

static void report(subject *s, const char *what, const char *text, const char *want, const char *got) {
    s->compared++;
    if (strcmp(want, got) == 0) return;
    if (s->wrong++ < 20)
        print_error("%s, %s, %s of '%.200s':\n  want %s\n  got  %s\n", s->folder, form_names[s->form], what,
                    text, want, got);
}

static char *ids_text(const json_t *ids) {
    return json_dumps(ids, JSON_COMPACT | JSON_ENCODE_ANY);
}

static void expect_ids(subject *s, const char *what, const json_t *text, bool special, bool around,
                       const json_t *want) {
    token_list l = {0};
    errbuf eb = {0};
    encode_options opt = {.parse_special = special, .add_special = around, .max_tokens = 1u << 20};
    if (tokenizer_encode(s->tok, json_string_value(text), json_string_length(text), &opt, &l, &eb) != ST_OK)
        fail_msg("%s", eb.text);
    json_t *got = json_array();
    for (uint32_t i = 0; i < l.count; i++) json_array_append_new(got, json_integer(l.ids[i]));
    char *a = ids_text(want), *b = ids_text(got);
    report(s, what, json_string_value(text), a, b);
    free(a);
    free(b);
    json_decref(got);
    token_list_done(&l);
}

/* The text of ids, and the same with the detokenizer begun anew at each place: nothing may be lost there. */
static void expect_text(subject *s, const json_t *ids, bool keep_special, const json_t *want) {
    buf whole = {0};
    detok d = {0};
    char *shown = ids_text(ids);
    uint32_t count = (uint32_t)json_array_size(ids);
    int32_t *before = xcalloc(count + 1, sizeof *before);
    for (uint32_t i = 0; i < count; i++) {
        before[i] = (int32_t)json_integer_value(json_array_get(ids, i));
        if (!keep_special && d.held_count == 0) d = detok_after(s->tok, before, i);
        detok_add(&d, s->tok, before[i], keep_special, &whole);
    }
    detok_end(&d, &whole);
    free(before);
    json_t *got = json_stringn(whole.len ? whole.data : "", whole.len);
    char *a = json_dumps(want, JSON_ENCODE_ANY), *b = json_dumps(got, JSON_ENCODE_ANY);
    report(s, keep_special ? "all text" : "text", shown, a, b ? b : "no UTF-8");
    free(a);
    free(b);
    free(shown);
    json_decref(got);
    buf_done(&whole);
}

static void run_text(subject *s, const json_t *text, const json_t *entry, const json_t *around) {
    const json_t *ids = json_object_get(entry, "ids"), *plain = json_object_get(entry, "plain");
    const json_t *back = json_object_get(entry, "back"), *all = json_object_get(entry, "back_all");
    expect_ids(s, "ids", text, true, false, ids);
    expect_ids(s, "plain ids", text, false, false, plain ? plain : ids);
    json_t *full = json_copy(json_array_get(around, 0));
    json_array_extend(full, (json_t *)ids);
    json_array_extend(full, json_array_get(around, 1));
    if (s->form == FORM_HF) expect_ids(s, "ids with BOS and EOS", text, true, true, full);
    json_decref(full);
    if (!json_is_null(back)) expect_text(s, ids, false, back ? back : text);
    if (!json_is_null(all)) expect_text(s, ids, true, all ? all : text);
}

static void run_form(const char *folder, form f, const json_t *scores) {
    subject s = {.folder = folder, .form = f};
    open_subject(&s, scores);
    json_t *vectors = load(folder, "vectors.json", true), *entry;
    size_t i;
    json_t *texts = load(folder, "../texts.json", true);
    json_array_foreach(json_object_get(vectors, "texts"), i, entry)
        run_text(&s, json_array_get(texts, i), entry, json_object_get(vectors, "around"));
    json_array_foreach(json_object_get(vectors, "decoded"), i, entry) {
        const json_t *ids = json_object_get(entry, "ids");
        expect_text(&s, ids, false, json_object_get(entry, "back"));
        expect_text(&s, ids, true, json_object_get(entry, "back_all"));
    }
    print_message("%s, %s: %u compared, %u wrong\n", folder, form_names[f], s.compared, s.wrong);
    assert_true(s.compared > 0);
    assert_int_equal(s.wrong, 0);
    json_decref(vectors);
    json_decref(texts);
    tokenizer_free(s.tok);
    checkpoint_close(s.ckpt);
}

static void ids_and_texts_are_hugging_faces(void **state) {
    const char *folder = *state;
    json_t *scores = load(folder, "scores.json", false);
    run_form(folder, FORM_HF, NULL);
    run_form(folder, FORM_MERGES, NULL);
    if (scores) run_form(folder, FORM_SCORES, scores);
    json_decref(scores);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: hf_tokens_test FOLDER ...\n");
        return 2;
    }
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_prestate(ids_and_texts_are_hugging_faces, argv[i]),
        };
        failed += cmocka_run_group_tests_name(argv[i], tests, NULL, NULL);
    }
    return failed;
}
