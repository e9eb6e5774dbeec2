/* tokenize_bench - how fast the coordinator's tokenizer turns text into ids, on one thread.
 *
 *   tokenize_bench VOCAB.gguf [--chunk BYTES] FILE...
 *
 * Each file is encoded in chunks (default 64 KiB, cut at a character) as a prompt would be, as often as
 * fills half a second, five times; the best and the median are printed, the bytes of a token beside them. */
#include "base/clock.h"
#include "base/mem.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUNS = 5, CHUNK = 64 * 1024 };
#define RUN_NS (NS_PER_S / 2)

static buf read_file(const char *path) {
    buf b = {0};
    char chunk[4096];
    FILE *f = fopen(path, "rb");
    if (!f) {
        fprintf(stderr, "tokenize_bench: cannot open %s\n", path);
        exit(1);
    }
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;) buf_add(&b, chunk, n);
    fclose(f);
    return b;
}

/* Ids of the whole text, in chunks. */
static uint64_t encode(const tokenizer *t, const buf *text, size_t chunk, token_list *ids) {
    uint64_t tokens = 0;
    encode_options opt = {.parse_special = true, .max_tokens = UINT32_MAX};
    for (size_t at = 0; at < text->len;) {
        size_t end = MIN(at + chunk, text->len);
        while (end < text->len && ((unsigned char)text->data[end] & 0xC0) == 0x80) end++;
        errbuf eb = {0};
        ids->count = 0;
        if (tokenizer_encode(t, text->data + at, end - at, &opt, ids, &eb) != ST_OK) {
            fprintf(stderr, "tokenize_bench: %s\n", eb.text);
            exit(1);
        }
        tokens += ids->count;
        at = end;
    }
    return tokens;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const tokenizer *t, const char *path, size_t chunk) {
    buf text = read_file(path);
    token_list ids = {0};
    uint64_t tokens = encode(t, &text, chunk, &ids);
    double rates[RUNS];
    for (uint32_t run = 0; run < RUNS; run++) {
        uint64_t begin = clock_now_ns(), rounds = 0, now;
        do {
            (void)encode(t, &text, chunk, &ids);
            rounds++;
            now = clock_now_ns();
        } while (now - begin < RUN_NS);
        rates[run] = (double)(rounds * text.len) * 1e3 / (double)(now - begin); /* MB/s */
    }
    qsort(rates, RUNS, sizeof *rates, compare);
    printf("%-40s %9zu bytes %5.2f bytes/token  median %6.2f MB/s  best %6.2f MB/s\n", path, text.len,
           (double)text.len / (double)MAX(tokens, 1u), rates[RUNS / 2], rates[RUNS - 1]);
    token_list_done(&ids);
    buf_done(&text);
}

int main(int argc, char **argv) {
    int first = 2;
    size_t chunk = CHUNK;
    if (argc > 3 && strcmp(argv[2], "--chunk") == 0) {
        chunk = strtoul(argv[3], NULL, 10);
        first = 4;
    }
    if (argc <= first || chunk == 0) {
        fprintf(stderr, "usage: tokenize_bench VOCAB.gguf [--chunk BYTES] FILE...\n");
        return 2;
    }
    checkpoint *g = NULL;
    tokenizer *t = NULL;
    errbuf eb = {0};
    uint64_t begin = clock_now_ns();
    if (checkpoint_open(&g, argv[1], &eb) != ST_OK || tokenizer_new(&t, g, &eb) != ST_OK) {
        fprintf(stderr, "tokenize_bench: %s\n", eb.text);
        return 1;
    }
    printf("opened in %.0f ms\n", (double)(clock_now_ns() - begin) / 1e6);
    for (int i = first; i < argc; i++) measure(t, argv[i], chunk);
    tokenizer_free(t);
    checkpoint_close(g);
    return 0;
}
