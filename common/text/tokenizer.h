/* tokenizer - BPE from a checkpoint, both ways: byte-level (tokenizer.ggml.model = "gpt2") and
 * SentencePiece's
 * ("llama").
 *
 * Text is split by special tokens (when parse_special), brought into the form that the vocabulary was made
 * for (NFC, a space in front, "▁" for spaces), cut by the pre-tokenizer's pattern (PCRE2, JIT, match limit),
 * then each piece is merged with a heap: O(n log n). Read-only after tokenizer_new: any thread may encode
 * (match data is per call). A byte for which a byte-level vocabulary has no token (some control characters
 * in SmolLM2's) is left out, as its makers do. */
#ifndef BATON_TEXT_TOKENIZER_H
#define BATON_TEXT_TOKENIZER_H

#include "base/status.h"
#include "checkpoint/checkpoint.h"
#include "text/text_span.h"
#include "text/token_list.h"

typedef struct tokenizer tokenizer;

/* ST_UNSUPPORTED names the tokenizer model or pre-tokenizer and the supported ones. Keeps pointers into
 * `ckpt`. Caller frees with tokenizer_free. */
status tokenizer_new(tokenizer **out, const checkpoint *ckpt, errbuf *eb);
void tokenizer_free(tokenizer *t);

typedef struct encode_options {
    bool add_special;       /* put the BOS in front and the EOS behind where the file says so */
    bool parse_special;     /* special tokens written in the text ("<|im_start|>") become their ids, but not
                             * inside `plain`; those that the file calls user-defined are always found */
    const text_span *plain; /* [plain_count], ascending, not overlapping */
    uint32_t plain_count;
    uint32_t max_tokens; /* at most so many ids in the list, those that were there before included; 0 allows
                            none */
} encode_options;

/* Appends the ids of text; a failure leaves the list as it was. ST_INVALID with the byte offset when it is
 * not UTF-8; ST_NOMEM ("more than N tokens") when it gets longer than max_tokens (it stops: a hostile body
 * costs no more). */
status tokenizer_encode(const tokenizer *t, const char *text, size_t len, const encode_options *opt,
                        token_list *out, errbuf *eb);

uint32_t tokenizer_vocab(const tokenizer *t);
/* Raw bytes of one token (special tokens: their text). Returns the length; writes at most cap. Empty for ids
 * out of range. */
size_t tokenizer_bytes(const tokenizer *t, int32_t id, char *out, size_t cap);
/* Control tokens: not part of the answer's text */
bool tokenizer_is_special(const tokenizer *t, int32_t id);
/* All end-of-generation ids: eos, eot, eom and what the vocabulary names as such (<|im_end|>, <|eot_id|>,
 * ...). Borrowed. */
const int32_t *tokenizer_eog(const tokenizer *t, uint32_t *count);
/* -1 = none */
int32_t tokenizer_bos(const tokenizer *t);
/* Id of exactly this token text, or -1 */
int32_t tokenizer_find(const tokenizer *t, const char *text);

/* What of its spaces a text loses when it is decoded: the encoding put one in front. */
typedef enum space_strip {
    STRIP_NONE,
    STRIP_ONE, /* the first character, when it is a space */
    STRIP_ALL, /* every space of the first token */
} space_strip;
space_strip tokenizer_strip(const tokenizer *t);

/* Incremental detokenising: bytes go in by token, whole UTF-8 characters come out. At most 3 bytes are held
 * back; an invalid sequence becomes U+FFFD. Start zeroed for a whole text, with
 * detok_after for what follows a prompt: the space that encoding puts in front of a text is left out of its
 * first token, and of no other. */
typedef struct detok {
    bool begun; /* some of the text was shown */
    unsigned char held[4];
    uint32_t held_count;
} detok;
struct buf;
detok detok_after(const tokenizer *t, const int32_t *ids, uint32_t count);
/* Appends the text of `id` to out (special tokens: nothing, unless keep_special). */
void detok_add(detok *d, const tokenizer *t, int32_t id, bool keep_special, struct buf *out);
/* What is held becomes U+FFFD */
void detok_end(detok *d, struct buf *out);

#endif
