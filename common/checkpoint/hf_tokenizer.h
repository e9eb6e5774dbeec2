/* hf_tokenizer - tokenizer.json, tokenizer_config.json and chat_template.jinja of a Hugging Face folder in
 * the vocabulary of checkpoint.h ("tokenizer.ggml.tokens", ".merges", ".pre", "tokenizer.chat_template",
 * ...).
 *
 * Private to this folder. */
#ifndef BATON_CHECKPOINT_HF_TOKENIZER_H
#define BATON_CHECKPOINT_HF_TOKENIZER_H

#include "base/status.h"
#include "checkpoint/key_store.h"

/* Reads the files of `folder` into `to`. vocab: rows of the embedding; ids without a token up to there become
 * unused ones. ST_IO: tokenizer.json is not there; ST_CORRUPT: impossible; ST_UNSUPPORTED names the part
 * (normalizer, pre-tokenizer, model) that nothing here reads, and what is read. The text names the file. */
status hf_tokenizer_read(key_store *to, const char *folder, uint32_t vocab, errbuf *eb);
/* The same of one tokenizer.json in memory (tests, fuzzing). */
status hf_tokenizer_parse(key_store *to, const char *json, size_t len, uint32_t vocab, errbuf *eb);

#endif
