/* jinja_eval - running a template's tree (private to the interpreter). */
#ifndef BATON_TEXT_JINJA_EVAL_H
#define BATON_TEXT_JINJA_EVAL_H

#include "text/jinja_ast.h"
#include "text/jinja_text.h"

/* Names and values of a loop's turn, a macro's call, or the template. */
typedef struct jscope {
    struct jscope *outer;
    jdict *vars;
} jscope;

typedef struct jmacro {
    const jnode *node;
    jscope *scope; /* where it was made */
} jmacro;

typedef struct jloop {
    const jlist *items;
    size_t at;
    uint32_t depth; /* 1 = outermost */
} jloop;

typedef struct jrun {
    jinja_heap *heap;
    const struct tm *now;
    jbuilder *out;
    jvalue caught; /* of a block that is being filtered */
    uint32_t loops;
} jrun;

/* Runs the tree; its text goes to run->out. */
void jinja_run(jrun *r, jscope *scope, const jnode *body);

#endif
