/* exp_dir - the directory of an experiment: locked while one runs there, with copies of what it was started
 * with, so that another one is not mixed into it. */
#ifndef BATON_EXPERIMENT_EXP_DIR_H
#define BATON_EXPERIMENT_EXP_DIR_H

#include "base/status.h"

#include <stdbool.h>

typedef struct exp_dir {
    char *path; /* absolute */
    int lock;   /* descriptor of DIR/lock */
} exp_dir;

/* Makes it where needed and locks it. ST_AGAIN: another experiment runs there; ST_IO. Caller closes with
 * exp_dir_close. */
status exp_dir_open(exp_dir *out, const char *path, errbuf *eb);
void exp_dir_close(exp_dir *d);

/* DIR/NAME is `text`: written where it is not there yet. ST_INVALID: it is another text; says the first line
 * that differs. force: it is then replaced. */
status exp_dir_keep(const exp_dir *d, const char *name, const char *text, bool force, errbuf *eb);

#endif
