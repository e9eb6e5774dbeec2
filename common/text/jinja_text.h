/* jinja_text - strings of templates: built, cut, searched and written as Python does, marks included. */
#ifndef BATON_TEXT_JINJA_TEXT_H
#define BATON_TEXT_JINJA_TEXT_H

#include "text/jinja_value.h"

/* A text that grows. */
typedef struct jbuilder {
    jinja_heap *heap;
    char *at;
    unsigned char *mark; /* NULL until a marked byte comes */
    size_t len, capacity;
} jbuilder;

void jb_add(jbuilder *b, jstr s);
/* Of the template's making */
void jb_adds(jbuilder *b, const char *s);
/* The bytes with one mark */
void jb_bytes(jbuilder *b, const char *at, size_t len, bool marked);
void jb_char(jbuilder *b, uint32_t c, bool marked);
jstr jb_str(const jbuilder *b);

/* Bytes [begin, end) of s. */
jstr jt_cut(jstr s, size_t begin, size_t end);
/* Bytes of the character at `at` < s.len (1 for a byte that is no UTF-8). */
size_t jt_char(jstr s, size_t at);
uint32_t jt_code(jstr s, size_t at);
size_t jt_count(jinja_heap *h, jstr s);
/* Where character `index` begins, at most s.len. */
size_t jt_offset(jinja_heap *h, jstr s, size_t index);
/* Where `what` begins in s from `from` on, or SIZE_MAX. */
size_t jt_find(jinja_heap *h, jstr s, jstr what, size_t from);
bool jt_starts(jstr s, jstr what);
bool jt_ends(jstr s, jstr what);
/* Of the characters in `chars`, or of Python's white space when it is NULL. */
jstr jt_strip(jinja_heap *h, jstr s, const jstr *chars, bool left, bool right);
bool jt_is_space(uint32_t c);
/* count < 0: all */
jstr jt_replace(jinja_heap *h, jstr s, jstr what, jstr by, int64_t count);
typedef enum jcase { JCASE_UPPER, JCASE_LOWER, JCASE_CAPITALIZE, JCASE_TITLE, JCASE_WORDS } jcase;
/* TITLE: Python's title(), a letter after none begins a word; WORDS: the filter's. */
jstr jt_case(jinja_heap *h, jstr s, jcase how);

/* What iterating gives: a list of items, keys or characters; fails, naming the type. Borrowed where v is a
 * list. */
const jlist *jt_iterate(jinja_heap *h, jvalue v);

/* str() and repr() of a value. */
jstr jt_str(jinja_heap *h, jvalue v);
void jt_write(jbuilder *b, jvalue v);
void jt_repr(jbuilder *b, jvalue v, uint32_t depth);
void jt_float(jbuilder *b, double v);

#endif
