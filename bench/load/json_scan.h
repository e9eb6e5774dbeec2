/* json_scan - a walk over JSON text that builds nothing: enter a value, or skip it. Pure.
 *
 *   json_scan j = json_scan_of(text, len);
 *   for (json_scan_enter(&j); json_scan_key(&j, key, sizeof key);) json_scan_skip(&j);
 *
 * After an error everything answers "no more", and json_scan_whole is false. */
#ifndef BATON_LOAD_JSON_SCAN_H
#define BATON_LOAD_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#define JSON_SCAN_DEPTH 32 /* deeper is an error */

typedef struct json_scan {
    const char *at, *end;
    bool broken;
} json_scan;

json_scan json_scan_of(const char *text, size_t len);
/* First character of the value that stands here ('{', '[', '"', 't', 'f', 'n', or that of a number); 0: none
 */
char json_scan_kind(json_scan *j);
/* Into the object or array that stands here */
void json_scan_enter(json_scan *j);
/* Before each member of the object: its key (cut: a longer one never equals one that fits), then the value
 * must be taken. False: the object ended, and is taken. */
bool json_scan_key(json_scan *j, char *key, size_t size);
/* Likewise for an array's elements */
bool json_scan_item(json_scan *j);
/* The string that stands here: its length in bytes as written (escapes count as written). Copied, cut, when
 * it has no escapes; with one, out is "". */
size_t json_scan_string(json_scan *j, char *out, size_t size);
/* The value that stands here */
void json_scan_skip(json_scan *j);
/* No error, and nothing but white space is left */
bool json_scan_whole(json_scan *j);

#endif
