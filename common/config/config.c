/* Defaults, then the file, then --set, then the checks; each value remembers where it came from, so that
 * every refusal can point there: "file:line:column: limits.gone_ms: ..." or "--set limits.gone_ms=1: ...". */
#include "config/config.h"

#include "base/mem.h"
#include "config/config_backend.h"
#include "config/config_check.h"
#include "config/config_file.h"
#include "config/config_keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Programs are several times slower under a sanitizer; what they wait for grows with it. */
#ifdef BATON_SANITIZER
#define TIME_LIMIT_FACTOR 10u
#else
#define TIME_LIMIT_FACTOR 1u
#endif

typedef struct loading {
    config *config;
    const char *path;
    const config_file *file;
    const char **set_of; /* [config_key_count]: the --set text that gave the value; NULL = file or default */
} loading;

/* Puts the place and the key before the text. */
static status refuse(const loading *l, const config_key *k, errbuf *eb) {
    const char *set = l->set_of[k - config_keys];
    if (set) return err_prefix(eb, ST_INVALID, "--set %s: %s.%s", set, k->section, k->name);
    uint32_t line = 1, column = 1;
    config_file_locate(l->file, k, &line, &column);
    return err_prefix(eb, ST_INVALID, "%s:%u:%u: %s.%s", l->path, line, column, k->section, k->name);
}

static void assign_defaults(config *c) {
    for (uint32_t i = 0; i < config_key_count; i++) {
        const config_key *k = &config_keys[i];
        if (k->type == KEY_LIST) continue; /* empty */
        CHECK(config_key_assign(k, c, k->text, NULL) == ST_OK);
    }
    c->decode.chunk_tokens = 16;
    c->prefill.policy = xstrdup("");
    c->decode.policy = xstrdup("");
}

static status assign_file(const loading *l, errbuf *eb) {
    for (uint32_t i = 0; i < config_key_count; i++) {
        const config_key *k = &config_keys[i];
        if (!config_file_has(l->file, k)) continue;
        status st;
        if (k->type == KEY_LIST) {
            uint32_t count;
            const char *const *texts = config_file_list(l->file, k, &count);
            st = config_key_assign_list(k, l->config, texts, count, eb);
        } else {
            st = config_key_assign(k, l->config, config_file_text(l->file, k), eb);
        }
        if (st != ST_OK) return refuse(l, k, eb);
    }
    return ST_OK;
}

static status unknown_set(const char *section, const char *name, errbuf *eb) {
    const char *like_section = config_key_like("", section);
    const char *like = like_section ? config_key_like(like_section, name) : NULL;
    if (!like) return errf(eb, ST_INVALID, "--set: unknown key \"%s.%s\"", section, name);
    return errf(eb, ST_INVALID, "--set: unknown key \"%s.%s\": did you mean %s.%s?", section, name,
                like_section, like);
}

/* A list is written a,b,c. */
static status assign_set_list(const config_key *k, config *c, const char *value, errbuf *eb) {
    char *texts = xstrdup(value);
    const char **entries = xcalloc(strlen(value) + 1, sizeof *entries);
    uint32_t count = 0;
    for (char *at = texts, *next; at && value[0]; at = next) {
        next = strchr(at, ',');
        if (next) *next++ = 0;
        entries[count++] = at;
    }
    status st = config_key_assign_list(k, c, entries, count, eb);
    free(entries);
    free(texts);
    return st;
}

static status assign_set(const loading *l, const char *set, errbuf *eb) {
    const char *equals = strchr(set, '='), *dot = strchr(set, '.');
    char section[32], name[48];
    if (!equals || !dot || dot > equals || (size_t)(dot - set) >= sizeof section ||
        (size_t)(equals - dot - 1) >= sizeof name)
        return errf(eb, ST_INVALID, "--set: \"%s\" is not of the form section.key=value", set);
    memcpy(section, set, (size_t)(dot - set));
    section[dot - set] = 0;
    memcpy(name, dot + 1, (size_t)(equals - dot - 1));
    name[equals - dot - 1] = 0;
    const config_key *k = config_key_find(section, name);
    if (!k) return unknown_set(section, name, eb);
    l->set_of[k - config_keys] = set;
    status st = k->type == KEY_LIST ? assign_set_list(k, l->config, equals + 1, eb)
                                    : config_key_assign(k, l->config, equals + 1, eb);
    return st == ST_OK ? st : refuse(l, k, eb);
}

static void scale_time_limits(config *c) {
    for (uint32_t i = 0; i < config_key_count; i++)
        if (config_keys[i].time_limit) *(uint32_t *)((char *)c + config_keys[i].offset) *= TIME_LIMIT_FACTOR;
}

status config_load(config **out, const char *path, const char *const *sets, uint32_t set_count, errbuf *eb) {
    PRE(out);
    PRE(path);
    PRE((sets || !set_count));
    errbuf local = {0};
    if (!eb) eb = &local; /* refuse puts the place before a text that must be there */
    config_file *file = NULL;
    status st = config_file_open(&file, path, eb);
    if (st != ST_OK) return st;

    loading l = {.config = xcalloc(1, sizeof(config)), .path = path, .file = file};
    l.set_of = xcalloc(config_key_count, sizeof *l.set_of);
    assign_defaults(l.config);
    st = assign_file(&l, eb);
    for (uint32_t i = 0; st == ST_OK && i < set_count; i++) st = assign_set(&l, sets[i], eb);
    if (st == ST_OK) {
        if (!l.config->decode.token_budget) l.config->decode.token_budget = l.config->decode.max_seqs;
        const char *section = NULL, *key = NULL;
        st = config_check(l.config, &section, &key, eb);
        if (st != ST_OK) refuse(&l, config_key_find(section, key), eb);
    }
    if (st == ST_OK) {
        scale_time_limits(l.config);
        *out = l.config;
    } else {
        config_free(l.config);
    }
    free(l.set_of);
    config_file_close(file);
    return st;
}

void config_free(config *c) {
    if (!c) return;
    for (uint32_t i = 0; i < config_key_count; i++) config_key_release(&config_keys[i], c);
    free(c->prefill.policy);
    free(c->decode.policy);
    free(c);
}

/* As a YAML double-quoted scalar, which any text can be. */
static void print_quoted(const char *text, buf *out) {
    buf_adds(out, "\"");
    for (const char *c = text; *c; c++) {
        if (*c == '"' || *c == '\\')
            buf_addf(out, "\\%c", *c);
        else if ((unsigned char)*c < 0x20)
            buf_addf(out, "\\x%02x", (unsigned char)*c);
        else
            buf_add(out, c, 1);
    }
    buf_adds(out, "\"");
}

/* With as few digits as give the same number back. */
static void print_share(double share, buf *out) {
    char text[32];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*f", digits, share);
        if (strtod(text, NULL) == share) break;
    }
    buf_adds(out, text);
}

static void print_value(const config_key *k, const config *c, buf *out) {
    const void *at = (const char *)c + k->offset;
    switch (k->type) {
    case KEY_UINT:
        buf_addf(out, "%" PRIu32, *(const uint32_t *)at);
        break;
    case KEY_INT:
        buf_addf(out, "%" PRId32, *(const int32_t *)at);
        break;
    case KEY_SHARE:
        print_share(*(const double *)at, out);
        break;
    case KEY_BOOL:
        buf_adds(out, *(const bool *)at ? "true" : "false");
        break;
    case KEY_STRING:
        print_quoted(*(char *const *)at, out);
        break;
    case KEY_LIST: {
        uint32_t count = *(const uint32_t *)((const char *)c + k->count_offset);
        buf_adds(out, "[");
        for (uint32_t i = 0; i < count && !k->secret; i++) {
            if (i) buf_adds(out, ", ");
            print_quoted((*(char **const *)at)[i], out);
        }
        buf_adds(out, "]");
        if (k->secret && count) buf_addf(out, " # %" PRIu32 ", not shown", count);
        break;
    }
    }
}

char *config_text(const config *c) {
    PRE(c);
    buf out = {0};
    const char *section = "";
    for (uint32_t i = 0; i < config_key_count; i++) {
        const config_key *k = &config_keys[i];
        if (strcmp(section, k->section) != 0) buf_addf(&out, "%s:\n", k->section);
        section = k->section;
        buf_addf(&out, "  %s: ", k->name);
        print_value(k, c, &out);
        buf_adds(&out, "\n");
    }
    return out.data;
}

status config_check_text(const config *c, uint32_t local_cores, char **out, errbuf *eb) {
    PRE(out);
    config_rank *ranks = NULL;
    uint32_t count = 0;
    status st = config_ranks(c, local_cores, &ranks, &count, eb);
    if (st != ST_OK) return st;
    const config_backend *backend = config_backend_find(c->model.backend);
    bool own_memory = backend && backend->own_memory;
    buf text = {0};
    char *yaml = config_text(c);
    buf_addf(&text, "%s\n", yaml);
    free(yaml);
    for (uint32_t i = 0; i < count; i++) {
        const config_rank *r = &ranks[i];
        buf_addf(&text, "rank=%u role=%s index=%u host=%s cores=", r->rank, r->role, r->index, r->host);
        if (r->core_count)
            buf_addf(&text, "%u-%u", r->core_begin, r->core_begin + r->core_count - 1);
        else
            buf_adds(&text, "-");
        if (own_memory && r->worker_count)
            buf_addf(&text, " gpu=%u", c->cluster.gpus_per_host ? r->gpu % c->cluster.gpus_per_host : r->gpu);
        if (r->worker_count > 1) buf_addf(&text, " workers=%u", r->worker_count);
        buf_adds(&text, "\n");
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slots = 0;
        bool seen = false;
        for (uint32_t k = 0; k < count; k++) {
            bool same = strcmp(ranks[k].host, ranks[i].host) == 0;
            seen = seen || (same && k < i);
            slots += same;
        }
        if (!seen) buf_addf(&text, "slots host=%s count=%u\n", ranks[i].host, slots);
    }
    free(ranks);
    *out = text.data;
    return ST_OK;
}
