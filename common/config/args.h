/* args - the command line of every daemon, from the arguments to the config:
 *
 *   PROGRAM CONFIG [--set KEY=VALUE]... [--check] [--version]
 *
 * Tools have flags of their own. */
#ifndef BATON_CONFIG_ARGS_H
#define BATON_CONFIG_ARGS_H

#include "config/config.h"

#define ARGS_REFUSED 2 /* exit status: arguments or a config that cannot be */

typedef struct args {
    const char *config; /* borrowed from argv, like the entries of sets; NULL with --version only */
    const char **sets;  /* [set_count]. Owned */
    uint32_t set_count;
    bool check, version;
} args;

/* Reads the arguments. What cannot be read, and --help, ends the process as argp does (ARGS_REFUSED, 0). doc:
 * a sentence for --help. Caller frees with args_done. */
void args_parse(args *out, int argc, char **argv, const char *doc);
void args_done(args *a);

/* Does what the arguments ask for before a program runs. judge: what else must hold for it; NULL: nothing.
 * True: go on, with *out (Caller frees with config_free). False: all is done or refused and told (on stdout,
 * stderr); exit with *code. program: for those words, "baton-decode". */
bool args_config(const args *a, const char *program, status (*judge)(const config *c, errbuf *eb),
                 config **out, int *code);

#endif
