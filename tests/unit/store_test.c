/* The workers' side of repacked weights: pieces in one block, the file that workers of a host share, and what
 * can be wrong with it. */
#include "tests/test.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "kernels/cpu/store.h"
#include "kernels/cpu/weight_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIECES      40u
#define PIECE_BYTES (100000u) /* no multiple of anything */
#define ROOM        ((uint64_t)PIECES * PIECE_BYTES)
#define LONG_NS     (60 * NS_PER_S)

static char dir[64];

static int make_dir(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/baton-store-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
    (void)state;
    DIR *d = opendir(dir);
    if (!d) return 0;
    for (const struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.') (void)unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    return rmdir(dir);
}

static const char *path_of(const char *name) {
    static char path[160];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static uint32_t files_in_dir(void) {
    DIR *d = opendir(dir);
    assert_non_null(d);
    uint32_t count = 0;
    for (const struct dirent *e; (e = readdir(d));) count += e->d_name[0] != '.';
    closedir(d);
    return count;
}

static uint8_t byte_of(uint32_t piece, uint32_t i) {
    return (uint8_t)(piece * 31u + i * 7u + i / 251u);
}

static store *open_store(const char *key) {
    return store_open(&(store_options){.room = ROOM, .dir = dir, .key = key, .wait_ns = LONG_NS});
}

/* All pieces; written where they are not filled. True when all are right afterwards. */
static bool take_all(store *s, const uint8_t **first) {
    const uint8_t *pieces[PIECES];
    for (uint32_t p = 0; p < PIECES; p++) {
        uint8_t *to = store_take(s, PIECE_BYTES);
        if (!to || (uintptr_t)to % 64 != 0) return false;
        for (uint32_t i = 0; i < PIECE_BYTES && !store_filled(s); i++) to[i] = byte_of(p, i);
        pieces[p] = to;
    }
    store_seal(s);
    for (uint32_t p = 0; p < PIECES; p++)
        for (uint32_t i = 0; i < PIECE_BYTES; i++)
            if (pieces[p][i] != byte_of(p, i)) return false;
    if (first) *first = pieces[0];
    return true;
}

/* Opened, taken, right, and closed. */
static store_state use(const char *key) {
    store *s = open_store(key);
    bool right = take_all(s, NULL);
    store_state state = store_state_of(s);
    state.file = state.file ? "" : NULL; /* both are borrowed */
    state.alone = state.alone ? "" : NULL;
    store_close(s);
    assert_true(right);
    return state;
}

static void without_a_file_pieces_are_private(void **state) {
    (void)state;
    store *all[] = {store_new(), store_open(&(store_options){.room = ROOM}),
                    store_open(&(store_options){.room = PIECE_BYTES})}; /* less than is taken */
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        assert_true(take_all(all[i], NULL));
        store_state is = store_state_of(all[i]);
        assert_true(is.bytes >= ROOM);
        assert_false(is.filled);
        assert_null(is.file);
        assert_null(is.alone);
        store_close(all[i]);
    }
    store_close(NULL);
}

static void the_first_fills_the_file_and_the_next_finds_it(void **state) {
    (void)state;
    store_state first = use("k"), second = use("k");
    assert_false(first.filled);
    assert_non_null(first.file);
    assert_true(second.filled);
    assert_non_null(second.file);
    assert_int_equal(first.bytes, second.bytes);
    assert_int_equal(files_in_dir(), 1);
    assert_false(use("other-layout").filled);
    assert_int_equal(files_in_dir(), 2);
}

static void a_directory_is_made_with_its_parents(void **state) {
    (void)state;
    char deep[128];
    snprintf(deep, sizeof deep, "%s/a/b", dir);
    store *s = store_open(&(store_options){.room = ROOM, .dir = deep, .key = "k"});
    assert_true(take_all(s, NULL));
    assert_string_equal(store_state_of(s).file + strlen(dir), "/a/b/k.baton.weights");
    assert_int_equal(unlink(store_state_of(s).file), 0);
    store_close(s);
    assert_int_equal(rmdir(deep), 0);
    assert_int_equal(rmdir(path_of("a")), 0);
}

/* Pss: a page that n processes map counts 1/n for each. */
static uint64_t smaps_kb(const void *at, const char *field) {
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512];
    bool here = false;
    uint64_t kb = 0;
    while (f && fgets(line, sizeof line, f)) {
        unsigned long begin, end;
        if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
            here = (uintptr_t)at >= begin && (uintptr_t)at < end;
        else if (here && strncmp(line, field, strlen(field)) == 0)
            kb = strtoull(line + strlen(field), NULL, 10);
    }
    if (f) fclose(f);
    return kb;
}

typedef struct child {
    pid_t pid;
    int go, done; /* the ends that the parent has */
} child;

typedef struct child_report {
    bool right, filled, shared;
    uint64_t rss_kb, pss_kb;
} child_report;

/* A worker: uses the file when told so, and says what became of it when told again. */
static void run_child(int go, int done) {
    char c;
    child_report r = {0};
    if (read(go, &c, 1) != 1) _exit(1);
    store *s = open_store("k");
    const uint8_t *first = NULL;
    r.right = take_all(s, &first);
    r.filled = store_state_of(s).filled;
    r.shared = store_state_of(s).file != NULL;
    if (write(done, &r, sizeof r) != sizeof r || read(go, &c, 1) != 1) _exit(1);
    r.rss_kb = smaps_kb(first, "Rss:");
    r.pss_kb = smaps_kb(first, "Pss:");
    if (write(done, &r, sizeof r) != sizeof r || read(go, &c, 1) != 1) _exit(1);
    store_close(s);
    _exit(0);
}

static child start_child(void) {
    int go[2], done[2];
    assert_int_equal(pipe2(go, O_CLOEXEC), 0);
    assert_int_equal(pipe2(done, O_CLOEXEC), 0);
    child c = {.pid = fork(), .go = go[1], .done = done[0]};
    if (c.pid == 0) {
        close(go[1]);
        close(done[0]);
        run_child(go[0], done[1]);
    }
    close(go[0]);
    close(done[1]);
    return c;
}

static child_report ask(const child *c) {
    child_report r;
    assert_int_equal(read(c->done, &r, sizeof r), sizeof r);
    return r;
}

static void tell(const child *c) {
    assert_int_equal(write(c->go, "x", 1), 1);
}

static void end_child(const child *c) {
    int st;
    tell(c);
    assert_int_equal(waitpid(c->pid, &st, 0), c->pid);
    assert_int_equal(st, 0);
    close(c->go);
    close(c->done);
}

static void two_that_start_at_once_have_one_copy(void **state) {
    (void)state;
    child two[] = {start_child(), start_child()};
    tell(&two[0]);
    tell(&two[1]);
    child_report a = ask(&two[0]), b = ask(&two[1]);
    assert_true(a.right);
    assert_true(b.right);
    assert_true(a.shared);
    assert_true(b.shared);
    assert_int_equal(a.filled + b.filled, 1); /* one of them wrote it */
    assert_int_equal(files_in_dir(), 1);
    tell(&two[0]);
    a = ask(&two[0]);
    tell(&two[1]);
    b = ask(&two[1]);
    const uint64_t whole_kb = ROOM / 1024;
    assert_true(a.rss_kb >= whole_kb);
    assert_true(b.rss_kb >= whole_kb);
    /* Each page counts half, but for the kernel's rounding. */
    assert_in_range(a.pss_kb, a.rss_kb / 2, a.rss_kb / 2 + 1);
    assert_in_range(b.pss_kb, b.rss_kb / 2, b.rss_kb / 2 + 1);
    end_child(&two[0]);
    end_child(&two[1]);
}

static void a_process_that_died_while_filling_leaves_it_to_the_next(void **state) {
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        store *s = open_store("k");
        memset(store_take(s, PIECE_BYTES), 1, PIECE_BYTES);
        kill(getpid(), SIGKILL);
    }
    int st;
    assert_int_equal(waitpid(pid, &st, 0), pid);
    assert_true(WIFSIGNALED(st));
    assert_int_equal(files_in_dir(), 1);
    assert_int_equal(access(path_of("k.baton.part"), F_OK), 0);
    store_state next = use("k");
    assert_false(next.filled);
    assert_non_null(next.file);
    assert_int_equal(access(path_of("k.baton.part"), F_OK), -1);
    assert_true(use("k").filled);
}

static void one_that_stops_before_the_end_leaves_nothing(void **state) {
    (void)state;
    store *s = open_store("k");
    (void)store_take(s, PIECE_BYTES);
    store_close(s);
    assert_int_equal(files_in_dir(), 0);
    s = open_store("k"); /* of a model without weights to repack */
    store_seal(s);
    assert_int_equal(files_in_dir(), 0);
    assert_false(use("k").filled);
    store_close(s);
}

static void change_byte(const char *path, off_t at, uint8_t flip) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= flip;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void a_file_that_is_not_what_it_should_be_is_written_anew(void **state) {
    (void)state;
    (void)use("k");
    struct stat whole;
    assert_int_equal(stat(path_of("k.baton.weights"), &whole), 0);
    const off_t bytes = whole.st_size & ~(off_t)4095; /* the trailer follows */
    assert_true(whole.st_size > bytes);
    const off_t damaged[] = {0,
                             bytes / 2,
                             bytes - 1,
                             bytes /* magic */,
                             bytes + 8 /* version */,
                             bytes + 16 /* bytes */,
                             bytes + 24 /* sum */,
                             bytes + 32 /* key */};
    for (size_t i = 0; i < ARRAY_LEN(damaged); i++) {
        change_byte(path_of("k.baton.weights"), damaged[i], 0x40);
        assert_false(use("k").filled);
        assert_true(use("k").filled);
    }
    const off_t torn[] = {0, 1, 4096, bytes - 4096, bytes, whole.st_size - 1, whole.st_size + 4096};
    for (size_t i = 0; i < ARRAY_LEN(torn); i++) {
        assert_int_equal(truncate(path_of("k.baton.weights"), torn[i]), 0);
        assert_false(use("k").filled);
        assert_true(use("k").filled);
    }
    /* A file of another key under this name, and one that others may write. */
    (void)use("j");
    assert_int_equal(rename(path_of("j.baton.weights"), strdupa(path_of("k.baton.weights"))), 0);
    assert_false(use("k").filled);
    assert_int_equal(chmod(path_of("k.baton.weights"), 0666), 0);
    assert_false(use("k").filled);
    assert_true(use("k").filled);
    assert_int_equal(files_in_dir(), 1);
}

static void where_nothing_can_be_written_memory_is_private(void **state) {
    (void)state;
    store *s = store_open(&(store_options){.room = ROOM, .dir = "/proc/nowhere", .key = "k"});
    assert_true(take_all(s, NULL));
    assert_non_null(store_state_of(s).alone);
    assert_null(store_state_of(s).file);
    store_close(s);
    assert_int_equal(symlink("/nowhere", path_of("k.baton.part")), 0);
    store_state is = use("k");
    assert_null(is.file);
    assert_non_null(is.alone);
}

static void assert_alone(const char *key) {
    store_state is = use(key);
    assert_null(is.file);
    assert_non_null(is.alone);
}

static void write_text(const char *path, mode_t mode) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "text", 4), 4);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void assert_text(const char *path) {
    struct stat is;
    assert_int_equal(stat(path, &is), 0);
    assert_int_equal(is.st_size, 4);
}

static void what_others_prepared_is_not_filled(void **state) {
    (void)state;
    write_text(path_of("k.baton.part"), 0666); /* who made it may keep it open */
    assert_alone("k");
    assert_text(path_of("k.baton.part"));
    write_text(path_of("precious"), 0600);
    assert_int_equal(link(path_of("precious"), strdupa(path_of("l.baton.part"))), 0);
    assert_alone("l");
    assert_text(path_of("precious"));
    assert_int_equal(mkfifo(path_of("m.baton.part"), 0600), 0);
    assert_alone("m");
    assert_int_equal(mkfifo(path_of("n.baton.weights"), 0600), 0);
    assert_false(use("n").filled);
    assert_true(use("n").filled);
}

static void the_file_of_another_user_is_left_alone(void **state) {
    (void)state;
    (void)use("k");
    if (geteuid() != 0) skip();
    assert_int_equal(chown(path_of("k.baton.weights"), 12345, 12345), 0);
    assert_alone("k");
    assert_int_equal(files_in_dir(), 1);
    assert_int_equal(chown(path_of("k.baton.weights"), 0, 0), 0);
    assert_true(use("k").filled);
}

static void files_of_other_programs_are_not_removed(void **state) {
    (void)state;
    write_text(path_of("film.mkv.part"), 0600);
    for (uint32_t i = 0; i < WEIGHT_FILES_KEPT + 1; i++) {
        char name[32];
        snprintf(name, sizeof name, "yolo%u.weights", i);
        write_text(path_of(name), 0600);
    }
    (void)use("k");
    assert_int_equal(files_in_dir(), WEIGHT_FILES_KEPT + 3);
}

static void a_limit_of_file_sizes_ends_no_worker(void **state) {
    (void)state;
    struct rlimit old, low;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = old;
    low.rlim_cur = ROOM / 2;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    store_state is = use("k");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_null(is.file);
    assert_non_null(is.alone);
    assert_int_equal(files_in_dir(), 0);
}

static void a_full_disk_ends_no_worker(void **state) {
    (void)state;
    if (mount("none", dir, "tmpfs", 0, "size=4M") != 0) skip(); /* root's */
    store_state is = use("k");
    uint32_t files = files_in_dir();
    assert_int_equal(umount2(dir, MNT_DETACH), 0);
    assert_null(is.file);
    assert_non_null(is.alone);
    assert_int_equal(files, 0);
}

static void who_has_waited_long_enough_goes_on_alone(void **state) {
    (void)state;
    store *slow = open_store("k");
    uint8_t *first = store_take(slow, PIECE_BYTES);
    store *s = store_open(&(store_options){.room = ROOM, .dir = dir, .key = "k", .wait_ns = 0});
    assert_true(take_all(s, NULL));
    assert_null(store_state_of(s).file);
    assert_non_null(strstr(store_state_of(s).alone, "another process"));
    memset(first, 7, PIECE_BYTES);
    store_seal(slow);
    assert_non_null(store_state_of(slow).file);
    store_close(s);
    store_close(slow);
    s = open_store("k");
    assert_int_equal(((uint8_t *)store_take(s, PIECE_BYTES))[PIECE_BYTES - 1], 7);
    assert_true(store_filled(s));
    /* What the file does not hold is the caller's to write. */
    memset(store_take(s, PIECE_BYTES), 8, PIECE_BYTES);
    assert_false(store_filled(s));
    store_seal(s);
    memset(store_take(s, PIECE_BYTES), 9, PIECE_BYTES);
    assert_false(store_filled(s));
    store_seal(s);
    store_close(s);
}

/* /dev/shm has small pages, but where the machine was told otherwise. */
static void who_is_alone_copies_what_would_be_read_in_small_pages(void **state) {
    (void)state;
    char memory[64] = "/dev/shm/baton-store-XXXXXX";
    if (!mkdtemp(memory)) skip();
    store_options o = {.room = ROOM, .dir = memory, .key = "k", .alone = true};
    for (uint32_t start = 0; start < 2; start++) {
        store *s = store_open(&o);
        assert_true(take_all(s, NULL));
        store_state is = store_state_of(s);
        assert_int_equal(is.filled, start == 1);
        assert_true(!is.file == !is.huge);
        assert_null(is.alone);
        store_close(s);
    }
    o.alone = false; /* several share it, whatever its pages */
    store *s = store_open(&o);
    assert_true(take_all(s, NULL));
    assert_non_null(store_state_of(s).file);
    assert_int_equal(unlink(store_state_of(s).file), 0);
    store_close(s);
    assert_int_equal(rmdir(memory), 0);
}

static void the_directory_keeps_the_newest_and_those_in_use(void **state) {
    (void)state;
    store *mapped = open_store("oldest-in-use");
    assert_true(take_all(mapped, NULL));
    for (uint32_t i = 0; i < WEIGHT_FILES_KEPT + 2; i++) {
        char key[32];
        snprintf(key, sizeof key, "k%u", i);
        (void)use(key);
        const struct timespec then = {.tv_sec = 1000 + i};
        snprintf(key, sizeof key, "k%u.baton.weights", i);
        assert_int_equal(utimensat(AT_FDCWD, path_of(key), (struct timespec[]){then, then}, 0), 0);
        const struct timespec before = {.tv_sec = 10};
        assert_int_equal(utimensat(AT_FDCWD, path_of("oldest-in-use.baton.weights"),
                                   (struct timespec[]){before, before}, 0),
                         0);
    }
    int fd = open(path_of("dead.baton.part"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int held = open(path_of("alive.baton.part"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(flock(held, LOCK_EX), 0);
    close(fd);
    (void)use("last");
    assert_int_equal(files_in_dir(), WEIGHT_FILES_KEPT + 2); /* those, the one in use, alive.part */
    assert_int_equal(access(path_of("oldest-in-use.baton.weights"), F_OK), 0);
    assert_int_equal(access(path_of("alive.baton.part"), F_OK), 0);
    assert_int_equal(access(path_of("dead.baton.part"), F_OK), -1);
    assert_int_equal(access(path_of("k0.baton.weights"), F_OK), -1);
    assert_true(use("last").filled);
    store_close(mapped);
    close(held);
}

int main(void) {
    log_setup(LOG_ERROR, "test");
#define CASE(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)
    const struct CMUnitTest tests[] = {
        CASE(without_a_file_pieces_are_private),
        CASE(the_first_fills_the_file_and_the_next_finds_it),
        CASE(a_directory_is_made_with_its_parents),
        CASE(two_that_start_at_once_have_one_copy),
        CASE(a_process_that_died_while_filling_leaves_it_to_the_next),
        CASE(one_that_stops_before_the_end_leaves_nothing),
        CASE(a_file_that_is_not_what_it_should_be_is_written_anew),
        CASE(where_nothing_can_be_written_memory_is_private),
        CASE(what_others_prepared_is_not_filled),
        CASE(the_file_of_another_user_is_left_alone),
        CASE(files_of_other_programs_are_not_removed),
        CASE(a_limit_of_file_sizes_ends_no_worker),
        CASE(a_full_disk_ends_no_worker),
        CASE(who_has_waited_long_enough_goes_on_alone),
        CASE(who_is_alone_copies_what_would_be_read_in_small_pages),
        CASE(the_directory_keeps_the_newest_and_those_in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
