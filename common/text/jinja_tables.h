/* jinja_tables - who has which builtins (private to the interpreter). Each ends with a name of NULL. */
#ifndef BATON_TEXT_JINJA_TABLES_H
#define BATON_TEXT_JINJA_TABLES_H

#include "text/jinja_builtins.h"

extern const jbuiltin jinja_text_filters[];
extern const jbuiltin jinja_list_filters[];
extern const jbuiltin jinja_tests[];
extern const jbuiltin jinja_functions[];
extern const jbuiltin jinja_text_methods[];
extern const jbuiltin jinja_dict_methods[];
extern const jbuiltin jinja_list_methods[];

#endif
