/* baton-plan - which placement of prefill and decode workers serves a workload best, by simulating the
 * cluster's own policies: see `baton-plan search --help` and the other commands.
 *
 * A command is a function of its room; which there are is this table alone. All end with the same codes. */
#include "planner/distserve/distserve_main.h"
#include "planner/measure/profile_main.h"
#include "planner/profile/show_main.h"
#include "planner/replay/replay_main.h"
#include "planner/replay/simulate_main.h"
#include "planner/search/search_main.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static const struct command {
    const char *name, *what;
    int (*main)(int argc, char **argv);
} commands[] = {
    {"profile", "measure what an engine costs on this machine", profile_main},
    {"show", "tell what a profile says", show_main},
    {"simulate", "run a workload through a cluster that is not there", simulate_main},
    {"search", "find the placement with the highest goodput per device", search_main},
    {"replay", "show an experiment's cells beside what the simulator says of them", replay_main},
    {"distserve", "answer as DistServe's simulator does, on its own assumptions", distserve_main},
};

static int usage(FILE *out, int code) {
    fprintf(out, "usage: baton-plan COMMAND [OPTION...]\n\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(out, "  %-12s%s\n", commands[i].name, commands[i].what);
    fprintf(out,
            "\n`baton-plan COMMAND --help` tells its options. Exit status: 0 answered; 1 failed (a file, a\n"
            "cluster that does not start); 2 wrong usage or input; 3 no placement can serve the workload\n"
            "within the limits; 4 the profile's own error is above its limit.\n");
    return code;
}

int main(int argc, char **argv) {
    if (argc < 2) return usage(stderr, 2);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) return usage(stdout, 0);
    if (strcmp(argv[1], "--version") == 0) {
        printf("baton-plan " BATON_VERSION "\n");
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0) return commands[i].main(argc - 1, argv + 1);
    fprintf(stderr, "baton-plan: there is no command '%s'\n\n", argv[1]);
    return usage(stderr, 2);
}
