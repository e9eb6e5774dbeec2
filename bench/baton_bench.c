/* baton-bench - measures servers of language models: see `baton-bench serve --help` and the other commands.
 *
 * A command is a function of its room; which there are is this table alone. */
#include "bench/experiment/experiment_main.h"
#include "bench/experiment/goodput_main.h"
#include "bench/load/serve.h"
#include "bench/report/report_main.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static const struct command {
    const char *name, *what;
    int (*main)(int argc, char **argv);
} commands[] = {
    {"serve", "send requests to a server and tell how many were served within limits", serve_main},
    {"goodput", "find the highest rate at which enough requests are within limits", goodput_main},
    {"experiment", "measure placements x workloads x rates, each on a cluster of its own", experiment_main},
    {"report", "make a page and figures of an experiment", report_main},
};

static int usage(FILE *out, int code) {
    fprintf(out, "usage: baton-bench COMMAND [OPTION...]\n\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(out, "  %-12s%s\n", commands[i].name, commands[i].what);
    fprintf(out, "\n`baton-bench COMMAND --help` tells its options.\n");
    return code;
}

int main(int argc, char **argv) {
    if (argc < 2) return usage(stderr, 2);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) return usage(stdout, 0);
    if (strcmp(argv[1], "--version") == 0) {
        printf("baton-bench " BATON_VERSION "\n");
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0) return commands[i].main(argc - 1, argv + 1);
    fprintf(stderr, "baton-bench: there is no command '%s'\n\n", argv[1]);
    return usage(stderr, 2);
}
