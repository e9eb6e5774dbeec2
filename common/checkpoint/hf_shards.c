#include "checkpoint/hf_shards.h"

#include "base/mem.h"
#include "base/mix.h"
#include "checkpoint/json_file.h"
#include "checkpoint/mapped_file.h"

#include <stdlib.h>
#include <string.h>

#define SHARDS_MAX 1024u
#define INDEX_MOST (64u << 20) /* bytes of the index */
#define WHOLE      "model.safetensors"
#define INDEX      "model.safetensors.index.json"

/* --- which files --- */

typedef struct names {
    const char *of[SHARDS_MAX]; /* borrowed from the index */
    uint32_t count;
} names;

static bool is_known(const names *n, const char *name) {
    for (uint32_t i = 0; i < n->count; i++)
        if (strcmp(n->of[i], name) == 0) return true;
    return false;
}

/* Of the files that weight_map names, each once. They lie in the folder itself. */
static status list_shards(names *n, const json_t *map, errbuf *eb) {
    if (!json_is_object(map) || json_object_size(map) == 0)
        return errf(eb, ST_CORRUPT, INDEX ": weight_map is no object with tensors");
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, name, value) {
        const char *file = json_string_value(value);
        if (!file || file[0] == '\0' || strchr(file, '/') || strcmp(file, "..") == 0 ||
            strcmp(file, ".") == 0)
            return errf(eb, ST_CORRUPT,
                        INDEX ": tensor '%.64s' is in '%.64s', which is no file of the folder", name,
                        file ? file : "no text");
        if (is_known(n, file)) continue;
        if (n->count == SHARDS_MAX)
            return errf(eb, ST_CORRUPT, INDEX ": names more than %u files", SHARDS_MAX);
        n->of[n->count++] = file;
    }
    return ST_OK;
}

static status open_files(hf_shards *s, const char *folder, const names *n, errbuf *eb) {
    s->files = xcalloc(n->count, sizeof *s->files);
    status st = ST_OK;
    for (uint32_t i = 0; i < n->count && st == ST_OK; i++) {
        char *path = xasprintf("%s/%s", folder, n->of[i]);
        st = safetensors_open(&s->files[i], path, eb);
        if (st == ST_OK) s->file_count++;
        free(path);
    }
    return st;
}

/* --- one list of tensors --- */

static int by_name(const void *a, const void *b) {
    return strcmp((*(const safetensor *const *)a)->t.name.data, (*(const safetensor *const *)b)->t.name.data);
}

static status list_tensors(hf_shards *s, errbuf *eb) {
    for (uint32_t f = 0; f < s->file_count; f++) s->count += safetensors_count(s->files[f]);
    s->tensors = xcalloc(MAX(s->count, 1u), sizeof *s->tensors);
    uint64_t n = 0;
    for (uint32_t f = 0; f < s->file_count; f++)
        for (uint64_t i = 0; i < safetensors_count(s->files[f]); i++)
            s->tensors[n++] = safetensors_at(s->files[f], i);
    qsort(s->tensors, s->count, sizeof *s->tensors, by_name);
    for (uint64_t i = 1; i < s->count; i++)
        if (by_name(&s->tensors[i - 1], &s->tensors[i]) == 0)
            return errf(eb, ST_CORRUPT, "tensor '%.64s' is in two files", s->tensors[i]->t.name.data);
    return ST_OK;
}

static uint32_t number_of(const names *n, const char *name) {
    for (uint32_t i = 0; i < n->count; i++)
        if (strcmp(n->of[i], name) == 0) return i;
    check_failed("check", "a file that the index names is listed", __FILE__, __LINE__, __func__);
}

static bool is_in(const safetensors *file, const safetensor *t) {
    for (uint64_t lo = 0, hi = safetensors_count(file); lo < hi;) { /* by the order of their bytes */
        uint64_t mid = lo + (hi - lo) / 2;
        const safetensor *at = safetensors_at(file, mid);
        if (at == t) return true;
        if (at < t)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

/* Every tensor that the index names is in the file that it names. */
static status check_index(const hf_shards *s, const names *n, const json_t *map, errbuf *eb) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, name, value) {
        const safetensor wanted = {.t = {.name = {name, strlen(name)}}}, *key = &wanted;
        const safetensor **found =
            s->count ? bsearch(&key, s->tensors, s->count, sizeof *s->tensors, by_name) : NULL;
        const char *file = json_string_value(value);
        if (!found || !is_in(s->files[number_of(n, file)], *found))
            return errf(eb, ST_CORRUPT, INDEX ": tensor '%.64s' is not in %.64s", name, file);
    }
    return ST_OK;
}

static status open_index(hf_shards *s, const char *folder, const char *path, errbuf *eb) {
    json_t *index = NULL;
    status st = json_file_read(&index, path, INDEX_MOST, eb);
    if (st != ST_OK) return st;
    names n = {.count = 0};
    const json_t *map = json_object_get(index, "weight_map");
    st = list_shards(&n, map, eb);
    if (st == ST_OK) {
        st = open_files(s, folder, &n, eb);
        if (st != ST_OK) err_prefix(eb, st, "named by " INDEX);
    }
    if (st == ST_OK) st = list_tensors(s, eb);
    if (st == ST_OK) st = check_index(s, &n, map, eb);
    json_decref(index);
    return st;
}

status hf_shards_open(hf_shards *s, const char *folder, errbuf *eb) {
    PRE(s);
    PRE(folder);
    *s = (hf_shards){0};
    char *whole = xasprintf("%s/" WHOLE, folder), *index = xasprintf("%s/" INDEX, folder);
    status st;
    if (mapped_file_exists(whole)) {
        st = open_files(s, folder, &(names){.of = {WHOLE}, .count = 1}, eb);
        if (st == ST_OK) st = list_tensors(s, eb);
    } else if (mapped_file_exists(index)) {
        st = open_index(s, folder, index, eb);
    } else {
        st = errf(eb, ST_IO,
                  "neither " WHOLE " nor " INDEX " is there; other files of weights (pytorch_model.bin) are "
                  "not read: save the model as safetensors");
    }
    free(whole);
    free(index);
    return st;
}

void hf_shards_close(hf_shards *s) {
    PRE(s);
    for (uint32_t i = 0; i < s->file_count; i++) safetensors_close(s->files[i]);
    free(s->files);
    free(s->tensors);
    *s = (hf_shards){0};
}

void hf_shards_drop(const hf_shards *s) {
    PRE(s);
    for (uint32_t i = 0; i < s->file_count; i++) safetensors_drop(s->files[i]);
}

uint64_t hf_shards_count(const hf_shards *s) {
    PRE(s);
    return s->count;
}

const safetensor *hf_shards_at(const hf_shards *s, uint64_t i) {
    PRE(s);
    PRE(i < s->count);
    return s->tensors[i];
}

uint64_t hf_shards_stamp(const hf_shards *s) {
    PRE(s);
    uint64_t stamp = 0;
    for (uint32_t i = 0; i < s->file_count; i++)
        stamp = mix64(stamp + safetensors_stamp(s->files[i]) + MIX64_STEP);
    return stamp;
}
