/* status - the result of a call, by what the caller should do about it, and the text for people.
 *
 * One enum from one X-macro. The function that first decides a code writes the text into the optional errbuf;
 * callers only prefix it ("loading model: x.gguf: ..."). Outputs of a function are written only on success.
 */
#ifndef BATON_BASE_STATUS_H
#define BATON_BASE_STATUS_H

#include <stdarg.h>
#include <stddef.h>

#define STATUS_LIST(X)                                                                                       \
    X(ST_OK, "ok")                                                                                           \
    X(ST_AGAIN, "try again later")        /* would block, or no room now */                                  \
    X(ST_NOMEM, "out of memory or pages") /* free something, or ask for less */                              \
    X(ST_INVALID, "invalid argument or input")                                                               \
    X(ST_CORRUPT, "corrupt data") /* do not use it, do not retry the same bytes */                           \
    X(ST_IO, "input/output error")                                                                           \
    X(ST_TIMEOUT, "deadline passed")                                                                         \
    X(ST_PEER, "peer failed or is gone")                                                                     \
    X(ST_DEVICE, "device error") /* fatal for the worker */                                                  \
    X(ST_CANCELED, "canceled")                                                                               \
    X(ST_UNSUPPORTED, "not supported")

#define STATUS_ENUM(code, text) code,
typedef enum status { STATUS_LIST(STATUS_ENUM) } status;
#undef STATUS_ENUM

/* Text for people, 256 bytes with its NUL. Start it zeroed. NULL is legal wherever an errbuf * is taken. */
typedef struct errbuf {
    char text[256];
} errbuf;

/* "ST_PEER" and "peer failed or is gone". Borrowed: static. */
const char *status_name(status st);
const char *status_text(status st);

/* Writes the text (cut to fit) and returns `st`, so that a failure is one line: return errf(eb, ST_INVALID,
 * ...). */
status errf(errbuf *eb, status st, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Puts "prefix: " before the text that is there, and returns `st`. */
status err_prefix(errbuf *eb, status st, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#ifdef __clang_analyzer__
/* The analyzer sees one file at a time; without this it would follow errf(eb, ST_INVALID, ...) == ST_OK. */
#define errf(eb, st, ...)       (errf((eb), (st), __VA_ARGS__), (st))
#define err_prefix(eb, st, ...) (err_prefix((eb), (st), __VA_ARGS__), (st))
#endif

/* Asserts that stay on in release. They guard against programmer errors; a peer, a file or a user gets a
 * status. */
void check_failed(const char *kind, const char *expr, const char *file, int line, const char *func)
    __attribute__((noreturn));
#define CHECK_(kind, expr) ((expr) ? (void)0 : check_failed(kind, #expr, __FILE__, __LINE__, __func__))
#define PRE(expr)          CHECK_("precondition", expr)
#define POST(expr)         CHECK_("postcondition", expr)
#define CHECK(expr)        CHECK_("check", expr)
#ifdef NDEBUG
#define DEBUG_ASSERT(expr) ((void)sizeof(!(expr)))
#else
#define DEBUG_ASSERT(expr) CHECK_("debug assert", expr)
#endif

#endif
