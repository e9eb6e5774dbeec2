/* hf_tokenizer - see the header. The folder's files and what each says:
 *
 *   tokenizer.json         vocabulary, merges, added tokens; what is done to text (hf_rules.h)
 *   tokenizer_config.json  which tokens are BOS and EOS, whether they are added, the chat template
 *   special_tokens_map.json  BOS and EOS where the former says nothing
 *   chat_template.jinja    the chat template; it wins
 *
 * All but the first may be absent. */
#include "checkpoint/hf_tokenizer.h"

#include "base/mem.h"
#include "checkpoint/hf_rules.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS_MAX   (1u << 22)
#define HOLES_MAX    4096u /* ids without a token, besides as many as there are tokens */
#define TEMPLATE_MAX (1u << 20)
#define SHOWN        40 /* bytes of a token in an error */

/* As text/vocab.h numbers them: GGUF's. */
enum { KIND_NORMAL = 1, KIND_CONTROL = 3, KIND_USER_DEFINED = 4, KIND_UNUSED = 5, KIND_BYTE = 6 };

typedef struct hf_token {
    const char *text; /* borrowed from the JSON; NULL = no token has this id */
    size_t len;
    uint8_t kind, flags;
} hf_token;

typedef struct reading {
    key_store *to;
    const json_t *vocab; /* text -> id */
    const json_t *added;
    hf_rules rules;
    hf_token *tokens; /* [count]; owned */
    uint32_t count;
} reading;

/* --- tokens --- */

static int64_t id_of(const json_t *value) {
    json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    return id >= 0 && id < TOKENS_MAX ? (int64_t)id : -1;
}

/* How many ids there are: one more than the highest, or the embedding's rows. */
static status count_ids(reading *r, uint32_t rows, errbuf *eb) {
    const char *text;
    json_t *value;
    size_t given = json_object_size(r->vocab) + json_array_size(r->added), at;
    int64_t highest = -1;
    json_object_foreach((json_t *)r->vocab, text, value) {
        int64_t id = id_of(value);
        if (id < 0)
            return errf(eb, ST_CORRUPT, "the id of token '%.*s' is no number below %u", SHOWN, text,
                        TOKENS_MAX);
        highest = MAX(highest, id);
    }
    json_array_foreach(r->added, at, value) {
        int64_t id = id_of(json_object_get(value, "id"));
        if (id < 0)
            return errf(eb, ST_CORRUPT, "the id of added token %zu is no number below %u", at, TOKENS_MAX);
        highest = MAX(highest, id);
    }
    if (highest < 0) return errf(eb, ST_CORRUPT, "there are no tokens");
    if (rows && highest >= rows)
        return errf(eb, ST_CORRUPT, "token id %" PRId64 " is beyond the model's %u rows of embeddings",
                    highest, rows);
    if ((uint64_t)highest > given * 2 + HOLES_MAX)
        return errf(eb, ST_CORRUPT, "token id %" PRId64 " among only %zu tokens", highest, given);
    r->count = MAX((uint32_t)highest + 1, rows);
    return ST_OK;
}

static bool is_byte_text(const char *text, size_t len) {
    static const char digits[] = "0123456789ABCDEF";
    return len == 6 && memcmp(text, "<0x", 3) == 0 && memchr(digits, text[3], 16) &&
           memchr(digits, text[4], 16) && text[5] == '>';
}

static status read_vocab(reading *r, bool byte_fallback, errbuf *eb) {
    const char *text;
    size_t len;
    json_t *value;
    json_object_keylen_foreach((json_t *)r->vocab, text, len, value) {
        hf_token *t = &r->tokens[id_of(value)];
        if (t->text)
            return errf(eb, ST_CORRUPT, "tokens '%.*s' and '%.*s' have the same id", SHOWN, t->text, SHOWN,
                        text);
        bool byte = byte_fallback && is_byte_text(text, len);
        *t = (hf_token){.text = text, .len = len, .kind = byte ? KIND_BYTE : KIND_NORMAL};
    }
    return ST_OK;
}

static status read_added(reading *r, errbuf *eb) {
    size_t at;
    json_t *value;
    json_array_foreach(r->added, at, value) {
        const json_t *content = json_object_get(value, "content");
        const char *text = json_string_value(content);
        size_t len = json_string_length(content);
        int64_t id = id_of(json_object_get(value, "id"));
        if (!text) return errf(eb, ST_CORRUPT, "added token %zu has no content", at);
        if (len == 0) continue; /* it is never found */
        hf_token *t = &r->tokens[id];
        if (t->text && (t->len != len || memcmp(t->text, text, len) != 0))
            return errf(eb, ST_CORRUPT, "added token '%.*s' has the id of '%.*s'", SHOWN, text, SHOWN,
                        t->text);
        const json_t *other = json_object_getn(r->vocab, text, len);
        if (other && id_of(other) != id)
            return errf(eb, ST_CORRUPT, "added token '%.*s' has another id in the vocabulary", SHOWN, text);
        bool prefixed = hf_flag(value, "normalized") && r->rules.prepends;
        *t = (hf_token){.text = text,
                        .len = len,
                        .kind = hf_flag(value, "special") ? KIND_CONTROL : KIND_USER_DEFINED,
                        .flags = (uint8_t)((hf_flag(value, "lstrip") ? ADDED_LSTRIP : 0) |
                                           (hf_flag(value, "rstrip") ? ADDED_RSTRIP : 0) |
                                           (hf_flag(value, "single_word") ? ADDED_SINGLE_WORD : 0) |
                                           (prefixed ? ADDED_PREFIXED : 0))};
    }
    return ST_OK;
}

static void store_tokens(reading *r) {
    static const char texts[] = "tokenizer.ggml.tokens", kinds[] = "tokenizer.ggml.token_type",
                      added[] = "tokenizer.hf.added_flags";
    bool flags = false;
    key_store_list(r->to, texts, CHECKPOINT_TEXTS, r->count);
    key_store_list(r->to, kinds, CHECKPOINT_INTEGERS, r->count);
    for (uint32_t i = 0; i < r->count; i++) {
        const hf_token *t = &r->tokens[i];
        if (t->text) key_store_list_text(r->to, texts, i, t->text, t->len);
        key_store_list_i64(r->to, kinds, i, t->text ? t->kind : KIND_UNUSED);
        flags = flags || t->flags;
    }
    if (!flags) return;
    key_store_list(r->to, added, CHECKPOINT_INTEGERS, r->count);
    for (uint32_t i = 0; i < r->count; i++) key_store_list_i64(r->to, added, i, r->tokens[i].flags);
}

/* --- merges --- */

/* The two texts of a merge: ["a", "b"], or "a b" in older files. */
static bool pair_of(const json_t *merge, checkpoint_text pair[2]) {
    if (json_is_array(merge)) {
        for (size_t i = 0; i < 2; i++) {
            const json_t *part = json_array_get(merge, i);
            if (!json_is_string(part)) return false;
            pair[i] = (checkpoint_text){json_string_value(part), json_string_length(part)};
        }
        return json_array_size(merge) == 2;
    }
    const char *text = json_string_value(merge);
    size_t len = json_string_length(merge);
    const char *space = text ? memchr(text, ' ', len) : NULL;
    if (!space) return false;
    pair[0] = (checkpoint_text){text, (uint64_t)(space - text)};
    pair[1] = (checkpoint_text){space + 1, len - pair[0].len - 1};
    return true;
}

static status read_merges(reading *r, const json_t *merges, errbuf *eb) {
    static const char key[] = "tokenizer.ggml.merges";
    if (!json_is_array(merges)) return errf(eb, ST_CORRUPT, "the model has no list of merges");
    key_store_list(r->to, key, CHECKPOINT_INTEGERS, (uint64_t)json_array_size(merges) * 3);
    buf joined = {0};
    status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < json_array_size(merges); i++) {
        checkpoint_text pair[2];
        if (!pair_of(json_array_get(merges, i), pair)) {
            st = errf(eb, ST_CORRUPT, "merge %zu is no pair of texts", i);
            break;
        }
        buf_reset(&joined);
        buf_add(&joined, pair[0].data, pair[0].len);
        buf_add(&joined, pair[1].data, pair[1].len);
        const checkpoint_text words[3] = {pair[0], pair[1], {joined.data, joined.len}};
        for (size_t k = 0; k < 3 && st == ST_OK; k++) {
            int64_t id = words[k].len ? id_of(json_object_getn(r->vocab, words[k].data, words[k].len)) : -1;
            if (id < 0)
                st = errf(eb, ST_CORRUPT, "merge %zu: '%.*s' is no token", i, (int)MIN(words[k].len, SHOWN),
                          words[k].len ? words[k].data : "");
            else
                key_store_list_i64(r->to, key, i * 3 + k, id);
        }
    }
    buf_done(&joined);
    return st;
}

/* --- the model and what is around it --- */

static bool is_empty(const json_t *value) {
    return !value || json_is_null(value) || (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_number(value) && json_number_value(value) == 0);
}

static status check_model(const json_t *model, errbuf *eb) {
    const char *type = hf_text(model, "type");
    if (!json_is_object(model)) return errf(eb, ST_CORRUPT, "there is no model");
    if (strcmp(type, "BPE") != 0 && (*type || !json_object_get(model, "merges"))) /* old files name none */
        return errf(eb, ST_UNSUPPORTED, "model '%.*s' is not supported; BPE is", SHOWN, type);
    static const char *const absent[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < ARRAY_LEN(absent); i++)
        if (!is_empty(json_object_get(model, absent[i])))
            return errf(eb, ST_UNSUPPORTED, "a BPE model with '%s' is not supported", absent[i]);
    if (!json_is_object(json_object_get(model, "vocab")))
        return errf(eb, ST_CORRUPT, "the model has no vocabulary");
    return ST_OK;
}

static void store_text(key_store *to, const char *key, const char *text) {
    key_store_text(to, key, text, strlen(text));
}

static status store_model(reading *r, const json_t *model, errbuf *eb) {
    const hf_rules *rules = &r->rules;
    store_text(r->to, "tokenizer.ggml.model", rules->byte_level ? "gpt2" : "llama");
    store_text(r->to, "tokenizer.ggml.pre", rules->pre);
    store_text(r->to, "tokenizer.hf.space_prefix", rules->space_prefix);
    store_text(r->to, "tokenizer.hf.strip_space", rules->strip_space);
    key_store_bool(r->to, "tokenizer.hf.nfc", rules->nfc);
    key_store_bool(r->to, "tokenizer.hf.whole_words", hf_flag(model, "ignore_merges"));
    key_store_bool(r->to, "tokenizer.hf.fuse_unknown", hf_flag(model, "fuse_unk"));
    key_store_bool(r->to, "tokenizer.ggml.add_bos_token", rules->bos >= 0);
    key_store_bool(r->to, "tokenizer.ggml.add_eos_token", rules->eos >= 0);
    const int64_t ends[2] = {rules->bos, rules->eos};
    for (size_t i = 0; i < 2; i++) {
        if (ends[i] < 0) continue;
        if (ends[i] >= r->count)
            return errf(eb, ST_CORRUPT, "the template's token %" PRId64 " is beyond the vocabulary", ends[i]);
        key_store_u64(r->to, i ? "tokenizer.ggml.eos_token_id" : "tokenizer.ggml.bos_token_id",
                      (uint64_t)ends[i]);
    }
    const json_t *unknown = json_object_get(model, "unk_token");
    if (is_empty(unknown)) return ST_OK;
    int64_t id = id_of(json_object_get(r->vocab, hf_text(model, "unk_token")));
    if (id < 0)
        return errf(eb, ST_CORRUPT, "the unknown token '%.*s' is not in the vocabulary", SHOWN,
                    hf_text(model, "unk_token"));
    key_store_u64(r->to, "tokenizer.ggml.unknown_token_id", (uint64_t)id);
    key_store_bool(r->to, "tokenizer.hf.unknown_bytes", true);
    return ST_OK;
}

static status read_root(reading *r, const json_t *root, uint32_t rows, errbuf *eb) {
    const json_t *model = json_object_get(root, "model");
    status st = check_model(model, eb);
    if (st == ST_OK) st = hf_rules_read(&r->rules, root, eb);
    if (st != ST_OK) return st;
    r->vocab = json_object_get(model, "vocab");
    r->added = json_object_get(root, "added_tokens");
    bool byte_fallback = hf_flag(model, "byte_fallback") && !r->rules.byte_level;
    if (byte_fallback != r->rules.byte_fallback)
        return errf(eb, ST_UNSUPPORTED, "byte_fallback in the %s only is not supported",
                    byte_fallback ? "model" : "decoder");
    st = count_ids(r, rows, eb);
    if (st != ST_OK) return st;
    r->tokens = xcalloc(r->count, sizeof *r->tokens);
    st = read_vocab(r, byte_fallback, eb);
    if (st == ST_OK) st = read_added(r, eb);
    if (st == ST_OK) st = read_merges(r, json_object_get(model, "merges"), eb);
    if (st == ST_OK) st = store_model(r, model, eb);
    if (st == ST_OK) store_tokens(r);
    return st;
}

/* Takes `root`, NULL when it could not be read. */
static status take_root(key_store *to, json_t *root, const json_error_t *error, uint32_t rows, errbuf *eb) {
    if (!root) return errf(eb, ST_CORRUPT, "line %d: %s", error->line, error->text);
    reading r = {.to = to};
    status st = read_root(&r, root, rows, eb);
    free(r.tokens);
    json_decref(root);
    return st;
}

#define JSON_EXACT (JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL)

status hf_tokenizer_parse(key_store *to, const char *json, size_t len, uint32_t vocab, errbuf *eb) {
    PRE(to);
    PRE(json || len == 0);
    json_error_t error;
    json_t *root = json_loadb(json ? json : "", len, JSON_EXACT, &error);
    return err_prefix(eb, take_root(to, root, &error, vocab, eb), "tokenizer.json");
}

/* --- the files beside it --- */

/* *out NULL when the file is not there. Caller frees with json_decref. */
static status read_json(const char *folder, const char *name, size_t flags, json_t **out, errbuf *eb) {
    char *path = xasprintf("%s/%s", folder, name);
    json_error_t error = {.text = ""};
    status st = ST_OK;
    errno = 0;
    *out = json_load_file(path, flags, &error);
    if (!*out && json_error_code(&error) == json_error_cannot_open_file) {
        if (errno != ENOENT) st = errf(eb, ST_IO, "%s: cannot open: %m", path);
    } else if (!*out) {
        st = errf(eb, ST_CORRUPT, "%s: line %d: %s", path, error.line, error.text);
    }
    free(path);
    return st;
}

/* "<s>", or {"content": "<s>", ...} */
static const char *token_text(const json_t *config, const char *key) {
    const json_t *value = json_object_get(config, key);
    return json_is_object(value) ? hf_text(value, "content") : hf_text(config, key);
}

static int64_t find_token(const key_store *s, const char *text) {
    static const char key[] = "tokenizer.ggml.tokens";
    checkpoint_kind kind;
    uint64_t count;
    if (!*text || !key_store_get_list(s, key, &kind, &count)) return -1;
    for (uint64_t i = 0; i < count; i++) {
        checkpoint_text t;
        if (key_store_get_list_text(s, key, i, &t) && t.len == strlen(text) &&
            memcmp(t.data, text, t.len) == 0)
            return (int64_t)i;
    }
    return -1;
}

/* Which tokens begin and end a text, and whether encoding adds them. What the configuration says of adding
 * wins over tokenizer.json's post-processor: transformers builds that anew. */
static void store_ends(key_store *to, const json_t *config, const json_t *map) {
    static const struct {
        const char *token, *id_key, *add, *add_key;
    } ends[] = {
        {"bos_token", "tokenizer.ggml.bos_token_id", "add_bos_token", "tokenizer.ggml.add_bos_token"},
        {"eos_token", "tokenizer.ggml.eos_token_id", "add_eos_token", "tokenizer.ggml.add_eos_token"},
    };
    bool says = json_is_boolean(json_object_get(config, "add_bos_token")) ||
                json_is_boolean(json_object_get(config, "add_eos_token"));
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        const char *text = token_text(config, ends[i].token);
        if (!*text) text = token_text(map, ends[i].token);
        int64_t id = find_token(to, text);
        bool added = false;
        key_store_get_bool(to, ends[i].add_key, &added);
        if (id >= 0 && (says || !added)) key_store_u64(to, ends[i].id_key, (uint64_t)id);
        if (says) key_store_bool(to, ends[i].add_key, id >= 0 && hf_flag(config, ends[i].add));
    }
}

/* A text, or a list of named ones: "default". */
static void store_template(key_store *to, const json_t *config) {
    const json_t *value = json_object_get(config, "chat_template");
    size_t at;
    json_t *named;
    json_array_foreach(value, at, named) {
        if (strcmp(hf_text(named, "name"), "default") == 0) value = json_object_get(named, "template");
        if (!json_is_array(value)) break;
    }
    if (json_is_string(value))
        key_store_text(to, "tokenizer.chat_template", json_string_value(value), json_string_length(value));
}

static status read_template_file(key_store *to, const char *folder, errbuf *eb) {
    char *path = xasprintf("%s/chat_template.jinja", folder);
    FILE *f = fopen(path, "rb");
    status st = ST_OK;
    if (f) {
        char *text = xmalloc(TEMPLATE_MAX + 1);
        size_t len = fread(text, 1, TEMPLATE_MAX + 1, f);
        if (ferror(f))
            st = errf(eb, ST_IO, "%s: cannot read: %m", path);
        else if (len > TEMPLATE_MAX)
            st = errf(eb, ST_CORRUPT, "%s: more than %u bytes", path, TEMPLATE_MAX);
        else
            key_store_text(to, "tokenizer.chat_template", text, len);
        free(text);
        fclose(f);
    } else if (errno != ENOENT) {
        st = errf(eb, ST_IO, "%s: cannot open: %m", path);
    }
    free(path);
    return st;
}

status hf_tokenizer_read(key_store *to, const char *folder, uint32_t vocab, errbuf *eb) {
    PRE(to);
    PRE(folder);
    json_t *root = NULL, *config = NULL, *map = NULL;
    status st = read_json(folder, "tokenizer.json", JSON_EXACT, &root, eb);
    if (st == ST_OK && !root)
        st = errf(eb, ST_IO,
                  "%s/tokenizer.json is not there (older folders: transformers' save_pretrained writes "
                  "it)",
                  folder);
    if (st != ST_OK) return st;
    st = take_root(to, root, &(json_error_t){0}, vocab, eb);
    if (st != ST_OK) return err_prefix(eb, st, "%s/tokenizer.json", folder);
    st = read_json(folder, "tokenizer_config.json", JSON_ALLOW_NUL, &config, eb);
    if (st == ST_OK) st = read_json(folder, "special_tokens_map.json", JSON_ALLOW_NUL, &map, eb);
    if (st == ST_OK) {
        store_ends(to, config, map);
        store_template(to, config);
        st = read_template_file(to, folder, eb);
    }
    json_decref(config);
    json_decref(map);
    return st;
}
