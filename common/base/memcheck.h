/* memcheck - tells valgrind what it cannot see. Nothing but in builds with tests, where its header is there.
 */
#ifndef BATON_BASE_MEMCHECK_H
#define BATON_BASE_MEMCHECK_H

#if defined(BATON_MEMCHECK)
#include <valgrind/memcheck.h>
/* The kernel has written these bytes, unasked. */
#define MEMCHECK_DEFINED(p, bytes) ((void)VALGRIND_MAKE_MEM_DEFINED(p, bytes))
#else
#define MEMCHECK_DEFINED(p, bytes) ((void)0)
#endif

#endif
