/* report_main - baton-bench report DIR: an experiment's directory as an HTML page, and as Markdown with SVGs.
 */
#ifndef BATON_REPORT_REPORT_MAIN_H
#define BATON_REPORT_REPORT_MAIN_H

/* Exit status: 0; 1 when the directory cannot be read, gnuplot is not there
 * or a file cannot be written; 2 for a wrong command line. */
int report_main(int argc, char **argv);

#endif
