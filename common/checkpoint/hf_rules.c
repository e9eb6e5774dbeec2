#include "checkpoint/hf_rules.h"

#include "base/mem.h"

#include <string.h>

#define SIGN       "\xE2\x96\x81" /* "▁" */
#define NAME_SHOWN 60             /* bytes of a part's name or pattern in an error */

/* What pre-tokenizers cut by; the patterns as their makers write them, the names as GGUF files do. */
#define WORDS(digits)                                                                                        \
    "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
static const struct {
    const char *pattern, *pre;
} patterns[] = {
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|" WORDS("\\p{N}{1,3}"), "llama-bpe"},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|" WORDS("\\p{N}"), "qwen2"},
    {"'(?i:[sdmt]|ll|ve|re)|" WORDS("\\p{N}{1,3}"), "llama-bpe"},
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", "gpt-2"},
};

const char *hf_text(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

bool hf_flag(const json_t *object, const char *key) {
    return json_is_true(json_object_get(object, key));
}

static bool is_type(const json_t *part, const char *type) {
    return strcmp(hf_text(part, "type"), type) == 0;
}

static status refuse(const char *what, const json_t *part, const char *known, errbuf *eb) {
    const char *type = hf_text(part, "type");
    return errf(eb, ST_UNSUPPORTED, "%s '%.*s' is not supported; %s", what, NAME_SHOWN,
                *type ? type : "without a type", known);
}

/* A part is a Sequence of parts, or one, or null. Runs `read` for each; one level of sequences. */
typedef status (*read_part)(hf_rules *r, const json_t *part, size_t at, errbuf *eb);
static status each_part(hf_rules *r, const json_t *part, const char *list, read_part read, errbuf *eb) {
    if (!part || json_is_null(part)) return ST_OK;
    if (!is_type(part, "Sequence")) return read(r, part, 0, eb);
    const json_t *parts = json_object_get(part, list);
    if (!json_is_array(parts)) return errf(eb, ST_CORRUPT, "a Sequence without its list '%s'", list);
    for (size_t i = 0; i < json_array_size(parts); i++) {
        status st = read(r, json_array_get(parts, i), i, eb);
        if (st != ST_OK) return st;
    }
    return ST_OK;
}

/* {"String": want} */
static bool is_string_pattern(const json_t *part, const char *want) {
    return strcmp(hf_text(json_object_get(part, "pattern"), "String"), want) == 0;
}

/* --- normalizer --- */

static status read_normalizer(hf_rules *r, const json_t *part, size_t at, errbuf *eb) {
    (void)at; /* any order: they do not touch each other's characters */
    if (is_type(part, "NFC")) {
        r->nfc = true;
    } else if (is_type(part, "Prepend") && strcmp(hf_text(part, "prepend"), SIGN) == 0) {
        r->prepends = true;
    } else if (is_type(part, "Replace") && is_string_pattern(part, " ") &&
               strcmp(hf_text(part, "content"), SIGN) == 0) {
        r->signs = true;
    } else {
        return refuse("normalizer", part, "NFC, Prepend and Replace (of spaces by '▁') are", eb);
    }
    return ST_OK;
}

/* --- pre-tokenizer --- */

static status set_pre(hf_rules *r, const char *pre, errbuf *eb) {
    if (r->pre) return errf(eb, ST_UNSUPPORTED, "pre-tokenizers that cut twice are not supported");
    r->pre = pre;
    return ST_OK;
}

static status read_byte_level(hf_rules *r, const json_t *part, size_t at, errbuf *eb) {
    r->byte_level = true;
    if (hf_flag(part, "add_prefix_space")) {
        if (at > 0)
            return errf(
                eb, ST_UNSUPPORTED,
                "pre-tokenizer 'ByteLevel' with add_prefix_space behind another one is not supported");
        r->space_prefix = "each";
    }
    const json_t *regex = json_object_get(part, "use_regex"); /* old files have none: it was always so */
    if (regex && !json_is_true(regex)) return ST_OK;
    if (r->pre && strcmp(r->pre, "digits") == 0) {
        r->pre = "smollm";
        return ST_OK;
    }
    return set_pre(r, "gpt-2", eb);
}

static status read_metaspace(hf_rules *r, const json_t *part, errbuf *eb) {
    static const char *const schemes[][2] = {{"always", "each"}, {"first", "first"}, {"never", "never"}};
    if (strcmp(hf_text(part, "replacement"), SIGN) != 0)
        return errf(eb, ST_UNSUPPORTED,
                    "pre-tokenizer 'Metaspace' with another sign than '▁' is not supported");
    const char *scheme = hf_text(part, "prepend_scheme");
    if (!*scheme) scheme = json_is_false(json_object_get(part, "add_prefix_space")) ? "never" : "always";
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
        if (strcmp(schemes[i][0], scheme) == 0) r->space_prefix = schemes[i][1];
    if (!r->space_prefix)
        return errf(eb, ST_UNSUPPORTED, "prepend_scheme '%.*s' is not supported; always, first and never are",
                    NAME_SHOWN, scheme);
    r->signs = true;
    return set_pre(r, json_is_false(json_object_get(part, "split")) ? "none" : "metaspace", eb);
}

static status read_split(hf_rules *r, const json_t *part, errbuf *eb) {
    if (hf_flag(part, "invert")) return errf(eb, ST_UNSUPPORTED, "an inverted Split is not supported");
    if (r->signs && is_string_pattern(part, " ")) return ST_OK; /* there are none left */
    const char *pattern = hf_text(json_object_get(part, "pattern"), "Regex");
    bool isolated = strcmp(hf_text(part, "behavior"), "Isolated") == 0;
    if (isolated && strcmp(pattern, "\\p{N}") == 0) return set_pre(r, "digits", eb);
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++)
        if (isolated && strcmp(patterns[i].pattern, pattern) == 0) return set_pre(r, patterns[i].pre, eb);
    return errf(eb, ST_UNSUPPORTED,
                "pre-tokenizer's pattern '%.*s' (%.20s) is not supported; those of GPT-2, Llama 3 and Qwen2 "
                "(Isolated) are",
                NAME_SHOWN, pattern, hf_text(part, "behavior"));
}

static status read_pre_tokenizer(hf_rules *r, const json_t *part, size_t at, errbuf *eb) {
    if (is_type(part, "ByteLevel")) return read_byte_level(r, part, at, eb);
    if (is_type(part, "Metaspace")) return read_metaspace(r, part, eb);
    if (is_type(part, "Split")) return read_split(r, part, eb);
    if (is_type(part, "Digits") && hf_flag(part, "individual_digits")) return set_pre(r, "digits", eb);
    return refuse("pre-tokenizer", part, "ByteLevel, Metaspace, Split and Digits (individual) are", eb);
}

static status check_pre(hf_rules *r, errbuf *eb) {
    if (r->byte_level) {
        if (r->signs || r->prepends)
            return errf(eb, ST_UNSUPPORTED, "both ByteLevel and '▁' for spaces are not supported");
        if (!r->pre || strcmp(r->pre, "digits") == 0)
            return errf(eb, ST_UNSUPPORTED,
                        "a pre-tokenizer that does not cut words is not supported; GPT-2's, Llama 3's, "
                        "Qwen2's and SmolLM's are");
        if (!r->space_prefix) r->space_prefix = "never";
        return ST_OK;
    }
    if (!r->signs)
        return errf(eb, ST_UNSUPPORTED,
                    "neither ByteLevel nor '▁' for spaces: that kind of BPE is not supported");
    if (r->pre && strcmp(r->pre, "none") != 0 && strcmp(r->pre, "metaspace") != 0)
        return errf(eb, ST_UNSUPPORTED, "pre-tokenizer '%s' without ByteLevel is not supported", r->pre);
    if (r->prepends && r->space_prefix)
        return errf(eb, ST_UNSUPPORTED, "both Prepend and Metaspace are not supported");
    if (!r->pre) r->pre = "none";
    if (!r->space_prefix) r->space_prefix = r->prepends ? "prepend" : "never";
    return ST_OK;
}

/* --- decoder --- */

static status read_decoder(hf_rules *r, const json_t *part, size_t at, errbuf *eb) {
    (void)at; /* their order is always the same */
    if (r->byte_level && is_type(part, "ByteLevel")) return ST_OK;
    if (!r->byte_level) {
        if (is_type(part, "Fuse")) return ST_OK;
        if (is_type(part, "Replace") && is_string_pattern(part, SIGN) &&
            strcmp(hf_text(part, "content"), " ") == 0)
            return ST_OK;
        if (is_type(part, "ByteFallback")) {
            r->byte_fallback = true;
            return ST_OK;
        }
        if (is_type(part, "Strip") && strcmp(hf_text(part, "content"), " ") == 0 &&
            json_integer_value(json_object_get(part, "start")) == 1 &&
            json_integer_value(json_object_get(part, "stop")) == 0) {
            r->strip_space = "one";
            return ST_OK;
        }
        if (is_type(part, "Metaspace") && strcmp(hf_text(part, "replacement"), SIGN) == 0) {
            if (strcmp(hf_text(part, "prepend_scheme"), "never") != 0) r->strip_space = "all";
            return ST_OK;
        }
    }
    return refuse("decoder", part,
                  r->byte_level ? "ByteLevel is"
                                : "Replace, ByteFallback, Fuse, Strip (one space) and Metaspace are",
                  eb);
}

/* --- post-processor --- */

/* The id of a special token of a template; -1 when there is none. */
static int64_t template_id(const json_t *part, const json_t *token) {
    const json_t *special = json_object_get(json_object_get(part, "special_tokens"), hf_text(token, "id"));
    const json_t *ids = json_object_get(special, "ids");
    const json_t *id = json_array_get(ids, 0);
    return json_array_size(ids) == 1 && json_is_integer(id) && json_integer_value(id) >= 0
               ? (int64_t)json_integer_value(id)
               : -1;
}

/* At most one special token before the text and one behind it. */
static status read_template(hf_rules *r, const json_t *part, errbuf *eb) {
    const json_t *single = json_object_get(part, "single");
    bool behind = false;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *item = json_array_get(single, i);
        const json_t *token = json_object_get(item, "SpecialToken");
        if (!token) {
            if (behind || !json_object_get(item, "Sequence"))
                return errf(eb, ST_CORRUPT, "a template that is not tokens around one text");
            behind = true;
            continue;
        }
        int64_t *to = behind ? &r->eos : &r->bos, id = template_id(part, token);
        if (id < 0)
            return errf(eb, ST_CORRUPT, "template: special token '%.*s' has no id of its own", NAME_SHOWN,
                        hf_text(token, "id"));
        if (*to >= 0)
            return errf(eb, ST_UNSUPPORTED,
                        "a template of more than one token before or behind the text is "
                        "not supported");
        *to = id;
    }
    return behind ? ST_OK : errf(eb, ST_CORRUPT, "a template without a text");
}

static status read_post(hf_rules *r, const json_t *part, size_t at, errbuf *eb) {
    (void)at; /* ByteLevel's is about offsets only */
    if (is_type(part, "ByteLevel")) return ST_OK;
    if (is_type(part, "TemplateProcessing")) return read_template(r, part, eb);
    return refuse("post-processor", part, "ByteLevel and TemplateProcessing are", eb);
}

status hf_rules_read(hf_rules *out, const json_t *root, errbuf *eb) {
    PRE(out);
    hf_rules r = {.bos = -1, .eos = -1, .strip_space = "none"};
    status st = each_part(&r, json_object_get(root, "normalizer"), "normalizers", read_normalizer, eb);
    if (st == ST_OK)
        st = each_part(&r, json_object_get(root, "pre_tokenizer"), "pretokenizers", read_pre_tokenizer, eb);
    if (st == ST_OK) st = check_pre(&r, eb);
    const json_t *decoder = json_object_get(root, "decoder");
    if (st == ST_OK && !json_is_object(decoder)) st = errf(eb, ST_UNSUPPORTED, "no decoder is not supported");
    if (st == ST_OK) st = each_part(&r, decoder, "decoders", read_decoder, eb);
    if (st == ST_OK) st = each_part(&r, json_object_get(root, "post_processor"), "processors", read_post, eb);
    if (st == ST_OK) *out = r;
    return st;
}
