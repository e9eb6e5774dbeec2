/* live_files - the files of coordinator/live and openapi.json, which the build turns into C
 * (cmake/embed.cmake). */
#ifndef BATON_COORDINATOR_LIVE_FILES_H
#define BATON_COORDINATOR_LIVE_FILES_H

#include <stddef.h>

extern const unsigned char live_page_html[], live_page_js[], live_page_css[], live_openapi_json[];
extern const size_t live_page_html_len, live_page_js_len, live_page_css_len, live_openapi_json_len;

#endif
