/* plan_figures - the pictures of a search: goodput per device against devices, and the winner over both
 * limits. */
#ifndef BATON_PLANNER_PLAN_FIGURES_H
#define BATON_PLANNER_PLAN_FIGURES_H

#include "planner/search/plan_text.h"

/* FOLDER/goodput-devices.svg and, where there is a sensitivity of two kinds, FOLDER/winner-map.svg.
 * ST_UNSUPPORTED: there is no gnuplot, with the remedy. */
status plan_figures(const plan_report *r, const char *folder, errbuf *eb);

#endif
