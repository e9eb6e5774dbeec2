/* appendix - what stands behind the numbers: the A/A pair, every cell with its validity, the machine. */
#ifndef BATON_REPORT_APPENDIX_H
#define BATON_REPORT_APPENDIX_H

#include "bench/report/doc.h"
#include "bench/report/goodput_table.h"

void appendix_fill(doc *d, const goodput_table *t);

#endif
