/* A program with the bug that its argument names, for sanitizer_test.py: does a sanitizer's report of a
 * process fail the test that started it? */
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static int shared;

static void *count(void *unused) {
    (void)unused;
    shared++;
    return NULL;
}

static void race(void) {
    pthread_t other;
    if (pthread_create(&other, NULL, count, NULL)) abort();
    shared++;
    pthread_join(other, NULL);
}

static char *volatile lost;

int main(int argc, char **argv) {
    const char *bug = argc == 2 ? argv[1] : "";
    if (!strcmp(bug, "race")) {
        race();
    } else if (!strcmp(bug, "memory")) {
        lost = malloc(16);
        free(lost);
        lost[3] = 1;
    } else if (!strcmp(bug, "leak")) {
        lost = malloc(16);
        lost = NULL;
    } else if (!strcmp(bug, "undefined")) {
        volatile int large = INT_MAX;
        large += argc;
    } else {
        return 2;
    }
    return 0;
}
