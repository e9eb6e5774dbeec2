/* serve - `baton-bench serve`: measures one server under one load. Exit status: 0 valid, 1 failed, 2 usage, 3
 * void, 130 interrupted. */
#ifndef BATON_LOAD_SERVE_H
#define BATON_LOAD_SERVE_H

int serve_main(int argc, char **argv);

#endif
