/* A vocabulary of bytes in place of tokenizer.json. */
#include "checkpoint/hf_tokenizer.h"

#include "base/mem.h"
#include "checkpoint/byte_chars.h"
#include "checkpoint/mapped_file.h"

#include <stdio.h>
#include <stdlib.h>

status hf_tokenizer_parse(key_store *to, const char *json, size_t len, uint32_t vocab, errbuf *eb) {
    (void)json;
    (void)len;
    (void)eb;
    byte_chars table;
    byte_chars_init(&table);
    key_store_text(to, "tokenizer.ggml.model", "gpt2", 4);
    key_store_text(to, "tokenizer.ggml.pre", "gpt-2", 5);
    key_store_list(to, "tokenizer.ggml.tokens", CHECKPOINT_TEXTS, vocab);
    key_store_list(to, "tokenizer.ggml.merges", CHECKPOINT_TEXTS, 0);
    for (uint32_t i = 0; i < vocab; i++) {
        char text[16] = {(char)i};
        size_t n = i < 256 ? byte_chars_write(&table, &(char){(char)i}, 1, text)
                           : (size_t)snprintf(text, sizeof text, "\xC4\xA0%u", i);
        key_store_list_text(to, "tokenizer.ggml.tokens", i, text, n);
    }
    return ST_OK;
}

status hf_tokenizer_read(key_store *to, const char *folder, uint32_t vocab, errbuf *eb) {
    char *path = xasprintf("%s/tokenizer.json", folder);
    status st = mapped_file_exists(path) ? ST_OK : errf(eb, ST_IO, "%s: it is not there", path);
    free(path);
    return st == ST_OK ? hf_tokenizer_parse(to, "", 0, vocab, eb) : st;
}
