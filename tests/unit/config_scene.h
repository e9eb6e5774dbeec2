/* config_scene - cluster files of a few lines, and what is said about them. */
#ifndef BATON_TESTS_CONFIG_SCENE_H
#define BATON_TESTS_CONFIG_SCENE_H

#include "tests/test.h"

#include "config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODEL "model:\n  path: m.gguf\n"

/* A file with the text; the caller unlinks it. */
static inline const char *file_of(char path[32], const char *text) {
    strcpy(path, "/tmp/baton-config-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    return path;
}

static inline config *loads(const char *text, const char *const *sets, uint32_t set_count) {
    char path[32];
    errbuf eb = {0};
    config *c = NULL;
    if (config_load(&c, file_of(path, text), sets, set_count, &eb) != ST_OK) fail_msg("%s", eb.text);
    unlink(path);
    return c;
}

/* The error text must be `want`, where FILE stands for the path. */
static inline void refuses_with(const char *text, const char *set, const char *want) {
    char path[32], full[512];
    errbuf eb = {0};
    config *c = NULL;
    file_of(path, text);
    status st = config_load(&c, path, &set, set ? 1 : 0, &eb);
    unlink(path);
    assert_int_equal(st, ST_INVALID);
    assert_null(c);
    const char *at = strstr(want, "FILE");
    if (at)
        snprintf(full, sizeof full, "%.*s%s%s", (int)(at - want), want, path, at + 4);
    else
        snprintf(full, sizeof full, "%s", want);
    assert_string_equal(eb.text, full);
}

static inline config *loads_file(const char *path) {
    errbuf eb = {0};
    config *c = NULL;
    if (config_load(&c, path, NULL, 0, &eb) != ST_OK) fail_msg("%s", eb.text);
    return c;
}

#endif
