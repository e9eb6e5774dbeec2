/* The ids of a corpus of hard texts equal those that llama.cpp computed with the same vocabulary.
 *
 *   tokens_test VOCAB.gguf TEXTS IDS [special]
 *
 * TEXTS holds the texts, each ended by a line "__ggml_vocab_test__"; IDS one line of ids for each
 * (llama.cpp's own format for its vocabulary tests). `special` parses special tokens. Skipped when the
 * vocabulary's file is missing. */
#include "tests/test.h"

#include "base/mem.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEPARATOR "\n__ggml_vocab_test__\n"

typedef struct golden {
    const char *vocab, *texts, *ids;
    bool special;
} golden;

static buf read_file(const char *path) {
    buf b = {0};
    char chunk[4096];
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("cannot open %s", path);
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;) buf_add(&b, chunk, n);
    fclose(f);
    buf_adds(&b, "");
    return b;
}

/* The ids as the golden file writes them: " 1 2 3". */
static void write_ids(const tokenizer *t, const char *text, size_t len, bool special, buf *out) {
    token_list l = {0};
    errbuf eb = {0};
    encode_options opt = {.parse_special = special, .max_tokens = UINT32_MAX};
    buf_reset(out);
    buf_adds(out, "");
    if (tokenizer_encode(t, text, len, &opt, &l, &eb) != ST_OK) fail_msg("%s", eb.text);
    for (uint32_t i = 0; i < l.count; i++) buf_addf(out, " %d", l.ids[i]);
    token_list_done(&l);
}

static void the_ids_are_llama_cpps(void **s) {
    const golden *in = *s;
    if (access(in->vocab, R_OK) != 0) {
        print_message("%s is not there\n", in->vocab);
        skip();
    }
    checkpoint *g;
    tokenizer *t;
    errbuf eb = {0};
    if (checkpoint_open(&g, in->vocab, &eb) != ST_OK || tokenizer_new(&t, g, &eb) != ST_OK)
        fail_msg("%s", eb.text);
    buf texts = read_file(in->texts), ids = read_file(in->ids), got = {0};
    const char *text = texts.data, *end = texts.data + texts.len, *line = ids.data;
    uint32_t count = 0, wrong = 0;
    while (text < end) {
        const char *cut = memmem(text, (size_t)(end - text), SEPARATOR, strlen(SEPARATOR));
        if (!cut) fail_msg("%s: the last text has no end", in->texts);
        size_t len = (size_t)(cut - text);
        write_ids(t, text, len, in->special, &got);
        const char *line_end = strchr(line, '\n');
        if (!line_end) fail_msg("%s has only %u lines", in->ids, count);
        if (got.len != (size_t)(line_end - line) || memcmp(got.data, line, got.len) != 0) {
            wrong++;
            print_error("text %u '%.*s':\n  want%.*s\n  got %s\n", count, (int)MIN(len, 200u), text,
                        (int)(line_end - line), line, got.data);
        }
        count++;
        line = line_end + 1;
        text = cut + strlen(SEPARATOR);
    }
    print_message("%u texts, %u wrong\n", count, wrong);
    assert_int_equal(wrong, 0);
    assert_true(count > 1);
    assert_int_equal(*line, 0); /* no golden line is left over */
    buf_done(&texts);
    buf_done(&ids);
    buf_done(&got);
    tokenizer_free(t);
    checkpoint_close(g);
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: tokens_test VOCAB.gguf TEXTS IDS [special]\n");
        return 2;
    }
    golden in = {argv[1], argv[2], argv[3], argc > 4 && strcmp(argv[4], "special") == 0};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(the_ids_are_llama_cpps, &in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
