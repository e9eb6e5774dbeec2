/* vocab - the tokens of a vocabulary: text, kind, id by text, and which ones end a generation.
 *
 * Private to this folder. Token texts are written in one of two ways: byte-level vocabularies in the
 * characters of byte_chars.h, SentencePiece's as they are but for "▁", a space, and "<0x0A>", a byte that
 * stands for itself where a character has no token. Texts are borrowed from the checkpoint. Read-only after
 * vocab_init. */
#ifndef BATON_TEXT_VOCAB_H
#define BATON_TEXT_VOCAB_H

#include "base/status.h"
#include "checkpoint/byte_chars.h"
#include "checkpoint/checkpoint.h"

#define VOCAB_MAX (1u << 22)

/* Numbers equal GGUF's tokenizer.ggml.token_type. */
typedef enum token_kind {
    TOKEN_UNDEFINED,
    TOKEN_NORMAL,
    TOKEN_UNKNOWN,
    TOKEN_CONTROL,
    TOKEN_USER_DEFINED,
    TOKEN_UNUSED,
    TOKEN_BYTE,
} token_kind;

#define SPACE_SIGN     "\xE2\x96\x81" /* U+2581 "▁" */
#define SPACE_SIGN_LEN 3u

typedef struct vocab {
    uint32_t count;
    bool byte_level;       /* how texts are written: see above */
    checkpoint_text *text; /* [count]; borrowed from the file */
    uint8_t *kind;         /* [count], token_kind */
    uint32_t *slots;       /* open addressing text -> id + 1; [slot_mask + 1], at most half full */
    uint32_t slot_mask;
    uint32_t longest;  /* bytes of the longest text */
    int32_t bos, eos;  /* -1 = none */
    int32_t unknown;   /* what a character without a token becomes; -1 = it is left out */
    bool fuse_unknown; /* several in a row become one */
    int32_t *eog;      /* [eog_count], ascending */
    uint32_t eog_count;
    byte_chars bytes;        /* how bytes are written */
    int32_t id_of_byte[256]; /* token of a single byte; -1 = the vocabulary has none */
} vocab;

status vocab_init(vocab *v, const checkpoint *ckpt, errbuf *eb);
/* Also a half-built one */
void vocab_done(vocab *v);

/* -1 = none */
int32_t vocab_find(const vocab *v, const char *text, size_t len);
/* The same among the tokens that text is made of: no control token, none for a byte. */
int32_t vocab_find_plain(const vocab *v, const char *text, size_t len);
/* Raw bytes of a token; returns the length and writes at most cap. */
size_t vocab_bytes(const vocab *v, int32_t id, char *out, size_t cap);
/* Control and unknown tokens: the model's own signs, never part of a text. */
bool vocab_is_control(const vocab *v, int32_t id);

#endif
