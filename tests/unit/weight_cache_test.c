/* Where the file of repacked weights goes, by the config and the environment, and what its name follows from.
 */
#include "tests/test.h"

#include "worker/weight_cache.h"

#include "gguf_build.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct scene {
    char path[48];
    checkpoint *ckpt;
    model m;
    config c;
} scene;

static scene scene_of(const char *wanted) {
    scene s = {.path = "/tmp/weight_cache_test.XXXXXX", .m = {.weights_hash = 0x1234}};
    gguf_build b = {0};
    build_string(&b, "general.name", "x");
    build_tensor(&b, "w", DT_F32, 1, 32, 0);
    buf file = build_file(&b);
    int fd = mkstemp(s.path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, file.data, file.len), file.len);
    close(fd);
    buf_done(&file);
    assert_int_equal(checkpoint_open(&s.ckpt, s.path, NULL), ST_OK);
    s.c.model.weight_cache = (char *)(uintptr_t)wanted;
    unsetenv("CACHE_DIRECTORY");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    return s;
}

static void scene_done(scene *s) {
    checkpoint_close(s->ckpt);
    unlink(s->path);
}

/* want: the directory, or NULL */
static void is_in(const scene *s, const char *want) {
    weight_cache w = weight_cache_find(&s->c, s->ckpt, &s->m);
    if (want)
        assert_string_equal(w.dir, want);
    else
        assert_null(w.dir);
    weight_cache_done(&w);
}

static void auto_is_the_units_directory_then_the_users(void **state) {
    (void)state;
    scene s = scene_of("auto");
    is_in(&s, NULL);
    setenv("HOME", "not-a-whole-path", 1);
    is_in(&s, NULL);
    setenv("HOME", "/home/u", 1);
    is_in(&s, "/home/u/.cache/baton");
    setenv("XDG_CACHE_HOME", "", 1);
    is_in(&s, "/home/u/.cache/baton");
    setenv("XDG_CACHE_HOME", "/x", 1);
    is_in(&s, "/x/baton");
    setenv("CACHE_DIRECTORY", "/var/cache/baton:/var/cache/other", 1);
    is_in(&s, "/var/cache/baton");
    scene_done(&s);
}

static void off_is_nowhere_and_a_path_is_taken_as_it_is(void **state) {
    (void)state;
    scene s = scene_of("off");
    setenv("HOME", "/home/u", 1);
    is_in(&s, NULL);
    s.c.model.weight_cache = (char *)"";
    is_in(&s, NULL);
    s.c.model.weight_cache = (char *)"some/where";
    is_in(&s, "some/where");
    scene_done(&s);
}

static void weights_that_are_made_have_no_file(void **state) {
    (void)state;
    scene s = scene_of("/x");
    checkpoint_close(s.ckpt);
    assert_int_equal(checkpoint_open(&s.ckpt, "random:tiny", NULL), ST_OK);
    is_in(&s, NULL);
    scene_done(&s);
}

static void another_file_has_another_name(void **state) {
    (void)state;
    scene s = scene_of("/x");
    weight_cache first = weight_cache_find(&s.c, s.ckpt, &s.m), same = weight_cache_find(&s.c, s.ckpt, &s.m);
    assert_string_equal(first.key, same.key);
    s.m.weights_hash++;
    weight_cache by_hash = weight_cache_find(&s.c, s.ckpt, &s.m);
    assert_string_not_equal(by_hash.key, first.key);
    s.m.weights_hash--;
    const struct timespec then = {.tv_sec = 1000, .tv_nsec = 5};
    assert_int_equal(utimensat(AT_FDCWD, s.path, (struct timespec[]){then, then}, 0), 0);
    weight_cache by_time = weight_cache_find(&s.c, s.ckpt, &s.m);
    assert_string_not_equal(by_time.key, first.key);
    weight_cache *all[] = {&first, &same, &by_hash, &by_time};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) weight_cache_done(all[i]);
    scene_done(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auto_is_the_units_directory_then_the_users),
        cmocka_unit_test(off_is_nowhere_and_a_path_is_taken_as_it_is),
        cmocka_unit_test(weights_that_are_made_have_no_file),
        cmocka_unit_test(another_file_has_another_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
