/* jinja - chat templates, run as they stand in a model's file.
 *
 * An interpreter for the part of Jinja that chat templates use, set up as transformers sets Jinja up:
 * trim_blocks, lstrip_blocks, loop controls, nothing that could change a value or reach outside. What the
 * part has stands in jinja_ast.h (constructs) and jinja_builtins.h (names); a template with anything else
 * is refused when it is loaded, by the name of that thing and its line. Undefined values are as Jinja's:
 * written as nothing, and a fault, with their name, when an attribute of one is asked for.
 *
 *   text --jinja_lex--> tokens --jinja_parse, jinja_expr--> tree --jinja_eval--> text and its marks
 *
 * A template is read-only once loaded: any thread may render it. Bounds: jinja_heap.h. */
#ifndef BATON_TEXT_JINJA_H
#define BATON_TEXT_JINJA_H

#include "base/mem.h"
#include "base/status.h"
#include "text/tokenizer.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define JINJA_TEXT_MAX ((size_t)1 << 20) /* bytes of a template */

typedef struct jinja jinja;

/* ST_UNSUPPORTED or ST_INVALID with "line N: ...". Caller frees with jinja_free. */
status jinja_new(jinja **out, const char *text, size_t len, errbuf *eb);
void jinja_free(jinja *t);

/* Whether it reads a variable of this name that comes from outside. */
bool jinja_reads(const jinja *t, const char *name);
/* Whether a literal or an attribute in it is this text. */
bool jinja_mentions(const jinja *t, const char *text);
/* Whether it goes through a message's content by parts: it has a loop over an attribute `content`, or over a
 * variable that was set from one. */
bool jinja_loops_over_content(const jinja *t);
/* Whether it asks of anything if it is a string. */
bool jinja_asks_for_strings(const jinja *t);

typedef struct jinja_variable {
    const char *name;
    const json_t *value; /* borrowed */
    bool marked;         /* its texts are the request's */
} jinja_variable;

/* Appends the text; the bytes that came from marked variables lie in *marks, [*mark_count], ascending and
 * apart, which the caller frees. In a variable named `messages` values of "role" are not marked: the caller
 * has judged them. `now` is what strftime_now tells. Faults of the template, and raise_exception, are
 * ST_INVALID. */
status jinja_render(const jinja *t, const jinja_variable *vars, size_t count, const struct tm *now, buf *out,
                    text_span **marks, uint32_t *mark_count, errbuf *eb);

#endif
