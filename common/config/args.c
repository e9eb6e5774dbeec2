#include "config/args.h"

#include "base/mem.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static error_t on_option(int key, char *arg, struct argp_state *state) {
    args *a = state->input;
    switch (key) {
    case 's':
        a->sets = xrealloc(a->sets, a->set_count + 1, sizeof *a->sets);
        a->sets[a->set_count++] = arg;
        return 0;
    case 'c':
        a->check = true;
        return 0;
    case 'V':
        a->version = true;
        return 0;
    case ARGP_KEY_ARG:
        if (a->config) argp_error(state, "one CONFIG is enough: '%s' is one too many", arg);
        a->config = arg;
        return 0;
    case ARGP_KEY_END:
        if (!a->config && !a->version) argp_error(state, "the CONFIG file is missing");
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

void args_parse(args *out, int argc, char **argv, const char *doc) {
    PRE(out);
    PRE(argv);
    PRE(doc);
    static const struct argp_option options[] = {
        {"set", 's', "KEY=VALUE", 0, "Override one key of the config, e.g. decode.count=2", 0},
        {"check", 'c', NULL, 0, "Print the resolved config and the rank map, and exit", 0},
        {"version", 'V', NULL, 0, "Print program version", 0},
        {0},
    };
    const struct argp argp = {.options = options, .parser = on_option, .args_doc = "CONFIG", .doc = doc};
    *out = (args){0};
    argp_err_exit_status = ARGS_REFUSED;
    argp_parse(&argp, argc, argv, 0, NULL, out);
    POST(out->config || out->version);
}

void args_done(args *a) {
    if (!a) return;
    free(a->sets);
    *a = (args){0};
}

static status print_check(const config *c, errbuf *eb) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    char *text = NULL;
    status st = config_check_text(c, cores > 0 ? (uint32_t)cores : 1, &text, eb);
    if (st != ST_OK) return st;
    fputs(text, stdout);
    free(text);
    return ST_OK;
}

bool args_config(const args *a, const char *program, status (*judge)(const config *c, errbuf *eb),
                 config **out, int *code) {
    PRE(a);
    PRE(program);
    PRE(out);
    PRE(code);
    *code = EXIT_SUCCESS;
    if (a->version) {
        printf("%s %s\n", program, BATON_VERSION);
        return false;
    }
    errbuf eb = {0};
    config *c = NULL;
    status st = config_load(&c, a->config, a->sets, a->set_count, &eb);
    if (st == ST_OK && judge) st = judge(c, &eb);
    if (st == ST_OK && !a->check) {
        *out = c;
        return true;
    }
    if (st == ST_OK) st = print_check(c, &eb);
    config_free(c);
    if (st == ST_OK) return false;
    fprintf(stderr, "%s: %s\n", program, eb.text);
    *code = ARGS_REFUSED;
    return false;
}
