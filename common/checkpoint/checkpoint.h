/* checkpoint - what a model was saved as: metadata by key, lists by key, tensors by name; whatever the
 * format.
 *
 *   path -> format (a GGUF file, "random:NAME[:SEED]") -> keys, lists, tensors -> model, tokenizer, chat
 *
 * A format is a table of functions (checkpoint_format.h): a new one is a file and a name there.
 * Those who read know neither. The vocabulary of keys and tensor names is this header's, spelt as GGUF spells
 * it; a format with other words translates:
 *
 *   general.architecture        "llama"; the prefix of the keys about dimensions (arch_keys.h)
 *   general.name                what people call the model
 *   <arch>.block_count ...      dimensions and constants: the architecture's file says which (model/)
 *   tokenizer.ggml.model        "gpt2": byte-level BPE; "llama": BPE over characters, SentencePiece's
 *   tokenizer.ggml.pre          the pre-tokenizer's name
 *   tokenizer.ggml.tokens       list of texts: the vocabulary. gpt2: in the characters of
 *                               byte_chars.h; llama: "▁" is a space, "<0x0A>" a byte
 *   tokenizer.ggml.token_type   list of numbers, one per token (vocab.h)
 *   tokenizer.ggml.merges       by rank: list of "left right", or of numbers, three for each merge: the ids
 *                               of left, right and what they make
 *   tokenizer.ggml.scores       list of reals, one per token: the highest merges first (llama, no merges)
 *   tokenizer.ggml.*_token_id   bos, eos, unknown, eot, eom, fim_*: ids by role
 *   tokenizer.ggml.add_bos_token, .add_eos_token, .add_space_prefix
 *   tokenizer.hf.*              what only Hugging Face's files say, and what a tokenizer.ggml.* key cannot.
 *                               Where .space_prefix is there, token types are as their makers meant them
 *     .nfc                      bool: text is composed first (Unicode's form NFC)
 *     .space_prefix             "prepend" (each stretch), "each" (that has none yet), "first" or "never"
 *     .strip_space              "one", "all", "none": spaces that a text's first token loses when decoded
 *     .whole_words              bool: a piece that is a token is not built from merges
 *     .fuse_unknown             bool: characters without a token in a row are one unknown token
 *     .unknown_bytes            bool: gpt2, a byte without a token is an unknown one
 *     .added_flags              list of numbers, one per token: sums of checkpoint_added
 *   tokenizer.chat_template     its text
 *   token_embd.weight, blk.N.attn_q.weight ...    tensors: the architecture's file says which
 *
 * Read-only after it is open: any thread may read. Everything that is handed out is borrowed: valid until
 * checkpoint_close. */
#ifndef BATON_CHECKPOINT_CHECKPOINT_H
#define BATON_CHECKPOINT_CHECKPOINT_H

#include "base/status.h"
#include "checkpoint/checkpoint_data.h"

/* ST_IO (cannot open), ST_CORRUPT (truncated, impossible), ST_UNSUPPORTED (another version), ST_INVALID (a
 * random model that does not exist); the text names the path. Caller frees with checkpoint_close. */
status checkpoint_open(checkpoint **out, const char *path, errbuf *eb);
void checkpoint_close(checkpoint *c);
/* As given */
const char *checkpoint_path(const checkpoint *c);
/* "models/SmolLM2.Q4_1.gguf" is "SmolLM2.Q4_1"; a model without a file has all of its path. Caller frees with
 * free. */
char *checkpoint_stem(const char *path);

/* False when the key is absent or of another kind (integers convert between widths when the value fits). */
bool checkpoint_u64(const checkpoint *c, const char *key, uint64_t *out);
bool checkpoint_f64(const checkpoint *c, const char *key, double *out);
bool checkpoint_bool(const checkpoint *c, const char *key, bool *out);
bool checkpoint_string(const checkpoint *c, const char *key, checkpoint_text *out);
/* Kind and length of a list; false when absent or no list. */
bool checkpoint_list(const checkpoint *c, const char *key, checkpoint_kind *kind, uint64_t *count);
/* Element i of a list of texts / integers / reals; O(1). */
bool checkpoint_list_text(const checkpoint *c, const char *key, uint64_t i, checkpoint_text *out);
bool checkpoint_list_i64(const checkpoint *c, const char *key, uint64_t i, int64_t *out);
bool checkpoint_list_f64(const checkpoint *c, const char *key, uint64_t i, double *out);

/* Gives back the memory of the pages that were read so far, which stay in the page cache. What is read again
 * comes from there, or from the file. */
void checkpoint_drop(const checkpoint *c);

/* The tensors that are there; none where the checkpoint makes them. */
uint64_t checkpoint_tensor_count(const checkpoint *c);
const checkpoint_tensor *checkpoint_tensor_at(const checkpoint *c, uint64_t i);
/* NULL when absent */
const checkpoint_tensor *checkpoint_tensor_find(const checkpoint *c, const char *name);
/* Whether there is a tensor that an architecture can do without. */
bool checkpoint_has(const checkpoint *c, const char *name);

/* 0, or what tells apart the weights of a checkpoint that has no tensors but makes each that is asked for. */
uint64_t checkpoint_made_of(const checkpoint *c);
/* Such a tensor, [rows, cols]; rows = 1: a vector of f32. */
tensor checkpoint_make(const checkpoint *c, const char *name, uint32_t rows, uint32_t cols);

#endif
