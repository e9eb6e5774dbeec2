/* pretok - cuts text into the pieces that merges never cross.
 *
 * Private to this folder. A pre-tokenizer is a short list of patterns; each cuts the pieces of the one before
 * it, and what a pattern does not match is a piece of its own. The cuts are done depth first, so no list of
 * pieces is kept. PCRE2 compiles to machine code where it can; a match has a limit on its work. */
#ifndef BATON_TEXT_PRETOK_H
#define BATON_TEXT_PRETOK_H

#include "base/status.h"
#include "checkpoint/checkpoint.h"

typedef struct pretok pretok;

/* By tokenizer.ggml.pre (absent: "default"). ST_UNSUPPORTED names it and the supported ones. Other
 * vocabularies than byte-level ones are not cut, but by "metaspace" (before each "▁"). Caller frees with
 * pretok_free. */
status pretok_new(pretok **out, const checkpoint *ckpt, bool byte_level, errbuf *eb);
void pretok_free(pretok *p);

/* A piece that is a token as a whole is not built from merges */
bool pretok_whole_words(const pretok *p);
/* Unless the file says otherwise */
bool pretok_adds_bos(const pretok *p);

/* Text is composed (Unicode's form NFC) before it is cut, unless the file says otherwise. llama.cpp does not,
 * but the models' makers do. */
bool pretok_composes(const pretok *p);

/* Called with each piece in order; anything but ST_OK ends the walk and is returned. */
typedef status (*pretok_piece)(void *arg, const char *piece, size_t len, errbuf *eb);
/* Text is valid UTF-8. ST_INVALID when a match takes more work than the limit. */
status pretok_split(const pretok *p, const char *text, size_t len, pretok_piece piece, void *arg, errbuf *eb);

#endif
