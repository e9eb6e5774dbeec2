#include "bench/cost.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SKIPPED 77

/* What callgrind counts: found by its name. */
void cost_measured(const cost_case *c, void *world);
__attribute__((noinline, noclone)) void cost_measured(const cost_case *c, void *world) {
    c->event(world);
}

static void run(const cost_case *c, uint32_t held, uint32_t events) {
    void *world = c->build(held);
    for (uint32_t i = 0; i < COST_WARM + events; i++) {
        if (c->between) c->between(world);
        if (i < COST_WARM)
            c->event(world);
        else
            cost_measured(c, world);
    }
    c->done(world);
}

/* Instructions per unit of the case, or a negative number when callgrind does not tell. */
static double counted(const char *self, const cost_case *c, uint32_t held) {
    char *command = xasprintf("valgrind --tool=callgrind --collect-atstart=no --toggle-collect=cost_measured "
                              "--callgrind-out-file=/dev/null '%s' %s %u 2>&1",
                              self, c->name, held);
    FILE *out = popen(command, "r");
    CHECK(out);
    free(command);
    char line[512];
    double instructions = -1;
    while (fgets(line, sizeof line, out)) {
        const char *found = strstr(line, "Collected : ");
        if (found) instructions = strtod(found + strlen("Collected : "), NULL);
    }
    if (pclose(out) != 0) return -1;
    return instructions / COST_EVENTS / (MAX(c->units, 1u) + (double)c->units_per_held * held);
}

static int table(const char *self, const cost_case *cases, uint32_t count) {
    if (system("valgrind --version >/dev/null 2>&1") != 0) {
        fprintf(stderr, "%s: valgrind is not there: install the package valgrind\n", self);
        return SKIPPED;
    }
    int code = 0;
    printf("%-28s %-26s %8s %8s %8s %8s %6s\n", "instructions per", "with", "few", "", "many", "", "ratio");
    for (uint32_t i = 0; i < count; i++) {
        const cost_case *c = &cases[i];
        double few = counted(self, c, c->few), many = counted(self, c, c->many);
        bool kept = few > 0 && many > 0 && many <= few * COST_RATIO_MAX;
        printf("%-28s %-26s %8u %8.0f %8u %8.0f %6.2f%s\n", c->name, c->counts, c->few, few, c->many, many,
               many / few, kept ? "" : "  too much");
        fflush(stdout);
        if (!kept) code = 1;
    }
    return code;
}

int cost_main(int argc, char **argv, const cost_case *cases, uint32_t count) {
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    CHECK(length > 0);
    self[length] = 0;
    if (argc == 1) return table(self, cases, count);
    bool here = argc == 2 && strcmp(argv[1], "--here") == 0;
    for (uint32_t i = 0; i < count; i++) {
        if (here)
            run(&cases[i], cases[i].few, 1);
        else if (argc == 3 && strcmp(argv[1], cases[i].name) == 0) {
            run(&cases[i], (uint32_t)strtoul(argv[2], NULL, 10), COST_EVENTS);
            return 0;
        }
    }
    if (here) return 0;
    fprintf(stderr, "usage: %s [--here | CASE HELD]\n", argv[0]);
    return 2;
}
