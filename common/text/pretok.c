#include "text/pretok.h"

#include "base/mem.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdlib.h>
#include <string.h>

#define PATTERNS_MAX 4u
/* A match that needs more is an attack: the patterns backtrack at most once over a run of white space. */
#define MATCH_LIMIT 50000000u

/* Unicode's White_Space. PCRE2's \s is not it: it has U+180E too, which Unicode took out in version 6.3. */
#define SPACE "\\p{Z}\\x09-\\x0d\\x{85}"
#define GPT2                                                                                                 \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" SPACE "\\p{L}\\p{N}]+|[" SPACE "]+(?![^" SPACE        \
    "])|[" SPACE "]"                                                                                         \
    "+"
/* Llama 3's pattern and its descendants differ in how many digits stay together. */
#define LLAMA3(digits)                                                                                       \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^" SPACE                       \
    "\\p{L}\\p{N}]+[\\r\\n]*|[" SPACE "]*[\\r\\n]+|[" SPACE "]+(?![^" SPACE "])|[" SPACE "]+"

typedef struct pretok_spec {
    const char *names[10]; /* values of tokenizer.ggml.pre */
    bool whole_words;
    bool adds_bos;
    bool composes;
    const char *patterns[PATTERNS_MAX];
} pretok_spec;

static const pretok_spec specs[] = {
    {{"smollm", "starcoder", "refact", "command-r", "codeshell", "minerva-7b"},
     false,
     false,
     false,
     {"\\p{N}", GPT2}},
    {{"gpt-2", "phi-2", "mpt", "olmo", "jais", "gigachat", "mellum"}, false, false, false, {GPT2}},
    {{"llama-bpe", "llama3", "llama-v3", "falcon3", "lfm2"}, true, true, false, {LLAMA3("\\p{N}{1,3}")}},
    {{"qwen2"}, false, false, true, {LLAMA3("\\p{N}")}},
    {{"deepseek-r1-qwen", "stablelm2"}, false, false, false, {LLAMA3("\\p{N}")}},
    {{"default"}, false, false, false, {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
};

/* Of vocabularies that are not byte-level. */
static const pretok_spec uncut = {{"none"}, false, true, false, {NULL}};
static const pretok_spec metaspace = {{"metaspace"}, false, true, false, {"\\x{2581}[^\\x{2581}]*"}};

struct pretok {
    const pretok_spec *spec;
    pcre2_code *codes[PATTERNS_MAX];
    uint32_t count;
    pcre2_match_context *limits;
};

static bool is_name(checkpoint_text name, const char *want) {
    return name.len == strlen(want) && memcmp(name.data, want, name.len) == 0;
}

static const pretok_spec *find_spec(checkpoint_text name) {
    for (size_t i = 0; i < ARRAY_LEN(specs); i++)
        for (size_t n = 0; n < ARRAY_LEN(specs[i].names) && specs[i].names[n]; n++)
            if (is_name(name, specs[i].names[n])) return &specs[i];
    return NULL;
}

static status refuse(checkpoint_text name, errbuf *eb) {
    buf known = {0};
    for (size_t i = 0; i < ARRAY_LEN(specs); i++) buf_addf(&known, "%s%s", i ? ", " : "", specs[i].names[0]);
    errf(eb, ST_UNSUPPORTED,
         "tokenizer: pre-tokenizer '%.*s' is not supported; supported are %s and their like",
         (int)MIN(name.len, 64u), name.data, known.data);
    buf_done(&known);
    return ST_UNSUPPORTED;
}

status pretok_new(pretok **out, const checkpoint *ckpt, bool byte_level, errbuf *eb) {
    PRE(out);
    PRE(ckpt);
    checkpoint_text name = {"default", 7};
    checkpoint_string(ckpt, "tokenizer.ggml.pre", &name);
    const pretok_spec *spec = byte_level ? find_spec(name) : is_name(name, "metaspace") ? &metaspace : &uncut;
    if (!spec) return refuse(name, eb);

    pretok *p = xcalloc(1, sizeof *p);
    p->spec = spec;
    p->limits = pcre2_match_context_create(NULL);
    CHECK(p->limits);
    pcre2_set_match_limit(p->limits, MATCH_LIMIT);
    for (; p->count < PATTERNS_MAX && spec->patterns[p->count]; p->count++) {
        int error;
        PCRE2_SIZE at;
        pcre2_code *code = pcre2_compile((PCRE2_SPTR)spec->patterns[p->count], PCRE2_ZERO_TERMINATED,
                                         PCRE2_UTF | PCRE2_UCP, &error, &at, NULL);
        CHECK(code); /* the patterns are ours */
        /* Without a JIT (another CPU, no executable memory) the interpreter gives the same pieces, slower. */
        pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
        p->codes[p->count] = code;
    }
    *out = p;
    return ST_OK;
}

void pretok_free(pretok *p) {
    if (!p) return;
    for (uint32_t i = 0; i < p->count; i++) pcre2_code_free(p->codes[i]);
    pcre2_match_context_free(p->limits);
    free(p);
}

bool pretok_whole_words(const pretok *p) {
    return p->spec->whole_words;
}

bool pretok_adds_bos(const pretok *p) {
    return p->spec->adds_bos;
}

bool pretok_composes(const pretok *p) {
    return p->spec->composes;
}

/* One walk over a text: what the levels share. */
typedef struct walk {
    const pretok *pretok;
    pcre2_match_data *match; /* one pair of offsets; read before the next level overwrites it */
    pretok_piece piece;
    void *arg;
    errbuf *eb;
} walk;

/* Cuts text by pattern `level`, and each cut by those after it. Recursion is at most PATTERNS_MAX deep. */
static status split_level(const walk *w, uint32_t level, const char *text, size_t len) {
    if (len == 0) return ST_OK;
    if (level == w->pretok->count) return w->piece(w->arg, text, len, w->eb);

    size_t at = 0;
    while (at < len) {
        size_t begin = len, end = len;
        int rc = pcre2_match(w->pretok->codes[level], (PCRE2_SPTR)text, len, at, PCRE2_NO_UTF_CHECK, w->match,
                             w->pretok->limits);
        if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) {
            PCRE2_UCHAR why[120] = "";
            pcre2_get_error_message(rc, why, sizeof why);
            return errf(w->eb, ST_INVALID, "tokenizer: cannot cut the text: %s", (const char *)why);
        }
        if (rc >= 0) {
            const PCRE2_SIZE *offsets = pcre2_get_ovector_pointer(w->match);
            begin = offsets[0];
            end = offsets[1];
            CHECK(begin >= at);
            CHECK(end > begin); /* no pattern matches the empty string */
        }
        status st = split_level(w, level + 1, text + at, begin - at);
        if (st == ST_OK) st = split_level(w, level + 1, text + begin, end - begin);
        if (st != ST_OK) return st;
        at = end;
    }
    return ST_OK;
}

status pretok_split(const pretok *p, const char *text, size_t len, pretok_piece piece, void *arg,
                    errbuf *eb) {
    PRE(p);
    PRE(piece);
    PRE(text || len == 0);
    walk w = {.pretok = p, .match = pcre2_match_data_create(1, NULL), .piece = piece, .arg = arg, .eb = eb};
    if (!w.match) return errf(eb, ST_NOMEM, "tokenizer: no memory to match");
    status st = split_level(&w, 0, text, len);
    pcre2_match_data_free(w.match);
    return st;
}
