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
#include "checkpoint/hf_lists.h"
#include "checkpoint/hf_rules.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS_MAX    (1u << 22)
#define HOLES_MAX     4096u /* ids without a token, besides as many as there are tokens */
#define TEMPLATE_MAX  (1u << 20)
#define TOKENIZER_MAX (1u << 29) /* bytes of tokenizer.json */
#define READ_BYTES    (1u << 16)
#define SHOWN         40 /* bytes of a token in an error */

/* As text/vocab.h numbers them: GGUF's. */
enum { KIND_NORMAL = 1, KIND_CONTROL = 3, KIND_USER_DEFINED = 4, KIND_UNUSED = 5, KIND_BYTE = 6 };

typedef struct hf_token {
    const char *text; /* borrowed from the JSON; NULL = no token has this id */
    size_t len;
    uint8_t kind, flags;
} hf_token;

typedef struct reading {
    key_store *to;
    hf_lists lists;
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
    json_t *value;
    size_t given = r->lists.count + json_array_size(r->added), at;
    int64_t highest = -1;
    for (uint32_t i = 0; i < r->lists.count; i++) highest = MAX(highest, r->lists.words[i].id);
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
    for (uint32_t i = 0; i < r->lists.count; i++) {
        const hf_word *w = &r->lists.words[i];
        hf_token *t = &r->tokens[w->id];
        if (t->text)
            return errf(eb, ST_CORRUPT, "tokens '%.*s' and '%.*s' have the same id", (int)MIN(t->len, SHOWN),
                        t->text, (int)MIN(w->len, SHOWN), w->text);
        bool byte = byte_fallback && is_byte_text(w->text, w->len);
        *t = (hf_token){.text = w->text, .len = w->len, .kind = byte ? KIND_BYTE : KIND_NORMAL};
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
            return errf(eb, ST_CORRUPT, "added token '%.*s' has the id of '%.*s'", SHOWN, text,
                        (int)MIN(t->len, SHOWN), t->text);
        int32_t other = hf_lists_id(&r->lists, text, len);
        if (other >= 0 && other != id)
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

static void store_merges(reading *r) {
    static const char key[] = "tokenizer.ggml.merges";
    uint64_t count = (uint64_t)r->lists.merge_count * 3;
    key_store_list(r->to, key, CHECKPOINT_INTEGERS, count);
    for (uint64_t i = 0; i < count; i++) key_store_list_i64(r->to, key, i, r->lists.merge_ids[i]);
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
    if (!json_is_array(json_object_get(model, "merges")))
        return errf(eb, ST_CORRUPT, "the model has no list of merges");
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
    if (!json_is_string(unknown)) return errf(eb, ST_CORRUPT, "the unknown token is no text");
    int32_t id = hf_lists_id(&r->lists, json_string_value(unknown), json_string_length(unknown));
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
    r->added = json_object_get(root, "added_tokens");
    bool byte_fallback = hf_flag(model, "byte_fallback") && !r->rules.byte_level;
    if (byte_fallback != r->rules.byte_fallback)
        return errf(eb, ST_UNSUPPORTED, "byte_fallback in the %s only is not supported",
                    byte_fallback ? "model" : "decoder");
    st = hf_lists_read(&r->lists, TOKENS_MAX, eb);
    if (st == ST_OK) st = count_ids(r, rows, eb);
    if (st != ST_OK) return st;
    r->tokens = xcalloc(r->count, sizeof *r->tokens);
    st = read_vocab(r, byte_fallback, eb);
    if (st == ST_OK) st = read_added(r, eb);
    if (st == ST_OK) st = store_model(r, model, eb);
    if (st != ST_OK) return st;
    store_merges(r);
    store_tokens(r);
    return ST_OK;
}

#define JSON_EXACT (JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL)

static status parse(key_store *to, const char *json, size_t len, uint32_t rows, errbuf *eb) {
    reading r = {.to = to};
    json_error_t error;
    hf_lists_find(&r.lists, json, len);
    json_t *root = json_loadb(r.lists.rest ? r.lists.rest : "", r.lists.rest_len, JSON_EXACT, &error);
    status st = root ? read_root(&r, root, rows, eb)
                     : errf(eb, ST_CORRUPT, "no JSON (without vocabulary and merges: line %d, column %d): %s",
                            error.line, error.column, error.text);
    free(r.tokens);
    hf_lists_done(&r.lists);
    json_decref(root);
    return st;
}

status hf_tokenizer_parse(key_store *to, const char *json, size_t len, uint32_t vocab, errbuf *eb) {
    PRE(to);
    PRE(json || len == 0);
    status st = parse(to, json ? json : "", len, vocab, eb);
    return st == ST_OK ? st : err_prefix(eb, st, "tokenizer.json");
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

/* All of a file. *there false when it is not there. */
static status read_file(const char *path, size_t most, buf *out, bool *there, errbuf *eb) {
    FILE *f = fopen(path, "rb");
    *there = f != NULL;
    if (!f) return errno == ENOENT ? ST_OK : errf(eb, ST_IO, "%s: cannot open: %m", path);
    status st = ST_OK;
    for (size_t got = 1; st == ST_OK && got > 0;) {
        char *to = buf_grow(out, READ_BYTES);
        got = fread(to, 1, READ_BYTES, f);
        out->len -= READ_BYTES - got;
        if (ferror(f)) st = errf(eb, ST_IO, "%s: cannot read: %m", path);
        if (out->len > most) st = errf(eb, ST_CORRUPT, "%s: more than %zu bytes", path, most);
    }
    fclose(f);
    return st;
}

static status read_template_file(key_store *to, const char *folder, errbuf *eb) {
    char *path = xasprintf("%s/chat_template.jinja", folder);
    buf text = {0};
    bool there;
    status st = read_file(path, TEMPLATE_MAX, &text, &there, eb);
    if (st == ST_OK && there) key_store_text(to, "tokenizer.chat_template", text.data, text.len);
    buf_done(&text);
    free(path);
    return st;
}

static status read_tokenizer_file(key_store *to, const char *folder, uint32_t vocab, errbuf *eb) {
    char *path = xasprintf("%s/tokenizer.json", folder);
    buf json = {0};
    bool there;
    status st = read_file(path, TOKENIZER_MAX, &json, &there, eb);
    if (st == ST_OK && !there) {
        st =
            errf(eb, ST_IO, "%s is not there (older folders: transformers' save_pretrained writes it)", path);
    } else if (st == ST_OK) {
        st = parse(to, json.data, json.len, vocab, eb);
        if (st != ST_OK) err_prefix(eb, st, "%s", path);
    }
    buf_done(&json);
    free(path);
    return st;
}

status hf_tokenizer_read(key_store *to, const char *folder, uint32_t vocab, errbuf *eb) {
    PRE(to);
    PRE(folder);
    json_t *config = NULL, *map = NULL;
    status st = read_tokenizer_file(to, folder, vocab, eb);
    if (st != ST_OK) return st;
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
