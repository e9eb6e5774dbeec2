/* half - base/half.h under the name by which the kernels know it. */
#ifndef BATON_KERNELS_HALF_H
#define BATON_KERNELS_HALF_H

#include "base/half.h"

#endif
