/* jinja_ast - a template as a tree, and the parser's two halves (private to the interpreter). */
#ifndef BATON_TEXT_JINJA_AST_H
#define BATON_TEXT_JINJA_AST_H

#include "text/jinja_builtins.h"
#include "text/jinja_lex.h"

typedef enum jnode_kind {
    /* expressions */
    JN_CONST,   /* value */
    JN_NAME,    /* text */
    JN_LIST,    /* kids */
    JN_TUPLE,   /* kids */
    JN_DICT,    /* kids: key, value, ... */
    JN_ATTR,    /* a.text */
    JN_ITEM,    /* a[b] */
    JN_SLICE,   /* kids[0..2], each may be NULL: only as b of JN_ITEM */
    JN_CALL,    /* a(args) */
    JN_FILTER,  /* a|builtin(args) */
    JN_TEST,    /* a is builtin(args) */
    JN_NOT,     /* a */
    JN_NEG,     /* a */
    JN_POS,     /* a */
    JN_BINARY,  /* a text b */
    JN_CONCAT,  /* a ~ b */
    JN_COMPARE, /* a, then kids with the operators ops[] */
    JN_AND,
    JN_OR,
    JN_COND, /* b if a else c; c may be NULL */
    /* statements */
    JN_TEXT,      /* text */
    JN_PRINT,     /* a */
    JN_BODY,      /* kids */
    JN_IF,        /* kids: condition, body, ...; c: else, or NULL */
    JN_FOR,       /* a: target, b: items, c: condition or NULL; kids[0]: body, kids[1]: else or NULL */
    JN_SET,       /* a: target, b: value */
    JN_SET_BLOCK, /* a: target, b: body, c: filters over JN_CAUGHT, or NULL */
    JN_CAUGHT,    /* the text of the block */
    JN_MACRO,     /* text: name; names, kids: parameters and their defaults (NULL = none); b: body */
    JN_FILTERED,  /* b: body, c: filters over JN_CAUGHT */
    JN_BREAK,
    JN_CONTINUE
} jnode_kind;

typedef enum jop { JOP_EQ, JOP_NE, JOP_LT, JOP_LE, JOP_GT, JOP_GE, JOP_IN, JOP_NOT_IN } jop;

typedef struct jnode jnode;
struct jnode {
    jnode_kind kind;
    uint32_t line, depth; /* depth: of the tree below, so that evaluating it is bounded */
    jstr text;
    jvalue value;
    const jbuiltin *builtin;
    jnode *a, *b, *c;
    jnode **kids;
    jstr *names;   /* [kid_count]: of keyword arguments (at == NULL: by place), of parameters */
    uint32_t *ops; /* [kid_count] */
    size_t kid_count, kid_room;
};

typedef struct jparser {
    jinja_heap *heap;
    const jtoken *at;
    uint32_t nest, loops; /* constructs open; loops open */
    uint32_t branches;    /* ifs open: what stands there may never be reached */
    jdict *reads;         /* names read */
    jdict *binds;         /* names that something is stored in */
    jdict *strings;       /* literals and attributes */
    jnode **calls;        /* of plain names, to be checked when all names are known */
    size_t call_count, call_room;
} jparser;

/* Statements up to a tag named by one of `ends` (NULL-terminated), whose name is then the current token; up
 * to the end of the text when ends is NULL. */
jnode *jp_body(jparser *p, const char *const *ends);

/* An expression; a list with commas outside brackets (as in "a, b"), with or without inline if. */
jnode *jp_expression(jparser *p);
jnode *jp_tuple(jparser *p, bool inline_if);
/* |filter|filter(...) after `over`; bar: the first has its | too. */
jnode *jp_filters(jparser *p, jnode *over, bool bar);
/* What is stored in: a name, names with commas, or (attributes) an attribute of a namespace. */
jnode *jp_target(jparser *p, bool attributes);

jnode *jp_node(jparser *p, jnode_kind kind);
/* Attaches; keeps depth. kid may be NULL. */
void jp_kid(jparser *p, jnode *n, jnode *kid, jstr name, uint32_t op);
void jp_deepen(jparser *p, jnode *n, const jnode *kid);
void jp_fail(const jparser *p, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));
bool jp_is(const jparser *p, jtoken_kind kind, const char *text);
/* Takes the token when it is that. */
bool jp_skip(jparser *p, jtoken_kind kind, const char *text);
void jp_expect(jparser *p, jtoken_kind kind, const char *text);
/* A name, taken. */
jstr jp_name(jparser *p, const char *what);
/* Opens and closes one level of nesting. */
void jp_enter(jparser *p);
void jp_leave(jparser *p);

#endif
