/* baton-bench report as a program of its own, so that tests of reports need no load generator. */
#include "bench/report/report_main.h"

#include <argp.h>

const char *argp_program_version = "baton-bench " BATON_VERSION;
error_t argp_err_exit_status = 2;

int main(int argc, char **argv) {
    return report_main(argc, argv);
}
