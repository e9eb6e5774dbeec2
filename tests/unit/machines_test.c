/* The three state machines as Mermaid text, and as ARCHITECTURE.md shows them: the two must be equal.
 *
 *   machines_test            compares
 *   machines_test --print    prints the text for ARCHITECTURE.md */
#include "base/mem.h"
#include "coordinator/core.h"
#include "kv/handoff.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const sm_def *const machines[] = {&request_sm, &member_sm, &handoff_sm};

/* Caller frees with free. */
static char *mermaid_of(const sm_def *def) {
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    assert_non_null(f);
    fputs("```mermaid\n", f);
    sm_print_mermaid(def, f);
    fputs("```\n", f);
    assert_int_equal(fclose(f), 0);
    return text;
}

/* Caller frees with free; NULL when there is no such file. */
static char *read_file(const char *path) {
    FILE *f = fopen(path, "r");
    if (!f) return NULL;
    buf b = {0};
    char chunk[4096];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;) buf_add(&b, chunk, n);
    fclose(f);
    return b.data;
}

static void architecture_md_shows_the_machines_as_they_are(void **state) {
    (void)state;
    char *doc = read_file(BATON_ARCHITECTURE_MD);
    if (!doc) fail_msg("cannot read %s", BATON_ARCHITECTURE_MD);
    for (size_t i = 0; i < ARRAY_LEN(machines); i++) {
        char *want = mermaid_of(machines[i]);
        if (!strstr(doc, want))
            fail_msg("ARCHITECTURE.md differs from the %s machine; it must say:\n%s", machines[i]->name,
                     want);
        free(want);
    }
    free(doc);
}

static void every_state_is_reached_and_only_ends_are_dead_ends(void **state) {
    (void)state;
    for (size_t m = 0; m < ARRAY_LEN(machines); m++) {
        const sm_def *d = machines[m];
        uint32_t reached = 1;
        for (uint32_t round = 0; round < d->state_count; round++)
            for (uint32_t i = 0; i < d->state_count; i++)
                if (reached >> i & 1u) reached |= d->states[i].next;
        assert_int_equal(reached, (1u << d->state_count) - 1);
        for (uint32_t i = 0; i < d->state_count; i++)
            assert_int_equal(d->states[i].end, d->states[i].next == 0);
    }
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--print") == 0) {
        for (size_t i = 0; i < ARRAY_LEN(machines); i++) {
            char *text = mermaid_of(machines[i]);
            printf("The %s:\n%s\n", machines[i]->name, text);
            free(text);
        }
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(architecture_md_shows_the_machines_as_they_are),
        cmocka_unit_test(every_state_is_reached_and_only_ends_are_dead_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
