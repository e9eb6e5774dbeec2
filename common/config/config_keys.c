/* One row per key. The macros only spare repetition: what is written in a row is what a file may say.
 *
 * Ranges are generous: they catch slips (a missing unit, a zero too many), not bad taste. */
#include "config/config_keys.h"

#include "base/mem.h"
#include "config/settings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UINT_KEY(sec, field, def, lo, hi)                                                                    \
    {                                                                                                        \
        .section = #sec, .name = #field, .type = KEY_UINT, .offset = offsetof(config, sec.field),            \
        .text = #def, .min = lo, .max = hi                                                                   \
    }
#define MS_KEY(field, def, lo)                                                                               \
    {                                                                                                        \
        .section = "limits", .name = #field, .type = KEY_UINT, .offset = offsetof(config, limits.field),     \
        .text = #def, .min = lo, .max = 86400000, .time_limit = true                                         \
    }
#define INT_KEY(sec, field, def, lo, hi)                                                                     \
    {                                                                                                        \
        .section = #sec, .name = #field, .type = KEY_INT, .offset = offsetof(config, sec.field),             \
        .text = #def, .min = lo, .max = hi                                                                   \
    }
#define SHARE_KEY(sec, field, def)                                                                           \
    {                                                                                                        \
        .section = #sec, .name = #field, .type = KEY_SHARE, .offset = offsetof(config, sec.field),           \
        .text = #def                                                                                         \
    }
#define BOOL_KEY(sec, field, def)                                                                            \
    { .section = #sec, .name = #field, .type = KEY_BOOL, .offset = offsetof(config, sec.field), .text = #def }
#define TEXT_KEY(sec, field, def)                                                                            \
    {                                                                                                        \
        .section = #sec, .name = #field, .type = KEY_STRING, .offset = offsetof(config, sec.field),          \
        .text = def                                                                                          \
    }
#define PICK_KEY(sec, field, def, list)                                                                      \
    {                                                                                                        \
        .section = #sec, .name = #field, .type = KEY_STRING, .offset = offsetof(config, sec.field),          \
        .text = def, .choices = list                                                                         \
    }
#define LIST_KEY(sec)                                                                                        \
    {                                                                                                        \
        .section = #sec, .name = "hosts", .type = KEY_LIST, .offset = offsetof(config, sec.hosts),           \
        .count_offset = offsetof(config, sec.hosts_count), .text = "[]"                                      \
    }

/* The keys that every role has. */
#define ROLE_KEYS(sec, def_count, def_budget, min_budget)                                                    \
    UINT_KEY(sec, count, def_count, 0, 1024), UINT_KEY(sec, cores, 1, 1, 1024), UINT_KEY(sec, tp, 1, 1, 64), \
        UINT_KEY(sec, pp, 1, 1, 64), UINT_KEY(sec, kv_pages, 0, 0, 1 << 24),                                 \
        UINT_KEY(sec, kv_memory_mb, 256, 0, 1 << 24), SHARE_KEY(sec, memory_fraction, 0.9),                  \
        UINT_KEY(sec, max_seqs, 64, 1, 4096), UINT_KEY(sec, token_budget, def_budget, min_budget, 65536),    \
        LIST_KEY(sec)

const config_key config_keys[] = {
    TEXT_KEY(cluster, name, "baton"),
    TEXT_KEY(cluster, http, "127.0.0.1:8000"),
    TEXT_KEY(cluster, control, "tcp://127.0.0.1:8001"),
    TEXT_KEY(cluster, client, "tcp://127.0.0.1:8002"),
    TEXT_KEY(cluster, key_file, ""),
    TEXT_KEY(cluster, client_key_file, ""),
    BOOL_KEY(cluster, insecure, false),
    LIST_KEY(cluster),
    UINT_KEY(cluster, gpus_per_host, 0, 0, 64),
    BOOL_KEY(cluster, oversubscribe, false),
    BOOL_KEY(cluster, mixed_numerics, false),
    PICK_KEY(cluster, log_level, "info", "error|warn|info|debug|trace"),
    TEXT_KEY(cluster, event_log, ""),

    TEXT_KEY(http, cors_origins, "*"),
    BOOL_KEY(http, cors_credentials, false),
    {.section = "http",
     .name = "api_keys",
     .type = KEY_LIST,
     .offset = offsetof(config, http.api_keys),
     .count_offset = offsetof(config, http.api_keys_count),
     .text = "[]",
     .secret = true},
    TEXT_KEY(http, api_key_file, ""),
    TEXT_KEY(http, tls_cert, ""),
    TEXT_KEY(http, tls_key, ""),

    TEXT_KEY(model, path, ""),
    TEXT_KEY(model, served_model_name, ""),
    TEXT_KEY(model, chat_template, ""),
    UINT_KEY(model, max_context, 0, 0, 1 << 20),
    PICK_KEY(model, backend, "cpu", "cpu|ref|cuda|mock"),
    PICK_KEY(model, weight_dtype, "auto", "auto|f32|f16|bf16|q8_0|q4_0"),
    BOOL_KEY(model, generation_config, true),
    PICK_KEY(model, isa, "auto", "auto|avx512|avx2|portable"),
    PICK_KEY(model, act_bits, "16", "16|8|32"),
    TEXT_KEY(model, weight_cache, "auto"),
    PICK_KEY(model, act_dtype, "auto", "auto|bf16|f16|f32"),
    PICK_KEY(model, kv_dtype, "auto", "auto|bf16|f16|f32"),
    BOOL_KEY(model, deterministic, false),
    BOOL_KEY(model, prefix_cache, true),
    BOOL_KEY(model, check_ops, false),

    TEXT_KEY(mock, latency, "h200-8b"),
    UINT_KEY(mock, workers_per_process, 1, 1, 1024),

    ROLE_KEYS(prefill, 1, 512, 16),
    UINT_KEY(prefill, chunk_tokens, 256, 16, 65536),

    ROLE_KEYS(decode, 1, 0, 0),

    ROLE_KEYS(colocated, 0, 256, 16),
    UINT_KEY(colocated, chunk_tokens, 256, 16, 65536),
    PICK_KEY(colocated, policy, "chunked", "chunked|prefill_first"),

    PICK_KEY(handoff, transport, "auto", "auto|shm|zmq|ipc|nccl"),
    UINT_KEY(handoff, ring_slots, 8, 2, 1024),
    UINT_KEY(handoff, slot_kb, 1024, 16, 1 << 20),
    UINT_KEY(handoff, nccl_ctas, 4, 0, 64),
    UINT_KEY(handoff, segment_kb, 256, 1, 1 << 20),
    BOOL_KEY(handoff, overlap, true),
    BOOL_KEY(handoff, self_test, true),
    BOOL_KEY(handoff, checksums, true),
    INT_KEY(handoff, test_flip_segment, -1, -1, INT32_MAX),

    UINT_KEY(limits, max_requests, 4096, 1, 1000000),
    UINT_KEY(limits, max_queue, 1024, 1, 1000000),
    UINT_KEY(limits, max_queue_tokens, 1000000, 1, 2000000000),
    UINT_KEY(limits, max_workers, 64, 1, WORKERS_MAX),
    UINT_KEY(limits, max_body_kb, 8192, 1, 1 << 20),
    UINT_KEY(limits, max_header_kb, 64, 1, 1024),
    UINT_KEY(limits, max_uploads_mb, 256, 1, 1 << 20),
    UINT_KEY(limits, max_connections, 16384, 1, 1000000),
    UINT_KEY(limits, max_connections_per_client, 0, 0, 1000000),
    UINT_KEY(limits, max_prompt_tokens, 0, 0, 1 << 20),
    UINT_KEY(limits, json_depth, 128, 1, 2048),
    UINT_KEY(limits, min_upload_kbs, 8, 0, 1 << 20),
    UINT_KEY(limits, min_download_kbs, 8, 0, 1 << 20),
    MS_KEY(idle_ms, 120000, 1),
    MS_KEY(header_ms, 30000, 1),
    MS_KEY(body_ms, 30000, 1),
    UINT_KEY(limits, heartbeat_ms, 250, 10, 60000),
    MS_KEY(suspect_ms, 1500, 20),
    MS_KEY(gone_ms, 5000, 30),
    MS_KEY(step_age_ms, 10000, 100),
    MS_KEY(lease_ms, 10000, 40),
    MS_KEY(rejoin_ms, 60000, 1),
    MS_KEY(ttft_goal_ms, 0, 0),
    MS_KEY(wait_prefill_ms, 60000, 1),
    MS_KEY(prefill_ms, 120000, 1),
    MS_KEY(wait_kv_ms, 60000, 1),
    MS_KEY(decode_token_ms, 30000, 1),
    MS_KEY(slow_client_ms, 30000, 1),
    MS_KEY(stuck_ms, 10000, 1),
    MS_KEY(drain_ms, 30000, 1),
    UINT_KEY(limits, max_attempts, 4, 1, 16),
};
const uint32_t config_key_count = ARRAY_LEN(config_keys);

const config_key *config_key_find(const char *section, const char *name) {
    PRE(section);
    PRE(name);
    for (uint32_t i = 0; i < config_key_count; i++)
        if (strcmp(config_keys[i].section, section) == 0 && strcmp(config_keys[i].name, name) == 0)
            return &config_keys[i];
    return NULL;
}

uint32_t config_name_distance(const char *a, const char *b) {
    PRE(a);
    PRE(b);
    enum { LEN_MAX = 40 };
    size_t n = strlen(a), m = strlen(b);
    if (n > LEN_MAX || m > LEN_MAX) return LEN_MAX;
    uint32_t row[LEN_MAX + 1];
    for (size_t j = 0; j <= m; j++) row[j] = (uint32_t)j;
    for (size_t i = 1; i <= n; i++) {
        uint32_t diagonal = row[0];
        row[0] = (uint32_t)i;
        for (size_t j = 1; j <= m; j++) {
            uint32_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = MIN(change, MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[m];
}

/* The key or section (section = "") that is most like `name`; NULL when none is close. */
const char *config_key_like(const char *section, const char *name) {
    PRE(section);
    PRE(name);
    const char *best = NULL;
    uint32_t best_distance = CONFIG_NAME_NEAR;
    for (uint32_t i = 0; i < config_key_count; i++) {
        const config_key *k = &config_keys[i];
        if (section[0] && strcmp(k->section, section) != 0) continue;
        const char *other = section[0] ? k->name : k->section;
        uint32_t d = config_name_distance(name, other);
        if (d >= best_distance) continue;
        best_distance = d;
        best = other;
    }
    return best;
}

/* Decimal digits, with a sign for KEY_INT; nothing else, so that 010, 0x10 and 12x are mistakes. */
static status assign_number(const config_key *k, void *base, const char *text, errbuf *eb) {
    const char *digits = text + (k->type == KEY_INT && text[0] == '-');
    bool whole =
        digits[0] && strspn(digits, "0123456789") == strlen(digits) && (digits[0] != '0' || !digits[1]);
    if (!whole) return errf(eb, ST_INVALID, "\"%s\" is no whole number", text);
    errno = 0;
    long long v = strtoll(text, NULL, 10);
    if (errno || v < k->min || v > k->max)
        return errf(eb, ST_INVALID, "%s is out of range: want %" PRId64 "..%" PRId64, text, k->min, k->max);
    if (k->type == KEY_INT)
        *(int32_t *)((char *)base + k->offset) = (int32_t)v;
    else
        *(uint32_t *)((char *)base + k->offset) = (uint32_t)v;
    return ST_OK;
}

/* Digits with at most one point among them. strtod alone would also take 1e-1, 0x1 and nan. */
static status assign_share(const config_key *k, void *base, const char *text, errbuf *eb) {
    const char *point = strchr(text, '.');
    bool plain = strspn(text, "0123456789.") == strlen(text) && strpbrk(text, "0123456789") &&
                 (!point || !strchr(point + 1, '.'));
    double v = plain ? strtod(text, NULL) : 0;
    if (!plain || v <= 0 || v > 1)
        return errf(eb, ST_INVALID, "\"%s\": want a number above 0 and at most 1, such as 0.45", text);
    *(double *)((char *)base + k->offset) = v;
    return ST_OK;
}

bool config_is_choice(const char *choices, const char *text) {
    PRE(choices);
    PRE(text);
    size_t len = strlen(text);
    for (const char *c = choices; len && c; c = strchr(c, '|')) {
        c += *c == '|';
        if (strncmp(c, text, len) == 0 && (c[len] == '|' || !c[len])) return true;
    }
    return false;
}

static status assign_string(const config_key *k, void *base, const char *text, errbuf *eb) {
    if (k->choices && !config_is_choice(k->choices, text)) {
        char want[128] = "";
        for (const char *c = k->choices; *c; c++) {
            size_t len = strlen(want);
            snprintf(want + len, sizeof want - len, *c == '|' ? ", " : "%c", *c);
        }
        return errf(eb, ST_INVALID, "\"%s\" is unknown: want one of %s", text, want);
    }
    char **at = (char **)((char *)base + k->offset);
    char *copy = xstrdup(text);
    free(*at);
    *at = copy;
    return ST_OK;
}

status config_key_assign(const config_key *k, void *base, const char *text, errbuf *eb) {
    PRE(k);
    PRE(base);
    PRE(text);
    switch (k->type) {
    case KEY_UINT:
    case KEY_INT:
        return assign_number(k, base, text, eb);
    case KEY_SHARE:
        return assign_share(k, base, text, eb);
    case KEY_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            return errf(eb, ST_INVALID, "\"%s\" is no truth value: want true or false", text);
        *(bool *)((char *)base + k->offset) = text[0] == 't';
        return ST_OK;
    case KEY_STRING:
        return assign_string(k, base, text, eb);
    case KEY_LIST:
        break;
    }
    CHECK(k->type != KEY_LIST); /* has a call of its own */
    return ST_INVALID;
}

status config_key_assign_list(const config_key *k, void *base, const char *const *texts, uint32_t count,
                              errbuf *eb) {
    PRE(k);
    PRE(base);
    PRE(k->type == KEY_LIST);
    for (uint32_t i = 0; i < count; i++)
        if (!texts[i][0] || texts[i][0] == ':')
            return errf(eb, ST_INVALID, "entry %u is \"%s\": want a host name or NAME:CORES", i + 1,
                        texts[i]);
    config_key_release(k, base);
    if (!count) return ST_OK;
    char **copy = xcalloc(count, sizeof *copy);
    for (uint32_t i = 0; i < count; i++) copy[i] = xstrdup(texts[i]);
    *(char ***)((char *)base + k->offset) = copy;
    *(uint32_t *)((char *)base + k->count_offset) = count;
    return ST_OK;
}

void config_key_release(const config_key *k, void *base) {
    PRE(k);
    PRE(base);
    if (k->type == KEY_STRING) {
        char **at = (char **)((char *)base + k->offset);
        free(*at);
        *at = NULL;
    } else if (k->type == KEY_LIST) {
        char ***at = (char ***)((char *)base + k->offset);
        uint32_t *count = (uint32_t *)((char *)base + k->count_offset);
        for (uint32_t i = 0; i < *count; i++) free((*at)[i]);
        free(*at);
        *at = NULL;
        *count = 0;
    }
}
